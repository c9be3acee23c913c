//! Owns how a thread of the pool, or the caller, runs what it is given, and how such a thread begins and ends. Never
//! decides what is next.

use super::carry::Carrier;
use super::work::{Call, Map, Slot, Work, copy_of, gather, in_context, leaves_out, name_of, note_failure};
use super::{Job, Threads};
use crate::coroutines::run_to_end;
use crate::current;
use crate::intern::intern;
use crate::job::announce;
use crate::outcome::{Decoded, errors};
use paceline_engine::local::{Bed, Book, Chunk, Next, Spell};
use paceline_engine::now_ns;
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};
use std::cell::Cell;
use std::ops::Range;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The time for which one thread may keep the interpreter while others want it. Longer than the 5 ms after which those
/// who wait ask for it: given away before they have asked, it would only wake them, and be taken again before they run.
const TURN_NS: u64 = 7_500_000;

/// For how long a thread has had the interpreter.
pub(super) struct Turn {
    pub(super) began_ns: u64,
}

impl Turn {
    /// Gives the interpreter away for a moment if this thread has had it for long; the moment after.
    fn pass_on(&mut self, py: Python<'_>, now: u64) -> u64 {
        if now - self.began_ns <= TURN_NS {
            return now;
        }
        // Whoever asked for it has it before this thread has it again.
        py.detach(|| ());
        self.began_ns = now_ns();
        self.began_ns
    }
}

/// What a thread runs, and when it began with it.
pub(super) struct Runner<'a, 'py> {
    pub(super) py: Python<'py>,
    pub(super) threads: &'a Threads,
    pub(super) book: &'a Book,
    pub(super) turn: Turn,
    /// The name of the function that ran last, and its number in the book.
    pub(super) named: Option<(Py<PyString>, u16)>,
    /// How many of the items that are run now have raised.
    pub(super) raised: u32,
    /// Whether Ctrl-C in a task is the caller's, and not the task's.
    pub(super) is_caller: bool,
}

impl Runner<'_, '_> {
    /// Runs some items, and ends their job with the last of them. Fails only where the caller is to be interrupted.
    pub(super) fn run(&mut self, chunk: &Chunk<Work>, began_ns: u64) -> PyResult<u64> {
        let job = &chunk.job;
        self.raised = 0;
        let ran = match &mut *job.payload().slot() {
            slot @ Slot::Call(_) => Ok(std::mem::replace(slot, Slot::Empty)),
            Slot::Map(map) => Err(Map {
                function: map.function.clone_ref(self.py),
                star: map.star,
                context: map.context.clone_ref(self.py),
                asked: None,
                items: map.items.clone_ref(self.py),
                handling: map.handling.clone_ref(self.py),
                failures: Vec::new(),
                is_given_up: false,
                not_run: Vec::new(),
            }),
            _ => return Ok(began_ns),
        };
        let name = match &ran {
            Ok(Slot::Call(call)) => name_of(call.function.bind(self.py)),
            Err(map) => name_of(map.handling.function().bind(self.py)),
            Ok(_) => None,
        };
        let numbers = job.numbers(&chunk.items);
        let interrupted = match ran {
            Ok(Slot::Call(call)) => self.run_call(job, call, numbers.start),
            Err(map) => self.run_items(job, &map, &chunk.items, numbers.start),
            Ok(_) => None,
        };
        current::end_item();
        let now = now_ns();
        let spell = Spell {
            items: chunk.items.clone(),
            raised: self.raised,
            function: self.number_of(name),
            began_ns,
            ended_ns: now,
        };
        self.book.note(job, &spell);
        let count = chunk.items.end - chunk.items.start;
        if job.note_outcomes(count, now - began_ns) {
            gather(self.py, job);
            announce(self.py, self.threads.pool.complete(job));
        }
        interrupted.map_or(Ok(now), Err)
    }

    /// The number of a function in the book; known without looking if the name is the very one of the last.
    fn number_of(&mut self, name: Option<Bound<'_, PyString>>) -> u16 {
        match (&name, &self.named) {
            (Some(name), Some((last, number))) if name.is(last) => *number,
            _ => {
                let number = self.book.number(name.as_ref().and_then(|name| name.to_str().ok()).unwrap_or("?"));
                self.named = name.map(|name| (name.unbind(), number));
                number
            }
        }
    }

