//! Owns the book of a run: what is known to be true from the facts so far, kept apart from what the core believes.
//! Never judges: the invariants do, each fact before it is written down here.

use std::cmp::Reverse;

use paceline_core::{ChunkId, Command, Event, Held, JobEnd, JobId, Sizing, Terms, WorkerExit, WorkerId};

use crate::fact::Fact;
use crate::scenario::Scenario;

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
#[expect(clippy::struct_excessive_bools, reason = "facts that come true each by itself")]
pub(crate) struct Job {
    pub(crate) number: JobId,
    pub(crate) items: Vec<Item>,
    pub(crate) sizing: Sizing,
    pub(crate) terms: Terms,
    pub(crate) waiting: u32,
    pub(crate) end: Option<JobEnd>,
    pub(crate) is_cancel_requested: bool,
    /// The cancel was requested when nothing of the job was published or ever had been begun.
    pub(crate) must_be_cancelled: bool,
    /// The pool was closed, with all cancelled that waits, when no worker had claimed any of it.
    pub(crate) is_shut_out: bool,
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
#[expect(clippy::struct_excessive_bools, reason = "facts that come true each by itself")]
pub(crate) struct Out {
    pub(crate) chunk: ChunkId,
    pub(crate) job: usize,
    pub(crate) first: u32,
    pub(crate) count: u32,
    pub(crate) is_asked_back: bool,
    /// Asked back for something more urgent.
    pub(crate) is_overtaken: bool,
    /// A worker has claimed it, whether the core knows or not.
    pub(crate) is_claimed: bool,
    /// The core has been told that one has.
    pub(crate) is_known_to_be_claimed: bool,
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
    /// Whether anything was ever overtaken.
    pub(crate) has_overtaken: bool,
    /// Deaths of workers that had begun nothing of what they held, since a chunk ended or a worker died with one
    /// begun.
    pub(crate) idle_deaths: u32,
    /// Those of them whose worker had not been ready.
    pub(crate) unready_deaths: u32,
    pub(crate) failed_starts: u32,
}

/// A seat, as the core was told.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "facts that come true each by itself")]
pub(crate) struct Seat {
    pub(crate) is_taken: bool,
    pub(crate) is_ready: bool,
    /// Its worker is gone, and had begun with a chunk that it held.
    pub(crate) has_lost_begun: bool,
    /// The core has had its worker killed.
    pub(crate) is_killed: bool,
}

impl Ledger {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let &Scenario { workers, table_slots, .. } = scenario;
        Self {
            workers: u32::from(workers),
            table_slots,
            jobs: Vec::new(),
            out: Vec::new(),
            seats: vec![Seat::default(); usize::from(workers)],
            standing: Standing::New,
            ends: 0,
            generations: vec![None; table_slots as usize],
            has_overtaken: false,
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
        let Job { is_cancel_requested, is_known_to_have_begun, .. } = self.jobs[job];
        is_cancel_requested && !is_known_to_have_begun && self.chunks_out(job).any(|out| out.is_asked_back)
    }

    /// The most urgent job with waiting items, and of several the oldest.
    pub(crate) fn next_in_backlog(&self) -> Option<(usize, &Job)> {
        let waiting = self.unfinished().filter(|(_, job)| job.waiting > 0);
        waiting.max_by_key(|&(position, job)| (job.terms.priority, Reverse(position)))
    }

    /// Whether nothing of a job may be published: its cancel is being decided, or it is measured and has all the
    /// chunks out that it may have.
    pub(crate) fn is_held_back(&self, job: usize) -> bool {
        let is_measured = self.jobs[job].sizing == Sizing::Measured;
        let is_at_limit = is_measured && self.chunks_out(job).count() >= 2 * self.workers as usize;
        is_at_limit || self.is_being_decided(job)
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
            Fact::Claimed { chunk } => {
                if let Some(out) = self.out_of(chunk) {
                    out.is_claimed = true;
                }
            }
            Fact::Begun { job, item } => self.jobs[job].items[item as usize].begun += 1,
            Fact::Kept { job, item } => self.jobs[job].set(item, ItemState::Ended),
            Fact::Answered { .. } | Fact::Settled { .. } | Fact::Drained => {}
        }
    }

