//! A job is cancelled only on request, and only if nothing of it ever began, or all that is left came to nothing and waits
//! to be run again, or what runs was to be stopped; and it is, if nothing of it was out.

use paceline_core::{Command, JobEnd};

use super::require;
use crate::fact::Fact;
use crate::ledger::Ledger;

pub(super) fn cancelled_jobs_never_ran(ledger: &Ledger, fact: Fact) -> Result<(), String> {
    match fact {
        Fact::Asked { command: Command::FinishJob { job: number, end: JobEnd::Cancelled } } => {
            let Some(job) = ledger.job(number) else { return Ok(()) };
            require(job.is_cancel_requested, || format!("job {} is cancelled unasked", number.0))?;
            if job.ending == Some(JobEnd::Cancelled) {
                return Ok(());
            }
            let begun = job.items.iter().position(|item| item.begun > 0);
            require(begun.is_none() || job.is_all_to_be_run_again(), || {
                format!("job {} is cancelled though item {begun:?} began", number.0)
            })
        }
        Fact::Settled { .. } => {
            let forgotten = ledger.unfinished().find(|(_, job)| job.must_be_cancelled);
            require(forgotten.is_none(), || format!("a job that only waited was not cancelled: {forgotten:?}"))
        }
        _ => Ok(()),
    }
}
