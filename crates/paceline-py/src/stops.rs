//! Owns what a worker does natively about items that are to be stopped: whether it is the one that runs, and that it was.
//! How it is made to stop is Python's `paceline.worker`. And which failures may pass, as Python found out.

use crate::current::{self, Current};
use paceline_engine::worker::{StopRequest, take_stop_of, take_stops};
use pyo3::prelude::*;
use std::cell::RefCell;
use std::collections::HashMap;

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
    /// What is to be stopped, and has not begun: its function is being loaded, or its coroutine made.
    static AWAITED: RefCell<Vec<StopRequest>> = const { RefCell::new(Vec::new()) };
    /// The exceptions for which their calls may be run again, by address. They are kept, so that no other gets it.
    static MAY_PASS: RefCell<HashMap<usize, Py<PyAny>>> = RefCell::new(HashMap::new());
}

/// The item that this thread runs has ended, and cannot be stopped from here on; whether it was.
#[inline]
pub(crate) fn end_item(current: &Current) -> Option<Stopped> {
    let (item, attempt) = current.close();
    STOPPED.with_borrow_mut(Option::take).or_else(|| {
        let StopRequest { drops_chunk, .. } = take_stop_of(item, attempt)?;
        Some(Stopped { stack: String::new(), drops_chunk })
    })
}

/// What is to be stopped has come: number and attempt of each item, and whether this thread runs it. That one counts as
/// stopped from now on, whatever becomes of it; `stack` says what it is doing.
#[pyfunction]
pub(crate) fn begin_stops(stack: &Bound<'_, PyAny>) -> Vec<(u64, u16, bool)> {
    let mut told = Vec::new();
    for request in take_stops() {
        let StopRequest { item, attempt, drops_chunk } = request;
        let is_here = current::here(|current| current.is_at(item, attempt));
        if is_here {
            STOPPED.set(Some(Stopped { stack: String::new(), drops_chunk }));
            // Asking may fail, where the task is about to overflow its stack.
            if let Ok(stack) = stack.call0().and_then(|stack| stack.extract()) {
                STOPPED.set(Some(Stopped { stack, drops_chunk }));
            }
        } else {
            AWAITED.with_borrow_mut(|awaited| awaited.push(request));
            current::here(|current| current.await_stop(true));
        }
        told.push((item, attempt, is_here));
    }
    told
}

/// An item begins, and some item was to be stopped before it had begun; whether it is this one. Others have ended.
#[cold]
pub(crate) fn stops_at_once(item: u64, attempt: u16) -> bool {
    current::here(|current| current.await_stop(false));
    let awaited = AWAITED.take();
    let found = awaited.iter().find(|request| (request.item, request.attempt) == (item, attempt));
    if let Some(StopRequest { drops_chunk, .. }) = found {
        STOPPED.set(Some(Stopped { stack: String::new(), drops_chunk: *drops_chunk }));
    }
    found.is_some()
}

/// Whether this attempt at an item is to be stopped, and was not known when that came; it is taken to be known now.
#[pyfunction]
pub(crate) fn take_stop(item: u64, attempt: u16) -> bool {
    AWAITED.with_borrow_mut(|awaited| {
        let before = awaited.len();
        awaited.retain(|request| (request.item, request.attempt) != (item, attempt));
        before > awaited.len()
    })
}

/// The call that raised this may be run again.
#[pyfunction]
pub(crate) fn note_may_pass(error: &Bound<'_, PyAny>) {
    let kept = error.clone().unbind();
    drop(MAY_PASS.with_borrow_mut(|known| known.insert(error.as_ptr() as usize, kept)));
}

/// Whether that was said of an exception, which is about to be answered, or left out.
pub(crate) fn may_pass(error: &Bound<'_, PyAny>) -> bool {
    let noted = MAY_PASS.with_borrow_mut(|known| known.remove(&(error.as_ptr() as usize)));
    noted.is_some()
}

/// The result of a call that was stopped is not answered.
pub(crate) fn leave_out(py: Python<'_>, result: &PyResult<Bound<'_, PyAny>>) {
    if let Err(error) = result {
        may_pass(error.value(py));
    }
}

/// Lets go of what was said of exceptions that are the outcome of no call, when no call is under way.
#[inline]
pub(crate) fn forget_passing() {
    if MAY_PASS.with_borrow(|known| !known.is_empty()) {
        // What is let go of may run code of Python's, so that happens outside of the borrow.
        drop(MAY_PASS.take());
    }
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
