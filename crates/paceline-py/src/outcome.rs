//! Owns how the answers of workers become Python objects: results, or the exceptions that took their place. Never
//! waits for one.

use crate::codec::{Decoder, bytes_object, decode_apart, decode_shared};
use crate::functions::{Style, name_of};
use crate::intern::intern;
use crate::job::Called;
use crate::pickle::names;
use once_cell::race::OnceBox;
use paceline_engine::{
    Answer, Breakdown, Loss, Outcome, Part, PartContent, Parts, RecordBytes, ShownFailure, Trouble, kind,
};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyModule, PyString};

/// What a future turns out to hold.
pub(crate) enum Decoded {
    /// The result.
    Value(Py<PyAny>),
    /// The exception; of a map, also the results before it.
    Raised(Py<PyAny>, Option<Py<PyList>>),
}

/// What is made of the items of a map that fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnError {
    /// The first of them is raised, when all have ended.
    Raise,
    /// The exception stands in the place of the result.
    Return,
    /// There is no result.
    Skip,
    /// Each item gives its index, whether it has a result, and that or the exception. For iterators, which go on from there.
    Outcomes,
}

impl OnError {
    /// From what a user says.
    pub(crate) fn from_python(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        let word = value.extract::<String>().unwrap_or_default();
        match word.as_str() {
            "raise" => Ok(Self::Raise),
            "return" => Ok(Self::Return),
            "skip" => Ok(Self::Skip),
            "outcomes" => Ok(Self::Outcomes),
            _ => {
                let shown = value.repr()?;
                Err(PyValueError::new_err(format!("on_error must be 'raise', 'return' or 'skip', not {shown}")))
            }
        }
    }
}

/// What an outcome is of.
pub(crate) struct Label<'a, 'py> {
    /// The function, or the name that stands for it.
    pub(crate) function: &'a Bound<'py, PyAny>,
    /// How it takes its input.
    pub(crate) style: Style,
    /// What is made of items that failed.
    pub(crate) on_error: OnError,
    /// The index of the first item, if it is part of what the caller takes for one map.
    pub(crate) base: Option<u32>,
    /// Where each item stands among those of the caller, if they were sent in another order.
    pub(crate) order: Option<&'a [u32]>,
    /// How long an item may run; zero for any time.
    pub(crate) timeout_ns: u64,
    /// How often one may be run again.
    pub(crate) retries: u16,
    /// How many bytes a worker may have; zero for any amount.
    pub(crate) memory_limit: u64,
}

impl Label<'_, '_> {
    /// The function's name, for errors.
    fn name(&self) -> String {
        self.function.cast::<PyString>().map_or_else(|_| name_of(self.function), ToString::to_string)
    }

    /// The place of an item among those that the caller takes for one map.
    pub(crate) fn index_of(&self, item: u32) -> u32 {
        let place = self.order.and_then(|order| order.get(item as usize)).copied().unwrap_or(item);
        self.base.unwrap_or(0).wrapping_add(place)
    }

    fn is_map(&self) -> bool {
        self.style != Style::Call
    }

    /// What errors tell of a task, as far as it follows from what was called.
    fn details<'py>(&self, py: Python<'py>, item: u32) -> PyResult<Bound<'py, PyDict>> {
        let details = PyDict::new(py);
        details.set_item("function", self.name())?;
        let has_index = self.is_map() || self.base.is_some();
        details.set_item("index", has_index.then(|| self.index_of(item)))?;
        details.set_item("limit", (self.timeout_ns > 0).then(|| seconds(self.timeout_ns)))?;
        details.set_item("memory_limit", (self.memory_limit > 0).then_some(self.memory_limit))?;
        details.set_item("retries", self.retries)?;
        Ok(details)
    }
}

