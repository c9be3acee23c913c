//! Stops what is over a limit, and ends who does not stop; comes to each engine when it wants to see to its limits. Never
//! decides what is over.

use super::{House, Life, Supervisor};
use crate::clock::now_ns;
use crate::engine::Shared;
use crate::process::{Doing, doing};
use crate::worker::stack_signal;
use paceline_ipc::message::ToWorker;
use paceline_ipc::socket;
use paceline_ipc::table::Place;
use rustix::process::{Signal, pidfd_send_signal};
use std::os::fd::AsFd;
use std::sync::Weak;
use std::time::Duration;

/// How long a worker that is held still may take until it is. One that takes longer is busy in the system, from where it
/// does not come back to its task without being held.
const STILL_WITHIN: Duration = Duration::from_millis(5);
const BETWEEN_GLANCES: Duration = Duration::from_micros(50);

/// The engines that want to be looked at, and when.
#[derive(Default)]
pub(super) struct Dues(Vec<(u64, Weak<Shared>)>);

impl Dues {
    pub(super) fn add(&mut self, engine: Weak<Shared>, at_ns: u64) {
        match self.0.iter_mut().find(|(_, known)| known.ptr_eq(&engine)) {
            Some((planned, _)) => *planned = at_ns.min(*planned),
            None => self.0.push((at_ns, engine)),
        }
    }

    /// How long it is until the first is due, if any wants to be looked at.
    pub(super) fn until_next_ns(&self) -> Option<u64> {
        self.0.iter().map(|(at_ns, _)| *at_ns).min().map(|at_ns| at_ns.saturating_sub(now_ns()))
    }

    fn take_due(&mut self, now: u64) -> Vec<Weak<Shared>> {
        self.0.extract_if(.., |(at_ns, _)| *at_ns <= now).map(|(_, engine)| engine).collect()
    }
}

impl Supervisor {
    /// Asks a worker to stop an item.
    pub(crate) fn stop(&self, birth: u64, word: ToWorker) {
        self.request(super::Request::Stop(birth, word));
    }

    /// Ends a worker that still runs the item of its task at this place after which so many are finished.
    pub(crate) fn end_item(&self, birth: u64, place: Place, finished: u32) {
        self.request(super::Request::EndItem(birth, place, finished));
    }

    /// Has an engine looked at when this moment comes.
    pub(crate) fn look_at(&self, engine: Weak<Shared>, at_ns: u64) {
        self.request(super::Request::Look(engine, at_ns));
    }
}

impl House {
    /// Looks at the engines that are due.
    pub(super) fn look_at_due(&mut self) {
        for engine in self.dues.take_due(now_ns()) {
            if let Some(shared) = engine.upgrade()
                && let Some(at_ns) = shared.look()
            {
                self.dues.add(engine, at_ns);
            }
        }
    }

    pub(super) fn stop(&mut self, birth: u64, word: ToWorker) {
        if let Some(life) = self.lives.get_mut(&birth) {
            // What it is doing now is told with the failure; what it was doing before is not.
            life.forget_stacks();
            life.ask_for_stacks();
            // One that does not listen will be ended.
            let _ = socket::try_send(life.line.as_fd(), &word.encode());
        }
    }

    pub(super) fn end_item(&mut self, birth: u64, place: Place, finished: u32) {
        let Some(life) = self.lives.get_mut(&birth) else { return };
        // One that is being torn down would not come to stand still, and all engines would wait for it.
        if life.to_be_killed || !life.hold_still() {
            return;
        }
        let is_at_it =
            life.engine.table.look(place).is_some_and(|sight| sight.owner == life.seat && sight.finished == finished);
        if is_at_it {
            life.to_be_killed = true;
            life.kill();
        } else {
            life.let_go_on();
        }
    }
}

impl Life {
    /// Has the worker write down what it is doing, if it can be told to.
    pub(super) fn ask_for_stacks(&self) {
        if self.is_ready
            && let Some(watch) = &self.watch
        {
            // SAFETY: the number is that of a real-time signal that no part of the system keeps for itself.
            let signal = unsafe { Signal::from_raw_unchecked(stack_signal()) };
            let _ = pidfd_send_signal(watch, signal);
        }
    }

    /// Stops the process, so that it does nothing while it is looked at; false if that cannot be done.
    fn hold_still(&self) -> bool {
        let Some(watch) = &self.watch else { return false };
        if pidfd_send_signal(watch, Signal::STOP).is_err() {
            return false;
        }
        let deadline = now_ns() + u64::try_from(STILL_WITHIN.as_nanos()).unwrap_or(0);
        while now_ns() < deadline && doing(self.pid) == Doing::Something {
            std::thread::sleep(BETWEEN_GLANCES);
        }
        true
    }

    fn let_go_on(&self) {
        if let Some(watch) = &self.watch {
            let _ = pidfd_send_signal(watch, Signal::CONT);
        }
    }
}
