//! Owns what an engine knows, behind its one lock, and carries out what the core commands. Never decides, and never
//! waits for anything, least of all for an interpreter.

use crate::accounts::Accounts;
use crate::clock::now_ns;
use crate::fork_guard::generation;
use crate::outcome::{Answer, Breakdown, Death, Outcome, Part, PartContent, Parts};
use crate::pending::{Pending, Stage};
use crate::supervisor::{Ending, Supervisor};
use crate::wait::WaitRoom;
use crate::worker::MappedTable;
use paceline_core::{
    Assignment, Breakage, ChunkId, Command, Config, Event, Held, JobEnd, JobId, Moment, Scheduler, Sizing, WorkerExit,
    WorkerId,
};
use paceline_ipc::SLOTS;
use paceline_ipc::arena::{Arena, ArenaReader, Span};
use paceline_ipc::body::{Body, INLINE_SEGMENT, Input, Request};
use paceline_ipc::idle::{INTEREST_EVERY, INTEREST_NONE};
use paceline_ipc::record::Records;
use paceline_ipc::slabs::{Placed, Slabs};
use paceline_ipc::table::{Feeder, Place};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// A function that a pool's workers have been told of: bytes in the parent's arena, until the last job that needs
/// them has ended.
#[derive(Debug)]
pub struct Function {
    id: u64,
    place: Span,
    released: Arc<Released>,
    generation: u32,
}

/// Places whose last user is gone, to be freed under the lock.
pub(crate) type Released = Mutex<Vec<Span>>;

impl Drop for Function {
    fn drop(&mut self) {
        if self.generation != generation() {
            // In a forked child the lock may be held by a thread that it has not inherited.
            return;
        }
        self.released.lock().unwrap_or_else(PoisonError::into_inner).push(self.place);
    }
}

/// What the state needs of its surroundings to carry out a command.
pub(crate) struct Context<'a> {
    pub(crate) table: &'a MappedTable,
    pub(crate) supervisor: &'a Supervisor,
    pub(crate) waiting: &'a WaitRoom,
    pub(crate) birth: &'a dyn Fn(u16, &ArenaReader) -> u64,
}

/// What has to follow once the lock is released.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) published: usize,
    pub(crate) resolved: bool,
    pub(crate) attention: bool,
    pub(crate) ended: bool,
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
    released: Arc<Released>,
    next_function: u64,
    seats: Vec<Option<Seat>>,
    accounts: Accounts,
    next_item: u64,
    attention: VecDeque<Arc<Pending>>,
    attention_wanted: usize,
    dying: Option<Arc<Death>>,
    /// Seats for whose worker the system had no memory file.
    stillborn: Vec<WorkerId>,
    complaint: Option<Vec<u8>>,
    breakdown: Option<Arc<Breakdown>>,
    closing: bool,
    /// Something here panicked: nothing is decided any more, and the workers are being killed.
    failed: bool,
    effects: Effects,
}

#[derive(Default)]
struct JobSlot {
    /// Kept from job to job, so that a small one needs no allocation.
    inline: Vec<u8>,
    job: Option<Job>,
}

struct Job {
    pending: Arc<Pending>,
    function: Arc<Function>,
    /// Where the input lies, unless it is inline.
    input: Option<Span>,
    /// Where each item's input ends; a single item needs none.
    ends: Option<Box<[u64]>>,
    parts: Gathered,
    first_item: u64,
}

enum Gathered {
    None,
    One(Part),
    Many(Vec<Part>),
}

impl Gathered {
    fn push(&mut self, part: Part) {
        *self = match std::mem::replace(self, Self::None) {
            Self::None => Self::One(part),
            Self::One(first) => Self::Many(vec![first, part]),
            Self::Many(mut parts) => {
                parts.push(part);
                Self::Many(parts)
            }
        };
    }

    fn into_parts(self) -> Parts {
        match self {
            Self::None => Parts::Many(Vec::new()),
            Self::One(part) => Parts::One(part),
            Self::Many(mut parts) => {
                parts.sort_unstable_by_key(|part| part.first);
                Parts::Many(parts)
            }
        }
    }
}

/// A chunk whose items all have an outcome.
struct Finished {
    chunk: ChunkId,
    what: Assignment,
    answer: Answer,
    owner: u16,
    busy_ns: u64,
    ended_ns: u64,
}

/// A worker that has been asked for, or lives.
struct Seat {
    birth: u64,
    pid: i32,
    arena: Arc<ArenaReader>,
    account: Option<usize>,
}

