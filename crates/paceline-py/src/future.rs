//! Owns the native half of a future: its outcome, its waiting, its callbacks. Never starts work.
//!
//! A future costs little: the condition, the list of waiters and the list of callbacks that a
//! `concurrent.futures.Future` builds for every call are made when somebody first looks at them. From then on its end
//! is announced by the engine's driver, and `_state` changes under the condition, as `concurrent.futures.wait` relies
//! on.

use crate::history::Chronicle;
use crate::intern::intern;
use crate::job::{Job, Room};
use crate::outcome::{Decoded, cancelled};
use once_cell::race::OnceBox;
use paceline_engine::{Target, Waited, now_ns};
use pyo3::exceptions::{PyRuntimeError, PyTimeoutError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyType};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// The outcome of one call, or of one map, not yet or already known.
#[pyclass(module = "paceline._paceline", subclass, frozen, weakref)]
pub(crate) struct TaskFuture {
    job: OnceLock<Job>,
    watched: Mutex<Watched>,
}

/// What becomes of a future beside its outcome; every lock of it is short and calls nothing of Python's.
#[derive(Default)]
struct Watched {
    decoded: Option<Decoded>,
    /// An iterator over the items that were left for other futures, and how many there were before them.
    rest: Option<(Py<PyAny>, usize)>,
    condition: Option<Py<PyAny>>,
    waiters: Option<Py<PyList>>,
    callbacks: Vec<Py<PyAny>>,
    /// The driver has been asked to announce the end.
    requested: bool,
    /// The end has been announced, or was there before anybody asked.
    announced: bool,
}

/// How long a wait may take.
#[derive(Clone, Copy)]
pub(crate) struct Wait {
    deadline_ns: Option<u64>,
}

impl Wait {
    /// From a time-out in seconds, as Python's callers give it; negative means none at all is left.
    pub(crate) fn of(timeout: Option<f64>) -> PyResult<Self> {
        let deadline_ns = match timeout {
            None => None,
            Some(seconds) if seconds.is_nan() => return Err(PyValueError::new_err("the time-out is not a number")),
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped; casts saturate")]
            Some(seconds) => Some(now_ns().saturating_add((seconds.max(0.0) * 1e9) as u64)),
        };
        Ok(Self { deadline_ns })
    }

    /// How much is left at this moment; none for ever.
    pub(crate) fn left(self, now_ns: u64) -> Option<std::time::Duration> {
        self.deadline_ns.map(|deadline| std::time::Duration::from_nanos(deadline.saturating_sub(now_ns)))
    }
}

/// The thread that handles signals looks for them this often at least.
const SIGNAL_SLICE_NS: u64 = 50_000_000;
const OTHER_SLICE_NS: u64 = 10_000_000_000;

/// Waits without the interpreter; whether `target` came. Signals are handled meanwhile.
pub(crate) fn wait<T: Target + Sync>(
    py: Python<'_>,
    room: &(impl Room + Sync),
    target: &T,
    wait: Wait,
) -> PyResult<bool> {
    let is_main = rustix::thread::gettid() == rustix::process::getpid();
    let slice = if is_main { SIGNAL_SLICE_NS } else { OTHER_SLICE_NS };
    loop {
        match py.detach(|| room.wait(target, wait.deadline_ns, slice)) {
            Waited::Done => return Ok(true),
            Waited::TimedOut if room.is_foreign() => return Err(foreign()),
            Waited::TimedOut => return Ok(target.is_there()),
            Waited::Interrupted => py.check_signals()?,
        }
    }
}

/// The error for an engine that belongs to the process this one was forked from.
pub(crate) fn foreign() -> PyErr {
    PyRuntimeError::new_err(
        "this pool belongs to the process that this one was forked from\nhint: open a pool of its own in the child",
    )
}

