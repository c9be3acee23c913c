//! Owns what happens when we ourselves are wrong: everything is given up, and every wait ends.

use super::{Context, State};
use crate::outcome::{Breakdown, Death, Outcome};
use std::sync::Arc;

impl State {
    /// Gives up everything after a panic, without asking the core, which may have been in the middle of something.
    pub(crate) fn fail(&mut self, message: &str, context: &Context<'_>) {
        self.failed = true;
        self.unfinished_items = 0;
        let reason = format!("an internal error of Paceline: {message}");
        let breakdown = Arc::new(Breakdown { reason, death: Death::default(), complaint: None });
        self.breakdown = Some(Arc::clone(&breakdown));
        for job in self.jobs.iter_mut().filter_map(|slot| slot.job.take()) {
            self.effects.resolved = true;
            let pending = job.pending;
            if !pending.is_done() {
                if pending.wants_attention() {
                    self.attention.push_back(Arc::clone(&pending));
                    self.effects.attention = true;
                }
                if pending.end(Outcome::Abandoned(Some(Arc::clone(&breakdown)))) {
                    context.waiting.wake_followers(pending.keys());
                }
            }
            self.effects.let_go(pending);
        }
        for seat in self.seats.iter().flatten() {
            context.supervisor.kill(seat.birth);
        }
        if self.seats.iter().all(Option::is_none) {
            self.end();
        }
    }

    /// The same when the supervisor itself has failed, and will not tell of the workers' ends.
    pub(crate) fn fail_without_supervisor(&mut self, message: &str, context: &Context<'_>) {
        self.fail(message, context);
        self.seats.fill_with(|| None);
        self.end();
    }
}
