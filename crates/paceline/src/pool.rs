//! Owns what a program calls: a pool, and the ways of calling. Never decides when anything runs.

use crate::builder::{Builder, CallOptions, Retry, nanoseconds};
use crate::calls::{Calls, Patience, Slot};
use crate::codec::Gather;
use crate::errors::{SubmitError, TaskError};
use crate::imap::Imap;
use crate::job::{Called, Job, Source, Tag, Ticket, is_telling};
use crate::output;
use crate::registry::{Known, Registry};
use crate::report::Report;
use crate::result::AsyncResult;
use crate::task::Task;
use crate::threads::{LocalJob, Threads};
use crate::worker::Lenience;
use paceline_engine::{Engine, FailureWatch, Function, Label, Pending, Sizing};
use std::any::type_name;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Workers, and the ways of calling functions in them.
///
/// A pool is a handle: [`clone`](Clone::clone)s, and what [`with_timeout`](Self::with_timeout) and its like give, have the
/// same workers. When the last one is dropped, what has not ended is given up, and no worker is left behind;
/// [`join`](Self::join) first to have everything done.
///
/// ```
/// #[paceline::task]
/// fn square(number: u64) -> u64 {
///     number * number
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     paceline::init();
///     let pool = paceline::Pool::builder().workers(2).build()?;
///     assert_eq!(pool.apply(square, (12,))?, 144);
///     assert_eq!(pool.map(square, 0..5)?, [0, 1, 4, 9, 16]);
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Pool {
    pub(crate) inner: Arc<Inner>,
    pub(crate) options: CallOptions,
}

/// What all handles share.
pub(crate) struct Inner {
    pub(crate) crew: Crew,
}

/// The workers.
pub(crate) enum Crew {
    Processes(Processes),
    Threads(Arc<Threads>),
}

/// Worker processes, and which functions they were told of.
pub(crate) struct Processes {
    pub(crate) engine: Arc<Engine>,
    functions: Mutex<HashMap<(usize, Lenience), Arc<Function>>>,
}

thread_local! {
    /// Kept from call to call, so that a small one needs no allocation.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Scratch space beyond this is given back.
const SCRATCH_KEPT: usize = 1 << 20;
/// Shorter input waits for nobody.
const COUNTED_FROM: usize = 4 << 10;
/// A wait for room is looked at again after so long.
const SLICE_NS: u64 = 1_000_000_000;
/// A join looks again after so long.
const SLICE: Duration = Duration::from_secs(3600);
/// How long a pool that is dropped waits for its workers to be gone. They were ended, and are in milliseconds.
const ENDING: Duration = Duration::from_secs(10);

impl Processes {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine: Arc::new(engine), functions: Mutex::default() }
    }

    /// The function, of which workers are told by its first call.
    fn function(&self, known: &Known, lenience: Lenience) -> Result<Arc<Function>, SubmitError> {
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(function) = functions.get(&(known.number, lenience)) {
            return Ok(Arc::clone(function));
        }
        let bytes = postcard::to_stdvec(&(lenience, known.name)).unwrap_or_default();
        let function = self.engine.register(&bytes, known.name)?;
        functions.insert((known.number, lenience), Arc::clone(&function));
        Ok(function)
    }

    fn submit<F, A>(
        &self,
        arguments: &Items<A>,
        options: &CallOptions,
        (base, tag): (u32, Tag),
    ) -> Result<Job<F::Output>, SubmitError>
    where
        F: Task<A>,
        A: Send + 'static,
    {
        let name = type_name::<F>();
        let known = Registry::get().of_type::<F>().ok_or(SubmitError::NotATask(name))?;
        let codec = known.codec::<A, F::Output>().ok_or(SubmitError::NotATask(name))?;
        let function = self.function(known, options.lenience)?;
        let items = arguments.as_slice();
        let count = u32::try_from(items.len()).map_err(|_| SubmitError::TooManyItems)?;
        let mut scratch = SCRATCH.take();
        let mut gather = Gather::new(&mut scratch);
        let mut ends = Vec::with_capacity(if arguments.is_map() { items.len() } else { 0 });
        for item in items {
            let added = gather.push_counted(|gather| (codec.encode)(item, gather));
            added.map_err(|reason| SubmitError::NotSerialisable { function: known.name, reason })?;
            if arguments.is_map() {
                ends.push(gather.len() as u64);
            }
        }
        let length = gather.len();
        while length >= COUNTED_FROM
            && !self.engine.flight().has_room(length as u64)
            && !self.engine.wait_for_room(length as u64, SLICE_NS)
        {}
        let called = Called {
            function: known.name,
            name: options.name.clone(),
            items: count,
            base: arguments.is_map().then_some(base),
            limit: Duration::from_nanos(options.terms.timeout_ns),
        };
        // What workers tell of by their answers, and not by their deaths.
        let may_pass = options.lenience != Lenience::default() || options.terms.retry_on.overrun;
        let watch = if options.terms.retries > 0 && may_pass { FailureWatch::Core } else { FailureWatch::Nobody };
        let label = Label { name: options.name.clone(), base: called.base, ..Label::default() };
        let pending = Pending::watched(tag, label, watch, None);
        let taken = if arguments.is_map() {
            let sizing = options.chunk_size.map_or(Sizing::Measured, Sizing::Fixed);
            self.engine.submit_many(&function, gather.input(), ends, sizing, options.terms, &pending)
        } else {
            self.engine.submit(&function, gather.input(), options.terms, &pending)
        };
        drop(gather);
        if scratch.capacity() <= SCRATCH_KEPT {
            SCRATCH.set(scratch);
        }
        taken?;
        Ok(Job { ticket: Ticket::Sent(Arc::clone(&self.engine), pending), source: Source::Sent(called, codec.decode) })
    }
}

