//! Owns the history of a pool: who ran which items, from when to when, how long they had waited, and how that ended. Only
//! looks at what happened.
//!
//! It is bounded: when there are too many stretches, those of one worker that lie close together are told as one, so that
//! the history of a run of any length is whole, and coarse where nothing can be seen apart anyway.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// So many stretches are told apart.
pub(crate) const MOST: usize = 1 << 17;
/// Stretches this close together are the first to be told as one.
const FIRST_GAP_NS: u64 = 1_000;
/// Those further apart than some minutes never are; and it takes few steps until then, since the engine's lock is held.
const LAST_GAP_NS: u64 = 1 << 40;
const GAP_GROWTH: u64 = 16;
/// How much closer together stretches must be that did not end well.
const SPECIAL: u64 = 1 << 20;

/// How a stretch of work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fate {
    /// Every item has a result.
    Done = 0,
    /// At least one of them raised.
    Raised = 1,
    /// At least one of them was stopped, being over its time or cancelled.
    Stopped = 2,
    /// The worker ended with it.
    Lost = 3,
}

/// How many items have ended without a result, counted each time that one was run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failed {
    /// They raised.
    pub raised: u64,
    /// They were stopped, being over their time or cancelled.
    pub stopped: u64,
    /// They were running when their worker ended.
    pub lost: u64,
}

/// What one worker did without a break: some items of one job, run once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The first item's number among all that were ever submitted to the pool.
    pub first_item: u64,
    /// When its job was submitted.
    pub submitted_ns: u64,
    /// When it began.
    pub began_ns: u64,
    /// When it ended.
    pub ended_ns: u64,
    /// For how long of that the worker was at it.
    pub busy_ns: u64,
    /// The longest that one of those that are told as this one took.
    pub longest_ns: u64,
    /// How many items.
    pub items: u32,
    /// How many stretches are told as this one.
    pub merged: u32,
    /// The worker's place in [`Accounts`](crate::Accounts).
    pub worker: u16,
    /// The function's place among the names.
    pub function: u16,
    /// How often the items had been begun before.
    pub attempt: u16,
    /// How it ended.
    pub fate: Fate,
}

/// As long as it has a cache line to itself, to note one costs next to nothing.
const _: () = assert!(size_of::<Stretch>() == 64);

/// What a pool has done so far, stretch by stretch, in the order in which they were taken in.
#[derive(Clone, Debug)]
pub struct History {
    stretches: Vec<Stretch>,
    /// So many of them may there be.
    room: usize,
    names: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u16>,
    /// The function that was looked for last, and its place among the names.
    last: Option<(u64, u16)>,
    /// The place of the name that was looked for last.
    last_number: u16,
    gap_ns: u64,
    forgotten: u64,
    /// Counted apart from the stretches, in which there is no room for it, and which may be forgotten.
    failed: Failed,
}

impl Failed {
    pub(crate) fn add(&mut self, other: Self) {
        self.raised += other.raised;
        self.stopped += other.stopped;
        self.lost += other.lost;
    }

    /// The worst fate among these.
    pub(crate) fn fate(self) -> Fate {
        match self {
            Self { lost: 1.., .. } => Fate::Lost,
            Self { stopped: 1.., .. } => Fate::Stopped,
            Self { raised: 1.., .. } => Fate::Raised,
            Self { raised: 0, stopped: 0, lost: 0 } => Fate::Done,
        }
    }
}

impl Default for History {
    fn default() -> Self {
        Self::with_room(MOST)
    }
}

impl History {
    /// One that tells so many stretches apart.
    pub(crate) fn with_room(room: usize) -> Self {
        Self {
            stretches: Vec::new(),
            room,
            names: Vec::new(),
            numbers: HashMap::new(),
            last: None,
            last_number: 0,
            gap_ns: 0,
            forgotten: 0,
            failed: Failed::default(),
        }
    }

    /// The stretches.
    #[must_use]
    pub fn stretches(&self) -> &[Stretch] {
        &self.stretches
    }

    /// The names of functions, and of those that callers have named otherwise.
    #[must_use]
    pub fn names(&self) -> &[Arc<str>] {
        &self.names
    }

    /// A copy in which nothing ended later than that, whatever workers say.
    pub(crate) fn until(&self, now_ns: u64) -> Self {
        let mut copy = self.clone();
        for stretch in &mut copy.stretches {
            stretch.ended_ns = stretch.ended_ns.min(now_ns);
            stretch.began_ns = stretch.began_ns.min(stretch.ended_ns);
            stretch.busy_ns = stretch.busy_ns.min(stretch.ended_ns - stretch.began_ns);
            stretch.longest_ns = stretch.longest_ns.min(stretch.busy_ns);
        }
        copy
    }

    /// How many items have failed, of all that there ever were.
    #[must_use]
    pub fn failed(&self) -> Failed {
        self.failed
    }

    pub(crate) fn count_failed(&mut self, failed: Failed) {
        self.failed.add(failed);
    }

