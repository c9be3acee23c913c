//! Owns the closed list of what the core can ask of the engine; the engine carries these out and decides nothing.

use crate::ids::{ChunkId, JobId, WorkerId};

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobEnd {
    /// Every item has an outcome: what the function gave, or a failure that the core told.
    Complete,
    /// Cancelled before anything of it began.
    Cancelled,
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
    },
    /// Try to take a chunk back from the table, and report it as withdrawn or kept: its job is to be cancelled, or
    /// something more urgent is to go first.
    Withdraw {
        /// Which.
        chunk: ChunkId,
    },
    /// Give this item the outcome "its worker died"; it was running in `worker`, and will not be run again.
    FailItem {
        /// Whose item.
        job: JobId,
        /// Which item.
        item: u32,
        /// Where it ran; the engine knows how that worker ended.
        worker: WorkerId,
        /// How often it had been begun before.
        attempt: u16,
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
