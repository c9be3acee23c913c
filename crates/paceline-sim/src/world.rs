//! Owns one run: the time, the user, the faults, and the facts that the invariants judge. Never decides what the pool
//! does about them.

use std::collections::VecDeque;

use paceline_core::{ChunkId, Command, Event, Moment};

use crate::agenda::{Agenda, Happening};
use crate::decider::Decider;
use crate::fact::Fact;
use crate::invariants::{Violation, judge};
use crate::ledger::Ledger;
use crate::random::Random;
use crate::scenario::{STEP_NS, Scenario};
use crate::table::Table;
use crate::watching::Alarm;
use crate::worker::Worker;

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
    /// The job of the scenario, for each position among all submitted jobs.
    pub(crate) planned: Vec<usize>,
    /// Numbers of jobs that have ended, the latest last.
    pub(crate) free_numbers: Vec<u32>,
    pub(crate) queue: VecDeque<Command>,
    /// Room for the core's answer, kept from one to the next.
    pub(crate) answer: Vec<Command>,
    pub(crate) old_chunks: Vec<ChunkId>,
    /// When the engine will wake up to look.
    pub(crate) alarm: Option<Alarm>,
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
            planned: Vec::new(),
            free_numbers: Vec::new(),
            queue: VecDeque::new(),
            answer: Vec::new(),
            old_chunks: Vec::new(),
            alarm: None,
            deaths: 0,
            trace: is_traced.then(Vec::new),
        }
    }

    /// Plays the scenario until nothing will happen any more.
    pub(crate) fn play(&mut self) -> Result<(), Violation> {
        self.plan();
        self.tell(Event::PoolOpened)?;
        self.settle()?;
        self.set_alarm();
        for _ in 0..MOST_HAPPENINGS {
            let Some((at_ns, happening)) = self.agenda.next() else {
                return self.see(Fact::Drained);
            };
            self.now_ns = at_ns;
            self.happen(happening)?;
            self.settle()?;
            self.set_alarm();
        }
        Err(Violation { invariant: "nothing_gets_stuck", what: format!("still going after {MOST_HAPPENINGS} steps") })
    }

    /// Writes a fact down, once it is judged.
    pub(crate) fn see(&mut self, fact: Fact) -> Result<(), Violation> {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>6} {fact:?}", self.now_ns / STEP_NS));
        }
        self.ledger.now_ns = self.now_ns;
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

    /// Has something happen after so many steps.
    pub(crate) fn after(&mut self, steps: u32, happening: Happening) {
        self.agenda.add(self.now_ns + u64::from(steps) * STEP_NS, happening, &mut self.random);
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
            for (step, stops_running) in job.cancels.into_iter().flatten() {
                add(step, Happening::Cancel { planned, stops_running });
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
        for look in 0..self.scenario.needless_looks {
            add(look * 13 + 5, Happening::WakeUp);
        }
    }

    fn happen(&mut self, happening: Happening) -> Result<(), Violation> {
        match happening {
            Happening::Submit { planned } => self.submit(planned),
            Happening::Cancel { planned, stops_running } => self.cancel(planned, stops_running),
            Happening::Close { cancel_waiting } => self.tell(Event::PoolClosed { cancel_waiting }),
            Happening::Terminate => self.tell(Event::PoolTerminated),
            Happening::RepeatOldAnswer => self.repeat_old_answer(),
            Happening::WorkerUp { seat, life } => self.bring_up(seat, life),
            Happening::HearReady { seat, life } => self.hear_ready(seat, life),
            Happening::Look { seat, life } => self.look(seat, life),
            Happening::Begin { seat, life, entry } => self.begin(seat, life, entry),
            Happening::BeginAnew { seat, life, entry } => self.begin_anew(seat, life, entry),
            Happening::ItemDone { seat, life, entry, item } => self.item_done(seat, life, entry, item),
            Happening::Ask { seat, life, entry, item, drops_rest } => {
                self.ask(seat, life, (entry, item), drops_rest);
                Ok(())
            }
            Happening::ItemStopped { seat, life, entry, item } => self.item_stopped(seat, life, entry, item),
            Happening::Outgrow { seat, life } => self.outgrow(seat, life),
            Happening::Strike { seat, life } => self.strike(seat, life),
            Happening::NoticeExit { seat, life } => self.notice_exit(seat, life),
            Happening::Harvest { entry } => self.harvest(entry),
            Happening::WakeUp => self.wake_up(),
            Happening::AnswerWithdraw { index, generation, is_withdrawn } => {
                self.answer_withdraw(ChunkId { index, generation }, is_withdrawn)
            }
        }
    }
}
