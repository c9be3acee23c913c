//! Owns one run: the time, the user, the faults, and the facts that the invariants judge. Never decides what the pool
//! does about them.

use std::collections::VecDeque;

use paceline_core::{ChunkId, Command, Event, Moment, WorkerExit};

use crate::agenda::{Agenda, Happening};
use crate::decider::Decider;
use crate::fact::Fact;
use crate::invariants::{Violation, judge};
use crate::ledger::Ledger;
use crate::random::Random;
use crate::scenario::{STEP_NS, Scenario};
use crate::table::{State, Table};
use crate::worker::{Activity, Claimed, Worker};

/// A run that takes more happenings than this goes round in circles; the longest of a million seeds needs a tenth.
const MOST_HAPPENINGS: u32 = 20_000;

/// One run.
pub(crate) struct World<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) decider: &'a mut dyn Decider,
    pub(crate) random: Random,
    pub(crate) now_ns: u64,
    pub(crate) agenda: Agenda,
    pub(crate) table: Table,
    pub(crate) workers: Vec<Worker>,
    pub(crate) ledger: Ledger,
    /// Position among all submitted jobs, for each job of the scenario that was submitted.
    pub(crate) submitted: Vec<Option<usize>>,
    /// Numbers of jobs that have ended, the latest last.
    pub(crate) free_numbers: Vec<u32>,
    pub(crate) queue: VecDeque<Command>,
    /// Room for the core's answer, kept from one to the next.
    pub(crate) answer: Vec<Command>,
    pub(crate) old_chunks: Vec<ChunkId>,
    pub(crate) deaths: u32,
    pub(crate) trace: Option<Vec<String>>,
}

impl<'a> World<'a> {
    pub(crate) fn new(scenario: &'a Scenario, decider: &'a mut dyn Decider, random: Random, is_traced: bool) -> Self {
        Self {
            scenario,
            decider,
            random,
            now_ns: 0,
            agenda: Agenda::default(),
            table: Table::default(),
            workers: vec![Worker::default(); usize::from(scenario.workers)],
            ledger: Ledger::new(scenario),
            submitted: vec![None; scenario.jobs.len()],
            free_numbers: Vec::new(),
            queue: VecDeque::new(),
            answer: Vec::new(),
            old_chunks: Vec::new(),
            deaths: 0,
            trace: is_traced.then(Vec::new),
        }
    }

    /// Plays the scenario until nothing will happen any more.
    pub(crate) fn play(&mut self) -> Result<(), Violation> {
        self.plan();
        self.tell(Event::PoolOpened)?;
        self.settle()?;
        for _ in 0..MOST_HAPPENINGS {
            let Some((at_ns, happening)) = self.agenda.next() else {
                return self.see(Fact::Drained);
            };
            self.now_ns = at_ns;
            self.happen(happening)?;
            self.settle()?;
        }
        Err(Violation { invariant: "nothing_gets_stuck", what: format!("still going after {MOST_HAPPENINGS} steps") })
    }

