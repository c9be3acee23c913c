//! Owns the order of ends: futures handed out as they end. Never submits anything.

use crate::future::{TaskFuture, Wait, wait};
use paceline_engine::{Engine, Pending};
use pyo3::exceptions::{PyStopIteration, PyTimeoutError};
use pyo3::prelude::*;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Hands out futures in the order in which they end.
#[pyclass(module = "paceline._paceline", frozen)]
pub(crate) struct Stream {
    ended: Arc<paceline_engine::Stream>,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    next: u64,
    futures: HashMap<u64, Py<PyAny>>,
    engine: Option<Arc<Engine>>,
}

impl Stream {
    /// What a job needs to show here when it ends.
    pub(crate) fn enter(&self, engine: &Arc<Engine>) -> (Arc<Pending>, u64) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.engine = Some(Arc::clone(engine));
        let number = held.next;
        held.next += 1;
        (Pending::new(Some((Arc::clone(&self.ended), number))), number)
    }

    /// Holds the future of a job that has entered.
    pub(crate) fn hold(&self, number: u64, future: Py<PyAny>) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).futures.insert(number, future);
    }

    /// Takes back an entry whose job was refused.
    pub(crate) fn leave(&self) {
        self.ended.withdraw();
    }
}

#[pymethods]
impl Stream {
    #[new]
    fn new() -> Self {
        Self { ended: paceline_engine::Stream::new(), held: Mutex::default() }
    }

    /// The next future to have ended.
    #[pyo3(signature = (timeout = None))]
    fn next(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Py<PyAny>> {
        loop {
            if let Some(number) = self.ended.pop() {
                let future = self.held.lock().unwrap_or_else(PoisonError::into_inner).futures.remove(&number);
                if let Some(future) = future {
                    return Ok(future);
                }
                continue;
            }
            let engine = self.held.lock().unwrap_or_else(PoisonError::into_inner).engine.clone();
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
            for future in held.futures.values() {
                visit.call(future)?;
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        let futures = std::mem::take(&mut self.held.lock().unwrap_or_else(PoisonError::into_inner).futures);
        drop(futures);
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

    /// The job was taken: its future.
    pub(crate) fn taken(self, future: Bound<'py, TaskFuture>) -> Bound<'py, PyAny> {
        let future = future.into_any();
        if let Some((stream, number)) = self.stream {
            stream.get().hold(number, future.clone().unbind());
        }
        future
    }

    /// The job was refused.
    pub(crate) fn refused(self) {
        if let Some((stream, _)) = self.stream {
            stream.get().leave();
        }
    }
}
