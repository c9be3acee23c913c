//! Owns what an engine knows, behind its one lock, and carries out what the core commands. Never decides, and never
//! waits for anything, least of all for an interpreter.
//!
//! The map: what is carried out is in the file named for what happens (`submit`, `publish`, `cancel`, `answers`, `lost`,
//! `failed`), what is known in `functions`, `jobs` and `workers`, what of it is told to those who asked in `events`.

mod answers;
mod bells;
mod cancel;
mod events;
mod failed;
mod functions;
mod glance;
mod jobs;
mod limits;
mod lost;
mod publish;
mod running;
mod submit;
mod workers;

use crate::accounts::Accounts;
use crate::clock::now_ns;
use crate::events::Events;
use crate::flight::Flight;
use crate::history::History;
use crate::outcome::{Breakdown, Death};
use crate::pending::Pending;
use crate::recent::RecentFailures;
use crate::supervisor::Supervisor;
use crate::wait::WaitRoom;
use crate::worker::MappedTable;
use answers::Finished;
pub use answers::ShownFailure;
use bells::Bells;
pub use functions::Function;
use functions::Released;
pub use glance::Glance;
use jobs::JobSlot;
use lost::LostItem;
use paceline_core::{ChunkId, Command, Config, Event, Moment, Scheduler, WorkerExit, WorkerId};
use paceline_ipc::SLOTS;
use paceline_ipc::arena::{Arena, ArenaReader};
use paceline_ipc::idle::{INTEREST_EVERY, INTEREST_NONE};
use paceline_ipc::repeats::Repeats;
use paceline_ipc::share::Share;
use paceline_ipc::slabs::Slabs;
use paceline_ipc::table::{Feeder, Place};
pub use running::Running;
use std::collections::VecDeque;
use std::sync::Arc;
pub use submit::{Input, SubmitError};
pub(crate) use submit::{InputBytes, Submission};
use workers::Seat;

/// What the state needs of its surroundings to carry out a command.
pub(crate) struct Context<'a> {
    pub(crate) table: &'a MappedTable,
    pub(crate) supervisor: &'a Supervisor,
    pub(crate) waiting: &'a WaitRoom,
    pub(crate) memory_limit: u64,
    pub(crate) birth: &'a dyn Fn(u16, &ArenaReader) -> u64,
}

/// What has to follow once the lock is released.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) published: usize,
    pub(crate) resolved: bool,
    pub(crate) attention: bool,
    pub(crate) ended: bool,
    /// The supervisor is to look at this moment, sooner than it knows of.
    pub(crate) look_at_ns: Option<u64>,
    /// Jobs that have ended and know what their callers know them by: to be let go of outside of the lock, since that may
    /// run code of Python's.
    let_go: Vec<Arc<Pending>>,
    /// What jobs that have ended had named: to unmap it takes long.
    shares: Vec<Arc<Share>>,
}

impl Effects {
    fn let_go_of_shares(&mut self, mut shares: Vec<Arc<Share>>) {
        self.shares.append(&mut shares);
    }

    fn let_go(&mut self, pending: Arc<Pending>) {
        if pending.mark().is_some() {
            self.let_go.push(pending);
        }
    }
}

