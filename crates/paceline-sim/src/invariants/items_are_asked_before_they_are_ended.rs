//! A worker is ended for an item only if that item was asked to stop before, and has had its grace.

use paceline_core::Command;

use super::require;
use crate::fact::Fact;
use crate::ledger::Ledger;

pub(super) fn items_are_asked_before_they_are_ended(ledger: &Ledger, fact: Fact) -> Result<(), String> {
    let Fact::Asked { command: Command::EndItem { worker, chunk, item } } = fact else {
        return Ok(());
    };
    let Some(out) = ledger.find_out(chunk) else {
        return Err(format!("item {item} of {chunk:?} is to be ended, which is not out"));
    };
    require(out.claimed_by == Some(worker), || format!("worker {} is ended for what it never had", worker.0))?;
    let Some(stop) = out.stop_of(item) else {
        return Err(format!("item {item} of {chunk:?} is ended and was never asked to stop"));
    };
    let given_ns = ledger.now_ns - stop.asked_ns;
    let grace_ns = ledger.jobs[out.job].terms.grace_ns;
    require(given_ns >= grace_ns, || format!("item {item} of {chunk:?} has {given_ns} ns to stop, not {grace_ns}"))
}