/// What is submitted.
pub(crate) struct Submission<'a> {
    /// What to call.
    pub function: &'a Arc<Function>,
    /// The input of all items, one after the other, if it is short.
    pub input: InputBytes<'a>,
    /// Where each item's input ends; none for a single item.
    pub ends: Option<Box<[u64]>>,
    /// How many items.
    pub items: u32,
    /// How they are grouped.
    pub sizing: Sizing,
    /// How often an item may be run again after its worker died.
    pub retries: u16,
    /// Who wants to know.
    pub pending: &'a Arc<Pending>,
}

/// Input bytes, short or already in the parent's arena.
#[derive(Clone, Copy, Debug)]
pub(crate) enum InputBytes<'a> {
    /// To be copied.
    Short(&'a [u8]),
    /// In a segment, which the job takes over.
    Long(Span),
}

/// The pool does not take submissions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubmitError {
    /// It was closed or terminated.
    Closed,
    /// It is broken.
    Broken(Arc<Breakdown>),
    /// This process is a fork of the one that opened it.
    Forked,
    /// More items than one job can have.
    TooManyItems,
    /// There is no memory for the input.
    NoMemory(paceline_ipc::arena::AllocateError),
}

impl State {
    pub(crate) fn new(workers: u16, arena: Arena) -> Self {
        let slots = u32::try_from(SLOTS).expect("the table is small");
        Self {
            core: Scheduler::new(Config { workers, table_slots: slots }),
            commands: Vec::new(),
            finished: Vec::new(),
            feeder: Feeder::new(SLOTS),
            chunk_of_slot: vec![ChunkId { index: 0, generation: 0 }; SLOTS],
            place_of_chunk: vec![None; SLOTS],
            jobs: Vec::new(),
            free_jobs: Vec::new(),
            arena,
            slabs: Slabs::default(),
            released: Arc::default(),
            next_function: 1,
            seats: (0..workers).map(|_| None).collect(),
            accounts: Accounts::default(),
            next_item: 0,
            attention: VecDeque::new(),
            attention_wanted: 0,
            dying: None,
            stillborn: Vec::new(),
            complaint: None,
            breakdown: None,
            closing: false,
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
        self.core.handle(Moment(now_ns()), event, &mut commands);
        let mut next = 0;
        while let Some(command) = commands.get(next).copied() {
            next += 1;
            self.carry_out(command, context, &mut commands);
        }
        commands.clear();
        self.commands = commands;
        while let Some(worker) = self.stillborn.pop() {
            self.apply(Event::WorkerExited { worker, exit: WorkerExit::Died, held: None }, context);
        }
    }

    fn carry_out(&mut self, command: Command, context: &Context<'_>, commands: &mut Vec<Command>) {
        match command {
            Command::Publish { chunk, job, first, count, attempt: _ } => {
                self.publish(chunk, job, first, count, context);
            }
            Command::Withdraw { chunk } => {
                let place = self.place_of_chunk[chunk.index as usize];
                let withdrawn = place.is_some_and(|place| context.table.withdraw(&mut self.feeder, place));
                let event = if withdrawn { Event::ChunkWithdrawn { chunk } } else { Event::ChunkKept { chunk } };
                self.core.handle(Moment(now_ns()), event, commands);
            }
            Command::FailItem { job, item, worker: _, attempt } => self.fail_item(job, item, attempt),
            Command::FinishJob { job, end } => self.finish_job(job, end, context),
            Command::StartWorker { worker } => self.start_worker(worker, context),
            Command::StopWorker { worker } => context.table.idle.dismiss(worker.0),
            Command::KillWorker { worker } => {
                if let Some(seat) = &self.seats[usize::from(worker.0)] {
                    context.supervisor.kill(seat.birth);
                }
            }
            Command::BreakPool { why } => self.break_pool(why),
            Command::EndPool => self.effects.ended = true,
        }
    }

    fn publish(&mut self, chunk: ChunkId, job: JobId, first: u32, count: u32, context: &Context<'_>) {
        let slot = &self.jobs[job.0 as usize];
        let job = slot.job.as_ref().expect("the core publishes items of unfinished jobs");
        let bounds = job.ends.as_ref().map(|ends| {
            let start = first.checked_sub(1).map_or(0, |before| ends[before as usize]);
            (start, ends[(first + count) as usize - 1])
        });
        let input = match (job.input, bounds) {
            (Some(span), None) => Input::Segment(span),
            (Some(span), Some((start, end))) => {
                Input::Segment(Span { offset: span.offset + start, length: end - start, ..span })
            }
            (None, None) => Input::Inline(&slot.inline),
            (None, Some((start, end))) => Input::Inline(slice(&slot.inline, start, end)),
        };
        let (function, function_at) = (job.function.id, job.function.place);
        let request = Request { function, function_at, first, count, input };
        // SAFETY: the slot is free, so only the parent may touch its body.
        let write = |body: *mut Body| unsafe { (*body).put_request(&request) };
        let place = context.table.publish(&mut self.feeder, write).expect("the core counts the table's slots");
        self.chunk_of_slot[place.slot as usize] = chunk;
        self.place_of_chunk[chunk.index as usize] = Some(place);
        self.effects.published += 1;
    }

    /// Takes in every answer there is.
    pub(crate) fn drain(&mut self, context: &Context<'_>) {
        if self.failed || !context.table.has_finished() {
            return;
        }
        let mut finished = std::mem::take(&mut self.finished);
        let mut feeder = std::mem::replace(&mut self.feeder, Feeder::new(0));
        context.table.drain(&mut feeder, |place, owner, body| {
            // SAFETY: the slot is done, so only the parent may touch its body.
            finished.extend(self.take_answer(place, owner, unsafe { &*body }));
        });
        self.feeder = feeder;
        self.file(&mut finished, context);
        self.finished = finished;
    }

    /// Keeps answers and tells the core, in the order in which they ended; the bitmap has them by slot.
    fn file(&mut self, finished: &mut Vec<Finished>, context: &Context<'_>) {
        finished.sort_unstable_by_key(|one| one.ended_ns);
        for Finished { chunk, what, answer, owner, busy_ns, ended_ns } in finished.drain(..) {
            self.keep(what, what.count, answer, owner, busy_ns, ended_ns);
            self.apply(Event::ChunkFinished { chunk, busy_ns }, context);
        }
    }

    fn take_answer(&mut self, place: Place, owner: u16, body: &Body) -> Option<Finished> {
        let chunk = self.chunk_of_slot[place.slot as usize];
        let what = self.core.chunk(chunk)?;
        let began_ns = body.began_ns.load(std::sync::atomic::Ordering::Relaxed);
        let ended_ns = body.ended_ns.load(std::sync::atomic::Ordering::Relaxed);
        let seat = self.seats.get(usize::from(owner))?.as_ref()?;
        let (span, _) = body.answer();
        let answer = if span.segment == INLINE_SEGMENT {
            Answer::inline(body.inline_bytes(span), &seat.arena)
        } else {
            Answer::segment(span, &seat.arena)
        };
        Some(Finished { chunk, what, answer, owner, busy_ns: ended_ns.saturating_sub(began_ns), ended_ns })
    }

    /// Files the outcomes of the first `count` items of an assignment.
    fn keep(&mut self, what: Assignment, count: u32, answer: Answer, owner: u16, busy_ns: u64, ended_ns: u64) {
        let Some(job) = self.jobs[what.job.0 as usize].job.as_mut() else { return };
        let first = job.first_item + u64::from(what.first);
        job.parts.push(Part { first: what.first, count, content: PartContent::Answer(answer) });
        self.accounts.ended_ns = self.accounts.ended_ns.max(ended_ns);
        self.account(owner, busy_ns, first..first + u64::from(count));
    }

    fn account(&mut self, owner: u16, busy_ns: u64, items: std::ops::Range<u64>) {
        let Some(Some(seat)) = self.seats.get_mut(usize::from(owner)) else { return };
        let account = *seat.account.get_or_insert_with(|| self.accounts.open(seat.pid));
        self.accounts.add(account, busy_ns, items);
    }

    /// Takes back what a dead worker held: its finished items are kept, the rest is the core's business.
    fn take_held(&mut self, place: Place, owner: u16, body: &Body) -> Option<Held> {
        let chunk = self.chunk_of_slot[place.slot as usize];
        let assignment = self.core.chunk(chunk)?;
        let seat = self.seats.get(usize::from(owner))?.as_ref()?;
        let arena = Arc::clone(&seat.arena);
        let (span, claimed) = body.answer();
        let claimed = claimed.min(assignment.count);
        let now = now_ns();
        let began = body.began_ns.load(std::sync::atomic::Ordering::Relaxed);
        let busy_ns = if began == 0 { 0 } else { now.saturating_sub(began) };
        let (answer, finished) = salvage(body, span, claimed, &arena);
        if let Some(answer) = answer {
            self.keep(assignment, finished, answer, owner, busy_ns, now);
        }
        Some(Held { chunk, finished })
    }

    fn fail_item(&mut self, job: JobId, item: u32, attempt: u16) {
        let death = self.dying.clone().unwrap_or_default();
        if let Some(job) = self.jobs[job.0 as usize].job.as_mut() {
            job.parts.push(Part { first: item, count: 1, content: PartContent::Died { death, attempt } });
        }
    }

    fn finish_job(&mut self, id: JobId, end: JobEnd, context: &Context<'_>) {
        let slot = &mut self.jobs[id.0 as usize];
        slot.inline.clear();
        let Some(job) = slot.job.take() else { return };
        self.free_jobs.push(id.0);
        if let Some(span) = job.input {
            self.slabs.release(&mut self.arena, span);
        }
        let outcome = match end {
            JobEnd::Complete => Outcome::Complete(job.parts.into_parts()),
            JobEnd::Cancelled => Outcome::Cancelled,
            JobEnd::Abandoned => Outcome::Abandoned(self.breakdown.clone()),
        };
        let pending = job.pending;
        if pending.wants_attention() {
            self.attention_wanted -= 1;
            self.attention.push_back(Arc::clone(&pending));
            self.effects.attention = true;
        }
        if pending.end(outcome) {
            context.waiting.wake_followers(pending.keys());
        }
        self.effects.resolved = true;
    }

    fn start_worker(&mut self, worker: WorkerId, context: &Context<'_>) {
        context.table.idle.forget(worker.0);
        let seat = usize::from(worker.0);
        self.seats[seat] = None;
        match ArenaReader::create("paceline-results") {
            Ok(arena) => {
                let birth = (context.birth)(worker.0, &arena);
                self.seats[seat] = Some(Seat { birth, pid: 0, arena: Arc::new(arena), account: None });
            }
            Err(errno) => {
                let last_words = format!("the system refused a memory file: {errno}");
                self.dying = Some(Arc::new(Death { last_words, ..Death::default() }));
                self.stillborn.push(worker);
            }
        }
    }

    fn break_pool(&mut self, why: Breakage) {
        let death = self.dying.as_deref().cloned().unwrap_or_default();
        let reason = match why {
            Breakage::StartFailed => "a worker could not be set up".to_owned(),
            Breakage::CrashLoop { deaths } => format!("{deaths} workers in a row ended before they finished anything"),
        };
        self.breakdown = Some(Arc::new(Breakdown { reason, death, complaint: self.complaint.take() }));
    }
}

/// What callers do.
impl State {
    pub(crate) fn submit(&mut self, submission: Submission<'_>, context: &Context<'_>) -> Result<(), SubmitError> {
        if !self.is_accepting() {
            if let InputBytes::Long(span) = submission.input {
                self.slabs.release(&mut self.arena, span);
            }
            return Err(self.why_closed());
        }
        if self.accounts.began_ns.is_none() {
            self.accounts.began_ns = Some(now_ns());
        }
        let number = self.free_jobs.pop().unwrap_or_else(|| {
            self.jobs.push(JobSlot::default());
            u32::try_from(self.jobs.len() - 1).expect("memory ends before job numbers do")
        });
        let job = JobId(number);
        let slot = &mut self.jobs[number as usize];
        let input = match submission.input {
            InputBytes::Short(bytes) => {
                slot.inline.extend_from_slice(bytes);
                None
            }
            InputBytes::Long(span) => Some(span),
        };
        slot.job = Some(Job {
            pending: Arc::clone(submission.pending),
            function: Arc::clone(submission.function),
            input,
            ends: submission.ends,
            parts: Gathered::None,
            first_item: self.next_item,
        });
        self.next_item += u64::from(submission.items);
        submission.pending.begin(job);
        let Submission { items, sizing, retries, .. } = submission;
        self.apply(Event::JobSubmitted { job, items, sizing, retries }, context);
        // Whoever submits more than fits also takes in what has been answered, so that the table never runs dry.
        if self.core.has_backlog() {
            self.drain(context);
        }
        Ok(())
    }

