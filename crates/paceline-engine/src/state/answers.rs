//! Owns the taking in of answers, and the filing of what became of each item. Never decides what they mean.

use super::{Context, State};
use crate::outcome::{Answer, Part, PartContent};
use paceline_core::{Assignment, ChunkId, Event};
use paceline_ipc::body::{Body, INLINE_SEGMENT};
use paceline_ipc::table::{Feeder, Place};
use std::ops::Range;

/// A chunk whose items all have an outcome.
pub(super) struct Finished {
    pub(super) chunk: ChunkId,
    pub(super) what: Assignment,
    pub(super) answer: Answer,
    pub(super) owner: u16,
    pub(super) busy_ns: u64,
    pub(super) ended_ns: u64,
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
            self.keep(what, what.count, answer, owner, busy_ns, ended_ns);
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

    pub(super) fn account(&mut self, owner: u16, busy_ns: u64, items: Range<u64>) {
        let Some(Some(seat)) = self.seats.get_mut(usize::from(owner)) else { return };
        let account = *seat.account.get_or_insert_with(|| self.accounts.open(seat.pid));
        self.accounts.add(account, busy_ns, items);
    }
}