impl TaskFuture {
    /// A future of the class that the Python side gives, for a submitted job.
    pub(crate) fn create<'py>(class: &Bound<'py, PyType>, job: Job) -> PyResult<Bound<'py, Self>> {
        static NO_ARGUMENTS: OnceBox<Py<PyAny>> = OnceBox::new();
        let py = class.py();
        let nothing = NO_ARGUMENTS.get_or_init(|| Box::new(pyo3::types::PyTuple::empty(py).into_any().unbind()));
        // `__init__` of the standard future would build what is to be built late, so only `__new__` is called.
        // SAFETY: the class is a subclass of ours, whose `__new__` takes no arguments.
        let future = unsafe {
            let class = class.as_type_ptr();
            let new = (*class).tp_new.ok_or_else(|| PyRuntimeError::new_err("the future's class cannot be made"))?;
            Bound::from_owned_ptr_or_err(py, new(class, nothing.as_ptr(), std::ptr::null_mut()))?
        };
        let future = future.cast_into::<Self>()?;
        let _ = future.get().job.set(job);
        Ok(future)
    }

    fn job(&self) -> PyResult<&Job> {
        self.job.get().ok_or_else(|| PyRuntimeError::new_err("only a pool makes futures of this class"))
    }

    /// How many bytes its outcome has, few being none, if it has ended and nobody has looked at it yet.
    pub(crate) fn weight(&self) -> u64 {
        self.job.get().map_or(0, Job::weight)
    }

    /// Leaves items for other futures.
    pub(crate) fn leave(&self, rest: Py<PyAny>, taken: usize) {
        self.watched().rest = Some((rest, taken));
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it ended on request, before it began or with its pool.
    fn is_cancelled(&self) -> PyResult<bool> {
        Ok(self.job()?.is_cancelled())
    }

    /// Waits for the end, and decodes the outcome once.
    fn settle(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        let job = self.job()?;
        if !job.is_done() {
            job.poll();
        }
        if !job.is_done() && !job.wait(py, Wait::of(timeout)?)? {
            return Err(PyTimeoutError::new_err(()));
        }
        if self.watched().decoded.is_some() {
            return Ok(());
        }
        job.hear(py)?;
        // Another thread may have taken the outcome, and be decoding it.
        let Some(decoded) = job.take_outcome(py) else { return self.settle_elsewhere(py) };
        let mut watched = self.watched();
        // Of a cancelled job on threads, every thread that asks gets an outcome, and one is enough.
        let surplus = if watched.decoded.is_none() { watched.decoded.replace(decoded) } else { Some(decoded) };
        drop(watched);
        drop(surplus);
        Ok(())
    }

    fn settle_elsewhere(&self, py: Python<'_>) -> PyResult<()> {
        while self.watched().decoded.is_none() {
            py.detach(std::thread::yield_now);
            py.check_signals()?;
        }
        Ok(())
    }

    /// Sees to it that the end will be announced; false if it is there and nobody needs to.
    fn request(slf: &Bound<'_, Self>) -> PyResult<bool> {
        let this = slf.get();
        let job = this.job()?;
        {
            let mut watched = this.watched();
            if watched.requested || watched.announced {
                return Ok(!watched.announced);
            }
            watched.requested = true;
        }
        let attachment: Box<Py<Self>> = Box::new(slf.clone().unbind());
        if job.announce(attachment).is_err() {
            // It ended in between.
            Self::announce(slf);
            return Ok(false);
        }
        Ok(true)
    }

    /// The end has come: tells whoever waits on the condition, and calls the callbacks.
    pub(crate) fn announce(slf: &Bound<'_, Self>) {
        let this = slf.get();
        let py = slf.py();
        let condition = {
            let mut watched = this.watched();
            if watched.condition.is_none() {
                watched.announced = true;
            }
            watched.condition.as_ref().map(|condition| condition.clone_ref(py))
        };
        if let Some(condition) = condition
            && let Err(error) = Self::announce_to_waiters(slf, condition.bind(py))
        {
            error.write_unraisable(py, Some(slf));
        }
        loop {
            let callbacks = std::mem::take(&mut this.watched().callbacks);
            if callbacks.is_empty() {
                return;
            }
            for callback in callbacks {
                Self::call_back(slf, callback.bind(py));
            }
        }
    }

    fn announce_to_waiters(slf: &Bound<'_, Self>, condition: &Bound<'_, PyAny>) -> PyResult<()> {
        let this = slf.get();
        let py = slf.py();
        condition.call_method0(intern!(py, "acquire"))?;
        let told = (|| {
            let waiters = {
                let mut watched = this.watched();
                watched.announced = true;
                watched.waiters.as_ref().map(|waiters| waiters.clone_ref(py))
            };
            if let Some(waiters) = waiters {
                let method = if this.is_cancelled()? {
                    intern!(py, "add_cancelled")
                } else if this.exception(py, None)?.is_some() {
                    intern!(py, "add_exception")
                } else {
                    intern!(py, "add_result")
                };
                for waiter in waiters.bind(py).iter() {
                    waiter.call_method1(method, (slf,))?;
                }
            }
            condition.call_method0(intern!(py, "notify_all")).map(|_| ())
        })();
        condition.call_method0(intern!(py, "release"))?;
        told
    }

    /// Calls one callback; an exception of its is logged as the standard library does.
    fn call_back(slf: &Bound<'_, Self>, callback: &Bound<'_, PyAny>) {
        let py = slf.py();
        let Err(error) = callback.call1((slf,)) else { return };
        let logged = (|| {
            let logger = PyModule::import(py, "logging")?.call_method1("getLogger", ("concurrent.futures",))?;
            let options = pyo3::types::PyDict::new(py);
            options.set_item("exc_info", error.value(py))?;
            logger.call_method("error", ("exception calling callback for %r", slf), Some(&options)).map(|_| ())
        })();
        if logged.is_err() {
            error.write_unraisable(py, Some(callback));
        }
    }
}

