//! Owns what is told to whoever looks at a pool again and again while it runs: few numbers, however much there has been.
//! Only looks, and notes failures for that.

use super::{Context, State};
use crate::history::Fate;
use crate::outcome::Death;
use crate::recent::RecentFailure;
use paceline_core::Assignment;
use std::sync::Arc;

/// What a pool is at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Glance {
    /// How many items have ended, each attempt counted.
    pub ended: u64,
    /// How many have been submitted and have no outcome yet.
    pub unfinished: u64,
    /// How many have failed, each attempt counted. What was cancelled has not failed.
    pub failed: u64,
    /// The latest of these, the earliest first.
    pub failures: Vec<RecentFailure>,
    /// Of each worker that lives, by seat: its process id, for how many nanoseconds it was busy, how many items it has ended.
    pub workers: Vec<(i32, u64, u64)>,
}

/// How items failed.
pub(super) struct HowFailed {
    pub(super) fate: Fate,
    pub(super) said: Option<Box<[u8]>>,
    pub(super) ended_ns: u64,
    pub(super) death: Option<Arc<Death>>,
}

impl State {
    pub(crate) fn glance(&mut self, context: &Context<'_>) -> Glance {
        self.drain(context);
        let workers = self.seats.iter().flatten().filter(|seat| seat.pid != 0).map(|seat| {
            let account = seat.account.and_then(|account| self.accounts.workers.get(account));
            account.map_or((seat.pid, 0, 0), |account| (seat.pid, account.busy_ns, account.ended_items))
        });
        Glance {
            ended: self.accounts.ended_items,
            unfinished: self.unfinished_items,
            failed: self.recent.count(),
            failures: self.recent.latest(),
            workers: workers.collect(),
        }
    }

    /// Notes that so many items of an assignment have failed, and how the last of them did.
    pub(super) fn note_failures(&mut self, owner: u16, what: Assignment, (count, last): (u64, u32), how: HowFailed) {
        let Some(job) = self.jobs[what.job.0 as usize].job.as_ref() else { return };
        if self.core.is_being_cancelled(what.job) {
            return;
        }
        let label = job.pending.label();
        let seat = self.seats.get(usize::from(owner)).and_then(Option::as_ref);
        let nameless = seat.filter(|seat| seat.pid == 0).map(|_| owner);
        let is_of_map = job.ends.is_some() || label.base.is_some();
        let failure = RecentFailure {
            function: label.name.as_deref().unwrap_or(&job.function.name).to_owned(),
            item: job.number_of(last),
            index: is_of_map.then(|| job.pending.index_of(last)),
            attempt: what.attempt,
            pid: seat.map_or(0, |seat| seat.pid),
            ended_ns: how.ended_ns,
            fate: how.fate,
            said: how.said,
            death: how.death,
        };
        self.recent.add(count, failure, nameless);
    }
}