    /// Why no job can be submitted.
    pub(crate) fn why_closed(&self) -> SubmitError {
        self.breakdown.clone().map_or(SubmitError::Closed, SubmitError::Broken)
    }

    /// Cancels a job if nothing of it has begun; whether it is cancelled.
    pub(crate) fn cancel(&mut self, pending: &Arc<Pending>, context: &Context<'_>) -> bool {
        if let Some(job) = pending.job() {
            self.apply(Event::CancelRequested { job }, context);
        }
        pending.stage() == Stage::Cancelled
    }

    /// Whether something of a job is with a worker now.
    pub(crate) fn is_running(&self, pending: &Arc<Pending>, context: &Context<'_>) -> bool {
        pending.job().is_some_and(|job| {
            self.chunk_of_slot.iter().any(|chunk| {
                self.core.chunk(*chunk).is_some_and(|what| what.job == job)
                    && self.place_of_chunk[chunk.index as usize].is_some_and(|place| !context.table.is_ready(place))
            })
        })
    }

    /// Asks for the end of a job to be announced; gives the attachment back if it has ended already.
    pub(crate) fn want_attention(
        &mut self,
        pending: &Arc<Pending>,
        attachment: crate::pending::Attachment,
    ) -> Result<(), crate::pending::Attachment> {
        if pending.is_done() || pending.job().is_none() {
            return Err(attachment);
        }
        if !pending.wants_attention() {
            pending.want_attention(attachment);
            self.attention_wanted += 1;
        }
        Ok(())
    }

