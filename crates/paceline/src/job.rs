//! Owns what a result is waited for by: a job that was sent to worker processes, or one in this process, and how what came
//! of it is read. Never starts one.

use crate::calls::Results;
use crate::codec::{Reader, Refusal};
use crate::errors::{BrokenPool, Death, SubmitError, TaskError, TaskName};
use crate::panics::message;
use crate::threads::{LocalJob, Threads};
use crate::worker::Said;
use paceline_engine::{
    Announce, Attachment, Engine, Loss, Outcome, Part, PartContent, Pending, RecordBytes, ShownFailure, Stage, Trouble,
    Waited, kind, now_ns,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::thread::ThreadId;
use std::time::Duration;

/// What is to be done when a job has ended, by whoever ends it.
pub(crate) type Bell = Box<dyn FnOnce() + Send>;

/// A wait goes on without a look at the clock for so long.
const SLICE_NS: u64 = 1_000_000_000;

/// Rings a bell, if one was attached.
pub(crate) fn tell(attachment: Option<Attachment>) {
    if let Some(attachment) = attachment
        && let Ok(bell) = attachment.downcast::<Bell>()
    {
        ring(*bell);
    }
}

/// Rings a bell. One that panics, which the panic has told of, harms nobody.
pub(crate) fn ring(bell: Bell) {
    let _ = catch_unwind(AssertUnwindSafe(bell));
}

/// On which thread an engine tells of ends, once it has.
#[derive(Clone, Default)]
pub(crate) struct Teller(Arc<OnceLock<ThreadId>>);

impl Teller {
    /// Whether the thread that asks is that one, which must not wait for what it does itself.
    pub(crate) fn is_this_thread(&self) -> bool {
        self.0.get() == Some(&std::thread::current().id())
    }
}

/// Rings the bells of jobs that have ended.
pub(crate) struct Ringer(pub(crate) Teller);

impl Announce for Ringer {
    fn announce(&self, ended: &mut dyn Iterator<Item = Arc<Pending>>) {
        self.0.0.get_or_init(|| std::thread::current().id());
        ended.for_each(|pending| tell(pending.take_attachment()));
    }

    // Nobody asks to be shown failures as they come.
    fn show_failure(&self, _: &ShownFailure) {}
}

/// What was called, as far as errors tell it.
#[derive(Clone, Debug)]
pub(crate) struct Called {
    pub(crate) function: &'static str,
    /// What its user has named it.
    pub(crate) name: Option<Arc<str>>,
    pub(crate) items: u32,
    /// The place of the first item in its map; none of a single call.
    pub(crate) base: Option<u32>,
    /// How long an item may run.
    pub(crate) limit: Duration,
}

impl Called {
    pub(crate) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(self.function)
    }

    pub(crate) fn task(&self, place: u32) -> TaskName {
        TaskName { function: self.name().into(), index: self.base.map(|base| base as usize + place as usize) }
    }
}

/// A job, which can be waited for.
pub(crate) enum Ticket {
    Sent(Arc<Engine>, Arc<Pending>),
    Local(Arc<Threads>, Arc<LocalJob>),
    /// None, because it was refused.
    Refused(SubmitError),
}

impl Ticket {
    pub(crate) fn stage(&self) -> Option<Stage> {
        match self {
            Self::Sent(_, pending) => Some(pending.stage()),
            Self::Local(_, job) => Some(job.stage()),
            Self::Refused(_) => None,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        if let Self::Sent(engine, pending) = self
            && !pending.is_done()
        {
            engine.poll();
        }
        self.stage() != Some(Stage::Pending)
    }

    /// Waits for the end, or this moment of the monotonic clock; whether the end has come.
    pub(crate) fn wait(&self, deadline_ns: Option<u64>) -> bool {
        loop {
            let waited = match self {
                Self::Sent(engine, pending) => engine.wait(pending, deadline_ns, SLICE_NS),
                Self::Local(threads, job) => threads.pool.wait(job, deadline_ns, SLICE_NS),
                Self::Refused(_) => Waited::Done,
            };
            match waited {
                Waited::Done => return true,
                Waited::TimedOut => return false,
                Waited::Interrupted => {}
            }
        }
    }

    /// Has a bell rung at the end, in the place of one that was attached before.
    ///
    /// # Errors
    /// Gives it back if the end has come.
    pub(crate) fn attach(&self, bell: Bell) -> Result<(), Bell> {
        let attached = match self {
            Self::Sent(engine, pending) => engine.announce(pending, Box::new(bell)),
            Self::Local(_, job) => job.attach(Box::new(bell)),
            Self::Refused(_) => return Err(bell),
        };
        attached.map_err(|bell| bell.downcast::<Bell>().map_or_else(|_| Box::new(|| ()) as Bell, |bell| *bell))
    }

    /// Cancels it if nothing of it has begun, or, with force, at any time; whether it is cancelled, or will be.
    pub(crate) fn cancel(&self, by_force: bool) -> bool {
        match self {
            Self::Sent(engine, pending) if by_force => engine.stop(pending),
            Self::Sent(engine, pending) => engine.cancel(pending),
            Self::Local(threads, job) => threads.cancel(job),
            Self::Refused(_) => false,
        }
    }
}

/// How a result of worker processes is made of bytes.
pub(crate) type Decode<R> = for<'a, 'b> fn(&'a mut Reader<'b>) -> Result<R, Refusal>;

/// Where the results of a job will be.
pub(crate) enum Source<R> {
    Sent(Called, Decode<R>),
    Local(Arc<dyn Results<R>>),
    Refused(u32),
}

/// A job whose results are known to be `R`.
pub(crate) struct Job<R> {
    pub(crate) ticket: Ticket,
    pub(crate) source: Source<R>,
}

impl<R: Send + 'static> Job<R> {
    /// One that was refused, of so many items, which was to show in a stream.
    pub(crate) fn refused(error: SubmitError, items: u32) -> Self {
        Self { ticket: Ticket::Refused(error), source: Source::Refused(items) }
    }
}

