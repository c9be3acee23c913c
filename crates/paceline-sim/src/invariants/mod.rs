//! Owns the list of the invariants; each has a file and a function of the same name. Never changes anything: an
//! invariant is handed the ledger as it was before a fact, and the fact.

use crate::fact::Fact;
use crate::ledger::Ledger;

mod backlog_order_is_kept;
mod cancelled_jobs_never_ran;
mod chunks_are_asked_back_for_a_cause;
mod chunks_have_their_size;
mod closing_can_cancel_what_waits;
mod complete_jobs_have_every_outcome;
mod forgotten_outcomes_are_those_run_again;
mod innocent_items_are_never_failed_for_a_stop;
mod items_are_asked_before_they_are_ended;
mod items_run_again_only_for_a_cause;
mod jobs_end_once;
mod jobs_with_too_many_failures_are_given_up;
mod looks_are_asked_for_while_needed;
mod measured_jobs_keep_few_chunks_out;
mod no_item_is_forgotten;
mod nothing_gets_stuck;
mod nothing_goes_out_while_a_cancel_is_decided;
mod nothing_is_stopped_before_its_time;
mod old_answers_change_nothing;
mod only_doomed_items_fail;
mod overdue_items_are_stopped_in_time;
mod overtaken_chunks_keep_their_order;
mod pool_breaks_for_a_cause;
mod pool_ends_once;
mod retries_wait_out_their_backoff;
mod room_is_used;
mod seats_are_in_order;
mod stopped_jobs_end_as_cancelled;
mod table_is_never_overfull;
mod tokens_are_given_in_turn;
mod urgent_items_go_first;
mod what_runs_alone_runs_alone;

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its name.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
}

type Invariant = fn(&Ledger, Fact) -> Result<(), String>;

macro_rules! invariants {
    ($($name:ident),* $(,)?) => { &[$((stringify!($name), $name::$name)),*] };
}

/// All of them; of several that a fact offends, the first is named.
const INVARIANTS: &[(&str, Invariant)] = invariants![
    jobs_end_once,
    jobs_with_too_many_failures_are_given_up,
    stopped_jobs_end_as_cancelled,
    forgotten_outcomes_are_those_run_again,
    retries_wait_out_their_backoff,
    no_item_is_forgotten,
    complete_jobs_have_every_outcome,
    cancelled_jobs_never_ran,
    closing_can_cancel_what_waits,
    chunks_are_asked_back_for_a_cause,
    items_run_again_only_for_a_cause,
    innocent_items_are_never_failed_for_a_stop,
    only_doomed_items_fail,
    nothing_is_stopped_before_its_time,
    items_are_asked_before_they_are_ended,
    overdue_items_are_stopped_in_time,
    what_runs_alone_runs_alone,
    table_is_never_overfull,
    tokens_are_given_in_turn,
    measured_jobs_keep_few_chunks_out,
    chunks_have_their_size,
    backlog_order_is_kept,
    overtaken_chunks_keep_their_order,
    urgent_items_go_first,
    old_answers_change_nothing,
    seats_are_in_order,
    pool_breaks_for_a_cause,
    pool_ends_once,
    looks_are_asked_for_while_needed,
    room_is_used,
    nothing_goes_out_while_a_cancel_is_decided,
    nothing_gets_stuck,
];

/// Judges a fact by every invariant.
pub(crate) fn judge(ledger: &Ledger, fact: Fact) -> Result<(), Violation> {
    INVARIANTS
        .iter()
        .try_for_each(|&(invariant, holds)| holds(ledger, fact).map_err(|what| Violation { invariant, what }))
}

/// Fails with a message unless a condition holds.
fn require(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}
