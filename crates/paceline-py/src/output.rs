//! Owns the way of what workers say from the engine to Python: one thread of Python's asks for it, and whoever closes a
//! pool waits until it has been passed on. Never waits while it holds the interpreter, and never calls a stream.

use paceline_engine::Engine;
use paceline_engine::output::{
    Saying, Voice, listen, promise_to_listen as promise, renounce, take_unlistened, untold, wait_until_told,
};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a wait goes without a look for signals.
const SLICE: Duration = Duration::from_millis(50);
/// Workers are heard in microseconds; but a supervisor that has failed shall hold nobody up.
const HEARING: Duration = Duration::from_secs(1);
/// Output that nobody has taken for so long is blocked, and is not waited for where a pool ends.
pub(crate) const STALLED: Duration = Duration::from_secs(1);

/// The same where a result is asked for.
const BRIEFLY: Duration = Duration::from_millis(250);
/// How much had been passed on when somebody last gave up waiting: if it is no more, nobody else begins to wait.
static BLOCKED_AT: AtomicU64 = AtomicU64::new(u64::MAX);

fn number_of(voice: Voice) -> u8 {
    match voice {
        Voice::Output => 1,
        Voice::Errors => 2,
        Voice::Record => 3,
    }
}

/// Whether the caller is to start a thread that asks `next_output` for ever.
#[pyfunction]
pub(crate) fn promise_to_listen() -> bool {
    promise()
}

/// The thread could not be started.
#[pyfunction]
pub(crate) fn renounce_listening() {
    renounce();
}

/// Waits for what workers say next, without the interpreter.
#[pyfunction]
pub(crate) fn next_output(py: Python<'_>) -> Vec<(u8, Bound<'_, PyBytes>)> {
    let sayings = py.detach(listen);
    sayings.iter().map(|Saying { voice, bytes }| (number_of(*voice), PyBytes::new(py, bytes))).collect()
}

/// Writes to file descriptor 1 or 2 itself.
#[pyfunction]
pub(crate) fn write_output(py: Python<'_>, voice: u8, data: &[u8]) {
    py.detach(|| write_all(voice, data));
}

fn write_all(voice: u8, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let written = match voice {
            1 => rustix::io::write(rustix::stdio::stdout(), bytes),
            2 => rustix::io::write(rustix::stdio::stderr(), bytes),
            _ => return,
        };
        match written {
            Ok(length) => bytes = &bytes[length..],
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => std::thread::sleep(Duration::from_millis(1)),
            Err(_) => return,
        }
    }
}

/// Waits until all that workers have said before this call has been passed on.
#[pyfunction]
#[pyo3(signature = (*, ends_lines = false))]
pub(crate) fn flush_worker_output(py: Python<'_>, ends_lines: bool) -> PyResult<()> {
    py.detach(|| paceline_engine::hear_workers(ends_lines, HEARING));
    wait_until_passed_on(py, Some(STALLED))
}

/// Has what workers said before they gave a result appear before that result is seen; not for long, should somebody
/// block the output.
pub(crate) fn hear(py: Python<'_>, engine: &Engine, spoken: u64) -> PyResult<()> {
    py.detach(|| paceline_engine::hear_workers(false, HEARING));
    engine.note_heard(spoken);
    if wait_until_told(0, Duration::ZERO) == BLOCKED_AT.load(Ordering::Relaxed) {
        return Ok(());
    }
    wait_until_passed_on(py, Some(BRIEFLY))
}

/// Waits until what has been heard has been passed on, or until nothing of it has been for `stalled`.
pub(crate) fn wait_until_passed_on(py: Python<'_>, stalled: Option<Duration>) -> PyResult<()> {
    let Some(target) = untold() else { return Ok(()) };
    // Without a listener, whoever waits does it.
    py.detach(|| {
        for saying in take_unlistened() {
            write_all(number_of(saying.voice), &saying.bytes);
        }
    });
    let mut progress = (0, Instant::now());
    loop {
        let told = py.detach(|| wait_until_told(target, SLICE));
        if told >= target {
            return Ok(());
        }
        py.check_signals()?;
        if told != progress.0 {
            progress = (told, Instant::now());
        } else if stalled.is_some_and(|limit| progress.1.elapsed() > limit) {
            BLOCKED_AT.store(told, Ordering::Relaxed);
            return Ok(());
        }
    }
}