    pub(crate) fn close(&mut self, context: &Context<'_>) {
        if !self.closing {
            self.closing = true;
            if self.is_accepting() {
                self.apply(Event::PoolClosed, context);
            }
        }
    }

    pub(crate) fn terminate(&mut self, context: &Context<'_>) {
        self.closing = true;
        if !self.effects.ended {
            self.apply(Event::PoolTerminated, context);
        }
    }

    /// A place for bytes that the workers are to read.
    pub(crate) fn place(&mut self, length: u64) -> Result<Placed, SubmitError> {
        self.slabs.place(&mut self.arena, length).map_err(SubmitError::NoMemory)
    }

    /// Gives a function's bytes to the workers.
    pub(crate) fn register(&mut self, bytes: &[u8]) -> Result<Arc<Function>, SubmitError> {
        for place in std::mem::take(&mut *self.released.lock().unwrap_or_else(PoisonError::into_inner)) {
            self.slabs.release(&mut self.arena, place);
        }
        let placed = self.place(bytes.len() as u64)?;
        // SAFETY: the place is ours, mapped, and as large as asked for.
        unsafe { placed.address.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        let (id, place) = (self.next_function, placed.span);
        self.next_function += 1;
        Ok(Arc::new(Function { id, place, released: Arc::clone(&self.released), generation: generation() }))
    }

    pub(crate) fn is_accepting(&self) -> bool {
        !self.failed && self.core.is_accepting()
    }

    pub(crate) fn accounts(&self) -> Accounts {
        let mut accounts = self.accounts.clone();
        if self.core.unfinished_jobs() > 0 {
            accounts.ended_ns = now_ns();
        }
        accounts
    }

    pub(crate) fn pids(&self) -> Vec<i32> {
        self.seats.iter().flatten().map(|seat| seat.pid).filter(|pid| *pid != 0).collect()
    }
}

/// What the supervisor reports.
impl State {
    pub(crate) fn on_forked(&mut self, worker: u16, birth: u64, pid: i32) {
        if let Some(Some(seat)) = self.seats.get_mut(usize::from(worker))
            && seat.birth == birth
        {
            seat.pid = pid;
        }
    }

