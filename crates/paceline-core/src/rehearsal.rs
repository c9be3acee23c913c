//! Owns the driver of the unit tests: tells a scheduler what happened and hands back its answer. Never part of a build.

use crate::command::{Command, JobEnd};
use crate::event::{Event, Held, Sizing, Terms, WorkerExit};
use crate::ids::{ChunkId, JobId, Moment, WorkerId};
use crate::scheduler::{Config, Scheduler};
use crate::tokens::Tokens;

/// A scheduler and the time it is told.
pub(crate) struct Rehearsal {
    pub(crate) scheduler: Scheduler,
    pub(crate) now: Moment,
}

impl Rehearsal {
    pub(crate) fn new(workers: u16, table_slots: u32) -> Self {
        Self::limited(workers, table_slots, 0)
    }

    /// One whose workers may take only so long to start.
    pub(crate) fn limited(workers: u16, table_slots: u32, start_timeout_ns: u64) -> Self {
        Self::of(Config { workers, table_slots, start_timeout_ns, is_memory_limited: false, tokens: Tokens::default() })
    }

    /// An open one that has so many tokens.
    pub(crate) fn with_tokens(workers: u16, table_slots: u32, tokens: Tokens) -> Self {
        let config = Config { workers, table_slots, start_timeout_ns: 0, is_memory_limited: false, tokens };
        let mut rehearsal = Self::of(config);
        rehearsal.tell(Event::PoolOpened);
        rehearsal
    }

    fn of(config: Config) -> Self {
        Self { scheduler: Scheduler::new(config), now: Moment(0) }
    }

    pub(crate) fn open(workers: u16, table_slots: u32) -> Self {
        let mut rehearsal = Self::new(workers, table_slots);
        rehearsal.tell(Event::PoolOpened);
        rehearsal
    }

    pub(crate) fn tell(&mut self, event: Event) -> Vec<Command> {
        let mut commands = Vec::new();
        self.scheduler.handle(self.now, event, &mut commands);
        commands
    }

    pub(crate) fn submit(&mut self, job: u32, items: u32, size: u32) -> Vec<Command> {
        self.submit_sized(job, items, Sizing::Fixed(size), 0)
    }

    pub(crate) fn submit_sized(&mut self, job: u32, items: u32, sizing: Sizing, retries: u16) -> Vec<Command> {
        self.tell(Event::JobSubmitted { job: JobId(job), items, sizing, terms: Terms { retries, ..Terms::default() } })
    }

    /// Submits a job of chunks of one item.
    pub(crate) fn submit_urgent(&mut self, job: u32, items: u32, priority: i16) -> Vec<Command> {
        let terms = Terms { priority, ..Terms::default() };
        self.tell(Event::JobSubmitted { job: JobId(job), items, sizing: Sizing::Fixed(1), terms })
    }

    pub(crate) fn cancel(&mut self, job: u32) -> Vec<Command> {
        self.tell(Event::CancelRequested { job: JobId(job), stops_running: false })
    }

    pub(crate) fn withdrawn(&mut self, id: (u32, u32)) -> Vec<Command> {
        self.tell(Event::ChunkWithdrawn { chunk: chunk(id) })
    }

    pub(crate) fn kept(&mut self, id: (u32, u32)) -> Vec<Command> {
        self.tell(Event::ChunkKept { chunk: chunk(id) })
    }

    pub(crate) fn finish(&mut self, id: (u32, u32)) -> Vec<Command> {
        self.finish_after(id, 1_000)
    }

    pub(crate) fn finish_after(&mut self, id: (u32, u32), busy_ns: u64) -> Vec<Command> {
        self.tell(Event::ChunkFinished { chunk: chunk(id), busy_ns })
    }

    pub(crate) fn ready(&mut self, worker: u16) {
        assert_eq!(self.tell(Event::WorkerReady { worker: WorkerId(worker) }), []);
    }

    pub(crate) fn exit(&mut self, worker: u16, exit: WorkerExit) -> Vec<Command> {
        self.tell(Event::WorkerExited { worker: WorkerId(worker), exit })
    }

    /// One of the chunks that a worker held which is gone, with so many items finished and so many running.
    pub(crate) fn lose_chunk(&mut self, worker: u16, id: (u32, u32), items: (u32, u32)) -> Vec<Command> {
        let held = Held { chunk: chunk(id), finished: items.0, running: items.1 };
        self.tell(Event::ChunkLost { worker: WorkerId(worker), held })
    }

    pub(crate) fn lose(&mut self, worker: u16, exit: WorkerExit, id: (u32, u32), finished: u32) -> Vec<Command> {
        let count = self.scheduler.chunk(chunk(id)).map_or(1, |assignment| assignment.count);
        let mut commands = self.lose_chunk(worker, id, (finished, 1.min(count - finished)));
        commands.extend(self.exit(worker, exit));
        commands
    }
}

pub(crate) fn cancelled(job: u32) -> Command {
    Command::FinishJob { job: JobId(job), end: JobEnd::Cancelled }
}

pub(crate) fn chunk((index, generation): (u32, u32)) -> ChunkId {
    ChunkId { index, generation }
}

pub(crate) fn publish(id: (u32, u32), job: u32, first: u32, count: u32) -> Command {
    Command::Publish { chunk: chunk(id), job: JobId(job), first, count, attempt: 0, devices: 0 }
}

pub(crate) fn publish_again(id: (u32, u32), job: u32, item: u32, attempt: u16) -> Command {
    Command::Publish { chunk: chunk(id), job: JobId(job), first: item, count: 1, attempt, devices: 0 }
}

pub(crate) fn start(worker: u16) -> Command {
    Command::StartWorker { worker: WorkerId(worker) }
}

pub(crate) fn complete(job: u32) -> Command {
    Command::FinishJob { job: JobId(job), end: JobEnd::Complete }
}
