//! Owns what a thread knows of the task it runs: its number in its pool, and the seed of that pool. Never knows where the
//! task came from.
//!
//! A plain call is told by the thread it runs on: telling a thread what it begins costs two stores. Coroutines take
//! turns on one thread, so each carries a [`Task`] in its context, as do threads that it starts with that context.

use crate::intern::intern;
use once_cell::race::OnceBox;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::cell::{Cell, RefCell};

/// Stands for "no task".
const NONE: u64 = u64::MAX;

/// What a task is beside its number.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    /// Its place in its job.
    pub(crate) index: u32,
    /// How often it had been begun before.
    pub(crate) attempt: u16,
    /// The devices that it has: a set, with a bit for each.
    pub(crate) devices: u32,
}

/// What a thread knows of the task it runs.
pub(crate) struct Current {
    item: Cell<u64>,
    place: Cell<Place>,
    /// The worker's item and its attempt, as long as it may be stopped; another that it calls meanwhile is none of these.
    stoppable: Cell<(u64, u16)>,
    /// Whether something is to be stopped that has not begun.
    awaits_stop: Cell<bool>,
    /// Tells one run from the next, should the same task be run twice by one thread.
    run: Cell<u64>,
    seed: Cell<u128>,
}

thread_local! {
    static CURRENT: Current =
        const {
            Current {
                item: Cell::new(NONE),
                place: Cell::new(Place { index: 0, attempt: 0, devices: 0 }),
                stoppable: Cell::new((NONE, 0)),
                awaits_stop: Cell::new(false),
                run: Cell::new(0),
                seed: Cell::new(0),
            }
        };
    /// The task that was made for a run, if anybody asked.
    static MADE: RefCell<Option<(u64, Py<Task>)>> = const { RefCell::new(None) };
}

/// What a task can know of itself.
#[pyclass(module = "paceline._paceline", frozen)]
pub(crate) struct Task {
    /// The seed of its pool.
    #[pyo3(get)]
    seed: u128,
    /// Its number in the pool's order of submission.
    #[pyo3(get)]
    item: u64,
    /// Its place among the items of its map; zero of a single call.
    #[pyo3(get)]
    index: u32,
    /// How often it had been begun before.
    #[pyo3(get)]
    attempt: u16,
    /// The devices that it has: a set, with a bit for each.
    #[pyo3(get)]
    devices: u32,
    /// What is kept until it ends.
    #[pyo3(get)]
    kept: Py<PyDict>,
}

impl Task {
    fn place(&self) -> Place {
        Place { index: self.index, attempt: self.attempt, devices: self.devices }
    }

    pub(crate) fn create(py: Python<'_>, seed: u128, item: u64, place: Place) -> PyResult<Bound<'_, Self>> {
        let Place { index, attempt, devices } = place;
        Bound::new(py, Self { seed, item, index, attempt, devices, kept: PyDict::new(py).unbind() })
    }
}

/// The item, the run and the seed.
fn read() -> (u64, u64, u128) {
    CURRENT.with(|current| (current.item.get(), current.run.get(), current.seed.get()))
}

/// Tells this thread whose tasks it runs from now on.
pub(crate) fn set_seed(seed: u128) {
    CURRENT.with(|current| current.seed.set(seed));
}

/// The seed of the pool whose tasks this thread runs.
pub(crate) fn seed() -> u128 {
    CURRENT.with(|current| current.seed.get())
}

impl Current {
    /// The thread begins this item.
    #[inline]
    fn begin(&self, item: u64, place: Place) {
        self.item.set(item);
        self.place.set(place);
        self.run.set(self.run.get().wrapping_add(1));
    }

    /// The worker begins this item of a job, begun so often before, which may be stopped from here on. Whether some item
    /// is to be stopped already.
    #[inline]
    pub(crate) fn begin_attempt(&self, item: u64, place: Place) -> bool {
        self.begin(item, place);
        self.stoppable.set((item, place.attempt));
        self.awaits_stop.get()
    }

    /// The item has ended, and what is left to do is to tell of it. Which it was.
    #[inline]
    pub(crate) fn close(&self) -> (u64, u16) {
        self.stoppable.replace((NONE, 0))
    }

    /// Whether the thread runs this attempt at this item, and it has not ended.
    pub(crate) fn is_at(&self, item: u64, attempt: u16) -> bool {
        self.stoppable.get() == (item, attempt)
    }

    /// Whether the next item to begin is to be told that some item is to be stopped.
    pub(crate) fn await_stop(&self, awaits: bool) {
        self.awaits_stop.set(awaits);
    }

