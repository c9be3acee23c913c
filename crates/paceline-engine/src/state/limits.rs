//! Owns what is done about time: looking at what has a limit, and asking or ending a worker whose item is over it. Never
//! decides what that is.

use super::{Context, State};
use crate::clock::now_ns;
use paceline_core::{ChunkId, Event, Moment, StopCause, WorkerId};
use paceline_ipc::message::ToWorker;

/// How long a worker may take to load a function, whatever the time limit of the task is.
const LONGEST_LOADING_NS: u64 = 60_000_000_000;
/// How long it is at least from one look at the memory of the workers to the next; the core asks for no more.
const WEIGHING_PERIOD_NS: u64 = 10_000_000;

impl State {
    /// Has the supervisor come sooner, if the core wants to be told of the time sooner than it will.
    pub(super) fn plan_look(&mut self) {
        if self.failed {
            return;
        }
        if let Some(Moment(at_ns)) = self.core.next_look()
            && self.look_at_ns.is_none_or(|planned| at_ns < planned)
        {
            self.look_at_ns = Some(at_ns);
            self.effects.look_at_ns = Some(at_ns);
        }
    }

    /// The moment has come: tells the core what its workers are seen to be at. When to come again, if at all.
    pub(crate) fn look(&mut self, context: &Context<'_>) -> Option<u64> {
        self.look_at_ns = None;
        if self.failed {
            return None;
        }
        // What has ended is not to be taken for running.
        self.drain(context);
        for slot in 0..self.chunk_of_slot.len() {
            let chunk = self.chunk_of_slot[slot];
            if !self.core.is_watched(chunk) {
                continue;
            }
            let place = self.place_of_chunk[chunk.index as usize].filter(|place| place.slot as usize == slot);
            let Some(sight) = place.and_then(|place| context.table.look(place)) else { continue };
            // One that was claimed and not begun runs nothing yet; nor does one whose function is being loaded, unless that
            // never ends, or nobody wants it any more.
            let patience_ns = if sight.is_preparing { LONGEST_LOADING_NS } else { 0 };
            let is_wanted = self.core.chunk(chunk).is_some_and(|what| !self.core.is_being_cancelled(what.job));
            let runs = sight.began_ns > 0 && (!is_wanted || now_ns().saturating_sub(sight.began_ns) >= patience_ns);
            if runs && usize::from(sight.owner) < self.seats.len() {
                let (worker, began) = (WorkerId(sight.owner), Moment(sight.began_ns));
                self.apply(Event::ChunkSighted { chunk, worker, finished: sight.finished, began }, context);
            }
        }
        self.weigh(context);
        self.apply(Event::TimePassed, context);
        self.look_at_ns = self.core.next_look().map(|at| at.0.max(now_ns()));
        self.look_at_ns
    }

    /// Looks how much memory the workers have, if that is limited: that takes long, so not at each look.
    fn weigh(&mut self, context: &Context<'_>) {
        let now = now_ns();
        if context.memory_limit == 0 || now.saturating_sub(self.weighed_ns) < WEIGHING_PERIOD_NS {
            return;
        }
        self.weighed_ns = now;
        for index in 0..self.seats.len() {
            let Some(seat) = self.seats[index].as_mut().filter(|seat| seat.pid != 0) else { continue };
            if let Some(bytes) = seat.scale.over(seat.pid, context.memory_limit)
                && let Ok(worker) = u16::try_from(index)
            {
                seat.outgrown_bytes = Some(bytes);
                self.apply(Event::WorkerOutgrown { worker: WorkerId(worker) }, context);
            }
        }
    }

    /// Asks a worker to stop an item.
    pub(super) fn stop_item(
        &mut self,
        worker: WorkerId,
        chunk: ChunkId,
        item: u32,
        cause: StopCause,
        context: &Context<'_>,
    ) {
        let Some(what) = self.core.chunk(chunk) else { return };
        let Some(job) = self.jobs[what.job.0 as usize].job.as_ref() else { return };
        let item = job.number_of(item);
        let word = ToWorker::Stop { item, attempt: what.attempt, drops_chunk: cause == StopCause::Cancelled };
        if let Some(seat) = &self.seats[usize::from(worker.0)] {
            context.supervisor.stop(seat.birth, word);
        }
    }

    /// Ends a worker, if it still runs an item.
    pub(super) fn end_item(&mut self, worker: WorkerId, chunk: ChunkId, item: u32, context: &Context<'_>) {
        let Some(what) = self.core.chunk(chunk) else { return };
        let place = self.place_of_chunk[chunk.index as usize];
        if let (Some(place), Some(seat)) = (place, &self.seats[usize::from(worker.0)]) {
            context.supervisor.end_item(seat.birth, place, item - what.first);
        }
    }
}