    fn run_call(&mut self, job: &Job, call: Call, number: u64) -> Option<PyErr> {
        let py = self.py;
        current::begin_item(number, call.index.unwrap_or(0));
        let result = in_context(call.context.bind(py), || {
            let kwargs = call.kwargs.as_ref().map(|kwargs| kwargs.bind(py));
            let mut returned = call.function.bind(py).call(call.args.bind(py), kwargs);
            run_to_end(&mut returned);
            returned
        });
        // The arguments go before anybody can know that the call has ended.
        drop(call);
        let (outcome, interrupted) = match result {
            Ok(value) => (Decoded::Value(value.unbind()), None),
            Err(error) => {
                self.raised += 1;
                let interrupted = self.is_the_callers(&error).then(|| error.clone_ref(py));
                (Decoded::Raised(error.into_value(py).into_any(), None), interrupted)
            }
        };
        drop(job.payload().replace(Slot::Ended(outcome)));
        interrupted
    }

    fn run_items(&mut self, job: &Job, map: &Map, items: &Range<u32>, number: u64) -> Option<PyErr> {
        const LOOKS_BETWEEN_CLOCKS: u32 = 64;
        let py = self.py;
        // Of the first item of all.
        let first = number - u64::from(items.start);
        for turn in items.clone() {
            if map.handling.is_limited() && leaves_out(job, turn..items.end) {
                return None;
            }
            let place = map.handling.place_of(turn);
            current::begin_item(first + u64::from(place), map.handling.index_of(place));
            let error = self.run_item(map, place as usize).err();
            if let Some(error) = error {
                self.raised += 1;
                let interrupted = self.is_the_callers(&error).then(|| error.clone_ref(py));
                note_failure(py, job, place, error.into_value(py).into_any());
                if interrupted.is_some() {
                    return interrupted;
                }
            }
            if turn.is_multiple_of(LOOKS_BETWEEN_CLOCKS) && !self.is_caller {
                self.turn.pass_on(py, now_ns());
            }
        }
        None
    }

    fn run_item(&self, map: &Map, place: usize) -> PyResult<()> {
        let py = self.py;
        let items = map.items.bind(py);
        let function = map.function.bind(py);
        let item = items.get_item(place)?;
        let context = copy_of(map.context.bind(py))?;
        let result = in_context(&context, || {
            let mut returned = if map.star {
                match item.cast_into::<PyTuple>() {
                    Ok(args) => function.call1(args),
                    Err(error) => {
                        function.call1(PyTuple::new(py, error.into_inner().try_iter()?.collect::<PyResult<Vec<_>>>()?)?)
                    }
                }
            } else {
                function.call1((item,))
            };
            run_to_end(&mut returned);
            returned
        });
        match result {
            Ok(value) => items.set_item(place, value),
            Err(error) => {
                items.set_item(place, py.None())?;
                Err(error)
            }
        }
    }

    /// Whether it is the caller who is to stop: by Ctrl-C, or because it is a task that is over its time.
    fn is_the_callers(&self, error: &PyErr) -> bool {
        let is_interrupt = || {
            let class = errors(self.py).and_then(|errors| errors.getattr(intern!(self.py, "TaskInterrupted")));
            class.is_ok_and(|class| error.is_instance(self.py, &class))
        };
        self.is_caller && (error.is_instance_of::<PyKeyboardInterrupt>(self.py) || is_interrupt())
    }
}

thread_local! {
    /// The pool for which this thread works.
    static WORKS_FOR: Cell<usize> = const { Cell::new(0) };
}

/// Whether this thread is one of the pool's.
pub(super) fn works_for(threads: &Arc<Threads>) -> bool {
    WORKS_FOR.get() == Arc::as_ptr(threads) as usize
}

