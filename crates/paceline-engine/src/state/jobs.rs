//! Owns what is kept of a job until it ends, and tells of its end.

use super::functions::Function;
use super::{Context, State};
use crate::outcome::{Outcome, Part, PartContent, Parts};
use crate::pending::{FailureWatch, Pending};
use paceline_core::{JobEnd, JobId};
use paceline_ipc::arena::Span;
use paceline_ipc::share::Share;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Default)]
pub(super) struct JobSlot {
    /// Kept from job to job, so that a small one needs no allocation.
    pub(super) inline: Vec<u8>,
    pub(super) job: Option<Job>,
}

pub(super) struct Job {
    pub(super) pending: Arc<Pending>,
    pub(super) function: Arc<Function>,
    /// Where the input lies, unless it is inline.
    pub(super) input: Option<Span>,
    /// What belongs to it and lies in places of its own.
    pub(super) buffers: Vec<Span>,
    /// What it names in shared memory.
    pub(super) shares: Vec<Arc<Share>>,
    /// Where each item's input ends; a single item needs none.
    pub(super) ends: Option<Box<[u64]>>,
    pub(super) parts: Gathered,
    pub(super) first_item: u64,
    pub(super) submitted_ns: u64,
    /// Of which attempt at an item it was last told that it has gone out, beside the first, if anybody has asked.
    pub(super) told_again: BTreeMap<u32, u16>,
}

pub(super) enum Gathered {
    None,
    One(Part),
    Many(Vec<Part>),
}

impl Gathered {
    pub(super) fn push(&mut self, part: Part) {
        *self = match std::mem::replace(self, Self::None) {
            Self::None => Self::One(part),
            Self::One(first) => Self::Many(vec![first, part]),
            Self::Many(mut parts) => {
                parts.push(part);
                Self::Many(parts)
            }
        };
    }

    /// How many items there is an outcome of.
    pub(super) fn items(&self) -> u64 {
        let parts = match self {
            Self::None => &[],
            Self::One(part) => std::slice::from_ref(part),
            Self::Many(parts) => parts.as_slice(),
        };
        parts.iter().map(|part| u64::from(part.count)).sum()
    }

    /// Lets go of what is kept of one item; whether there was anything.
    fn forget(&mut self, item: u32) -> bool {
        let mut parts = match std::mem::replace(self, Self::None) {
            Self::None => return false,
            Self::One(part) => vec![part],
            Self::Many(parts) => parts,
        };
        // The latest first: it is nearly always the one.
        let found = parts.iter().rposition(|part| (part.first..part.first + part.count).contains(&item));
        if let Some(Part { first, count, content: PartContent::Answer(answer) }) =
            found.map(|index| parts.swap_remove(index))
        {
            let before = item - first;
            let (head, tail) = answer.without(before);
            for (first, count, answer) in [(first, before, head), (item + 1, count - before - 1, tail)] {
                if count > 0 {
                    parts.push(Part { first, count, content: PartContent::Answer(answer) });
                }
            }
        }
        *self = Self::Many(parts);
        found.is_some()
    }

    fn into_parts(self) -> Parts {
        match self {
            Self::None => Parts::Many(Vec::new()),
            Self::One(part) => Parts::One(part),
            Self::Many(mut parts) => {
                parts.sort_unstable_by_key(|part| part.first);
                match <[Part; 1]>::try_from(parts) {
                    Ok([part]) => Parts::One(part),
                    Err(parts) => Parts::Many(parts),
                }
            }
        }
    }
}

impl Job {
    /// The number of an item among all that were ever submitted to the pool, which does not depend on the order in which
    /// they are sent: a task's random numbers follow from it.
    pub(super) fn number_of(&self, item: u32) -> u64 {
        self.first_item + u64::from(self.pending.place_of(item))
    }

    /// How many items it has.
    pub(super) fn items(&self) -> u64 {
        self.ends.as_ref().map_or(1, |ends| ends.len() as u64)
    }

    /// Where the input of one item begins and ends among that of all.
    pub(super) fn input_bounds(&self, item: u32) -> Option<(u64, u64)> {
        let ends = self.ends.as_ref()?;
        let start = item.checked_sub(1).map_or(0, |before| ends[before as usize]);
        Some((start, ends[item as usize]))
    }
}

impl State {
    pub(super) fn forget_item(&mut self, id: JobId, item: u32) {
        if let Some(job) = self.jobs[id.0 as usize].job.as_mut()
            && job.parts.forget(item)
        {
            self.unfinished_items += 1;
        }
        self.forgotten += 1;
    }

    pub(super) fn finish_job(&mut self, id: JobId, end: JobEnd, context: &Context<'_>) {
        let slot = &mut self.jobs[id.0 as usize];
        slot.inline.clear();
        let Some(job) = slot.job.take() else { return };
        self.free_jobs.push(id.0);
        // Of one that ends early, some have no outcome, and never will.
        let without_outcome = job.items().saturating_sub(job.parts.items());
        self.unfinished_items = self.unfinished_items.saturating_sub(without_outcome);
        if let Some(span) = job.input {
            self.free(&[span], context);
        }
        self.free(&job.buffers, context);
        self.effects.let_go_of_shares(job.shares);
        let outcome = match end {
            JobEnd::Complete => Outcome::Complete(job.parts.into_parts()),
            JobEnd::GivenUp => Outcome::GivenUp(job.parts.into_parts()),
            JobEnd::Cancelled => Outcome::Cancelled,
            JobEnd::Abandoned => Outcome::Abandoned(self.breakdown.clone()),
        };
        let pending = job.pending;
        self.failures_watched -= usize::from(pending.failure_watch() != FailureWatch::Nobody);
        if pending.wants_attention() {
            self.attention_wanted -= 1;
            self.attention.push_back(Arc::clone(&pending));
            self.effects.attention = true;
        }
        if let Some(stream) = pending.rings() {
            self.bells.heard(stream);
        }
        if pending.end(outcome) {
            context.waiting.wake_followers(pending.keys());
        }
        self.effects.let_go(pending);
        self.effects.resolved = true;
    }
}
