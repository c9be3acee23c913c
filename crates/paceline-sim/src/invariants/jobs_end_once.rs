//! Every job that was submitted ends exactly once, and is abandoned only with the pool.

use paceline_core::{Command, JobEnd};

use super::require;
use crate::fact::Fact;
use crate::ledger::{Ledger, Standing};

pub(super) fn jobs_end_once(ledger: &Ledger, fact: Fact) -> Result<(), String> {
    match fact {
        Fact::Asked { command: Command::FinishJob { job, end } } => {
            require(ledger.job(job).is_some(), || format!("job {} ends, but none of this number runs", job.0))?;
            let is_given_up = ledger.standing == Standing::GivenUp;
            require(is_given_up == (end == JobEnd::Abandoned), || format!("job {} ends as {end:?}", job.0))
        }
        Fact::Settled { counts } => {
            let unfinished_jobs = counts.unfinished_jobs;
            let known = ledger.unfinished().count();
            require(known == unfinished_jobs as usize, || {
                format!("{known} jobs have not ended, but the core counts {unfinished_jobs}")
            })
        }
        _ => Ok(()),
    }
}
