//! Owns the engine that a caller holds: submits, cancels, waits, closes. Never decides (the core does) and never names
//! what runs on it.

use crate::accounts::Accounts;
use crate::cpu_time;
use crate::flight::Flight;
use crate::fork_guard;
use crate::history::History;
use crate::memory_limits::has_memory;
use crate::pending::{Attachment, Pending};
use crate::start::{Maker, StartMethod};
use crate::state::{
    Context, Effects, Function, Glance, Input, InputBytes, Running, ShownFailure, State, Submission, SubmitError,
};
use crate::supervisor::{Start, Supervisor};
use crate::wait::{Target, WaitRoom, Waited};
use crate::worker::MappedTable;
use paceline_core::{Config, Event, Sizing, Terms, Tokens};
use paceline_ipc::arena::{Arena, ArenaReader};
use paceline_ipc::body::INLINE_BYTES;
use paceline_ipc::memory::MemoryFile;
use paceline_ipc::message::ThreadTime;
use paceline_ipc::share::Share;
use paceline_ipc::{SEATS, SLOTS};
use rustix::io::Errno;
use std::any::Any;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// What an engine is opened with.
pub struct Options {
    /// How many workers, from one to [`SEATS`].
    pub workers: u16,
    /// How many chunks a worker may run before it is replaced; zero for any number.
    pub chunks_per_worker: u64,
    /// How many bytes of memory a worker may have; zero for any amount. One that has more is ended, with what it runs.
    pub memory_limit: u64,
    /// How many bytes of inputs and results there should be in flight at most.
    pub memory_budget: u64,
    /// How long a worker may take to start, in nanoseconds; zero for any time.
    pub start_timeout_ns: u64,
    /// What chunks may have at once, in all. A job that wants more is never to be submitted.
    pub tokens: Tokens,
    /// The bytes that set up each worker.
    pub setup: Vec<u8>,
    /// Every line that a worker writes begins with its process id, or with what the worker has put before it.
    pub prefix_output: bool,
    /// How workers come into being.
    pub start: StartMethod,
    /// At how many looks in a row, one a second, a worker may be found stopped by a signal before it is killed. There are
    /// looks while there is work; [`STOPPED_LOOKS`](crate::STOPPED_LOOKS) is meant for everybody but tests.
    pub stopped_looks: u32,
    /// Who is told of the jobs whose end was to be announced.
    pub announce: Box<dyn Announce>,
}

impl Options {
    /// What of them the core has to know.
    fn for_core(&self) -> Config {
        Config {
            workers: self.workers,
            table_slots: u32::try_from(SLOTS).expect("the table is small"),
            start_timeout_ns: self.start_timeout_ns,
            is_memory_limited: self.memory_limit > 0,
            tokens: self.tokens,
        }
    }
}

/// Told of ended jobs, on the engine's own thread, in the order in which they ended.
pub trait Announce: Send + Sync {
    /// These jobs have ended; their attachments can be taken.
    fn announce(&self, ended: &mut dyn Iterator<Item = Arc<Pending>>);

    /// An item has failed for good, of a job whose failures are to be shown as they come.
    fn show_failure(&self, failure: &ShownFailure);
}

/// An engine could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The number of workers is zero or more than [`SEATS`].
    WorkerCount,
    /// The system refused memory or a thread.
    System(Errno),
}

/// A pool's engine. Dropped, it takes no more jobs, and its workers leave when those it has are done.
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
}

/// What the engine's callers, its driver and the supervisor share.
pub(crate) struct Shared {
    pub(crate) table: MappedTable,
    pub(crate) waiting: WaitRoom,
    state: Mutex<State>,
    supervisor: Arc<Supervisor>,
    files: Files,
    chunks_per_worker: u64,
    memory_limit: u64,
    pub(crate) flight: Arc<Flight>,
    prefix_output: bool,
    maker: Maker,
    stopped_looks: u32,
    pub(crate) announce: Box<dyn Announce>,
    generation: u32,
    /// Something is to be announced, or the pool has ended: the driver's private reasons to wake.
    pub(crate) attention: AtomicBool,
    pub(crate) ended: AtomicBool,
    /// How much workers had said when they were last heard for a result.
    heard: AtomicU64,
    left: Mutex<bool>,
    leaving: Condvar,
    me: Weak<Self>,
}