pub(crate) struct State {
    core: Scheduler,
    /// Scratch lists, kept so that the hot path allocates nothing.
    commands: Vec<Command>,
    finished: Vec<Finished>,
    feeder: Feeder,
    chunk_of_slot: Vec<ChunkId>,
    place_of_chunk: Vec<Option<Place>>,
    jobs: Vec<JobSlot>,
    free_jobs: Vec<u32>,
    arena: Arena,
    slabs: Slabs,
    pub(crate) repeats: Repeats,
    flight: Arc<Flight>,
    released: Arc<Released>,
    next_function: u64,
    seats: Vec<Option<Seat>>,
    accounts: Accounts,
    history: History,
    recent: RecentFailures,
    events: Events,
    /// When the core was told something last.
    moment_ns: u64,
    next_item: u64,
    /// How many items have been submitted and have no outcome.
    unfinished_items: u64,
    attention: VecDeque<Arc<Pending>>,
    attention_wanted: usize,
    bells: Bells,
    /// Failures to be shown.
    failures: VecDeque<ShownFailure>,
    /// How many jobs there are of whose failures somebody wants to know as they come.
    failures_watched: usize,
    /// How many outcomes were forgotten, their items being run again.
    forgotten: u64,
    /// The worker that ended, whose end is being told, and what it was running.
    dying: Option<Arc<Death>>,
    lost_items: Vec<LostItem>,
    /// When the supervisor will have the core told that time has passed.
    look_at_ns: Option<u64>,
    /// When the workers' memory was last looked at.
    weighed_ns: u64,
    /// Seats for whose worker the system had no memory file.
    stillborn: Vec<WorkerId>,
    complaint: Option<Vec<u8>>,
    breakdown: Option<Arc<Breakdown>>,
    closing: bool,
    /// The driver looks after the table from time to time.
    is_audited: bool,
    /// Something here panicked: nothing is decided any more, and the workers are being killed.
    failed: bool,
    effects: Effects,
}

impl State {
    pub(crate) fn new(config: Config, arena: Arena, flight: Arc<Flight>) -> Self {
        Self {
            core: Scheduler::new(config),
            commands: Vec::new(),
            finished: Vec::new(),
            feeder: Feeder::new(SLOTS),
            chunk_of_slot: vec![ChunkId { index: 0, generation: 0 }; SLOTS],
            place_of_chunk: vec![None; SLOTS],
            jobs: Vec::new(),
            free_jobs: Vec::new(),
            arena,
            slabs: Slabs::default(),
            repeats: crate::repeats::within(flight.budget()),
            flight,
            released: Arc::default(),
            next_function: 1,
            seats: (0..config.workers).map(|_| None).collect(),
            accounts: Accounts::default(),
            history: History::default(),
            recent: RecentFailures::default(),
            events: Events::default(),
            moment_ns: 0,
            next_item: 0,
            unfinished_items: 0,
            attention: VecDeque::new(),
            attention_wanted: 0,
            bells: Bells::default(),
            failures: VecDeque::new(),
            failures_watched: 0,
            forgotten: 0,
            dying: None,
            lost_items: Vec::new(),
            look_at_ns: None,
            weighed_ns: 0,
            stillborn: Vec::new(),
            complaint: None,
            breakdown: None,
            closing: false,
            is_audited: false,
            failed: false,
            effects: Effects::default(),
        }
    }

    /// Reports an event to the core and carries out what it commands.
    pub(crate) fn apply(&mut self, event: Event, context: &Context<'_>) {
        if self.failed {
            return;
        }
        let mut commands = std::mem::take(&mut self.commands);
        self.moment_ns = now_ns();
        self.core.handle(Moment(self.moment_ns), event, &mut commands);
        let mut next = 0;
        while let Some(command) = commands.get(next).copied() {
            next += 1;
            self.carry_out(command, context, &mut commands);
        }
        commands.clear();
        self.commands = commands;
        while let Some(worker) = self.stillborn.pop() {
            self.apply(Event::WorkerExited { worker, exit: WorkerExit::Died }, context);
        }
    }

    /// How many workers there are to be.
    pub(crate) fn capacity(&self) -> usize {
        self.seats.len()
    }

