//! Owns the native half of a pool: turns calls into jobs of the engine. Never decides when they run, and never waits
//! for one while it holds the interpreter.

use crate::command::{fork_server_command, spawn_command};
use crate::events::{Events, Shape};
use crate::flight::{Gauge, statistics};
use crate::functions::{FindError, Functions, Style};
use crate::future::{TaskFuture, Wait, foreign};
use crate::gather::Gather;
use crate::history::{Chronicle, Glanced, Told, ToldThreads, chronicle, show_glance, tell, told_of_threads};
use crate::intern::intern;
use crate::job::{Called, Job, Sent, ToFutures};
use crate::machine::usable_cpus;
use crate::outcome::{OnError, errors, start_error};
use crate::output::STALLED;
use crate::pickle::{Along, bringing, encode_argument, encode_argument_or_failure, encode_call};
use crate::resources::Resources;
use crate::shared::take_named;
use crate::stream::{Entry, Stream};
use crate::terms::Terms;
use crate::transport::{Handed, Transport};
use crate::worker::forked_server;
use once_cell::race::OnceBox;
use paceline_engine::{
    FailureWatch, Input, Label, Mark, OpenError, Options, Pending, Running, STOPPED_LOOKS, Share, Sizing, StartMethod,
    SubmitError, TOKEN_KINDS, default_memory_budget, now_ns,
};
use pyo3::exceptions::{PyMemoryError, PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple, PyType};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A pool's engine: `workers` processes, and the task table they share.
#[pyclass(module = "paceline._paceline", frozen, weakref)]
pub(crate) struct Engine {
    native: Arc<paceline_engine::Engine>,
    /// Gives the class of futures; importing it takes long, and is done while the first workers start.
    future_type: Py<PyAny>,
    future_class: OnceBox<Py<PyType>>,
    workers: u16,
    memory_limit: u64,
    functions: Functions,
    /// Kept from call to call, so that a small one needs no allocation.
    scratch: Mutex<Vec<u8>>,
    transport: Transport,
    resources: Resources,
    witness: Witness,
    /// What the set-up of workers names in shared memory.
    _setup_shares: Vec<Arc<Share>>,
}

/// Who is asked at each submission for a number that its events will have.
#[derive(Default)]
struct Witness {
    is_there: AtomicBool,
    call: Mutex<Option<Py<PyAny>>>,
}

impl Witness {
    /// The number; zero if there is nobody to ask, or the answer is none.
    fn ask(&self, py: Python<'_>) -> u64 {
        if !self.is_there.load(Ordering::Relaxed) {
            return 0;
        }
        let call = self.call.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|call| call.clone_ref(py));
        let answer = call.map_or(Ok(0), |call| call.call0(py)?.extract(py));
        // Whoever only looks on is no reason for a call to fail.
        answer.unwrap_or_else(|error: PyErr| {
            error.write_unraisable(py, None);
            0
        })
    }

    fn set(&self, call: Option<Py<PyAny>>) {
        self.is_there.store(call.is_some(), Ordering::Relaxed);
        let before = std::mem::replace(&mut *self.call.lock().unwrap_or_else(PoisonError::into_inner), call);
        drop(before);
    }
}

/// What is asked of a job beside its function and its input.
struct Asked<'a> {
    sizing: Sizing,
    terms: &'a Terms,
    on_error: OnError,
    max_failures: Option<u32>,
    base: Option<u32>,
    /// Where each item stands among those of the caller, if they are sent in another order.
    order: Option<Arc<[u32]>>,
}

/// Input of at least this length is copied without holding the interpreter.
pub(crate) const LONG_COPY: usize = 1 << 20;
/// Shorter input waits for nobody.
const COUNTED_FROM: usize = 4 << 10;
/// A map in pieces has at most about so many in flight.
const PIECES: u64 = 4;
/// Scratch space beyond this is given back.
const SCRATCH_KEPT: usize = 1 << 20;

