//! Owns how callers wait: one of them leads, draining the table itself, so that a result takes one wake-up and not two;
//! the others follow, and are woken by whoever takes in what they wait for. Never holds the engine's lock while asleep.

use crate::clock::now_ns;
use crate::engine::Shared;
use crate::patience::Patience;
use crate::pending::{Pending, Stream};
use crate::state::State;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::Duration;

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// What was waited for is there.
    Done,
    /// The deadline has passed.
    TimedOut,
    /// A signal may have arrived, or the slice is over: see to what else the thread has to do, and wait again.
    Interrupted,
}

/// What can be waited for.
pub trait Target {
    /// Whether it is there.
    fn is_there(&self) -> bool;
    /// Says that a thread will sleep until it is.
    fn follow(&self);
    /// What identifies it among the followed.
    fn key(&self) -> usize;
}

impl Target for Arc<Pending> {
    fn is_there(&self) -> bool {
        self.is_done()
    }

    fn follow(&self) {
        Pending::follow(self);
    }

    fn key(&self) -> usize {
        Arc::as_ptr(self) as usize
    }
}

impl Target for Arc<Stream> {
    fn is_there(&self) -> bool {
        self.has_next()
    }

    fn follow(&self) {
        Stream::follow(self);
    }

    fn key(&self) -> usize {
        Arc::as_ptr(self) as usize
    }
}

/// Who waits.
#[derive(Debug)]
pub(crate) struct WaitRoom(Mutex<Room>);

#[derive(Debug)]
struct Room {
    /// Taken by the leader.
    baton: Option<Patience>,
    followers: Vec<Follower>,
}

#[derive(Debug)]
struct Follower {
    key: usize,
    thread: Thread,
}

impl WaitRoom {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Room { baton: Some(Patience::new()), followers: Vec::new() }))
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the threads that follow any of these.
    pub(crate) fn wake_followers(&self, keys: [usize; 2]) {
        for follower in self.room().followers.iter().filter(|follower| keys.contains(&follower.key)) {
            follower.thread.unpark();
        }
    }

    /// Makes one of those who follow look whether it should lead.
    fn hand_over(room: &Room) {
        if room.baton.is_some()
            && let Some(follower) = room.followers.first()
        {
            follower.thread.unpark();
        }
    }
}

impl Shared {
    /// Waits until `target` is there, the deadline has passed, a signal has come, or the slice is over.
    pub(crate) fn wait(&self, target: &impl Target, deadline_ns: Option<u64>, slice_ns: u64) -> Waited {
        let slice_end = now_ns().saturating_add(slice_ns);
        loop {
            if target.is_there() {
                return Waited::Done;
            }
            let mut room = self.waiting.room();
            if let Some(patience) = room.baton.take() {
                drop(room);
                return self.lead(target, patience, deadline_ns, slice_end);
            }
            target.follow();
            room.followers.push(Follower { key: target.key(), thread: std::thread::current() });
            drop(room);
            if !target.is_there() {
                let until = deadline_ns.unwrap_or(u64::MAX).min(slice_end);
                std::thread::park_timeout(Duration::from_nanos(until.saturating_sub(now_ns())));
            }
            let mut room = self.waiting.room();
            let me = std::thread::current().id();
            room.followers.retain(|follower| follower.thread.id() != me);
            let ended = ended(target, deadline_ns, slice_end);
            if ended.is_some() {
                // This thread may have been the one to whom the lead was offered.
                WaitRoom::hand_over(&room);
            }
            drop(room);
            if let Some(ended) = ended {
                return ended;
            }
        }
    }

    fn lead(&self, target: &impl Target, mut patience: Patience, deadline_ns: Option<u64>, slice_end: u64) -> Waited {
        let idle = &self.table.idle;
        let something = || self.table.has_finished() || target.is_there();
        idle.begin_leading();
        let waited = loop {
            self.with_leader(State::drain);
            if let Some(ended) = ended(target, deadline_ns, slice_end) {
                break ended;
            }
            let rested = patience.exercise(|keep_searching| {
                while !something() {
                    std::hint::spin_loop();
                    if !keep_searching() {
                        let until = deadline_ns.unwrap_or(u64::MAX).min(slice_end);
                        idle.rest_leading(Some(until.saturating_sub(now_ns())), something);
                        return true;
                    }
                }
                false
            });
            if rested && !something() {
                // The slice is over, or a signal has come. A waker that was stopped or killed may have been about to
                // wake a worker.
                if self.table.has_ready() {
                    idle.wake_all_workers();
                }
                break ended(target, deadline_ns, slice_end).unwrap_or(Waited::Interrupted);
            }
        };
        idle.end_leading(|| self.table.concerns_driver());
        let mut room = self.waiting.room();
        room.baton = Some(patience);
        WaitRoom::hand_over(&room);
        waited
    }
}

fn ended(target: &impl Target, deadline_ns: Option<u64>, slice_end: u64) -> Option<Waited> {
    if target.is_there() {
        return Some(Waited::Done);
    }
    let now = now_ns();
    if deadline_ns.is_some_and(|deadline| now >= deadline) {
        Some(Waited::TimedOut)
    } else {
        (now >= slice_end).then_some(Waited::Interrupted)
    }
}