/// The arguments of a call, or of each item of a map.
pub(crate) enum Items<A> {
    One([A; 1]),
    Many(Vec<A>),
}

impl<A> Items<A> {
    fn as_slice(&self) -> &[A] {
        match self {
            Self::One(arguments) => arguments,
            Self::Many(items) => items,
        }
    }

    fn is_map(&self) -> bool {
        matches!(self, Self::Many(_))
    }

    fn into_slots<R>(self) -> Box<[Mutex<Slot<A, R>>]> {
        let slot = |arguments| Mutex::new(Slot::Waiting(arguments));
        match self {
            Self::One(arguments) => arguments.into_iter().map(slot).collect(),
            Self::Many(items) => items.into_iter().map(slot).collect(),
        }
    }
}

fn submit_here<F, A>(
    threads: &Arc<Threads>,
    function: F,
    arguments: Items<A>,
    options: &CallOptions,
    (base, tag): (u32, Tag),
) -> Result<Job<F::Output>, SubmitError>
where
    F: Task<A>,
    A: Send + 'static,
{
    if let Some(option) = options.needs_processes() {
        return Err(SubmitError::NeedsProcesses(option));
    }
    let known = Registry::get().of_type::<F>();
    let items = u32::try_from(arguments.as_slice().len()).map_err(|_| SubmitError::TooManyItems)?;
    let sizing = match (&arguments, options.chunk_size) {
        (Items::One(_), _) => Sizing::Fixed(1),
        (Items::Many(_), size) => size.map_or(Sizing::Measured, Sizing::Fixed),
    };
    let called = Called {
        function: known.map_or(type_name::<F>(), |known| known.name),
        name: options.name.clone(),
        items,
        base: arguments.is_map().then_some(base),
        limit: Duration::ZERO,
    };
    let patience = Patience {
        retries: options.terms.retries,
        backoff: Duration::from_nanos(options.terms.backoff_ns),
        of_errors: options.lenience.of_errors,
        of_panics: options.lenience.of_panics,
    };
    let codec = known.and_then(Known::codec::<A, F::Output>);
    let calls = Arc::new(Calls { called, function, codec, patience, slots: arguments.into_slots() });
    let job: Arc<LocalJob> = LocalJob::new(Arc::clone(&calls) as _, items, sizing, tag);
    threads.submit(&job, options.terms.priority)?;
    Ok(Job { ticket: Ticket::Local(Arc::clone(threads), job), source: Source::Local(calls) })
}

impl Inner {
    /// Submits a call, or a map the first item of which has this place.
    pub(crate) fn submit<F, A>(
        &self,
        function: F,
        arguments: Items<A>,
        options: &CallOptions,
        (base, tag): (u32, Tag),
    ) -> Job<F::Output>
    where
        F: Task<A>,
        A: Send + 'static,
    {
        let items = u32::try_from(arguments.as_slice().len()).unwrap_or(u32::MAX);
        let submitted = match &self.crew {
            Crew::Processes(processes) => processes.submit::<F, A>(&arguments, options, (base, tag)),
            Crew::Threads(threads) => submit_here(threads, function, arguments, options, (base, tag)),
        };
        submitted.unwrap_or_else(|error| Job::refused(error, items))
    }

