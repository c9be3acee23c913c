//! Owns how the answers of workers become Python objects: results, or the exceptions that took their place. Never
//! waits for one.

use crate::codec::{Decoder, bytes_object, decode_shared};
use crate::pickle::names;
use crate::worker::{KIND_RAISED, KIND_VALUE};
use paceline_engine::{Answer, Breakdown, Death, Outcome, Part, PartContent, Parts, RecordBytes};
use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyList, PyModule, PyString};

/// What a future turns out to hold.
pub(crate) enum Decoded {
    /// The result.
    Value(Py<PyAny>),
    /// The exception; of a map, also the results before it.
    Raised(Py<PyAny>, Option<Py<PyList>>),
}

/// What an outcome is of.
pub(crate) struct Label<'a, 'py> {
    /// The function, or the name that stands for it.
    pub(crate) function: &'a Bound<'py, PyAny>,
    /// Whether the outcome is a list, of a map.
    pub(crate) is_map: bool,
}

impl Label<'_, '_> {
    /// The function's name, for errors.
    fn name(&self) -> String {
        if let Ok(name) = self.function.cast::<PyString>() {
            return name.to_string();
        }
        let named = self.function.getattr(intern!(self.function.py(), "__qualname__"));
        let name = named.or_else(|_| self.function.repr().map(Bound::into_any));
        name.map_or_else(|_| "?".to_owned(), |name| name.to_string())
    }
}

/// The object of an outcome.
pub(crate) fn decode(py: Python<'_>, outcome: &Outcome, label: &Label<'_, '_>) -> PyResult<Decoded> {
    match outcome {
        Outcome::Complete(parts) if label.is_map => decode_list(py, parts, label),
        Outcome::Complete(parts) => match parts.as_slice() {
            [part] => decode_single(py, part, label),
            _ => Err(internal("a single call has not one outcome")),
        },
        Outcome::Abandoned(Some(breakdown)) => Ok(Decoded::Raised(start_error(py, breakdown)?.unbind(), None)),
        Outcome::Abandoned(None) | Outcome::Cancelled => Ok(Decoded::Raised(cancelled(py)?.unbind(), None)),
    }
}

fn decode_single(py: Python<'_>, part: &Part, label: &Label<'_, '_>) -> PyResult<Decoded> {
    let mut found = None;
    each_item(py, part, label, &mut |item| {
        found = Some(item);
        Ok(true)
    })?;
    found.ok_or_else(|| internal("an answer cannot be read"))
}

fn decode_list(py: Python<'_>, parts: &Parts, label: &Label<'_, '_>) -> PyResult<Decoded> {
    let list = PyList::empty(py);
    let mut raised = None;
    for part in parts.as_slice() {
        each_item(py, part, label, &mut |item| match item {
            Decoded::Value(value) => {
                list.append(value)?;
                Ok(true)
            }
            Decoded::Raised(error, _) => {
                raised = Some(error);
                Ok(false)
            }
        })?;
        if let Some(error) = raised {
            return Ok(Decoded::Raised(error, Some(list.unbind())));
        }
    }
    Ok(Decoded::Value(list.into_any().unbind()))
}

/// Hands the items of a part to `take`, until it says that it wants no more.
fn each_item(
    py: Python<'_>,
    part: &Part,
    label: &Label<'_, '_>,
    take: &mut dyn FnMut(Decoded) -> PyResult<bool>,
) -> PyResult<()> {
    match &part.content {
        PartContent::Answer(answer) => {
            let read = each_record(py, answer, take)?;
            if read.is_some_and(|read| read != part.count) {
                return Err(internal("an answer has not an outcome for each item"));
            }
        }
        PartContent::Died { death, attempt } => {
            take(Decoded::Raised(worker_died(py, part.first, label, death, *attempt)?.unbind(), None))?;
        }
    }
    Ok(())
}

/// How many records there were, unless `take` wanted no more.
fn each_record(
    py: Python<'_>,
    answer: &Answer,
    take: &mut dyn FnMut(Decoded) -> PyResult<bool>,
) -> PyResult<Option<u32>> {
    let names = names(py)?;
    let loads = names.loads.bind(py);
    let mut count = 0;
    for (kind, bytes) in answer.records() {
        let item = match kind {
            KIND_VALUE => match decode_value(&bytes, loads) {
                Ok(value) => Decoded::Value(value.unbind()),
                Err(error) => {
                    let error = error.into_value(py);
                    let pickling = names.pickling.bind(py);
                    let failure = pickling.call_method1(intern!(py, "result_not_rebuilt"), (error,))?;
                    Decoded::Raised(failure.unbind(), None)
                }
            },
            KIND_RAISED => {
                let packed = bytes_object(py, bytes.foreign())?;
                let error = names.pickling.bind(py).call_method1(intern!(py, "unpack_exception"), (packed,))?;
                Decoded::Raised(error.unbind(), None)
            }
            _ => return Err(internal("an answer is of no known kind")),
        };
        count += 1;
        if !take(item)? {
            return Ok(None);
        }
    }
    Ok(Some(count))
}

fn decode_value<'py>(bytes: &RecordBytes<'_>, loads: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    match bytes {
        RecordBytes::Own(bytes) => Decoder::new(bytes, loads).next(),
        shared => decode_shared(shared.foreign(), loads),
    }
}

/// The module `paceline.errors`.
pub(crate) fn errors(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static ERRORS: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let module = ERRORS.get_or_try_init(py, || PyModule::import(py, "paceline.errors").map(Bound::unbind))?;
    Ok(module.bind(py))
}

fn worker_died<'py>(
    py: Python<'py>,
    item: u32,
    label: &Label<'_, '_>,
    death: &Death,
    attempt: u16,
) -> PyResult<Bound<'py, PyAny>> {
    let function = label.name();
    let task = if label.is_map { format!("{function}[{item}]") } else { function.clone() };
    let arguments = (task, function, death.pid, death.code, death.signal, attempt, death.last_words.as_str());
    errors(py)?.getattr(intern!(py, "WorkerDied"))?.call1(arguments)
}

/// The exception for a pool that is broken.
pub(crate) fn start_error<'py>(py: Python<'py>, breakdown: &Breakdown) -> PyResult<Bound<'py, PyAny>> {
    let complaint = breakdown.complaint.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
    let reason = match (breakdown.death.code, breakdown.death.signal) {
        // It ended as it was to, after its complaint.
        _ if breakdown.complaint.is_some() => breakdown.reason.clone(),
        (Some(code), _) => format!("{}, the last with exit code {code}", breakdown.reason),
        (None, Some(signal)) => format!("{}, the last by {}", breakdown.reason, signal_name(py, signal)),
        (None, None) => breakdown.reason.clone(),
    };
    let arguments = (reason, breakdown.death.last_words.as_str(), &*complaint);
    errors(py)?.getattr(intern!(py, "WorkerStartError"))?.call1(arguments)
}

fn signal_name(py: Python<'_>, signal: i32) -> String {
    let named = PyModule::import(py, "signal").and_then(|module| module.call_method1("Signals", (signal,)));
    let name = named.and_then(|signal| signal.getattr("name")).map(|name| name.to_string());
    name.unwrap_or_else(|_| format!("signal {signal}"))
}

/// `concurrent.futures.CancelledError`.
pub(crate) fn cancelled(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    PyModule::import(py, "concurrent.futures")?.getattr("CancelledError")?.call0()
}

fn internal(what: &str) -> PyErr {
    PyRuntimeError::new_err(format!("internal error of Paceline: {what}"))
}
