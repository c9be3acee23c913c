//! Owns deliberate mistakes: sits between the model and the core and makes one kind of mistake, so that tests can prove
//! that an invariant sees it. Never changes the core.
//!
//! Each kind stands for a mistake that the core, or the engine's translation, could make.

use paceline_core::{ChunkId, Command, Config, Event, Held, JobEnd, Moment, Scheduler, Sizing, WorkerExit};

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
    WithdrawTwice => cancelled_jobs_never_ran,
    /// A cancel is given up at once, though it may succeed.
    GiveCancelUp => nothing_goes_out_while_a_cancel_is_decided,
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
            scheduler: Scheduler::new(Config { workers: scenario.workers, table_slots }),
            mistake,
            published: vec![None; table_slots as usize],
            scratch: Vec::new(),
        }
    }

    /// What the core is told instead, if anything.
    fn distort_event(&self, event: Event) -> Option<Event> {
        Some(match (self.mistake, event) {
            (Mistake::TakeMeasuredForFixed, Event::JobSubmitted { job, items, sizing: Sizing::Measured, retries }) => {
                Event::JobSubmitted { job, items, sizing: Sizing::Fixed(1), retries }
            }
            (Mistake::EnlargeChunks, Event::JobSubmitted { job, items, sizing: Sizing::Fixed(size), retries }) => {
                Event::JobSubmitted { job, items, sizing: Sizing::Fixed(size.max(1) + 1), retries }
            }
            (Mistake::AllowMoreRetries, Event::JobSubmitted { job, items, sizing, retries }) => {
                Event::JobSubmitted { job, items, sizing, retries: retries + 1 }
            }
            (Mistake::AllowFewerRetries, Event::JobSubmitted { job, items, sizing, retries }) => {
                Event::JobSubmitted { job, items, sizing, retries: retries.saturating_sub(1) }
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
            | (Mistake::SwallowClose, Event::PoolClosed) => return None,
            (_, Event::WorkerExited { worker, exit, held }) => {
                let (exit, held) = self.distort_exit(exit, held);
                Event::WorkerExited { worker, exit, held }
            }
            (_, event) => event,
        })
    }

    fn distort_exit(&self, exit: WorkerExit, held: Option<Held>) -> (WorkerExit, Option<Held>) {
        let distorted = held.map(|Held { chunk, finished }| {
            let count = self.scheduler.chunk(chunk).map_or(0, |assignment| assignment.count);
            let finished = match self.mistake {
                Mistake::ForgetFinishedItems => 0,
                Mistake::InventFinishedItem => (finished + 1).min(count),
                _ => finished,
            };
            Held { chunk, finished }
        });
        match (self.mistake, exit) {
            (Mistake::ForgetHeld, _) => (exit, None),
            (Mistake::TakeDeathForFailedStart, WorkerExit::Died) => (WorkerExit::FailedToStart, held),
            (Mistake::TakeDeathForRetirement, WorkerExit::Died) => (WorkerExit::Retired, held),
            _ => (exit, distorted),
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
            (Mistake::FailNeighbour, Command::FailItem { job, item, worker, attempt }) => {
                commands.push(Command::FailItem { job, item: item + 1, worker, attempt });
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
