//! Owns the pool whose workers are threads of this process: what waits for a thread, which threads have nothing to do,
//! and when another is wanted. Never runs anything, never starts a thread itself, and never looks at a payload: the
//! threads are the caller's, and come here for work.
//!
//! There is one lock, held for a few instructions. No payload is dropped under it, because dropping one may run code
//! of the caller's that comes back here: a job leaves the queue to whoever runs it, or is handed back to whoever ends
//! it; and one that was cancelled while it waited is emptied by who cancelled it, so that what is left in the queue is
//! a shell.

mod book;
mod carry;
mod job;
mod queue;
mod wait;

pub use self::book::{Book, Spell};
pub use self::carry::Carried;
pub use self::job::Job;
pub use self::queue::Chunk;

use self::queue::Queue;
use self::wait::Followers;
use crate::accounts::Accounts;
use crate::clock::{coarse_ns, now_ns};
use crate::fork_guard;
use crate::history::{self, Failed, History};
use crate::pending::{Attachment, Stage};
use crate::wait::{Target, Waited};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::Duration;

/// Of each thread so many stretches are told apart, however many threads there may be.
const LEAST_ROOM: usize = 256;

/// A pool of threads, the payloads of whose jobs are `T`.
#[derive(Debug)]
pub struct Local<T> {
    state: Mutex<State<T>>,
    /// A thread has left.
    leaving: Condvar,
    /// Nothing is to be run again any more.
    refusing: Condvar,
    followers: Followers,
    /// One for each thread that there was.
    books: Mutex<Vec<Arc<Book>>>,
    unfinished: AtomicUsize,
    workers: u16,
    /// The work that a thread takes at a time, if items are short.
    pace: Pace,
    generation: u32,
}

/// How much a thread takes at a time.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The work in it, if items are short.
    pub chunk_ns: u64,
    /// How much more than the last time, at most.
    pub growth: u32,
    /// A chunk with less work is not worth handing it out, even if it would leave more for the others.
    pub least_ns: u64,
}

impl Pace {
    /// Of threads of this process, to which nothing has to be sent.
    pub const HERE: Self = Self { chunk_ns: 100_000, growth: 2, least_ns: 0 };
}

#[derive(Debug)]
struct State<T> {
    queue: Queue<T>,
    /// Who has nothing to do; the last to lie down is called first, because its memory is still warm.
    idle: Vec<Arc<Bed>>,
    /// How many threads there are, or are about to be started.
    threads: u16,
    /// The system's ids of those that have entered.
    present: Vec<i32>,
    phase: Phase,
    /// What fails is not to be run again.
    runs_nothing_again: bool,
    next_item: u64,
    began_ns: Option<u64>,
    /// When the latest job was submitted.
    submitted_ns: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// It takes nothing more, and does what it has.
    Closing,
    /// Its threads cannot be set up.
    Broken,
}

/// Where a thread of the pool waits for work.
#[derive(Debug)]
pub struct Bed {
    thread: Thread,
    called: AtomicBool,
}

impl Bed {
    /// For the thread that calls this.
    #[must_use]
    pub fn of_this_thread() -> Arc<Self> {
        Arc::new(Self { thread: std::thread::current(), called: AtomicBool::new(false) })
    }

    fn call(&self) {
        self.called.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// What a thread of the pool does next.
#[derive(Debug)]
pub enum Next<T> {
    /// Run these items.
    Run(Chunk<T>),
    /// Rest, and ask again: there is nothing now, and the thread is among the idle ones already.
    Rest,
    /// Leave: there is nothing, and there will be nothing.
    Leave,
}

/// Why a job was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The pool takes no more.
    Closed,
    /// Its threads cannot be set up.
    Broken,
    /// This process is a fork of the one that has the threads.
    Forked,
}

/// A job that ended without having been run to its end, and what was hung on it.
pub type Ended<T> = (Arc<Job<T>>, Option<Attachment>);

impl<T> Local<T> {
    /// A pool of at most so many threads; there are none yet.
    #[must_use]
    pub fn new(workers: u16) -> Self {
        Self::at_pace(workers, Pace::HERE)
    }

