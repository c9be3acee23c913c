//! Owns what a program calls: a pool, and the ways of calling. Never decides when anything runs.

use crate::builder::{Builder, CallOptions, Retry, nanoseconds};
use crate::errors::TaskError;
use crate::imap::Imap;
use crate::output;
use crate::report::Report;
use crate::result::AsyncResult;
use crate::submit::{Items, Part, Processes};
use crate::task::Task;
use crate::threads::Threads;
use std::fmt;
use std::sync::Arc;
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

/// A join looks again after so long.
const SLICE: Duration = Duration::from_secs(3600);
/// How long a pool that is dropped waits for its workers to be gone. They were ended, and are in milliseconds.
const ENDING: Duration = Duration::from_secs(10);

impl Inner {
    /// Whether this thread is one of those that have to end before the pool has: it cannot wait for itself.
    fn is_waited_for(&self) -> bool {
        match &self.crew {
            Crew::Processes(processes) => processes.teller.is_this_thread(),
            Crew::Threads(threads) => threads.has_this_thread(),
        }
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
        // A callback or a task that holds the last handle runs on a thread that would have to end first.
        if !self.is_waited_for() {
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
        AsyncResult::of_one(self.inner.submit(function, Items::One([arguments]), &self.options, Part::default()))
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
        AsyncResult::of_many(self.inner.submit(function, items, &self.options, Part::default()))
    }

    /// Calls a function with each item, and gives the outcomes one by one, in the order of the items, as they come. One
    /// that fails does not end it; but a pool that takes no calls says so once.
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
    ///     let outcomes: Vec<_> = pool.imap(inverse, 0..).take(3).collect();
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

    /// Closes the pool, and waits until every call has been made, every callback has run, and no worker is left. In a
    /// callback or on a thread of the pool's own, which would wait for itself, it closes the pool and does not wait.
    pub fn join(&self) {
        self.close();
        while !self.inner.is_waited_for() && !self.inner.join(SLICE) {}
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
