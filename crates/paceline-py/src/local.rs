//! Owns the native half of a pool of threads, and of the pool that runs everything in its caller: what a job holds of
//! Python's objects, and how a thread runs it. Never decides which job is next, and never waits with the interpreter.
//!
//! Nothing is pickled. A thread keeps the interpreter from task to task, so that many small ones flow without handing
//! it over; it gives it away when there is nothing to do, and now and then for the sake of the others, because
//! functions written in C never do so by themselves.

mod carry;
mod run;
mod work;

pub(crate) use self::work::Work;

use self::carry::Carrier;
use self::run::{PoolThread, Runner, Turn, works_for};
use self::work::{Call, Handling, Map, Slot, copy_context, gather};
use crate::current;
use crate::future::{TaskFuture, Wait, foreign};
use crate::history::{Chronicle, Told, chronicle, tell};
use crate::intern::intern;
use crate::job::announce;
use crate::outcome::{OnError, errors};
use crate::shared;
use crate::stream::{Entry, Stream};
use crate::terms::Terms;
use once_cell::race::OnceBox;
use paceline_engine::local::{Book, Chunk, Ended, Local, Pace, Refusal};
use paceline_engine::{Sizing, now_ns};
use pyo3::exceptions::{PyException, PyKeyboardInterrupt, PyRuntimeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple, PyType};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// A job whose input and outcome are objects.
pub(crate) type Job = paceline_engine::local::Job<Work>;

/// The native pool, and why it is broken, should it be.
pub(crate) struct Threads {
    pub(crate) pool: Local<Work>,
    seed: u128,
    /// What the initializer raised, or why nothing is carried any more.
    failure: OnceLock<Py<PyAny>>,
    /// Where the threads hand on what they take.
    carrier: Option<Carrier>,
}

impl Threads {
    /// The exception for a pool that is broken.
    pub(crate) fn start_error<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let cause = self.failure.get().map(|failure| failure.clone_ref(py));
        if self.carrier.is_some() {
            return errors(py)?.getattr(intern!(py, "told_again"))?.call1((cause,));
        }
        errors(py)?.getattr(intern!(py, "thread_start_error"))?.call1((cause,))
    }

    /// Cancels a job if nothing of it has begun; whether it did.
    pub(crate) fn cancel(&self, py: Python<'_>, job: &Arc<Job>) -> bool {
        let ended = self.pool.cancel(job);
        let is_cancelled = ended.is_some();
        see_to(py, ended);
        is_cancelled
    }

    fn break_down(&self, py: Python<'_>, error: PyErr) {
        let _ = self.failure.set(error.into_value(py).into_any());
        see_to(py, self.pool.break_down());
    }
}

/// Lets go of what jobs hold that will not be run, and tells of their end.
fn see_to(py: Python<'_>, ended: impl IntoIterator<Item = Ended<Work>>) {
    for (job, attachment) in ended {
        drop(job.payload().replace(Slot::Empty));
        announce(py, attachment);
    }
}

/// The engine of a pool whose tasks run in this process: on at most `workers` threads, or in the caller's.
#[pyclass(module = "paceline._paceline", frozen, weakref)]
pub(crate) struct LocalEngine {
    threads: Arc<Threads>,
    future_type: Py<PyAny>,
    future_class: OnceBox<Py<PyType>>,
    workers: u16,
    /// Starts a thread, given what it is to run and its number, and returns it; none if there are no threads.
    start_thread: Option<Py<PyAny>>,
    initializer: Mutex<Option<(Py<PyAny>, Py<PyTuple>)>>,
    started: Mutex<Vec<Py<PyAny>>>,
    /// Of the caller, where there are no threads.
    book: OnceLock<Arc<Book>>,
}

type Shown<'a, 'py> = (Option<&'a Bound<'py, Stream>>, Option<&'a Bound<'py, PyAny>>);

impl LocalEngine {
    fn future_class<'a, 'py>(&'a self, py: Python<'py>) -> PyResult<&'a Bound<'py, PyType>> {
        let class = self.future_class.get_or_try_init(|| {
            Ok::<_, PyErr>(Box::new(self.future_type.bind(py).call0()?.cast_into::<PyType>()?.unbind()))
        });
        Ok(class?.bind(py))
    }

