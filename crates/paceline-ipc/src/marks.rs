//! Owns what a worker tells of a task while it runs it: when it began, how far it is, when it ended. Never knows what is
//! run.
//!
//! # Memory ordering
//!
//! The parent looks at these at any moment ([`Table::look`](crate::table::Table::look)), also while the worker writes
//! them, so all are atomic. Each that can tell of a *later* use of the slot is stored with `Release` and loaded with
//! `Acquire`: whoever reads what a later use has stored also sees that the state word has moved on. When the worker ended
//! is read only once the slot is done, which orders it.

use crate::sync::{AtomicU64, Ordering};

/// Which of two places of the answer is the current one.
const SECOND_ANSWER: u64 = 1 << 63;
/// Whether the items run side by side.
const SIDE_BY_SIDE: u64 = 1 << 62;
/// Whether the worker gets ready for the task and runs nothing of it yet.
const PREPARING: u64 = 1 << 61;
/// Whether an item has ended otherwise than with a result.
const FAILED: u64 = 1 << 60;
/// The other bits of `progress` count finished items.
const FINISHED: u64 = FAILED - 1;

/// The marks of one task; all zero is a task that was not begun.
#[derive(Debug)]
#[repr(C)]
pub struct Marks {
    began_ns: AtomicU64,
    ended_ns: AtomicU64,
    progress: AtomicU64,
}

/// The parent's half.
impl Marks {
    /// Back to the beginning, for the next task. Before it is published.
    pub fn reset(&self) {
        self.began_ns.store(0, Ordering::Release);
        self.progress.store(0, Ordering::Release);
    }

    /// When the worker began, in nanoseconds of the monotonic clock; zero if it has not.
    #[must_use]
    pub fn began_ns(&self) -> u64 {
        self.began_ns.load(Ordering::Acquire)
    }

    /// When the worker ended; meaningless until it has answered.
    #[must_use]
    pub fn ended_ns(&self) -> u64 {
        self.ended_ns.load(Ordering::Relaxed)
    }

    /// How many items are finished.
    #[must_use]
    pub fn finished(&self) -> u32 {
        self.progress().finished()
    }

    /// How far the worker is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress(self.progress.load(Ordering::Acquire))
    }
}

/// The worker's half.
impl Marks {
    /// The worker begins.
    pub fn begin(&self, now_ns: u64) {
        self.began_ns.store(now_ns, Ordering::Release);
    }

    /// The worker, which has begun, gets ready for the task; its time counts anew from
    /// [`end_preparing`](Self::end_preparing) on, which is to follow.
    pub fn prepare(&self) {
        self.progress.fetch_or(PREPARING, Ordering::Release);
    }

    /// The worker is ready, and begins with the task itself.
    pub fn end_preparing(&self, now_ns: u64) {
        self.began_ns.store(now_ns, Ordering::Release);
        self.progress.fetch_and(!PREPARING, Ordering::Release);
    }

    /// The worker has ended.
    pub fn end(&self, now_ns: u64) {
        self.ended_ns.store(now_ns, Ordering::Relaxed);
    }

    /// Says that all items are begun at once, before the first is.
    pub fn begin_side_by_side(&self) {
        self.progress.fetch_or(SIDE_BY_SIDE, Ordering::Release);
    }

    /// Says that an item has ended otherwise than with a result, before it is counted.
    pub fn note_failure(&self) {
        self.progress.fetch_or(FAILED, Ordering::Release);
    }

    /// Counts one more item as finished, its outcome being written.
    pub fn count_finished(&self) {
        // Only the worker changes it now. What it finds there may be anything, should somebody have scribbled on it.
        self.progress.store(self.progress.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
    }

    /// The other place of the answer is the current one from now on, its bytes being written.
    pub fn switch_answer(&self) {
        self.progress.store(self.progress.load(Ordering::Relaxed) ^ SECOND_ANSWER, Ordering::Release);
    }
}

/// How far a worker is, as seen in one look.
#[derive(Clone, Copy, Debug)]
pub struct Progress(u64);

impl Progress {
    /// How many items are finished.
    #[must_use]
    pub fn finished(self) -> u32 {
        u32::try_from(self.0 & FINISHED).unwrap_or(u32::MAX)
    }

    /// Whether all items were begun at once.
    #[must_use]
    pub fn is_side_by_side(self) -> bool {
        self.0 & SIDE_BY_SIDE != 0
    }

    /// Whether the worker still gets ready.
    #[must_use]
    pub fn is_preparing(self) -> bool {
        self.0 & PREPARING != 0
    }

    /// Whether an item has ended otherwise than with a result.
    #[must_use]
    pub fn has_failures(self) -> bool {
        self.0 & FAILED != 0
    }

    /// Which of its two places the answer has.
    #[must_use]
    pub fn answer(self) -> usize {
        usize::from(self.0 & SECOND_ANSWER != 0)
    }
}

#[cfg(loom)]
impl Default for Marks {
    fn default() -> Self {
        Self { began_ns: AtomicU64::new(0), ended_ns: AtomicU64::new(0), progress: AtomicU64::new(0) }
    }
}