    fn note_event(&mut self, event: Event) {
        match event {
            Event::PoolOpened => self.standing = Standing::Open,
            Event::PoolClosed { cancel_waiting } => self.note_close(cancel_waiting),
            Event::PoolTerminated => self.standing = Standing::GivenUp,
            Event::JobSubmitted { job: number, items, sizing, terms } => {
                let item = Item { state: ItemState::Waiting, begun: 0, lost: 0 };
                self.jobs.push(Job {
                    number,
                    items: vec![item; items as usize],
                    sizing,
                    terms,
                    waiting: items,
                    end: None,
                    is_cancel_requested: false,
                    must_be_cancelled: false,
                    is_shut_out: false,
                    is_known_to_have_begun: false,
                });
            }
            Event::CancelRequested { job, .. } => self.note_cancel(job),
            Event::ChunkWithdrawn { chunk } => {
                if let Some(out) = self.take_out(chunk) {
                    (out.first..out.first + out.count)
                        .for_each(|item| self.jobs[out.job].set(item, ItemState::Waiting));
                }
            }
            Event::ChunkKept { chunk } => {
                if let Some(out) = self.out_of(chunk) {
                    out.is_known_to_be_claimed = true;
                    out.is_overtaken = false;
                    let job = out.job;
                    self.jobs[job].is_known_to_have_begun = true;
                }
            }
            Event::ChunkFinished { chunk, .. } => {
                if let Some(out) = self.take_out(chunk) {
                    self.jobs[out.job].is_known_to_have_begun = true;
                    (self.idle_deaths, self.unready_deaths) = (0, 0);
                }
            }
            Event::ItemFailed { .. }
            | Event::ChunkSighted { .. }
            | Event::TimePassed
            | Event::WorkerOutgrown { .. } => {}
            Event::WorkerReady { worker } => self.seats[usize::from(worker.0)].is_ready = true,
            Event::ChunkLost { worker, held } => self.note_loss(worker, held),
            Event::WorkerExited { worker, exit } => self.note_exit(worker, exit),
        }
    }

    fn note_close(&mut self, cancel_waiting: bool) {
        if self.standing == Standing::Open {
            self.standing = Standing::Closed;
        }
        if cancel_waiting && self.standing == Standing::Closed {
            let all: Vec<_> = self.unfinished().map(|(position, job)| (position, job.number)).collect();
            for (position, number) in all {
                self.note_cancel(number);
                let is_claimed = self.chunks_out(position).any(|out| out.is_claimed);
                let job = &mut self.jobs[position];
                job.is_shut_out |= !job.is_known_to_have_begun && !is_claimed;
            }
        }
    }

    fn note_cancel(&mut self, number: JobId) {
        let Some(position) = self.position(number) else { return };
        let is_out = self.chunks_out(position).next().is_some();
        let job = &mut self.jobs[position];
        job.is_cancel_requested = true;
        job.must_be_cancelled |= !is_out && !job.is_known_to_have_begun;
    }

    fn note_exit(&mut self, worker: WorkerId, exit: WorkerExit) {
        let seat = std::mem::take(&mut self.seats[usize::from(worker.0)]);
        self.failed_starts += u32::from(exit == WorkerExit::FailedToStart);
        if exit == WorkerExit::Died {
            if seat.has_lost_begun {
                (self.idle_deaths, self.unready_deaths) = (0, 0);
            } else {
                self.idle_deaths += 1;
                self.unready_deaths += u32::from(!seat.is_ready);
            }
        }
    }

    fn note_loss(&mut self, worker: WorkerId, Held { chunk, finished, running }: Held) {
        self.seats[usize::from(worker.0)].has_lost_begun |= finished + running > 0;
        let Some(out) = self.take_out(chunk) else { return };
        let job = &mut self.jobs[out.job];
        job.is_known_to_have_begun = true;
        let ran = out.first + finished..out.first + finished + running;
        (ran.end..out.first + out.count).for_each(|item| job.set(item, ItemState::Waiting));
        for item in ran {
            job.items[item as usize].lost += 1;
            let is_doomed = job.items[item as usize].lost > u32::from(job.terms.retries);
            job.set(item, if is_doomed { ItemState::Doomed { worker } } else { ItemState::Waiting });
        }
    }

    fn note_command(&mut self, command: Command) {
        match command {
            Command::Publish { chunk, job: number, first, count, .. } => {
                let Some(job) = self.position(number) else { return };
                (first..first + count).for_each(|item| self.jobs[job].set(item, ItemState::Out));
                self.out.push(Out {
                    chunk,
                    job,
                    first,
                    count,
                    is_asked_back: false,
                    is_overtaken: false,
                    is_claimed: false,
                    is_known_to_be_claimed: false,
                });
                self.generations[chunk.index as usize] = Some(chunk.generation);
            }
            Command::Withdraw { chunk } => {
                let Some(Out { job, .. }) = self.find_out(chunk) else { return };
                let is_overtaken = !self.jobs[job].is_cancel_requested || self.jobs[job].is_known_to_have_begun;
                self.has_overtaken |= is_overtaken;
                if let Some(out) = self.out_of(chunk) {
                    out.is_asked_back = true;
                    out.is_overtaken = is_overtaken;
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
            Command::StopItem { .. }
            | Command::EndItem { .. }
            | Command::ForgetItem { .. }
            | Command::StopWorker { .. } => {}
            Command::KillWorker { worker } => self.seats[usize::from(worker.0)].is_killed = true,
            Command::BreakPool { .. } => self.standing = Standing::GivenUp,
            Command::EndPool => self.ends += 1,
        }
    }

    fn out_of(&mut self, chunk: ChunkId) -> Option<&mut Out> {
        self.out.iter_mut().find(|out| out.chunk == chunk)
    }

    fn take_out(&mut self, chunk: ChunkId) -> Option<Out> {
        let index = self.out.iter().position(|out| out.chunk == chunk)?;
        Some(self.out.swap_remove(index))
    }
}
