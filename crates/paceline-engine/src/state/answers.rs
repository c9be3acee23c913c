//! Owns the taking in of answers, and the filing of what became of each item. Never decides what they mean.

use super::events::Troubles;
use super::glance::HowFailed;
use super::{Context, State};
use crate::history::{Failed, Fate, Stretch};
use crate::outcome::{Answer, LastFailure, Part, PartContent, kind, trouble_of};
use crate::pending::{FailureWatch, Pending};
use crate::recent::MOST_KEPT;
use paceline_core::{Assignment, ChunkId, Event, JobId, Trouble};
use paceline_ipc::body::{INLINE_SEGMENT, Left};
use paceline_ipc::table::{Feeder, Place};
use std::sync::Arc;

/// A chunk whose items all have an outcome.
pub(super) struct Finished {
    pub(super) chunk: ChunkId,
    pub(super) what: Assignment,
    pub(super) answer: Answer,
    pub(super) spell: Spell,
}

/// Who was at it, for how long, until when.
#[derive(Clone, Copy)]
pub(super) struct Spell {
    pub(super) owner: u16,
    pub(super) busy_ns: u64,
    pub(super) ended_ns: u64,
    /// Not every item has a result.
    pub(super) has_failures: bool,
}

/// An item whose outcome is a failure.
pub(super) struct Failure {
    item: u32,
    trouble: Trouble,
    shown: Shown,
}

/// Whether a failure is to be shown, and what of it.
enum Shown {
    No,
    Whole(PartContent),
    /// It is too large to be copied.
    Nothing,
}

/// A failure to be shown, and whose it is.
#[derive(Debug)]
pub struct ShownFailure {
    /// Of which job.
    pub pending: Arc<Pending>,
    /// Which item.
    pub item: u32,
    /// What became of it; nothing if it is too large to be shown.
    pub failure: Option<Part>,
}

impl Finished {
    /// Of a chunk whose slot somebody has scribbled on.
    fn unreadable(chunk: ChunkId, what: Assignment) -> Self {
        let spell = Spell { owner: NOBODY, busy_ns: 0, ended_ns: 0, has_failures: true };
        Self { chunk, what, answer: Answer::corrupt(), spell }
    }
}

/// No worker sits there.
const NOBODY: u16 = u16::MAX;

impl State {
    /// Takes in every answer there is.
    pub(crate) fn drain(&mut self, context: &Context<'_>) {
        if self.failed || !context.table.has_finished() {
            return;
        }
        let mut finished = std::mem::take(&mut self.finished);
        let mut feeder = std::mem::replace(&mut self.feeder, Feeder::new(0));
        context.table.drain(&mut feeder, |place, owner, body| {
            // SAFETY: the body is mapped as long as the table.
            finished.extend(self.take_answer(place, owner, unsafe { Left::new(body) }));
        });
        self.feeder = feeder;
        self.file(&mut finished, context);
        self.finished = finished;
    }

    /// Looks whether the table is as it must be. What cannot be answered any more ends, with an error for its caller, so
    /// that nobody waits for ever. Whether anything was wrong.
    pub(crate) fn audit(&mut self, context: &Context<'_>) -> bool {
        if self.failed {
            return false;
        }
        let mut feeder = std::mem::replace(&mut self.feeder, Feeder::new(0));
        let (mut finished, mut lost) = (Vec::new(), Vec::new());
        let is_seated = |worker: u16| self.seats.get(usize::from(worker)).is_some_and(Option::is_some);
        let mended = context.table.audit(
            &mut feeder,
            is_seated,
            // SAFETY: the body is mapped as long as the table.
            |place, owner, body| finished.extend(self.take_answer(place, owner, unsafe { Left::new(body) })),
            |place| lost.push(self.chunk_of_slot[place.slot as usize]),
        );
        self.feeder = feeder;
        // All of them first: with each end, more may be published.
        for _ in &lost {
            self.apply(Event::SlotLost, context);
        }
        let unreadable =
            lost.into_iter().filter_map(|chunk| Some(Finished::unreadable(chunk, self.core.chunk(chunk)?)));
        finished.extend(unreadable);
        self.file(&mut finished, context);
        for seat in (0..).zip(&self.seats).filter_map(|(worker, seat)| seat.as_ref()?.is_dismissed.then_some(worker)) {
            context.table.idle.dismiss(seat);
        }
        mended
    }

