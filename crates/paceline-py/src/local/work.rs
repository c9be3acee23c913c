//! Owns what a job holds: its function and its input, and later its outcome. Nothing of Python's runs while its lock is
//! held.

use super::Job;
use crate::outcome::Decoded;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The input of a job, and later its outcome.
pub(crate) struct Work(pub(super) Mutex<Slot>);

pub(super) enum Slot {
    Call(Call),
    Map(Map),
    Ended(Decoded),
    Empty,
}

pub(super) struct Call {
    pub(super) function: Py<PyAny>,
    pub(super) args: Py<PyTuple>,
    pub(super) kwargs: Option<Py<PyDict>>,
    pub(super) context: Py<PyAny>,
}

pub(super) struct Map {
    pub(super) function: Py<PyAny>,
    pub(super) star: bool,
    pub(super) context: Py<PyAny>,
    /// The items; each gives its place to its result.
    pub(super) items: Py<PyList>,
    /// The first item in order to have raised, and what.
    pub(super) failure: Option<(u32, Py<PyAny>)>,
}

impl Work {
    pub(super) fn slot(&self) -> MutexGuard<'_, Slot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn replace(&self, slot: Slot) -> Slot {
        std::mem::replace(&mut *self.slot(), slot)
    }

    /// The outcome, once; of a job that is complete.
    pub(crate) fn take_outcome(&self) -> Option<Decoded> {
        match self.replace(Slot::Empty) {
            Slot::Ended(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// Lets the garbage collector see an outcome that nobody has taken.
    pub(crate) fn traverse(&self, visit: &pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        let Ok(slot) = self.0.try_lock() else { return Ok(()) };
        match &*slot {
            Slot::Ended(Decoded::Value(value)) => visit.call(value),
            Slot::Ended(Decoded::Raised(error, before)) => {
                visit.call(error)?;
                visit.call(before)
            }
            _ => Ok(()),
        }
    }
}

/// A copy of the caller's context variables.
pub(super) fn copy_context(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: the thread is attached, and the call returns an object of its own or an error.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_CopyCurrent()) }
}

/// A copy of a context, for one item of a map.
pub(super) fn copy_of<'py>(context: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: the thread is attached, and the argument is a context: it was made by `copy_context`.
    unsafe { Bound::from_owned_ptr_or_err(context.py(), ffi::PyContext_Copy(context.as_ptr())) }
}

/// Calls something in a context, which no other thread is in.
pub(super) fn in_context<R>(context: &Bound<'_, PyAny>, call: impl FnOnce() -> PyResult<R>) -> PyResult<R> {
    let py = context.py();
    // SAFETY: the thread is attached, and the object is a context: it was made by `PyContext_CopyCurrent` or
    // `PyContext_Copy`. No error is set when it is left, because `call` has taken the one there may be.
    if unsafe { ffi::PyContext_Enter(context.as_ptr()) } != 0 {
        return Err(PyErr::fetch(py));
    }
    let result = call();
    // SAFETY: as above.
    if unsafe { ffi::PyContext_Exit(context.as_ptr()) } != 0 {
        return Err(PyErr::fetch(py));
    }
    result
}

/// Keeps the failure of the first item in order, and lets go of the other.
pub(super) fn note_failure(job: &Job, place: u32, error: Py<PyAny>) {
    let mut slot = job.payload().slot();
    let surplus = match &mut *slot {
        Slot::Map(map) if map.failure.as_ref().is_none_or(|(first, _)| place < *first) => {
            map.failure.replace((place, error)).map(|(_, error)| error)
        }
        _ => Some(error),
    };
    drop(slot);
    drop(surplus);
}

/// Makes the outcome of a map whose items have all ended.
pub(super) fn gather(py: Python<'_>, job: &Job) {
    let slot = job.payload().replace(Slot::Empty);
    let outcome = match slot {
        Slot::Map(Map { items, failure: None, .. }) => Slot::Ended(Decoded::Value(items.into_any())),
        Slot::Map(Map { items, failure: Some((place, error)), .. }) => {
            let before = items.bind(py).get_slice(0, place as usize).unbind();
            Slot::Ended(Decoded::Raised(error, Some(before)))
        }
        other => other,
    };
    drop(job.payload().replace(outcome));
}
