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

/// The item that was asked to stop, and whether the rest of its chunk is not to be run either.
#[derive(Clone, Copy)]
struct Stopped {
    number: u64,
    attempt: u16,
    drops_chunk: bool,
}

thread_local! {
    static CURRENT: Cell<Option<CurrentTask>> = const { Cell::new(None) };
    static STOPPED: Cell<Option<Stopped>> = const { Cell::new(None) };
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
        look_for_stops();
        STOPPED.get().is_some_and(|stop| (stop.number, stop.attempt) == (self.number, self.attempt))
    }
}

/// The finaliser of `SplitMix64`, which is a bijection: different numbers give different seeds.
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// This thread begins a task.
pub(crate) fn begin(number: u64, index: u32, attempt: u16, seed: u64) {
    CURRENT.set(Some(CurrentTask { number, index, attempt, seed }));
}

/// It has ended; if it was asked to stop, whether the rest of its chunk is not to be run either.
pub(crate) fn end() -> Option<bool> {
    look_for_stops();
    let current = CURRENT.take()?;
    let stopped = STOPPED.take()?;
    ((stopped.number, stopped.attempt) == (current.number, current.attempt)).then_some(stopped.drops_chunk)
}

fn look_for_stops() {
    for stop in noted_stops() {
        // What is asked of another item came too late: that one has ended.
        if CURRENT.get().is_some_and(|current| (current.number, current.attempt) == (stop.item, stop.attempt)) {
            let drops_chunk = stop.drops_chunk;
            STOPPED.set(Some(Stopped { number: stop.item, attempt: stop.attempt, drops_chunk }));
        }
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
