//! Owns how callers wait for a job on threads: asleep, until whoever ends it wakes them. Never takes part in the work,
//! because it belongs to the threads of the pool.

use crate::clock::now_ns;
use crate::wait::{Target, Waited};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::Duration;

/// Who waits, and for what.
#[derive(Debug, Default)]
pub(super) struct Followers(Mutex<Vec<(usize, Thread)>>);

impl Followers {
    fn list(&self) -> MutexGuard<'_, Vec<(usize, Thread)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.list().is_empty()
    }

    /// Wakes those who wait for any of these.
    pub(super) fn wake(&self, keys: [usize; 2]) {
        for (_, thread) in self.list().iter().filter(|(key, _)| keys.contains(key)) {
            thread.unpark();
        }
    }

    /// Waits until `target` is there, the deadline has passed, or the slice is over.
    pub(super) fn wait(&self, target: &impl Target, deadline_ns: Option<u64>, slice_ns: u64) -> Waited {
        let slice_end = now_ns().saturating_add(slice_ns);
        let until = deadline_ns.unwrap_or(u64::MAX).min(slice_end);
        let me = std::thread::current();
        let waited = loop {
            // Said again each time: whoever ended another job of the same stream has taken note of it before.
            {
                let mut list = self.list();
                target.follow();
                if !list.iter().any(|(_, thread)| thread.id() == me.id()) {
                    list.push((target.key(), me.clone()));
                }
            }
            if target.is_there() {
                break Waited::Done;
            }
            let now = now_ns();
            if now >= until {
                let late = deadline_ns.is_some_and(|deadline| now >= deadline);
                break if late { Waited::TimedOut } else { Waited::Interrupted };
            }
            std::thread::park_timeout(Duration::from_nanos(until - now));
        };
        self.list().retain(|(_, thread)| thread.id() != me.id());
        waited
    }
}