    pub(crate) fn on_ready(&mut self, worker: u16, birth: u64, context: &Context<'_>) {
        if self.seats[usize::from(worker)].as_ref().is_some_and(|seat| seat.birth == birth) {
            self.apply(Event::WorkerReady { worker: WorkerId(worker) }, context);
        }
    }

    pub(crate) fn on_exited(&mut self, worker: u16, birth: u64, ending: Ending, context: &Context<'_>) {
        if self.seats[usize::from(worker)].as_ref().is_none_or(|seat| seat.birth != birth) {
            return;
        }
        if self.failed {
            self.seats[usize::from(worker)] = None;
            self.effects.ended |= self.seats.iter().all(Option::is_none);
            return;
        }
        self.dying = Some(Arc::new(ending.death));
        self.complaint = ending.complaint;
        let (mut finished, mut held) = (Vec::new(), None);
        let mut feeder = std::mem::replace(&mut self.feeder, Feeder::new(0));
        let this = std::cell::RefCell::new(&mut *self);
        context.table.reclaim(
            &mut feeder,
            worker,
            // SAFETY: the slot is done, so only the parent may touch its body.
            |place, owner, body| finished.extend(this.borrow_mut().take_answer(place, owner, unsafe { &*body })),
            // SAFETY: the worker that claimed the slot is dead.
            |place, owner, body| held = held.or(this.borrow_mut().take_held(place, owner, unsafe { &*body })),
        );
        self.feeder = feeder;
        self.file(&mut finished, context);
        self.seats[usize::from(worker)] = None;
        let exit = match ending.exit {
            // One that leaves unasked with exit code zero has not been stopped.
            WorkerExit::Stopped if !self.closing => WorkerExit::Died,
            exit => exit,
        };
        self.apply(Event::WorkerExited { worker: WorkerId(worker), exit, held }, context);
        self.dying = None;
        // The dead worker may have been about to wake somebody.
        context.table.idle.wake_all_workers();
        context.table.idle.wake_parent_after_death();
    }
}

/// What happens when we ourselves are wrong.
impl State {
    /// Gives up everything after a panic, without asking the core, which may have been in the middle of something.
    pub(crate) fn fail(&mut self, message: &str, context: &Context<'_>) {
        self.failed = true;
        let reason = format!("an internal error of Paceline: {message}");
        let breakdown = Arc::new(Breakdown { reason, death: Death::default(), complaint: None });
        self.breakdown = Some(Arc::clone(&breakdown));
        for job in self.jobs.iter_mut().filter_map(|slot| slot.job.take()) {
            self.effects.resolved = true;
            if job.pending.is_done() {
                continue;
            }
            if job.pending.wants_attention() {
                self.attention.push_back(Arc::clone(&job.pending));
                self.effects.attention = true;
            }
            if job.pending.end(Outcome::Abandoned(Some(Arc::clone(&breakdown)))) {
                context.waiting.wake_followers(job.pending.keys());
            }
        }
        for seat in self.seats.iter().flatten() {
            context.supervisor.kill(seat.birth);
        }
        self.effects.ended |= self.seats.iter().all(Option::is_none);
    }

