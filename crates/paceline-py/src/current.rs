//! Owns what a thread knows of the task it runs: its number in its pool, and the seed of that pool. Never knows where the
//! task came from.
//!
//! A plain call is told by the thread it runs on: telling a thread what it begins costs two stores. Coroutines take
//! turns on one thread, so each carries a [`Task`] in its context, as do threads that it starts with that context.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;
use std::cell::{Cell, RefCell};

/// Stands for "no task".
const NONE: u64 = u64::MAX;

#[derive(Clone, Copy)]
struct Current {
    item: u64,
    /// Tells one run from the next, should the same task be run twice by one thread.
    run: u64,
    seed: u128,
}

thread_local! {
    static CURRENT: Cell<Current> = const { Cell::new(Current { item: NONE, run: 0, seed: 0 }) };
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
    /// What is kept until it ends.
    #[pyo3(get)]
    kept: Py<PyDict>,
}

impl Task {
    pub(crate) fn create(py: Python<'_>, seed: u128, item: u64) -> PyResult<Bound<'_, Self>> {
        Bound::new(py, Self { seed, item, kept: PyDict::new(py).unbind() })
    }
}

/// Tells this thread whose tasks it runs from now on.
pub(crate) fn set_seed(seed: u128) {
    CURRENT.set(Current { seed, ..CURRENT.get() });
}

/// The seed of the pool whose tasks this thread runs.
pub(crate) fn seed() -> u128 {
    CURRENT.get().seed
}

/// Tells this thread that it begins this item.
#[inline]
pub(crate) fn begin_item(item: u64) {
    let current = CURRENT.get();
    CURRENT.set(Current { item, run: current.run.wrapping_add(1), ..current });
}

/// Tells this thread that it runs no item any more.
#[inline]
pub(crate) fn end_item() {
    CURRENT.set(Current { item: NONE, ..CURRENT.get() });
}

/// Runs one item on a thread that may be in the middle of another, or of nothing.
pub(crate) fn within<R>(seed: u128, item: u64, run: impl FnOnce() -> R) -> R {
    struct Restore(Current, Option<(u64, Py<Task>)>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.set(self.0);
            // What the inner task kept is let go of outside of the borrow, since that may run code of Python's.
            drop(MADE.replace(self.1.take()));
        }
    }
    let _restore = Restore(CURRENT.get(), MADE.take());
    set_seed(seed);
    begin_item(item);
    run()
}

/// The variable by which a coroutine knows its task.
pub(crate) fn variable(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static VARIABLE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let made = VARIABLE.get_or_try_init(py, || {
        let class = PyModule::import(py, "_contextvars")?.getattr("ContextVar")?;
        Ok::<_, PyErr>(class.call1(("paceline_task",))?.unbind())
    });
    Ok(made?.bind(py))
}

/// The task whose code is running, if any.
#[pyfunction]
pub(crate) fn current_task(py: Python<'_>) -> PyResult<Option<Bound<'_, PyAny>>> {
    let Current { item, run, seed } = CURRENT.get();
    if item == NONE {
        let task = variable(py)?.call_method1(pyo3::intern!(py, "get"), (py.None(),))?;
        return Ok((!task.is_none()).then_some(task));
    }
    let made = MADE.with_borrow(|made| made.as_ref().filter(|made| made.0 == run).map(|made| made.1.clone_ref(py)));
    let task = if let Some(task) = made {
        task.into_bound(py)
    } else {
        let task = Task::create(py, seed, item)?;
        drop(MADE.replace(Some((run, task.clone().unbind()))));
        task
    };
    Ok(Some(task.into_any()))
}

/// The number, in the pool's order of submission, of the task whose code is running; none outside of a task.
#[pyfunction]
pub(crate) fn current_item(py: Python<'_>) -> PyResult<Option<u64>> {
    let item = CURRENT.get().item;
    if item != NONE {
        return Ok(Some(item));
    }
    current_task(py)?.map(|task| Ok(task.cast::<Task>()?.get().item)).transpose()
}
