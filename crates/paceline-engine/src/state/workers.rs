//! Owns the seats: which worker sits where, from the moment it is asked for. Never decides who is started.

use super::{Context, State};
use crate::memory_use::Scale;
use crate::outcome::{Breakdown, Death};
use paceline_core::{Breakage, Event, WorkerId};
use paceline_ipc::arena::ArenaReader;
use std::sync::Arc;

/// A worker that has been asked for, or lives.
pub(super) struct Seat {
    pub(super) birth: u64,
    pub(super) pid: i32,
    pub(super) arena: Arc<ArenaReader>,
    pub(super) account: Option<usize>,
    /// It was seen to have more memory than it may, and how much.
    pub(super) outgrown_bytes: Option<u64>,
    pub(super) scale: Scale,
    /// It has been asked to leave.
    pub(super) is_dismissed: bool,
    /// It has said that it takes tasks.
    pub(super) is_ready: bool,
    /// Those who have asked were told that it does.
    pub(super) is_told: bool,
}

impl State {
    pub(super) fn start_worker(&mut self, worker: WorkerId, context: &Context<'_>) {
        context.table.idle.forget(worker.0);
        let seat = usize::from(worker.0);
        self.seats[seat] = None;
        match ArenaReader::create("paceline-results") {
            Ok(arena) => {
                let birth = (context.birth)(worker.0, &arena);
                self.seats[seat] = Some(Seat {
                    birth,
                    pid: 0,
                    arena: Arc::new(arena),
                    account: None,
                    outgrown_bytes: None,
                    scale: Scale::default(),
                    is_dismissed: false,
                    is_ready: false,
                    is_told: false,
                });
            }
            Err(errno) => {
                let last_words = format!("the system refused a memory file: {errno}");
                self.dying = Some(Arc::new(Death { last_words, ..Death::default() }));
                self.stillborn.push(worker);
            }
        }
    }

    pub(super) fn dismiss(&mut self, worker: WorkerId, context: &Context<'_>) {
        if let Some(Some(seat)) = self.seats.get_mut(usize::from(worker.0)) {
            seat.is_dismissed = true;
        }
        context.table.idle.dismiss(worker.0);
    }

    pub(crate) fn on_forked(&mut self, worker: u16, birth: u64, pid: i32) {
        if let Some(Some(seat)) = self.seats.get_mut(usize::from(worker))
            && seat.birth == birth
        {
            seat.pid = pid;
            let (account, is_ready) = (seat.account, seat.is_ready);
            // It may have been faster than the fork server, which tells its process id.
            if let Some(account) = account {
                self.accounts.name(account, pid);
            }
            self.events.name(worker, pid);
            self.recent.name(worker, pid);
            if is_ready {
                self.tell_worker_started(worker, false);
            }
        }
    }

    pub(crate) fn on_ready(&mut self, worker: u16, birth: u64, context: &Context<'_>) {
        if let Some(seat) = self.seats[usize::from(worker)].as_mut().filter(|seat| seat.birth == birth) {
            seat.is_ready = true;
            self.tell_worker_started(worker, false);
            self.apply(Event::WorkerReady { worker: WorkerId(worker) }, context);
        }
    }

    pub(super) fn break_pool(&mut self, why: Breakage) {
        let death = self.dying.as_deref().cloned().unwrap_or_default();
        let reason = match why {
            Breakage::StartFailed => "a worker could not be set up".to_owned(),
            Breakage::StartTooSlow { .. } => "a worker took longer to start than `start_timeout` allows".to_owned(),
            Breakage::CrashLoop { deaths } => format!("{deaths} workers in a row ended before they finished anything"),
            Breakage::TableDestroyed => "somebody has written over the whole task table".to_owned(),
        };
        self.breakdown = Some(Arc::new(Breakdown { reason, death, complaint: self.complaint.take() }));
    }

    pub(crate) fn pids(&self) -> Vec<i32> {
        self.seats.iter().flatten().map(|seat| seat.pid).filter(|pid| *pid != 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flight::Flight;
    use paceline_core::{Config, Tokens};
    use paceline_ipc::arena::Arena;

    #[test]
    fn worker_that_answers_before_the_news_of_its_birth_gets_its_process_id() {
        let config = Config {
            workers: 1,
            table_slots: 4,
            start_timeout_ns: 0,
            is_memory_limited: false,
            tokens: Tokens::default(),
        };
        let mut state = State::new(config, Arena::create("inputs").unwrap(), Flight::new(u64::MAX));
        state.seats[0] = Some(Seat {
            birth: 7,
            pid: 0,
            arena: Arc::new(ArenaReader::create("results").unwrap()),
            account: None,
            outgrown_bytes: None,
            scale: Scale::default(),
            is_dismissed: false,
            is_ready: false,
            is_told: false,
        });
        let account = state.account_of(0).unwrap();
        assert_eq!(state.accounts().workers[account].pid, 0);
        state.on_forked(0, 6, 4915);
        assert_eq!(state.accounts().workers[account].pid, 0, "that was another's");
        state.on_forked(0, 7, 4916);
        assert_eq!(state.accounts().workers[account].pid, 4916);
    }
}
