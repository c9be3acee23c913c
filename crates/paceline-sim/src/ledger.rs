//! Owns the book of a run: what is known to be true from the facts so far, kept apart from what the core believes.
//! Never judges: the invariants do, each fact before it is written down here.

use paceline_core::{ChunkId, Command, Event, Held, JobEnd, JobId, Sizing, WorkerExit, WorkerId};

use crate::fact::Fact;

/// What has become of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ItemState {
    /// It must be published, some time.
    Waiting,
    /// It is in a published chunk.
    Out,
    /// Its worker died and its retries are used up: it must fail.
    Doomed { worker: WorkerId },
    /// It has an outcome.
    Ended,
}

/// An item of a job.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    pub(crate) state: ItemState,
    /// How often a worker has begun it.
    pub(crate) begun: u32,
    /// How often a worker was gone while it was the one running.
    pub(crate) lost: u32,
}

/// A job.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) number: JobId,
    pub(crate) items: Vec<Item>,
    pub(crate) sizing: Sizing,
    pub(crate) retries: u16,
    pub(crate) waiting: u32,
    pub(crate) end: Option<JobEnd>,
    pub(crate) is_cancel_requested: bool,
    /// The cancel was requested when nothing of the job was published or ever had been begun.
    pub(crate) must_be_cancelled: bool,
    /// The core has been told that a worker claimed some of it.
    pub(crate) is_known_to_have_begun: bool,
}

impl Job {
    fn set(&mut self, item: u32, state: ItemState) {
        let old = std::mem::replace(&mut self.items[item as usize].state, state);
        self.waiting -= u32::from(old == ItemState::Waiting);
        self.waiting += u32::from(state == ItemState::Waiting);
    }
}

/// A published chunk of which the core has not been told the end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Out {
    pub(crate) chunk: ChunkId,
    pub(crate) job: usize,
    pub(crate) first: u32,
    pub(crate) count: u32,
    pub(crate) is_asked_back: bool,
}

/// How far the pool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    New,
    Open,
    Closed,
    /// Terminated by the user, or broken.
    GivenUp,
}

/// All that is known.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) workers: u32,
    pub(crate) table_slots: u32,
    pub(crate) jobs: Vec<Job>,
    pub(crate) out: Vec<Out>,
    /// Whether somebody sits in the seat, as the core was told.
    pub(crate) seats: Vec<Seat>,
    pub(crate) standing: Standing,
    pub(crate) ends: u32,
    /// The last generation that was published for each number of a chunk.
    pub(crate) generations: Vec<Option<u32>>,
    /// Deaths of workers that held nothing, since a chunk ended or a worker died with one.
    pub(crate) idle_deaths: u32,
    /// Those of them whose worker had not been ready.
    pub(crate) unready_deaths: u32,
    pub(crate) failed_starts: u32,
}

/// A seat, as the core was told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seat {
    pub(crate) is_taken: bool,
    pub(crate) is_ready: bool,
    /// The core has had its worker killed.
    pub(crate) is_killed: bool,
}

impl Ledger {
    pub(crate) fn new(workers: u16, table_slots: u32) -> Self {
        Self {
            workers: u32::from(workers),
            table_slots,
            jobs: Vec::new(),
            out: Vec::new(),
            seats: vec![Seat::default(); usize::from(workers)],
            standing: Standing::New,
            ends: 0,
            generations: vec![None; table_slots as usize],
            idle_deaths: 0,
            unready_deaths: 0,
            failed_starts: 0,
        }
    }

    /// Position of the job that has this number now.
    pub(crate) fn position(&self, number: JobId) -> Option<usize> {
        self.jobs.iter().rposition(|job| job.number == number && job.end.is_none())
    }

    pub(crate) fn job(&self, number: JobId) -> Option<&Job> {
        self.position(number).map(|position| &self.jobs[position])
    }

    pub(crate) fn unfinished(&self) -> impl Iterator<Item = (usize, &Job)> {
        self.jobs.iter().enumerate().filter(|(_, job)| job.end.is_none())
    }

    pub(crate) fn find_out(&self, chunk: ChunkId) -> Option<Out> {
        self.out.iter().find(|out| out.chunk == chunk).copied()
    }

    pub(crate) fn chunks_out(&self, job: usize) -> impl Iterator<Item = &Out> {
        self.out.iter().filter(move |out| out.job == job)
    }

    /// Whether the answers to withdrawals may still cancel this job.
    pub(crate) fn is_being_decided(&self, job: usize) -> bool {
        !self.jobs[job].is_known_to_have_begun && self.chunks_out(job).any(|out| out.is_asked_back)
    }

    /// The oldest job with waiting items.
    pub(crate) fn next_in_backlog(&self) -> Option<(usize, &Job)> {
        self.unfinished().find(|(_, job)| job.waiting > 0)
    }

    /// Whether a seat that falls empty has to be filled again.
    pub(crate) fn wants_workers(&self) -> bool {
        match self.standing {
            Standing::Open => true,
            Standing::Closed => self.unfinished().next().is_some(),
            Standing::New | Standing::GivenUp => false,
        }
    }

