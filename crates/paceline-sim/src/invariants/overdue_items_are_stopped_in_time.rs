//! What runs for longer than it may, and what runs of a cancelled job, is asked to stop in time: after no more than its
//! limit, the time from one look to the next, and what the engine sleeps over a look. Ended, no later than its grace and
//! a look after that. A look that shows an item to be overdue is enough for either.

use paceline_core::{ChunkId, Event, JobEnd};

use super::require;
use crate::fact::Fact;
use crate::ledger::{Ledger, Out, SHORTEST_PERIOD_NS, period_ns};
use crate::scenario::STEP_NS;

/// The shortest time from one look to the next, though something may be overdue before.
const SHORTEST_WAIT_NS: u64 = SHORTEST_PERIOD_NS / 4;

pub(super) fn overdue_items_are_stopped_in_time(ledger: &Ledger, fact: Fact) -> Result<(), String> {
    match fact {
        Fact::Settled { .. } => nothing_is_overdue(ledger),
        Fact::Answered { event: Event::ChunkSighted { chunk, finished, .. }, .. } => {
            what_is_seen_is_dealt_with(ledger, chunk, finished)
        }
        _ => Ok(()),
    }
}

/// What has just been seen to be overdue has been asked to stop, and ended if that was long enough ago.
fn what_is_seen_is_dealt_with(ledger: &Ledger, chunk: ChunkId, finished: u32) -> Result<(), String> {
    let Some(out) = ledger.find_out(chunk).filter(|out| finished < out.count) else { return Ok(()) };
    let Some((_, since_ns)) = out.sighted.filter(|&(sighted, _)| sighted == finished) else { return Ok(()) };
    let (job, item) = (&ledger.jobs[out.job], out.first + finished);
    let (limit_ns, grace_ns) = (job.terms.timeout_ns, job.terms.grace_ns);
    if let Some(stop) = out.stop_of(item) {
        let is_ended = stop.ended_ns == Some(ledger.now_ns);
        // The look that has it asked gives it its grace, even if that is none.
        let has_had_grace = stop.asked_ns < ledger.now_ns && stop.asked_ns + grace_ns <= ledger.now_ns;
        return require(is_ended || !has_had_grace, || {
            format!("item {item} of {chunk:?} has had its grace and goes on")
        });
    }
    let is_overdue = limit_ns > 0 && since_ns + limit_ns <= ledger.now_ns;
    let is_cancelled = job.ending == Some(JobEnd::Cancelled);
    require(!is_overdue && !is_cancelled, || format!("item {item} of {chunk:?} is seen to be overdue and goes on"))
}

/// Nothing runs that has to have been stopped by now.
fn nothing_is_overdue(ledger: &Ledger) -> Result<(), String> {
    for out in &ledger.out {
        let Some(item) = out.running_item() else { continue };
        let chunk = out.chunk;
        if let Some(stop) = out.stop_of(item) {
            let grace_ns = ledger.jobs[out.job].terms.grace_ns;
            let most_ns = grace_ns.max(SHORTEST_WAIT_NS) + SHORTEST_WAIT_NS + ledger.look_delay_ns;
            let asked_ns = stop.asked_ns;
            require(ledger.now_ns <= asked_ns + most_ns, || {
                format!("item {item} of {chunk:?} was asked to stop at {asked_ns} ns and still runs")
            })?;
        } else {
            let due_ns = overrun_ns(ledger, out).into_iter().chain(cancelled_ns(ledger, out)).min();
            require(due_ns.is_none_or(|due_ns| ledger.now_ns <= due_ns), || {
                format!("item {item} of {chunk:?} was to be asked to stop at {due_ns:?} ns")
            })?;
        }
    }
    Ok(())
}

/// When an item that runs has to have been asked to stop because of its limit. The first of a chunk counts from its
/// beginning. Any other counts from when it is first seen, and what ended a step before may not be seen yet.
fn overrun_ns(ledger: &Ledger, out: &Out) -> Option<u64> {
    let limit_ns = ledger.jobs[out.job].terms.timeout_ns;
    let until_seen_ns = period_ns(limit_ns) + ledger.look_delay_ns;
    let most_ns = if out.finished == 0 { limit_ns.max(until_seen_ns) } else { STEP_NS + until_seen_ns + limit_ns };
    (limit_ns > 0).then_some(out.turn_ns + most_ns + SHORTEST_WAIT_NS + ledger.look_delay_ns)
}

/// When it has to have been asked because its job is cancelled: as soon as the core knows who has it, or saw it begin.
fn cancelled_ns(ledger: &Ledger, out: &Out) -> Option<u64> {
    let job = &ledger.jobs[out.job];
    let known_ns = out.known_to_be_claimed_ns.filter(|_| job.ending == Some(JobEnd::Cancelled))?;
    let from_ns = known_ns.max(job.stopping_since_ns).max(out.turn_ns);
    Some(from_ns + STEP_NS + SHORTEST_PERIOD_NS + 2 * ledger.look_delay_ns)
}
