//! Owns what a pool says has gone wrong: one type for opening it, one for sending a call, one for what has become of a
//! task. Never decides any of it.
//!
//! An `Err` that a task returns is none of these: it is the result, and comes as it is.

pub use crate::panics::Panic;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// A pool could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The program has not called [`init`](crate::init).
    #[error(
        "worker processes cannot be started, because this program has not called `paceline::init()`\n\
         hint: make `paceline::init();` the first line of `main`; in tests, put `paceline::init_before_main!();` into the file"
    )]
    NotInitialised,
    /// Two functions are registered under one name.
    #[error(
        "two functions are registered as `{0}`\n\
         hint: rename one of them, or move it into a module of its own"
    )]
    DuplicateTask(&'static str),
    /// The initialiser is not registered.
    #[error(
        "`{0}` cannot set up worker processes, because it is not registered\n\
         hint: mark it with `#[paceline::task]`, or register it by `paceline::register!`"
    )]
    NotATask(&'static str),
    /// The arguments of the initialiser cannot be sent.
    #[error("the arguments of the initialiser `{0}` cannot be sent: {1}")]
    NotSerialisable(&'static str, String),
    /// The number of workers is zero, or larger than a pool can have.
    #[error("a pool has from 1 to {most} workers, not {asked}")]
    Workers {
        /// How many were asked for.
        asked: usize,
        /// How many there can be.
        most: usize,
    },
    /// This option means something for worker processes alone.
    #[error("`{0}` needs worker processes: threads cannot be stopped, nor their memory told apart")]
    NeedsProcesses(&'static str),
    /// The system refused memory, files or a thread.
    #[error("a pool cannot be opened: {0}")]
    System(String),
}

/// A call was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The function is not registered, and so no other process knows it.
    #[error(
        "`{0}` cannot be called in a worker process, because it is not registered\n\
         hint: mark it with `#[paceline::task]`, or register it by `paceline::register!`; closures run with \
         `Backend::Threads` or `Backend::Serial`"
    )]
    NotATask(&'static str),
    /// An argument cannot be sent.
    #[error("an argument of `{function}` cannot be sent: {reason}")]
    NotSerialisable {
        /// The function.
        function: &'static str,
        /// What its `Serialize` said.
        reason: String,
    },
    /// A time limit needs worker processes.
    #[error(
        "`{0}` needs worker processes: a thread cannot be stopped\n\
         hint: open the pool with `Backend::Processes`"
    )]
    NeedsProcesses(&'static str),
    /// The pool takes no more calls.
    #[error("the pool takes no more calls: it was closed or terminated")]
    Closed,
    /// The pool cannot go on.
    #[error(transparent)]
    Broken(Arc<BrokenPool>),
    /// This process is a fork of the one that opened the pool.
    #[error("the pool belongs to the process that this one was forked from\nhint: open another one here")]
    Forked,
    /// A map has more items than one job can have.
    #[error("a map takes at most 4,294,967,295 items")]
    TooManyItems,
    /// There is no shared memory for the arguments.
    #[error("there is no memory for the arguments of a call: {0}")]
    NoMemory(String),
    /// A thread could not be started.
    #[error("no thread can be started: {0}")]
    NoThread(String),
}

impl SubmitError {
    /// Whether the same would be said of every other call.
    pub(crate) fn is_final(&self) -> bool {
        !matches!(self, Self::NotSerialisable { .. } | Self::NoMemory(_) | Self::TooManyItems)
    }
}

/// What kept a task from giving a result.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TaskError {
    /// It panicked.
    #[error("{task} panicked: {panic}")]
    Panicked {
        /// Which.
        task: TaskName,
        /// How.
        panic: Panic,
    },
    /// Its worker died while it ran. Nothing else was lost, and there is another worker.
    #[error("{task} was lost: {death}")]
    Died {
        /// Which.
        task: TaskName,
        /// How.
        death: Death,
    },
    /// It ran longer than it may, and was stopped.
    #[error("{task} ran over its limit of {limit:?}, and was stopped")]
    TimedOut {
        /// Which.
        task: TaskName,
        /// How long it may run.
        limit: Duration,
    },
    /// Its worker outgrew its memory while it ran.
    #[error("{task} outgrew its memory: {death}")]
    OutOfMemory {
        /// Which.
        task: TaskName,
        /// How its worker ended, and how much it had.
        death: Death,
    },
    /// It was cancelled, or its pool was terminated.
    #[error("the task was cancelled, or its pool terminated, before it had a result")]
    Cancelled,
    /// Its pool cannot go on.
    #[error(transparent)]
    Broken(Arc<BrokenPool>),
    /// It was not taken.
    #[error(transparent)]
    NotSubmitted(#[from] SubmitError),
    /// What it returned could not be sent, or what was sent not be read.
    #[error("a value of {task} did not arrive: {reason}")]
    NotSerialisable {
        /// Which.
        task: TaskName,
        /// What was wrong.
        reason: String,
    },
}

