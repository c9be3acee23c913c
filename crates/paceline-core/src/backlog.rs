//! Owns the order of the jobs that have waiting items, and how many items wait in all. Never looks into a job.
//!
//! Jobs stand in the order in which they were submitted, always: a job of which items come back takes its old place,
//! before every job that came later. An entry of a job that has ended stays until it reaches the front and is dropped
//! there, so that cancelling one of a million jobs does not search for it. The place tells such an entry from one of
//! a later job with the same number.

use std::collections::VecDeque;

use crate::ids::JobId;

/// A job that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) place: u64,
    pub(crate) job: JobId,
}

/// The jobs that wait, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    entries: VecDeque<Entry>,
    waiting_items: u64,
}

impl Backlog {
    pub(crate) fn waiting_items(&self) -> u64 {
        self.waiting_items
    }

    pub(crate) fn front(&self) -> Option<Entry> {
        self.entries.front().copied()
    }

    pub(crate) fn drop_front(&mut self) {
        self.entries.pop_front();
    }

    /// Gives a job its place. A new job goes to the end; one that comes back is nearly always the oldest, and is
    /// found at the front at once.
    pub(crate) fn enter(&mut self, entry: Entry) {
        if self.entries.back().is_none_or(|last| last.place < entry.place) {
            self.entries.push_back(entry);
        } else {
            let index = self.entries.partition_point(|other| other.place < entry.place);
            self.entries.insert(index, entry);
        }
    }

    pub(crate) fn add_items(&mut self, items: u32) {
        self.waiting_items += u64::from(items);
    }

    pub(crate) fn remove_items(&mut self, items: u32) {
        self.waiting_items -= u64::from(items);
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.waiting_items = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_that_comes_back_takes_its_place_by_age() {
        let mut backlog = Backlog::default();
        for place in [5, 7, 2, 3, 6] {
            backlog.enter(Entry { place, job: JobId(0) });
        }
        let order: Vec<u64> = backlog.entries.iter().map(|entry| entry.place).collect();
        assert_eq!(order, [2, 3, 5, 6, 7]);
    }
}
