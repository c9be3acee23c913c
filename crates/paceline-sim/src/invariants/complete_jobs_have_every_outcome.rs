//! Every item of a complete job has exactly one outcome: kept by the engine, or told by the core to have failed.

use paceline_core::{Command, JobEnd};

use super::require;
use crate::fact::Fact;
use crate::ledger::{ItemState, Ledger};

pub(super) fn complete_jobs_have_every_outcome(ledger: &Ledger, fact: Fact) -> Result<(), String> {
    match fact {
        Fact::Asked { command: Command::FinishJob { job: number, end: JobEnd::Complete } } => {
            let Some(job) = ledger.job(number) else { return Ok(()) };
            let missing = job.items.iter().position(|item| item.state != ItemState::Ended);
            require(missing.is_none(), || format!("job {} is complete without item {missing:?}", number.0))?;
            let untold = job.items.iter().position(|item| !item.has_outcome);
            require(untold.is_none(), || format!("job {} is complete and nobody knows item {untold:?}", number.0))
        }
        Fact::Kept { job, item } => {
            let record = ledger.jobs[job].items[item as usize];
            let is_wanted = record.state == ItemState::Out && !record.has_outcome;
            require(is_wanted, || format!("item {item} gets an outcome though it is {record:?}"))
        }
        _ => Ok(()),
    }
}