impl Engine {
    fn future_class<'a, 'py>(&'a self, py: Python<'py>) -> PyResult<&'a Bound<'py, PyType>> {
        let class = self.future_class.get_or_try_init(|| {
            Ok::<_, PyErr>(Box::new(self.future_type.bind(py).call0()?.cast_into::<PyType>()?.unbind()))
        });
        Ok(class?.bind(py))
    }

    /// Finds the function, encodes the input, hands both to the engine, and makes the future.
    fn start<'py>(
        &self,
        (function, name): (&Bound<'py, PyAny>, Option<&Bound<'py, PyAny>>),
        style: Style,
        (stream, waiter): (Option<&Bound<'py, Stream>>, Option<&Bound<'py, PyAny>>),
        fill: impl FnOnce(&mut Gather, &mut Along<'_>) -> PyResult<Option<Vec<u64>>>,
        asked: &Asked<'_>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = function.py();
        let future_class = self.future_class(py)?;
        let find = |function: &Bound<'py, PyAny>| {
            self.functions.find(&self.native, function, style).map_err(|error| match error {
                FindError::Raised(error) => error,
                FindError::Refused(error) => refusal(py, &error),
            })
        };
        let mut found = find(function)?;
        // A pickle's own code may submit as well; it then finds no scratch and makes its own.
        let scratch = std::mem::take(&mut *self.scratch.lock().unwrap_or_else(PoisonError::into_inner));
        let mut input = Gather::leaving_runs(scratch, matches!(style, Style::Call));
        let mut along = Along::new(&self.native);
        let result = fill(&mut input, &mut along).and_then(|ends| {
            if !along.definitions.is_empty() {
                found = find(&bringing(function, &along.definitions)?)?;
            }
            let pickled = along.pickled();
            if pickled.items > 0 {
                self.transport.add(pickled);
            }
            if input.len() >= COUNTED_FROM {
                along.wait_for_room(py, input.len())?;
            }
            let entry = Entry::of_processes(&self.native, stream);
            let (terms, watch) = asked.terms.with_failures(asked.on_error, asked.max_failures);
            let called = Called {
                function: asked.terms.name_of(function, name).clone().unbind(),
                style,
                items: ends.as_ref().map_or(1, |ends| u32::try_from(ends.len()).unwrap_or(u32::MAX)),
                on_error: asked.on_error,
                timeout_ns: terms.timeout_ns,
                retries: terms.retries,
                base: asked.base,
                order: asked.order.clone(),
                memory_limit: self.memory_limit,
            };
            let mark = (watch == FailureWatch::Everybody).then(|| Box::new(called.clone_ref(py)) as Mark);
            let label = Label {
                name: asked.terms.name_of_task(),
                base: asked.base,
                order: asked.order.clone(),
                origin: self.witness.ask(py),
            };
            let pending = Pending::watched(entry.tag(), label, watch, mark);
            let job = Sent { engine: Arc::clone(&self.native), pending: Arc::clone(&pending), called };
            let future = match TaskFuture::create(future_class, Job::Sent(job)) {
                Ok(future) => future,
                Err(error) => {
                    entry.refused();
                    return Err(error);
                }
            };
            entry.show(&future, waiter);
            let whole = Input {
                bytes: input.bytes(),
                runs: input.runs(),
                buffers: along.take_buffers(),
                shares: along.take_shares(),
            };
            let submit = || match ends {
                None => self.native.submit(&found.function, whole, terms, &pending),
                Some(ends) => {
                    // Coroutines travel one by one: each is in a slot of its own, and can end before its neighbours.
                    let sizing = if found.is_coroutine { Sizing::Fixed(1) } else { asked.sizing };
                    self.native.submit_many(&found.function, whole, ends, sizing, terms, &pending)
                }
            };
            let taken = if input.len() < LONG_COPY { submit() } else { py.detach(submit) };
            taken.map(|()| self.transport.note_submission()).map(|()| future.into_any()).map_err(|error| {
                entry.refused();
                refusal(py, &error)
            })
        });
        let scratch = input.into_memory();
        if scratch.capacity() <= SCRATCH_KEPT {
            *self.scratch.lock().unwrap_or_else(PoisonError::into_inner) = scratch;
        }
        result
    }
}

