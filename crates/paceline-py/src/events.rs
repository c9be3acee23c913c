//! Owns the way of what has happened from the engine to Python, as events. Never calls a subscriber, and never
//! waits while it holds the interpreter.

use crate::future::Wait;
use crate::intern::intern;
use paceline_engine::{Fate, Happening, Items, Subscription, WorkerExit, now_ns};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple, PyType};
use pyo3::{IntoPyObjectExt, ffi};
use std::sync::Arc;
use std::time::Duration;

/// How long a wait goes without a look for signals, which is the main thread's affair alone.
const SLICE: Duration = Duration::from_millis(50);

/// What happens in a pool, from the moment at which it was asked for.
#[pyclass(module = "paceline._paceline", frozen)]
pub(crate) struct Events {
    told: Subscription,
    shape: Shape,
}

/// What an event looks like in Python.
pub(crate) struct Shape {
    class: Py<PyType>,
    /// The fields, in the order of [`Field`].
    names: Vec<Py<PyString>>,
    version: u32,
    /// What the engine's clock lacks to the nanoseconds since the epoch.
    anchor_ns: u64,
    /// Tells the name of an exception's type from what it has left.
    name_exception: Py<PyAny>,
}

impl Shape {
    pub(crate) fn of(
        class: &Bound<'_, PyType>,
        version: u32,
        anchor_ns: u64,
        name_exception: Py<PyAny>,
    ) -> PyResult<Self> {
        let names: Vec<Py<PyString>> = class.getattr(intern!(class.py(), "__match_args__"))?.extract()?;
        if names.len() != WIDTH {
            return Err(PyTypeError::new_err(format!("an event has {WIDTH} fields, not {}", names.len())));
        }
        Ok(Self { class: class.clone().unbind(), names, version, anchor_ns, name_exception })
    }
}

impl Events {
    pub(crate) fn of(told: Subscription, shape: Shape) -> Self {
        Self { told, shape }
    }
}

#[pymethods]
impl Events {
    /// Waits for what happens next, and gives an event of each; none when nothing more will come. What was given before counts
    /// as passed on by then. After `timeout` seconds without anything, the list is empty.
    #[pyo3(signature = (timeout = None))]
    fn next<'py>(&self, py: Python<'py>, timeout: Option<f64>) -> PyResult<Option<Vec<Bound<'py, PyAny>>>> {
        let told = &self.told;
        if told.is_over() {
            // Without giving the interpreter away: this thread might not get it back, if the program is about to end.
            return Ok(None);
        }
        let wait = Wait::of(timeout)?;
        let is_main = rustix::thread::gettid() == rustix::process::getpid();
        loop {
            let left = wait.left(now_ns());
            let patience = if is_main { Some(left.map_or(SLICE, |left| left.min(SLICE))) } else { left };
            let Some(batch) = py.detach(|| told.next(patience)) else { return Ok(None) };
            if !batch.is_empty() || left.is_some_and(|left| patience == Some(left)) {
                let mut maker = Maker { py, shape: &self.shape, name: None };
                return batch.iter().map(|one| maker.make(one)).collect::<PyResult<Vec<_>>>().map(Some);
            }
            py.check_signals()?;
        }
    }

    /// Nothing that happens from now on is told; what has happened before still is.
    fn close(&self, py: Python<'_>) {
        py.detach(|| self.told.close());
    }

    fn __traverse__(&self, visit: pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        visit.call(&self.shape.class)?;
        visit.call(&self.shape.name_exception)
    }
}

/// Makes events; most of those that follow each other have the same function.
struct Maker<'a, 'py> {
    py: Python<'py>,
    shape: &'a Shape,
    name: Option<(Arc<str>, Bound<'py, PyString>)>,
}

/// How many fields an event has.
const WIDTH: usize = 17;

/// The fields of `paceline.Event`, in their order there.
#[derive(Clone, Copy)]
enum Field {
    Version,
    Kind,
    Time,
    Function,
    FirstItem,
    Items,
    Attempt,
    Ending,
    Failures,
    Exception,
    Submitted,
    Began,
    Seconds,
    Pid,
    ExitCode,
    Signal,
    Origin,
}

struct Row<'py>([Bound<'py, PyAny>; WIDTH]);

impl<'py> Row<'py> {
    fn set(&mut self, py: Python<'py>, field: Field, value: impl IntoPyObjectExt<'py>) -> PyResult<()> {
        self.0[field as usize] = value.into_bound_py_any(py)?;
        Ok(())
    }
}

