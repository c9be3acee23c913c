//! A chunk goes out with what it needs, which nobody else has: its devices are as many as it wants, and there. None gets
//! tokens before a job that comes sooner and waits for the same kind; but for what runs alone.

use paceline_core::{Command, WHOLE_TOKEN};

use super::require;
use crate::fact::Fact;
use crate::ledger::{ItemState, Ledger};

pub(super) fn tokens_are_given_in_turn(ledger: &Ledger, fact: Fact) -> Result<(), String> {
    let Fact::Asked { command: Command::Publish { chunk, job: number, first, devices, .. } } = fact else {
        return Ok(());
    };
    let Some(position) = ledger.position(number) else { return Ok(()) };
    let job = &ledger.jobs[position];
    let demand = &job.terms.tokens;
    let count = demand.0[0].div_ceil(WHOLE_TOKEN);
    require(devices.count_ones() == count, || format!("{chunk:?} has devices {devices:#b}, not {count}"))?;
    if demand.is_empty() {
        return Ok(());
    }
    require(ledger.has_left(demand), || format!("{chunk:?} goes out without its tokens {demand:?}"))?;
    let part = demand.0[0].min(WHOLE_TOKEN);
    let fitting = ledger.devices().filter(|&device| ledger.device_left(device) >= part);
    let theirs = fitting.fold(0_u32, |set, device| set | 1 << device);
    require(devices & !theirs == 0, || format!("{chunk:?} has devices {devices:#b}, of {theirs:#b}"))?;
    let state = job.items.get(first as usize).map_or(ItemState::Dropped, |item| item.state);
    let is_lonely = state == ItemState::Lonely || state.may_be_lonely();
    require(is_lonely || ledger.is_in_turn(position, false), || format!("{chunk:?} gets tokens out of turn"))
}
