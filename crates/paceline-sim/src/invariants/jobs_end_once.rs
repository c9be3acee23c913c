//! Every job that was submitted ends exactly once.

use paceline_core::Command;

use super::require;
use crate::fact::Fact;
use crate::ledger::Ledger;

pub(super) fn jobs_end_once(ledger: &Ledger, fact: Fact) -> Result<(), String> {
    match fact {
        Fact::Asked { command: Command::FinishJob { job, .. } } => {
            require(ledger.job(job).is_some(), || format!("job {} ends, but none of this number runs", job.0))
        }
        Fact::Settled { unfinished_jobs, .. } => {
            let known = ledger.unfinished().count();
            require(known == unfinished_jobs as usize, || {
                format!("{known} jobs have not ended, but the core counts {unfinished_jobs}")
            })
        }
        _ => Ok(()),
    }
}
