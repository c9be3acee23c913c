//! Owns the latest failures of a pool, for whoever looks at it while it runs: few of them, however many there are. Only
//! looks at what happened.

use crate::history::Fate;
use crate::outcome::Death;
use std::collections::VecDeque;
use std::sync::Arc;

/// So many are kept.
const MOST: usize = 16;
/// What a worker said of a failure is kept if it is no longer than this.
pub(crate) const MOST_KEPT: usize = 16 << 10;

/// An item that failed: that raised, was stopped at its limit, or was lost with its worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecentFailure {
    /// The function, or the name that stands for it.
    pub function: String,
    /// The item's number among all that were ever submitted to the pool.
    pub item: u64,
    /// Its place in its map, if it is part of one.
    pub index: Option<u32>,
    /// How often it had been begun before.
    pub attempt: u16,
    /// The process id of its worker; zero if that is not known.
    pub pid: i32,
    /// When it ended.
    pub ended_ns: u64,
    /// How it ended.
    pub fate: Fate,
    /// The record that its worker has left; none if there is none, or a long one.
    pub said: Option<Box<[u8]>>,
    /// How its worker ended, if it was lost with that.
    pub death: Option<Arc<Death>>,
}

/// The latest failures, and how many there have been.
#[derive(Debug, Default)]
pub(crate) struct RecentFailures {
    /// Each with the seat of its worker, if that is all that is known of it.
    latest: VecDeque<(RecentFailure, Option<u16>)>,
    count: u64,
}

impl RecentFailures {
    /// So many items failed at once, of which this is the last. If its worker is not known by its process id yet, it is by
    /// its seat.
    pub(crate) fn add(&mut self, count: u64, failure: RecentFailure, nameless: Option<u16>) {
        self.count += count;
        if self.latest.len() >= MOST {
            self.latest.pop_front();
        }
        self.latest.push_back((failure, nameless));
    }

    /// The process id of the worker in this seat is known, or nothing more will be.
    pub(crate) fn name(&mut self, seat: u16, pid: i32) {
        for (failure, nameless) in &mut self.latest {
            if *nameless == Some(seat) {
                failure.pid = pid;
                *nameless = None;
            }
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Those that are kept, the earliest first.
    pub(crate) fn latest(&self) -> Vec<RecentFailure> {
        self.latest.iter().map(|(failure, _)| failure.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(item: u64) -> RecentFailure {
        RecentFailure {
            function: String::new(),
            item,
            index: None,
            attempt: 0,
            pid: 0,
            ended_ns: item,
            fate: Fate::Raised,
            said: None,
            death: None,
        }
    }

    #[test]
    fn latest_failures_are_kept_and_all_are_counted() {
        let mut recent = RecentFailures::default();
        for item in 0..100 {
            recent.add(3, failure(item), None);
        }
        let items: Vec<_> = recent.latest().iter().map(|failure| failure.item).collect();
        assert_eq!(items, (100 - MOST as u64..100).collect::<Vec<_>>());
        assert_eq!(recent.count(), 300);
    }

    #[test]
    fn worker_is_named_when_it_is_known() {
        let mut recent = RecentFailures::default();
        for (item, nameless) in [(0, Some(1)), (1, Some(2)), (2, None)] {
            recent.add(1, failure(item), nameless);
        }
        recent.name(1, 77);
        recent.name(1, 78);
        assert_eq!(recent.latest().iter().map(|failure| failure.pid).collect::<Vec<_>>(), [77, 0, 0]);
    }
}
