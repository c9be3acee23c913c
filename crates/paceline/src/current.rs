//! Owns what a task can know of itself: its number, its attempt, a seed of its own, and whether it is to stop. Never stops
//! one.

use paceline_engine::worker::noted_stops;
use std::cell::Cell;

/// What a thread knows of the task that it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CurrentTask {
    number: u64,
    index: u32,
    attempt: u16,
    seed: u64,
}

thread_local! {
    static CURRENT: Cell<Option<CurrentTask>> = const { Cell::new(None) };
}

/// The task that this thread runs; none outside of one.
///
/// ```
/// use paceline::{Backend, Pool, current_task};
///
/// let pool = Pool::builder().backend(Backend::Threads).workers(2).build()?;
/// let indices = pool.map(|_: &str| current_task().map(|task| task.index()), ["a", "b"])?;
/// assert_eq!(indices, [Some(0), Some(1)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn current_task() -> Option<CurrentTask> {
    CURRENT.get()
}

impl CurrentTask {
    /// Its number among all tasks of its pool, in the order of their submission, from zero.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Its place in its map, from zero.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index as usize
    }

    /// How often it had been begun before: zero unless it is run again.
    #[must_use]
    pub fn attempt(&self) -> usize {
        usize::from(self.attempt)
    }

    /// A seed for random numbers that no other task of the pool has. With [`Builder::seed`](crate::Builder::seed) it is the
    /// same in each run, on any number of workers, and when the task is run again.
    #[must_use]
    pub fn seed(&self) -> u64 {
        mixed(self.seed.wrapping_add(mixed(self.number.wrapping_add(1))))
    }

    /// Whether it has been asked to stop: it is over its time limit, or was cancelled by force. A task that looks now and
    /// then, and returns, can clean up; one that does not is ended with its worker when its grace is over.
    #[must_use]
    pub fn should_stop(&self) -> bool {
        stoppable::is_stopped()
    }
}

/// The finaliser of `SplitMix64`, which is a bijection: different numbers give different seeds.
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Runs a task in this thread, in the middle of another one or not.
pub(crate) fn within<R>(number: u64, index: u32, attempt: u16, seed: u64, run: impl FnOnce() -> R) -> R {
    let outer = CURRENT.replace(Some(CurrentTask { number, index, attempt, seed }));
    let result = run();
    CURRENT.set(outer);
    result
}

/// The tasks of a worker process, which can be asked to stop. One that calls others in its own thread is asked for them.
pub(crate) mod stoppable {
    use super::{CURRENT, CurrentTask, noted_stops};
    use std::cell::Cell;

    /// A task that runs, and what it was asked.
    #[derive(Clone, Copy)]
    struct Running {
        number: u64,
        attempt: u16,
        /// Once it was asked to stop: whether the rest of its chunk is not to be run either.
        drops_chunk: Option<bool>,
    }

    thread_local! {
        static RUNNING: Cell<Option<Running>> = const { Cell::new(None) };
    }

    /// This thread, which is its worker's main one, begins a task.
    pub(crate) fn begin(number: u64, index: u32, attempt: u16, seed: u64) {
        CURRENT.set(Some(CurrentTask { number, index, attempt, seed }));
        RUNNING.set(Some(Running { number, attempt, drops_chunk: None }));
    }

    /// It has ended; if it was asked to stop, whether the rest of its chunk is not to be run either.
    pub(crate) fn end() -> Option<bool> {
        is_stopped();
        CURRENT.set(None);
        RUNNING.take().and_then(|running| running.drops_chunk)
    }

    /// Whether the task that this thread runs for its worker was asked to stop.
    pub(super) fn is_stopped() -> bool {
        // What is noted is for the main thread, and another one must not take it.
        let Some(mut running) = RUNNING.get() else { return false };
        for stop in noted_stops() {
            // What is asked of another item has come too late: that one has ended.
            if (stop.item, stop.attempt) == (running.number, running.attempt) {
                running.drops_chunk = Some(stop.drops_chunk);
                RUNNING.set(Some(running));
            }
        }
        running.drops_chunk.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_two_tasks_of_a_pool_have_one_seed() {
        let of = |number| CurrentTask { number, index: 0, attempt: 0, seed: 7 }.seed();
        let seeds: HashSet<_> = (0..10_000).map(of).collect();
        assert_eq!(seeds.len(), 10_000);
        assert_eq!(of(3), of(3));
    }
}