    /// The thread runs no item any more.
    pub(crate) fn end(&self) {
        self.item.set(NONE);
    }
}

/// For telling this thread what it begins, again and again; finding it takes longer than the telling.
#[inline]
pub(crate) fn here<R>(tell: impl FnOnce(&Current) -> R) -> R {
    CURRENT.with(tell)
}

/// Tells this thread that it begins this item of a job, for the first time.
pub(crate) fn begin_item(item: u64, index: u32) {
    here(|current| current.begin(item, Place { index, ..Place::default() }));
}

/// Tells this thread, if it runs an item, that it begins that again, having begun it so often before.
pub(crate) fn begin_again(attempt: u16) {
    here(|current| {
        if current.item.get() != NONE {
            current.begin(current.item.get(), Place { attempt, ..current.place.get() });
        }
    });
}

/// Tells the task that calls this by what number its caller knows it.
#[pyfunction]
pub(crate) fn number_item(py: Python<'_>, number: u64) -> PyResult<()> {
    let is_plain = here(|current| {
        let is_plain = current.item.get() != NONE;
        if is_plain {
            current.begin(number, current.place.get());
        }
        is_plain
    });
    if is_plain { Ok(()) } else { renew_in_context(py, |known| (number, known.place())) }
}

/// Tells the coroutine that calls this that it begins its item again.
pub(crate) fn begin_again_in_context(py: Python<'_>, attempt: u16) -> PyResult<()> {
    renew_in_context(py, |known| (known.item, Place { attempt, ..known.place() }))
}

/// Changes what the coroutine that calls this knows of its task, if it is one.
fn renew_in_context(py: Python<'_>, change: impl FnOnce(&Task) -> (u64, Place)) -> PyResult<()> {
    let variable = variable(py)?;
    let known = variable.call_method1(intern!(py, "get"), (py.None(),))?;
    if let Ok(known) = known.cast::<Task>() {
        let (item, place) = change(known.get());
        let again = Task::create(py, known.get().seed, item, place)?;
        variable.call_method1(intern!(py, "set"), (again,))?;
    }
    Ok(())
}

/// Tells this thread that it runs no item any more.
pub(crate) fn end_item() {
    here(Current::end);
}

/// Runs one item on a thread that may be in the middle of another, or of nothing.
pub(crate) fn within<R>(seed: u128, item: u64, call: impl FnOnce() -> R) -> R {
    struct Restore {
        item: u64,
        place: Place,
        run: u64,
        seed: u128,
        made: Option<(u64, Py<Task>)>,
    }
    impl Drop for Restore {
        fn drop(&mut self) {
            let Self { item, place, run, seed, ref mut made } = *self;
            CURRENT.with(|current| {
                current.item.set(item);
                current.place.set(place);
                current.run.set(run);
                current.seed.set(seed);
            });
            // What the inner task kept is let go of outside of the borrow, since that may run code of Python's.
            drop(MADE.replace(made.take()));
        }
    }
    let (outer, run, outer_seed) = read();
    let place = here(|current| current.place.get());
    let _restore = Restore { item: outer, place, run, seed: outer_seed, made: MADE.take() };
    set_seed(seed);
    begin_item(item, 0);
    call()
}

/// The variable by which a coroutine knows its task.
pub(crate) fn variable(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static VARIABLE: OnceBox<Py<PyAny>> = OnceBox::new();
    let made = VARIABLE.get_or_try_init(|| {
        let class = PyModule::import(py, "_contextvars")?.getattr("ContextVar")?;
        Ok::<_, PyErr>(Box::new(class.call1(("paceline_task",))?.unbind()))
    });
    Ok(made?.bind(py))
}

/// This process was forked by a task, and is none of it.
pub(crate) fn forget(py: Python<'_>) -> PyResult<()> {
    end_item();
    drop(MADE.take());
    variable(py)?.call_method1(intern!(py, "set"), (py.None(),))?;
    Ok(())
}

/// The task whose code is running, if any.
#[pyfunction]
pub(crate) fn current_task(py: Python<'_>) -> PyResult<Option<Bound<'_, PyAny>>> {
    let (item, run, seed) = read();
    if item == NONE {
        let task = variable(py)?.call_method1(intern!(py, "get"), (py.None(),))?;
        return Ok((!task.is_none()).then_some(task));
    }
    let made = MADE.with_borrow(|made| made.as_ref().filter(|made| made.0 == run).map(|made| made.1.clone_ref(py)));
    let task = if let Some(task) = made {
        task.into_bound(py)
    } else {
        let place = CURRENT.with(|current| current.place.get());
        let task = Task::create(py, seed, item, place)?;
        drop(MADE.replace(Some((run, task.clone().unbind()))));
        task
    };
    Ok(Some(task.into_any()))
}

/// The number, in the pool's order of submission, of the task whose code is running; none outside of a task.
#[pyfunction]
pub(crate) fn current_item(py: Python<'_>) -> PyResult<Option<u64>> {
    let (item, _, _) = read();
    if item != NONE {
        return Ok(Some(item));
    }
    current_task(py)?.map(|task| Ok(task.cast::<Task>()?.get().item)).transpose()
}
