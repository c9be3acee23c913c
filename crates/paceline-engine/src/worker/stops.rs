//! Owns what the parent has asked this worker to stop: the thread that watches the life line notes it and sends the main
//! thread a signal, whose handler, installed by whoever runs the tasks, takes it. Never knows what runs, nor how a task is
//! made to stop.
//!
//! The handler may only note that there was a signal, to act on it between two steps of a task. If that task goes to sleep
//! in the system in between, it does not wake up for a signal that has come before. So the signal is sent again until what
//! it tells of has been taken.
//!
//! The signals are real-time ones from the far end of their range, which hardly any program uses. They are sent only to a
//! worker that has said that it is ready, so the handlers are there.

use crate::threads::receive_signal;
use paceline_ipc::message::ToWorker;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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

/// What a worker is asked to stop, and how its main thread is told.
struct Stops {
    main: libc::pthread_t,
    requests: Mutex<Vec<StopRequest>>,
}

/// A worker may be a fork of another one, made by any thread of that one at any moment: what it finds here may be locked
/// and is about others. So each has its own, and never looks at one that it has inherited.
static STOPS: AtomicPtr<Stops> = AtomicPtr::new(null_mut());

/// Whether there are any: for looking after each item.
static ARE_THERE: AtomicBool = AtomicBool::new(false);

/// How long the main thread has to take what it was told of before it is told again; then twice as long each time. A signal
/// that is blocked stays queued as often as it is sent, and the queue is the user's, not the process's; and a worker that is
/// idle, where what was to be stopped has ended, is not to be disturbed for ever.
const FIRST_REMINDER: Duration = Duration::from_millis(20);

/// The signal that tells a worker's main thread that there is something to stop.
#[must_use]
pub fn stop_signal() -> i32 {
    libc::SIGRTMAX() - 6
}

/// The signal on which a worker writes what it is doing to the file that it was given for that. The watching thread gets it
/// and no other, so that it cuts no call short that a task makes.
#[must_use]
pub fn stack_signal() -> i32 {
    libc::SIGRTMAX() - 7
}

/// The calling thread is the one that runs the tasks; nothing is to be stopped yet.
pub(super) fn adopt_main_thread() {
    // SAFETY: the call has no conditions.
    let main = unsafe { libc::pthread_self() };
    // What was there before is left to whoever may still look at it; that happens once in the life of a process.
    STOPS.store(Box::into_raw(Box::new(Stops { main, requests: Mutex::default() })), Ordering::Release);
    ARE_THERE.store(false, Ordering::Relaxed);
    receive_signal(stack_signal(), false);
}

fn stops() -> Option<&'static Stops> {
    // SAFETY: what was once stored is never freed.
    unsafe { STOPS.load(Ordering::Acquire).as_ref() }
}

impl Stops {
    fn requests(&self) -> MutexGuard<'_, Vec<StopRequest>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_main_thread(&self) {
        // SAFETY: the main thread lives as long as the process.
        unsafe { libc::pthread_kill(self.main, stop_signal()) };
    }
}

/// When to tell the main thread again of what it has not taken. The watching thread's own.
#[derive(Default)]
pub(super) struct Reminder(Option<(Instant, Duration)>);

impl Reminder {
    /// Notes what the parent says, and tells the main thread.
    pub(super) fn note(&mut self, word: ToWorker) {
        let ToWorker::Stop { item, attempt, drops_chunk } = word;
        let Some(stops) = stops() else { return };
        stops.requests().push(StopRequest { item, attempt, drops_chunk });
        ARE_THERE.store(true, Ordering::Release);
        stops.tell_main_thread();
        self.0 = Some((Instant::now() + FIRST_REMINDER, FIRST_REMINDER));
    }

    /// How long it is until the main thread is to be told again; none if there is nothing that it has not taken.
    pub(super) fn until_due(&mut self) -> Option<Duration> {
        let (at, _) = self.0?;
        if stops().is_none_or(|stops| stops.requests().is_empty()) {
            self.0 = None;
            return None;
        }
        Some(at.saturating_duration_since(Instant::now()))
    }

