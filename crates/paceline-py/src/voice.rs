//! Owns what a worker does natively in order to be heard: unfinished lines are written when a task ends, lines can say
//! which task they come from, records go to the parent. Never knows who listens.

use crate::current::current_item;
use crate::intern::intern;
use pyo3::prelude::*;
use pyo3::types::PyModule;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Text has been written that has not reached its pipe, because its line is unfinished.
static OWES_FLUSH: AtomicBool = AtomicBool::new(false);

/// This worker has written text; what has an `unfinished` line is to be flushed when the task ends.
#[pyfunction]
pub(crate) fn note_speech(unfinished: bool) {
    paceline_engine::note_speech();
    if unfinished {
        OWES_FLUSH.store(true, Ordering::Relaxed);
    }
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

/// Lines are to say where they come from.
static PREFIXES: AtomicBool = AtomicBool::new(false);
/// Which function the latest items were given to. Coroutines take turns, so that it takes more than one.
static CALLS: Mutex<VecDeque<(Range<u64>, String)>> = Mutex::new(VecDeque::new());
/// How many calls are remembered; a coroutine that has waited for longer than that many others is named by its item.
const CALLS_KEPT: usize = 1024;

/// A call of these items begins.
#[inline]
pub(crate) fn begin_call<E>(items: Range<u64>, function: &Result<Bound<'_, PyAny>, E>) {
    if PREFIXES.load(Ordering::Relaxed) {
        remember_call(items, function.as_ref().ok());
    }
}

#[cold]
fn remember_call(items: Range<u64>, function: Option<&Bound<'_, PyAny>>) {
    let name = function.and_then(|function| {
        let name = function.getattr("__qualname__").or_else(|_| function.get_type().getattr("__qualname__"));
        name.and_then(|name| name.extract::<String>()).ok()
    });
    let mut calls = CALLS.lock().unwrap_or_else(PoisonError::into_inner);
    calls.truncate(CALLS_KEPT - 1);
    calls.push_front((items, name.unwrap_or_default()));
}

/// From now on, lines say where they come from.
#[pyfunction]
pub(crate) fn prefix_lines() {
    PREFIXES.store(true, Ordering::Relaxed);
}

/// What a line that is written now begins with: this process, and the task if there is one.
#[pyfunction]
pub(crate) fn line_prefix(py: Python<'_>) -> PyResult<String> {
    let pid = std::process::id();
    let Some(item) = current_item(py)? else { return Ok(format!("[{pid}] ")) };
    let calls = CALLS.lock().unwrap_or_else(PoisonError::into_inner);
    let name = calls.iter().find(|(items, _)| items.contains(&item)).map_or("", |(_, name)| name);
    Ok(format!("[{pid} {name}[{item}]] "))
}

pub(crate) fn flush_streams(py: Python<'_>) {
    let Ok(sys) = PyModule::import(py, "sys") else { return };
    for stream in [intern!(py, "stdout"), intern!(py, "stderr")] {
        let _ = sys.getattr(stream).and_then(|stream| stream.call_method0(intern!(py, "flush")));
    }
}
