//! Owns the book of one worker: what it has done, and when. Only looks at what happened.
//!
//! A worker is a thread, or a process on another host. Each has a book of its own, so that none waits for another's, and what it writes stays in the memory that is
//! near to it. Whoever wants to know what all of them did reads one book after the other.
//!
//! What a short call costs to note is mostly the memory: that which is touched for the first time has to be given by the
//! system, a page at a time, in the time of one such call. So what happened last is kept as how it differs from what the
//! same thread did before, in a quarter of the room, and put down in full where it does not fit or somebody asks.

use super::{Carried, Job};
use crate::accounts::{Account, Accounts};
use crate::history::{Failed, Fate, History, Stretch};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a thread has done so far.
#[derive(Debug)]
pub struct Book(Mutex<Pages>);

/// Alone in its cache lines, and in those that are fetched along with them.
#[derive(Debug)]
#[repr(align(128))]
struct Pages {
    accounts: Accounts,
    history: History,
    /// What has happened since.
    steps: Vec<Step>,
    /// Where the history ends.
    end: Mark,
    /// Where the steps end.
    last: Mark,
}

/// The stretch from which the next is told.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    next_item: u64,
    submitted_ns: u64,
    ended_ns: u64,
}

/// How a stretch that ended well differs from the one before.
#[derive(Clone, Copy, Debug)]
struct Step {
    /// How long after that it began.
    gap_ns: u32,
    busy_ns: u32,
    /// How much later its job was submitted, or sooner.
    submitted_ns: i32,
    /// By how many items it is further on, or back, than where that ended.
    items_on: i16,
    items: u8,
    function: u8,
}

/// Four of them take the room of one stretch in full.
const _: () = assert!(size_of::<Step>() == 16);

impl Mark {
    fn after(stretch: &Stretch) -> Self {
        Self {
            next_item: stretch.first_item + u64::from(stretch.items),
            submitted_ns: stretch.submitted_ns,
            ended_ns: stretch.ended_ns,
        }
    }

    /// How to come from here to that; none if it is too far.
    fn step_to(&self, to: &Stretch) -> Option<Step> {
        if to.fate != Fate::Done || to.attempt > 0 || to.busy_ns != to.ended_ns - to.began_ns {
            return None;
        }
        Some(Step {
            gap_ns: to.began_ns.checked_sub(self.ended_ns)?.try_into().ok()?,
            busy_ns: to.busy_ns.try_into().ok()?,
            submitted_ns: to.submitted_ns.wrapping_sub(self.submitted_ns).cast_signed().try_into().ok()?,
            items_on: to.first_item.wrapping_sub(self.next_item).cast_signed().try_into().ok()?,
            items: to.items.try_into().ok()?,
            function: to.function.try_into().ok()?,
        })
    }

    /// Where one comes by such a step.
    fn go(&self, step: Step) -> Stretch {
        let began_ns = self.ended_ns + u64::from(step.gap_ns);
        let busy_ns = u64::from(step.busy_ns);
        Stretch {
            worker: 0,
            function: u16::from(step.function),
            first_item: self.next_item.wrapping_add_signed(step.items_on.into()),
            items: step.items.into(),
            merged: 1,
            attempt: 0,
            fate: Fate::Done,
            submitted_ns: self.submitted_ns.wrapping_add_signed(step.submitted_ns.into()),
            began_ns,
            ended_ns: began_ns + busy_ns,
            busy_ns,
            longest_ns: busy_ns,
        }
    }
}

impl Pages {
    fn add(&mut self, stretch: Stretch) {
        let mark = Mark::after(&stretch);
        let has_room = self.history.has_room_for(self.steps.len() + 1);
        if let Some(step) = self.last.step_to(&stretch).filter(|_| has_room) {
            self.steps.push(step);
        } else {
            self.put_down();
            self.history.add(stretch);
            self.end = mark;
        }
        self.last = mark;
    }

    fn note<T>(&mut self, job: &Job<T>, spell: &Spell, (attempt, failed, busy_ns): (u16, Failed, u64)) {
        let numbers = job.numbers(&spell.items);
        if failed != Failed::default() {
            job.count_raised(failed.raised);
            self.history.count_failed(failed);
        }
        self.accounts.note_end(spell.ended_ns);
        self.accounts.add(0, busy_ns, numbers.clone());
        self.add(Stretch {
            worker: 0,
            function: spell.function,
            first_item: numbers.start,
            items: spell.items.end - spell.items.start,
            merged: 1,
            attempt,
            fate: failed.fate(),
            submitted_ns: job.submitted_ns(),
            began_ns: spell.began_ns,
            ended_ns: spell.ended_ns,
            busy_ns,
            longest_ns: busy_ns,
        });
    }

    /// Puts down in full what has happened.
    fn put_down(&mut self) {
        for step in self.steps.drain(..) {
            let stretch = self.end.go(step);
            self.end = Mark::after(&stretch);
            self.history.add(stretch);
        }
    }
}

/// What a thread has done without a break.
#[derive(Clone, Debug)]
pub struct Spell {
    /// Which items of a job.
    pub items: Range<u32>,
    /// How many of them raised.
    pub raised: u32,
    /// The function's number in the book.
    pub function: u16,
    /// When it began, in nanoseconds of the monotonic clock.
    pub began_ns: u64,
    /// When it ended.
    pub ended_ns: u64,
}