    /// Tells the main thread again, if it is time to and there is something that it has not taken.
    pub(super) fn remind_if_due(&mut self) {
        if self.until_due() != Some(Duration::ZERO) {
            return;
        }
        let (Some((_, waited)), Some(stops)) = (self.0, stops()) else { return };
        let next = waited * 2;
        self.0 = Some((Instant::now() + next, next));
        stops.tell_main_thread();
    }
}

/// What has come since the last call. Called by the handler of [`stop_signal`], which runs between two steps of a task
/// and not within one, so that it may wait for a lock.
#[must_use]
pub fn take_stops() -> Vec<StopRequest> {
    stops().map_or_else(Vec::new, |stops| {
        let mut requests = stops.requests();
        ARE_THERE.store(false, Ordering::Relaxed);
        std::mem::take(&mut *requests)
    })
}

/// Whether a signal has come since [`noted_stops`] was called last, where it is only noted.
static NOTED: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_: libc::c_int) {
    NOTED.store(true, Ordering::Release);
}

/// Has the signals only noted, where tasks cannot be interrupted but may ask by themselves whether they are to stop: see
/// [`noted_stops`]. What runs is not told of.
pub fn note_stops() {
    // SAFETY: the handler stores to an atomic and does nothing else.
    unsafe {
        libc::signal(stop_signal(), note as *const () as libc::sighandler_t);
        libc::signal(stack_signal(), libc::SIG_IGN);
    }
}

/// What has come since the last call, after [`note_stops`]. Costs an instruction where nothing has.
#[inline]
#[must_use]
pub fn noted_stops() -> Vec<StopRequest> {
    if NOTED.load(Ordering::Relaxed) && NOTED.swap(false, Ordering::Acquire) { take_stops() } else { Vec::new() }
}

/// Takes the request to stop this attempt at an item, which has ended before the handler came to it: what its last call
/// of the system gave may be what a signal has made of it.
#[inline]
pub fn take_stop_of(item: u64, attempt: u16) -> Option<StopRequest> {
    if !ARE_THERE.load(Ordering::Acquire) {
        return None;
    }
    let mut requests = stops()?.requests();
    let found = requests.iter().position(|request| (request.item, request.attempt) == (item, attempt))?;
    Some(requests.swap_remove(found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::thread;

    static TOLD: AtomicUsize = AtomicUsize::new(0);

    extern "C" fn count(_: i32) {
        TOLD.fetch_add(1, Ordering::Relaxed);
    }

    #[test]
    fn main_thread_is_told_until_it_takes_and_another_may_become_it() {
        // SAFETY: the handler does nothing that a signal handler must not.
        unsafe { libc::signal(stop_signal(), count as *const () as usize) };
        let told = || TOLD.load(Ordering::Relaxed);
        let word = |item| ToWorker::Stop { item, attempt: 0, drops_chunk: false };
        let request = |item| StopRequest { item, attempt: 0, drops_chunk: false };
        let mut reminder = Reminder::default();
        thread::spawn(adopt_main_thread).join().unwrap();
        // As if the fork had come while a word was being noted, which nobody will ever end.
        let inherited = stops().unwrap().requests();
        // The thread that was the main one is gone.
        adopt_main_thread();
        assert_eq!((take_stops(), reminder.until_due()), (vec![], None));
        reminder.note(word(7));
        assert_eq!(told(), 1, "a thread has its own signals by the time it has sent them");
        reminder.remind_if_due();
        assert_eq!(told(), 1, "it is not time yet");
        for times in 2..4 {
            thread::sleep(reminder.until_due().unwrap());
            reminder.remind_if_due();
            assert_eq!(told(), times);
        }
        reminder.note(word(8));
        assert!(reminder.until_due().unwrap() <= FIRST_REMINDER);
        assert_eq!(take_stops(), [request(7), request(8)]);
        assert_eq!(reminder.until_due(), None, "nobody wakes up for what has been taken");
        thread::sleep(FIRST_REMINDER);
        reminder.remind_if_due();
        assert_eq!(told(), 4);
        drop(inherited);
    }
}
