//! Owns the order of ends: futures handed out, or those who wait for them told, as they end. Never submits anything.

use crate::future::{TaskFuture, Wait, wait};
use crate::intern::intern;
use crate::job::{AnyRoom, WeakRoom};
use crate::local::Threads;
use paceline_engine::Engine;
use pyo3::exceptions::{PyStopIteration, PyTimeoutError, PyValueError};
use pyo3::prelude::*;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    /// Where the jobs are that have entered, the latest last.
    rooms: Vec<WeakRoom>,
}

/// A future that has not been handed out, and who waits for it in an event loop.
struct Shown {
    future: Py<TaskFuture>,
    waiter: Option<Py<PyAny>>,
}

impl Stream {
    /// Under what number a job will show here when it ends in that room.
    fn enter(&self, room: &AnyRoom) -> u64 {
        let mut held = self.held();
        if held.rooms.last().is_none_or(|last| !last.is(room)) {
            held.rooms.retain(|known| known.is_there() && !known.is(room));
            held.rooms.push(room.downgrade());
        }
        let index = held.free.pop().unwrap_or_else(|| {
            held.shown.push(None);
            held.shown.len() - 1
        });
        index as u64
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

    fn rooms(&self) -> Vec<AnyRoom> {
        let held = self.held();
        held.rooms.iter().filter_map(WeakRoom::upgrade).collect()
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
        let rooms = self.rooms();
        rooms.iter().for_each(AnyRoom::poll);
        self.ended.hush();
        rooms.iter().for_each(AnyRoom::listen);
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
            let room = self.rooms().pop();
            let Some(room) = room.filter(|_| self.ended.outstanding() > 0) else {
                return Err(PyStopIteration::new_err(()));
            };
            if !wait(py, &room, &self.ended, Wait::of(timeout)?)? {
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

/// The place of a submission's future in a stream, if it has one.
pub(crate) struct Entry<'a, 'py>(Option<(&'a Bound<'py, Stream>, u64)>);

impl<'a, 'py> Entry<'a, 'py> {
    /// For a job of processes.
    pub(crate) fn of_processes(engine: &Arc<Engine>, stream: Option<&'a Bound<'py, Stream>>) -> Self {
        Self(stream.map(|stream| (stream, stream.get().enter(&AnyRoom::Processes(Arc::clone(engine))))))
    }

    /// For a job of threads.
    pub(crate) fn of_threads(threads: &Arc<Threads>, stream: Option<&'a Bound<'py, Stream>>) -> Self {
        Self(stream.map(|stream| (stream, stream.get().enter(&AnyRoom::Threads(Arc::clone(threads))))))
    }

    /// Where the job's end will show, and under which number.
    pub(crate) fn tag(&self) -> Option<(Arc<paceline_engine::Stream>, u64)> {
        self.0.map(|(stream, number)| (Arc::clone(&stream.get().ended), number))
    }

    /// Shows the future in the stream. Before the job is submitted: it may end at once, and the end be taken by another
    /// thread.
    pub(crate) fn show(&self, future: &Bound<'py, TaskFuture>, waiter: Option<&Bound<'py, PyAny>>) {
        if let Some((stream, number)) = self.0 {
            let shown = Shown { future: future.clone().unbind(), waiter: waiter.map(|waiter| waiter.clone().unbind()) };
            stream.get().hold(number, shown);
        }
    }

    /// The job was refused.
    pub(crate) fn refused(self) {
        if let Some((stream, number)) = self.0 {
            stream.get().leave(number);
        }
    }
}