impl Book {
    /// The book of a worker, which tells so many stretches apart.
    pub(super) fn of(id: i32, host: Arc<str>, stretches: usize) -> Self {
        let workers = vec![Account { pid: id, host, ..Account::default() }];
        let accounts = Accounts { workers, ..Accounts::default() };
        Self(Mutex::new(Pages {
            accounts,
            history: History::with_room(stretches),
            steps: Vec::new(),
            end: Mark::default(),
            last: Mark::default(),
        }))
    }

    fn open(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number by which the function of this name is known here.
    pub fn number(&self, name: &str) -> u16 {
        self.open().history.number(name)
    }

    /// Notes what a thread has done.
    pub fn note<T>(&self, job: &Job<T>, spell: &Spell) {
        let failed = Failed { raised: u64::from(spell.raised), ..Failed::default() };
        let busy_ns = spell.ended_ns.saturating_sub(spell.began_ns);
        self.open().note(job, spell, (0, failed, busy_ns));
    }

    /// Notes what a worker elsewhere has done.
    pub fn note_carried<T>(&self, job: &Job<T>, carried: &Carried<'_>) {
        let Carried { items, function, attempt, failed, began_ns, ended_ns, busy_ns } = carried.clone();
        let mut pages = self.open();
        let function = pages.history.number(function);
        pages.note(job, &Spell { items, raised: 0, function, began_ns, ended_ns }, (attempt, failed, busy_ns));
    }

    /// Adds its account to those of other threads.
    pub(super) fn add_account(&self, all: &mut Accounts) {
        let pages = self.open();
        all.note_end(pages.accounts.ended_ns);
        all.ended_items += pages.accounts.ended_items;
        all.workers.extend(pages.accounts.workers.iter().cloned());
    }

    /// Adds its history to that of other threads, as that of the one with this number.
    pub(super) fn add_history(&self, all: &mut History, worker: usize) {
        let mut pages = self.open();
        pages.put_down();
        all.add_all(&pages.history, u16::try_from(worker).unwrap_or(u16::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::Pace;
    use paceline_core::Sizing;

    #[test]
    fn what_a_book_tells_is_what_was_noted() {
        // Gaps, times, items and functions that fit into a step, and such that do not.
        let (near, far) = ([0, 0, 0, 1, 250, 70_000], [1 << 31, 1 << 32, 1 << 40]);
        let pick = |number: usize| if number % 37 == 5 { far[number % 3] } else { near[number % 6] };
        let names: Vec<_> = (0..300).map(|number| format!("f{number}")).collect();
        let book = Book::of(77, Arc::default(), 1 << 12);
        let mut expected = Vec::new();
        let mut now = 1 << 33;
        for number in 0..2_000_usize {
            let items = u32::try_from(pick(number * 7)).unwrap_or(9).max(1);
            let job = Job::new((), items, Sizing::Measured, None);
            let first_item = pick(number * 3) + number as u64;
            let submitted_ns = now - pick(number * 5).min(now);
            job.enter(first_item, submitted_ns, Pace::HERE);
            let began_ns = now + pick(number * 11);
            let ended_ns = began_ns + pick(number * 13);
            now = ended_ns;
            let raised = u32::from(number % 50 == 3);
            let place = if number % 100 < 90 { 0 } else { number % 300 };
            book.note(
                &job,
                &Spell { items: 0..items, raised, function: book.number(&names[place]), began_ns, ended_ns },
            );
            let fate = if raised > 0 { Fate::Raised } else { Fate::Done };
            expected.push((&*names[place], first_item, items, fate, submitted_ns, began_ns, ended_ns));
            if number == 1_000 {
                // What has been told once is there as before.
                book.add_history(&mut History::default(), 0);
            }
        }
        assert!(book.open().steps.len() < 1_000, "some do not fit");
        let mut history = History::default();
        book.add_history(&mut history, 3);
        let told: Vec<_> = history
            .stretches()
            .iter()
            .map(|one| {
                assert_eq!((one.worker, one.merged, one.busy_ns), (3, 1, one.ended_ns - one.began_ns));
                let name = &*history.names()[usize::from(one.function)];
                (name, one.first_item, one.items, one.fate, one.submitted_ns, one.began_ns, one.ended_ns)
            })
            .collect();
        assert_eq!(told, expected);
        assert_eq!(history.failed().raised, 40);
    }

    #[test]
    fn short_calls_are_noted_in_little_room_and_told_as_one_where_there_is_no_more() {
        let book = Book::of(77, Arc::default(), 1_000);
        for number in 0..10_000 {
            let job = Job::new((), 1, Sizing::Measured, None);
            job.enter(number, 5, Pace::HERE);
            let began_ns = 100 * number;
            book.note(
                &job,
                &Spell { items: 0..1, raised: 0, function: book.number("f"), began_ns, ended_ns: began_ns + 99 },
            );
            if number == 900 {
                assert_eq!(book.open().steps.len(), 901);
            }
        }
        let pages = book.open();
        assert!(pages.history.stretches().len() + pages.steps.len() <= 1_000);
        drop(pages);
        let mut history = History::default();
        book.add_history(&mut history, 0);
        let told = history.stretches();
        assert_eq!(told.iter().map(|one| u64::from(one.items)).sum::<u64>(), 10_000);
        assert_eq!(told.iter().map(|one| one.busy_ns).sum::<u64>(), 990_000);
    }
}
