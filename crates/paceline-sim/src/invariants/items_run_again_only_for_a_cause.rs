//! No item is run again unless it came to nothing for a trouble that the user named, at most as often as allowed, and
//! the attempt number tells how often.

use paceline_core::{Command, JobEnd};

use super::require;
use crate::fact::Fact;
use crate::ledger::{ItemState, Ledger};

pub(super) fn items_run_again_only_for_a_cause(ledger: &Ledger, fact: Fact) -> Result<(), String> {
    match fact {
        Fact::Begun { job, item, .. } => {
            let job = &ledger.jobs[job];
            if job.end == Some(JobEnd::Abandoned) {
                // Its worker has not been killed yet.
                return Ok(());
            }
            let record = job.items[item as usize];
            require(record.state == ItemState::Out && job.end.is_none(), || {
                format!("item {item} of job {} begins though it is {:?} ({:?})", job.number.0, record.state, job.end)
            })?;
            require(record.begun <= record.spent, || format!("item {item} of job {} begins again", job.number.0))
        }
        Fact::Asked { command: Command::Publish { job: number, first, count, attempt, .. } } => {
            let Some(job) = ledger.job(number) else { return Ok(()) };
            let Some(items) = job.items.get(first as usize..(first + count) as usize) else {
                return Ok(());
            };
            let has_ended = matches!(items[0].state, ItemState::Doomed { .. }) || items[0].has_outcome;
            require(!has_ended, || format!("item {first} of job {} has ended and is run again", number.0))?;
            require(attempt <= job.terms.retries, || format!("item {first} of job {} is tried too often", number.0))?;
            require(items[0].spent == u32::from(attempt), || {
                format!("item {first} of job {} came to nothing {} times, not {attempt}", number.0, items[0].spent)
            })?;
            let is_by_itself = count == 1 || items.iter().all(|item| item.spent == 0);
            require(is_by_itself, || format!("an item of job {} that is run again has company", number.0))
        }
        _ => Ok(()),
    }
}
