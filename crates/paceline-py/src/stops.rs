//! Owns what a worker does natively about items that are to be stopped: whether it is the one that runs, and that it was.
//! How it is made to stop is Python's `paceline.worker`. And which failures may pass, as Python found out.

use crate::current::{self, Current};
use paceline_engine::worker::{StopRequest, take_stops};
use pyo3::prelude::*;
use std::cell::RefCell;
use std::collections::HashSet;

/// An item that was stopped.
pub(crate) struct Stopped {
    /// What it was doing.
    pub(crate) stack: String,
    /// Whether the rest of its chunk is not to be run either.
    pub(crate) drops_chunk: bool,
}

thread_local! {
    /// The item that this thread runs has been asked to stop.
    static STOPPED: RefCell<Option<Stopped>> = const { RefCell::new(None) };
    /// The exceptions for which their calls may be run again, by identity; each lives until it has been answered.
    static MAY_PASS: RefCell<HashSet<usize>> = RefCell::new(HashSet::new());
}

/// The item that this thread runs has ended, and cannot be stopped from here on; whether it was.
#[inline]
pub(crate) fn end_item(current: &Current) -> Option<Stopped> {
    current.close();
    STOPPED.with_borrow_mut(Option::take)
}

/// What is to be stopped has come: number and attempt of each item, and whether this thread runs it. That one counts as
/// stopped from now on, whatever becomes of it; `stack` says what it is doing.
#[pyfunction]
pub(crate) fn begin_stops(stack: &Bound<'_, PyAny>) -> PyResult<Vec<(u64, u16, bool)>> {
    let mut told = Vec::new();
    for StopRequest { item, attempt, drops_chunk } in take_stops() {
        let is_here = current::here(|current| current.is_at(item, attempt));
        if is_here {
            let stack = stack.call0()?.extract()?;
            STOPPED.set(Some(Stopped { stack, drops_chunk }));
        }
        told.push((item, attempt, is_here));
    }
    Ok(told)
}

/// The call that raised this may be run again.
#[pyfunction]
pub(crate) fn note_may_pass(error: &Bound<'_, PyAny>) {
    MAY_PASS.with_borrow_mut(|known| known.insert(error.as_ptr() as usize));
}

/// Whether that was said of an exception, which is about to be answered.
pub(crate) fn may_pass(error: &Bound<'_, PyAny>) -> bool {
    MAY_PASS.with_borrow_mut(|known| !known.is_empty() && known.remove(&(error.as_ptr() as usize)))
}

/// Has this worker leave for a fresh one when it is found to have more memory than this after a task.
#[pyfunction]
pub(crate) fn retire_above(limit: u64) {
    paceline_engine::worker::retire_above(limit);
}

/// The signals on which a worker stops what it runs, and on which it writes down what it is doing.
#[pyfunction]
pub(crate) fn stop_signals() -> (i32, i32) {
    (paceline_engine::worker::stop_signal(), paceline_engine::worker::stack_signal())
}