#[expect(clippy::cast_precision_loss, reason = "seconds as floats are what Python uses")]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// The object of an outcome.
pub(crate) fn decode(py: Python<'_>, outcome: &Outcome, label: &Label<'_, '_>) -> PyResult<Decoded> {
    match outcome {
        Outcome::Complete(parts) if label.is_map() && label.on_error == OnError::Raise => decode_list(py, parts, label),
        Outcome::Complete(parts) if label.is_map() => decode_all(py, parts, label),
        Outcome::Complete(parts) => match parts.as_slice() {
            [part] => decode_single(py, part, label),
            _ => Err(internal("a single call has not one outcome")),
        },
        Outcome::GivenUp(parts) => decode_given_up(py, parts, label),
        Outcome::Abandoned(Some(breakdown)) => Ok(Decoded::Raised(start_error(py, breakdown)?.unbind(), None)),
        Outcome::Abandoned(None) | Outcome::Cancelled => Ok(Decoded::Raised(cancelled(py)?.unbind(), None)),
    }
}

fn decode_single(py: Python<'_>, part: &Part, label: &Label<'_, '_>) -> PyResult<Decoded> {
    let mut found = None;
    each_item(py, part, label, &mut |_, item| {
        found = Some(item);
        Ok(true)
    })?;
    found.ok_or_else(|| internal("an answer cannot be read"))
}

fn decode_list(py: Python<'_>, parts: &Parts, label: &Label<'_, '_>) -> PyResult<Decoded> {
    let list = PyList::empty(py);
    let mut raised = None;
    each_in_order(py, parts, label, &mut |_, item| match item {
        Decoded::Value(value) => {
            list.append(value)?;
            Ok(true)
        }
        Decoded::Raised(error, _) => {
            raised = Some(error);
            Ok(false)
        }
    })?;
    Ok(match raised {
        Some(error) => Decoded::Raised(error, Some(list.unbind())),
        None => Decoded::Value(list.into_any().unbind()),
    })
}

/// The list of a map of which failures are returned, or left out.
fn decode_all(py: Python<'_>, parts: &Parts, label: &Label<'_, '_>) -> PyResult<Decoded> {
    let list = PyList::empty(py);
    each_in_order(py, parts, label, &mut |place, item| {
        let index = label.index_of(place);
        match (item, label.on_error) {
            (Decoded::Value(value), OnError::Outcomes) => list.append((index, true, value))?,
            (Decoded::Raised(error, _), OnError::Outcomes) => list.append((index, false, error))?,
            (Decoded::Value(value), _) => list.append(value)?,
            (Decoded::Raised(error, _), OnError::Return) => list.append(error)?,
            (Decoded::Raised(..), _) => {}
        }
        Ok(true)
    })?;
    Ok(Decoded::Value(list.into_any().unbind()))
}

/// What is raised for a map of which too many items failed.
fn decode_given_up(py: Python<'_>, parts: &Parts, label: &Label<'_, '_>) -> PyResult<Decoded> {
    let (results, failures) = (PyDict::new(py), PyDict::new(py));
    each_in_order(py, parts, label, &mut |place, item| {
        let index = label.index_of(place);
        match item {
            Decoded::Value(value) => results.set_item(index, value)?,
            Decoded::Raised(error, _) => failures.set_item(index, error)?,
        }
        Ok(true)
    })?;
    given_up(py, label, &results, &failures)
}

/// What is raised for a map with these results and failures, by index.
pub(crate) fn given_up(
    py: Python<'_>,
    label: &Label<'_, '_>,
    results: &Bound<'_, PyDict>,
    failures: &Bound<'_, PyDict>,
) -> PyResult<Decoded> {
    let arguments = (label.name(), results, failures, label.on_error == OnError::Raise);
    let error = failures_module(py)?.getattr(intern!(py, "too_many_failures"))?.call1(arguments)?;
    Ok(Decoded::Raised(error.unbind(), None))
}

