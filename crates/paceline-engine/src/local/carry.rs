//! Owns what a pool has to know of work that its threads hand on: single calls that travel together, and the accounts of
//! the workers, elsewhere, who did it. Never hands anything on itself.

use super::{Books, Chunk, Ended, Job, Local};
use crate::history::{Failed, Stretch};
use crate::pending::Stage;
use std::ops::Range;
use std::sync::Arc;

/// What a worker elsewhere has done without a break, in the time of this process.
#[derive(Clone, Debug)]
pub struct Carried<'a> {
    /// Which items of a job.
    pub items: Range<u32>,
    /// The name of the function.
    pub function: &'a str,
    /// How often they had been begun before.
    pub attempt: u16,
    /// How many of them have no result.
    pub failed: Failed,
    /// When it began, in nanoseconds of the monotonic clock.
    pub began_ns: u64,
    /// When it ended.
    pub ended_ns: u64,
    /// For how long of that the worker was at it.
    pub busy_ns: u64,
}

impl<T> Local<T> {
    /// A thread has begun that runs nothing itself, and so has no account.
    pub fn enter_lane(&self, thread_id: i32) {
        self.lock().present.push(thread_id);
    }

    /// The account of a worker elsewhere.
    #[must_use]
    pub fn open_account(&self, host: &Arc<str>, pid: i32) -> usize {
        let mut books = self.books();
        let number = books.accounts.open(pid);
        books.accounts.workers[number].host = Arc::clone(host);
        number
    }

    /// Single calls that may travel along with one that was taken: as many as `most`, if so many wait that the other
    /// threads find something as well.
    #[must_use]
    pub fn take_singles(&self, most: usize) -> Vec<Chunk<T>> {
        if self.is_foreign() { Vec::new() } else { self.lock().queue.take_singles(self.workers, most) }
    }

    /// Notes in the books what a worker elsewhere has done.
    pub fn note_carried(&self, account: usize, job: &Job<T>, carried: &Carried<'_>) {
        let numbers = job.numbers(&carried.items);
        job.count_raised(carried.failed.raised);
        let mut books = self.books();
        let Books { accounts, history } = &mut *books;
        accounts.note_end(carried.ended_ns);
        accounts.add(account, carried.busy_ns, numbers.clone());
        history.count_failed(carried.failed);
        let function = history.number(carried.function);
        history.add(Stretch {
            worker: u16::try_from(account).unwrap_or(u16::MAX),
            function,
            first_item: numbers.start,
            items: carried.items.end - carried.items.start,
            merged: 1,
            attempt: carried.attempt,
            fate: carried.failed.fate(),
            submitted_ns: job.submitted_ns(),
            began_ns: carried.began_ns,
            ended_ns: carried.ended_ns,
            busy_ns: carried.busy_ns,
            longest_ns: carried.busy_ns,
        });
    }

    /// Gives up a job that was begun and will have no outcome; what was hung on it, unless it had ended before. The caller
    /// empties the payload.
    #[must_use]
    pub fn abandon(&self, job: &Arc<Job<T>>) -> Option<Ended<T>> {
        job.end(Stage::Abandoned).then(|| (Arc::clone(job), self.tell(job)))
    }
}
