//! Owns the coroutines of a worker: which call each belongs to, and what became of it. How they run is Python's
//! `paceline.loop`.

use crate::current::{self, Place, Task};
use crate::intern::intern;
use crate::stops;
use paceline_engine::Call;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyModule, PyTuple};
use std::os::fd::{AsRawFd, BorrowedFd};

/// Runs what a plain function has returned to its end, here and now, if it is a coroutine.
#[inline]
pub(crate) fn run_to_end(result: &mut PyResult<Bound<'_, PyAny>>) {
    if let Ok(returned) = result
        // `PyCoro_CheckExact` would look for subclasses, and there are none.
        && returned.get_type_ptr() == &raw mut ffi::PyCoro_Type
    {
        *result = run_coroutine(returned);
    }
}

#[cold]
fn run_coroutine<'py>(coroutine: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = coroutine.py();
    let module = PyModule::import(py, "paceline.loop")?;
    module.call_method1(intern!(py, "run_to_end"), (coroutine, current::variable(py)?, current::current_task(py)?))
}

/// The coroutines that are under way.
pub(crate) struct Coroutines<'py> {
    py: Python<'py>,
    /// Made for the first one.
    event_loop: Option<Bound<'py, PyAny>>,
    /// By number.
    calls: Vec<Begun<'py>>,
    /// Calls that had ended before they could begin.
    stillborn: Vec<usize>,
}

/// What became of a coroutine.
pub(crate) enum Ended<'py> {
    /// It returned, or raised.
    Itself(PyResult<Bound<'py, PyAny>>),
    /// It was stopped; where it was.
    Stopped(String),
}

#[derive(Default)]
struct Begun<'py> {
    outcomes: Vec<Option<Ended<'py>>>,
    unended: usize,
}

impl Begun<'_> {
    /// Whether that was the last.
    fn ended(&mut self) -> bool {
        self.unended -= 1;
        self.unended == 0
    }
}

impl<'py> Coroutines<'py> {
    pub(crate) fn new(py: Python<'py>) -> Self {
        Self { py, event_loop: None, calls: Vec::new(), stillborn: Vec::new() }
    }

    /// Begins a call of as many coroutines as `make` can make.
    pub(crate) fn begin(
        &mut self,
        number: usize,
        call: &Call<'_>,
        mut make: impl FnMut(u64, u32) -> Result<Bound<'py, PyAny>, Ended<'py>>,
    ) {
        let mut begun = Begun::default();
        for place in 0..call.count {
            let (item, index) = (call.item + u64::from(place), call.first.wrapping_add(place));
            let place = place as usize;
            let mut start = |coroutine| {
                let known = Place { index, attempt: call.attempt, devices: call.devices };
                let started = self.start((number, place), &coroutine, item, known);
                started.map_err(|error| Ended::Itself(Err(error)))
            };
            let result = make(item, index).and_then(&mut start);
            begun.unended += usize::from(result.is_ok());
            begun.outcomes.push(result.err());
        }
        if begun.unended == 0 {
            self.stillborn.push(number);
        }
        if number >= self.calls.len() {
            self.calls.resize_with(number + 1, Begun::default);
        }
        self.calls[number] = begun;
    }

    fn start(&mut self, key: (usize, usize), coroutine: &Bound<'py, PyAny>, item: u64, place: Place) -> PyResult<()> {
        let py = self.py;
        let task = Task::create(py, current::seed(), item, place)?;
        if self.event_loop.is_none() {
            let class = PyModule::import(py, "paceline.loop")?.getattr("Loop")?;
            self.event_loop = Some(class.call1((current::variable(py)?,))?);
        }
        let event_loop = self.event_loop.as_ref().expect("it was just made");
        event_loop.call_method1(intern!(py, "begin"), (key, coroutine, task)).map(|_| ())
    }

    /// Lets them go on; the numbers of the calls that have ended go to `ended`.
    pub(crate) fn go_on(&mut self, bell: BorrowedFd<'_>, may_wait: bool, ended: &mut Vec<usize>) -> PyResult<()> {
        ended.append(&mut self.stillborn);
        let Some(event_loop) = &self.event_loop else { return Ok(()) };
        let may_wait = may_wait && ended.is_empty();
        let tasks = event_loop.call_method1(intern!(self.py, "go_on"), (bell.as_raw_fd(), may_wait))?;
        for one in tasks.try_iter()? {
            let ((number, place), task, stopped): ((usize, usize), Bound<'py, PyAny>, Option<String>) =
                one?.cast_into::<PyTuple>()?.extract()?;
            let begun = &mut self.calls[number];
            let result = task.call_method0(intern!(self.py, "result"));
            begun.outcomes[place] = Some(match stopped {
                None => Ended::Itself(result),
                Some(stack) => {
                    stops::leave_out(self.py, &result);
                    Ended::Stopped(stack)
                }
            });
            if begun.ended() {
                ended.push(number);
            }
        }
        Ok(())
    }

    /// What became of the items of a call that has ended.
    pub(crate) fn settle(&mut self, number: usize) -> impl Iterator<Item = Ended<'py>> + use<'py> {
        std::mem::take(&mut self.calls[number]).outcomes.into_iter().flatten()
    }

    /// Cancels what they have left behind.
    pub(crate) fn leave(&self) {
        if let Some(event_loop) = &self.event_loop {
            // Nobody is left to hear of it.
            let _ = event_loop.call_method0(intern!(self.py, "leave"));
        }
    }
}
