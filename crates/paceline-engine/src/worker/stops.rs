//! Owns what the parent has asked this worker to stop: the thread that watches the life line notes it and sends the main
//! thread a signal, whose handler, installed by whoever runs the tasks, takes it. Never knows what runs, nor how a task is
//! made to stop.
//!
//! The signals are real-time ones from the far end of their range, which hardly any program uses. They are sent only to a
//! worker that has said that it is ready, so the handlers are there.

use paceline_ipc::message::ToWorker;
use std::sync::{Mutex, OnceLock, PoisonError};

/// An item that is to be stopped, if it still runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopRequest {
    /// Its number among all items that were ever submitted to the pool.
    pub item: u64,
    /// How often it had been begun before.
    pub attempt: u16,
    /// Whether the rest of its chunk is not to be run either.
    pub drops_chunk: bool,
}

static STOPS: Mutex<Vec<StopRequest>> = Mutex::new(Vec::new());
static MAIN_THREAD: OnceLock<libc::pthread_t> = OnceLock::new();

/// The signal that tells a worker's main thread that there is something to stop.
#[must_use]
pub fn stop_signal() -> i32 {
    libc::SIGRTMAX() - 6
}

/// The signal on which a worker writes what it is doing to the file that it was given for that.
#[must_use]
pub fn stack_signal() -> i32 {
    libc::SIGRTMAX() - 7
}

/// The calling thread is the one that runs the tasks.
pub(super) fn adopt_main_thread() {
    // SAFETY: the call has no conditions.
    let _ = MAIN_THREAD.set(unsafe { libc::pthread_self() });
}

/// Notes what the parent says, and tells the main thread.
pub(super) fn note(word: ToWorker) {
    let ToWorker::Stop { item, attempt, drops_chunk } = word;
    STOPS.lock().unwrap_or_else(PoisonError::into_inner).push(StopRequest { item, attempt, drops_chunk });
    if let Some(main) = MAIN_THREAD.get() {
        // SAFETY: the main thread lives as long as the process.
        unsafe { libc::pthread_kill(*main, stop_signal()) };
    }
}

/// What has come since the last call. Called by the handler of [`stop_signal`], which runs between two steps of a task
/// and not within one, so that it may wait for a lock.
#[must_use]
pub fn take_stops() -> Vec<StopRequest> {
    std::mem::take(&mut *STOPS.lock().unwrap_or_else(PoisonError::into_inner))
}
