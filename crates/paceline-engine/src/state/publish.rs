//! Owns the writing of items into the task table. Never decides which.

use super::{Context, State};
use paceline_core::{ChunkId, JobId};
use paceline_ipc::arena::Span;
use paceline_ipc::body::{Body, Input, Request};

impl State {
    pub(super) fn publish(
        &mut self,
        chunk: ChunkId,
        (id, attempt, devices): (JobId, u16, u32),
        first: u32,
        count: u32,
        context: &Context<'_>,
    ) {
        let slot = &self.jobs[id.0 as usize];
        let job = slot.job.as_ref().expect("the core publishes items of unfinished jobs");
        let start_and_end = |(start, _)| Some((start, job.input_bounds(first + count - 1)?.1));
        let bounds = job.input_bounds(first).and_then(start_and_end);
        let input = match (job.input, bounds) {
            (Some(span), None) => Input::Segment(span),
            (Some(span), Some((start, end))) => {
                Input::Segment(Span { offset: span.offset + start, length: end - start, ..span })
            }
            (None, None) => Input::Inline(&slot.inline),
            (None, Some((start, end))) => Input::Inline(slice(&slot.inline, start, end)),
        };
        let (function, function_at) = (job.function.id, job.function.place);
        let item = job.number_of(first);
        let index = job.pending.index_of(first);
        let request = Request { function, function_at, item, first: index, count, attempt, devices, input };
        // SAFETY: the slot is free, so only the parent may touch its body, and it only writes. Should somebody else write
        // there all the same, the worker that claims the task reads nonsense; the parent reads nothing.
        let write = |body: *mut Body| unsafe { (*body).put_request(&request) };
        let place = context
            .table
            .publish(&mut self.feeder, write)
            .expect("the core counts the slots, and is told of those that are given up");
        self.chunk_of_slot[place.slot as usize] = chunk;
        self.place_of_chunk[chunk.index as usize] = Some(place);
        self.effects.published += 1;
        if attempt > 0 && self.events.is_wanted() {
            self.tell_retried(id, first, attempt);
        }
    }
}

fn slice(bytes: &[u8], start: u64, end: u64) -> &[u8] {
    let index = |place: u64| usize::try_from(place).expect("inline input is short");
    &bytes[index(start)..index(end)]
}
