//! Owns how a thread of the pool hands on what it takes, where the work is done elsewhere: what the carrier, which is
//! Python's, is told of it, and what its answer makes of the jobs. Never decides where anything is run, and never sends
//! anything itself.

use super::work::{Map, Slot, Work, gather, leaves_out, name_of, note_failure};
use super::{Job, Threads, see_to};
use crate::intern::intern;
use crate::job::announce;
use crate::outcome::{Decoded, errors};
use paceline_engine::local::{Book, Carried, Chunk, Pace};
use paceline_engine::{Attachment, Failed};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString, PyTuple};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// To send a chunk costs some milliseconds of waiting, so that its work has to be many times as much.
const CHUNK_NS: u64 = 400_000_000;
/// A program that sends chunks all the time keeps up with its workers if each has this many times as much work as it costs
/// the program, times the number of workers; then a fifth of what it can do is enough for all.
const COSTS_OF_EACH: u64 = 5;

/// How much is sent at a time to so many workers, if a chunk costs the program so much, whatever is in it.
pub(super) fn pace(workers: u16, chunk_cost_ns: u64) -> Pace {
    let of_each_ns = chunk_cost_ns.saturating_mul(COSTS_OF_EACH);
    Pace { chunk_ns: CHUNK_NS.max(of_each_ns.saturating_mul(workers.into())), growth: 8, least_ns: 20_000_000 }
}

/// Single calls travel together as long as their work is less than this: each is told of only when all have ended.
const TOGETHER_NS: u64 = 40_000_000;
const MOST_TOGETHER: u64 = 1024;

/// Of workers elsewhere, by host and process.
type Books = HashMap<(Arc<str>, i32), Arc<Book>>;

/// Where the threads hand on what they take.
pub(crate) struct Carrier {
    call: Py<PyAny>,
    /// How long a single call took lately.
    single_ns: AtomicU64,
    books: Mutex<Books>,
}

/// What a worker has done, as the carrier tells it: host, process, first item and how many, attempt, of these those that
/// raised, were stopped and were lost, when it began and ended, and for how long it was at it.
type Told = (String, i32, u32, u32, u16, (u64, u64, u64), u64, u64, u64);

/// What became of a chunk: the results, those of items that failed being None; the failures, by place; and who did it.
type Answer<'py> = (Bound<'py, PyList>, Vec<(u32, Py<PyAny>)>, Vec<Told>);

/// The end of a job, to be told to its future; called by the one thread that makes the callbacks of a pool.
#[pyclass(module = "paceline._paceline", frozen)]
struct Announcement(Mutex<Option<Attachment>>);

#[pymethods]
impl Announcement {
    fn __call__(&self, py: Python<'_>) {
        let attachment = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        announce(py, attachment);
    }
}

/// A chunk that is under way.
struct Handed<'py> {
    chunk: Chunk<Work>,
    name: Option<Bound<'py, PyString>>,
    /// The items of a map.
    items: Option<Py<PyList>>,
}

impl Carrier {
    pub(super) fn new(call: Py<PyAny>) -> Self {
        Self { call, single_ns: AtomicU64::new(u64::MAX), books: Mutex::default() }
    }

    pub(super) fn object(&self) -> &Py<PyAny> {
        &self.call
    }

    /// Tells the carrier that the pool ends.
    pub(super) fn end(&self, py: Python<'_>, how: &Bound<'_, PyString>) {
        if let Err(error) = self.call.bind(py).call_method0(how) {
            error.write_unraisable(py, None);
        }
    }

