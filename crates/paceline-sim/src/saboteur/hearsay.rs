//! Owns what the core is told instead of the truth. Never touches its answers.

use paceline_core::{ChunkId, Event, Held, Moment, RetryOn, Sizing, Terms, Tokens, Trouble, WorkerExit};

use super::{Mistake, Saboteur};
use crate::scenario::STEP_NS;

/// The tokens that the core is told to have.
pub(super) fn distort_tokens(mistake: Mistake, mut tokens: Tokens) -> Tokens {
    if mistake == Mistake::BelieveInMoreTokens {
        tokens.0.iter_mut().skip(1).for_each(|amount| *amount *= 2);
    }
    tokens
}

impl Saboteur {
    /// What the core is told instead, if anything.
    pub(super) fn distort_event(&mut self, event: Event) -> Option<Event> {
        Some(match (self.mistake, event) {
            (_, Event::JobSubmitted { job, items, sizing, terms }) => {
                let (sizing, terms) = (self.distort_sizing(sizing), self.distort_terms(terms));
                Event::JobSubmitted { job, items, sizing, terms }
            }
            (Mistake::TakeOldForNew, Event::ChunkFinished { chunk, busy_ns }) => {
                let current = self.published[chunk.index as usize].filter(|&id| self.scheduler.chunk(id).is_some());
                Event::ChunkFinished { chunk: current.unwrap_or(chunk), busy_ns }
            }
            (Mistake::TakeKeptForWithdrawn, Event::ChunkKept { chunk }) if self.scheduler.chunk(chunk).is_some() => {
                Event::ChunkWithdrawn { chunk }
            }
            (Mistake::SwallowFinish, Event::ChunkFinished { .. })
            | (Mistake::SwallowSlotLoss, Event::SlotLost)
            | (Mistake::SwallowCancel, Event::CancelRequested { .. })
            | (Mistake::SwallowForcedCancel, Event::CancelRequested { stops_running: true, .. })
            | (Mistake::SwallowClose, Event::PoolClosed { .. })
            | (Mistake::SwallowSighting, Event::ChunkSighted { .. })
            | (Mistake::SwallowTimePassed, Event::TimePassed)
            | (Mistake::SwallowFailure, Event::ItemFailed { .. })
            | (Mistake::SwallowOutgrowth, Event::WorkerOutgrown { .. })
            | (Mistake::ForgetHeld, Event::ChunkLost { .. }) => return None,
            (Mistake::CancelNothingAtClose, Event::PoolClosed { .. }) => Event::PoolClosed { cancel_waiting: false },
            (Mistake::SpareRunning | Mistake::StopRunning, Event::CancelRequested { job, .. }) => {
                Event::CancelRequested { job, stops_running: self.mistake == Mistake::StopRunning }
            }
            (Mistake::TakeLastingForPassing, Event::ItemFailed { chunk, item, .. }) => {
                Event::ItemFailed { chunk, item, trouble: Trouble::MayPass }
            }
            (_, Event::ChunkSighted { chunk, worker, finished, began }) => {
                let (finished, began) = self.distort_sighting(chunk, finished, began);
                Event::ChunkSighted { chunk, worker, finished, began }
            }
            (_, Event::ChunkLost { worker, held }) => {
                let is_other = std::mem::replace(&mut self.has_told_loss, true);
                if is_other && self.mistake == Mistake::ForgetOthersHeld {
                    return None;
                }
                Event::ChunkLost { worker, held: self.distort_loss(held) }
            }
            (_, Event::WorkerExited { worker, exit }) => {
                self.has_told_loss = false;
                let exit = match (self.mistake, exit) {
                    (Mistake::TakeDeathForFailedStart, WorkerExit::Died) => WorkerExit::FailedToStart,
                    (Mistake::TakeDeathForRetirement, WorkerExit::Died) => WorkerExit::Retired,
                    _ => exit,
                };
                Event::WorkerExited { worker, exit }
            }
            (_, event) => event,
        })
    }

    fn distort_sizing(&self, sizing: Sizing) -> Sizing {
        match (self.mistake, sizing) {
            (Mistake::TakeMeasuredForFixed, Sizing::Measured) => Sizing::Fixed(1),
            (Mistake::EnlargeChunks, Sizing::Fixed(size)) => Sizing::Fixed(size.max(1) + 1),
            _ => sizing,
        }
    }

    fn distort_terms(&self, mut terms: Terms) -> Terms {
        let retry_on = terms.retry_on;
        match self.mistake {
            Mistake::AllowMoreRetries => terms.retries += 1,
            Mistake::AllowFewerRetries => terms.retries = terms.retries.saturating_sub(1),
            Mistake::RetryEverything | Mistake::RetryNothing => {
                let is_named = self.mistake == Mistake::RetryEverything;
                terms.retry_on = RetryOn { death: is_named, overrun: is_named, outgrowth: is_named, ..retry_on };
            }
            Mistake::KeepCompany | Mistake::KeepAllAlone => {
                let alone_after_outgrowth = self.mistake == Mistake::KeepAllAlone;
                terms.retry_on = RetryOn { alone_after_outgrowth, ..retry_on };
            }
            Mistake::IgnorePriority => terms.priority = 0,
            Mistake::IgnoreTokens => terms.tokens = Tokens::default(),
            Mistake::IgnoreBackoff => terms.backoff_ns = 0,
            Mistake::RestTooLong => terms.backoff_ns *= 3,
            Mistake::IgnoreLimit => terms.timeout_ns = 0,
            Mistake::HalveLimit => terms.timeout_ns /= 2,
            Mistake::AllowNoGrace => terms.grace_ns = 0,
            Mistake::CountNoFailures => terms.most_failures = u32::MAX,
            Mistake::GiveUpTooEarly => terms.most_failures = terms.most_failures.saturating_sub(1),
            Mistake::GiveUpTooLate => terms.most_failures = terms.most_failures.saturating_add(1),
            _ => {}
        }
        terms
    }

    fn distort_sighting(&self, chunk: ChunkId, finished: u32, Moment(began): Moment) -> (u32, Moment) {
        let is_fresh = self.scheduler.is_watched(chunk);
        match self.mistake {
            Mistake::BackdateBeginning if is_fresh => (finished, Moment(began.saturating_sub(4 * STEP_NS))),
            Mistake::SightNoProgress => (0, Moment(began)),
            _ => (finished, Moment(began)),
        }
    }

    fn distort_loss(&self, Held { chunk, finished, running }: Held) -> Held {
        let count = self.scheduler.chunk(chunk).map_or(0, |assignment| assignment.count);
        let (finished, running) = match self.mistake {
            Mistake::ForgetFinishedItems if finished > 0 => (0, 1.min(count)),
            Mistake::InventFinishedItem if running == 1 => (finished + 1, 1.min(count - finished - 1)),
            Mistake::TakeClaimedForBegun if running == 0 => (finished, 1.min(count - finished)),
            Mistake::TakeBegunForClaimed => (finished, 0),
            Mistake::TakeSideBySideForInTurn => (finished, running.min(1)),
            _ => (finished, running),
        };
        Held { chunk, finished, running }
    }
}