/// Which task an error is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskName {
    /// Its function, or the name that stands for it.
    pub function: Arc<str>,
    /// Its place among the items of its map; none of a single call.
    pub index: Option<usize>,
}

impl fmt::Display for TaskName {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            Some(index) => write!(to, "item {index} of `{}`", self.function),
            None => write!(to, "`{}`", self.function),
        }
    }
}

/// How a worker process ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Death {
    /// Its process id.
    pub pid: i32,
    /// Its exit code, if it exited.
    pub code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// The end of what it wrote to standard error.
    pub last_words: String,
    /// The most memory that it had, in bytes, as far as is known.
    pub peak_bytes: u64,
    /// Why Paceline has killed it, if it has.
    pub note: Option<&'static str>,
}

impl From<&paceline_engine::Death> for Death {
    fn from(death: &paceline_engine::Death) -> Self {
        let paceline_engine::Death { pid, code, signal, ref last_words, peak_bytes, note, .. } = *death;
        Self { pid, code, signal, last_words: last_words.clone(), peak_bytes, note }
    }
}

impl fmt::Display for Death {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "worker process {} ", self.pid)?;
        match (self.signal, self.code) {
            (Some(signal), _) => write!(to, "was ended by {}", signal_name(signal))?,
            (None, Some(code)) => write!(to, "exited with code {code}")?,
            (None, None) => write!(to, "ended")?,
        }
        if let Some(note) = self.note {
            write!(to, " ({note})")?;
        }
        if self.peak_bytes > 0 {
            write!(to, ", having had {} MiB", self.peak_bytes >> 20)?;
        }
        if !self.last_words.is_empty() {
            write!(to, "; its last words:\n{}", self.last_words)?;
        }
        Ok(())
    }
}

/// What people call a signal.
fn signal_name(number: i32) -> String {
    use rustix::process::Signal;
    let name = match Signal::from_named_raw(number) {
        Some(Signal::SEGV) => "SIGSEGV",
        Some(Signal::ABORT) => "SIGABRT",
        Some(Signal::KILL) => "SIGKILL",
        Some(Signal::TERM) => "SIGTERM",
        Some(Signal::BUS) => "SIGBUS",
        Some(Signal::ILL) => "SIGILL",
        Some(Signal::FPE) => "SIGFPE",
        Some(Signal::INT) => "SIGINT",
        Some(Signal::HUP) => "SIGHUP",
        Some(Signal::PIPE) => "SIGPIPE",
        Some(Signal::TRAP) => "SIGTRAP",
        Some(Signal::XCPU) => "SIGXCPU",
        _ => return format!("signal {number}"),
    };
    name.to_owned()
}

/// Why a pool cannot go on: its workers cannot be set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenPool {
    /// In words.
    pub reason: String,
    /// How the last worker ended, if there was a process.
    pub death: Option<Death>,
}

impl fmt::Display for BrokenPool {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "the pool is broken: {}", self.reason)?;
        match &self.death {
            Some(death) if death.pid != 0 || !death.last_words.is_empty() => write!(to, "; {death}"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for BrokenPool {}

impl From<&paceline_engine::Breakdown> for BrokenPool {
    fn from(breakdown: &paceline_engine::Breakdown) -> Self {
        let complaint = breakdown.complaint.as_deref().map(String::from_utf8_lossy);
        let reason = complaint.map_or_else(|| breakdown.reason.clone(), |told| format!("{}: {told}", breakdown.reason));
        Self { reason, death: Some(Death::from(&breakdown.death)) }
    }
}

impl From<paceline_engine::SubmitError> for SubmitError {
    fn from(error: paceline_engine::SubmitError) -> Self {
        use paceline_engine::SubmitError as Native;
        match error {
            Native::Closed => Self::Closed,
            Native::Broken(breakdown) => Self::Broken(Arc::new(BrokenPool::from(&*breakdown))),
            Native::Forked => Self::Forked,
            Native::TooManyItems => Self::TooManyItems,
            Native::NoMemory(refusal) => Self::NoMemory(refusal.to_string()),
        }
    }
}
