//! Owns what a pool has to know of work that its threads hand on: single calls that travel together, and the books of
//! the workers, elsewhere, who did it. Never hands anything on itself.

use super::{Book, Chunk, Ended, Job, Local};
use crate::history::Failed;
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
    /// A thread has begun that runs nothing itself: the book that it gets is nobody's, and stays empty.
    #[must_use]
    pub fn enter_lane(&self, thread_id: i32) -> Arc<Book> {
        self.lock().present.push(thread_id);
        Arc::new(Book::of(thread_id, Arc::default(), 0))
    }

    /// The book of a worker elsewhere.
    #[must_use]
    pub fn open_book(&self, host: &Arc<str>, pid: i32) -> Arc<Book> {
        self.add_book(pid, Arc::clone(host))
    }

    /// Single calls that may travel along with one that was taken: as many as `most`, if so many wait that the other
    /// threads find something as well.
    #[must_use]
    pub fn take_singles(&self, most: usize) -> Vec<Chunk<T>> {
        if self.is_foreign() { Vec::new() } else { self.lock().queue.take_singles(self.workers, most) }
    }

    /// Gives up a job that was begun and will have no outcome; what was hung on it, unless it had ended before. The caller
    /// empties the payload.
    #[must_use]
    pub fn abandon(&self, job: &Arc<Job<T>>) -> Option<Ended<T>> {
        job.end(Stage::Abandoned).then(|| (Arc::clone(job), self.tell(job)))
    }
}