    fn join(&self, patience: Duration) -> bool {
        match &self.crew {
            Crew::Processes(processes) => {
                let have_left = processes.engine.join(patience);
                output::flush();
                have_left
            }
            Crew::Threads(threads) => threads.join(patience),
        }
    }

    fn terminate(&self) {
        match &self.crew {
            Crew::Processes(processes) => processes.engine.terminate(),
            Crew::Threads(threads) => threads.terminate(),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.terminate();
        // A callback that holds the last handle runs on the thread that would have to end first.
        if !is_telling() {
            self.join(ENDING);
        }
    }
}

impl Pool {
    /// The options of a pool to be opened.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Calls a function with these arguments, a tuple, and waits for its result.
    ///
    /// # Errors
    /// What kept the task from giving one. An `Err` that the function returns is a result.
    pub fn apply<F, A>(&self, function: F, arguments: A) -> Result<F::Output, TaskError>
    where
        F: Task<A>,
        A: Send + 'static,
    {
        self.apply_async(function, arguments).get()
    }

    /// Calls a function with these arguments, a tuple, and does not wait. A call that is refused says so in its result.
    pub fn apply_async<F, A>(&self, function: F, arguments: A) -> AsyncResult<F::Output>
    where
        F: Task<A>,
        A: Send + 'static,
    {
        AsyncResult::of_one(self.inner.submit(function, Items::One([arguments]), &self.options, (0, None)))
    }

    /// Calls a function with each item, and waits for the results, which are in the order of the items.
    ///
    /// ```
    /// use paceline::{Backend, Pool};
    ///
    /// let pool = Pool::builder().backend(Backend::Threads).build()?;
    /// let factor = 3;
    /// assert_eq!(pool.map(move |number| factor * number, [1, 2, 3])?, [3, 6, 9]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// What kept the first item that gave no result from it, after all have ended. [`imap`](Self::imap) tells of each.
    pub fn map<F, A, R>(&self, function: F, items: impl IntoIterator<Item = A>) -> Result<Vec<R>, TaskError>
    where
        F: Fn(A) -> R + Send + Sync + 'static,
        A: Send + 'static,
        R: Send + 'static,
    {
        self.map_async(function, items).get()
    }

    /// The same, and does not wait.
    pub fn map_async<F, A, R>(&self, function: F, items: impl IntoIterator<Item = A>) -> AsyncResult<Vec<R>>
    where
        F: Fn(A) -> R + Send + Sync + 'static,
        A: Send + 'static,
        R: Send + 'static,
    {
        self.starmap_async(function, items.into_iter().map(|item| (item,)))
    }

    /// Calls a function with the arguments of each tuple, and waits for the results, which are in the order of the tuples.
    ///
    /// ```
    /// use paceline::{Backend, Pool};
    ///
    /// let pool = Pool::builder().backend(Backend::Threads).build()?;
    /// assert_eq!(pool.starmap(u32::pow, [(2, 3), (3, 2)])?, [8, 9]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As of [`map`](Self::map).
    pub fn starmap<F, A>(&self, function: F, items: impl IntoIterator<Item = A>) -> Result<Vec<F::Output>, TaskError>
    where
        F: Task<A>,
        A: Send + 'static,
    {
        self.starmap_async(function, items).get()
    }

    /// The same, and does not wait.
    pub fn starmap_async<F, A>(&self, function: F, items: impl IntoIterator<Item = A>) -> AsyncResult<Vec<F::Output>>
    where
        F: Task<A>,
        A: Send + 'static,
    {
        let items = Items::Many(items.into_iter().collect());
        AsyncResult::of_many(self.inner.submit(function, items, &self.options, (0, None)))
    }

    /// Calls a function with each item, and gives the outcomes one by one, in the order of the items, as they come. One
    /// that fails does not end it.
    ///
    /// Items are read when they are needed, and no further ahead than keeps the workers busy: they may be many, or without
    /// end. When the iterator is dropped, those that no worker has begun are cancelled.
    ///
    /// ```
    /// #[paceline::task]
    /// fn inverse(number: u32) -> u32 {
    ///     100 / number
    /// }
    ///
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     paceline::init();
    ///     let pool = paceline::Pool::builder().workers(2).build()?;
    ///     let outcomes: Vec<_> = pool.imap(inverse, (0..).into_iter()).take(3).collect();
    ///     assert!(outcomes[0].as_ref().unwrap_err().to_string().contains("attempt to divide by zero"));
    ///     assert_eq!(outcomes[1..], [Ok(100), Ok(50)]);
    ///     Ok(())
    /// }
    /// ```
    pub fn imap<F, A, R, I>(&self, function: F, items: I) -> Imap<F, A, R, I::IntoIter>
    where
        F: Fn(A) -> R + Clone + Send + Sync + 'static,
        A: Send + 'static,
        R: Send + 'static,
        I: IntoIterator<Item = A>,
    {
        Imap::new(self, function, items.into_iter(), true)
    }

