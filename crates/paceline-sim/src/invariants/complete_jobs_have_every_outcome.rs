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
            require(missing.is_none(), || format!("job {} is complete without item {missing:?}", number.0))
        }
        Fact::Kept { job, item } => {
            let state = ledger.jobs[job].items[item as usize].state;
            require(state == ItemState::Out, || format!("item {item} gets an outcome though it is {state:?}"))
        }
        _ => Ok(()),
    }
}