    /// Hands on a chunk, and what may travel along with it; returns when all of it has ended.
    pub(super) fn carry(&self, py: Python<'_>, threads: &Threads, chunk: Chunk<Work>) {
        let is_single = chunk.job.items() == 1;
        let mut chunks = vec![chunk];
        if is_single {
            let most = TOGETHER_NS / self.single_ns.load(Ordering::Relaxed).max(1);
            chunks.extend(threads.pool.take_singles(usize::try_from(most.min(MOST_TOGETHER)).unwrap_or(0)));
        }
        let parts = PyList::empty(py);
        let mut handed = Vec::new();
        for chunk in chunks {
            match part_of(py, &chunk) {
                Ok(Some((part, name, items))) if parts.append(&part).is_ok() => {
                    handed.push(Handed { chunk, name, items });
                }
                Ok(_) => self.end_items(py, threads, &chunk, 0),
                Err(error) => self.fail(py, threads, &chunk, &error),
            }
        }
        if handed.is_empty() {
            return;
        }
        let answers = self.call.bind(py).call1((parts,)).and_then(|answers| answers.extract::<Vec<Answer<'_>>>());
        match answers {
            Ok(answers) => {
                for (one, answer) in handed.into_iter().zip(answers) {
                    self.take_in(py, threads, one, answer);
                }
            }
            Err(error) => self.lose(py, threads, handed, &error),
        }
    }

    /// Nothing became of some chunks: the pool has been terminated, or cannot go on, or this is a fault of ours.
    fn lose(&self, py: Python<'_>, threads: &Threads, handed: Vec<Handed<'_>>, error: &PyErr) {
        let is = |name: &str| {
            let class = errors(py).and_then(|errors| errors.getattr(name));
            class.is_ok_and(|class| error.matches(py, class).unwrap_or(false))
        };
        if is("CarriedNoMore") {
            let jobs = handed.iter().filter_map(|one| threads.pool.abandon(&one.chunk.job));
            see_to(py, jobs.collect::<Vec<_>>());
            return;
        }
        if is("ClusterError") || is("WorkerStartError") {
            threads.break_down(py, error.clone_ref(py));
        }
        for one in handed {
            self.fail(py, threads, &one.chunk, error);
        }
    }

    fn take_in(&self, py: Python<'_>, threads: &Threads, handed: Handed<'_>, answer: Answer<'_>) {
        let Handed { chunk, name, items } = handed;
        let (values, failures, told) = answer;
        let job = &chunk.job;
        let busy_ns = self.note(threads, &chunk, name.as_ref().and_then(|name| name.to_str().ok()), told);
        if let Some(items) = items {
            if let Err(error) = fill(py, job, &chunk, items.bind(py), &values) {
                return self.fail(py, threads, &chunk, &error);
            }
            for (place, error) in failures {
                note_failure(py, job, place_of(job, chunk.items.start + place), error);
            }
        } else {
            let outcome = match failures.into_iter().next() {
                Some((_, error)) => Decoded::Raised(error, None),
                None => Decoded::Value(values.get_item(0).map_or_else(|_| py.None(), Bound::unbind)),
            };
            // As over some of the last ones.
            let known = self.single_ns.load(Ordering::Relaxed);
            let mean = if known == u64::MAX { busy_ns } else { known - known / 8 + busy_ns / 8 };
            self.single_ns.store(mean, Ordering::Relaxed);
            drop(job.payload().replace(Slot::Ended(outcome)));
        }
        self.end_items(py, threads, &chunk, busy_ns);
    }

    /// Notes in the books who did it; how long that took.
    fn note(&self, threads: &Threads, chunk: &Chunk<Work>, function: Option<&str>, told: Vec<Told>) -> u64 {
        let mut total_ns = 0;
        for (host, pid, first, count, attempt, (raised, stopped, lost), began_ns, ended_ns, busy_ns) in told {
            let book = {
                let host: Arc<str> = host.into();
                let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
                let book = books.entry((Arc::clone(&host), pid)).or_insert_with(|| threads.pool.open_book(&host, pid));
                Arc::clone(book)
            };
            total_ns += busy_ns;
            let first = chunk.items.start + first;
            let carried = Carried {
                items: first..first + count,
                function: function.unwrap_or("?"),
                attempt,
                failed: Failed { raised, stopped, lost },
                began_ns,
                ended_ns,
                busy_ns,
            };
            book.note_carried(&chunk.job, &carried);
        }
        total_ns
    }

    /// Every item of a chunk has failed, with the same exception.
    fn fail(&self, py: Python<'_>, threads: &Threads, chunk: &Chunk<Work>, error: &PyErr) {
        let job = &chunk.job;
        let is_map = matches!(&*job.payload().slot(), Slot::Map(_));
        let failure = || error.clone_ref(py).into_value(py).into_any();
        if is_map {
            for turn in chunk.items.clone() {
                note_failure(py, job, place_of(job, turn), failure());
            }
        } else {
            drop(job.payload().replace(Slot::Ended(Decoded::Raised(failure(), None))));
        }
        self.end_items(py, threads, chunk, 0);
    }

    /// The items of a chunk have their outcomes.
    fn end_items(&self, py: Python<'_>, threads: &Threads, chunk: &Chunk<Work>, busy_ns: u64) {
        let count = chunk.items.end - chunk.items.start;
        if chunk.job.note_outcomes(count, busy_ns) {
            gather(py, &chunk.job);
            if let Some(attachment) = threads.pool.complete(&chunk.job) {
                self.announce(py, attachment);
            }
        }
    }

    /// Has a future told of its end, by the thread that makes the callbacks of this pool.
    fn announce(&self, py: Python<'_>, attachment: Attachment) {
        let announced = Bound::new(py, Announcement(Mutex::new(Some(attachment))))
            .and_then(|announcement| self.call.bind(py).call_method1(intern!(py, "announce"), (announcement,)));
        if let Err(error) = announced {
            error.write_unraisable(py, None);
        }
    }
}

fn place_of(job: &Job, turn: u32) -> u32 {
    match &*job.payload().slot() {
        Slot::Map(map) => map.handling.place_of(turn),
        _ => turn,
    }
}

/// Puts the results where the items were.
fn fill(
    py: Python<'_>,
    job: &Job,
    chunk: &Chunk<Work>,
    items: &Bound<'_, PyList>,
    values: &Bound<'_, PyList>,
) -> PyResult<()> {
    let mut values = values.iter();
    for turn in chunk.items.clone() {
        let value = values.next().unwrap_or_else(|| py.None().into_bound(py));
        items.set_item(place_of(job, turn) as usize, value)?;
    }
    Ok(())
}

type Part<'py> = (Bound<'py, PyTuple>, Option<Bound<'py, PyString>>, Option<Py<PyList>>);

/// What the carrier is told of a chunk: function, input of each item, the number of the first, its index if it has one,
/// what was asked for the call, and the name of it; None if it is not to be run any more.
fn part_of<'py>(py: Python<'py>, chunk: &Chunk<Work>) -> PyResult<Option<Part<'py>>> {
    let job = &chunk.job;
    let is_limited = matches!(&*job.payload().slot(), Slot::Map(map) if map.handling.is_limited());
    if is_limited && leaves_out(job, chunk.items.clone()) {
        return Ok(None);
    }
    let taken = match &mut *job.payload().slot() {
        slot @ Slot::Call(_) => Ok(std::mem::replace(slot, Slot::Empty)),
        Slot::Map(map) => Err(copy(py, map)),
        _ => return Ok(None),
    };
    let number = job.numbers(&chunk.items).start;
    match taken {
        Ok(Slot::Call(call)) => {
            let name = name_of(call.function.bind(py));
            let inputs = call.args.bind(py).to_list();
            let parts = (&call.function, inputs, number, call.index, &call.asked, name.clone());
            Ok(Some((parts.into_pyobject(py)?, name, None)))
        }
        Ok(_) => Ok(None),
        Err(map) => {
            let name = name_of(map.handling.function().bind(py));
            let items = map.items.bind(py);
            let places = chunk.items.clone().map(|turn| map.handling.place_of(turn));
            let inputs = places.clone().map(|place| items.get_item(place as usize)).collect::<PyResult<Vec<_>>>()?;
            let first = places.clone().next().unwrap_or(0);
            // Of the first item of all.
            let number = number - u64::from(chunk.items.start) + u64::from(first);
            let index = map.handling.index_of(first);
            let parts = (&map.function, PyList::new(py, inputs)?, number, index, &map.asked, name.clone());
            Ok(Some((parts.into_pyobject(py)?, name, Some(map.items))))
        }
    }
}

fn copy(py: Python<'_>, map: &Map) -> Map {
    Map {
        function: map.function.clone_ref(py),
        star: map.star,
        context: map.context.clone_ref(py),
        asked: map.asked.as_ref().map(|asked| asked.clone_ref(py)),
        items: map.items.clone_ref(py),
        handling: map.handling.clone_ref(py),
        failures: Vec::new(),
        is_given_up: false,
        not_run: Vec::new(),
    }
}
