//! Owns the choice of how many items of a job make one chunk. Never knows which items, or who runs them.
//!
//! # The problem
//!
//! Each chunk costs something to hand out, so chunks should be big. The pool is done when its last worker is, so at
//! the end chunks should be small. Nobody knows beforehand how long an item takes, and items differ.
//!
//! # The answer
//!
//! *Guided self-scheduling* (C. D. Polychronopoulos and D. J. Kuck, "Guided Self-Scheduling: A Practical Scheduling
//! Scheme for Parallel Supercomputers", IEEE Transactions on Computers C-36(12), 1987) hands out `remaining / workers`
//! items at a time: big chunks first, ever smaller ones towards the end. When items differ, the first chunks can be so
//! big that one of them outlasts all others; *factoring* (S. F. Hummel, E. Schonberg and L. E. Flynn, "Factoring: A
//! Method for Scheduling Parallel Loops", Communications of the ACM 35(8), 1992) therefore divides by twice the number
//! of workers, and so do we. Both only count items. As we also know how long chunks took, we bound a chunk by time:
//!
//! - not more than [`TARGET_NS`] of work, as beyond that nothing is gained: overhead is far below a thousandth, while
//!   whatever follows a surprisingly long item in the same chunk has to wait for it;
//! - not less than [`WORTHWHILE_NS`] towards the end, but never more than an even share of what remains.
//!
//! # The estimate
//!
//! The time of an item is the total time over the total number of items of the chunks that ended, where each new
//! chunk halves the weight of all before it. Taking totals, not the mean of the chunks' means, lets a chunk of
//! thousands outweigh the probes of one item, which are dominated by what only the first item costs; the halving
//! follows items that become slower or faster along the job. Extrapolation is bounded: a chunk has at most
//! [`MOST_GROWTH`] times as many items as the biggest that has ended, so two steps lead from a probe to thousands, and
//! a probe that happened to be fast cannot put half of the job into one chunk.

/// How much work a chunk should be.
pub(crate) const TARGET_NS: u64 = 2_000_000;

/// How much work a chunk should be at least, as long as every worker can have one like it.
pub(crate) const WORTHWHILE_NS: u64 = 50_000;

/// How many times bigger than any that has ended a chunk may be.
pub(crate) const MOST_GROWTH: u32 = 64;

/// What one item weighs in the decaying totals, so that halving them loses little to rounding.
const SCALE: u64 = 64;

/// The longest time of a chunk that is taken at its word (a month); keeps the totals from overflowing.
const MOST_BUSY_NS: u64 = 1 << 51;

/// What is known of the time that the items of a job take.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    scaled_busy_ns: u64,
    scaled_items: u64,
    biggest_chunk: u32,
}

impl Pace {
    /// Takes in how long a chunk took that has ended.
    pub(crate) fn note(&mut self, items: u32, busy_ns: u64) {
        self.scaled_busy_ns = self.scaled_busy_ns / 2 + busy_ns.min(MOST_BUSY_NS) * SCALE;
        self.scaled_items = self.scaled_items / 2 + u64::from(items) * SCALE;
        self.biggest_chunk = self.biggest_chunk.max(items);
    }

    /// How many items the next chunk should have, at least one, if so many remain to be published.
    ///
    /// One, until the first chunk of the job has ended.
    pub(crate) fn chunk_items(&self, remaining: u32, workers: u32) -> u32 {
        if self.biggest_chunk == 0 {
            return 1;
        }
        let guided = remaining.div_ceil(workers * 2);
        let worthwhile = self.items_in(WORTHWHILE_NS).min(remaining.div_ceil(workers));
        self.items_in(TARGET_NS).min(guided.max(worthwhile)).min(self.biggest_chunk.saturating_mul(MOST_GROWTH)).max(1)
    }

    /// How many items take about this long.
    fn items_in(&self, time_ns: u64) -> u32 {
        u32::try_from(time_ns * self.scaled_items / self.scaled_busy_ns.max(1)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests;