#[pymethods]
impl TaskFuture {
    #[new]
    fn new() -> Self {
        Self { job: OnceLock::new(), watched: Mutex::default() }
    }

    /// The items that were left for other futures, if there may be any, and how many there were before them; for the
    /// first to ask.
    fn take_rest(&self) -> Option<(Py<PyAny>, usize)> {
        self.watched().rest.take()
    }

    /// How many items there are, and how many of them have an outcome: of a call there is one.
    fn progress(&self, py: Python<'_>) -> PyResult<(u64, u64)> {
        let job = self.job()?;
        Ok(py.detach(|| {
            job.poll();
            job.progress()
        }))
    }

    /// What workers did for it: how many workers there are, the seconds from its submission to the last end so far (or to
    /// now), and what `Engine.history` tells, of it alone.
    fn history(&self, py: Python<'_>) -> PyResult<(usize, (f64, Chronicle))> {
        Ok(self.job()?.chronicle(py))
    }

    /// Cancels the call if it has not begun; with `force`, also one that runs, which is stopped. Whether it is cancelled,
    /// or will be.
    #[pyo3(signature = (*, force = false))]
    fn cancel(slf: &Bound<'_, Self>, force: bool) -> PyResult<bool> {
        let job = slf.get().job()?;
        let is_cancelled = if force { job.stop(slf.py()) } else { job.cancel(slf.py()) };
        Ok(is_cancelled || job.is_cancelled())
    }

    /// Whether the call was cancelled: before a worker began with it, or by force.
    fn cancelled(&self) -> PyResult<bool> {
        self.is_cancelled()
    }

    /// Whether a worker has begun with it and it has not ended.
    fn running(&self) -> PyResult<bool> {
        let job = self.job()?;
        job.poll();
        Ok(job.is_running())
    }

    /// Whether it has ended.
    fn done(&self) -> PyResult<bool> {
        let job = self.job()?;
        if !job.is_done() {
            job.poll();
        }
        Ok(job.is_done())
    }

