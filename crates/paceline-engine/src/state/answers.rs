//! Owns the taking in of answers, and the filing of what became of each item. Never decides what they mean.

use super::{Context, State};
use crate::outcome::{Answer, Part, PartContent, trouble_of};
use crate::pending::{FailureWatch, Pending};
use paceline_core::{Assignment, ChunkId, Event, JobId, Trouble};
use paceline_ipc::body::{Body, INLINE_SEGMENT};
use paceline_ipc::table::{Feeder, Place};
use std::ops::Range;
use std::sync::Arc;

/// A chunk whose items all have an outcome.
pub(super) struct Finished {
    pub(super) chunk: ChunkId,
    pub(super) what: Assignment,
    pub(super) answer: Answer,
    pub(super) owner: u16,
    pub(super) busy_ns: u64,
    pub(super) ended_ns: u64,
}

/// An item whose outcome is a failure.
pub(super) struct Failure {
    item: u32,
    trouble: Trouble,
    /// To be shown; nothing of it if it is too large to be copied.
    shown: Option<Option<PartContent>>,
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

impl State {
    /// Takes in every answer there is.
    pub(crate) fn drain(&mut self, context: &Context<'_>) {
        if self.failed || !context.table.has_finished() {
            return;
        }
        let mut finished = std::mem::take(&mut self.finished);
        let mut feeder = std::mem::replace(&mut self.feeder, Feeder::new(0));
        context.table.drain(&mut feeder, |place, owner, body| {
            // SAFETY: the slot is done, so only the parent may touch its body.
            finished.extend(self.take_answer(place, owner, unsafe { &*body }));
        });
        self.feeder = feeder;
        self.file(&mut finished, context);
        self.finished = finished;
    }

    /// Keeps answers and tells the core, in the order in which they ended; the bitmap has them by slot.
    pub(super) fn file(&mut self, finished: &mut Vec<Finished>, context: &Context<'_>) {
        finished.sort_unstable_by_key(|one| one.ended_ns);
        for Finished { chunk, what, answer, owner, busy_ns, ended_ns } in finished.drain(..) {
            let failures = self.failures_in(what.job, what.first, &answer);
            self.keep(what, what.count, answer, owner, busy_ns, ended_ns);
            if !failures.is_empty() {
                self.tell_failures((chunk, what.job), failures, context);
            }
            self.apply(Event::ChunkFinished { chunk, busy_ns }, context);
        }
    }

    pub(super) fn take_answer(&mut self, place: Place, owner: u16, body: &Body) -> Option<Finished> {
        let chunk = self.chunk_of_slot[place.slot as usize];
        let what = self.core.chunk(chunk)?;
        let began_ns = body.marks.began_ns();
        let ended_ns = body.marks.ended_ns();
        let seat = self.seats.get(usize::from(owner))?.as_ref()?;
        let (span, _) = body.answer();
        let answer = if span.segment == INLINE_SEGMENT {
            Answer::inline(body.inline_bytes(span), &seat.arena)
        } else {
            Answer::segment(span, &seat.arena)
        };
        Some(Finished { chunk, what, answer, owner, busy_ns: ended_ns.saturating_sub(began_ns), ended_ns })
    }

    /// Files the outcomes of the first `count` items of an assignment.
    pub(super) fn keep(
        &mut self,
        what: Assignment,
        count: u32,
        answer: Answer,
        owner: u16,
        busy_ns: u64,
        ended_ns: u64,
    ) {
        let Some(job) = self.jobs[what.job.0 as usize].job.as_mut() else { return };
        let first = job.first_item + u64::from(what.first);
        job.parts.push(Part { first: what.first, count, content: PartContent::Answer(answer) });
        self.accounts.ended_ns = self.accounts.ended_ns.max(ended_ns);
        self.account(owner, busy_ns, first..first + u64::from(count));
    }

    /// Which of the items of a job have failed whose outcomes these are, if anybody wants to know before it ends.
    pub(super) fn failures_in(&self, job: JobId, first: u32, answer: &Answer) -> Vec<Failure> {
        let job = self.jobs.get(job.0 as usize).and_then(|slot| slot.job.as_ref());
        let watch = job.map_or(FailureWatch::Nobody, |job| job.pending.failure_watch());
        if watch == FailureWatch::Nobody {
            return Vec::new();
        }
        let records = (first..).zip(answer.records().enumerate());
        let failures = records.filter_map(|(item, (nth, (kind, _)))| {
            let content = || answer.copy_of(nth).map(PartContent::Answer);
            let shown = (watch == FailureWatch::Everybody).then(content);
            trouble_of(kind).map(|trouble| Failure { item, trouble, shown })
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
            if let Some(content) = shown
                && forgotten == self.forgotten
            {
                self.show_failure(job, item, content);
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

    pub(super) fn account(&mut self, owner: u16, busy_ns: u64, items: Range<u64>) {
        let Some(Some(seat)) = self.seats.get_mut(usize::from(owner)) else { return };
        let account = *seat.account.get_or_insert_with(|| self.accounts.open(seat.pid));
        self.accounts.add(account, busy_ns, items);
    }
}
