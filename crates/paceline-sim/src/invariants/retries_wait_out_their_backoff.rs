//! An item that is run again waits at least for half of its backoff, which doubles each time; and when all of that is
//! over it waits for nothing but its turn, from the next look on.

use paceline_core::{Command, Event};

use super::require;
use crate::fact::Fact;
use crate::ledger::{ItemState, Ledger};

pub(super) fn retries_wait_out_their_backoff(ledger: &Ledger, fact: Fact) -> Result<(), String> {
    match fact {
        Fact::Asked { command: Command::Publish { job: number, first, .. } } => {
            let state = ledger.job(number).and_then(|job| job.items.get(first as usize)).map(|item| item.state);
            let is_too_soon = matches!(state, Some(ItemState::Resting { is_doubtful: false, .. }));
            require(!is_too_soon, || format!("item {first} of job {} does not wait: {state:?}", number.0))
        }
        Fact::Answered { event: Event::TimePassed, counts, .. } if ledger.just_rested > 0 => {
            let known: u64 = ledger.unfinished().map(|(_, job)| u64::from(job.waiting)).sum();
            require(known <= counts.waiting_items, || {
                let rested = ledger.just_rested;
                format!("{rested} items have rested, {known} must wait in all, but {} do", counts.waiting_items)
            })
        }
        _ => Ok(()),
    }
}
