//! Owns what a worker does natively in order to be heard: unfinished lines are written when a task ends, records go to
//! the parent. Never knows who listens.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyModule;
use std::sync::atomic::{AtomicBool, Ordering};

/// Text has been written that has not reached its pipe, because its line is unfinished.
static OWES_FLUSH: AtomicBool = AtomicBool::new(false);

/// This worker has written text that is to be flushed when the task ends.
#[pyfunction]
pub(crate) fn owe_flush() {
    OWES_FLUSH.store(true, Ordering::Relaxed);
}

/// Sends a log record to the parent.
#[pyfunction]
pub(crate) fn send_record(py: Python<'_>, record: &[u8]) -> PyResult<()> {
    py.detach(|| paceline_engine::send_record(record)).map_err(|errno| std::io::Error::from(errno).into())
}

/// Flushes what was written without a line end; costs a look at a flag if nothing was.
#[inline]
pub(crate) fn flush_if_owed(py: Python<'_>) {
    if OWES_FLUSH.load(Ordering::Relaxed) && OWES_FLUSH.swap(false, Ordering::Relaxed) {
        flush_streams(py);
    }
}

pub(crate) fn flush_streams(py: Python<'_>) {
    let Ok(sys) = PyModule::import(py, "sys") else { return };
    for stream in [intern!(py, "stdout"), intern!(py, "stderr")] {
        let _ = sys.getattr(stream).and_then(|stream| stream.call_method0(intern!(py, "flush")));
    }
}