/// A subscriber who takes longer than this is not waited for where a pool ends.
const TELLING: Duration = Duration::from_secs(1);
/// How long a wait goes without a look for signals.
const SLICE: Duration = Duration::from_millis(50);

impl Engine {
    fn wait_until_told(&self, py: Python<'_>, wait: Wait) -> PyResult<()> {
        let begun_ns = now_ns();
        loop {
            let now = now_ns();
            let left = TELLING.saturating_sub(Duration::from_nanos(now.saturating_sub(begun_ns)));
            let left = wait.left(now).map_or(left, |wait| wait.min(left));
            if py.detach(|| self.native.wait_until_told(left.min(SLICE))) || left.is_zero() {
                return Ok(());
            }
            py.check_signals()?;
        }
    }
}

#[pymethods]
impl Engine {
    #[new]
    #[pyo3(signature = (
        *, workers, setup, future_type, max_tasks_per_worker = None, prefix_output = false, memory_limit = 0,
        memory_budget = 0, start_timeout_ns = 0, start_method = "forkserver", resources = Vec::new()
    ))]
    #[expect(clippy::too_many_arguments, reason = "Python's keywords")]
    fn new(
        py: Python<'_>,
        workers: usize,
        setup: Vec<u8>,
        future_type: Bound<'_, PyAny>,
        max_tasks_per_worker: Option<u64>,
        prefix_output: bool,
        memory_limit: u64,
        memory_budget: u64,
        start_timeout_ns: u64,
        start_method: &str,
        resources: Vec<(String, f64)>,
    ) -> PyResult<Self> {
        let resources = Resources::of(resources)?;
        let workers = u16::try_from(workers).map_err(|_| too_many_workers())?;
        let options = Options {
            workers,
            chunks_per_worker: max_tasks_per_worker.unwrap_or(0),
            memory_limit,
            memory_budget: if memory_budget == 0 { default_memory_budget(workers) } else { memory_budget },
            start_timeout_ns,
            tokens: resources.all(),
            setup,
            prefix_output,
            start: start_from(py, start_method)?,
            stopped_looks: STOPPED_LOOKS,
            announce: Box::new(ToFutures),
        };
        let engine = py.detach(|| paceline_engine::Engine::open(options)).map_err(|error| match error {
            OpenError::WorkerCount => too_many_workers(),
            OpenError::System(errno) => {
                PyOSError::new_err((errno.raw_os_error(), format!("cannot open a pool: {errno}")))
            }
        })?;
        Ok(Self {
            native: Arc::new(engine),
            future_type: future_type.unbind(),
            future_class: OnceBox::new(),
            workers,
            memory_limit,
            functions: Functions::new(py)?,
            scratch: Mutex::default(),
            transport: Transport::default(),
            resources,
            witness: Witness::default(),
            _setup_shares: take_named(),
        })
    }

    /// What stands for so many of its resources in the terms of a call.
    fn tokens(&self, wanted: Vec<(String, f64)>) -> PyResult<[u32; TOKEN_KINDS]> {
        Ok(self.resources.demand(wanted)?.0)
    }

    /// Calls `fn(*args, **kwargs)` in a worker; the future of it.
    ///
    /// The terms come first so that they can be bound for nothing, as the `self` of a method: a keyword in a
    /// `functools.partial` costs a tenth of a call.
    #[pyo3(signature = (terms, r#fn, args, kwargs, /, *, base = None, name = None, stream = None, waiter = None))]
    #[expect(clippy::too_many_arguments, reason = "Python's keywords")]
    fn submit<'py>(
        &self,
        terms: &Bound<'py, Terms>,
        r#fn: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyAny>>,
        base: Option<u32>,
        name: Option<&Bound<'py, PyAny>>,
        stream: Option<&Bound<'py, Stream>>,
        waiter: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let kwargs = kwargs.filter(|kwargs| kwargs.is_truthy().unwrap_or(true));
        let fill = |input: &mut Gather, along: &mut Along<'_>| {
            encode_call(args, kwargs, input, along)?;
            self.transport.look_at(args, kwargs, input.len() + along.bytes());
            Ok(None)
        };
        let terms = terms.get();
        let asked =
            Asked { sizing: Sizing::Fixed(1), terms, on_error: OnError::Raise, max_failures: None, base, order: None };
        self.start((r#fn, name), Style::Call, (stream, waiter), fill, &asked)
    }

    /// Calls `fn(item)`, or `fn(*item)` with `star`, for every item; the future of the list of results.
    ///
    /// With `order`, the items are sent in that order, by index; the results are as if they had not been.
    ///
    /// With `in_pieces`, those items only whose input fits with others' into the memory budget, at least one; the future
    /// has the rest.
    #[pyo3(signature = (
        terms, r#fn, items, /, *, star = false, chunksize = None, on_error = OnError::Raise, max_failures = None, base = None,
        name = None, stream = None, waiter = None, in_pieces = false, order = None
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
        in_pieces: bool,
        order: Option<Vec<u32>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let style = if star { Style::Star } else { Style::Item };
        let order: Option<Arc<[u32]>> = order.map(Into::into);
        // An item that stands elsewhere than its neighbours is sent by itself, so that the worker knows its index.
        let sizing = if order.is_some() { Sizing::Fixed(1) } else { chunksize.map_or(Sizing::Measured, Sizing::Fixed) };
        let items = &in_order(items, order.as_deref())?;
        let encode = if on_error == OnError::Raise { encode_argument } else { encode_argument_or_failure };
        let piece = if in_pieces { self.native.flight().budget() / PIECES } else { u64::MAX };
        let piece = usize::try_from(piece).unwrap_or(usize::MAX);
        let mut rest = None;
        let fill = |input: &mut Gather, along: &mut Along<'_>| {
            let mut ends = Vec::new();
            if items.is_exact_instance_of::<PyList>() || items.is_exact_instance_of::<PyTuple>() {
                along.begin_still();
            }
            let mut items = items.try_iter()?;
            while let Some(item) = items.next() {
                let item = item?;
                encode(&item, input, along)?;
                ends.push(input.len() as u64);
                if input.len() + along.bytes() >= piece {
                    rest = Some((items.into_any().unbind(), ends.len()));
                    break;
                }
            }
            Ok(Some(ends))
        };
        let terms = terms.get();
        let asked = Asked { sizing, terms, on_error, max_failures, base, order };
        let future = self.start((r#fn, name), style, (stream, waiter), fill, &asked)?;
        if let Some((rest, taken)) = rest {
            future.cast::<TaskFuture>()?.get().leave(rest, taken);
        }
        Ok(future)
    }

    /// No more submissions; the workers leave when everything has ended. With `cancel_pending`, what has not begun is
    /// cancelled, also of a pool that was closed before. Does not wait.
    #[pyo3(signature = (cancel_pending = false))]
    fn close(&self, cancel_pending: bool) {
        self.native.close(cancel_pending);
        self.functions.clear();
    }

    /// Kills the workers and ends every future that is not done as cancelled. Does not wait for the processes.
    fn terminate(&self) {
        self.native.terminate();
        self.functions.clear();
    }

    /// Waits until, after `close` or `terminate`, every worker is gone, and what they said and what subscribers are to be told
    /// has been passed on, unless nobody takes it; tells whether they are gone.
    #[pyo3(signature = (timeout = None))]
    fn join(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let wait = Wait::of(timeout)?;
        loop {
            let patience = wait.left(now_ns()).map_or(SLICE, |left| SLICE.min(left));
            if py.detach(|| self.native.join(patience)) {
                crate::output::wait_until_passed_on(
                    py,
                    wait.left(now_ns()).map_or(Some(STALLED), |left| Some(STALLED.min(left))),
                )?;
                self.wait_until_told(py, wait)?;
                return Ok(true);
            }
            py.check_signals()?;
            if wait.left(now_ns()).is_some_and(|left| left.is_zero()) {
                return Ok(false);
            }
        }
    }

    #[getter]
    fn closed(&self) -> bool {
        !self.native.is_accepting()
    }

    #[getter]
    fn workers(&self) -> u16 {
        self.workers
    }

    /// Whether calls are made in the caller's own thread, before `submit` returns.
    #[getter]
    #[expect(clippy::unused_self, reason = "asked of engines of every kind")]
    fn runs_in_caller(&self) -> bool {
        false
    }

    /// The process ids of the workers that are alive now, by seat.
    fn pids(&self) -> Vec<i32> {
        self.native.pids()
    }

    /// How many CPUs there are to use, and what each worker's threads did.
    fn thread_times(&self, py: Python<'_>) -> (usize, ToldThreads) {
        (usable_cpus(), told_of_threads(py.detach(|| self.native.thread_times())))
    }

    /// What each worker runs now: process id, name of the function, number of the item, its place in its job, attempt from
    /// zero, and the seconds since it began.
    fn running(&self) -> Vec<(i32, String, u64, Option<u32>, u16, f64)> {
        let now = now_ns();
        let tell = |one: Running| {
            let seconds = Duration::from_nanos(now.saturating_sub(one.began_ns)).as_secs_f64();
            (one.pid, one.function, one.item, one.index, one.attempt, seconds)
        };
        self.native.running().into_iter().map(tell).collect()
    }

    /// What the pool is at, as the stub has it.
    fn glance(&self, py: Python<'_>) -> Glanced {
        show_glance(py, py.detach(|| self.native.glance()))
    }

    /// Cancels the call or the map that an item belongs to, by the item's number; with `force` also one that runs. Whether
    /// it is cancelled, or will be; none if there is no such item, or it has ended.
    #[pyo3(signature = (item, *, force = false))]
    fn cancel_item(&self, py: Python<'_>, item: u64, force: bool) -> Option<bool> {
        py.detach(|| self.native.cancel_item(item, force))
    }

    /// Wall seconds, and for each worker process pid, busy seconds, number of items and ranges (first, count) of them.
    fn report(&self) -> Told {
        tell(&self.native.accounts())
    }

    /// What each worker did, stretch by stretch: the workers' process ids, the functions' names, how many of the oldest
    /// stretches are forgotten, how many items raised, were stopped, and were lost, when the first item was submitted, and
    /// of each stretch a row of twelve numbers.
    fn history(&self, py: Python<'_>) -> Chronicle {
        // In this order: whoever is named in the history is in the accounts by then.
        let (history, accounts) = py.detach(|| (self.native.history(), self.native.accounts()));
        chronicle(py, &accounts, &history)
    }

    /// What happens from now on, as objects of that class. `anchor_ns` is what the monotonic clock lacks to the nanoseconds
    /// since the epoch, and `name_exception` tells the name of an exception's type from what it has left.
    fn subscribe(
        &self,
        event_type: &Bound<'_, PyType>,
        version: u32,
        anchor_ns: u64,
        name_exception: Py<PyAny>,
    ) -> PyResult<Events> {
        let shape = Shape::of(event_type, version, anchor_ns, name_exception)?;
        let subscription = event_type.py().detach(|| self.native.subscribe()).ok_or_else(foreign)?;
        Ok(Events::of(subscription, shape))
    }

    /// Has each submission ask this for the number by which its events will know it, in the thread that submits; none for
    /// nothing.
    #[pyo3(signature = (witness, /))]
    fn set_witness(&self, witness: Option<Py<PyAny>>) {
        self.witness.set(witness);
    }

    /// What handing over pickled arguments took: seconds, items, bytes, the largest argument, and the seconds before the first
    /// submission.
    fn transport(&self) -> Handed {
        self.transport.tell()
    }

    /// The numbers of bytes in flight and behind segments, now and at most, by name.
    fn statistics(&self) -> Vec<(&'static str, u64)> {
        statistics(&self.native)
    }

    /// Tells whoever reads an input how far ahead he may read.
    fn gauge(&self) -> Gauge {
        Gauge::of(&self.native, self.workers)
    }

    fn __traverse__(&self, visit: pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        visit.call(&self.future_type)?;
        if let Ok(call) = self.witness.call.try_lock() {
            visit.call(&*call)?;
        }
        self.functions.traverse(&visit)
    }

    fn __clear__(&self) {
        self.functions.clear();
        self.witness.set(None);
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Futures may hold the engine for long; but nobody can submit to it any more.
        self.native.close(false);
    }
}

