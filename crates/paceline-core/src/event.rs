//! Owns the closed list of what can happen to a pool; the engine reports these and nothing else.

use crate::ids::{ChunkId, JobId, WorkerId};

/// How the items of a job are grouped into chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizing {
    /// Always this many items to a chunk (the last may be shorter); zero counts as one.
    Fixed(u32),
    /// By the measured time of the chunks that have ended: big enough to make overhead small, small enough to
    /// keep the tail short.
    Measured,
}

/// The terms on which a job runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// How many times an item may be run again after the worker that ran it died.
    pub retries: u16,
    /// The higher, the sooner it goes out; what is equally urgent goes by age.
    pub priority: i16,
}

/// Why a worker is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerExit {
    /// It was asked to stop, and did.
    Stopped,
    /// It had run as many chunks as one worker may.
    Retired,
    /// It said that it cannot start: its initializer raised, or what it needs cannot be loaded.
    FailedToStart,
    /// Anything else: a signal, an exit code, a lost connection.
    Died,
}

/// One of the chunks that a worker held when it was gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// A chunk that it had claimed and not reported as finished.
    pub chunk: ChunkId,
    /// How many items of the chunk, from its first, have an outcome that the engine has kept.
    pub finished: u32,
    /// How many of the items that follow it had begun: none if it had only claimed the chunk, one if it runs them one
    /// after the other, all if side by side. No other has run, nor had any effect.
    pub running: u32,
}

/// Something that has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The pool begins: every seat wants a worker.
    PoolOpened,
    /// The user has submitted a job. `items` may be zero: such a job finishes at once.
    JobSubmitted {
        /// Its number, not in use.
        job: JobId,
        /// How many items it has.
        items: u32,
        /// How its items are grouped.
        sizing: Sizing,
        /// What else was asked for.
        terms: Terms,
    },
    /// The user wants a job cancelled. It is, if nothing of it has begun; else nothing changes, nor if it has ended.
    /// The core answers with [`Command::Withdraw`](crate::Command::Withdraw) for each of its chunks in the table,
    /// publishes nothing of it meanwhile, and decides when the engine has reported each as withdrawn or kept. The
    /// engine should answer soon, as younger jobs may wait for it.
    CancelRequested {
        /// Which.
        job: JobId,
    },
    /// A chunk was taken back from the table before any worker claimed it.
    ChunkWithdrawn {
        /// Which.
        chunk: ChunkId,
    },
    /// A chunk could not be taken back: a worker has claimed it.
    ChunkKept {
        /// Which.
        chunk: ChunkId,
    },
    /// Every item of a chunk has an outcome, and the engine has kept them all.
    ChunkFinished {
        /// Which; refused if it is not the current assignment.
        chunk: ChunkId,
        /// How long the worker was at it, in nanoseconds.
        busy_ns: u64,
    },
    /// A worker has started and takes chunks.
    WorkerReady {
        /// Its seat.
        worker: WorkerId,
    },
    /// A worker is gone, and held this chunk. Comes once for each that it held, before its exit.
    ChunkLost {
        /// Its seat.
        worker: WorkerId,
        /// What it held.
        held: Held,
    },
    /// A worker is gone.
    WorkerExited {
        /// Its seat.
        worker: WorkerId,
        /// Why.
        exit: WorkerExit,
    },
    /// No more jobs will come; workers leave when all jobs have ended. May come more than once; closing what is
    /// terminated or broken changes nothing.
    PoolClosed {
        /// Whether the jobs of which nothing has begun are cancelled, as if each were asked for.
        cancel_waiting: bool,
    },
    /// Everything ends now: waiting and running items alike are given up. May come at any time, and more than once.
    PoolTerminated,
}
