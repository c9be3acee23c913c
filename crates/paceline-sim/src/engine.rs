//! Owns the model of the engine: tells the core what happened, carries out what it asks for. Never decides anything,
//! like the engine itself.

use paceline_core::{ChunkId, Command, Event, Held, JobEnd, JobId, WorkerExit, WorkerId};

use crate::agenda::Happening;
use crate::fact::Fact;
use crate::invariants::Violation;
use crate::scenario::STEP_NS;
use crate::table::Entry;
use crate::worker::Activity;
use crate::world::World;

impl World<'_> {
    /// Tells the core; its answer is queued behind what it asked for before.
    pub(crate) fn tell(&mut self, event: Event) -> Result<(), Violation> {
        let reported = match event {
            Event::ChunkFinished { chunk, .. }
            | Event::ChunkWithdrawn { chunk }
            | Event::ChunkKept { chunk }
            | Event::ChunkLost { held: Held { chunk, .. }, .. } => Some(chunk),
            _ => None,
        };
        let was_old = reported.is_some_and(|chunk| self.ledger.find_out(chunk).is_none());
        self.see(Fact::Told { event })?;
        let before = self.counts();
        let mut answer = std::mem::take(&mut self.answer);
        self.decider.handle(self.moment(), event, &mut answer);
        let is_changed = !answer.is_empty() || before != self.counts();
        for command in answer.drain(..) {
            self.see(Fact::Asked { command })?;
            self.queue.push_back(command);
        }
        self.answer = answer;
        if reported.is_some() {
            self.see(Fact::Answered { was_old, is_changed })?;
        }
        Ok(())
    }

    /// Carries out what the core asked for, and what it asks for meanwhile.
    pub(crate) fn settle(&mut self) -> Result<(), Violation> {
        while let Some(command) = self.queue.pop_front() {
            self.carry_out(command)?;
        }
        let (waiting_items, unfinished_jobs, published_chunks) = self.counts();
        let is_accepting = self.decider.scheduler().is_accepting();
        self.see(Fact::Settled { waiting_items, unfinished_jobs, published_chunks, is_accepting })
    }

    fn counts(&self) -> (u64, u32, u32) {
        let scheduler = self.decider.scheduler();
        (scheduler.waiting_items(), scheduler.unfinished_jobs(), scheduler.published_chunks())
    }

    fn carry_out(&mut self, command: Command) -> Result<(), Violation> {
        match command {
            Command::Publish { chunk, job, first, count, .. } => {
                let position = self.ledger.position(job).expect("only running jobs are published");
                self.table.publish(chunk, position, first, count);
                self.wake_workers();
            }
            Command::Withdraw { chunk } => {
                let is_withdrawn = self.table.withdraw(chunk);
                let ChunkId { index, generation } = chunk;
                if self.scenario.is_answering_late {
                    self.notice(Happening::AnswerWithdraw { index, generation, is_withdrawn });
                } else {
                    self.answer_withdraw(chunk, is_withdrawn)?;
                }
            }
            Command::FinishJob { job, end } => self.end_job(job, end),
            Command::StartWorker { worker } => self.start(worker),
            Command::StopWorker { worker } => {
                let worker_model = &mut self.workers[usize::from(worker.0)];
                worker_model.is_asked_to_stop = true;
                let life = worker_model.life;
                self.notice(Happening::Look { seat: worker.0, life });
            }
            Command::KillWorker { worker } => {
                if self.workers[usize::from(worker.0)].is_alive() {
                    self.leave(worker.0, WorkerExit::Died);
                }
            }
            Command::StopItem { .. }
            | Command::EndItem { .. }
            | Command::ForgetItem { .. }
            | Command::FailItem { .. }
            | Command::BreakPool { .. }
            | Command::EndPool => {}
        }
        Ok(())
    }

    fn wake_workers(&mut self) {
        for seat in 0..self.scenario.workers {
            let worker = &self.workers[usize::from(seat)];
            let has_room = worker.claimed.len() < usize::from(self.scenario.chunks_per_worker);
            if worker.activity == Activity::Working && has_room {
                let life = worker.life;
                self.soon(2, Happening::Look { seat, life });
            }
        }
    }

    /// A job that was given up leaves the table; workers that run it go on until they are killed.
    fn end_job(&mut self, number: JobId, end: JobEnd) {
        self.free_numbers.push(number.0);
        if end == JobEnd::Abandoned {
            let position = self.ledger.jobs.iter().rposition(|job| job.number == number);
            self.table.drop_job(position.expect("only jobs that were submitted end"));
        }
    }

    fn start(&mut self, worker: WorkerId) {
        let seat = worker.0;
        self.workers[usize::from(seat)].be_born();
        let life = self.workers[usize::from(seat)].life;
        self.soon(5, Happening::WorkerUp { seat, life });
    }

    pub(crate) fn submit(&mut self, planned: usize) -> Result<(), Violation> {
        if !self.decider.scheduler().is_accepting() {
            return Ok(());
        }
        let number = self
            .free_numbers
            .pop()
            .unwrap_or_else(|| u32::try_from(self.ledger.unfinished().count()).expect("fewer than 2^32 jobs"));
        let plan = self.scenario.jobs[planned];
        self.submitted[planned] = Some(self.ledger.jobs.len());
        self.tell(Event::JobSubmitted { job: JobId(number), items: plan.items, sizing: plan.sizing, terms: plan.terms })
    }

    /// The engine knows which jobs have ended, and asks for none of those; a number may belong to another job now.
    pub(crate) fn cancel(&mut self, planned: usize) -> Result<(), Violation> {
        let Some(job) = self.submitted[planned].map(|position| &self.ledger.jobs[position]) else {
            return Ok(());
        };
        if job.end.is_some() {
            Ok(())
        } else {
            self.tell(Event::CancelRequested { job: job.number, stops_running: false })
        }
    }

    pub(crate) fn answer_withdraw(&mut self, chunk: ChunkId, is_withdrawn: bool) -> Result<(), Violation> {
        self.tell(if is_withdrawn { Event::ChunkWithdrawn { chunk } } else { Event::ChunkKept { chunk } })
    }

    pub(crate) fn hear_ready(&mut self, seat: u16, life: u32) -> Result<(), Violation> {
        let worker = &self.workers[usize::from(seat)];
        if worker.life != life || worker.activity == Activity::Vacant {
            return Ok(());
        }
        self.tell(Event::WorkerReady { worker: WorkerId(seat) })
    }

    /// Keeps what a chunk gave. If it is gone from the table its report comes too late, and is made all the same.
    pub(crate) fn harvest(&mut self, key: u64) -> Result<(), Violation> {
        let Some(entry) = self.table.remove(key) else {
            return self.repeat_old_answer();
        };
        self.keep_outcomes(entry)?;
        self.old_chunks.push(entry.chunk);
        self.tell(Event::ChunkFinished { chunk: entry.chunk, busy_ns: busy_ns(entry) })
    }

    /// Reports that a worker is gone, and each chunk that it held. Those it was done with are found now, or later as
    /// usual.
    pub(crate) fn notice_exit(&mut self, seat: u16, life: u32) -> Result<(), Violation> {
        let worker = &mut self.workers[usize::from(seat)];
        let Activity::Gone { exit } = worker.activity else {
            return Ok(());
        };
        if worker.life != life {
            return Ok(());
        }
        worker.activity = Activity::Vacant;
        let last_entry = worker.last_entry;
        let mut held = self.table.take_running(seat, life);
        for key in self.table.find_done(seat, life) {
            match self.random.below(10) {
                0..4 => self.harvest(key)?,
                4..7 => held.extend(self.table.remove(key)),
                _ => {}
            }
        }
        if held.is_empty() {
            // Now and then the engine names a chunk that the worker is known to be done with.
            let old = last_entry.filter(|&chunk| self.ledger.find_out(chunk).is_none());
            if let Some(chunk) = old.filter(|_| self.random.chance(20)) {
                let held = Held { chunk, finished: 0, running: self.random.below(2) };
                self.tell(Event::ChunkLost { worker: WorkerId(seat), held })?;
            }
        }
        while !held.is_empty() {
            let count = u32::try_from(held.len()).unwrap_or(1);
            let entry = held.swap_remove(self.random.below(count) as usize);
            self.keep_outcomes(entry)?;
            self.old_chunks.push(entry.chunk);
            let running = entry.most_running.min(entry.count - entry.finished);
            let held = Held { chunk: entry.chunk, finished: entry.finished, running };
            self.tell(Event::ChunkLost { worker: WorkerId(seat), held })?;
        }
        self.tell(Event::WorkerExited { worker: WorkerId(seat), exit })
    }

    fn keep_outcomes(&mut self, entry: Entry) -> Result<(), Violation> {
        (entry.first..entry.first + entry.finished).try_for_each(|item| self.see(Fact::Kept { job: entry.job, item }))
    }

    /// Tells the core something about an assignment of the past, as a late or doubled report would.
    pub(crate) fn repeat_old_answer(&mut self) -> Result<(), Violation> {
        let count = u32::try_from(self.old_chunks.len()).unwrap_or(u32::MAX);
        if count == 0 {
            return Ok(());
        }
        let chunk = self.old_chunks[self.random.below(count) as usize];
        let report = match self.random.below(3) {
            0 => Event::ChunkFinished { chunk, busy_ns: STEP_NS },
            1 => Event::ChunkWithdrawn { chunk },
            _ => Event::ChunkKept { chunk },
        };
        self.tell(report)
    }
}

/// How long a worker was at a chunk. Virtual items take microseconds; a thousand times that makes chunk sizes move
/// through their whole range.
fn busy_ns(entry: Entry) -> u64 {
    let real_ns = entry.done_at_ns - entry.claimed_at_ns;
    if entry.key.is_multiple_of(3) { real_ns * 1_000 } else { real_ns }
}
