//! Owns the clock that parent and workers share: the system's monotonic one, in nanoseconds.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of the monotonic clock, comparable between the processes of one machine.
#[must_use]
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}
