//! Owns deliberate mistakes: sits between the model and the core and makes one kind of mistake, so that tests can prove
//! that an invariant sees it. Never changes the core.
//!
//! Each kind stands for a mistake that the core, or the engine's translation, could make; `mistakes` is their list. What
//! the core is told is distorted in `hearsay`, what it answers in `slander`.

use paceline_core::{ChunkId, Command, Config, Event, Moment, Scheduler};

use crate::decider::Decider;
use crate::scenario::{STEP_NS, Scenario};

mod hearsay;
mod mistakes;
mod slander;

pub use mistakes::{Mistake, SABOTAGES, Sabotage};

/// A scheduler behind someone who makes mistakes.
#[derive(Debug)]
pub(crate) struct Saboteur {
    scheduler: Scheduler,
    mistake: Mistake,
    /// The current assignment of each number, as far as it was published.
    published: Vec<Option<ChunkId>>,
    /// Whether a loss of the worker whose exit comes next has been told.
    has_told_loss: bool,
    scratch: Vec<Command>,
}

impl Saboteur {
    pub(crate) fn new(scenario: &Scenario, mistake: Mistake) -> Self {
        let table_slots = match mistake {
            Mistake::BelieveInMoreRoom => scenario.table_slots + 1,
            Mistake::BelieveInLessRoom => scenario.table_slots.max(2) - 1,
            _ => scenario.table_slots,
        };
        let start_timeout_ns = match mistake {
            Mistake::IgnoreStartLimit => 0,
            Mistake::HalveStartLimit => scenario.start_timeout_ns / 2,
            _ => scenario.start_timeout_ns,
        };
        Self {
            scheduler: Scheduler::new(Config {
                workers: scenario.workers,
                table_slots,
                start_timeout_ns,
                is_memory_limited: false,
                tokens: self::hearsay::distort_tokens(mistake, scenario.tokens),
            }),
            mistake,
            published: vec![None; table_slots as usize],
            has_told_loss: false,
            scratch: Vec::new(),
        }
    }
}

impl Decider for Saboteur {
    fn handle(&mut self, now: Moment, event: Event, commands: &mut Vec<Command>) {
        let mut answer = std::mem::take(&mut self.scratch);
        if let Some(event) = self.distort_event(event) {
            self.scheduler.handle(now, event, &mut answer);
        }
        self.distort_answer(now, event, &mut answer);
        for command in answer.drain(..) {
            if let Command::Publish { chunk, .. } = command {
                self.published[chunk.index as usize] = Some(chunk);
            }
            self.distort_command(command, commands);
        }
        self.scratch = answer;
    }

    fn next_look(&self) -> Option<Moment> {
        let next = self.scheduler.next_look();
        match self.mistake {
            Mistake::LookTooLate => next.map(|Moment(at)| Moment(at + 40 * STEP_NS)),
            Mistake::LookForNothing => next.or(Some(Moment(u64::MAX))),
            _ => next,
        }
    }

    fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }
}
