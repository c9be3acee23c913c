//! Owns what those who have asked are told of what happens here. Never decides anything, and costs nothing while nobody asks.

use super::answers::Spell;
use super::functions::Function;
use super::jobs::Job;
use super::{Context, State};
use crate::clock::now_ns;
use crate::events::{Happening, Inbox, Items, is_evidence};
use crate::history::Fate;
use crate::outcome::{Answer, kind};
use crate::pending::Pending;
use paceline_core::{Assignment, JobId, WorkerExit};
use std::sync::Arc;

/// What is told of the items of a stretch that have no result.
pub(super) struct Troubles {
    /// How many they are; none if nobody can tell.
    count: Option<u32>,
    /// What the first that raised has left.
    evidence: Option<Box<[u8]>>,
}

impl Troubles {
    pub(super) fn of(answer: &Answer, fate: Fate) -> Self {
        if fate == Fate::Done {
            return Self::all(0);
        }
        let count = answer.kinds().filter(|kind| *kind != kind::DONE).count();
        let first = || answer.records().find(|(kind, _)| *kind != kind::DONE);
        let evidence = (fate == Fate::Raised).then(first).flatten().and_then(|(_, content)| {
            let bytes = content.foreign();
            if is_evidence(bytes.len()) { bytes.to_vec().ok() } else { None }
        });
        let count = u32::try_from(count).ok().filter(|count| *count > 0);
        Self { count, evidence: evidence.map(Into::into) }
    }

    /// All of so many.
    pub(super) fn all(count: u32) -> Self {
        Self { count: Some(count), evidence: None }
    }
}

impl Job {
    /// Some of its items, as those who have asked are told of them.
    fn told_items(&self, first: u32, count: u32, attempt: u16) -> Items {
        items(&self.function, &self.pending, (self.number_of(first), count, attempt))
    }
}

fn items(function: &Function, pending: &Pending, (first, count, attempt): (u64, u32, u16)) -> Items {
    let label = pending.label();
    let function = Arc::clone(label.name.as_ref().unwrap_or(&function.name));
    Items { function, first, count, attempt, origin: label.origin }
}

impl State {
    pub(crate) fn subscribe(&mut self) -> Arc<Inbox> {
        // The driver may have gone to rest for longer than a subscriber wants to wait for what is answered meanwhile.
        self.effects.attention = true;
        self.events.subscribe(now_ns(), self.breakdown.is_some())
    }

    pub(crate) fn unsubscribe(&mut self, inbox: &Arc<Inbox>, context: &Context<'_>) {
        self.drain(context);
        self.events.unsubscribe(inbox);
    }

    pub(crate) fn inboxes(&self) -> Vec<Arc<Inbox>> {
        self.events.inboxes()
    }

    /// Whether anybody wants to be told soon of what is answered.
    pub(crate) fn has_audience(&self) -> bool {
        self.events.is_wanted()
    }

    /// The last worker is gone, and nothing will follow.
    pub(super) fn end(&mut self) {
        if !std::mem::replace(&mut self.effects.ended, true) {
            self.events.end(now_ns(), self.breakdown.is_some());
        }
    }

    pub(super) fn tell_submitted(&mut self, function: &Function, pending: &Pending, first: u64, count: u32) {
        let items = items(function, pending, (first, count, 0));
        self.events.tell(Happening::Submitted { at_ns: self.moment_ns, items });
    }

    /// Tells of the first `count` items of an assignment, which a worker ran without a break.
    pub(super) fn tell_ended(
        &mut self,
        what: Assignment,
        count: u32,
        spell: Spell,
        (fate, troubles): (Fate, Troubles),
    ) {
        if count == 0 {
            return;
        }
        // No worker is told of after what it did.
        self.tell_worker_started(spell.owner, true);
        let Some(job) = self.jobs[what.job.0 as usize].job.as_ref() else { return };
        let seat = self.seats.get(usize::from(spell.owner)).and_then(Option::as_ref);
        let pid = seat.map_or(0, |seat| seat.pid);
        let nameless = seat.filter(|seat| seat.pid == 0).map(|_| spell.owner);
        // Both come from the worker, and may be anything; where nothing can be read, nothing is known but that it is over.
        let now = now_ns();
        let ended_ns = if spell.ended_ns == 0 { now } else { spell.ended_ns.min(now) };
        let ended = Happening::Ended {
            items: job.told_items(what.first, count, what.attempt),
            pid,
            submitted_ns: job.submitted_ns,
            began_ns: ended_ns - spell.busy_ns.min(ended_ns),
            ended_ns,
            fate,
            failures: troubles.count.unwrap_or(count).min(count),
            evidence: troubles.evidence,
        };
        self.events.tell_of(ended, nameless);
    }

    /// Tells that an item has gone out again, once for each attempt: what a worker claimed and had not begun when it ended, and
    /// what something more urgent has taken the place of, goes out again as well, and is no other attempt.
    pub(super) fn tell_retried(&mut self, id: JobId, item: u32, attempt: u16) {
        let Some(job) = self.jobs[id.0 as usize].job.as_mut() else { return };
        if job.told_again.insert(item, attempt) == Some(attempt) {
            return;
        }
        self.events.tell(Happening::Retried { at_ns: self.moment_ns, items: job.told_items(item, 1, attempt) });
    }

    /// Tells that a worker takes tasks, unless that was told; one whose process id is not known yet only if it is at work.
    pub(super) fn tell_worker_started(&mut self, worker: u16, is_at_work: bool) {
        if let Some(Some(seat)) = self.seats.get_mut(usize::from(worker))
            && (seat.pid != 0 || is_at_work)
            && !std::mem::replace(&mut seat.is_told, true)
        {
            let nameless = (seat.pid == 0).then_some(worker);
            self.events.tell_of(Happening::WorkerStarted { at_ns: now_ns(), pid: seat.pid }, nameless);
        }
    }

    /// Tells how the worker ended that is dying.
    pub(super) fn tell_worker_ended(&mut self, exit: WorkerExit) {
        if let Some(death) = self.dying.as_ref().filter(|_| self.events.is_wanted()) {
            let (pid, code, signal) = (death.pid, death.code, death.signal);
            self.events.tell(Happening::WorkerEnded { at_ns: now_ns(), pid, exit, code, signal });
        }
    }
}
