//! Owns what is done when a worker is gone: what it answered and what it had finished is kept, what it held is given back
//! to the core.

use super::{Context, State};
use crate::clock::now_ns;
use crate::outcome::{Answer, Part, PartContent};
use crate::supervisor::Ending;
use paceline_core::{Event, Held, JobId, WorkerExit, WorkerId};
use paceline_ipc::arena::{ArenaReader, Span};
use paceline_ipc::body::{INLINE_SEGMENT, Left};
use paceline_ipc::foreign::Foreign;
use paceline_ipc::record::Records;
use paceline_ipc::table::{Feeder, Place};
use std::cell::RefCell;
use std::sync::Arc;

impl State {
    pub(crate) fn on_exited(&mut self, worker: u16, birth: u64, ending: Ending, context: &Context<'_>) {
        if self.seats[usize::from(worker)].as_ref().is_none_or(|seat| seat.birth != birth) {
            return;
        }
        if self.failed {
            self.seats[usize::from(worker)] = None;
            self.effects.ended |= self.seats.iter().all(Option::is_none);
            return;
        }
        self.dying = Some(Arc::new(ending.death));
        self.complaint = ending.complaint;
        let (mut finished, mut held) = (Vec::new(), Vec::new());
        let mut feeder = std::mem::replace(&mut self.feeder, Feeder::new(0));
        let this = RefCell::new(&mut *self);
        context.table.reclaim(
            &mut feeder,
            worker,
            |place, owner, body| {
                // SAFETY: the body is mapped as long as the table.
                let left = unsafe { Left::new(body) };
                finished.extend(this.borrow().take_answer(place, owner, left));
            },
            |place, owner, body| {
                // SAFETY: as above.
                let left = unsafe { Left::new(body) };
                held.extend(this.borrow_mut().take_held(place, owner, left));
            },
        );
        self.feeder = feeder;
        self.file(&mut finished, context);
        self.seats[usize::from(worker)] = None;
        let exit = match ending.exit {
            // One that leaves unasked with exit code zero has not been stopped.
            WorkerExit::Stopped if !self.closing => WorkerExit::Died,
            exit => exit,
        };
        let worker = WorkerId(worker);
        for held in held {
            self.apply(Event::ChunkLost { worker, held }, context);
        }
        self.apply(Event::WorkerExited { worker, exit }, context);
        self.dying = None;
        // The dead worker may have been about to wake somebody.
        context.table.idle.wake_all_workers();
        context.table.idle.wake_parent_after_death();
    }

    /// Takes back what a dead worker held: its finished items are kept, the rest is the core's business.
    pub(super) fn take_held(&mut self, place: Place, owner: u16, left: Left<'_>) -> Option<Held> {
        let chunk = self.chunk_of_slot[place.slot as usize];
        let assignment = self.core.chunk(chunk)?;
        let seat = self.seats.get(usize::from(owner))?.as_ref()?;
        let arena = Arc::clone(&seat.arena);
        let (span, claimed) = left.answer();
        let claimed = claimed.min(assignment.count);
        let now = now_ns();
        let began = left.marks().began_ns();
        let busy_ns = if began == 0 { 0 } else { now.saturating_sub(began) };
        // A worker says that it begins before it looks at what it is to run. One that has not said so has run nothing.
        let most_running = if began == 0 { 0 } else { left.most_running() };
        let (answer, finished) = salvage(left, span, claimed, &arena);
        if let Some(answer) = answer {
            self.keep(assignment, finished, answer, owner, busy_ns, now);
        }
        Some(Held { chunk, finished, running: most_running.min(assignment.count - finished) })
    }

    pub(super) fn fail_item(&mut self, job: JobId, item: u32, attempt: u16) {
        let death = self.dying.clone().unwrap_or_default();
        if let Some(job) = self.jobs[job.0 as usize].job.as_mut() {
            job.parts.push(Part { first: item, count: 1, content: PartContent::Died { death, attempt } });
        }
    }
}

/// The records that a dead worker had finished, and how many of them can be read.
fn salvage(left: Left<'_>, span: Span, claimed: u32, arena: &Arc<ArenaReader>) -> (Option<Answer>, u32) {
    let count = |bytes: Foreign<'_>| {
        let mut records = Records::new(bytes);
        let readable = (0..claimed).take_while(|_| records.next().is_some()).count();
        (bytes.len() - records.remaining(), u32::try_from(readable).unwrap_or(claimed))
    };
    if claimed == 0 {
        (None, 0)
    } else if span.segment == INLINE_SEGMENT {
        let bytes = left.inline_bytes(span);
        let (_, finished) = count(bytes);
        (Some(Answer::inline(bytes, finished, arena)), finished)
    } else {
        let Ok(view) = arena.view(span) else { return (None, 0) };
        let (length, finished) = count(view.foreign());
        (Some(Answer::segment(Span { length: length as u64, ..span }, finished, arena)), finished)
    }
}