    fn carry_out(&mut self, command: Command, context: &Context<'_>, commands: &mut Vec<Command>) {
        match command {
            Command::Publish { chunk, job, first, count, attempt, devices } => {
                self.publish(chunk, (job, attempt, devices), first, count, context);
            }
            Command::Withdraw { chunk } => {
                let place = self.place_of_chunk[chunk.index as usize];
                let withdrawn = place.is_some_and(|place| context.table.withdraw(&mut self.feeder, place));
                let event = if withdrawn { Event::ChunkWithdrawn { chunk } } else { Event::ChunkKept { chunk } };
                self.core.handle(Moment(now_ns()), event, commands);
            }
            Command::StopItem { worker, chunk, item, cause } => self.stop_item(worker, chunk, item, cause, context),
            Command::EndItem { worker, chunk, item } => self.end_item(worker, chunk, item, context),
            Command::ForgetItem { job, item } => self.forget_item(job, item),
            Command::FailItem { job, item, worker: _, attempt, trouble } => {
                self.fail_item(job, item, attempt, trouble);
            }
            Command::FinishJob { job, end } => self.finish_job(job, end, context),
            Command::StartWorker { worker } => self.start_worker(worker, context),
            Command::StopWorker { worker } => self.dismiss(worker, context),
            Command::KillWorker { worker } => {
                if let Some(seat) = &self.seats[usize::from(worker.0)] {
                    context.supervisor.kill(seat.birth);
                }
            }
            Command::BreakPool { why } => self.break_pool(why),
            Command::EndPool => self.end(),
        }
    }

    pub(crate) fn close(&mut self, cancel_waiting: bool, context: &Context<'_>) {
        let is_first = !std::mem::replace(&mut self.closing, true);
        if (is_first && self.is_accepting()) || cancel_waiting {
            self.apply(Event::PoolClosed { cancel_waiting }, context);
        }
    }

    pub(crate) fn terminate(&mut self, context: &Context<'_>) {
        self.closing = true;
        if !self.effects.ended {
            self.apply(Event::PoolTerminated, context);
        }
    }

    pub(crate) fn is_accepting(&self) -> bool {
        !self.failed && self.core.is_accepting()
    }

    /// Whether somebody waits, or soon may, for something that workers have to do.
    pub(crate) fn is_busy(&self) -> bool {
        !self.failed && !self.effects.ended && (self.closing || self.core.unfinished_jobs() > 0)
    }

    pub(crate) fn history(&self) -> History {
        self.history.until(now_ns())
    }

    pub(crate) fn accounts(&self) -> Accounts {
        let mut accounts = self.accounts.clone();
        if self.core.unfinished_jobs() > 0 {
            accounts.ended_ns = now_ns();
        }
        // Workers say when they ended.
        accounts.ended_ns = accounts.ended_ns.min(now_ns());
        accounts
    }
}

/// What the lock's holder does last.
impl State {
    /// For which answers the driver must be woken while no caller waits.
    pub(crate) fn interest(&self) -> u32 {
        if self.failed {
            INTEREST_NONE
        } else if self.attention_wanted > 0
            || self.bells.must_ring()
            || self.failures_watched > 0
            || (self.closing && self.core.unfinished_jobs() > 0)
        {
            INTEREST_EVERY
        } else if self.core.has_backlog() {
            let is_worth_waiting = self.feeder.is_full() && self.feeder.usable() > 2 * LOW_WATER as usize;
            if is_worth_waiting { LOW_WATER } else { INTEREST_EVERY }
        } else {
            INTEREST_NONE
        }
    }

    pub(crate) fn take_effects(&mut self) -> Effects {
        self.plan_look();
        if self.has_work() && !std::mem::replace(&mut self.is_audited, true) {
            // The driver, which has slept for as long as there was nothing to do, is to sleep for less from now on.
            self.effects.attention = true;
        }
        let ended = self.effects.ended;
        std::mem::replace(&mut self.effects, Effects { ended, ..Effects::default() })
    }

    /// The failures to be shown and the ends to be announced.
    pub(crate) fn take_attention(&mut self) -> (VecDeque<ShownFailure>, VecDeque<Arc<Pending>>) {
        (std::mem::take(&mut self.failures), std::mem::take(&mut self.attention))
    }
}

/// With a full table, the driver refills it when no more than this many tasks wait in it.
const LOW_WATER: u32 = 256;