    /// The same in the order in which they end.
    pub fn imap_unordered<F, A, R, I>(&self, function: F, items: I) -> Imap<F, A, R, I::IntoIter>
    where
        F: Fn(A) -> R + Clone + Send + Sync + 'static,
        A: Send + 'static,
        R: Send + 'static,
        I: IntoIterator<Item = A>,
    {
        Imap::new(self, function, items.into_iter(), false)
    }

    fn with(&self, change: impl FnOnce(&mut CallOptions)) -> Self {
        let mut pool = self.clone();
        change(&mut pool.options);
        pool
    }

    /// The same workers, with another time limit for what is called by this handle.
    #[must_use]
    pub fn with_timeout(&self, limit: Duration) -> Self {
        self.with(|options| options.timeout(limit))
    }

    /// The same workers, with another number of times that a task may be run again.
    #[must_use]
    pub fn with_retries(&self, retries: u16) -> Self {
        self.with(|options| options.terms.retries = retries)
    }

    /// The same workers, with other reasons for running a task again.
    #[must_use]
    pub fn with_retry_on(&self, causes: &[Retry]) -> Self {
        self.with(|options| options.retry_on(causes))
    }

    /// The same workers, with another time before a task is run again.
    #[must_use]
    pub fn with_backoff(&self, backoff: Duration) -> Self {
        self.with(|options| options.terms.backoff_ns = nanoseconds(backoff))
    }

    /// The same workers, with another priority: what has a higher one begins first.
    #[must_use]
    pub fn with_priority(&self, priority: i16) -> Self {
        self.with(|options| options.terms.priority = priority)
    }

    /// The same workers, with another number of items that go to a worker at a time.
    #[must_use]
    pub fn with_chunk_size(&self, items: u32) -> Self {
        self.with(|options| options.chunk_size = Some(items.max(1)))
    }

    /// The same workers, with a name that stands for the function in errors.
    #[must_use]
    pub fn with_name(&self, name: &str) -> Self {
        self.with(|options| options.name = Some(name.into()))
    }

    /// Takes no more calls. Those that there are will be made.
    pub fn close(&self) {
        match &self.inner.crew {
            Crew::Processes(processes) => processes.engine.close(false),
            Crew::Threads(threads) => threads.close(false),
        }
    }

    /// Gives up what has not ended, and ends worker processes at once. What runs on a thread goes on to its end.
    pub fn terminate(&self) {
        self.inner.terminate();
    }

    /// Closes the pool, and waits until every call has been made, every callback has run, and no worker is left.
    pub fn join(&self) {
        self.close();
        while !is_telling() && !self.inner.join(SLICE) {}
    }

    /// How many workers there are to be.
    #[must_use]
    pub fn workers(&self) -> usize {
        match &self.inner.crew {
            Crew::Processes(processes) => processes.engine.workers(),
            Crew::Threads(threads) => threads.pool.workers(),
        }
    }

    /// The process ids of the workers that live now, or the system's ids of threads.
    #[must_use]
    pub fn pids(&self) -> Vec<i32> {
        match &self.inner.crew {
            Crew::Processes(processes) => processes.engine.pids(),
            Crew::Threads(threads) => threads.pool.thread_ids(),
        }
    }

    /// What each worker has done so far; it prints as a table.
    ///
    /// ```
    /// use paceline::{Backend, Pool};
    ///
    /// let pool = Pool::builder().backend(Backend::Threads).workers(2).build()?;
    /// pool.map(|number: u64| (0..number).sum::<u64>(), 0..100)?;
    /// let report = pool.report();
    /// assert_eq!(report.tasks(), 100);
    /// println!("{report}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn report(&self) -> Report {
        Report::of(&match &self.inner.crew {
            Crew::Processes(processes) => {
                processes.engine.poll();
                processes.engine.accounts()
            }
            Crew::Threads(threads) => threads.pool.report(),
        })
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Pool")
            .field("workers", &self.workers())
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
