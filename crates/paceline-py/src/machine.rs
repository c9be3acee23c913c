//! Owns how many CPUs are this process's to use, and passes on what the system tells of the machine. Never uses any of it.

use paceline_engine::Machine;
use pyo3::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many processes like this one share what the system allows it: more than one in a worker.
static SHARERS: AtomicUsize = AtomicUsize::new(1);

/// How many CPUs this process may really use: affinity mask and cgroup quota, and in a worker its part of them; at
/// least one.
#[pyfunction]
pub(crate) fn default_workers() -> usize {
    (usable_cpus() / sharers()).max(1)
}

/// How many CPUs this process may use, with whoever shares them: affinity mask and cgroup quota.
pub(crate) fn usable_cpus() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
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

/// How many CPUs' time there is; bytes of memory: of the machine, those that are available, and of the control group; and
/// how often processes were ended for want of it. What is not told, or has no limit, is none.
#[pyfunction]
#[pyo3(signature = (root = ""))]
pub(crate) fn machine_limits(root: &str) -> (Option<f64>, Option<u64>, Option<u64>, Option<u64>, u64) {
    let Machine { cpu_quota, memory_bytes, available_bytes, group_limit_bytes, out_of_memory_kills } =
        Machine::look(root);
    (cpu_quota, memory_bytes, available_bytes, group_limit_bytes, out_of_memory_kills)
}