impl<R> Source<R> {
    /// What came of each item, in order, once the job has ended.
    pub(crate) fn read(&self, ticket: &Ticket, take: &mut dyn FnMut(Result<R, TaskError>)) {
        match (self, ticket) {
            (Self::Sent(called, decode), Ticket::Sent(_, pending)) => read_sent(called, *decode, pending, take),
            (Self::Local(results), Ticket::Local(threads, job)) => {
                let is_broken = job.stage() == Stage::Broken;
                for place in 0..job.items() {
                    take(if is_broken { Err(TaskError::Broken(threads.failure())) } else { results.take(place) });
                }
            }
            (Self::Refused(items), Ticket::Refused(error)) => {
                (0..*items).for_each(|_| take(Err(TaskError::NotSubmitted(error.clone()))));
            }
            _ => unreachable!("a job and its results are of one kind"),
        }
    }
}

fn read_sent<R>(called: &Called, decode: Decode<R>, pending: &Pending, take: &mut dyn FnMut(Result<R, TaskError>)) {
    let parts = match pending.take_outcome() {
        Some(Outcome::Complete(parts) | Outcome::GivenUp(parts)) => parts,
        Some(Outcome::Abandoned(Some(breakdown))) => {
            let broken = Arc::new(BrokenPool::from(&*breakdown));
            return (0..called.items).for_each(|_| take(Err(TaskError::Broken(Arc::clone(&broken)))));
        }
        _ => return (0..called.items).for_each(|_| take(Err(TaskError::Cancelled))),
    };
    for Part { first, count, content } in parts.as_slice() {
        match content {
            PartContent::Answer(answer) => {
                let mut read = 0;
                for (kind, bytes) in answer.records() {
                    take(read_record(called, decode, first + read, kind, &bytes));
                    read += 1;
                }
                // A worker that runs wild may have left fewer.
                for place in first + read..first + count {
                    let reason = "what its worker has left cannot be read".to_owned();
                    take(Err(TaskError::NotSerialisable { task: called.task(place), reason }));
                }
            }
            PartContent::Lost(loss) => take(Err(lost(called, *first, loss))),
        }
    }
}

fn read_record<R>(
    called: &Called,
    decode: Decode<R>,
    place: u32,
    kind: u8,
    bytes: &RecordBytes<'_>,
) -> Result<R, TaskError> {
    let mut reader = match bytes {
        RecordBytes::Own(bytes) => Reader::own(bytes),
        other => Reader::foreign(other.foreign()),
    };
    let unreadable = |reason| TaskError::NotSerialisable { task: called.task(place), reason };
    // A panic here, which has told of itself, would take the results of other items with it.
    let decode = |reader: &mut Reader<'_>| {
        let read = catch_unwind(AssertUnwindSafe(|| reader.whole(decode)));
        read.unwrap_or_else(|panic| Err(format!("`Deserialize` panicked: {}", message(&*panic))))
    };
    match kind {
        kind::DONE => decode(&mut reader).map_err(unreadable),
        kind::STOPPED => Err(TaskError::TimedOut { task: called.task(place), limit: called.limit }),
        _ => match Said::read(&mut reader).map_err(unreadable)? {
            Said::Returned => decode(&mut reader).map_err(unreadable),
            Said::Panicked(panic) => Err(TaskError::Panicked { task: called.task(place), panic: *panic }),
            Said::NotSerialisable(reason) => Err(unreadable(reason)),
        },
    }
}

fn lost(called: &Called, place: u32, loss: &Loss) -> TaskError {
    let (task, death) = (called.task(place), Death::from(&*loss.death));
    match loss.trouble {
        Trouble::Overran => TaskError::TimedOut { task, limit: called.limit },
        Trouble::Outgrew => TaskError::OutOfMemory { task, death },
        Trouble::Died | Trouble::Failed | Trouble::MayPass => TaskError::Died { task, death },
    }
}

/// The moment after so long.
pub(crate) fn deadline(patience: Duration) -> u64 {
    now_ns().saturating_add(u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_of_an_endless_input_may_go_beyond_the_largest_place() {
        let called = Called { function: "f", name: None, items: 2, base: Some(u32::MAX), limit: Duration::ZERO };
        assert_eq!(called.task(1).index, Some(1 << 32));
    }
}
