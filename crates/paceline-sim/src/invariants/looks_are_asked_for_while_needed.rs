//! While anything depends on time, the core asks for a look no later than it is needed, and at once where something is to
//! be stopped; when the last look has shown that nothing does, for none: an idle pool is never woken.

use paceline_core::{Event, JobEnd};

use super::require;
use crate::fact::Fact;
use crate::ledger::{ItemState, Ledger, SHORTEST_PERIOD_NS, period_ns};

pub(super) fn looks_are_asked_for_while_needed(ledger: &Ledger, fact: Fact) -> Result<(), String> {
    let Fact::Answered { event, counts, .. } = fact else { return Ok(()) };
    let next_ns = counts.next_look_ns;
    let needed_ns = needed_by_chunks_ns(ledger).into_iter().chain(needed_by_items_ns(ledger)).min();
    let needed_ns = ledger.start_limits().map(|(overdue_ns, _)| overdue_ns).chain(needed_ns).min();
    if let Some(needed_ns) = needed_ns {
        require(next_ns.is_some_and(|next_ns| next_ns <= needed_ns), || {
            format!("a look is needed at {needed_ns} ns, but asked for at {next_ns:?}")
        })?;
    }
    if !matches!(event, Event::TimePassed) {
        return Ok(());
    }
    let may_be_needed = needed_ns.is_some() || ledger.doubtful_items() > 0 || ledger.may_anything_be_lonely();
    require(may_be_needed || next_ns.is_none(), || format!("a look is asked for at {next_ns:?} ns for nothing"))?;
    require(next_ns.is_none_or(|next_ns| next_ns > ledger.now_ns), || "one look asks for the next at once".to_owned())
}

/// When a chunk has to be looked at that has a limit, or is to be stopped.
fn needed_by_chunks_ns(ledger: &Ledger) -> Option<u64> {
    let needed = ledger.out.iter().flat_map(|out| {
        let job = &ledger.jobs[out.job];
        let limit_ns = Some(job.terms.timeout_ns).filter(|limit_ns| *limit_ns > 0);
        let is_stopped = job.ending == Some(JobEnd::Cancelled);
        // Of a single call that was seen to run, it is known when it will be due.
        let due_ns = |limit_ns| out.sighted.filter(|_| out.count == 1).map(|(_, since)| since + limit_ns);
        let by_limit_ns = limit_ns.map(|limit_ns| {
            let by_period_ns = out.published_ns.max(ledger.last_look_ns) + period_ns(limit_ns);
            by_period_ns.max(due_ns(limit_ns).unwrap_or(0))
        });
        let known_ns = out.known_to_be_claimed_ns.filter(|_| is_stopped).map(|at| at.max(job.stopping_since_ns));
        let is_looked_at = ledger.looks > out.looks_before_stop;
        let by_cancel_ns = known_ns.map(|at| if is_looked_at { ledger.last_look_ns + SHORTEST_PERIOD_NS } else { at });
        by_limit_ns.into_iter().chain(by_cancel_ns)
    });
    needed.min()
}

/// When an item has waited out its backoff for sure.
fn needed_by_items_ns(ledger: &Ledger) -> Option<u64> {
    let resting = ledger.unfinished().filter(|(_, job)| job.resting > 0).flat_map(|(_, job)| &job.items);
    let due = resting.filter_map(|item| match item.state {
        ItemState::Resting { by_ns, is_doubtful: false, .. } => Some(by_ns),
        _ => None,
    });
    due.min()
}
