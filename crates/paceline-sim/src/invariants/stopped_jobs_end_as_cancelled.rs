//! A job that is cancelled with what runs of it ends as cancelled, as soon as nothing of it is out; nothing more of it
//! goes out or is claimed.

use paceline_core::{Command, JobEnd};

use super::require;
use crate::fact::Fact;
use crate::ledger::Ledger;

pub(super) fn stopped_jobs_end_as_cancelled(ledger: &Ledger, fact: Fact) -> Result<(), String> {
    match fact {
        Fact::Asked { command: Command::FinishJob { job: number, end } } => {
            let Some(position) = ledger.position(number) else { return Ok(()) };
            if ledger.jobs[position].ending != Some(JobEnd::Cancelled) || end == JobEnd::Abandoned {
                return Ok(());
            }
            require(end == JobEnd::Cancelled, || format!("job {} was to be cancelled, and ends as {end:?}", number.0))?;
            let out = ledger.chunks_out(position).next();
            require(out.is_none(), || format!("job {} is cancelled while {out:?} is out", number.0))
        }
        Fact::Asked { command: Command::Publish { job: number, .. } } => {
            let is_stopped = ledger.job(number).is_some_and(|job| job.ending == Some(JobEnd::Cancelled));
            require(!is_stopped, || format!("job {} goes on though it is cancelled", number.0))
        }
        Fact::Claimed { chunk, .. } => {
            let job = ledger.find_out(chunk).map(|out| &ledger.jobs[out.job]);
            let is_stopped = job.is_some_and(|job| job.ending == Some(JobEnd::Cancelled));
            require(!is_stopped, || format!("{chunk:?} is claimed though its job is cancelled"))
        }
        Fact::Settled { .. } => {
            let over = ledger.is_over(JobEnd::Cancelled);
            require(over.is_none(), || format!("a job is cancelled and does not end: {over:?}"))
        }
        _ => Ok(()),
    }
}
