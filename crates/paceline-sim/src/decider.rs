//! Owns the seam between the model and the core, at which the saboteur can sit. Never adds anything to either.

use paceline_core::{Command, Event, Moment, Scheduler};

/// Whoever decides for the model's engine.
pub(crate) trait Decider {
    /// Takes in an event, and appends what is to be done.
    fn handle(&mut self, now: Moment, event: Event, commands: &mut Vec<Command>);

    /// When it wants to be told that time has passed.
    fn next_look(&self) -> Option<Moment>;

    /// The scheduler behind it, to look at.
    fn scheduler(&self) -> &Scheduler;
}

impl Decider for Scheduler {
    fn handle(&mut self, now: Moment, event: Event, commands: &mut Vec<Command>) {
        Self::handle(self, now, event, commands);
    }

    fn next_look(&self) -> Option<Moment> {
        Self::next_look(self)
    }

    fn scheduler(&self) -> &Scheduler {
        self
    }
}