    /// The same when the supervisor itself has failed, and will not tell of the workers' ends.
    pub(crate) fn fail_without_supervisor(&mut self, message: &str, context: &Context<'_>) {
        self.fail(message, context);
        self.seats.fill_with(|| None);
        self.effects.ended = true;
    }
}

/// What the lock's holder does last.
impl State {
    /// For which answers the driver must be woken while no caller waits.
    pub(crate) fn interest(&self) -> u32 {
        if self.failed {
            INTEREST_NONE
        } else if self.attention_wanted > 0 || (self.closing && self.core.unfinished_jobs() > 0) {
            INTEREST_EVERY
        } else if self.core.has_backlog() {
            if self.feeder.used() == SLOTS { LOW_WATER } else { INTEREST_EVERY }
        } else {
            INTEREST_NONE
        }
    }

    pub(crate) fn take_effects(&mut self) -> Effects {
        let ended = self.effects.ended;
        std::mem::replace(&mut self.effects, Effects { ended, ..Effects::default() })
    }

    pub(crate) fn take_attention(&mut self) -> VecDeque<Arc<Pending>> {
        std::mem::take(&mut self.attention)
    }
}

/// With a full table, the driver refills it when no more than this many tasks wait in it.
const LOW_WATER: u32 = 256;

fn slice(bytes: &[u8], start: u64, end: u64) -> &[u8] {
    let index = |place: u64| usize::try_from(place).expect("inline input is short");
    &bytes[index(start)..index(end)]
}

/// The records that a dead worker had finished, and how many of them can be read.
fn salvage(body: &Body, span: Span, claimed: u32, arena: &Arc<ArenaReader>) -> (Option<Answer>, u32) {
    let count = |bytes: &[u8]| {
        let mut records = Records::new(bytes);
        let readable = (0..claimed).take_while(|_| records.next().is_some()).count();
        (bytes.len() - records.remaining(), u32::try_from(readable).unwrap_or(claimed))
    };
    if claimed == 0 {
        (None, 0)
    } else if span.segment == INLINE_SEGMENT {
        let (length, finished) = count(body.inline_bytes(span));
        (Some(Answer::inline(&body.inline[..length], arena)), finished)
    } else {
        let Ok(view) = arena.view(span) else { return (None, 0) };
        let (length, finished) = count(view.bytes());
        (Some(Answer::segment(Span { length: length as u64, ..span }, arena)), finished)
    }
}
