//! Owns what a future is of: a job that was sent to worker processes, or one on threads of this process. Never starts
//! one.

use crate::functions::Style;
use crate::future::{TaskFuture, Wait, wait};
use crate::history::{Chronicle, chronicle_of};
use crate::local::Threads;
use crate::outcome::{Decoded, Label, OnError, cancelled, decode, show_failure};
use crate::output::hear;
use paceline_engine::{Announce, Attachment, Engine, Pending, ShownFailure, Stage, Target, Waited};
use pyo3::prelude::*;
use std::sync::{Arc, Weak};

/// A job, from either kind of engine.
pub(crate) enum Job {
    /// To worker processes.
    Sent(Sent),
    /// To threads of this process, or to the caller itself.
    Local(Arc<Threads>, Arc<crate::local::Job>),
}

/// A job of worker processes.
pub(crate) struct Sent {
    pub(crate) engine: Arc<Engine>,
    pub(crate) pending: Arc<Pending>,
    pub(crate) called: Called,
}

/// What was called, and how.
pub(crate) struct Called {
    /// The function, or the name that the caller gave the call.
    pub(crate) function: Py<PyAny>,
    pub(crate) style: Style,
    /// How many items there are.
    pub(crate) items: u32,
    /// What is made of items that failed.
    pub(crate) on_error: OnError,
    /// How long an item may run; zero for any time.
    pub(crate) timeout_ns: u64,
    /// How often one may be run again.
    pub(crate) retries: u16,
    /// The index of the first item, if it is part of what the caller takes for one map.
    pub(crate) base: Option<u32>,
    /// Where each item stands among those of the caller, if they were sent in another order.
    pub(crate) order: Option<Arc<[u32]>>,
    /// How many bytes a worker may have; zero for any amount.
    pub(crate) memory_limit: u64,
}

impl Called {
    pub(crate) fn label<'a, 'py>(&'a self, py: Python<'py>) -> Label<'a, 'py> {
        let Self { ref function, ref order, style, on_error, timeout_ns, retries, base, memory_limit, .. } = *self;
        let order = order.as_deref();
        Label { function: function.bind(py), style, on_error, base, order, timeout_ns, retries, memory_limit }
    }

    pub(crate) fn clone_ref(&self, py: Python<'_>) -> Self {
        Self { function: self.function.clone_ref(py), order: self.order.clone(), ..*self }
    }
}

/// Where jobs end, and can be waited for.
pub(crate) trait Room {
    /// Waits until `target` is there, the deadline has passed, or for at most a slice.
    fn wait(&self, target: &(impl Target + Sync), deadline_ns: Option<u64>, slice_ns: u64) -> Waited;
    /// Whether it belongs to the process that this one was forked from.
    fn is_foreign(&self) -> bool;
}

impl Room for Engine {
    fn wait(&self, target: &(impl Target + Sync), deadline_ns: Option<u64>, slice_ns: u64) -> Waited {
        Self::wait(self, target, deadline_ns, slice_ns)
    }

    fn is_foreign(&self) -> bool {
        Self::is_foreign(self)
    }
}

impl Room for Threads {
    fn wait(&self, target: &(impl Target + Sync), deadline_ns: Option<u64>, slice_ns: u64) -> Waited {
        self.pool.wait(target, deadline_ns, slice_ns)
    }

    fn is_foreign(&self) -> bool {
        self.pool.is_foreign()
    }
}

/// A room of either kind.
pub(crate) enum AnyRoom {
    Processes(Arc<Engine>),
    Threads(Arc<Threads>),
}

/// The same, without keeping it.
pub(crate) enum WeakRoom {
    Processes(Weak<Engine>),
    Threads(Weak<Threads>),
}

impl AnyRoom {
    pub(crate) fn downgrade(&self) -> WeakRoom {
        match self {
            Self::Processes(engine) => WeakRoom::Processes(Arc::downgrade(engine)),
            Self::Threads(threads) => WeakRoom::Threads(Arc::downgrade(threads)),
        }
    }

