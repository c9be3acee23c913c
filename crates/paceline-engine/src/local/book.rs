//! Owns the book of one thread: what it has done, and when. Only looks at what happened.
//!
//! Each thread has a book of its own, so that none waits for another's, and what it writes stays in the memory that is
//! near to it. Whoever wants to know what all of them did reads one book after the other.

use super::Job;
use crate::accounts::{Account, Accounts};
use crate::history::{Failed, History, Stretch};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a thread has done so far.
#[derive(Debug)]
pub struct Book(Mutex<Pages>);

/// Alone in its cache lines, and in those that are fetched along with them.
#[derive(Debug)]
#[repr(align(128))]
struct Pages {
    accounts: Accounts,
    history: History,
}

/// What a thread has done without a break.
#[derive(Clone, Debug)]
pub struct Spell<'a> {
    /// Which items of a job.
    pub items: Range<u32>,
    /// How many of them raised.
    pub raised: u32,
    /// The name of the function.
    pub function: &'a str,
    /// When it began, in nanoseconds of the monotonic clock.
    pub began_ns: u64,
    /// When it ended.
    pub ended_ns: u64,
}

impl Book {
    /// The book of a thread that tells so many stretches apart.
    pub(super) fn of_thread(id: i32, stretches: usize) -> Self {
        let workers = vec![Account { pid: id, ..Account::default() }];
        let accounts = Accounts { workers, ..Accounts::default() };
        Self(Mutex::new(Pages { accounts, history: History::with_room(stretches) }))
    }

    fn open(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what the thread has done.
    pub fn note<T>(&self, job: &Job<T>, spell: &Spell<'_>) {
        let numbers = job.numbers(&spell.items);
        let busy_ns = spell.ended_ns.saturating_sub(spell.began_ns);
        let failed = Failed { raised: u64::from(spell.raised), ..Failed::default() };
        let mut pages = self.open();
        let Pages { accounts, history } = &mut *pages;
        if spell.raised > 0 {
            job.count_raised(failed.raised);
            history.count_failed(failed);
        }
        accounts.note_end(spell.ended_ns);
        accounts.add(0, busy_ns, numbers.clone());
        let function = history.number(spell.function);
        history.add(Stretch {
            worker: 0,
            function,
            first_item: numbers.start,
            items: spell.items.end - spell.items.start,
            merged: 1,
            attempt: 0,
            fate: failed.fate(),
            submitted_ns: job.submitted_ns(),
            began_ns: spell.began_ns,
            ended_ns: spell.ended_ns,
            busy_ns,
            longest_ns: busy_ns,
        });
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
        all.add_all(&self.open().history, u16::try_from(worker).unwrap_or(u16::MAX));
    }
}
