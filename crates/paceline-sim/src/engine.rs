//! Owns the model of the engine: tells the core what happened, carries out what it asks for. Never decides anything,
//! like the engine itself.

use paceline_core::{ChunkId, Command, Event, Held, JobEnd, JobId, StopCause, WorkerExit, WorkerId};

use crate::agenda::Happening;
use crate::fact::{Counts, Fact};
use crate::invariants::Violation;
use crate::table::State;
use crate::worker::Activity;
use crate::world::World;

impl World<'_> {
    /// Tells the core; its answer is queued behind what it asked for before.
    pub(crate) fn tell(&mut self, event: Event) -> Result<(), Violation> {
        let reported = match event {
            Event::ChunkFinished { chunk, .. }
            | Event::ChunkWithdrawn { chunk }
            | Event::ChunkKept { chunk }
            | Event::ItemFailed { chunk, .. }
            | Event::ChunkSighted { chunk, .. }
            | Event::ChunkLost { held: Held { chunk, .. }, .. } => Some(chunk),
            _ => None,
        };
        let was_old = reported.is_some_and(|chunk| self.ledger.find_out(chunk).is_none());
        self.see(Fact::Told { event })?;
        let before = self.counts();
        let mut answer = std::mem::take(&mut self.answer);
        self.decider.handle(self.moment(), event, &mut answer);
        let counts = self.counts();
        let is_changed = !answer.is_empty() || before != counts;
        for command in answer.drain(..) {
            self.see(Fact::Asked { command })?;
            self.queue.push_back(command);
        }
        self.answer = answer;
        self.see(Fact::Answered { event, was_old, is_changed, counts })
    }

    /// Carries out what the core asked for, and what it asks for meanwhile.
    pub(crate) fn settle(&mut self) -> Result<(), Violation> {
        while let Some(command) = self.queue.pop_front() {
            self.carry_out(command)?;
        }
        let counts = self.counts();
        self.see(Fact::Settled { counts })
    }

    fn counts(&self) -> Counts {
        let scheduler = self.decider.scheduler();
        Counts {
            waiting_items: scheduler.waiting_items(),
            unfinished_jobs: scheduler.unfinished_jobs(),
            published_chunks: scheduler.published_chunks(),
            is_accepting: scheduler.is_accepting(),
            next_look_ns: self.decider.next_look().map(|at| at.0),
        }
    }

    fn carry_out(&mut self, command: Command) -> Result<(), Violation> {
        match command {
            Command::Publish { chunk, job, first, count, attempt, .. } => {
                let position = self.ledger.position(job).expect("only running jobs are published");
                self.table.publish(chunk, position, (first, count), attempt);
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
                    self.leave(worker.0, WorkerExit::Died)?;
                }
            }
            Command::StopItem { worker, chunk, item, cause } => {
                if let Some(entry) = self.table.find(chunk) {
                    let (seat, life) = (worker.0, self.workers[usize::from(worker.0)].life);
                    let drops_rest = cause == StopCause::Cancelled;
                    self.notice(Happening::Ask { seat, life, entry: entry.key, item, drops_rest });
                }
            }
            Command::EndItem { worker, chunk, item } => self.end_item_of(worker.0, chunk, item)?,
            // What the engine keeps is written down in the ledger alone.
            Command::ForgetItem { .. } | Command::FailItem { .. } | Command::BreakPool { .. } | Command::EndPool => {}
        }
        Ok(())
    }

    /// Holds a worker still, looks whether it runs this item, and ends it if so.
    fn end_item_of(&mut self, seat: u16, chunk: ChunkId, item: u32) -> Result<(), Violation> {
        let worker = &self.workers[usize::from(seat)];
        let mine = State::Running { seat, life: worker.life };
        let is_at_it = self.table.find(chunk).is_some_and(|entry| entry.state == mine && entry.is_running(item));
        if worker.is_alive() && is_at_it { self.leave(seat, WorkerExit::Died) } else { Ok(()) }
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
        if !self.random.chance(self.scenario.slow_start_percent) {
            self.soon(5, Happening::WorkerUp { seat, life });
        } else if self.scenario.start_timeout_ns == 0 || self.random.chance(60) {
            self.soon(80, Happening::WorkerUp { seat, life });
        }
        if self.random.chance(1) {
            self.soon(10, Happening::Outgrow { seat, life });
        }
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
        self.planned.push(planned);
        self.tell(Event::JobSubmitted { job: JobId(number), items: plan.items, sizing: plan.sizing, terms: plan.terms })
    }

    /// The engine knows which jobs have ended, and asks for none of those; a number may belong to another job now.
    pub(crate) fn cancel(&mut self, planned: usize, stops_running: bool) -> Result<(), Violation> {
        let Some(job) = self.submitted[planned].map(|position| &self.ledger.jobs[position]) else {
            return Ok(());
        };
        if job.end.is_some() { Ok(()) } else { self.tell(Event::CancelRequested { job: job.number, stops_running }) }
    }

    pub(crate) fn answer_withdraw(&mut self, chunk: ChunkId, is_withdrawn: bool) -> Result<(), Violation> {
        self.tell(if is_withdrawn { Event::ChunkWithdrawn { chunk } } else { Event::ChunkKept { chunk } })
    }
}
