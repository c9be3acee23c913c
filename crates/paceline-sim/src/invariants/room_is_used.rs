//! Nothing waits while there is room, unless the first job in order must not go on: its cancel is being decided, or it
//! is measured and has all the chunks out that it may have; or something is to run alone. What has been overtaken, or may be, fills only a part of the
//! table, but no less than the workers need.

use super::require;
use crate::fact::Fact;
use crate::ledger::Ledger;

pub(super) fn room_is_used(ledger: &Ledger, fact: Fact) -> Result<(), String> {
    let Fact::Settled { .. } = fact else { return Ok(()) };
    if ledger.out.len() >= ledger.table_slots as usize {
        return Ok(());
    }
    let Some((position, job)) = ledger.next_in_backlog() else {
        return Ok(());
    };
    if ledger.may_anything_be_lonely() || ledger.may_come_after_another(position) {
        return Ok(());
    }
    let priority = job.terms.priority;
    let is_less_urgent = ledger.has_overtaken && ledger.jobs.iter().any(|other| other.terms.priority > priority);
    let is_overtaking = ledger.out.iter().any(|out| out.is_overtaken);
    let are_enough =
        ledger.out.iter().filter(|out| out.known_to_be_claimed_ns.is_none()).count() >= 2 * ledger.workers as usize;
    let is_careful = is_less_urgent && (is_overtaking || are_enough);
    require(is_careful || ledger.is_held_back(position), || format!("job {} waits though there is room", job.number.0))
}
