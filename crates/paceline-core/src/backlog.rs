//! Owns the order of the jobs that have waiting items, and how many items wait in all. Never looks into a job.
//!
//! The most urgent jobs come first, and those of one priority stand in the order in which they were submitted, always:
//! a job of which items come back takes its old place, before every job of its priority that came later. An entry of
//! a job that has ended stays until it reaches the front and is dropped there, so that cancelling one of a million jobs
//! does not search for it. The place tells such an entry from one of a later job with the same number.
//!
//! Nearly every pool knows one priority only. Its jobs stand in one queue, to which a new one is added at the end;
//! the queues of less urgent jobs are a map beside it that is empty then, and costs one look at its length.

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};

use crate::ids::JobId;

/// A job that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) place: u64,
    pub(crate) priority: i16,
    pub(crate) job: JobId,
}

/// The jobs that wait, the most urgent first, and of those the oldest.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    /// Those of the highest priority.
    first: VecDeque<Entry>,
    /// All others, by their priority. None of the queues is empty, and there is none while `first` is empty.
    later: BTreeMap<i16, VecDeque<Entry>>,
    waiting_items: u64,
}

impl Backlog {
    pub(crate) fn waiting_items(&self) -> u64 {
        self.waiting_items
    }

    pub(crate) fn front(&self) -> Option<Entry> {
        self.first.front().copied()
    }

    #[inline]
    pub(crate) fn drop_front(&mut self) {
        self.first.pop_front();
        if self.first.is_empty() && !self.later.is_empty() {
            self.advance_later();
        }
    }

    /// Gives a job its place. A new one nearly always goes to the end.
    #[inline]
    pub(crate) fn enter(&mut self, entry: Entry) {
        let is_last = |last: &Entry| last.priority == entry.priority && last.place < entry.place;
        if self.first.back().is_none_or(is_last) {
            self.first.push_back(entry);
        } else {
            self.enter_before_others(entry);
        }
    }

    #[cold]
    fn advance_later(&mut self) {
        if let Some((_, next)) = self.later.pop_last() {
            self.first = next;
        }
    }

    #[cold]
    fn enter_before_others(&mut self, entry: Entry) {
        let highest = self.front().map_or(entry.priority, |front| front.priority);
        match entry.priority.cmp(&highest) {
            Ordering::Equal => enter_by_age(&mut self.first, entry),
            Ordering::Less => enter_by_age(self.later.entry(entry.priority).or_default(), entry),
            Ordering::Greater => {
                let less_urgent = std::mem::replace(&mut self.first, VecDeque::from([entry]));
                self.later.insert(highest, less_urgent);
            }
        }
    }

    pub(crate) fn add_items(&mut self, items: u32) {
        self.waiting_items += u64::from(items);
    }

    pub(crate) fn remove_items(&mut self, items: u32) {
        self.waiting_items -= u64::from(items);
    }

    pub(crate) fn clear(&mut self) {
        self.first.clear();
        self.later.clear();
        self.waiting_items = 0;
    }
}

/// A job that comes back is nearly always the oldest, and is found at the front at once.
fn enter_by_age(queue: &mut VecDeque<Entry>, entry: Entry) {
    if queue.back().is_none_or(|last| last.place < entry.place) {
        queue.push_back(entry);
    } else {
        let index = queue.partition_point(|other| other.place < entry.place);
        queue.insert(index, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order_of(entries: &[(i16, u64)]) -> Vec<(i16, u64)> {
        let mut backlog = Backlog::default();
        for &(priority, place) in entries {
            backlog.enter(Entry { place, priority, job: JobId(0) });
        }
        let mut order = Vec::new();
        while let Some(entry) = backlog.front() {
            order.push((entry.priority, entry.place));
            backlog.drop_front();
        }
        order
    }

    #[test]
    fn job_that_comes_back_takes_its_place_by_age() {
        let order = order_of(&[(0, 5), (0, 7), (0, 2), (0, 3), (0, 6)]);
        assert_eq!(order, [(0, 2), (0, 3), (0, 5), (0, 6), (0, 7)]);
    }

    #[test]
    fn urgent_jobs_come_first_and_age_counts_within_a_priority() {
        let order = order_of(&[(0, 1), (3, 2), (-5, 3), (0, 4), (3, 6), (9, 7), (3, 5), (-5, 0)]);
        assert_eq!(order, [(9, 7), (3, 2), (3, 5), (3, 6), (0, 1), (0, 4), (-5, 0), (-5, 3)]);
    }
}
