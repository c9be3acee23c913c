//! Owns how calls run in this process: on threads of the pool's own, or in whoever submits. Never decides which is next,
//! and never looks into a call: it is [`Work`].

use crate::errors::{BrokenPool, SubmitError};
use crate::job::tell;
use paceline_engine::local::{Bed, Book, Chunk, Ended, Job, Local, Next, Refusal, Spell};
use paceline_engine::now_ns;
use std::cell::Cell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// A job whose input and results are values of this process.
pub(crate) type LocalJob = Job<Arc<dyn Work>>;

/// The items of a job, which know how they are run.
pub(crate) trait Work: Send + Sync {
    /// What the function is called.
    fn name(&self) -> &str;
    /// Runs an item, which has this number in its pool; whether it failed.
    fn run(&self, place: u32, number: u64, threads: &Threads) -> bool;
    /// None of it is run any more.
    fn forget(&self);
}

/// Tasks are used to the stack of a main thread, as workers have it. It costs address space.
const STACK_BYTES: usize = 8 << 20;

/// Sets up a thread before its first task.
pub(crate) type Initializer = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The threads of a pool.
pub(crate) struct Threads {
    pub(crate) pool: Local<Arc<dyn Work>>,
    pub(crate) seed: u64,
    /// Calls run in whoever submits them, and there is no thread.
    is_serial: bool,
    initializer: Option<(&'static str, Initializer)>,
    failure: OnceLock<Arc<BrokenPool>>,
    started: Mutex<Vec<JoinHandle<()>>>,
    /// Of the caller, where there are no threads.
    book: OnceLock<Arc<Book>>,
}

thread_local! {
    /// The pool for which this thread works.
    static WORKS_FOR: Cell<usize> = const { Cell::new(0) };
}

impl Threads {
    pub(crate) fn new(
        workers: u16,
        seed: u64,
        is_serial: bool,
        initializer: Option<(&'static str, Initializer)>,
    ) -> Arc<Self> {
        Arc::new(Self {
            pool: Local::new(workers),
            seed,
            is_serial,
            initializer,
            failure: OnceLock::new(),
            started: Mutex::default(),
            book: OnceLock::new(),
        })
    }

    /// Takes a job; where there are no threads, or nothing to do, it has ended when this returns.
    pub(crate) fn submit(self: &Arc<Self>, job: &Arc<LocalJob>, priority: i16) -> Result<(), SubmitError> {
        if self.is_serial || job.items() == 0 {
            return self.run_here(job);
        }
        let wanted = self.pool.submit(job, priority).map_err(|refusal| self.refusal(refusal))?;
        if wanted.is_empty() { Ok(()) } else { self.start(wanted, job) }
    }

    fn start(self: &Arc<Self>, wanted: Range<u16>, job: &Arc<LocalJob>) -> Result<(), SubmitError> {
        for number in wanted.clone() {
            let threads = Arc::clone(self);
            let builder = Builder::new().name(format!("paceline-{}", number + 1)).stack_size(STACK_BYTES);
            match builder.spawn(move || threads.work()) {
                Ok(handle) => self.started.lock().unwrap_or_else(PoisonError::into_inner).push(handle),
                Err(error) => {
                    for _ in number..wanted.end {
                        self.pool.leave(None);
                    }
                    if self.pool.has_threads() {
                        // Those that there are do it.
                        return Ok(());
                    }
                    see_to(self.pool.cancel(job));
                    return Err(SubmitError::NoThread(error.to_string()));
                }
            }
        }
        Ok(())
    }

    fn run_here(&self, job: &Arc<LocalJob>) -> Result<(), SubmitError> {
        // What is broken stays so, and is not set up again.
        if self.is_serial && self.book.get().is_none() && self.failure.get().is_none() {
            self.set_up();
        }
        self.pool.submit_to_caller(job).map_err(|refusal| self.refusal(refusal))?;
        if job.items() == 0 {
            tell(self.pool.complete(job));
        } else {
            let book = self.book.get_or_init(|| self.pool.enter(thread_id()));
            let items = 0..job.items();
            self.run(&Chunk { job: Arc::clone(job), items }, book, now_ns());
        }
        Ok(())
    }

    /// What a thread of the pool does.
    fn work(self: Arc<Self>) {
        /// However this thread ends, the pool does not wait for it any more.
        struct Leave<'a>(&'a Threads, i32);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.pool.leave(Some(self.1));
            }
        }
        let id = thread_id();
        let book = self.pool.enter(id);
        let _leave = Leave(&self, id);
        WORKS_FOR.set(Arc::as_ptr(&self) as usize);
        if !self.set_up() {
            return;
        }
        let bed = Bed::of_this_thread();
        let mut now = now_ns();
        loop {
            match self.pool.next(&bed) {
                Next::Run(chunk) => {
                    now = self.run(&chunk, &book, now);
                    // Results that nobody waits for end here, and one that panics then has told so.
                    let _ = catch_unwind(AssertUnwindSafe(|| drop(chunk)));
                }
                Next::Rest => {
                    self.pool.rest(&bed);
                    now = now_ns();
                }
                Next::Leave => return,
            }
        }
    }

    /// Runs the initialiser; whether this thread can work.
    fn set_up(&self) -> bool {
        let Some((name, initializer)) = &self.initializer else { return true };
        let Err(told) = initializer() else { return true };
        let reason = format!("a thread cannot be set up by `{name}`: {told}");
        let _ = self.failure.set(Arc::new(BrokenPool { reason, death: None }));
        see_to(self.pool.break_down());
        false
    }

    /// Runs some items, and ends their job with the last of them; when it was done.
    fn run(&self, chunk: &Chunk<Arc<dyn Work>>, book: &Book, began_ns: u64) -> u64 {
        let Chunk { job, items } = chunk;
        let work = job.payload();
        let first = job.numbers(items).start;
        let mut raised = 0;
        for (number, place) in (first..).zip(items.clone()) {
            raised += u32::from(work.run(place, number, self));
        }
        let ended_ns = now_ns();
        let function = book.number(work.name());
        book.note(job, &Spell { items: items.clone(), raised, function, began_ns, ended_ns });
        if job.note_outcomes(items.end - items.start, ended_ns.saturating_sub(began_ns)) {
            tell(self.pool.complete(job));
        }
        ended_ns
    }

    pub(crate) fn cancel(&self, job: &Arc<LocalJob>) -> bool {
        let ended = self.pool.cancel(job);
        let is_cancelled = ended.is_some();
        see_to(ended);
        is_cancelled
    }

    pub(crate) fn close(&self, cancel_pending: bool) {
        see_to(self.pool.close(cancel_pending));
    }

    pub(crate) fn terminate(&self) {
        see_to(self.pool.terminate());
    }

    /// Whether the thread that asks is one of the pool's.
    pub(crate) fn has_this_thread(&self) -> bool {
        WORKS_FOR.get() == std::ptr::from_ref(self) as usize
    }

    /// Waits until every thread has ended; whether they have. No thread of the pool may wait for itself.
    pub(crate) fn join(&self, patience: Duration) -> bool {
        if self.pool.is_foreign() {
            // None of them exists in this process, which is a fork of theirs.
            return true;
        }
        let have_left = self.pool.join(patience);
        if have_left {
            let started = std::mem::take(&mut *self.started.lock().unwrap_or_else(PoisonError::into_inner));
            for thread in started {
                // One that has panicked has told so.
                let _ = thread.join();
            }
        }
        have_left
    }

    /// Why the pool is broken.
    pub(crate) fn failure(&self) -> Arc<BrokenPool> {
        let unknown = || BrokenPool { reason: "its threads cannot be set up".to_owned(), death: None };
        self.failure.get().cloned().unwrap_or_else(|| Arc::new(unknown()))
    }

    fn refusal(&self, refusal: Refusal) -> SubmitError {
        match refusal {
            Refusal::Closed => SubmitError::Closed,
            Refusal::Broken => SubmitError::Broken(self.failure()),
            Refusal::Forked => SubmitError::Forked,
        }
    }
}

/// Lets go of what jobs hold that will not be run, and tells of their end.
fn see_to(ended: impl IntoIterator<Item = Ended<Arc<dyn Work>>>) {
    for (job, attachment) in ended {
        job.payload().forget();
        tell(attachment);
    }
}

fn thread_id() -> i32 {
    rustix::thread::gettid().as_raw_nonzero().get()
}
