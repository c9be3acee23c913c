//! Owns the order in which jobs get a thread: by priority, then first come, first served. Never waits.

use super::job::Job;
use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

/// The jobs of which items are left to begin.
#[derive(Debug)]
pub(super) struct Queue<T> {
    /// Those of priority zero, which nearly all have.
    plain: VecDeque<Entry<T>>,
    others: BTreeMap<Reverse<i16>, VecDeque<Entry<T>>>,
}

#[derive(Debug)]
struct Entry<T> {
    job: Arc<Job<T>>,
    /// The first item that nobody has taken.
    next: u32,
}

/// Some consecutive items of a job, for one thread.
#[derive(Debug)]
pub struct Chunk<T> {
    /// The job.
    pub job: Arc<Job<T>>,
    /// The items, by their places in it.
    pub items: Range<u32>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { plain: VecDeque::new(), others: BTreeMap::new() }
    }
}

impl<T> Queue<T> {
    pub(super) fn push(&mut self, priority: i16, job: Arc<Job<T>>) {
        let lane = if priority == 0 { &mut self.plain } else { self.others.entry(Reverse(priority)).or_default() };
        lane.push_back(Entry { job, next: 0 });
    }

    /// The next items for one of so many threads. What was cancelled is passed over.
    pub(super) fn take(&mut self, workers: u16) -> Option<Chunk<T>> {
        loop {
            let other = self.others.first_entry().filter(|lane| lane.key().0 > 0 || self.plain.is_empty());
            let Some(mut other) = other else { break };
            let chunk = take_from(other.get_mut(), workers);
            if other.get().is_empty() {
                other.remove();
            }
            if chunk.is_some() {
                return chunk;
            }
        }
        let chunk = take_from(&mut self.plain, workers);
        // What was left there may have been shells alone, before jobs of a lower priority.
        if chunk.is_none() && !self.others.is_empty() { self.take(workers) } else { chunk }
    }

    /// Single calls that are next, at most `most`, and no more than leave some for the others of so many threads.
    pub(super) fn take_singles(&mut self, workers: u16, most: usize) -> Vec<Chunk<T>> {
        let urgent = self.others.first_entry().filter(|lane| lane.key().0 > 0 || self.plain.is_empty());
        let lane = urgent.map_or(&mut self.plain, |lane| lane.into_mut());
        let share = lane.len() / (2 * usize::from(workers));
        let mut taken = Vec::new();
        while taken.len() < most.min(share) && lane.front().is_some_and(|entry| entry.job.items() == 1) {
            let Some(Entry { job, .. }) = lane.pop_front() else { break };
            if job.begin() {
                taken.push(Chunk { job, items: 0..1 });
            }
        }
        taken
    }

    /// Every job, which is nobody's any more.
    pub(super) fn drain(&mut self) -> Vec<Arc<Job<T>>> {
        let others = std::mem::take(&mut self.others).into_values().flatten();
        self.plain.drain(..).chain(others).map(|entry| entry.job).collect()
    }

    /// Every job of which nothing has begun.
    pub(super) fn drain_waiting(&mut self) -> Vec<Arc<Job<T>>> {
        let mut waiting = Vec::new();
        for lane in std::iter::once(&mut self.plain).chain(self.others.values_mut()) {
            let (begun, others) = std::mem::take(lane).into_iter().partition(|entry| entry.next > 0);
            *lane = begun;
            waiting.extend(VecDeque::into_iter(others).map(|entry: Entry<T>| entry.job));
        }
        self.others.retain(|_, lane| !lane.is_empty());
        waiting
    }
}

fn take_from<T>(lane: &mut VecDeque<Entry<T>>, workers: u16) -> Option<Chunk<T>> {
    loop {
        let entry = lane.front_mut()?;
        let first = entry.next;
        if first == 0 && !entry.job.begin() {
            lane.pop_front();
            continue;
        }
        let items = entry.job.items();
        let end = first + entry.job.share(items - first, workers);
        if end < items {
            entry.next = end;
            return Some(Chunk { job: Arc::clone(&entry.job), items: first..end });
        }
        return lane.pop_front().map(|entry| Chunk { job: entry.job, items: first..items });
    }
}
