//! Owns the thread that looks out for tasks while the main thread goes on with calls that linger. Never claims one.
//!
//! The main thread must not poll the table while it waits for whatever its calls wait for, and it cannot sleep at the
//! table, because it sleeps elsewhere. So this thread sleeps at the table for it, and rings a bell: a descriptor that
//! an event loop can wait for beside all others.
//!
//! A worker that is on watch counts as asleep, though its calls may keep it busy for a while. What it was woken for must
//! not wait for that as long as another worker is idle: a bell that is not heard in time is passed on.

use super::MappedTable;
use crate::threads::{SMALL_STACK, spawn_quiet};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a bell may ring unheard while others are idle.
const PATIENCE: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nobody watches; the seat's words in the table are the main thread's.
    Resting,
    /// The thread watches; the words are its own.
    Watching,
    /// It has been woken, and the main thread has not heard of it. The words are the main thread's again.
    Ringing,
}

struct Shared {
    stage: Mutex<Stage>,
    changed: Condvar,
    bell: OwnedFd,
}

/// The main thread's hold on it.
pub(super) struct Lookout {
    shared: Arc<Shared>,
    table: &'static MappedTable,
    seat: u16,
}

impl Lookout {
    pub(super) fn post(table: &'static MappedTable, seat: u16) -> Result<Self, Errno> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let shared = Arc::new(Shared { stage: Mutex::new(Stage::Resting), changed: Condvar::new(), bell });
        let his = Arc::clone(&shared);
        spawn_quiet("paceline-lookout", SMALL_STACK, move || his.keep_watch(table, seat))?;
        Ok(Self { shared, table, seat })
    }

    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.shared.bell.as_fd()
    }

    /// Has the bell rung as soon as there is a task, or another reason to look about; false if that is so already.
    pub(super) fn watch(&self) -> bool {
        let mut stage = self.shared.stage();
        if *stage == Stage::Resting {
            if !self.table.begin_watch(self.seat) {
                self.table.end_watch(self.seat);
                return false;
            }
            *stage = Stage::Watching;
            self.shared.changed.notify_all();
        }
        *stage == Stage::Watching
    }

    /// Whether the bell was rung; it is silent then until the next watch.
    pub(super) fn has_rung(&self) -> bool {
        let mut stage = self.shared.stage();
        let rung = *stage == Stage::Ringing;
        if rung {
            self.silence(&mut stage);
        }
        rung
    }

    /// Ends the watch, if there is one. What the worker was woken for meanwhile is the caller's to claim or to pass on.
    pub(super) fn rest(&self) {
        let mut stage = self.shared.stage();
        if *stage == Stage::Watching {
            self.table.interrupt_watch(self.seat);
            let changed = self.shared.changed.wait_while(stage, |stage| *stage == Stage::Watching);
            stage = changed.unwrap_or_else(PoisonError::into_inner);
        }
        if *stage == Stage::Ringing {
            self.silence(&mut stage);
        }
    }

    fn silence(&self, stage: &mut MutexGuard<'_, Stage>) {
        **stage = Stage::Resting;
        self.shared.changed.notify_all();
        // Nothing else reads it, and if the event loop was faster there is nothing to read.
        let _ = rustix::io::read(&self.shared.bell, &mut [0; 8]);
        self.table.end_watch(self.seat);
    }
}

impl Shared {
    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep_watch(&self, table: &MappedTable, seat: u16) {
        let mut stage = self.stage();
        loop {
            stage = self.until(stage, Stage::Watching);
            drop(stage);
            table.watch(seat);
            stage = self.stage();
            *stage = Stage::Ringing;
            // Before the main thread can silence it again.
            let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
            self.changed.notify_all();
            let waited = self.changed.wait_timeout_while(stage, PATIENCE, |stage| *stage == Stage::Ringing);
            stage = waited.unwrap_or_else(PoisonError::into_inner).0;
            if *stage == Stage::Ringing {
                table.pass_on();
            }
        }
    }

    fn until<'a>(&self, stage: MutexGuard<'a, Stage>, wanted: Stage) -> MutexGuard<'a, Stage> {
        self.changed.wait_while(stage, |stage| *stage != wanted).unwrap_or_else(PoisonError::into_inner)
    }
}