    /// Makes the job and its future, and hands the job to the pool.
    fn start<'py>(
        &self,
        py: Python<'py>,
        slot: Slot,
        (items, sizing, priority): (u32, Sizing, i16),
        (stream, waiter): Shown<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let class = self.future_class(py)?;
        let entry = Entry::of_threads(&self.threads, stream);
        let job = Job::new(Work(Mutex::new(slot)), items, sizing, entry.tag());
        let made = TaskFuture::create(class, crate::job::Job::Local(Arc::clone(&self.threads), Arc::clone(&job)));
        let future = match made {
            Ok(future) => future,
            Err(error) => {
                entry.refused();
                return Err(error);
            }
        };
        entry.show(&future, waiter);
        let taken = match &self.start_thread {
            Some(_) if items == 0 => self.run_here(py, job),
            Some(start) => match self.threads.pool.submit(&job, priority) {
                Ok(wanted) if wanted.is_empty() => return Ok(future.into_any()),
                Ok(wanted) => {
                    // From here on the job may have ended, and its end have been told.
                    return self.start_threads(start.bind(py), wanted, &job).map(|()| future.into_any());
                }
                Err(refusal) => Err(self.refusal(py, refusal)),
            },
            None => self.run_here(py, job),
        };
        match taken {
            Ok(interrupted) => interrupted.map_or_else(|| Ok(future.into_any()), Err),
            Err(error) => {
                entry.refused();
                Err(error)
            }
        }
    }

    /// Runs a job in the caller's thread. Fails if it was not taken; else tells whether the caller was interrupted.
    fn run_here(&self, py: Python<'_>, job: Arc<Job>) -> PyResult<Option<PyErr>> {
        if self.start_thread.is_none() {
            self.set_up(py)?;
        }
        self.threads.pool.submit_to_caller(&job).map_err(|refusal| self.refusal(py, refusal))?;
        if job.items() == 0 {
            gather(py, &job);
            announce(py, self.threads.pool.complete(&job));
            return Ok(None);
        }
        let id = rustix::thread::gettid().as_raw_nonzero().get();
        let book = self.book.get_or_init(|| self.threads.pool.enter(id));
        let now = now_ns();
        let mut runner = Runner {
            py,
            threads: &self.threads,
            book,
            turn: Turn { began_ns: now },
            named: None,
            raised: 0,
            is_caller: true,
        };
        let items = 0..job.items();
        let number = job.numbers(&items).start;
        let chunk = Chunk { job, items };
        Ok(current::within(self.threads.seed, number, || runner.run(&chunk, now)).err())
    }

    /// Runs the initializer in the caller, before the first call.
    fn set_up(&self, py: Python<'_>) -> PyResult<()> {
        let initializer = self.initializer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((initializer, arguments)) = initializer else { return Ok(()) };
        let Err(error) = initializer.bind(py).call1(arguments.bind(py)) else { return Ok(()) };
        let interrupted = error.is_instance_of::<PyKeyboardInterrupt>(py).then(|| error.clone_ref(py));
        self.threads.break_down(py, error);
        interrupted.map_or(Ok(()), Err)
    }

    fn start_threads(&self, start: &Bound<'_, PyAny>, wanted: Range<u16>, job: &Arc<Job>) -> PyResult<()> {
        let py = start.py();
        for number in wanted.clone() {
            let initializer = {
                let initializer = self.initializer.lock().unwrap_or_else(PoisonError::into_inner);
                initializer.as_ref().map(|(call, with)| (call.clone_ref(py), with.clone_ref(py)))
            };
            let body = Bound::new(py, PoolThread::new(&self.threads, initializer))?;
            match start.call1((&body, number)) {
                Ok(thread) => self.started().push(thread.unbind()),
                Err(error) => {
                    // Unless it has come all the same, as after Ctrl-C at this moment.
                    let missing = number + u16::from(!body.get().give_up())..wanted.end;
                    for _ in missing {
                        self.threads.pool.leave(None);
                    }
                    if error.is_instance_of::<PyException>(py) && self.threads.pool.has_threads() {
                        // Those that there are do it.
                        return Ok(());
                    }
                    self.threads.cancel(py, job);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn started(&self) -> MutexGuard<'_, Vec<Py<PyAny>>> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refusal(&self, py: Python<'_>, refusal: Refusal) -> PyErr {
        let made = match refusal {
            Refusal::Closed => errors(py)
                .and_then(|errors| errors.getattr(intern!(py, "PoolClosed"))?.call1(("the pool takes no more calls",))),
            Refusal::Broken => self.threads.start_error(py),
            Refusal::Forked => return foreign(),
        };
        made.map_or_else(|error| error, PyErr::from_value)
    }
}

#[pymethods]
impl LocalEngine {
    #[new]
    #[pyo3(signature = (
        *, workers, future_type, seed, start_thread = None, initializer = None, initargs = None, carrier = None,
        capacity = None, chunk_cost_ns = 0
    ))]
    #[expect(clippy::too_many_arguments, reason = "Python's keywords")]
    fn new(
        workers: u16,
        future_type: Bound<'_, PyAny>,
        seed: u128,
        start_thread: Option<Py<PyAny>>,
        initializer: Option<Py<PyAny>>,
        initargs: Option<Bound<'_, PyTuple>>,
        carrier: Option<Py<PyAny>>,
        capacity: Option<u16>,
        chunk_cost_ns: u64,
    ) -> PyResult<Self> {
        if workers == 0 {
            return Err(PyValueError::new_err("a pool has at least 1 worker"));
        }
        let py = future_type.py();
        let initargs = initargs.unwrap_or_else(|| PyTuple::empty(py)).unbind();
        let shown = capacity.unwrap_or(workers);
        let pace = if carrier.is_some() { carry::pace(shown, chunk_cost_ns) } else { Pace::HERE };
        let pool = Local::at_pace(workers, pace);
        let carrier = carrier.map(Carrier::new);
        Ok(Self {
            threads: Arc::new(Threads { pool, seed, failure: OnceLock::new(), carrier }),
            future_type: future_type.unbind(),
            future_class: OnceBox::new(),
            workers: shown,
            start_thread,
            initializer: Mutex::new(initializer.map(|initializer| (initializer, initargs))),
            started: Mutex::default(),
            book: OnceLock::new(),
        })
    }

    /// Calls `fn(*args, **kwargs)` in a thread of the pool; the future of it.
    #[pyo3(signature = (
        terms, r#fn, args, kwargs, /, *, base = None, name = None, stream = None, waiter = None
    ))]
    #[expect(clippy::too_many_arguments, reason = "Python's keywords")]
    #[expect(unused_variables, reason = "no thread dies, and there is nothing to name that was lost")]
    fn submit<'py>(
        &self,
        terms: &Bound<'py, Terms>,
        r#fn: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
        base: Option<u32>,
        name: Option<&Bound<'py, PyAny>>,
        stream: Option<&Bound<'py, Stream>>,
        waiter: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = r#fn.py();
        let priority = terms.get().native.priority;
        let (mut args, mut kwargs) = (args.clone(), kwargs.cloned());
        let is_carried = self.threads.carrier.is_some();
        if !is_carried && shared::any_objects() {
            args = shared::resolved(&args)?.cast_into()?;
            kwargs = kwargs.map(|kwargs| shared::resolved(&kwargs)?.cast_into().map_err(PyErr::from)).transpose()?;
        }
        let call = Call {
            function: r#fn.clone().unbind(),
            args: args.unbind(),
            kwargs: kwargs.map(Bound::unbind),
            context: copy_context(py)?.unbind(),
            asked: terms.get().carried(py),
            index: base,
        };
        self.start(py, Slot::Call(call), (1, Sizing::Fixed(1), priority), (stream, waiter))
    }

    /// Calls `fn(item)`, or `fn(*item)` with `star`, for every item; the future of the list of results.
    #[pyo3(signature = (
        terms, r#fn, items, /, *, star = false, chunksize = None, on_error = OnError::Raise, max_failures = None, base = None,
        name = None, stream = None, waiter = None, order = None
    ))]
    #[expect(clippy::too_many_arguments, reason = "Python's keywords")]
    fn map<'py>(
        &self,
        terms: &Bound<'py, Terms>,
        r#fn: &Bound<'py, PyAny>,
        items: &Bound<'py, PyAny>,
        star: bool,
        chunksize: Option<u32>,
        #[pyo3(from_py_with = OnError::from_python)] on_error: OnError,
        max_failures: Option<u32>,
        base: Option<u32>,
        name: Option<&Bound<'py, PyAny>>,
        stream: Option<&Bound<'py, Stream>>,
        waiter: Option<&Bound<'py, PyAny>>,
        order: Option<Vec<u32>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = r#fn.py();
        // SAFETY: the thread is attached, and the call returns a list of its own or an error.
        let list = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PySequence_List(items.as_ptr()))? };
        let mut list = list.cast_into::<PyList>()?;
        if self.threads.carrier.is_none() && shared::any_objects() {
            list = shared::resolved(&list)?.cast_into()?;
        }
        let count =
            u32::try_from(list.len()).map_err(|_| PyValueError::new_err("a map takes at most 4,294,967,295 items"))?;
        let (terms, is_ordered) = (terms.get(), order.is_some());
        let map = Map {
            function: r#fn.clone().unbind(),
            star,
            context: copy_context(py)?.unbind(),
            asked: terms.carried(py),
            items: list.unbind(),
            handling: Handling::of(terms.name_of(r#fn, name), on_error, max_failures, base, order.map(Into::into)),
            failures: Vec::new(),
            is_given_up: false,
            not_run: Vec::new(),
        };
        let priority = terms.native.priority;
        let sizing = if is_ordered { Sizing::Fixed(1) } else { chunksize.map_or(Sizing::Measured, Sizing::Fixed) };
        self.start(py, Slot::Map(map), (count, sizing, priority), (stream, waiter))
    }

    /// No more submissions; the threads leave when everything has ended. Does not wait.
    #[pyo3(signature = (cancel_pending = false))]
    fn close(&self, py: Python<'_>, cancel_pending: bool) {
        see_to(py, self.threads.pool.close(cancel_pending));
    }

    /// Cancels what has not begun. What runs goes on to its end, because no thread can be stopped from outside.
    fn terminate(&self, py: Python<'_>) {
        see_to(py, self.threads.pool.terminate());
        if let Some(carrier) = &self.threads.carrier {
            carrier.end(py, intern!(py, "terminate"));
        }
    }

    /// Waits until, after `close` or `terminate`, every thread has ended; tells whether that came to pass.
    #[pyo3(signature = (timeout = None))]
    fn join(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        const SLICE: Duration = Duration::from_millis(50);
        let wait = Wait::of(timeout)?;
        let mut patience = Duration::ZERO;
        while !py.detach(|| self.threads.pool.join(patience)) {
            let left = wait.left(now_ns());
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(false);
            }
            if works_for(&self.threads) {
                return Err(PyRuntimeError::new_err(
                    "a task waits for the end of the pool that runs it, which would be for ever\n\
                     hint: close the pool from where it was opened",
                ));
            }
            py.check_signals()?;
            patience = left.map_or(SLICE, |left| SLICE.min(left));
        }
        if !self.threads.pool.is_foreign() {
            // They have left the pool, and only have to find the way out of Python.
            let started = std::mem::take(&mut *self.started());
            for thread in started {
                thread.call_method0(py, intern!(py, "join"))?;
            }
            if let Some(carrier) = &self.threads.carrier {
                carrier.end(py, intern!(py, "close"));
            }
        }
        Ok(true)
    }

    /// Waits for so many seconds before something that has failed is run again; whether it still is to be.
    fn rest_before_retry(&self, py: Python<'_>, seconds: f64) -> PyResult<bool> {
        const SLICE: Duration = Duration::from_millis(50);
        let wait = Wait::of(Some(seconds))?;
        loop {
            let left = wait.left(now_ns()).unwrap_or_default();
            // The thread may be the program's main one, which is to hear of Ctrl-C.
            if !py.detach(|| self.threads.pool.rest_before_retry(SLICE.min(left))) {
                return Ok(false);
            }
            py.check_signals()?;
            if left.is_zero() {
                return Ok(true);
            }
        }
    }

    /// Tells the calling thread that it begins its task again, having begun it so often before; with `in_context`, also
    /// the calling coroutine.
    #[staticmethod]
    fn note_attempt(py: Python<'_>, attempt: u16, in_context: bool) -> PyResult<()> {
        current::begin_again(attempt);
        if in_context { current::begin_again_in_context(py, attempt) } else { Ok(()) }
    }

    #[getter]
    fn closed(&self) -> bool {
        !self.threads.pool.is_accepting()
    }

    #[getter]
    fn workers(&self) -> u16 {
        self.workers
    }

    /// Whether calls are made in the caller's own thread, before `submit` returns.
    #[getter]
    fn runs_in_caller(&self) -> bool {
        self.start_thread.is_none()
    }

    /// What carries the calls elsewhere; None if they are made here.
    #[getter]
    fn carrier(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.threads.carrier.as_ref().map(|carrier| carrier.object().clone_ref(py))
    }

    /// Whether an initializer has raised.
    #[getter]
    fn broken(&self) -> bool {
        self.threads.pool.is_broken()
    }

    /// The threads that have been started and not been joined.
    fn threads(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        self.started().iter().map(|thread| thread.clone_ref(py)).collect()
    }

    /// How many of them have nothing to do.
    fn idle_threads(&self) -> usize {
        self.threads.pool.idle_threads()
    }

    /// The system's ids of the threads that there are now.
    fn pids(&self) -> Vec<i32> {
        if self.start_thread.is_none() { Vec::new() } else { self.threads.pool.thread_ids() }
    }

    /// As of `Engine`, with the ids of threads in the place of those of processes.
    fn report(&self) -> Told {
        tell(&self.threads.pool.report())
    }

    /// The same of its history.
    fn history(&self, py: Python<'_>) -> Chronicle {
        let (accounts, history) = self.threads.pool.history();
        chronicle(py, &accounts, &history)
    }

    fn __traverse__(&self, visit: pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        visit.call(&self.future_type)?;
        visit.call(&self.start_thread)?;
        if let Some(carrier) = &self.threads.carrier {
            visit.call(carrier.object())?;
        }
        if let Ok(initializer) = self.initializer.try_lock()
            && let Some((initializer, arguments)) = &*initializer
        {
            visit.call(initializer)?;
            visit.call(arguments)?;
        }
        Ok(())
    }

    fn __clear__(&self) {
        let initializer = self.initializer.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(initializer);
    }
}

impl Drop for LocalEngine {
    fn drop(&mut self) {
        // Futures may hold the pool for long; but nobody can submit to it any more.
        drop(self.threads.pool.close(false));
    }
}