/// The items of a list in this order, by index.
fn in_order<'py>(items: &Bound<'py, PyAny>, order: Option<&[u32]>) -> PyResult<Bound<'py, PyAny>> {
    let Some(order) = order else { return Ok(items.clone()) };
    let ordered = order.iter().map(|index| items.get_item(index)).collect::<PyResult<Vec<_>>>()?;
    Ok(PyList::new(items.py(), ordered)?.into_any())
}

/// Has the fork server load modules; what the bytes mean is known to `paceline.preloading`.
#[pyfunction]
pub(crate) fn preload(py: Python<'_>, what: Vec<u8>) -> PyResult<()> {
    let command = fork_server_command(py)?;
    let asked = py.detach(|| paceline_engine::preload(command, what));
    asked.map_err(|errno| PyErr::from(std::io::Error::from(errno)))
}

/// The process id of every worker of this process, or of the one that is asked for, and what each is doing, in its own words.
#[pyfunction]
#[pyo3(signature = (timeout, pid = None))]
pub(crate) fn worker_stacks(py: Python<'_>, timeout: f64, pid: Option<i32>) -> Vec<(i32, String)> {
    let patience = Duration::try_from_secs_f64(timeout).unwrap_or_default();
    let stacks = py.detach(|| paceline_engine::worker_stacks(patience, pid));
    stacks.into_iter().map(|stack| (stack.pid, stack.text)).collect()
}