/// Free segments of inputs hold no more memory than this, whatever the budget is.
const MOST_KEPT_WARM: u64 = 1 << 30;

/// What each worker is given.
pub(crate) struct Files {
    pub(crate) table: MemoryFile,
    pub(crate) arena: MemoryFile,
    pub(crate) setup: MemoryFile,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something under the lock, and then what must follow it: wakes workers, waiting callers, the driver. `None`
    /// if it panicked; the pool is broken then, and every wait ends.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut State, &Context<'_>) -> R) -> Option<R> {
        let (result, effects) = self.act(act);
        self.settle(&effects);
        if effects.resolved {
            self.table.idle.wake_leader();
        }
        result
    }

    /// The same for the leader, who need not wake itself.
    pub(crate) fn with_leader<R>(&self, act: impl FnOnce(&mut State, &Context<'_>) -> R) -> Option<R> {
        let (result, effects) = self.act(act);
        self.settle(&effects);
        result
    }

    fn act<R>(&self, act: impl FnOnce(&mut State, &Context<'_>) -> R) -> (Option<R>, Effects) {
        let birth = |seat: u16, arena: &ArenaReader| self.start_worker(seat, arena);
        let context = Context {
            table: &self.table,
            supervisor: &self.supervisor,
            waiting: &self.waiting,
            memory_limit: self.memory_limit,
            birth: &birth,
        };
        let mut state = self.lock();
        // What a panic leaves half done is not looked at again: the state only ends what there is.
        let result = catch_unwind(AssertUnwindSafe(|| act(&mut state, &context)))
            .inspect_err(|panic| state.fail(panic_message(&**panic), &context))
            .ok();
        if state.is_busy() {
            self.supervisor.attend();
        }
        self.table.idle.set_interest(state.interest(), || self.table.concerns_driver());
        (result, state.take_effects())
    }

    fn settle(&self, effects: &Effects) {
        for _ in 0..effects.published {
            if !self.table.wake_worker() {
                break;
            }
        }
        if effects.attention {
            self.attention.store(true, Ordering::Release);
        }
        if effects.ended {
            self.ended.store(true, Ordering::Release);
        }
        if effects.attention || effects.ended {
            self.table.idle.wake_driver();
        }
        if let Some(at_ns) = effects.look_at_ns {
            self.supervisor.look_at(Weak::clone(&self.me), at_ns);
        }
    }

    /// Sees to what has a limit; when to do so again, if at all.
    pub(crate) fn look(&self) -> Option<u64> {
        self.with(State::look).flatten()
    }

    fn start_worker(&self, seat: u16, arena: &ArenaReader) -> u64 {
        let own_arena = arena.file().as_fd().try_clone_to_owned();
        let start = Start {
            engine: Weak::clone(&self.me),
            seat,
            chunks: self.chunks_per_worker,
            own_arena: own_arena.ok(),
            maker: self.maker.clone(),
        };
        self.supervisor.start(start)
    }

    pub(crate) fn prefixes_output(&self) -> bool {
        self.prefix_output
    }

    pub(crate) fn files(&self) -> &Files {
        &self.files
    }

    /// Whether somebody waits, or soon may, for something that workers have to do.
    pub(crate) fn is_busy(&self) -> bool {
        self.lock().is_busy()
    }

    pub(crate) fn stopped_looks(&self) -> u32 {
        self.stopped_looks
    }

    /// The supervisor has failed, and with it every engine that has workers.
    pub(crate) fn fail_without_supervisor(&self, message: &str) {
        self.with(|state, context| state.fail_without_supervisor(message, context));
    }

    /// Why nothing can be submitted after a panic.
    pub(crate) fn broken(&self) -> SubmitError {
        self.lock().why_closed()
    }

    /// The driver has nothing more to do.
    pub(crate) fn leave(&self) {
        if let Maker::Fork(server) = self.maker {
            self.supervisor.dismiss(server, Duration::from_secs(5));
        }
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.leaving.notify_all();
    }

    fn is_foreign(&self) -> bool {
        self.generation != fork_guard::generation()
    }
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a message")
}

impl Engine {
    /// Opens an engine; its workers start meanwhile.
    ///
    /// # Errors
    /// When the number of workers makes no sense, or the system refuses what the engine needs.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        if options.workers == 0 || usize::from(options.workers) > SEATS {
            return Err(OpenError::WorkerCount);
        }
        let generation = fork_guard::settle();
        let system = OpenError::System;
        let config = options.for_core();
        let (maker, server) = options.start.divide();
        let table_file = MemoryFile::create("paceline-table", MappedTable::SIZE).map_err(system)?;
        let arena = Arena::create_lent("paceline-inputs", options.memory_budget.min(MOST_KEPT_WARM))
            .map_err(system)?
            .asking(has_memory);
        let flight = Flight::new(options.memory_budget);
        let arena_file = arena.file().try_clone().map_err(system)?;
        let shared = Shared {
            table: MappedTable::map(&table_file).map_err(system)?,
            waiting: WaitRoom::new(),
            state: Mutex::new(State::new(config, arena, Arc::clone(&flight))),
            supervisor: Supervisor::of_this_process(generation).map_err(system)?,
            files: Files {
                table: table_file,
                arena: arena_file,
                setup: MemoryFile::holding("paceline-setup", &options.setup).map_err(system)?,
            },
            chunks_per_worker: options.chunks_per_worker,
            memory_limit: options.memory_limit,
            flight,
            prefix_output: options.prefix_output,
            maker,
            stopped_looks: options.stopped_looks,
            announce: options.announce,
            generation,
            attention: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            heard: AtomicU64::new(0),
            left: Mutex::new(false),
            leaving: Condvar::new(),
            me: Weak::new(),
        };
        let shared = Arc::new_cyclic(|me| Shared { me: Weak::clone(me), ..shared });
        crate::driver::start(Arc::clone(&shared)).map_err(system)?;
        if let Some(server) = server {
            shared.supervisor.adopt(server);
        }
        shared.with(|state, context| state.apply(Event::PoolOpened, context));
        Ok(Self { shared })
    }

    /// Gives the workers a function, by its bytes, with a name for people; it is theirs until the last holder and the last
    /// job let go.
    ///
    /// # Errors
    /// When there is no memory for it, or this process was forked from the engine's.
    pub fn register(&self, bytes: &[u8], name: &str) -> Result<Arc<Function>, SubmitError> {
        self.register_naming(bytes, name, Vec::new())
    }

    /// The same for one that names something in shared memory.
    ///
    /// # Errors
    /// As above.
    pub fn register_naming(
        &self,
        bytes: &[u8],
        name: &str,
        shares: Vec<Arc<Share>>,
    ) -> Result<Arc<Function>, SubmitError> {
        if self.shared.is_foreign() {
            return Err(SubmitError::Forked);
        }
        self.shared.with(|state, _| state.register(bytes, name, shares)).unwrap_or_else(|| Err(self.shared.broken()))
    }

    /// Submits a job of one item.
    ///
    /// # Errors
    /// When the pool takes no submissions, or there is no memory for the input.
    pub fn submit<'a>(
        &self,
        function: &Arc<Function>,
        input: impl Into<Input<'a>>,
        terms: Terms,
        pending: &Arc<Pending>,
    ) -> Result<(), SubmitError> {
        self.submit_items(function, input.into(), None, 1, Sizing::Fixed(1), terms, pending)
    }

    /// Submits a job of many items, the input of which lies one after the other and ends where `ends` says.
    ///
    /// # Errors
    /// When the pool takes no submissions, there are too many items, or there is no memory for the input.
    pub fn submit_many<'a>(
        &self,
        function: &Arc<Function>,
        input: impl Into<Input<'a>>,
        ends: Vec<u64>,
        sizing: Sizing,
        terms: Terms,
        pending: &Arc<Pending>,
    ) -> Result<(), SubmitError> {
        let input = input.into();
        let Ok(items) = u32::try_from(ends.len()) else {
            self.free(&input.buffers);
            return Err(SubmitError::TooManyItems);
        };
        self.submit_items(function, input, Some(ends.into()), items, sizing, terms, pending)
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one submission, gathered here")]
    fn submit_items(
        &self,
        function: &Arc<Function>,
        input: Input<'_>,
        ends: Option<Box<[u64]>>,
        items: u32,
        sizing: Sizing,
        terms: Terms,
        pending: &Arc<Pending>,
    ) -> Result<(), SubmitError> {
        if self.shared.is_foreign() {
            return Err(SubmitError::Forked);
        }
        let Input { bytes, runs, buffers, shares } = input;
        let input = if bytes.len() <= INLINE_BYTES && runs.is_empty() {
            InputBytes::Short(bytes)
        } else {
            InputBytes::Long(self.place_all(bytes, &runs).inspect_err(|_| self.free(&buffers))?.span)
        };
        let submission = Submission { function, input, buffers, shares, ends, items, sizing, terms, pending };
        self.shared
            .with(|state, context| state.submit(submission, context))
            .unwrap_or_else(|| Err(self.shared.broken()))
    }

    /// Cancels a job if nothing of it has begun; whether it is cancelled.
    #[must_use]
    pub fn cancel(&self, pending: &Arc<Pending>) -> bool {
        !self.shared.is_foreign() && self.shared.with(|state, context| state.cancel(pending, context)) == Some(true)
    }

    /// Cancels a job and stops what of it runs; whether it is cancelled, or will be as soon as that has stopped.
    #[must_use]
    pub fn stop(&self, pending: &Arc<Pending>) -> bool {
        !self.shared.is_foreign() && self.shared.with(|state, context| state.stop(pending, context)) == Some(true)
    }

    /// Cancels the job that an item belongs to, by the item's number among all that were ever submitted; with
    /// `stops_running` also what of it runs. Whether it is cancelled, or will be; none if there is no such item, or its job
    /// has ended.
    #[must_use]
    pub fn cancel_item(&self, item: u64, stops_running: bool) -> Option<bool> {
        if self.shared.is_foreign() {
            return None;
        }
        self.shared.with(|state, context| state.cancel_item(item, stops_running, context)).flatten()
    }

    /// Whether a worker has begun with something of a job that has not ended.
    #[must_use]
    pub fn is_running(&self, pending: &Arc<Pending>) -> bool {
        !self.shared.is_foreign() && self.shared.with(|state, context| state.is_running(pending, context)) == Some(true)
    }

    /// How many items of a job have an outcome; none once it has ended.
    #[must_use]
    pub fn finished_items(&self, pending: &Arc<Pending>) -> Option<u64> {
        if self.shared.is_foreign() {
            return None;
        }
        self.shared.with(|state, context| state.finished_items(pending, context)).flatten()
    }

    /// Asks for the end of a job to be announced, with this attached.
    ///
    /// # Errors
    /// Gives the attachment back if the job has ended already.
    pub fn announce(&self, pending: &Arc<Pending>, attachment: Attachment) -> Result<(), Attachment> {
        if self.shared.is_foreign() {
            return Err(attachment);
        }
        self.shared.with(|state, _| state.want_attention(pending, attachment)).unwrap_or(Ok(()))
    }

    /// A sign that workers have said something before they gave the answers that were taken in, and that
    /// [`Engine::note_heard`] does not know of.
    #[must_use]
    pub fn unheard(&self) -> Option<u64> {
        let spoken = self.shared.table.spoken();
        (spoken != self.shared.heard.load(Ordering::Relaxed)).then_some(spoken)
    }

    /// What that sign stood for has been heard.
    pub fn note_heard(&self, spoken: u64) {
        self.shared.heard.store(spoken, Ordering::Relaxed);
    }

    /// Takes in what has been answered, without waiting.
    pub fn poll(&self) {
        if self.shared.table.has_finished() && !self.shared.is_foreign() {
            self.shared.with(State::drain);
        }
    }

    /// The same after a bell was hushed: from now on, ends are taken in as they come.
    pub fn listen(&self) {
        if !self.shared.is_foreign() {
            self.shared.with(State::drain);
        }
    }

    /// Waits until `target` is there, the deadline (of the monotonic clock) has passed, or for at most a slice.
    #[must_use]
    pub fn wait(&self, target: &impl Target, deadline_ns: Option<u64>, slice_ns: u64) -> Waited {
        if target.is_there() {
            Waited::Done
        } else if self.shared.is_foreign() {
            Waited::TimedOut
        } else {
            self.shared.wait(target, deadline_ns, slice_ns)
        }
    }

    /// Takes no more jobs; the workers leave when those there are have ended. The jobs of which nothing has begun are
    /// cancelled with `cancel_waiting`, also if the engine was closed before.
    pub fn close(&self, cancel_waiting: bool) {
        if !self.shared.is_foreign() {
            self.shared.with(|state, context| state.close(cancel_waiting, context));
        }
    }

    /// Gives up every job and ends the workers at once.
    pub fn terminate(&self) {
        if !self.shared.is_foreign() {
            self.shared.with(State::terminate);
        }
    }

    /// Waits, after [`close`](Self::close) or [`terminate`](Self::terminate), until every worker and the engine's
    /// thread are gone; whether they are.
    #[must_use]
    pub fn join(&self, patience: Duration) -> bool {
        if self.shared.is_foreign() {
            return true;
        }
        let left = self.shared.left.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, _) = self
            .shared
            .leaving
            .wait_timeout_while(left, patience, |left| !*left)
            .unwrap_or_else(PoisonError::into_inner);
        *left
    }

    /// Whether jobs may be submitted.
    #[must_use]
    pub fn is_accepting(&self) -> bool {
        !self.shared.is_foreign() && self.shared.lock().is_accepting()
    }

    /// Whether this process is a fork of the one that opened the engine, and may not use it.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.shared.is_foreign()
    }

    /// The same stretch by stretch; its workers are numbered as in the accounts.
    #[must_use]
    pub fn history(&self) -> History {
        if self.shared.is_foreign() { History::default() } else { self.shared.lock().history() }
    }

    /// How many workers it is to have.
    #[must_use]
    pub fn workers(&self) -> usize {
        if self.shared.is_foreign() { 0 } else { self.shared.lock().capacity() }
    }

    /// What of that was done for one job of so many items. Items have their numbers in the job, and nothing is told from
    /// before its submission.
    #[must_use]
    pub fn history_of(&self, pending: &Pending, items: u64) -> History {
        let first = pending.first_item();
        self.history().of_job(&(first..first + items), pending.failed())
    }

    /// What each worker has done so far.
    #[must_use]
    pub fn accounts(&self) -> Accounts {
        if self.shared.is_foreign() { Accounts::default() } else { self.shared.lock().accounts() }
    }

    /// What the threads of each worker did that were at work, by its process id: of those that live, and of those that
    /// have told it when they left.
    #[must_use]
    pub fn thread_times(&self) -> Vec<(i32, Vec<ThreadTime>)> {
        let alive = self.pids().into_iter().map(|pid| (pid, cpu_time::of_process(pid)));
        let left = self.accounts().workers.into_iter().map(|account| (account.pid, account.threads));
        alive.chain(left).filter(|(_, threads)| !threads.is_empty()).collect()
    }

    /// What each worker runs now.
    #[must_use]
    pub fn running(&self) -> Vec<Running> {
        if self.shared.is_foreign() {
            return Vec::new();
        }
        self.shared.with(State::running).unwrap_or_default()
    }

    /// What the pool is at, in few numbers.
    #[must_use]
    pub fn glance(&self) -> Glance {
        if self.shared.is_foreign() {
            return Glance::default();
        }
        self.shared.with(State::glance).unwrap_or_default()
    }

    /// The process ids of the workers that live, by seat.
    #[must_use]
    pub fn pids(&self) -> Vec<i32> {
        if self.shared.is_foreign() { Vec::new() } else { self.shared.lock().pids() }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close(false);
    }
}

#[cfg(test)]
mod tests;
