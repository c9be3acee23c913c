//! A chunk is asked back only if its job is to be cancelled or something more urgent waits, once, and not from a worker
//! that is known to have it.

use paceline_core::Command;

use super::require;
use crate::fact::Fact;
use crate::ledger::Ledger;

pub(super) fn chunks_are_asked_back_for_a_cause(ledger: &Ledger, fact: Fact) -> Result<(), String> {
    let Fact::Asked { command: Command::Withdraw { chunk } } = fact else { return Ok(()) };
    let Some(out) = ledger.find_out(chunk) else {
        return Err(format!("{chunk:?} is asked back, which is not out"));
    };
    require(!out.is_asked_back && !out.is_known_to_be_claimed, || format!("{chunk:?} is asked back in vain"))?;
    let job = &ledger.jobs[out.job];
    let more_urgent = ledger.next_in_backlog().is_some_and(|(_, next)| next.terms.priority > job.terms.priority);
    require(job.is_cancel_requested || more_urgent, || format!("{chunk:?} is asked back without need"))
}