/// Shows an item that has failed, while others go on.
pub(crate) fn show_failure(py: Python<'_>, failure: &ShownFailure) {
    let shown = (|| {
        let Some(called) = failure.pending.mark().and_then(|mark| mark.downcast_ref::<Called>()) else {
            return Ok(());
        };
        let label = called.label(py);
        let mut raised = py.None();
        if let Some(part) = &failure.failure {
            each_item(py, part, &label, &mut |_, item| {
                if let Decoded::Raised(error, _) = item {
                    raised = error;
                }
                Ok(false)
            })?;
        }
        show_error(py, &label, failure.item, raised);
        Ok(())
    })();
    if let Err(error) = shown {
        let error: PyErr = error;
        error.write_unraisable(py, None);
    }
}

/// The same of an exception.
pub(crate) fn show_error(py: Python<'_>, label: &Label<'_, '_>, item: u32, error: Py<PyAny>) {
    let arguments = (label.name(), label.index_of(item), error);
    let shown = failures_module(py).and_then(|module| module.getattr(intern!(py, "show"))?.call1(arguments));
    if let Err(error) = shown {
        error.write_unraisable(py, None);
    }
}

/// Hands the items of a part to `take`, until it says that it wants no more.
/// Each item, in the order that the caller has them in, until `take` wants no more.
fn each_in_order(
    py: Python<'_>,
    parts: &Parts,
    label: &Label<'_, '_>,
    take: &mut dyn FnMut(u32, Decoded) -> PyResult<bool>,
) -> PyResult<()> {
    if label.order.is_none() {
        for part in parts.as_slice() {
            if !each_item(py, part, label, take)? {
                break;
            }
        }
        return Ok(());
    }
    let mut all = Vec::new();
    for part in parts.as_slice() {
        each_item(py, part, label, &mut |place, item| {
            all.push((place, item));
            Ok(true)
        })?;
    }
    all.sort_by_key(|(place, _)| label.index_of(*place));
    for (place, item) in all {
        if !take(place, item)? {
            break;
        }
    }
    Ok(())
}

/// Whether `take` wants more.
fn each_item(
    py: Python<'_>,
    part: &Part,
    label: &Label<'_, '_>,
    take: &mut dyn FnMut(u32, Decoded) -> PyResult<bool>,
) -> PyResult<bool> {
    match &part.content {
        PartContent::Answer(answer) => {
            let read = each_record(py, answer, (part.first, label), take)?;
            if read.is_some_and(|read| read != part.count) {
                return Err(internal("an answer has not an outcome for each item"));
            }
            Ok(read.is_some())
        }
        PartContent::Lost(loss) => {
            take(part.first, Decoded::Raised(lost_task(py, part.first, label, loss)?.unbind(), None))
        }
    }
}

/// How many records there were, unless `take` wanted no more.
fn each_record(
    py: Python<'_>,
    answer: &Answer,
    (first, label): (u32, &Label<'_, '_>),
    take: &mut dyn FnMut(u32, Decoded) -> PyResult<bool>,
) -> PyResult<Option<u32>> {
    let names = names(py)?;
    let loads = names.loads.bind(py);
    let mut count = 0;
    for (kind, bytes) in answer.records() {
        let item = match kind {
            kind::DONE => match decode_value(&bytes, loads) {
                Ok(value) => Decoded::Value(value.unbind()),
                Err(error) => {
                    let error = error.into_value(py);
                    let pickling = names.pickling.bind(py);
                    let failure = pickling.call_method1(intern!(py, "result_not_rebuilt"), (error,))?;
                    Decoded::Raised(failure.unbind(), None)
                }
            },
            kind::FAILED | kind::MAY_PASS => {
                let packed = bytes_object(py, bytes.foreign())?;
                let task = label.details(py, first + count)?;
                let error = names.pickling.bind(py).call_method1(intern!(py, "unpack_exception"), (packed, task))?;
                Decoded::Raised(error.unbind(), None)
            }
            kind::STOPPED => {
                let arguments = (bytes_object(py, bytes.foreign())?, label.details(py, first + count)?);
                let error = failures_module(py)?.getattr(intern!(py, "stopped_task"))?.call1(arguments)?;
                Decoded::Raised(error.unbind(), None)
            }
            _ => return Err(internal("an answer is of no known kind")),
        };
        count += 1;
        if !take(first + count - 1, item)? {
            return Ok(None);
        }
    }
    Ok(Some(count))
}