    /// The same, whose threads take so much at a time.
    #[must_use]
    pub fn at_pace(workers: u16, pace: Pace) -> Self {
        let state = State {
            queue: Queue::default(),
            idle: Vec::new(),
            threads: 0,
            present: Vec::new(),
            phase: Phase::Open,
            runs_nothing_again: false,
            next_item: 0,
            began_ns: None,
            submitted_ns: 0,
        };
        Self {
            state: Mutex::new(state),
            leaving: Condvar::new(),
            refusing: Condvar::new(),
            followers: Followers::default(),
            books: Mutex::default(),
            unfinished: AtomicUsize::new(0),
            workers,
            pace,
            generation: fork_guard::settle(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a job into the queue, and calls as many idle threads as can work on it. The numbers of those that the
    /// caller is to start: each must come to [`enter`](Self::enter), or be taken back by [`leave`](Self::leave).
    ///
    /// # Errors
    /// When the pool takes no jobs.
    pub fn submit(&self, job: &Arc<Job<T>>, priority: i16) -> Result<Range<u16>, Refusal> {
        let mut state = self.begin(job)?;
        state.queue.push(priority, Arc::clone(job));
        let wanted = u16::try_from(job.items()).map_or(self.workers, |items| items.min(self.workers));
        let first = state.idle.pop();
        let awake = state.idle.len().saturating_sub(usize::from(wanted) - 1);
        let others = if wanted > 1 { state.idle.split_off(awake) } else { Vec::new() };
        let called = u16::from(first.is_some()) + u16::try_from(others.len()).unwrap_or(wanted);
        let begin = state.threads;
        state.threads += wanted.saturating_sub(called).min(self.workers - begin);
        let end = state.threads;
        drop(state);
        for bed in first.iter().chain(&others) {
            bed.call();
        }
        Ok(begin..end)
    }

    /// Takes a job that the caller runs at once, in its own thread, instead of putting it into the queue.
    ///
    /// # Errors
    /// When the pool takes no jobs.
    pub fn submit_to_caller(&self, job: &Arc<Job<T>>) -> Result<(), Refusal> {
        drop(self.begin(job)?);
        job.begin();
        Ok(())
    }

    fn begin(&self, job: &Job<T>) -> Result<MutexGuard<'_, State<T>>, Refusal> {
        if self.is_foreign() {
            return Err(Refusal::Forked);
        }
        let mut state = self.lock();
        match state.phase {
            Phase::Open => {}
            Phase::Closing => return Err(Refusal::Closed),
            Phase::Broken => return Err(Refusal::Broken),
        }
        state.began_ns.get_or_insert_with(now_ns);
        // A few milliseconds more or less that a job has waited are nobody's concern, and cost a fiftieth of a short call.
        // That they were submitted one by one is to be seen all the same.
        state.submitted_ns = coarse_ns().max(state.submitted_ns + 1);
        job.enter(state.next_item, state.submitted_ns, self.pace);
        state.next_item += u64::from(job.items());
        self.unfinished.fetch_add(1, Ordering::Relaxed);
        Ok(state)
    }

    /// A thread of the pool has begun: in which book it notes what it does.
    #[must_use]
    pub fn enter(&self, thread_id: i32) -> Arc<Book> {
        self.lock().present.push(thread_id);
        self.add_book(thread_id, Arc::default())
    }

    /// The book of one more worker, a thread of this process or a process on a host.
    fn add_book(&self, id: i32, host: Arc<str>) -> Arc<Book> {
        let room = (history::MOST / self.workers().max(1)).max(LEAST_ROOM);
        let book = Arc::new(Book::of(id, host, room));
        self.books().push(Arc::clone(&book));
        book
    }

    /// A thread of the pool has nothing more to do with it, or, with no id, one that was to be started was not.
    pub fn leave(&self, thread_id: Option<i32>) {
        if self.is_foreign() {
            return;
        }
        let mut state = self.lock();
        state.threads -= 1;
        state.present.retain(|present| Some(*present) != thread_id);
        drop(state);
        self.leaving.notify_all();
    }

    /// What the thread that asks is to do; never waits.
    #[must_use]
    pub fn next(&self, bed: &Arc<Bed>) -> Next<T> {
        if self.is_foreign() {
            return Next::Leave;
        }
        let mut state = self.lock();
        match state.queue.take(self.workers) {
            Some(chunk) => Next::Run(chunk),
            None if state.phase == Phase::Open => {
                bed.called.store(false, Ordering::Relaxed);
                state.idle.push(Arc::clone(bed));
                Next::Rest
            }
            None => Next::Leave,
        }
    }

    /// Waits until there may be something to do.
    pub fn rest(&self, bed: &Bed) {
        while !bed.called.load(Ordering::Acquire) {
            std::thread::park();
        }
    }

    /// A job that was begun has its outcome; what was hung on it, unless it had ended otherwise before.
    pub fn complete(&self, job: &Arc<Job<T>>) -> Option<Attachment> {
        self.end(job, Stage::Complete)
    }

    /// Cancels a job if nothing of it has begun; whether it did. The caller empties the payload.
    #[must_use]
    pub fn cancel(&self, job: &Arc<Job<T>>) -> Option<Ended<T>> {
        job.cancel().then(|| (Arc::clone(job), self.tell(job)))
    }

    fn end(&self, job: &Arc<Job<T>>, stage: Stage) -> Option<Attachment> {
        if job.end(stage) { self.tell(job) } else { None }
    }

    fn tell(&self, job: &Arc<Job<T>>) -> Option<Attachment> {
        self.unfinished.fetch_sub(1, Ordering::Relaxed);
        if job.show_end() {
            self.followers.wake(job.keys());
        }
        job.take_attachment()
    }

    /// Takes no more jobs; the threads leave when those there are have ended. The jobs that are cancelled by it, if
    /// what has not begun is to be: the caller empties their payloads.
    pub fn close(&self, cancel_pending: bool) -> Vec<Ended<T>> {
        if self.is_foreign() {
            return Vec::new();
        }
        let mut state = self.lock();
        if state.phase == Phase::Open {
            state.phase = Phase::Closing;
        }
        let waiting = if cancel_pending { state.queue.drain_waiting() } else { Vec::new() };
        state.runs_nothing_again |= cancel_pending;
        self.call_all(state);
        waiting.into_iter().filter_map(|job| self.cancel(&job)).collect()
    }

    /// Gives up every job that a thread has not begun, or of which items are left to begin; what runs cannot be
    /// stopped. The jobs that are ended by it: the caller empties their payloads.
    pub fn terminate(&self) -> Vec<Ended<T>> {
        self.give_up(Phase::Closing, Stage::Abandoned)
    }

    /// The threads cannot be set up: gives up every job and the pool with them, as [`terminate`](Self::terminate).
    pub fn break_down(&self) -> Vec<Ended<T>> {
        self.give_up(Phase::Broken, Stage::Broken)
    }

    fn give_up(&self, phase: Phase, end: Stage) -> Vec<Ended<T>> {
        if self.is_foreign() {
            return Vec::new();
        }
        let mut state = self.lock();
        if state.phase != Phase::Broken {
            state.phase = phase;
        }
        let left = state.queue.drain();
        state.runs_nothing_again = true;
        self.call_all(state);
        let ended = left.into_iter().filter(|job| job.end(end));
        ended.map(|job| (Arc::clone(&job), self.tell(&job))).collect()
    }

    fn call_all(&self, mut state: MutexGuard<'_, State<T>>) {
        self.refusing.notify_all();
        let idle = std::mem::take(&mut state.idle);
        drop(state);
        self.leaving.notify_all();
        for bed in &idle {
            bed.call();
        }
    }

    /// Waits, after one of the ends, until every thread has left; whether they have.
    #[must_use]
    pub fn join(&self, patience: Duration) -> bool {
        if self.is_foreign() {
            return true;
        }
        let there_are = |state: &mut State<T>| state.threads > 0 || state.phase == Phase::Open;
        let waited = self.leaving.wait_timeout_while(self.lock(), patience, there_are);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !there_are(&mut state)
    }

    /// Waits for so long before something that has failed is run again, or until that is not to be; whether it is.
    #[must_use]
    pub fn rest_before_retry(&self, patience: Duration) -> bool {
        let goes_on = |state: &mut State<T>| !state.runs_nothing_again;
        let waited = self.refusing.wait_timeout_while(self.lock(), patience, goes_on);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        goes_on(&mut state)
    }

    /// Waits until `target` is there, the deadline (of the monotonic clock) has passed, or for at most a slice.
    #[must_use]
    pub fn wait(&self, target: &impl Target, deadline_ns: Option<u64>, slice_ns: u64) -> Waited {
        if target.is_there() {
            Waited::Done
        } else if self.is_foreign() {
            Waited::TimedOut
        } else {
            self.followers.wait(target, deadline_ns, slice_ns)
        }
    }

    /// Whether there is a thread, or one that is about to be started.
    #[must_use]
    pub fn has_threads(&self) -> bool {
        self.lock().threads > 0
    }

    /// Whether jobs may be submitted.
    #[must_use]
    pub fn is_accepting(&self) -> bool {
        !self.is_foreign() && self.lock().phase == Phase::Open
    }

    /// Whether this process is a fork of the one that opened the pool, and has none of its threads.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.generation != fork_guard::generation()
    }

    fn books(&self) -> MutexGuard<'_, Vec<Arc<Book>>> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many threads there may be.
    #[must_use]
    pub fn workers(&self) -> usize {
        usize::from(self.workers)
    }

    /// The system's ids of the threads that there are.
    #[must_use]
    pub fn thread_ids(&self) -> Vec<i32> {
        if self.is_foreign() { Vec::new() } else { self.lock().present.clone() }
    }

    /// Whether the threads cannot be set up.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        !self.is_foreign() && self.lock().phase == Phase::Broken
    }

