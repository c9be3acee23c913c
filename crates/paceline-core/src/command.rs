//! Owns the closed list of what the core can ask of the engine; the engine carries these out and decides nothing.

use crate::event::Trouble;
use crate::ids::{ChunkId, JobId, WorkerId};

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobEnd {
    /// Every item has an outcome: what the function gave, or a failure that the core told.
    Complete,
    /// Cancelled: nothing of it began, or what had begun was stopped.
    Cancelled,
    /// More of its items failed than may; those that had not begun were never run.
    GivenUp,
    /// Given up with the pool: terminated, or broken.
    Abandoned,
}

/// Why a pool cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breakage {
    /// A worker said that it cannot start.
    StartFailed,
    /// Workers died again and again before they took their first chunk.
    CrashLoop {
        /// How many died in a row.
        deaths: u32,
    },
    /// A worker took longer to start than it may.
    StartTooSlow {
        /// Its seat.
        worker: WorkerId,
    },
    /// Somebody has written over every slot of the task table.
    TableDestroyed,
}

/// Why an item is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopCause {
    /// It has run as long as it may.
    Overrun,
    /// Its job is to be cancelled: the rest of the chunk is not to be run either.
    Cancelled,
}

/// Something to be done, in the order given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Put these consecutive items of a job into the task table. There is room: the core counts.
    Publish {
        /// The new assignment.
        chunk: ChunkId,
        /// Whose items.
        job: JobId,
        /// The first item.
        first: u32,
        /// How many items, at least one.
        count: u32,
        /// How often the first item has been begun before; zero for the first time.
        attempt: u16,
        /// The devices that it has for itself meanwhile, or a part of: a set, with a bit for each.
        devices: u32,
    },
    /// Try to take a chunk back from the table, and report it as withdrawn or kept: its job is to be cancelled, or
    /// something more urgent is to go first.
    Withdraw {
        /// Which.
        chunk: ChunkId,
    },
    /// Ask the worker to stop this item, which it was seen to run, softly.
    StopItem {
        /// Who runs it.
        worker: WorkerId,
        /// Of which chunk.
        chunk: ChunkId,
        /// Which item of the job.
        item: u32,
        /// Why.
        cause: StopCause,
    },
    /// The item has not stopped in time: end the worker at once, if it still runs the item.
    EndItem {
        /// Who runs it.
        worker: WorkerId,
        /// Of which chunk.
        chunk: ChunkId,
        /// Which item of the job.
        item: u32,
    },
    /// Forget the outcome that the engine has kept of this item: it is run again.
    ForgetItem {
        /// Whose item.
        job: JobId,
        /// Which item.
        item: u32,
    },
    /// Give this item the outcome that its worker's end stands for; it was running in `worker`, and will not be run again.
    FailItem {
        /// Whose item.
        job: JobId,
        /// Which item.
        item: u32,
        /// Where it ran; the engine knows how that worker ended.
        worker: WorkerId,
        /// How often it had been begun before.
        attempt: u16,
        /// What became of it: overran, died, or outgrew.
        trouble: Trouble,
    },
    /// The job has ended: tell whoever waits. Its number may be used again.
    FinishJob {
        /// Which.
        job: JobId,
        /// How.
        end: JobEnd,
    },
    /// Start a worker in this seat.
    StartWorker {
        /// Which.
        worker: WorkerId,
    },
    /// Ask the worker in this seat to leave when it is idle.
    StopWorker {
        /// Which.
        worker: WorkerId,
    },
    /// End the worker in this seat at once.
    KillWorker {
        /// Which.
        worker: WorkerId,
    },
    /// The pool cannot go on; every job is finished as abandoned by further commands.
    BreakPool {
        /// Why.
        why: Breakage,
    },
    /// The last worker is gone after the pool was closed, terminated or broken; nothing will follow.
    EndPool,
}
