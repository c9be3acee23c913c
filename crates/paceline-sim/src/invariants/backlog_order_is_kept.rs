//! What is published is always the lowest waiting item of the most urgent job with waiting items (of several, the
//! oldest), and what follows it: nothing goes out while something more urgent waits for which there are tokens. What is to run alone has its own
//! order.

use paceline_core::Command;

use super::require;
use crate::fact::Fact;
use crate::ledger::{ItemState, Ledger};

pub(super) fn backlog_order_is_kept(ledger: &Ledger, fact: Fact) -> Result<(), String> {
    let Fact::Asked { command: Command::Publish { job: number, first, count, .. } } = fact else {
        return Ok(());
    };
    let record = ledger.job(number).and_then(|job| job.items.get(first as usize));
    let state = record.map_or(ItemState::Dropped, |item| item.state);
    if state == ItemState::Lonely || state.may_be_lonely() {
        return Ok(());
    }
    if let Some(position) = ledger.position(number).filter(|_| state.may_wait()) {
        let sooner = ledger.next_in_backlog().filter(|&(next, job)| {
            let lowest = job.items.iter().position(|item| item.state == ItemState::Waiting);
            (ledger.rank(next), lowest.map(std::cmp::Reverse))
                > (ledger.rank(position), Some(std::cmp::Reverse(first as usize)))
        });
        return require(sooner.is_none(), || format!("item {first} of job {} overtakes job {sooner:?}", number.0));
    }
    let Some((position, job)) = ledger.position(number).map(|position| (position, &ledger.jobs[position])) else {
        return Err(format!("item {first} of job {} is published though nothing waits", number.0));
    };
    // The next may be one of which it is not sure whether there are tokens for it.
    let passed_by = ledger.next_in_backlog().filter(|&(next, _)| ledger.rank(next) > ledger.rank(position));
    require(passed_by.is_none(), || format!("job {} overtakes {passed_by:?}", number.0))?;
    let lowest = job.items.iter().position(|item| item.state == ItemState::Waiting);
    require(lowest == Some(first as usize), || {
        format!("item {first} of job {} is published, not {lowest:?}", number.0)
    })?;
    let items = job.items.get(first as usize..(first + count) as usize);
    let all_wait = items.is_some_and(|items| items.iter().all(|item| item.state == ItemState::Waiting));
    require(all_wait, || format!("not all of the {count} items from {first} of job {} wait", number.0))
}