/// Ends the fork server, and whatever workers are left, and prints what they wrote; before the interpreter exits.
#[pyfunction]
pub(crate) fn end_processes(py: Python<'_>, timeout: f64) {
    let patience = Duration::try_from_secs_f64(timeout).unwrap_or_default();
    py.detach(|| paceline_engine::end_processes(patience));
    // As long as it takes, like anything that a program prints; unless it is interrupted.
    let _ = crate::output::wait_until_passed_on(py, None);
    paceline_engine::output::close();
}

/// How workers start, by its name; a pool whose workers are forks of this process has it forked here.
fn start_from(py: Python<'_>, method: &str) -> PyResult<StartMethod> {
    match method {
        "forkserver" => Ok(StartMethod::ForkServer(fork_server_command(py)?)),
        "spawn" => Ok(StartMethod::Spawn(spawn_command(py)?)),
        "fork" => Ok(StartMethod::Fork(forked_server(py)?)),
        other => Err(PyValueError::new_err(format!("there is no start method {other:?}"))),
    }
}

fn too_many_workers() -> PyErr {
    PyValueError::new_err("a pool has from 1 to 512 workers")
}

/// The exception for a submission that was not taken.
pub(crate) fn refusal(py: Python<'_>, error: &SubmitError) -> PyErr {
    let made = match error {
        SubmitError::Closed => errors(py)
            .and_then(|errors| errors.getattr(intern!(py, "PoolClosed"))?.call1(("the pool takes no more calls",))),
        SubmitError::Broken(breakdown) => start_error(py, breakdown),
        SubmitError::Forked => return foreign(),
        SubmitError::TooManyItems => return PyValueError::new_err("a map takes at most 4,294,967,295 items"),
        SubmitError::NoMemory(error) => return PyMemoryError::new_err(error.to_string()),
    };
    made.map_or_else(|error| error, PyErr::from_value)
}