    /// What of it was done for these items, which are numbered from their first, and of which so many have failed.
    pub(crate) fn of_job(mut self, items: &Range<u64>, failed: Failed) -> Self {
        self.stretches.retain(|stretch| items.contains(&stretch.first_item));
        for stretch in &mut self.stretches {
            stretch.first_item -= items.start;
        }
        self.failed = failed;
        self
    }

    /// How many of the oldest there is nothing left of.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// The place of a name; `function` tells that it is the same as the last time, without looking.
    pub(crate) fn number_of(&mut self, function: u64, label: Option<&Arc<str>>, name: &str) -> u16 {
        match self.last {
            Some((last, number)) if label.is_none() && last == function => number,
            _ => {
                let number = self.number(label.map_or(name, |label| label));
                if label.is_none() {
                    self.last = Some((function, number));
                }
                number
            }
        }
    }

    /// The place of a name; found at once if it is the one that was looked for last.
    #[inline]
    pub(crate) fn number(&mut self, name: &str) -> u16 {
        if self.names.get(usize::from(self.last_number)).is_some_and(|last| **last == *name) {
            return self.last_number;
        }
        self.last_number = self.find_number(name);
        self.last_number
    }

    fn find_number(&mut self, name: &str) -> u16 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = u16::try_from(self.names.len()).unwrap_or(u16::MAX);
        // Of so many functions nobody tells the last apart.
        if number < u16::MAX {
            let name: Arc<str> = name.into();
            self.names.push(Arc::clone(&name));
            self.numbers.insert(name, number);
        }
        number
    }

    #[inline]
    pub(crate) fn add(&mut self, stretch: Stretch) {
        if self.stretches.len() >= self.room {
            self.thin();
        }
        self.stretches.push(stretch);
    }

    /// Whether it could take in so many more without telling any as one.
    pub(crate) fn has_room_for(&self, more: usize) -> bool {
        self.stretches.len() + more <= self.room
    }

    /// Takes in all of another history, which is that of one worker and has room enough here.
    pub(crate) fn add_all(&mut self, other: &Self, worker: u16) {
        let numbers: Vec<u16> = other.names.iter().map(|name| self.number(name)).collect();
        self.stretches.extend(other.stretches.iter().map(|stretch| {
            let function = numbers.get(usize::from(stretch.function)).copied().unwrap_or(u16::MAX);
            Stretch { worker, function, ..stretch.clone() }
        }));
        self.forgotten += other.forgotten;
        self.failed.add(other.failed);
    }

    /// Puts what was taken in of several into the order in which it ended.
    pub(crate) fn put_in_order(&mut self) {
        self.stretches.sort_by_key(|stretch| stretch.ended_ns);
    }

    /// Tells neighbours as one until half of the room is free again.
    #[cold]
    fn thin(&mut self) {
        let mut gap_ns = self.gap_ns.max(FIRST_GAP_NS);
        self.merge(gap_ns);
        while self.stretches.len() > self.room / 2 && gap_ns < LAST_GAP_NS {
            gap_ns *= GAP_GROWTH;
            self.merge(gap_ns);
        }
        if self.stretches.len() <= self.room / 2 {
            self.gap_ns = gap_ns;
        }
        // Of workers that are replaced all the time, or functions that take turns, there may be nothing to tell as one.
        let surplus = self.stretches.len().saturating_sub(self.room / 2);
        self.stretches.drain(..surplus);
        self.forgotten += surplus as u64;
    }

    /// Tells a stretch and the one that the same worker ran just before as one, if the gap between them is short.
    fn merge(&mut self, gap_ns: u64) {
        let mut kept: Vec<Stretch> = Vec::with_capacity(self.room);
        // Of each worker, its latest and where it stands among those that are kept; the other half of a pair is told as
        // that, and a third is not.
        let mut latest: Vec<Option<(usize, bool)>> = Vec::new();
        for stretch in self.stretches.drain(..) {
            let worker = usize::from(stretch.worker);
            if latest.len() <= worker {
                latest.resize(worker + 1, None);
            }
            if let Some((place, is_pair)) = &mut latest[worker]
                && !*is_pair
                && kept[*place].goes_with(&stretch, gap_ns)
            {
                kept[*place].take_in(&stretch);
                *is_pair = true;
                continue;
            }
            latest[worker] = Some((kept.len(), false));
            kept.push(stretch);
        }
        self.stretches = kept;
    }
}

impl Stretch {
    fn goes_with(&self, next: &Self, gap_ns: u64) -> bool {
        let is_alike = |one: &Self| (one.function, one.fate, one.attempt);
        let is_plain = self.fate == Fate::Done && self.attempt == 0;
        // What went wrong is told apart for longest.
        let gap_ns = if is_plain { gap_ns } else { gap_ns / SPECIAL };
        is_alike(self) == is_alike(next)
            // And what takes long for longer than what is between.
            && next.began_ns.saturating_sub(self.ended_ns) <= gap_ns
            && self.busy_ns.min(next.busy_ns) <= gap_ns
    }