impl<'py> Maker<'_, 'py> {
    fn make(&mut self, happening: &Happening) -> PyResult<Bound<'py, PyAny>> {
        let row = self.row(happening)?;
        let class = self.shape.class.bind(self.py).as_type_ptr();
        // Its own `__init__` takes several times as long: no field of what is frozen can be set but by a call of Python's.
        // SAFETY: the thread is attached; a class that nothing was overridden of makes an empty object with these arguments.
        let event = unsafe {
            let new = (*class).tp_new.ok_or_else(|| PyTypeError::new_err("an event cannot be made"))?;
            let nothing = PyTuple::empty(self.py);
            Bound::from_owned_ptr_or_err(self.py, new(class, nothing.as_ptr(), std::ptr::null_mut()))?
        };
        for (name, value) in self.shape.names.iter().zip(&row.0) {
            // SAFETY: the thread is attached, and all three are objects that are held here.
            let status = unsafe { ffi::PyObject_GenericSetAttr(event.as_ptr(), name.as_ptr(), value.as_ptr()) };
            if status != 0 {
                return Err(PyErr::fetch(self.py));
            }
        }
        Ok(event)
    }

    fn row(&mut self, happening: &Happening) -> PyResult<Row<'py>> {
        let py = self.py;
        let mut row = Row(std::array::from_fn(|_| py.None().into_bound(py)));
        row.set(py, Field::Version, self.shape.version)?;
        row.set(py, Field::Time, self.seconds(happening.at_ns()))?;
        row.set(py, Field::Origin, 0)?;
        match happening {
            Happening::Submitted { items, .. } => {
                row.set(py, Field::Kind, intern!(py, "submitted"))?;
                self.set_items(&mut row, items)?;
            }
            Happening::Retried { items, .. } => {
                row.set(py, Field::Kind, intern!(py, "retried"))?;
                self.set_items(&mut row, items)?;
                row.set(py, Field::Attempt, attempt_of(items))?;
            }
            Happening::Ended { items, pid, submitted_ns, began_ns, ended_ns, fate, failures, evidence } => {
                row.set(py, Field::Kind, intern!(py, "ended"))?;
                self.set_items(&mut row, items)?;
                row.set(py, Field::Attempt, attempt_of(items))?;
                let ending = match fate {
                    Fate::Done => intern!(py, "done"),
                    Fate::Raised => intern!(py, "raised"),
                    Fate::Stopped => intern!(py, "stopped"),
                    Fate::Lost => intern!(py, "lost"),
                };
                row.set(py, Field::Ending, ending)?;
                row.set(py, Field::Failures, failures)?;
                if let Some(bytes) = evidence {
                    let name = self.shape.name_exception.call1(py, (PyBytes::new(py, bytes),))?;
                    row.set(py, Field::Exception, name)?;
                }
                row.set(py, Field::Submitted, self.seconds(*submitted_ns))?;
                row.set(py, Field::Began, self.seconds(*began_ns))?;
                row.set(py, Field::Seconds, Duration::from_nanos(ended_ns.saturating_sub(*began_ns)).as_secs_f64())?;
                row.set(py, Field::Pid, known(*pid))?;
            }
            Happening::WorkerStarted { pid, .. } => {
                row.set(py, Field::Kind, intern!(py, "worker_started"))?;
                row.set(py, Field::Pid, known(*pid))?;
            }
            Happening::WorkerEnded { pid, exit, code, signal, .. } => {
                row.set(py, Field::Kind, intern!(py, "worker_ended"))?;
                let ending = match exit {
                    WorkerExit::Stopped => intern!(py, "left"),
                    WorkerExit::Retired => intern!(py, "retired"),
                    WorkerExit::FailedToStart => intern!(py, "failed"),
                    WorkerExit::Died => intern!(py, "died"),
                };
                row.set(py, Field::Ending, ending)?;
                row.set(py, Field::Pid, known(*pid))?;
                row.set(py, Field::ExitCode, *code)?;
                row.set(py, Field::Signal, *signal)?;
            }
            Happening::Missed { count, .. } => {
                row.set(py, Field::Kind, intern!(py, "missed"))?;
                row.set(py, Field::Items, count)?;
            }
            Happening::Closed { is_broken, .. } => {
                row.set(py, Field::Kind, intern!(py, "closed"))?;
                row.set(py, Field::Ending, if *is_broken { intern!(py, "broken") } else { intern!(py, "done") })?;
            }
        }
        Ok(row)
    }

    fn set_items(&mut self, row: &mut Row<'py>, items: &Items) -> PyResult<()> {
        let name = match &self.name {
            Some((known, name)) if Arc::ptr_eq(known, &items.function) => name.clone(),
            _ => {
                let name = PyString::new(self.py, &items.function);
                self.name = Some((Arc::clone(&items.function), name.clone()));
                name
            }
        };
        row.set(self.py, Field::Function, name)?;
        row.set(self.py, Field::FirstItem, items.first)?;
        row.set(self.py, Field::Items, items.count)?;
        row.set(self.py, Field::Origin, items.origin)
    }

    /// Since the epoch.
    #[expect(clippy::cast_precision_loss, reason = "seconds as floats are what Python uses")]
    fn seconds(&self, at_ns: u64) -> f64 {
        self.shape.anchor_ns.saturating_add(at_ns) as f64 / 1e9
    }
}

/// As errors and `current_task` count them, from one.
fn attempt_of(items: &Items) -> u32 {
    u32::from(items.attempt) + 1
}

fn known(pid: i32) -> Option<i32> {
    (pid != 0).then_some(pid)
}
