//! Owns what Python may know of the bytes in flight: whether there is room for more, and how many there are. Never counts
//! them.

use crate::future::TaskFuture;
use paceline_engine::{Flight, InFlight};
use pyo3::prelude::*;
use pyo3::types::PyModule;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many chunks for each worker are sent before the first result has told how large it is.
const FIRST_CHUNKS: usize = 2;

/// Waits, without the interpreter, until inputs of so many bytes more may be sent to these workers; an event loop is not
/// held up.
///
/// # Errors
/// What a signal's handler raises.
pub(crate) fn wait_for_room(py: Python<'_>, engine: &paceline_engine::Engine, bytes: usize) -> PyResult<()> {
    const SLICE_NS: u64 = 50_000_000;
    let bytes = bytes as u64;
    if engine.flight().has_room(bytes) || is_in_event_loop(py) {
        return Ok(());
    }
    while !py.detach(|| engine.wait_for_room(bytes, SLICE_NS)) {
        py.check_signals()?;
    }
    Ok(())
}

fn is_in_event_loop(py: Python<'_>) -> bool {
    // Nothing is imported: without asyncio there is no loop, and `_asyncio` breaks it if it is there first.
    let modules = PyModule::import(py, "sys").and_then(|sys| sys.getattr("modules"));
    let events = modules.and_then(|modules| modules.get_item("asyncio.events"));
    let running = events.and_then(|events| events.call_method0("_get_running_loop"));
    running.is_ok_and(|running| !running.is_none())
}

/// Tells a reader of some input whether it may send more: as many as fit, by the size of the results that it has had.
#[pyclass(module = "paceline._paceline", frozen)]
pub(crate) struct Gauge {
    flight: Arc<Flight>,
    first_chunks: usize,
    /// Of a result, as large as the largest lately; the highest number if there has been none.
    result_bytes: AtomicU64,
}

#[pymethods]
impl Gauge {
    /// Notes the size of a result that is about to be taken; whether anything that counts has ever been under way:
    /// until then there is room for more.
    fn note(&self, future: &Bound<'_, TaskFuture>) -> bool {
        let known = self.known().unwrap_or(0);
        let bytes = future.get().weight();
        self.result_bytes.store(bytes.max(known - known / 8), Ordering::Relaxed);
        self.flight.has_had_any()
    }

    /// Whether one chunk more may be sent while so many are out.
    fn has_room(&self, ahead: usize) -> bool {
        match self.known() {
            _ if ahead == 0 => true,
            None => ahead < self.first_chunks && self.flight.has_room_for_results(0),
            Some(bytes) => self.flight.has_room_for_results(bytes.saturating_mul(ahead as u64 + 1)),
        }
    }
}

impl Gauge {
    pub(crate) fn of(engine: &paceline_engine::Engine, workers: u16) -> Self {
        Self {
            flight: Arc::clone(engine.flight()),
            first_chunks: FIRST_CHUNKS * usize::from(workers),
            result_bytes: AtomicU64::new(u64::MAX),
        }
    }

    fn known(&self) -> Option<u64> {
        let bytes = self.result_bytes.load(Ordering::Relaxed);
        (bytes != u64::MAX).then_some(bytes)
    }
}

/// The numbers behind `Pool.statistics`, by name.
pub(crate) fn statistics(engine: &paceline_engine::Engine) -> Vec<(&'static str, u64)> {
    let (now, most) = engine.flight().counts();
    let (input_segments, result_segments) = engine.segment_bytes();
    let in_flight = |InFlight { all, inputs, results }| [all, inputs, results];
    let names = [
        ["bytes_in_flight", "input_bytes", "result_bytes"],
        ["peak_bytes_in_flight", "peak_input_bytes", "peak_result_bytes"],
    ];
    let mut told: Vec<_> = names
        .into_iter()
        .zip([now, most])
        .flat_map(|(names, counts)| names.into_iter().zip(in_flight(counts)))
        .collect();
    told.extend([
        ("input_segment_bytes", input_segments),
        ("result_segment_bytes", result_segments),
        ("memory_budget", engine.flight().budget()),
    ]);
    told
}
