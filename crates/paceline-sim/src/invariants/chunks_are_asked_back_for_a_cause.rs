//! A chunk is asked back only if its job is to be cancelled or is given up, or something more urgent waits; once, and not
//! from a worker that is known to have it.

use paceline_core::Command;

use super::require;
use crate::fact::Fact;
use crate::ledger::Ledger;

pub(super) fn chunks_are_asked_back_for_a_cause(ledger: &Ledger, fact: Fact) -> Result<(), String> {
    let Fact::Asked { command: Command::Withdraw { chunk } } = fact else { return Ok(()) };
    let Some(out) = ledger.find_out(chunk) else {
        return Err(format!("{chunk:?} is asked back, which is not out"));
    };
    require(!out.is_asked_back && out.known_to_be_claimed_ns.is_none(), || format!("{chunk:?} is asked back in vain"))?;
    let job = &ledger.jobs[out.job];
    let more_urgent = ledger.next_in_backlog().is_some_and(|(_, next)| next.terms.priority > job.terms.priority);
    let may_be_more_urgent = more_urgent || ledger.may_come_after_another(out.job);
    let is_for_itself = job.is_cancel_requested || job.ending.is_some();
    require(is_for_itself || may_be_more_urgent, || format!("{chunk:?} is asked back without need"))
}
