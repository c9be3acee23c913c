//! Owns what callers ask about a job that has not ended: cancel it, whether it runs, to hear of its end.

use super::jobs::Job;
use super::{Context, State};
use crate::pending::{Attachment, Pending, Stage};
use paceline_core::Event;
use std::sync::Arc;

impl State {
    /// Cancels a job if nothing of it has begun; whether it is cancelled.
    pub(crate) fn cancel(&mut self, pending: &Arc<Pending>, context: &Context<'_>) -> bool {
        if let Some(job) = pending.job() {
            self.apply(Event::CancelRequested { job, stops_running: false }, context);
        }
        pending.stage() == Stage::Cancelled
    }

    /// Cancels a job and has what of it runs stopped; whether it is cancelled, or will be.
    pub(crate) fn stop(&mut self, pending: &Arc<Pending>, context: &Context<'_>) -> bool {
        // What has ended is not to be stopped.
        self.drain(context);
        let Some(job) = pending.job() else { return pending.stage() == Stage::Cancelled };
        self.apply(Event::CancelRequested { job, stops_running: true }, context);
        pending.stage() == Stage::Cancelled || self.core.is_being_cancelled(job)
    }

    /// Cancels the job that an item belongs to, by the item's number; with `stops_running` also if it runs. Whether it is
    /// cancelled, or will be; none if there is no such item, or its job has ended.
    pub(crate) fn cancel_item(&mut self, item: u64, stops_running: bool, context: &Context<'_>) -> Option<bool> {
        // What has ended is not there to be cancelled.
        self.drain(context);
        let holds = |job: &&Job| (job.first_item..job.first_item + job.items()).contains(&item);
        let job = self.jobs.iter().filter_map(|slot| slot.job.as_ref()).find(holds)?;
        let pending = Arc::clone(&job.pending);
        Some(if stops_running { self.stop(&pending, context) } else { self.cancel(&pending, context) })
    }

    /// Whether something of a job is with a worker now.
    pub(crate) fn is_running(&self, pending: &Arc<Pending>, context: &Context<'_>) -> bool {
        pending.job().is_some_and(|job| {
            self.chunk_of_slot.iter().any(|chunk| {
                self.core.chunk(*chunk).is_some_and(|what| what.job == job)
                    && self.place_of_chunk[chunk.index as usize].is_some_and(|place| !context.table.is_ready(place))
            })
        })
    }

    /// Asks for the end of a job to be announced; gives the attachment back if it has ended already.
    pub(crate) fn want_attention(&mut self, pending: &Arc<Pending>, attachment: Attachment) -> Result<(), Attachment> {
        if pending.is_done() || pending.job().is_none() {
            return Err(attachment);
        }
        if !pending.wants_attention() {
            pending.want_attention(attachment);
            self.attention_wanted += 1;
        }
        Ok(())
    }
}
