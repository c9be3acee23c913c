//! Owns the scheduler: the state of one pool, and the table that hands each event to its handler. Never decides
//! anything itself: what an event means is told in the file named for what happens.

use crate::again::Again;
use crate::backlog::Backlog;
use crate::chunks::{Assignment, Chunks};
use crate::command::Command;
use crate::event::Event;
use crate::ids::{ChunkId, Moment};
use crate::jobs::Jobs;
use crate::limits::Limits;
use crate::seats::Seats;
use crate::shutdown::Phase;
use crate::tokens::{Purse, Tokens};

/// What a pool is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How many workers it has, at least one.
    pub workers: u16,
    /// How many chunks may be in the task table at once, at least one.
    pub table_slots: u32,
    /// How long a worker may take to start, in nanoseconds; zero for any time.
    pub start_timeout_ns: u64,
    /// Whether the engine is to look at its workers' memory while they have something to run.
    pub is_memory_limited: bool,
    /// What its chunks may have at once, in all.
    pub tokens: Tokens,
}

/// Of the table's slots, chunks that may be overtaken again fill one in so many, or two for each worker.
const SMALL_PART: u32 = 16;

/// Decides for one pool: is told what has happened, answers with what to do.
///
/// The same events at the same moments always give the same commands, so a log of events can be replayed.
#[derive(Debug)]
pub struct Scheduler {
    pub(crate) workers: u32,
    pub(crate) phase: Phase,
    pub(crate) jobs: Jobs,
    pub(crate) chunks: Chunks,
    pub(crate) backlog: Backlog,
    pub(crate) purse: Purse,
    pub(crate) seats: Seats,
    pub(crate) again: Again,
    pub(crate) limits: Limits,
    /// The moment of the event that is being handled.
    pub(crate) now: Moment,
}

impl Scheduler {
    /// A scheduler for a pool that has not been opened yet.
    ///
    /// # Panics
    ///
    /// If there is no worker or no slot: such a pool could never run anything.
    #[must_use]
    pub fn new(config: Config) -> Self {
        assert!(config.workers > 0, "a pool needs at least one worker");
        assert!(config.table_slots > 0, "a pool needs at least one slot in its task table");
        let workers = u32::from(config.workers);
        let few = (workers * 2).max(config.table_slots / SMALL_PART);
        Self {
            workers,
            phase: Phase::New,
            jobs: Jobs::default(),
            chunks: Chunks::new(config.table_slots, few),
            backlog: Backlog::default(),
            purse: Purse::new(config.tokens),
            seats: Seats::new(config.workers, config.start_timeout_ns),
            again: Again::default(),
            limits: Limits::new(config.is_memory_limited),
            now: Moment::default(),
        }
    }

    /// Takes in what has happened, and appends to `commands` what is to be done, in the order in which to do it.
    ///
    /// # Panics
    ///
    /// If the event cannot be (a job number in use is submitted, an empty seat exits): a mistake of the engine.
    /// Answers to assignments of the past are no mistake, and change nothing.
    pub fn handle(&mut self, now: Moment, event: Event, commands: &mut Vec<Command>) {
        self.now = now;
        match event {
            Event::PoolOpened => self.on_pool_opened(commands),
            Event::JobSubmitted { job, items, sizing, terms } => {
                self.on_job_submitted(job, items, sizing, terms, commands);
            }
            Event::CancelRequested { job, stops_running } => self.on_cancel_requested(job, stops_running, commands),
            Event::ChunkWithdrawn { chunk } => self.on_chunk_withdrawn(chunk, commands),
            Event::ChunkKept { chunk } => self.on_chunk_kept(chunk, commands),
            // The end of its chunk follows, and sees to the rest.
            Event::ItemFailed { chunk, item, trouble } => {
                return self.on_item_failed(chunk, item, trouble, commands);
            }
            Event::ChunkSighted { chunk, worker, finished, began } => {
                self.on_chunk_sighted(chunk, worker, (finished, began), commands);
            }
            Event::TimePassed => self.on_time_passed(commands),
            Event::WorkerOutgrown { worker } => self.on_worker_outgrown(worker, commands),
            Event::ChunkFinished { chunk, busy_ns } => self.on_chunk_finished(chunk, busy_ns, commands),
            Event::WorkerReady { worker } => self.on_worker_ready(worker),
            // The worker's exit follows, and sees to the rest.
            Event::ChunkLost { worker, held } => return self.on_chunk_lost(worker, held, commands),
            Event::WorkerExited { worker, exit } => self.on_worker_exited(worker, exit, commands),
            Event::SlotLost => self.on_slot_lost(commands),
            Event::PoolClosed { cancel_waiting } => self.on_pool_closed(cancel_waiting, commands),
            Event::PoolTerminated => self.on_pool_terminated(commands),
        }
        if self.phase != Phase::Open {
            self.leave_when_done(commands);
        }
    }

    /// How many items wait outside the task table.
    #[must_use]
    pub fn waiting_items(&self) -> u64 {
        self.backlog.waiting_items()
    }

    /// Whether any item waits outside the task table for nothing but room in it, or tokens.
    #[must_use]
    pub fn has_backlog(&self) -> bool {
        self.backlog.waiting_items() > 0 || self.again.is_anything_alone()
    }

    /// How many jobs have been submitted and have not ended.
    #[must_use]
    pub fn unfinished_jobs(&self) -> u32 {
        self.jobs.unfinished()
    }

    /// How many chunks are in the task table, claimed ones included.
    #[must_use]
    pub fn published_chunks(&self) -> u32 {
        self.chunks.published()
    }

    /// What a chunk stands for, unless it is an assignment of the past.
    #[must_use]
    pub fn chunk(&self, chunk: ChunkId) -> Option<Assignment> {
        self.chunks.assignment(chunk)
    }

    /// Whether jobs may be submitted: the pool is open, and neither closed, terminated nor broken.
    #[must_use]
    pub fn is_accepting(&self) -> bool {
        self.phase == Phase::Open
    }
}