    /// Takes in what has been answered, without waiting. What threads have ended is known at once.
    pub(crate) fn poll(&self) {
        if let Self::Processes(engine) = self {
            engine.poll();
        }
    }

    /// Sees to it that what is answered from now on will ring the bells.
    pub(crate) fn listen(&self) {
        if let Self::Processes(engine) = self {
            engine.listen();
        }
    }
}

impl WeakRoom {
    pub(crate) fn upgrade(&self) -> Option<AnyRoom> {
        match self {
            Self::Processes(engine) => engine.upgrade().map(AnyRoom::Processes),
            Self::Threads(threads) => threads.upgrade().map(AnyRoom::Threads),
        }
    }

    pub(crate) fn is_there(&self) -> bool {
        match self {
            Self::Processes(engine) => engine.strong_count() > 0,
            Self::Threads(threads) => threads.strong_count() > 0,
        }
    }

    pub(crate) fn is(&self, room: &AnyRoom) -> bool {
        match (self, room) {
            (Self::Processes(one), AnyRoom::Processes(other)) => one.as_ptr() == Arc::as_ptr(other),
            (Self::Threads(one), AnyRoom::Threads(other)) => one.as_ptr() == Arc::as_ptr(other),
            _ => false,
        }
    }
}

impl Room for AnyRoom {
    fn wait(&self, target: &(impl Target + Sync), deadline_ns: Option<u64>, slice_ns: u64) -> Waited {
        match self {
            Self::Processes(engine) => Room::wait(&**engine, target, deadline_ns, slice_ns),
            Self::Threads(threads) => Room::wait(&**threads, target, deadline_ns, slice_ns),
        }
    }

    fn is_foreign(&self) -> bool {
        match self {
            Self::Processes(engine) => Room::is_foreign(&**engine),
            Self::Threads(threads) => Room::is_foreign(&**threads),
        }
    }
}

