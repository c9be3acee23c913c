//! Owns what a job holds: its function and its input, and later its outcome. Nothing of Python's runs while its lock is
//! held.

use super::Job;
use crate::functions::Style;
use crate::intern::intern;
use crate::outcome::{Decoded, Label, OnError, given_up, show_error};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFunction, PyList, PyString, PyTuple};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    /// What whoever carries it elsewhere is to know of it.
    pub(super) asked: Option<Py<PyAny>>,
    /// Its place, if it is part of what the caller takes for one map.
    pub(super) index: Option<u32>,
}

pub(super) struct Map {
    pub(super) function: Py<PyAny>,
    pub(super) star: bool,
    pub(super) context: Py<PyAny>,
    /// What whoever carries them elsewhere is to know of them.
    pub(super) asked: Option<Py<PyAny>>,
    /// The items; each gives its place to its result.
    pub(super) items: Py<PyList>,
    pub(super) handling: Handling,
    /// The items that have raised, and what: all of them, or just the first in order if no more is needed.
    pub(super) failures: Vec<(u32, Py<PyAny>)>,
    /// Too many have: those that have not begun are not run.
    pub(super) is_given_up: bool,
    pub(super) not_run: Vec<Range<u32>>,
}

/// What is made of items that raise.
pub(super) struct Handling {
    /// The function, or the name that the caller gave the call.
    function: Py<PyAny>,
    on_error: OnError,
    max_failures: Option<u32>,
    /// The index of the first item, if it is part of what the caller takes for one map.
    base: Option<u32>,
    /// In which order the items are run, by their places.
    order: Option<Arc<[u32]>>,
}

impl Handling {
    pub(super) fn of(
        function: &Bound<'_, PyAny>,
        on_error: OnError,
        max_failures: Option<u32>,
        base: Option<u32>,
        order: Option<Arc<[u32]>>,
    ) -> Self {
        Self { function: function.clone().unbind(), on_error, max_failures, base, order }
    }

    pub(super) fn clone_ref(&self, py: Python<'_>) -> Self {
        Self { function: self.function.clone_ref(py), order: self.order.clone(), ..*self }
    }

    /// The function, or the name that the caller gave the call.
    pub(super) fn function(&self) -> &Py<PyAny> {
        &self.function
    }

    /// Whether the rest may be given up before it is run.
    pub(super) fn is_limited(&self) -> bool {
        self.max_failures.is_some()
    }

    fn needs_first_only(&self) -> bool {
        self.on_error == OnError::Raise && self.max_failures.is_none()
    }

    /// Which item is run then.
    pub(super) fn place_of(&self, turn: u32) -> u32 {
        self.order.as_ref().and_then(|order| order.get(turn as usize)).copied().unwrap_or(turn)
    }

    /// The place of an item among those that the caller takes for one map.
    pub(super) fn index_of(&self, place: u32) -> u32 {
        self.base.unwrap_or(0).wrapping_add(place)
    }

    fn label<'a, 'py>(&'a self, py: Python<'py>) -> Label<'a, 'py> {
        Label {
            function: self.function.bind(py),
            style: Style::Item,
            on_error: self.on_error,
            base: self.base,
            order: None,
            timeout_ns: 0,
            retries: 0,
            memory_limit: 0,
        }
    }
}

/// What people call a function, or the name that stands for one; as `paceline.errors.function_name`, which is not imported
/// here: a fork of the program in the middle of that could import nothing any more.
pub(super) fn name_of<'py>(function: &Bound<'py, PyAny>) -> Option<Bound<'py, PyString>> {
    const MOST_NESTED: usize = 8;
    let py = function.py();
    if let Ok(name) = function.cast::<PyString>() {
        return Some(name.clone());
    }
    if function.is_exact_instance_of::<PyFunction>() {
        // SAFETY: it is a function of Python's, which always has a name; the thread is attached.
        let name = unsafe { (*function.as_ptr().cast::<ffi::PyFunctionObject>()).func_qualname };
        // SAFETY: the function keeps it, and nobody else runs before it is taken here.
        return unsafe { Bound::from_borrowed_ptr(py, name) }.cast_into().ok();
    }
    let mut function = function.clone();
    for _ in 0..MOST_NESTED {
        let name = function.getattr(intern!(py, "__qualname__")).ok();
        if let Some(name) = name.and_then(|name| name.cast_into().ok()) {
            return Some(name);
        }
        match function.getattr(intern!(py, "func")) {
            Ok(inner) if inner.is_callable() => function = inner,
            _ => break,
        }
    }
    function.get_type().qualname().ok()
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

