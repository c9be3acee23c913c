//! What is published is always the lowest waiting item of the most urgent job with waiting items (of several, the
//! oldest), and what follows it: nothing goes out while something more urgent waits.

use paceline_core::Command;

use super::require;
use crate::fact::Fact;
use crate::ledger::{ItemState, Ledger};

pub(super) fn backlog_order_is_kept(ledger: &Ledger, fact: Fact) -> Result<(), String> {
    let Fact::Asked { command: Command::Publish { job: number, first, count, .. } } = fact else {
        return Ok(());
    };
    let Some((_, job)) = ledger.next_in_backlog() else {
        return Err(format!("item {first} of job {} is published though nothing waits", number.0));
    };
    require(job.number == number, || format!("job {} overtakes job {}", number.0, job.number.0))?;
    let lowest = job.items.iter().position(|item| item.state == ItemState::Waiting);
    require(lowest == Some(first as usize), || {
        format!("item {first} of job {} is published, not {lowest:?}", number.0)
    })?;
    let items = job.items.get(first as usize..(first + count) as usize);
    let all_wait = items.is_some_and(|items| items.iter().all(|item| item.state == ItemState::Waiting));
    require(all_wait, || format!("not all of the {count} items from {first} of job {} wait", number.0))
}