    /// Writes a fact down.
    pub(crate) fn note(&mut self, fact: Fact) {
        match fact {
            Fact::Told { event } => self.note_event(event),
            Fact::Asked { command } => self.note_command(command),
            Fact::Begun { job, item } => self.jobs[job].items[item as usize].begun += 1,
            Fact::Kept { job, item } => self.jobs[job].set(item, ItemState::Ended),
            Fact::Answered { .. } | Fact::Settled { .. } | Fact::Drained => {}
        }
    }

    fn note_event(&mut self, event: Event) {
        match event {
            Event::PoolOpened => self.standing = Standing::Open,
            Event::PoolClosed if self.standing == Standing::Open => self.standing = Standing::Closed,
            Event::PoolClosed => {}
            Event::PoolTerminated => self.standing = Standing::GivenUp,
            Event::JobSubmitted { job: number, items, sizing, retries } => {
                let item = Item { state: ItemState::Waiting, begun: 0, lost: 0 };
                self.jobs.push(Job {
                    number,
                    items: vec![item; items as usize],
                    sizing,
                    retries,
                    waiting: items,
                    end: None,
                    is_cancel_requested: false,
                    must_be_cancelled: false,
                    is_known_to_have_begun: false,
                });
            }
            Event::CancelRequested { job } => self.note_cancel(job),
            Event::ChunkWithdrawn { chunk } => {
                if let Some(out) = self.take_out(chunk) {
                    (out.first..out.first + out.count)
                        .for_each(|item| self.jobs[out.job].set(item, ItemState::Waiting));
                }
            }
            Event::ChunkKept { chunk } => {
                if let Some(out) = self.find_out(chunk) {
                    self.jobs[out.job].is_known_to_have_begun = true;
                }
            }
            Event::ChunkFinished { chunk, .. } => {
                if let Some(out) = self.take_out(chunk) {
                    self.jobs[out.job].is_known_to_have_begun = true;
                    (self.idle_deaths, self.unready_deaths) = (0, 0);
                }
            }
            Event::WorkerReady { worker } => self.seats[usize::from(worker.0)].is_ready = true,
            Event::WorkerExited { worker, exit, held } => self.note_exit(worker, exit, held),
        }
    }

    fn note_cancel(&mut self, number: JobId) {
        let Some(position) = self.position(number) else { return };
        let is_out = self.chunks_out(position).next().is_some();
        let job = &mut self.jobs[position];
        job.is_cancel_requested = true;
        job.must_be_cancelled |= !is_out && !job.is_known_to_have_begun;
    }

    fn note_exit(&mut self, worker: WorkerId, exit: WorkerExit, held: Option<Held>) {
        let seat = std::mem::take(&mut self.seats[usize::from(worker.0)]);
        self.failed_starts += u32::from(exit == WorkerExit::FailedToStart);
        if exit == WorkerExit::Died {
            if held.is_some() {
                (self.idle_deaths, self.unready_deaths) = (0, 0);
            } else {
                self.idle_deaths += 1;
                self.unready_deaths += u32::from(!seat.is_ready);
            }
        }
        let Some(Held { chunk, finished }) = held else { return };
        let Some(out) = self.take_out(chunk) else { return };
        let job = &mut self.jobs[out.job];
        job.is_known_to_have_begun = true;
        if finished < out.count {
            let ran = out.first + finished;
            (ran + 1..out.first + out.count).for_each(|item| job.set(item, ItemState::Waiting));
            job.items[ran as usize].lost += 1;
            let is_doomed = job.items[ran as usize].lost > u32::from(job.retries);
            job.set(ran, if is_doomed { ItemState::Doomed { worker } } else { ItemState::Waiting });
        }
    }

    fn note_command(&mut self, command: Command) {
        match command {
            Command::Publish { chunk, job: number, first, count, .. } => {
                let Some(job) = self.position(number) else { return };
                (first..first + count).for_each(|item| self.jobs[job].set(item, ItemState::Out));
                self.out.push(Out { chunk, job, first, count, is_asked_back: false });
                self.generations[chunk.index as usize] = Some(chunk.generation);
            }
            Command::Withdraw { chunk } => {
                if let Some(out) = self.out.iter_mut().find(|out| out.chunk == chunk) {
                    out.is_asked_back = true;
                }
            }
            Command::FailItem { job, item, .. } => {
                if let Some(position) = self.position(job) {
                    self.jobs[position].set(item, ItemState::Ended);
                }
            }
            Command::FinishJob { job, end } => {
                if let Some(position) = self.position(job) {
                    self.jobs[position].end = Some(end);
                    self.out.retain(|out| out.job != position);
                }
            }
            Command::StartWorker { worker } => self.seats[usize::from(worker.0)].is_taken = true,
            Command::StopWorker { .. } => {}
            Command::KillWorker { worker } => self.seats[usize::from(worker.0)].is_killed = true,
            Command::BreakPool { .. } => self.standing = Standing::GivenUp,
            Command::EndPool => self.ends += 1,
        }
    }

    fn take_out(&mut self, chunk: ChunkId) -> Option<Out> {
        let index = self.out.iter().position(|out| out.chunk == chunk)?;
        Some(self.out.swap_remove(index))
    }
}