/// Keeps the failure of an item, or that of the first in order, if no other is needed; shows it, if it is to be.
pub(super) fn note_failure(py: Python<'_>, job: &Job, place: u32, error: Py<PyAny>) {
    let mut shown = None;
    let mut slot = job.payload().slot();
    let surplus = match &mut *slot {
        Slot::Map(map) if map.handling.needs_first_only() => {
            let first = map.failures.pop();
            match first {
                Some((first, kept)) if first < place => {
                    map.failures.push((first, kept));
                    Some(error)
                }
                other => {
                    map.failures.push((place, error));
                    other.map(|(_, error)| error)
                }
            }
        }
        Slot::Map(map) => {
            if map.handling.on_error != OnError::Raise {
                shown = Some((map.handling.clone_ref(py), error.clone_ref(py)));
            }
            map.failures.push((place, error));
            map.is_given_up |= map.handling.max_failures.is_some_and(|most| map.failures.len() > most as usize);
            None
        }
        _ => Some(error),
    };
    drop(slot);
    drop(surplus);
    if let Some((handling, error)) = shown {
        show_error(py, &handling.label(py), place, error);
    }
}

/// Whether these items of a map are not to be run any more, which then is noted.
pub(super) fn leaves_out(job: &Job, turns: Range<u32>) -> bool {
    match &mut *job.payload().slot() {
        Slot::Map(map) if map.is_given_up => {
            let places = turns.map(|turn| map.handling.place_of(turn)).map(|place| place..place + 1);
            map.not_run.extend(places);
            true
        }
        _ => false,
    }
}

/// Makes the outcome of a map whose items have all ended.
pub(super) fn gather(py: Python<'_>, job: &Job) {
    let slot = job.payload().replace(Slot::Empty);
    let outcome = match slot {
        Slot::Map(map) => Slot::Ended(
            gathered(py, map).unwrap_or_else(|error| Decoded::Raised(error.into_value(py).into_any(), None)),
        ),
        other => other,
    };
    drop(job.payload().replace(outcome));
}

fn gathered(py: Python<'_>, map: Map) -> PyResult<Decoded> {
    let Map { items, handling, mut failures, is_given_up, not_run, .. } = map;
    failures.sort_unstable_by_key(|(place, _)| *place);
    if is_given_up {
        let label = handling.label(py);
        let (results, failed) = (PyDict::new(py), PyDict::new(py));
        let mut failed_places = failures.iter().map(|(place, _)| *place).peekable();
        for (place, value) in (0..).zip(items.bind(py)) {
            if failed_places.next_if_eq(&place).is_none() && !not_run.iter().any(|range| range.contains(&place)) {
                results.set_item(label.index_of(place), value)?;
            }
        }
        for (place, error) in failures {
            failed.set_item(label.index_of(place), error)?;
        }
        return given_up(py, &label, &results, &failed);
    }
    let items = items.bind(py);
    match handling.on_error {
        OnError::Raise => {
            if let Some((place, error)) = failures.into_iter().next() {
                let before = items.get_slice(0, place as usize).unbind();
                return Ok(Decoded::Raised(error, Some(before)));
            }
        }
        OnError::Return => {
            for (place, error) in failures {
                items.set_item(place as usize, error)?;
            }
        }
        OnError::Skip => {
            for (place, _) in failures.into_iter().rev() {
                items.del_item(place as usize)?;
            }
        }
        OnError::Outcomes => {
            let mut failed = failures.into_iter().peekable();
            for (place, index) in (0..items.len()).zip(0..) {
                let outcome = match failed.next_if(|(failed, _)| *failed == index) {
                    Some((_, error)) => (handling.index_of(index), false, error),
                    None => (handling.index_of(index), true, items.get_item(place)?.unbind()),
                };
                items.set_item(place, outcome)?;
            }
        }
    }
    Ok(Decoded::Value(items.clone().into_any().unbind()))
}