    fn take_in(&mut self, next: &Self) {
        self.first_item = self.first_item.min(next.first_item);
        self.submitted_ns = self.submitted_ns.min(next.submitted_ns);
        self.items = self.items.saturating_add(next.items);
        self.merged = self.merged.saturating_add(next.merged);
        self.ended_ns = self.ended_ns.max(next.ended_ns);
        self.busy_ns = self.busy_ns.saturating_add(next.busy_ns);
        self.longest_ns = self.longest_ns.max(next.longest_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(worker: u16, began_ns: u64, busy_ns: u64, fate: Fate) -> Stretch {
        Stretch {
            worker,
            function: 0,
            first_item: began_ns,
            items: 1,
            merged: 1,
            attempt: 0,
            fate,
            submitted_ns: 0,
            began_ns,
            ended_ns: began_ns + busy_ns,
            busy_ns,
            longest_ns: busy_ns,
        }
    }

    #[test]
    fn history_of_any_length_is_whole_and_bounded() {
        let mut history = History::default();
        let all = 5 * MOST as u64;
        for number in 0..all {
            let worker = u16::try_from(number % 2).unwrap();
            let fate = if number % 100_000 == 7 { Fate::Lost } else { Fate::Done };
            history.add(stretch(worker, number * 1_000, 900, fate));
        }
        let told = history.stretches();
        assert!(told.len() <= MOST);
        assert_eq!(told.iter().map(|one| u64::from(one.items)).sum::<u64>(), all);
        assert_eq!(told.iter().map(|one| one.busy_ns).sum::<u64>(), 900 * all);
        let lost: Vec<_> = told.iter().filter(|one| one.fate == Fate::Lost).collect();
        assert_eq!(lost.len(), 7);
        assert!(lost.iter().all(|one| one.items == 1), "what went wrong is told by itself");
    }

    #[test]
    fn long_stretches_are_told_apart_for_longer_than_short_ones() {
        let mut history = History::default();
        for number in 0..MOST as u64 {
            let busy_ns = if number % 1_000 == 0 { 50_000_000 } else { 100 };
            history.add(stretch(0, number * 60_000_000, busy_ns, Fate::Done));
        }
        history.add(stretch(0, u64::MAX / 2, 1, Fate::Done));
        let long = history.stretches().iter().filter(|one| one.items == 1 && one.busy_ns > 1_000_000).count();
        assert!(history.stretches().len() <= MOST / 2 + 1);
        assert!(history.stretches().iter().all(|one| one.longest_ns <= 50_000_000));
        assert!(long <= 132);
    }

    #[test]
    fn history_in_which_nothing_goes_together_forgets_its_beginning() {
        let mut history = History::default();
        for number in 0..2 * MOST as u64 {
            // Of one worker, on functions that take turns.
            let function = u16::try_from(number % 2).unwrap();
            history.add(Stretch { function, ..stretch(0, number, 1, Fate::Done) });
        }
        assert!(history.stretches().len() <= MOST);
        assert_eq!(history.forgotten() + history.stretches().len() as u64, 2 * MOST as u64);
        assert_eq!(history.stretches().last().map(|one| one.began_ns), Some(2 * MOST as u64 - 1));
    }

    #[test]
    fn fate_of_a_stretch_is_the_worst_in_it() {
        let failed = |raised, stopped, lost| Failed { raised, stopped, lost };
        assert_eq!(failed(0, 0, 0).fate(), Fate::Done);
        assert_eq!(failed(9, 0, 0).fate(), Fate::Raised);
        assert_eq!(failed(9, 1, 0).fate(), Fate::Stopped);
        assert_eq!(failed(0, 0, 1).fate(), Fate::Lost);
        let mut history = History::default();
        history.count_failed(failed(9, 1, 0));
        history.count_failed(failed(1, 0, 2));
        assert_eq!(history.failed(), failed(10, 1, 2));
    }

    #[test]
    fn history_of_a_job_has_its_items_alone_numbered_from_its_first() {
        let mut history = History::default();
        for number in 0..6 {
            history.add(stretch(0, number, 1, Fate::Done));
        }
        let failed = Failed { raised: 1, ..Failed::default() };
        let of_job = history.of_job(&(2..5), failed);
        let firsts: Vec<_> = of_job.stretches().iter().map(|one| one.first_item).collect();
        assert_eq!(firsts, [0, 1, 2]);
        assert_eq!(of_job.failed(), failed);
    }

    #[test]
    fn each_name_is_kept_once() {
        let mut history = History::default();
        let label: Arc<str> = "mine".into();
        let numbers = [
            history.number_of(1, None, "f"),
            history.number_of(1, None, "f"),
            history.number_of(1, Some(&label), "f"),
            history.number_of(2, None, "g"),
            history.number_of(3, None, "f"),
        ];
        assert_eq!(numbers, [0, 0, 1, 2, 0]);
        assert_eq!(history.names().iter().map(|name| &**name).collect::<Vec<_>>(), ["f", "mine", "g"]);
    }
}