/// Of results of at most this length the copy needs no allocation.
const SHORT: usize = 64;

fn decode_value<'py>(bytes: &RecordBytes<'_>, loads: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    match bytes {
        RecordBytes::Own(bytes) => Decoder::new(bytes, loads).next(),
        RecordBytes::Shared(bytes) if bytes.len() <= SHORT => {
            let mut copy = [0; SHORT];
            let copy = &mut copy[..bytes.len()];
            bytes.copy_to(copy);
            Decoder::new(copy, loads).next()
        }
        shared => match decode_apart(shared, loads)? {
            Some(value) => Ok(value),
            None => decode_shared(shared.foreign(), loads),
        },
    }
}

/// The module `paceline.errors`.
pub(crate) fn errors(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static ERRORS: OnceBox<Py<PyModule>> = OnceBox::new();
    let module =
        ERRORS.get_or_try_init(|| PyModule::import(py, "paceline.errors").map(|module| Box::new(module.unbind())))?;
    Ok(module.bind(py))
}

fn failures_module(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static FAILURES: OnceBox<Py<PyModule>> = OnceBox::new();
    let module = FAILURES
        .get_or_try_init(|| PyModule::import(py, "paceline.failures").map(|module| Box::new(module.unbind())))?;
    Ok(module.bind(py))
}

/// The first item of some input, to be shown, and how it is called with that. What would run anybody's code is not made.
pub(crate) fn read_inert<'py>(py: Python<'py>, style: Style, input: &[u8]) -> PyResult<(u8, Bound<'py, PyAny>)> {
    const PAIR: u8 = 3;
    let loads = PyModule::import(py, "paceline.inert")?.getattr(intern!(py, "loads"))?;
    let mut decoder = Decoder::new(input, &loads);
    let style = if matches!(style, Style::Call) && !decoder.at_tuple() { PAIR } else { style as u8 };
    Ok((style, decoder.next()?))
}

/// The exception for a task that was lost with its worker.
fn lost_task<'py>(py: Python<'py>, item: u32, label: &Label<'_, '_>, loss: &Loss) -> PyResult<Bound<'py, PyAny>> {
    let failures = failures_module(py)?;
    let details = label.details(py, item)?;
    let arguments = match &loss.input {
        None => failures.call_method1(intern!(py, "size_shown"), (loss.input_length,))?,
        Some(input) => match read_inert(py, label.style, input) {
            Ok(shown) => failures.call_method1(intern!(py, "arguments_shown"), shown)?,
            Err(error) => {
                failures.call_method1(intern!(py, "size_shown"), (loss.input_length, error.into_value(py)))?
            }
        },
    };
    details.set_item("arguments", arguments)?;
    details.set_item("attempt", u32::from(loss.attempt) + 1)?;
    details.set_item("seconds", loss.ran_ns.map(seconds))?;
    let death = &*loss.death;
    details.set_item("pid", death.pid)?;
    details.set_item("exit_code", death.code)?;
    details.set_item("signal", death.signal)?;
    details.set_item("last_words", &death.last_words)?;
    details.set_item("note", death.note)?;
    details.set_item("stack", &death.stack)?;
    details.set_item("peak_memory", (death.peak_bytes > 0).then_some(death.peak_bytes))?;
    details.set_item("is_memory_short", death.is_memory_short)?;
    let trouble = match loss.trouble {
        Trouble::Overran => "overran",
        Trouble::Outgrew if death.is_over_limit => "outgrew",
        _ => "died",
    };
    failures.call_method1(intern!(py, "lost_task"), (trouble, details))
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