    /// The result, waiting for it at most `timeout` seconds.
    #[pyo3(signature = (timeout = None))]
    pub(crate) fn result(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Py<PyAny>> {
        self.settle(py, timeout)?;
        match &self.watched().decoded {
            Some(Decoded::Value(value)) => Ok(value.clone_ref(py)),
            Some(Decoded::Raised(error, _)) => Err(PyErr::from_value(error.bind(py).clone())),
            None => Err(PyRuntimeError::new_err("an outcome was lost")),
        }
    }

    /// The exception it raised, or None, waiting for its end at most `timeout` seconds.
    #[pyo3(signature = (timeout = None))]
    fn exception(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<Py<PyAny>>> {
        self.settle(py, timeout)?;
        if self.is_cancelled()? {
            return Err(PyErr::from_value(cancelled(py)?));
        }
        Ok(match &self.watched().decoded {
            Some(Decoded::Raised(error, _)) => Some(error.clone_ref(py)),
            _ => None,
        })
    }

    /// Waits until done or `timeout` seconds have passed; tells whether it is done.
    #[pyo3(signature = (timeout = None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let job = self.job()?;
        if !job.is_done() {
            job.poll();
        }
        Ok(job.is_done() || job.wait(py, Wait::of(timeout)?)?)
    }

    /// Of a map: the results before the first failed item, and that item's exception (or None).
    #[pyo3(signature = (timeout = None))]
    fn prefix(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<(Py<PyAny>, Option<Py<PyAny>>)> {
        self.settle(py, timeout)?;
        if self.is_cancelled()? {
            return Err(PyErr::from_value(cancelled(py)?));
        }
        Ok(match &self.watched().decoded {
            Some(Decoded::Value(value)) => (value.clone_ref(py), None),
            Some(Decoded::Raised(error, before)) => {
                let before = before.as_ref().map_or_else(|| PyList::empty(py).unbind(), |before| before.clone_ref(py));
                (before.into_any(), Some(error.clone_ref(py)))
            }
            None => return Err(PyRuntimeError::new_err("an outcome was lost")),
        })
    }

    /// Calls `fn(future)` when it has ended: on the engine's thread, or at once if it has ended already.
    #[pyo3(signature = (r#fn, /))]
    fn add_done_callback(slf: &Bound<'_, Self>, r#fn: Bound<'_, PyAny>) -> PyResult<()> {
        let this = slf.get();
        let job = this.job()?;
        {
            let mut watched = this.watched();
            if watched.requested && !watched.announced || !job.is_done() {
                watched.callbacks.push(r#fn.unbind());
                drop(watched);
                return Self::request(slf).map(|_| ());
            }
        }
        Self::call_back(slf, &r#fn);
        Ok(())
    }

    #[getter]
    fn _state(&self) -> PyResult<&'static str> {
        let job = self.job()?;
        let watched = self.watched();
        let visible = job.is_done() && (watched.announced || !watched.requested);
        drop(watched);
        if visible {
            return Ok(if self.is_cancelled()? { "CANCELLED_AND_NOTIFIED" } else { "FINISHED" });
        }
        Ok(if job.is_running() { "RUNNING" } else { "PENDING" })
    }

    #[getter]
    fn _condition(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let this = slf.get();
        let py = slf.py();
        if let Some(condition) = &this.watched().condition {
            return Ok(condition.clone_ref(py));
        }
        let new = PyModule::import(py, "threading")?.getattr("Condition")?.call0()?.unbind();
        let condition = this.watched().condition.get_or_insert(new).clone_ref(py);
        Self::request(slf)?;
        Ok(condition)
    }

    #[getter]
    fn _waiters(&self, py: Python<'_>) -> Py<PyList> {
        let new = PyList::empty(py).unbind();
        self.watched().waiters.get_or_insert(new).clone_ref(py)
    }

    #[getter]
    fn _result(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        if !self.job()?.is_done() {
            return Ok(None);
        }
        self.settle(py, None)?;
        Ok(match &self.watched().decoded {
            Some(Decoded::Value(value)) => Some(value.clone_ref(py)),
            _ => None,
        })
    }

    #[getter]
    fn _exception(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        if !self.job()?.is_done() || self.is_cancelled()? {
            return Ok(None);
        }
        self.exception(py, None)
    }

    fn __traverse__(&self, visit: pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        if let Some(job) = self.job.get() {
            job.traverse(&visit)?;
        }
        if let Ok(watched) = self.watched.try_lock() {
            match &watched.decoded {
                Some(Decoded::Value(value)) => visit.call(value)?,
                Some(Decoded::Raised(error, before)) => {
                    visit.call(error)?;
                    visit.call(before)?;
                }
                None => {}
            }
            visit.call(watched.rest.as_ref().map(|(rest, _)| rest))?;
            visit.call(&watched.condition)?;
            visit.call(&watched.waiters)?;
            for callback in &watched.callbacks {
                visit.call(callback)?;
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        let watched = std::mem::take(&mut *self.watched());
        drop(watched);
    }
}
