//! Owns the options of a pool, and its opening. Never calls anything.

use crate::codec::{Arguments, Gather};
use crate::errors::BuildError;
use crate::init;
use crate::job::{Ringer, Teller};
use crate::output;
use crate::panics::catch;
use crate::pool::{Crew, Inner, Pool};
use crate::registry::{Codec, Registry};
use crate::submit::Processes;
use crate::task::Task;
use crate::threads::{Initializer, Threads};
use crate::worker::{Lenience, Setup};
use paceline_engine::{
    Engine, MOST_PROCESSES, OpenError, Options, RetryOn, STOPPED_LOOKS, StartMethod, Terms, Tokens,
    default_memory_budget,
};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

/// Where tasks run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// On worker processes: this program, started again. One that crashes, hangs or eats its memory costs its task alone.
    #[default]
    Processes,
    /// On threads of this process. Closures can be called, nothing is serialised, and a panic costs its task alone; but
    /// nothing can be stopped. For calls that wait, or may panic; for loops over data in memory, rayon is faster.
    Threads,
    /// In whoever calls, before the call returns: for looking for mistakes.
    Serial,
}

/// After what a task may be run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Retry {
    /// Its worker died.
    Death,
    /// It ran over its time limit.
    Timeout,
    /// Its worker outgrew its memory.
    OutOfMemory,
    /// It panicked.
    Panic,
    /// It returned an `Err`. Of closures nobody knows.
    Error,
}

/// On which terms calls are made.
#[derive(Clone, Debug)]
pub(crate) struct CallOptions {
    pub(crate) terms: Terms,
    pub(crate) lenience: Lenience,
    pub(crate) chunk_size: Option<u32>,
    pub(crate) name: Option<Arc<str>>,
}

impl CallOptions {
    pub(crate) fn timeout(&mut self, limit: Duration) {
        // A limit of less than a nanosecond is one all the same.
        self.terms.timeout_ns = nanoseconds(limit).max(1);
    }

    pub(crate) fn retry_on(&mut self, causes: &[Retry]) {
        let has = |cause| causes.contains(&cause);
        self.terms.retry_on = RetryOn {
            death: has(Retry::Death),
            overrun: has(Retry::Timeout),
            outgrowth: has(Retry::OutOfMemory),
            ..RetryOn::default()
        };
        self.lenience = Lenience { of_errors: has(Retry::Error), of_panics: has(Retry::Panic) };
    }

    /// What a pool of threads cannot keep to.
    pub(crate) fn needs_processes(&self) -> Option<&'static str> {
        (self.terms.timeout_ns > 0).then_some("timeout")
    }
}

pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// How workers are set up, for either kind of them.
struct SetUp {
    name: &'static str,
    /// The name and the arguments, for another process.
    bytes: Result<(String, Vec<u8>), BuildError>,
    here: Initializer,
}

/// The options of a pool: begun by [`Pool::builder`], and ended by [`build`](Self::build).
///
/// ```
/// use std::time::Duration;
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     paceline::init();
///     let pool = paceline::Pool::builder()
///         .workers(2)
///         .timeout(Duration::from_secs(60))
///         .retries(2)
///         .memory_limit(1 << 30)
///         .build()?;
///     assert_eq!(pool.workers(), 2);
///     Ok(())
/// }
/// ```
#[must_use = "a pool is opened by `build`"]
pub struct Builder {
    workers: Option<usize>,
    backend: Backend,
    options: CallOptions,
    memory_limit: u64,
    memory_budget: Option<u64>,
    tasks_per_worker: u64,
    start_timeout_ns: u64,
    seed: Option<u64>,
    set_up: Option<SetUp>,
}

/// How long a task that has been asked to stop may take, unless somebody says otherwise.
const GRACE_NS: u64 = 1_000_000_000;

impl Builder {
    pub(crate) fn new() -> Self {
        let terms = Terms { grace_ns: GRACE_NS, ..Terms::default() };
        Self {
            workers: None,
            backend: Backend::default(),
            options: CallOptions { terms, lenience: Lenience::default(), chunk_size: None, name: None },
            memory_limit: 0,
            memory_budget: None,
            tasks_per_worker: 0,
            start_timeout_ns: 0,
            seed: None,
            set_up: None,
        }
    }

