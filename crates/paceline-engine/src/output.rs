//! Owns what workers have said and nobody has passed on to the user yet: a queue that the supervisor fills and one
//! listener empties. Never reads a pipe, and never knows how the listener passes things on.

use crate::fork_guard::generation;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;

/// While this much waits to be passed on, what workers say is left in their pipes.
const BACKLOG_LIMIT: u64 = 1 << 20;
/// The listener is given about this much at a time, and lines are put together up to it.
const AT_ONCE: usize = 64 << 10;

/// Where something was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    /// Standard output.
    Output,
    /// Standard error.
    Errors,
    /// A record for the parent's log.
    Record,
}

/// Something said: whole lines, or one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saying {
    /// Where.
    pub voice: Voice,
    /// What.
    pub bytes: Vec<u8>,
}

/// Who passes things on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Listener {
    Nobody,
    /// Somebody has promised to.
    Promised,
    Thread(ThreadId),
}

struct Queue {
    sayings: VecDeque<Saying>,
    /// How many bytes have come in all, how many the listener was given, and how many it is done with.
    heard: u64,
    given: u64,
    told: u64,
    listener: Listener,
    /// The listener is given nothing more, because the process is about to exit.
    is_closed: bool,
}

struct Output {
    generation: u32,
    queue: Mutex<Queue>,
    came: Condvar,
    told: Condvar,
}

static CURRENT: AtomicPtr<Output> = AtomicPtr::new(std::ptr::null_mut());

impl Output {
    /// The one of this process. A forked child gets one of its own: it has not inherited the listener, and the lock may
    /// be held by a thread that it has not inherited either.
    fn of_this_process() -> &'static Self {
        let generation = generation();
        loop {
            let current = CURRENT.load(Ordering::Acquire);
            // SAFETY: what was once stored is never freed.
            if let Some(output) = unsafe { current.as_ref() }
                && output.generation == generation
            {
                return output;
            }
            let queue = Queue {
                sayings: VecDeque::new(),
                heard: 0,
                given: 0,
                told: 0,
                listener: Listener::Nobody,
                is_closed: false,
            };
            let mut new =
                Box::new(Self { generation, queue: Mutex::new(queue), came: Condvar::new(), told: Condvar::new() });
            if CURRENT.compare_exchange(current, &raw mut *new, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return Box::leak(new);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn take(&mut self) -> Vec<Saying> {
        let mut taken = Vec::new();
        let mut size = 0;
        while size < AT_ONCE
            && let Some(saying) = self.sayings.pop_front()
        {
            size += saying.bytes.len();
            taken.push(saying);
        }
        self.given += size as u64;
        taken
    }
}

/// A worker has said something.
pub(crate) fn say(voice: Voice, bytes: &[u8]) {
    let output = Output::of_this_process();
    let mut queue = output.lock();
    queue.heard += bytes.len() as u64;
    match queue.sayings.back_mut() {
        Some(last) if last.voice == voice && voice != Voice::Record && last.bytes.len() < AT_ONCE => {
            last.bytes.extend_from_slice(bytes);
        }
        _ => queue.sayings.push_back(Saying { voice, bytes: bytes.to_vec() }),
    }
    drop(queue);
    output.came.notify_one();
}

/// Whether so much waits to be passed on that no more should be read.
pub(crate) fn is_backed_up() -> bool {
    let queue = Output::of_this_process().lock();
    queue.heard - queue.told > BACKLOG_LIMIT
}

/// Whether the caller is to start a thread that calls [`listen`] for ever. Nobody else is told so in this process,
/// unless [`renounce`] takes the promise back.
#[must_use]
pub fn promise_to_listen() -> bool {
    let mut queue = Output::of_this_process().lock();
    queue.is_closed = false;
    let is_first = queue.listener == Listener::Nobody;
    if is_first {
        queue.listener = Listener::Promised;
    }
    drop(queue);
    // One that was told to stop listening may go on.
    Output::of_this_process().came.notify_one();
    is_first
}

/// The thread could not be started.
pub fn renounce() {
    Output::of_this_process().lock().listener = Listener::Nobody;
}

/// Waits until something has been said, and gives it to the listener; what it was given before is passed on by now.
#[must_use]
pub fn listen() -> Vec<Saying> {
    let output = Output::of_this_process();
    let mut queue = output.lock();
    if !matches!(queue.listener, Listener::Thread(_)) {
        queue.listener = Listener::Thread(std::thread::current().id());
        // Signals are for the threads of the program's own.
        crate::threads::receive_no_signals();
    }
    queue.told = queue.given;
    output.told.notify_all();
    while queue.sayings.is_empty() || queue.is_closed {
        queue = output.came.wait(queue).unwrap_or_else(PoisonError::into_inner);
    }
    queue.take()
}

/// What has been heard so far, to be waited for by [`wait_until_told`]; none if there is nothing to wait for.
#[must_use]
pub fn untold() -> Option<u64> {
    let queue = Output::of_this_process().lock();
    let is_listener = queue.listener == Listener::Thread(std::thread::current().id());
    (queue.told < queue.heard && !is_listener).then_some(queue.heard)
}

/// Waits until that much has been passed on, not longer than `patience`; how much has been.
#[must_use]
pub fn wait_until_told(target: u64, patience: Duration) -> u64 {
    let output = Output::of_this_process();
    let queue = output.lock();
    let pending = |queue: &mut Queue| queue.told < target;
    let (queue, _) = output.told.wait_timeout_while(queue, patience, pending).unwrap_or_else(PoisonError::into_inner);
    queue.told
}

/// Takes what is left, if there is no listener.
#[must_use]
pub fn take_unlistened() -> Vec<Saying> {
    let output = Output::of_this_process();
    let mut queue = output.lock();
    if queue.listener != Listener::Nobody {
        return Vec::new();
    }
    let taken = queue.sayings.drain(..).collect();
    queue.given = queue.heard;
    queue.told = queue.heard;
    taken
}

/// The process is about to exit: the listener sleeps from now on, until somebody promises again.
pub fn close() {
    Output::of_this_process().lock().is_closed = true;
}
