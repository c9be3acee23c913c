//! Owns deliberate mistakes: sits between the model and the core and makes one kind of mistake, so that tests can prove
//! that an invariant sees it. Never changes the core.
//!
//! Each kind stands for a mistake that the core, or the engine's translation, could make.

use paceline_core::{ChunkId, Command, Config, Event, Held, JobEnd, Moment, Scheduler, Sizing, Terms, WorkerExit};

use crate::decider::Decider;
use crate::scenario::Scenario;

/// A kind of mistake, and the invariant that has to see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sabotage {
    /// What is done wrong.
    pub mistake: Mistake,
    /// Who must notice.
    pub seen_by: &'static str,
}

macro_rules! mistakes {
    ($($(#[$doc:meta])+ $mistake:ident => $seen_by:ident,)+) => {
        /// What the saboteur does wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mistake { $($(#[$doc])+ $mistake,)+ }

        /// Every kind of mistake, with the invariant that has to see it.
        pub const SABOTAGES: &[Sabotage] =
            &[$(Sabotage { mistake: Mistake::$mistake, seen_by: stringify!($seen_by) },)+];
    };
}

mistakes! {
    /// An item that is to be run again is not published, though the core thinks so.
    DropRepublish => no_item_is_forgotten,
    /// The same chunk is published twice.
    DoublePublish => table_is_never_overfull,
    /// Two chunks that follow each other are published in the wrong order.
    SwapPublishes => backlog_order_is_kept,
    /// The core believes that the table is bigger by one slot.
    BelieveInMoreRoom => table_is_never_overfull,
    /// The core believes that the table is smaller by one slot.
    BelieveInLessRoom => room_is_used,
    /// A measured job is treated as one of fixed size.
    TakeMeasuredForFixed => measured_jobs_keep_few_chunks_out,
    /// Chunks are one item bigger than the user fixed.
    EnlargeChunks => chunks_have_their_size,
    /// A report of an old assignment is taken for one of the current.
    TakeOldForNew => old_answers_change_nothing,
    /// A report of a finished chunk is lost.
    SwallowFinish => table_is_never_overfull,
    /// A job is said to end twice.
    DoubleFinish => jobs_end_once,
    /// Nobody is told that a job ended.
    DropFinish => jobs_end_once,
    /// A job that is complete is said to be cancelled.
    CallCompleteCancelled => cancelled_jobs_never_ran,
    /// A request to cancel is lost.
    SwallowCancel => cancelled_jobs_never_ran,
    /// A chunk that a worker has claimed is taken for one that was withdrawn.
    TakeKeptForWithdrawn => cancelled_jobs_never_ran,
    /// A chunk is asked back twice.
    WithdrawTwice => chunks_are_asked_back_for_a_cause,
    /// A cancel is given up at once, though it may succeed.
    GiveCancelUp => nothing_goes_out_while_a_cancel_is_decided,
    /// An urgent job is taken for one like all others.
    IgnorePriority => backlog_order_is_kept,
    /// What is less urgent is left in the table before something urgent.
    OvertakeNothing => urgent_items_go_first,
    /// Chunks that were asked back are taken for answered, but for the first.
    RushOvertaking => overtaken_chunks_keep_their_order,
    /// A closed pool cancels nothing, though asked to.
    CancelNothingAtClose => closing_can_cancel_what_waits,
    /// The item next to the one that ran is failed.
    FailNeighbour => only_doomed_items_fail,
    /// An item's failure is not told.
    DropFail => only_doomed_items_fail,
    /// Items are run again more often than the user allowed.
    AllowMoreRetries => items_run_again_only_when_lost,
    /// Items fail though they may be run again.
    AllowFewerRetries => only_doomed_items_fail,
    /// Items that a lost worker had finished are taken for not begun.
    ForgetFinishedItems => only_doomed_items_fail,
    /// One item more than a lost worker had finished is taken for finished.
    InventFinishedItem => no_item_is_forgotten,
    /// What a lost worker held is forgotten.
    ForgetHeld => no_item_is_forgotten,
    /// Of several chunks that a lost worker held, all but the first are forgotten.
    ForgetOthersHeld => no_item_is_forgotten,
    /// A chunk that a lost worker had only claimed is taken for begun.
    TakeClaimedForBegun => only_doomed_items_fail,
    /// A chunk that a lost worker had begun is taken for one that it had only claimed.
    TakeBegunForClaimed => items_run_again_only_when_lost,
    /// Of the items that ran side by side in a lost worker, all but the first are taken for not begun.
    TakeSideBySideForInTurn => items_run_again_only_when_lost,
    /// A worker is started twice in a seat.
    DoubleStart => seats_are_in_order,
    /// A seat that fell empty is not filled.
    DropStart => seats_are_in_order,
    /// A worker is not told to leave.
    DropStop => nothing_gets_stuck,
    /// A worker is not killed.
    DropKill => nothing_gets_stuck,
    /// A death is taken for a failed start.
    TakeDeathForFailedStart => pool_breaks_for_a_cause,
    /// Deaths before ready are taken for orderly exits.
    TakeDeathForRetirement => pool_breaks_for_a_cause,
    /// Nobody is told that the pool ended.
    DropEnd => nothing_gets_stuck,
    /// The pool is said to end twice.
    DoubleEnd => pool_ends_once,
    /// The core is not told that the pool was closed.
    SwallowClose => pool_ends_once,
}

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
        Self {
            scheduler: Scheduler::new(Config {
                workers: scenario.workers,
                table_slots,
                start_timeout_ns: 0,
                is_memory_limited: false,
            }),
            mistake,
            published: vec![None; table_slots as usize],
            has_told_loss: false,
            scratch: Vec::new(),
        }
    }

    /// What the core is told instead, if anything.
    fn distort_event(&mut self, event: Event) -> Option<Event> {
        Some(match (self.mistake, event) {
            (_, Event::JobSubmitted { job, items, sizing, terms }) => {
                let (sizing, terms) = self.distort_submission(sizing, terms);
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
            | (Mistake::SwallowCancel, Event::CancelRequested { .. })
            | (Mistake::SwallowClose, Event::PoolClosed { .. })
            | (Mistake::ForgetHeld, Event::ChunkLost { .. }) => return None,
            (Mistake::CancelNothingAtClose, Event::PoolClosed { .. }) => Event::PoolClosed { cancel_waiting: false },
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

    fn distort_submission(&self, sizing: Sizing, mut terms: Terms) -> (Sizing, Terms) {
        let sizing = match (self.mistake, sizing) {
            (Mistake::TakeMeasuredForFixed, Sizing::Measured) => Sizing::Fixed(1),
            (Mistake::EnlargeChunks, Sizing::Fixed(size)) => Sizing::Fixed(size.max(1) + 1),
            _ => sizing,
        };
        match self.mistake {
            Mistake::AllowMoreRetries => terms.retries += 1,
            Mistake::AllowFewerRetries => terms.retries = terms.retries.saturating_sub(1),
            Mistake::IgnorePriority => terms.priority = 0,
            _ => {}
        }
        (sizing, terms)
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

    /// Gives the core an answer to chunks that it asks back for something more urgent, before anybody has looked.
    fn distort_overtaking(&mut self, now: Moment, event: Event, answer: &mut Vec<Command>) {
        let asked = answer.iter().filter_map(|command| match command {
            Command::Withdraw { chunk } => Some(*chunk),
            _ => None,
        });
        let asked: Vec<_> = asked.skip(usize::from(self.mistake == Mistake::RushOvertaking)).collect();
        if matches!(event, Event::CancelRequested { .. } | Event::PoolClosed { .. }) {
            return;
        }
        if self.mistake == Mistake::OvertakeNothing {
            answer.retain(|command| !matches!(command, Command::Withdraw { .. }));
        }
        for chunk in asked {
            self.scheduler.handle(now, Event::ChunkKept { chunk }, answer);
        }
    }

    /// Appends what is asked for instead of a command.
    fn distort_command(&mut self, command: Command, commands: &mut Vec<Command>) {
        match (self.mistake, command) {
            (Mistake::DropRepublish, Command::Publish { chunk, attempt, .. }) if attempt > 0 && chunk.index == 0 => {}
            (Mistake::DropFinish, Command::FinishJob { .. })
            | (Mistake::DropFail, Command::FailItem { .. })
            | (Mistake::DropStop, Command::StopWorker { .. })
            | (Mistake::DropKill, Command::KillWorker { .. })
            | (Mistake::DropEnd, Command::EndPool) => {}
            // The first worker of each seat is started, or else every run would be detected at its beginning.
            (Mistake::DropStart, Command::StartWorker { .. }) if self.published.iter().any(Option::is_some) => {}
            (Mistake::DoublePublish, Command::Publish { .. })
            | (Mistake::DoubleFinish, Command::FinishJob { .. })
            | (Mistake::DoubleStart, Command::StartWorker { .. })
            | (Mistake::WithdrawTwice, Command::Withdraw { .. })
            | (Mistake::DoubleEnd, Command::EndPool) => commands.extend([command, command]),
            (Mistake::CallCompleteCancelled, Command::FinishJob { job, end: JobEnd::Complete }) => {
                commands.push(Command::FinishJob { job, end: JobEnd::Cancelled });
            }
            (Mistake::FailNeighbour, Command::FailItem { job, item, worker, attempt, trouble }) => {
                commands.push(Command::FailItem { job, item: item + 1, worker, attempt, trouble });
            }
            (_, command) => commands.push(command),
        }
    }
}

impl Decider for Saboteur {
    fn handle(&mut self, now: Moment, event: Event, commands: &mut Vec<Command>) {
        let mut answer = std::mem::take(&mut self.scratch);
        if let Some(event) = self.distort_event(event) {
            self.scheduler.handle(now, event, &mut answer);
        }
        if self.mistake == Mistake::GiveCancelUp
            && let Some(&Command::Withdraw { chunk }) = answer.first()
        {
            self.scheduler.handle(now, Event::ChunkKept { chunk }, &mut answer);
        }
        if matches!(self.mistake, Mistake::OvertakeNothing | Mistake::RushOvertaking) {
            self.distort_overtaking(now, event, &mut answer);
        }
        if self.mistake == Mistake::SwapPublishes {
            let first = answer.windows(2).position(|pair| pair.iter().all(|it| matches!(it, Command::Publish { .. })));
            if let Some(first) = first {
                answer.swap(first, first + 1);
            }
        }
        for command in answer.drain(..) {
            if let Command::Publish { chunk, .. } = command {
                self.published[chunk.index as usize] = Some(chunk);
            }
            self.distort_command(command, commands);
        }
        self.scratch = answer;
    }

    fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }
}