    /// How many workers there are; as many as the machine lets run at a time, unless said.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Where tasks run: on processes, unless said.
    pub fn backend(mut self, backend: Backend) -> Self {
        self.backend = backend;
        self
    }

    /// How long a task may run; any time, unless said. Needs processes.
    ///
    /// A task that is over it is asked to stop ([`CurrentTask::should_stop`](crate::CurrentTask::should_stop)), and ended
    /// with its worker if it has not when the [`grace`](Self::grace) is over.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.options.timeout(limit);
        self
    }

    /// How long a task may take to stop that has been asked to: a second, unless said. Zero for tasks that never look.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.options.terms.grace_ns = nanoseconds(grace);
        self
    }

    /// How often a task may be run again; never, unless said.
    pub fn retries(mut self, retries: u16) -> Self {
        self.options.terms.retries = retries;
        self
    }

    /// After what a task may be run again: after the death of its worker, or when that has outgrown its memory, unless said.
    pub fn retry_on(mut self, causes: &[Retry]) -> Self {
        self.options.retry_on(causes);
        self
    }

    /// How long a task waits before it is run again for the first time; twice as long each time after.
    pub fn backoff(mut self, backoff: Duration) -> Self {
        self.options.terms.backoff_ns = nanoseconds(backoff);
        self
    }

    /// How urgent calls are: what has a higher priority begins first. Zero, unless said.
    pub fn priority(mut self, priority: i16) -> Self {
        self.options.terms.priority = priority;
        self
    }

    /// How many items of a map go to a worker at a time: by the time that they take, unless said. Of
    /// [`imap`](Pool::imap), one.
    pub fn chunk_size(mut self, items: u32) -> Self {
        self.options.chunk_size = Some(items.max(1));
        self
    }

    /// What errors call tasks, in the place of the name of their function.
    pub fn name(mut self, name: &str) -> Self {
        self.options.name = Some(name.into());
        self
    }

    /// How many bytes of memory a worker may have. One that has more is ended, and its task fails with
    /// [`TaskError::OutOfMemory`](crate::TaskError::OutOfMemory). Needs processes.
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = bytes;
        self
    }

    /// How many bytes of arguments and results there should be under way at most: an eighth of the memory or less, unless
    /// said. Whoever would send more waits.
    pub fn memory_budget(mut self, bytes: u64) -> Self {
        self.memory_budget = Some(bytes);
        self
    }

    /// After how many calls, or chunks of maps, a worker process is replaced; never, unless said.
    pub fn max_tasks_per_worker(mut self, tasks: u64) -> Self {
        self.tasks_per_worker = tasks;
        self
    }

    /// How long a worker process may take to start and be set up; any time, unless said.
    pub fn start_timeout(mut self, limit: Duration) -> Self {
        self.start_timeout_ns = nanoseconds(limit).max(1);
        self
    }

    /// From what the seeds of tasks come: see [`CurrentTask::seed`](crate::CurrentTask::seed). Random, unless said.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Calls a function in each worker before its first task. If it panics, or returns an `Err`, the pool is broken, and
    /// every call says why. For processes it has to be registered.
    ///
    /// ```
    /// use std::sync::OnceLock;
    ///
    /// static WORDS: OnceLock<Vec<String>> = OnceLock::new();
    ///
    /// #[paceline::task]
    /// fn load(text: String) {
    ///     WORDS.get_or_init(|| text.split(' ').map(str::to_owned).collect());
    /// }
    ///
    /// #[paceline::task]
    /// fn word(index: usize) -> Option<String> {
    ///     WORDS.get()?.get(index).cloned()
    /// }
    ///
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     paceline::init();
    ///     let pool = paceline::Pool::builder().workers(2).initializer(load, ("one two".to_owned(),)).build()?;
    ///     assert_eq!(pool.apply(word, (1,))?, Some("two".to_owned()));
    ///     Ok(())
    /// }
    /// ```
    pub fn initializer<F, A>(mut self, function: F, arguments: A) -> Self
    where
        F: Task<A>,
        A: Arguments + Clone + Sync,
    {
        let name = std::any::type_name::<F>();
        let bytes = Registry::get().of_type::<F>().ok_or(BuildError::NotATask(name)).and_then(|known| {
            let mut scratch = Vec::new();
            let mut gather = Gather::new(&mut scratch);
            arguments.encode(&mut gather).map_err(|reason| BuildError::NotSerialisable(name, reason))?;
            Ok((known.name.to_owned(), gather.parts().concat()))
        });
        let codec = Registry::get().of_type::<F>().and_then(crate::registry::Known::codec::<A, F::Output>);
        let here = move || {
            let result = catch(|| function.call(arguments.clone())).map_err(|panic| format!("it panicked: {panic}"))?;
            let failure = codec.and_then(|codec: &Codec<A, F::Output>| (codec.failure)(&result));
            failure.map_or(Ok(()), |failure| Err(format!("it returned {failure:?}")))
        };
        self.set_up = Some(SetUp { name, bytes, here: Box::new(here) });
        self
    }

    /// Opens the pool. Its workers start meanwhile; threads start when there is something to do.
    ///
    /// # Errors
    /// When the program has not called [`init`](crate::init()), an option makes no sense, or the system refuses what a pool
    /// needs.
    pub fn build(self) -> Result<Pool, BuildError> {
        let seed = self.seed.unwrap_or_else(|| RandomState::new().hash_one(std::process::id()));
        let asked = self.workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        let most = if self.backend == Backend::Processes { MOST_PROCESSES } else { usize::from(u16::MAX) };
        let workers = if self.backend == Backend::Serial { 1 } else { asked };
        let workers = u16::try_from(workers).ok().filter(|workers| (1..=most).contains(&usize::from(*workers)));
        let workers = workers.ok_or(BuildError::Workers { asked, most })?;
        let options = self.options.clone();
        let crew = match self.backend {
            Backend::Processes => Crew::Processes(self.open_processes(workers, seed)?),
            Backend::Threads => Crew::Threads(self.open_threads(workers, seed, false)?),
            Backend::Serial => Crew::Threads(self.open_threads(workers, seed, true)?),
        };
        Ok(Pool { inner: Arc::new(Inner { crew }), options })
    }

    fn open_processes(self, workers: u16, seed: u64) -> Result<Processes, BuildError> {
        if !init::is_initialised() {
            return Err(BuildError::NotInitialised);
        }
        if let Some(duplicate) = Registry::get().duplicate {
            return Err(BuildError::DuplicateTask(duplicate));
        }
        let initializer = self.set_up.map(|set_up| set_up.bytes).transpose()?;
        let setup = postcard::to_stdvec(&Setup { seed, initializer });
        let teller = Teller::default();
        let options = Options {
            workers,
            chunks_per_worker: self.tasks_per_worker,
            memory_limit: self.memory_limit,
            memory_budget: self.memory_budget.unwrap_or_else(|| default_memory_budget(workers)),
            start_timeout_ns: self.start_timeout_ns,
            tokens: Tokens::default(),
            setup: setup.map_err(|error| BuildError::System(error.to_string()))?,
            prefix_output: false,
            start: StartMethod::Spawn(init::command()),
            stopped_looks: STOPPED_LOOKS,
            announce: Box::new(Ringer(teller.clone())),
        };
        output::pass_on();
        let engine = Engine::open(options).map_err(|error| match error {
            OpenError::WorkerCount => BuildError::Workers { asked: workers.into(), most: MOST_PROCESSES },
            OpenError::System(errno) => BuildError::System(errno.to_string()),
        })?;
        Ok(Processes::new(engine, teller))
    }

    fn open_threads(self, workers: u16, seed: u64, is_serial: bool) -> Result<Arc<Threads>, BuildError> {
        if self.memory_limit > 0 {
            return Err(BuildError::NeedsProcesses("memory_limit"));
        }
        if let Some(option) = self.options.needs_processes() {
            return Err(BuildError::NeedsProcesses(option));
        }
        Ok(Threads::new(workers, seed, is_serial, self.set_up.map(|set_up| (set_up.name, set_up.here))))
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { workers, backend, options, .. } = self;
        to.debug_struct("Builder")
            .field("workers", workers)
            .field("backend", backend)
            .field("options", options)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // This test program has not called `init`, and never may.
    #[test]
    fn program_that_has_not_called_init_is_told_so_instead_of_starting_itself_again() {
        let error = Pool::builder().build().err().unwrap();
        assert_eq!(error, BuildError::NotInitialised);
        assert!(error.to_string().contains("paceline::init()"));
        assert!(Pool::builder().backend(Backend::Threads).build().is_ok());
    }
}
