//! No item is run again unless a worker was lost while running it, and the attempt number tells how often.

use paceline_core::{Command, JobEnd};

use super::require;
use crate::fact::Fact;
use crate::ledger::{ItemState, Ledger};

pub(super) fn items_run_again_only_when_lost(ledger: &Ledger, fact: Fact) -> Result<(), String> {
    match fact {
        Fact::Begun { job, item } => {
            let job = &ledger.jobs[job];
            if job.end == Some(JobEnd::Abandoned) {
                // Its worker has not been killed yet.
                return Ok(());
            }
            let record = job.items[item as usize];
            require(record.state == ItemState::Out && job.end.is_none(), || {
                format!("item {item} of job {} begins though it is {:?} ({:?})", job.number.0, record.state, job.end)
            })?;
            require(record.begun <= record.lost, || format!("item {item} of job {} begins again", job.number.0))
        }
        Fact::Asked { command: Command::Publish { job: number, first, count, attempt, .. } } => {
            let Some(job) = ledger.job(number) else { return Ok(()) };
            let Some(items) = job.items.get(first as usize..(first + count) as usize) else {
                return Ok(());
            };
            require(attempt <= job.terms.retries, || format!("item {first} of job {} is tried too often", number.0))?;
            require(items[0].lost == u32::from(attempt), || {
                format!("item {first} of job {} was lost {} times, not {attempt}", number.0, items[0].lost)
            })?;
            let is_alone = count == 1 || items.iter().all(|item| item.lost == 0);
            require(is_alone, || format!("an item of job {} that was lost is not run alone", number.0))
        }
        _ => Ok(()),
    }
}
