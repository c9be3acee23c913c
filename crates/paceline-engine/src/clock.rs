//! Owns the clock that parent and workers share: the system's monotonic one, in nanoseconds.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of the monotonic clock, comparable between the processes of one machine.
#[must_use]
pub fn now_ns() -> u64 {
    read(ClockId::Monotonic)
}

/// The same, a few milliseconds late, in a fifth of the time. The sum of many short times is right nevertheless.
#[must_use]
pub fn coarse_ns() -> u64 {
    read(ClockId::MonotonicCoarse)
}

fn read(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}