/// What is to run in a thread of its own: takes one job after the other, until the pool has no more.
#[pyclass(module = "paceline._paceline", frozen)]
pub(super) struct PoolThread {
    threads: Arc<Threads>,
    initializer: Mutex<Option<(Py<PyAny>, Py<PyTuple>)>>,
    state: AtomicU8,
}

const EXPECTED: u8 = 0;
const ENTERED: u8 = 1;
const GIVEN_UP: u8 = 2;

impl PoolThread {
    pub(super) fn new(threads: &Arc<Threads>, initializer: Option<(Py<PyAny>, Py<PyTuple>)>) -> Self {
        Self { threads: Arc::clone(threads), initializer: Mutex::new(initializer), state: AtomicU8::new(EXPECTED) }
    }

    /// Whether it was not too late to give it up.
    pub(super) fn give_up(&self) -> bool {
        self.is_now(GIVEN_UP)
    }

    /// Sets it to a state, unless it was set to another before; whether it is that now.
    fn is_now(&self, state: u8) -> bool {
        self.state.compare_exchange(EXPECTED, state, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Runs the initializer; whether this thread can work.
    fn set_up(&self, py: Python<'_>) -> bool {
        let initializer = self.initializer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((initializer, arguments)) = initializer else { return true };
        let Err(error) = initializer.bind(py).call1(arguments.bind(py)) else { return true };
        log_initializer(py, &error);
        self.threads.break_down(py, error);
        false
    }

    fn serve(&self, py: Python<'_>, book: &Book) {
        let pool = &self.threads.pool;
        let bed = Bed::of_this_thread();
        let mut now = now_ns();
        let turn = Turn { began_ns: now };
        let mut runner = Runner { py, threads: &self.threads, book, turn, named: None, raised: 0, is_caller: false };
        loop {
            match pool.next(&bed) {
                Next::Run(chunk) => {
                    // Not after the last one: this thread is to be known as idle before anybody can see the result.
                    now = runner.turn.pass_on(py, now);
                    now = runner.run(&chunk, now).unwrap_or_else(|_| now_ns());
                }
                Next::Rest => {
                    py.detach(|| pool.rest(&bed));
                    now = now_ns();
                    runner.turn.began_ns = now;
                }
                Next::Leave => return,
            }
        }
    }

    /// The same for a thread that runs nothing itself.
    fn hand_on(&self, py: Python<'_>, carrier: &Carrier) {
        let pool = &self.threads.pool;
        let bed = Bed::of_this_thread();
        loop {
            match pool.next(&bed) {
                Next::Run(chunk) => carrier.carry(py, &self.threads, chunk),
                Next::Rest => py.detach(|| pool.rest(&bed)),
                Next::Leave => return,
            }
        }
    }
}

#[pymethods]
impl PoolThread {
    fn __call__(&self, py: Python<'_>) {
        /// However this thread ends, the pool does not wait for it any more.
        struct Leave<'a>(&'a Threads, i32);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                WORKS_FOR.set(0);
                self.0.pool.leave(Some(self.1));
            }
        }
        if !self.is_now(ENTERED) {
            return;
        }
        let id = rustix::thread::gettid().as_raw_nonzero().get();
        let carrier = self.threads.carrier.as_ref();
        let pool = &self.threads.pool;
        let book = if carrier.is_none() { pool.enter(id) } else { pool.enter_lane(id) };
        let _leave = Leave(&self.threads, id);
        WORKS_FOR.set(Arc::as_ptr(&self.threads) as usize);
        current::set_seed(self.threads.seed);
        if self.set_up(py) {
            match carrier {
                None => self.serve(py, &book),
                Some(carrier) => self.hand_on(py, carrier),
            }
        }
    }
}

fn log_initializer(py: Python<'_>, error: &PyErr) {
    let logged = (|| {
        let logger = PyModule::import(py, "logging")?.call_method1("getLogger", ("concurrent.futures",))?;
        let options = PyDict::new(py);
        options.set_item("exc_info", error.clone_ref(py).into_value(py))?;
        logger.call_method("critical", ("exception in initializer:",), Some(&options)).map(|_| ())
    })();
    if logged.is_err() {
        error.clone_ref(py).write_unraisable(py, None);
    }
}