    /// Whether somebody relies on the table.
    pub(crate) fn has_work(&self) -> bool {
        !self.failed && (self.closing || self.core.unfinished_jobs() > 0)
    }

    /// Whether the table is to be audited from time to time, from now on; somebody will be told when it has to be.
    pub(crate) fn needs_audits(&mut self) -> bool {
        self.is_audited = self.has_work();
        self.is_audited
    }

    /// Keeps answers and tells the core, in the order in which they ended; the bitmap has them by slot.
    pub(super) fn file(&mut self, finished: &mut Vec<Finished>, context: &Context<'_>) {
        finished.sort_unstable_by_key(|one| one.spell.ended_ns);
        for Finished { chunk, what, answer, spell } in finished.drain(..) {
            let failures = self.failures_in(what.job, what.first, &answer);
            self.keep(what, what.count, answer, spell);
            if !failures.is_empty() {
                self.tell_failures((chunk, what.job), failures, context);
            }
            self.apply(Event::ChunkFinished { chunk, busy_ns: spell.busy_ns }, context);
        }
    }

    /// Nothing that stands in the slot is believed; but whatever does, the chunk has ended.
    pub(super) fn take_answer(&self, place: Place, owner: u16, left: Left<'_>) -> Option<Finished> {
        let chunk = self.chunk_of_slot[place.slot as usize];
        let what = self.core.chunk(chunk)?;
        let Some(seat) = self.seats.get(usize::from(owner)).and_then(Option::as_ref) else {
            return Some(Finished::unreadable(chunk, what));
        };
        let began_ns = left.marks().began_ns();
        let ended_ns = left.marks().ended_ns();
        let (span, _) = left.answer();
        let origin = (&seat.arena, &self.flight);
        let answer = if span.segment == INLINE_SEGMENT {
            Answer::inline(left.inline_bytes(span), what.count, origin)
        } else {
            Answer::segment(span, what.count, origin)
        };
        let has_failures = left.marks().progress().has_failures();
        let spell = Spell { owner, busy_ns: ended_ns.saturating_sub(began_ns), ended_ns, has_failures };
        Some(Finished { chunk, what, answer, spell })
    }

    /// Files the outcomes of the first `count` items of an assignment.
    pub(super) fn keep(&mut self, what: Assignment, count: u32, answer: Answer, spell: Spell) {
        let Some(job) = self.jobs[what.job.0 as usize].job.as_mut() else { return };
        let first = job.number_of(what.first);
        let failed = if spell.has_failures { failed_in(&answer, count) } else { Failed::default() };
        let last_failure = if spell.has_failures { answer.last_failure(MOST_KEPT) } else { None };
        let troubles = self.events.is_wanted().then(|| Troubles::of(&answer, failed.fate()));
        self.unfinished_items = self.unfinished_items.saturating_sub(u64::from(count));
        job.parts.push(Part { first: what.first, count, content: PartContent::Answer(answer) });
        self.accounts.note_end(spell.ended_ns);
        if let Some(account) = self.account_of(spell.owner) {
            self.accounts.add(account, spell.busy_ns, first..first + u64::from(count));
            self.tell_history(account, what, count, spell, failed);
        }
        if let Some(LastFailure { count, place, kind, said }) = last_failure {
            let how = HowFailed { fate: fate_of_kind(kind), said, ended_ns: spell.ended_ns, death: None };
            self.note_failures(spell.owner, what, (count, what.first + place), how);
        }
        if let Some(troubles) = troubles {
            self.tell_ended(what, count, spell, (failed.fate(), troubles));
        }
    }

