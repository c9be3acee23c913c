//! Owns the closed list of what can happen to a pool; the engine reports these and nothing else.

use crate::ids::{ChunkId, JobId, Moment, WorkerId};
use crate::tokens::Tokens;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How many times an item may be run again after a trouble of a kind that `retry_on` names.
    pub retries: u16,
    /// The higher, the sooner it goes out; what is equally urgent goes by age.
    pub priority: i16,
    /// After which troubles an item is run again.
    pub retry_on: RetryOn,
    /// How long an item waits before it is run again for the first time, in nanoseconds; twice as long each time after.
    pub backoff_ns: u64,
    /// How long an item may run, in nanoseconds; zero for any time.
    pub timeout_ns: u64,
    /// How long an item that has been asked to stop may take to do so, in nanoseconds.
    pub grace_ns: u64,
    /// With more failed items than this, the rest of the job is given up.
    pub most_failures: u32,
    /// What each of its chunks has to have while it is out; a job that wants more than there is must not be submitted.
    pub tokens: Tokens,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            retries: 0,
            priority: 0,
            retry_on: RetryOn::default(),
            backoff_ns: 0,
            timeout_ns: 0,
            grace_ns: 0,
            most_failures: u32::MAX,
            tokens: Tokens::default(),
        }
    }
}

/// After which troubles an item may be run again, beside those of which the worker says so ([`Trouble::MayPass`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "four independent wishes of the user's")]
pub struct RetryOn {
    /// Its worker died.
    pub death: bool,
    /// It ran over its time limit.
    pub overrun: bool,
    /// Its worker outgrew its memory.
    pub outgrowth: bool,
    /// What outgrew the memory is run again while nothing else of the pool runs.
    pub alone_after_outgrowth: bool,
}

impl Default for RetryOn {
    fn default() -> Self {
        Self { death: true, overrun: false, outgrowth: true, alone_after_outgrowth: false }
    }
}

/// What can become of an item that ran, other than a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// It failed, and would again.
    Failed,
    /// It failed, and may be run again for it, as the worker knows.
    MayPass,
    /// It ran over its time limit, and was stopped.
    Overran,
    /// Its worker died.
    Died,
    /// Its worker outgrew the memory that it may have, and was ended.
    Outgrew,
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
        /// Whether to cancel it also if something of it has begun: that is stopped, and the job ends when it has.
        stops_running: bool,
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
    /// An item of a chunk has an outcome that is a failure. Comes for each such item, before its chunk is told to be
    /// finished or lost. The engine need not tell it of jobs that have neither retries nor a limit of failures.
    ItemFailed {
        /// Of which chunk; refused if it is not the current assignment.
        chunk: ChunkId,
        /// Which item of the job.
        item: u32,
        /// In what way.
        trouble: Trouble,
    },
    /// A worker was seen at work on a chunk. To be told, of each chunk that [`Scheduler::is_watched`] names and that a
    /// worker has begun, before [`Event::TimePassed`].
    ///
    /// [`Scheduler::is_watched`]: crate::Scheduler::is_watched
    ChunkSighted {
        /// Which; refused if it is not the current assignment.
        chunk: ChunkId,
        /// Who has it.
        worker: WorkerId,
        /// How many of its items have an outcome.
        finished: u32,
        /// When the worker began with the chunk.
        began: Moment,
    },
    /// The moment has come at which the core wanted to be told ([`Scheduler::next_look`]).
    ///
    /// [`Scheduler::next_look`]: crate::Scheduler::next_look
    TimePassed,
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
    /// A worker has more memory than it may have, or was ended by the system for want of it.
    WorkerOutgrown {
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
    /// A slot of the task table will not be used any more, because somebody has written over it. To be told before the
    /// end of the chunk that lay there.
    SlotLost,
    /// No more jobs will come; workers leave when all jobs have ended. May come more than once; closing what is
    /// terminated or broken changes nothing.
    PoolClosed {
        /// Whether the jobs of which nothing has begun are cancelled, as if each were asked for.
        cancel_waiting: bool,
    },
    /// Everything ends now: waiting and running items alike are given up. May come at any time, and more than once.
    PoolTerminated,
}