impl Job {
    pub(crate) fn stage(&self) -> Stage {
        match self {
            Self::Sent(sent) => sent.pending.stage(),
            Self::Local(_, job) => job.stage(),
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.stage() != Stage::Pending
    }

    /// Whether it ended on request, before it began or with its pool.
    pub(crate) fn is_cancelled(&self) -> bool {
        matches!(self.stage(), Stage::Cancelled | Stage::Abandoned)
    }

    /// How many items there are, and how many of them have an outcome.
    pub(crate) fn progress(&self) -> (u64, u64) {
        match self {
            Self::Sent(sent) => {
                let items = u64::from(sent.called.items);
                (items, sent.engine.finished_items(&sent.pending).unwrap_or(items).min(items))
            }
            Self::Local(_, job) => (u64::from(job.items()), u64::from(job.finished_items())),
        }
    }

    /// How many workers there are, how long it has taken, and what they did for it.
    pub(crate) fn chronicle(&self, py: Python<'_>) -> (usize, (f64, Chronicle)) {
        let (workers, is_done, told) = match self {
            Self::Sent(Sent { engine, pending, called }) => {
                engine.poll();
                let is_done = pending.is_done();
                let history = engine.history_of(pending, u64::from(called.items));
                (engine.workers(), is_done, (engine.accounts(), history))
            }
            Self::Local(threads, job) => (threads.pool.workers(), job.is_done(), threads.pool.history_of(job)),
        };
        (workers, chronicle_of(py, told, is_done))
    }

    /// How many bytes its outcome has, few being none, if it has ended and nobody has looked at it yet.
    pub(crate) fn weight(&self) -> u64 {
        match self {
            Self::Sent(sent) => sent.pending.weight(),
            Self::Local(..) => 0,
        }
    }

    /// Takes in what has been answered, without waiting.
    pub(crate) fn poll(&self) {
        if let Self::Sent(sent) = self {
            sent.engine.poll();
        }
    }

    /// Whether something of it has begun and it has not ended.
    pub(crate) fn is_running(&self) -> bool {
        match self {
            Self::Sent(sent) => !sent.pending.is_done() && sent.engine.is_running(&sent.pending),
            Self::Local(_, job) => job.is_running(),
        }
    }

    /// Cancels it if nothing of it has begun; whether it is cancelled by this.
    pub(crate) fn cancel(&self, py: Python<'_>) -> bool {
        match self {
            Self::Sent(sent) => sent.engine.cancel(&sent.pending),
            Self::Local(threads, job) => threads.cancel(py, job),
        }
    }

    /// Cancels it, and stops what of it runs; whether it is cancelled, or will be. What runs on a thread cannot be stopped.
    pub(crate) fn stop(&self, py: Python<'_>) -> bool {
        match self {
            Self::Sent(sent) => sent.engine.stop(&sent.pending),
            Self::Local(threads, job) => threads.cancel(py, job),
        }
    }

    /// Asks for the end to be announced to the future attached; gives it back if the end has come.
    pub(crate) fn announce(&self, attachment: Attachment) -> Result<(), Attachment> {
        match self {
            Self::Sent(sent) => sent.engine.announce(&sent.pending, attachment),
            Self::Local(_, job) => job.attach(attachment),
        }
    }

    /// Waits for the end; whether it came.
    pub(crate) fn wait(&self, py: Python<'_>, patience: Wait) -> PyResult<bool> {
        match self {
            Self::Sent(sent) => wait(py, &*sent.engine, &sent.pending, patience),
            Self::Local(threads, job) => wait(py, &**threads, job, patience),
        }
    }

    /// Has what its workers have said appear, once it has ended.
    pub(crate) fn hear(&self, py: Python<'_>) -> PyResult<()> {
        match self {
            Self::Sent(sent) => sent.engine.unheard().map_or(Ok(()), |spoken| hear(py, &sent.engine, spoken)),
            Self::Local(..) => Ok(()),
        }
    }

    /// The outcome, once it has ended; the first to ask gets it.
    pub(crate) fn take_outcome(&self, py: Python<'_>) -> Option<Decoded> {
        let taken = match self {
            Self::Sent(sent) => {
                let outcome = sent.pending.take_outcome()?;
                decode(py, &outcome, &sent.called.label(py))
            }
            Self::Local(threads, job) => match job.stage() {
                Stage::Complete => Ok(job.payload().take_outcome()?),
                Stage::Broken => threads.start_error(py).map(|error| Decoded::Raised(error.unbind(), None)),
                _ => cancelled(py).map(|error| Decoded::Raised(error.unbind(), None)),
            },
        };
        Some(taken.unwrap_or_else(|error| Decoded::Raised(error.into_value(py).into_any(), None)))
    }

    pub(crate) fn traverse(&self, visit: &pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        match self {
            Self::Sent(sent) => visit.call(&sent.called.function),
            // Before its end, a job is held by the pool as well, which the garbage collector does not know of.
            Self::Local(_, job) if job.is_done() => job.payload().traverse(visit),
            Self::Local(..) => Ok(()),
        }
    }
}

/// Announces ends to the futures that asked for it.
pub(crate) struct ToFutures;

impl Announce for ToFutures {
    fn announce(&self, ended: &mut dyn Iterator<Item = Arc<Pending>>) {
        Python::attach(|py| {
            for pending in ended {
                announce(py, pending.take_attachment());
            }
        });
    }

    fn show_failure(&self, failure: &ShownFailure) {
        Python::attach(|py| show_failure(py, failure));
    }
}

/// Tells the future that asked to be told of a job's end.
pub(crate) fn announce(py: Python<'_>, attachment: Option<Attachment>) {
    if let Some(attachment) = attachment
        && let Ok(future) = attachment.downcast::<Py<TaskFuture>>()
    {
        TaskFuture::announce(future.bind(py));
    }
}
