//! Owns the order of ends: futures handed out, or those who wait for them told, as they end. Never submits anything.

use crate::future::{TaskFuture, Wait, wait};
use paceline_engine::{Engine, Pending};
use pyo3::exceptions::{PyStopIteration, PyTimeoutError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Hands out futures in the order in which they end.
#[pyclass(module = "paceline._paceline", frozen, weakref)]
pub(crate) struct Stream {
    ended: Arc<paceline_engine::Stream>,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// By number, what has not been handed out; the numbers of what has are used again.
    shown: Vec<Option<Shown>>,
    free: Vec<usize>,
    /// Whose jobs have entered, the latest last.
    engines: Vec<Weak<Engine>>,
}

/// A future that has not been handed out, and who waits for it in an event loop.
struct Shown {
    future: Py<TaskFuture>,
    waiter: Option<Py<PyAny>>,
}

impl Stream {
    /// What a job needs to show here when it ends.
    pub(crate) fn enter(&self, engine: &Arc<Engine>) -> (Arc<Pending>, u64) {
        let mut held = self.held();
        if held.engines.last().is_none_or(|last| last.as_ptr() != Arc::as_ptr(engine)) {
            held.engines.retain(|known| known.strong_count() > 0 && known.as_ptr() != Arc::as_ptr(engine));
            held.engines.push(Arc::downgrade(engine));
        }
        let index = held.free.pop().unwrap_or_else(|| {
            held.shown.push(None);
            held.shown.len() - 1
        });
        let number = index as u64;
        (Pending::new(Some((Arc::clone(&self.ended), number))), number)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds the future of a job that has entered.
    fn hold(&self, number: u64, shown: Shown) {
        let Ok(index) = usize::try_from(number) else { return };
        if let Some(slot) = self.held().shown.get_mut(index) {
            *slot = Some(shown);
        }
    }

    fn engines(&self) -> Vec<Arc<Engine>> {
        let held = self.held();
        held.engines.iter().filter_map(Weak::upgrade).collect()
    }

    fn take(&self, number: u64) -> Option<Shown> {
        let index = usize::try_from(number).ok()?;
        let mut held = self.held();
        held.free.push(index);
        held.shown.get_mut(index)?.take()
    }

    /// Takes back an entry whose job was refused.
    fn leave(&self, number: u64) {
        drop(self.take(number));
        self.ended.withdraw();
    }
}

/// Gives the outcome of a future to who waits for it in an event loop, unless they wait no longer.
fn settle(py: Python<'_>, future: &TaskFuture, waiter: &Bound<'_, PyAny>) -> PyResult<()> {
    if waiter.call_method0(intern!(py, "done"))?.is_truthy()? {
        return Ok(());
    }
    let set_exception = |error: PyErr| waiter.call_method1(intern!(py, "set_exception"), (error.into_value(py),));
    match future.result(py, Some(0.0)) {
        Ok(value) => waiter.call_method1(intern!(py, "set_result"), (value,)),
        // `StopIteration` cannot be set, and what is raised instead says so.
        Err(error) => set_exception(error).or_else(set_exception),
    }
    .map(|_| ())
}

#[pymethods]
impl Stream {
    /// With a bell, there is a file that can be read when something has ended: see `fileno`.
    #[new]
    #[pyo3(signature = (*, bell = false))]
    fn new(bell: bool) -> PyResult<Self> {
        let ended = if bell {
            paceline_engine::Stream::with_bell().map_err(std::io::Error::from)?
        } else {
            paceline_engine::Stream::new()
        };
        Ok(Self { ended, held: Mutex::default() })
    }

    /// The file that can be read when something has ended.
    fn fileno(&self) -> PyResult<i32> {
        let bell = self.ended.bell().ok_or_else(|| PyValueError::new_err("this stream has no bell"))?;
        Ok(bell.as_raw_fd())
    }

    /// Gives the outcomes of what has ended to those who wait in an event loop. To be called by that loop.
    fn wake(&self, py: Python<'_>) -> PyResult<()> {
        let engines = self.engines();
        engines.iter().for_each(|engine| engine.poll());
        self.ended.hush();
        engines.iter().for_each(|engine| engine.listen());
        while let Some(number) = self.ended.pop() {
            if let Some(Shown { future, waiter: Some(waiter) }) = self.take(number) {
                settle(py, future.get(), waiter.bind(py))?;
            }
        }
        Ok(())
    }

    /// The next future to have ended.
    #[pyo3(signature = (timeout = None))]
    fn next(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Py<TaskFuture>> {
        loop {
            if let Some(number) = self.ended.pop() {
                if let Some(shown) = self.take(number) {
                    return Ok(shown.future);
                }
                continue;
            }
            let engine = self.engines().pop();
            let Some(engine) = engine.filter(|_| self.ended.outstanding() > 0) else {
                return Err(PyStopIteration::new_err(()));
            };
            if !wait(py, &engine, &self.ended, Wait::of(timeout)?)? {
                return Err(PyTimeoutError::new_err(()));
            }
        }
    }

    fn __traverse__(&self, visit: pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        if let Ok(held) = self.held.try_lock() {
            for shown in held.shown.iter().flatten() {
                visit.call(&shown.future)?;
                visit.call(&shown.waiter)?;
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        let shown = std::mem::take(&mut self.held().shown);
        drop(shown);
    }
}

/// What a submission holds of its future: alone, or with an entry in a stream.
pub(crate) struct Entry<'a, 'py> {
    pub(crate) pending: Arc<Pending>,
    stream: Option<(&'a Bound<'py, Stream>, u64)>,
}

impl<'a, 'py> Entry<'a, 'py> {
    pub(crate) fn new(engine: &Arc<Engine>, stream: Option<&'a Bound<'py, Stream>>) -> Self {
        match stream {
            None => Self { pending: Pending::new(None), stream: None },
            Some(stream) => {
                let (pending, number) = stream.get().enter(engine);
                Self { pending, stream: Some((stream, number)) }
            }
        }
    }

    /// Shows the future in the stream. Before the job is submitted: it may end at once, and the end be taken by another
    /// thread.
    pub(crate) fn show(&self, future: &Bound<'py, TaskFuture>, waiter: Option<&Bound<'py, PyAny>>) {
        if let Some((stream, number)) = self.stream {
            let shown = Shown { future: future.clone().unbind(), waiter: waiter.map(|waiter| waiter.clone().unbind()) };
            stream.get().hold(number, shown);
        }
    }

    /// The job was refused.
    pub(crate) fn refused(self) {
        if let Some((stream, number)) = self.stream {
            stream.get().leave(number);
        }
    }
}
