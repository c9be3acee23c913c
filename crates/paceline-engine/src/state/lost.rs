//! Owns what is done when a worker is gone: what it answered and what it had finished is kept, what it held is given back
//! to the core.

use super::answers::{Failure, Spell};
use super::events::Troubles;
use super::glance::HowFailed;
use super::workers::Seat;
use super::{Context, State};
use crate::clock::now_ns;
use crate::history::{Failed, Fate};
use crate::outcome::{Answer, Loss, Origin, Part, PartContent};
use crate::pending::FailureWatch;
use crate::supervisor::Ending;
use paceline_core::{Assignment, Event, Held, JobId, Trouble, WorkerExit, WorkerId};
use paceline_ipc::arena::Span;
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
            if self.seats.iter().all(Option::is_none) {
                self.end();
            }
            return;
        }
        let mut ending = ending;
        if self.seats[usize::from(worker)].as_ref().is_some_and(|seat| seat.pid == 0) {
            // The news of its birth was lost, or never told.
            self.on_forked(worker, birth, ending.death.pid);
        }
        if let Some(Seat { outgrown_bytes: Some(bytes), .. }) = &self.seats[usize::from(worker)] {
            ending.death.is_over_limit = true;
            ending.death.peak_bytes = ending.death.peak_bytes.max(*bytes);
        }
        let is_outgrown = ending.death.is_over_limit || ending.death.is_memory_short;
        let pid = ending.death.pid;
        self.dying = Some(Arc::new(ending.death));
        self.complaint = ending.complaint;
        if let Some(account) = self.seats[usize::from(worker)].as_ref().and_then(|seat| seat.account) {
            self.accounts.tell_threads(account, ending.threads);
        }
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
        self.events.name(worker, pid);
        self.recent.name(worker, pid);
        self.seats[usize::from(worker)] = None;
        let exit = match ending.exit {
            // One that leaves unasked with exit code zero has not been stopped.
            WorkerExit::Stopped if !self.closing => WorkerExit::Died,
            exit => exit,
        };
        let worker = WorkerId(worker);
        if is_outgrown {
            self.apply(Event::WorkerOutgrown { worker }, context);
        }
        for Found { held, job, failures } in held {
            self.tell_failures((held.chunk, job), failures, context);
            self.apply(Event::ChunkLost { worker, held }, context);
        }
        self.lost_items.clear();
        self.tell_worker_ended(exit);
        self.apply(Event::WorkerExited { worker, exit }, context);
        self.dying = None;
        // The dead worker may have been about to wake somebody.
        context.table.idle.wake_all_workers();
        context.table.idle.wake_parent_after_death();
    }

    /// Takes back what a dead worker held: its finished items are kept, the rest is the core's business.
    fn take_held(&mut self, place: Place, owner: u16, left: Left<'_>) -> Option<Found> {
        let chunk = self.chunk_of_slot[place.slot as usize];
        let assignment = self.core.chunk(chunk)?;
        let seat = self.seats.get(usize::from(owner))?.as_ref()?;
        let arena = Arc::clone(&seat.arena);
        let (span, claimed) = left.answer();
        let claimed = claimed.min(assignment.count);
        let now = now_ns();
        // It comes from the worker, and may be anything.
        let began = left.marks().began_ns().min(now);
        // A worker says that it begins before it looks at what it is to run. One that has not said so has run nothing.
        let most_running = if began == 0 { 0 } else { left.most_running() };
        let (answer, finished) = salvage(left, span, claimed, (&arena, &self.flight));
        let mut failures = Vec::new();
        let running = most_running.min(assignment.count - finished);
        let since = self.core.running_since(chunk).map(|since| since.0.clamp(began, now));
        let since = since.or((finished == 0).then_some(began));
        // Workers do not say when they begin with each item, and nobody has looked if there are no limits. All the time of
        // the chunk is told as that of the item that was lost then: for that it ended where it did is known.
        let lost_from = if running == 0 { now } else { since.unwrap_or(began) };
        if let Some(answer) = answer {
            failures = self.failures_in(assignment.job, assignment.first, &answer);
            let has_failures = left.marks().progress().has_failures();
            let busy_ns = if began == 0 { 0 } else { lost_from - began };
            self.keep(assignment, finished, answer, Spell { owner, busy_ns, ended_ns: lost_from, has_failures });
        }
        if running > 0 {
            let ran_ns = since.map(|since| now - since);
            let first = assignment.first + finished;
            self.lost_items.extend((first..first + running).map(|item| LostItem { job: assignment.job, item, ran_ns }));
            self.accounts.note_end(now);
            let spell = Spell { owner, busy_ns: now - lost_from, ended_ns: now, has_failures: true };
            let lost = Assignment { first, ..assignment };
            if let Some(account) = self.account_of(owner) {
                // Calls that linger side by side share the time, and nobody knows how.
                if !left.marks().progress().is_side_by_side() {
                    self.accounts.add_time(account, spell.busy_ns);
                }
                let failed = Failed { lost: u64::from(running), ..Failed::default() };
                self.tell_history(account, lost, running, spell, failed);
            }
            if self.events.is_wanted() {
                self.tell_ended(lost, running, spell, (Fate::Lost, Troubles::all(running)));
            }
            let how = HowFailed { fate: Fate::Lost, said: None, ended_ns: now, death: self.dying.clone() };
            self.note_failures(owner, assignment, (u64::from(running), first), how);
        }
        Some(Found { held: Held { chunk, finished, running }, job: assignment.job, failures })
    }

    /// Files what became of an item that was lost with its worker.
    pub(super) fn fail_item(&mut self, id: JobId, item: u32, attempt: u16, trouble: Trouble) {
        let death = self.dying.clone().unwrap_or_default();
        let ran_ns =
            self.lost_items.iter().find(|lost| (lost.job, lost.item) == (id, item)).and_then(|lost| lost.ran_ns);
        let (input, input_length) = self.input_of(id, item);
        let Some(job) = self.jobs[id.0 as usize].job.as_mut() else { return };
        self.unfinished_items = self.unfinished_items.saturating_sub(1);
        let loss = Loss { death, trouble, attempt, ran_ns, input, input_length };
        let shown = (job.pending.failure_watch() == FailureWatch::Everybody).then(|| loss.clone());
        job.parts.push(Part { first: item, count: 1, content: PartContent::Lost(loss) });
        if let Some(loss) = shown {
            self.show_failure(id, item, Some(PartContent::Lost(loss)));
        }
    }

    /// The input of one item, for whoever tells of its end, unless it is long; and its length.
    fn input_of(&self, id: JobId, item: u32) -> (Option<Box<[u8]>>, u64) {
        let slot = &self.jobs[id.0 as usize];
        let Some(job) = slot.job.as_ref() else { return (None, 0) };
        let whole = job.input.map_or(slot.inline.len() as u64, |span| span.length);
        let (start, end) = job.input_bounds(item).unwrap_or((0, whole));
        let length = end - start;
        if length > MOST_SHOWN_INPUT {
            return (None, length);
        }
        let bytes = match job.input {
            None => slot.inline.get(index(start)..index(end)).map(Box::from),
            Some(span) => self.arena.read(Span { offset: span.offset + start, length, ..span }),
        };
        (bytes, length)
    }
}

/// Longer input is not shown when its item is lost.
const MOST_SHOWN_INPUT: u64 = 16 << 10;

fn index(place: u64) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}

/// What was found in one of the slots of a dead worker.
struct Found {
    held: Held,
    job: JobId,
    failures: Vec<Failure>,
}

/// An item that was running when its worker ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct LostItem {
    job: JobId,
    item: u32,
    ran_ns: Option<u64>,
}

/// The records that a dead worker had finished, and how many of them can be read.
fn salvage(left: Left<'_>, span: Span, claimed: u32, origin: Origin<'_>) -> (Option<Answer>, u32) {
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
        (Some(Answer::inline(bytes, finished, origin)), finished)
    } else {
        let Ok(view) = origin.0.view(span) else { return (None, 0) };
        let (length, finished) = count(view.foreign());
        (Some(Answer::segment(Span { length: length as u64, ..span }, finished, origin)), finished)
    }
}