    /// Notes what a worker did without a break: the first `count` items of an assignment, of which some may have failed.
    pub(super) fn tell_history(&mut self, account: usize, what: Assignment, count: u32, spell: Spell, failed: Failed) {
        let Some(job) = self.jobs[what.job.0 as usize].job.as_ref() else { return };
        let function = self.history.number_of(job.function.id, job.pending.label().name.as_ref(), &job.function.name);
        // Both come from the worker, and may be anything.
        let (ended_ns, busy_ns) = (spell.ended_ns, spell.busy_ns.min(spell.ended_ns));
        if failed != Failed::default() {
            job.pending.count_failed(failed);
            self.history.count_failed(failed);
        }
        self.history.add(Stretch {
            worker: u16::try_from(account).unwrap_or(u16::MAX),
            function,
            first_item: job.number_of(what.first),
            items: count,
            merged: 1,
            attempt: what.attempt,
            fate: failed.fate(),
            submitted_ns: job.submitted_ns,
            began_ns: ended_ns - busy_ns,
            ended_ns,
            busy_ns,
            longest_ns: busy_ns,
        });
    }

    /// Which of the items of a job have failed whose outcomes these are, if anybody wants to know before it ends.
    pub(super) fn failures_in(&self, job: JobId, first: u32, answer: &Answer) -> Vec<Failure> {
        let job = self.jobs.get(job.0 as usize).and_then(|slot| slot.job.as_ref());
        let watch = job.map_or(FailureWatch::Nobody, |job| job.pending.failure_watch());
        if watch == FailureWatch::Nobody {
            return Vec::new();
        }
        let failures = (first..).zip(answer.records()).filter_map(|(item, (kind, content))| {
            let trouble = trouble_of(kind)?;
            let whole = || Answer::single(kind, &content).map_or(Shown::Nothing, |copy| Shown::Whole(copy.into()));
            let shown = if watch == FailureWatch::Everybody { whole() } else { Shown::No };
            Some(Failure { item, trouble, shown })
        });
        failures.collect()
    }

    /// Tells the core of failures, and has those shown that are final, if they are to be.
    pub(super) fn tell_failures(
        &mut self,
        (chunk, job): (ChunkId, JobId),
        failures: Vec<Failure>,
        context: &Context<'_>,
    ) {
        for Failure { item, trouble, shown } in failures {
            let forgotten = self.forgotten;
            self.apply(Event::ItemFailed { chunk, item, trouble }, context);
            let is_final = forgotten == self.forgotten;
            match shown {
                Shown::Whole(copy) if is_final => self.show_failure(job, item, Some(copy)),
                Shown::Nothing if is_final => self.show_failure(job, item, None),
                _ => {}
            }
        }
    }

    /// Has a failure shown that is final.
    pub(super) fn show_failure(&mut self, job: JobId, item: u32, content: Option<PartContent>) {
        if let Some(job) = self.jobs[job.0 as usize].job.as_ref() {
            let failure = content.map(|content| Part { first: item, count: 1, content });
            self.failures.push_back(ShownFailure { pending: Arc::clone(&job.pending), item, failure });
            self.effects.attention = true;
        }
    }

    /// Where the account is of the worker that sits there.
    pub(super) fn account_of(&mut self, owner: u16) -> Option<usize> {
        let seat = self.seats.get_mut(usize::from(owner))?.as_mut()?;
        Some(*seat.account.get_or_insert_with(|| self.accounts.open(seat.pid)))
    }
}

/// How many of these outcomes, which should be so many, are failures. One that cannot be read will raise.
fn failed_in(answer: &Answer, count: u32) -> Failed {
    let (mut failed, mut readable) = (Failed::default(), 0);
    for kind in answer.kinds() {
        readable += 1;
        match fate_of_kind(kind) {
            Fate::Done => {}
            Fate::Stopped => failed.stopped += 1,
            Fate::Raised | Fate::Lost => failed.raised += 1,
        }
    }
    failed.raised += u64::from(count).saturating_sub(readable);
    failed
}

fn fate_of_kind(kind: u8) -> Fate {
    match kind {
        kind::DONE => Fate::Done,
        kind::STOPPED => Fate::Stopped,
        _ => Fate::Raised,
    }
}