    /// How many threads have nothing to do.
    #[must_use]
    pub fn idle_threads(&self) -> usize {
        if self.is_foreign() { 0 } else { self.lock().idle.len() }
    }

    /// What each thread has done so far.
    #[must_use]
    pub fn report(&self) -> Accounts {
        let mut accounts = self.accounts();
        accounts.workers.retain(|account| !account.items.is_empty());
        accounts
    }

    /// The same of all threads that there were, and what each did when.
    #[must_use]
    pub fn history(&self) -> (Accounts, History) {
        if self.is_foreign() {
            return Default::default();
        }
        let mut history = History::default();
        for (worker, book) in self.books().iter().enumerate() {
            book.add_history(&mut history, worker);
        }
        history.put_in_order();
        (self.accounts(), history)
    }

    fn accounts(&self) -> Accounts {
        if self.is_foreign() {
            return Accounts::default();
        }
        let began_ns = self.lock().began_ns;
        let mut accounts = Accounts { began_ns, ..Accounts::default() };
        for book in &*self.books() {
            book.add_account(&mut accounts);
        }
        if self.unfinished.load(Ordering::Relaxed) > 0 {
            accounts.ended_ns = now_ns();
        }
        accounts
    }

    /// What of that was done for one job. Items have their numbers in the job.
    #[must_use]
    pub fn history_of(&self, job: &Job<T>) -> (Accounts, History) {
        let (accounts, history) = self.history();
        let failed = Failed { raised: job.raised(), ..Failed::default() };
        (accounts, history.of_job(&job.numbers(&(0..job.items())), failed))
    }
}

#[cfg(test)]
mod tests;
