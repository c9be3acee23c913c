//! Owns how many CPUs are this process's to use. Never uses one.

use pyo3::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many processes like this one share what the system allows it: more than one in a worker.
static SHARERS: AtomicUsize = AtomicUsize::new(1);

/// How many CPUs this process may really use: affinity mask and cgroup quota, and in a worker its part of them; at
/// least one.
#[pyfunction]
pub(crate) fn default_workers() -> usize {
    let allowed = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (allowed / sharers()).max(1)
}

/// How many processes like this one share its CPUs.
#[pyfunction]
pub(crate) fn sharers() -> usize {
    SHARERS.load(Ordering::Relaxed).max(1)
}

/// Makes this process one of that many that share its CPUs.
#[pyfunction]
pub(crate) fn share_machine(sharers: usize) {
    SHARERS.store(sharers, Ordering::Relaxed);
}