    /// Writes a fact down, once it is judged.
    pub(crate) fn see(&mut self, fact: Fact) -> Result<(), Violation> {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>6} {fact:?}", self.now_ns / STEP_NS));
        }
        judge(&self.ledger, fact)?;
        self.ledger.note(fact);
        Ok(())
    }

    pub(crate) fn moment(&self) -> Moment {
        Moment(self.now_ns)
    }

    /// Has something happen within so many steps.
    pub(crate) fn soon(&mut self, most_steps: u32, happening: Happening) {
        let steps = u64::from(self.random.between(0, most_steps));
        self.agenda.add(self.now_ns + steps * STEP_NS, happening, &mut self.random);
    }

    /// Has something happen after as long as the engine takes to notice.
    pub(crate) fn notice(&mut self, happening: Happening) {
        self.soon(self.scenario.longest_delay_steps, happening);
    }

    /// Writes what the user will do into the agenda.
    fn plan(&mut self) {
        let mut add = |step: u32, happening| self.agenda.add(u64::from(step) * STEP_NS, happening, &mut self.random);
        for (planned, job) in self.scenario.jobs.iter().enumerate() {
            add(job.at_step, Happening::Submit { planned });
            if let Some(step) = job.cancel_at_step {
                add(step, Happening::Cancel { planned });
                if job.is_cancelled_twice {
                    add(step + 1, Happening::Cancel { planned });
                }
            }
        }
        let ends = self.scenario.is_closing_with_cancel.map(|cancel_waiting| Happening::Close { cancel_waiting });
        let ends = [(self.scenario.close_at_step, ends), (self.scenario.terminate_at_step, [Happening::Terminate; 2])];
        for (step, [end, again]) in ends.into_iter().filter_map(|(step, ends)| Some((step?, ends))) {
            add(step, end);
            if self.scenario.is_ended_twice {
                add(step + 3, again);
            }
        }
        for answer in 0..self.scenario.old_answers {
            add(answer * 17 + 3, Happening::RepeatOldAnswer);
        }
    }

    fn happen(&mut self, happening: Happening) -> Result<(), Violation> {
        match happening {
            Happening::Submit { planned } => self.submit(planned),
            Happening::Cancel { planned } => self.cancel(planned),
            Happening::Close { cancel_waiting } => self.tell(Event::PoolClosed { cancel_waiting }),
            Happening::Terminate => self.tell(Event::PoolTerminated),
            Happening::RepeatOldAnswer => self.repeat_old_answer(),
            Happening::WorkerUp { seat, life } => self.bring_up(seat, life),
            Happening::HearReady { seat, life } => self.hear_ready(seat, life),
            Happening::Look { seat, life } => self.look(seat, life),
            Happening::Begin { seat, life, entry } => self.begin(seat, life, entry),
            Happening::ItemDone { seat, life, entry } => self.finish_item(seat, life, entry),
            Happening::Strike { seat, life } => {
                self.strike(seat, life);
                Ok(())
            }
            Happening::NoticeExit { seat, life } => self.notice_exit(seat, life),
            Happening::Harvest { entry } => self.harvest(entry),
            Happening::AnswerWithdraw { index, generation, is_withdrawn } => {
                self.answer_withdraw(ChunkId { index, generation }, is_withdrawn)
            }
        }
    }

    /// A worker has started. It may have been asked to stop meanwhile, or say that it cannot start, or die.
    fn bring_up(&mut self, seat: u16, life: u32) -> Result<(), Violation> {
        if !self.is_this_life(seat, life) {
            return Ok(());
        }
        if self.random.chance(self.scenario.failed_start_percent) {
            self.leave(seat, WorkerExit::FailedToStart);
        } else if self.may_die() && self.random.chance(self.scenario.death_before_ready_percent) {
            self.deaths += 1;
            self.leave(seat, WorkerExit::Died);
        } else {
            self.workers[usize::from(seat)].activity = Activity::Working;
            self.notice(Happening::HearReady { seat, life });
            if self.may_die() && self.random.chance(self.scenario.death_percent) {
                let most_steps = self.scenario.longest_item_steps * 4;
                self.soon(most_steps, Happening::Strike { seat, life });
            }
            self.look(seat, life)?;
        }
        Ok(())
    }

    /// A worker takes the oldest ready chunk if it may hold one more, or leaves if it holds none and has been asked to,
    /// or has run enough.
    fn look(&mut self, seat: u16, life: u32) -> Result<(), Violation> {
        let worker = &self.workers[usize::from(seat)];
        if !self.is_this_life(seat, life) || worker.activity != Activity::Working {
            return Ok(());
        }
        let holds = worker.claimed.len();
        let is_tired = self.scenario.retire_after.is_some_and(|most| worker.chunks_run >= most);
        if worker.is_asked_to_stop || is_tired {
            let exit = if worker.is_asked_to_stop { WorkerExit::Stopped } else { WorkerExit::Retired };
            if holds == 0 {
                self.leave(seat, exit);
            }
        } else if holds < usize::from(self.scenario.chunks_per_worker)
            && let Some(entry) = self.table.claim(seat, life, self.now_ns)
        {
            self.see(Fact::Claimed { chunk: entry.chunk })?;
            let is_side_by_side = self.random.chance(self.scenario.side_by_side_percent);
            let worker = &mut self.workers[usize::from(seat)];
            worker.chunks_run += 1;
            worker.last_entry = Some(entry.chunk);
            let end = entry.first + entry.count;
            worker.claimed.push(Claimed { entry: entry.key, job: entry.job, item: entry.first, end, is_side_by_side });
            self.soon(1, Happening::Look { seat, life });
            if self.scenario.longest_begin_steps == 0 {
                return self.begin(seat, life, entry.key);
            }
            self.soon(self.scenario.longest_begin_steps, Happening::Begin { seat, life, entry: entry.key });
        }
        Ok(())
    }

    fn find_claimed(&self, seat: u16, life: u32, entry: u64) -> Option<usize> {
        let claimed = &self.workers[usize::from(seat)].claimed;
        let index = claimed.iter().position(|claimed| claimed.entry == entry);
        index.filter(|_| self.is_this_life(seat, life))
    }

    /// A worker writes down that it begins with a chunk, and does, with its first item or with all of them.
    fn begin(&mut self, seat: u16, life: u32, key: u64) -> Result<(), Violation> {
        let Some(index) = self.find_claimed(seat, life, key) else {
            return Ok(());
        };
        let Claimed { job, item, end, is_side_by_side, .. } = self.workers[usize::from(seat)].claimed[index];
        if let Some(entry) = self.table.entry(key) {
            entry.most_running = if is_side_by_side { entry.count } else { 1 };
        }
        if is_side_by_side {
            (item + 1..end).try_for_each(|item| self.see(Fact::Begun { job, item }))?;
        }
        self.begin_item(seat, life, key, (job, item))
    }

    fn begin_item(&mut self, seat: u16, life: u32, entry: u64, item: (usize, u32)) -> Result<(), Violation> {
        self.see(Fact::Begun { job: item.0, item: item.1 })?;
        self.soon(self.scenario.longest_item_steps, Happening::ItemDone { seat, life, entry });
        Ok(())
    }

    /// A worker writes down that an item is finished, and begins the next or says that the chunk is done.
    fn finish_item(&mut self, seat: u16, life: u32, key: u64) -> Result<(), Violation> {
        let Some(index) = self.find_claimed(seat, life, key) else {
            return Ok(());
        };
        let Claimed { job, item, end, is_side_by_side, .. } = self.workers[usize::from(seat)].claimed[index];
        let now_ns = self.now_ns;
        let is_done = item + 1 == end;
        if let Some(entry) = self.table.entry(key) {
            entry.finished += 1;
            if is_done {
                entry.state = State::Done { seat, life };
                entry.done_at_ns = now_ns;
            }
        }
        if is_done {
            self.workers[usize::from(seat)].claimed.remove(index);
            self.notice(Happening::Harvest { entry: key });
            self.soon(1, Happening::Look { seat, life });
            Ok(())
        } else {
            self.workers[usize::from(seat)].claimed[index].item += 1;
            if is_side_by_side {
                self.soon(1, Happening::ItemDone { seat, life, entry: key });
                return Ok(());
            }
            self.begin_item(seat, life, key, (job, item + 1))
        }
    }

    /// A worker is killed: starting, idle, with chunks that it has only claimed, or in the middle of items.
    fn strike(&mut self, seat: u16, life: u32) {
        if self.is_this_life(seat, life) && self.may_die() {
            self.deaths += 1;
            self.leave(seat, WorkerExit::Died);
        }
    }

    /// A process ends; the engine will notice.
    pub(crate) fn leave(&mut self, seat: u16, exit: WorkerExit) {
        let worker = &mut self.workers[usize::from(seat)];
        worker.activity = Activity::Gone { exit };
        let life = worker.life;
        self.notice(Happening::NoticeExit { seat, life });
    }

    pub(crate) fn is_this_life(&self, seat: u16, life: u32) -> bool {
        let worker = &self.workers[usize::from(seat)];
        worker.is_alive() && worker.life == life
    }

    fn may_die(&self) -> bool {
        self.deaths < self.scenario.most_deaths
    }
}
