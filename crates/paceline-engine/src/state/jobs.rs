//! Owns what is kept of a job until it ends, and tells of its end.

use super::functions::Function;
use super::{Context, State};
use crate::outcome::{Outcome, Part, Parts};
use crate::pending::Pending;
use paceline_core::{JobEnd, JobId};
use paceline_ipc::arena::Span;
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
    /// Where each item's input ends; a single item needs none.
    pub(super) ends: Option<Box<[u64]>>,
    pub(super) parts: Gathered,
    pub(super) first_item: u64,
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

    fn into_parts(self) -> Parts {
        match self {
            Self::None => Parts::Many(Vec::new()),
            Self::One(part) => Parts::One(part),
            Self::Many(mut parts) => {
                parts.sort_unstable_by_key(|part| part.first);
                Parts::Many(parts)
            }
        }
    }
}

impl State {
    pub(super) fn finish_job(&mut self, id: JobId, end: JobEnd, context: &Context<'_>) {
        let slot = &mut self.jobs[id.0 as usize];
        slot.inline.clear();
        let Some(job) = slot.job.take() else { return };
        self.free_jobs.push(id.0);
        if let Some(span) = job.input {
            self.slabs.release(&mut self.arena, span);
        }
        let outcome = match end {
            JobEnd::Complete => Outcome::Complete(job.parts.into_parts()),
            JobEnd::Cancelled | JobEnd::GivenUp => Outcome::Cancelled,
            JobEnd::Abandoned => Outcome::Abandoned(self.breakdown.clone()),
        };
        let pending = job.pending;
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
        self.effects.resolved = true;
    }
}
