//! No worker gets anything while something more urgent lies in the table, or could. What is to run alone comes first.

use super::require;
use crate::fact::Fact;
use crate::ledger::Ledger;

pub(super) fn urgent_items_go_first(ledger: &Ledger, fact: Fact) -> Result<(), String> {
    let Fact::Claimed { chunk, .. } = fact else { return Ok(()) };
    let Some(out) = ledger.find_out(chunk) else { return Ok(()) };
    let priority = ledger.jobs[out.job].terms.priority;
    let is_passed_by = |other: usize| ledger.jobs[other].terms.priority > priority;
    let mut unclaimed = ledger.out.iter().filter(|other| other.claimed_by.is_none() && !other.is_asked_back);
    let passed_by = unclaimed.find(|other| is_passed_by(other.job));
    require(passed_by.is_none(), || format!("{chunk:?} is claimed before {passed_by:?}, which is more urgent"))?;
    let Some((position, job)) = ledger.next_in_backlog() else { return Ok(()) };
    let is_excused = ledger.may_anything_be_lonely() || ledger.may_come_after_another(position);
    require(!is_passed_by(position) || ledger.is_held_back(position) || is_excused, || {
        format!("{chunk:?} is claimed though job {} waits, which is more urgent", job.number.0)
    })
}
