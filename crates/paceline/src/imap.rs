//! Owns the iterators over outcomes: how far ahead the input is read, and in which order outcomes are given. Never decides
//! what runs.

use crate::builder::CallOptions;
use crate::errors::TaskError;
use crate::job::{Job, Source, Ticket};
use crate::pool::{Inner, Pool};
use crate::submit::{Items, Part};
use paceline_engine::{Stream, Waited};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::sync::Arc;

/// How many chunks there are out for each worker, so that none waits for the next; and some more, as outcomes may have to
/// wait for earlier ones.
const CHUNKS_EACH: usize = 4;
/// A wait is looked at again after so long.
const SLICE_NS: u64 = 1_000_000_000;

/// The outcomes of a function with each item of an input: of [`imap`](Pool::imap) and
/// [`imap_unordered`](Pool::imap_unordered).
#[must_use = "nothing is read before an outcome is asked for"]
pub struct Imap<F, A, R, I> {
    inner: Arc<Inner>,
    options: CallOptions,
    function: F,
    /// None once it has ended.
    input: Option<I>,
    /// How many items have been read.
    read: u32,
    chunk_size: usize,
    most_ahead: usize,
    jobs: Jobs<R>,
    /// Outcomes that are next, in order.
    next: VecDeque<Result<R, TaskError>>,
    arguments: PhantomData<fn(A)>,
}

/// The chunks that are out.
enum Jobs<R> {
    Ordered(VecDeque<Job<R>>),
    Unordered { ended: Arc<Stream>, out: HashMap<u64, Job<R>>, number: u64 },
}

impl<R> Jobs<R> {
    fn len(&self) -> usize {
        match self {
            Self::Ordered(out) => out.len(),
            Self::Unordered { out, .. } => out.len(),
        }
    }

    /// Cancels those of which nothing has begun.
    fn cancel(&self) {
        let out: Vec<_> = match self {
            Self::Ordered(out) => out.iter().collect(),
            Self::Unordered { out, .. } => out.values().collect(),
        };
        for job in out {
            job.ticket.cancel(false);
        }
    }

    /// The next that has ended, after waiting for it; none if there are none.
    fn wait(&mut self) -> Option<Job<R>> {
        match self {
            Self::Ordered(out) => {
                let job = out.pop_front()?;
                job.ticket.wait(None);
                Some(job)
            }
            Self::Unordered { ended, out, .. } => loop {
                // Every one that is out shows in the stream, so it does not matter by whose engine this waits.
                let any = &out.values().next()?.ticket;
                if let Some(number) = ended.pop() {
                    return out.remove(&number);
                }
                if wait_for(any, ended) == Waited::TimedOut {
                    // There is no limit, so this is a fork of the process that has the workers, and nothing ends here.
                    let number = *out.keys().next()?;
                    return out.remove(&number);
                }
            },
        }
    }
}

fn wait_for(ticket: &Ticket, stream: &Arc<Stream>) -> Waited {
    match ticket {
        Ticket::Sent(engine, _) => engine.wait(stream, None, SLICE_NS),
        Ticket::Local(threads, _) => threads.pool.wait(stream, None, SLICE_NS),
        Ticket::Refused(_) => Waited::Done,
    }
}

impl<F, A, R, I> Imap<F, A, R, I>
where
    F: Fn(A) -> R + Clone + Send + Sync + 'static,
    A: Send + 'static,
    R: Send + 'static,
    I: Iterator<Item = A>,
{
    pub(crate) fn new(pool: &Pool, function: F, input: I, is_ordered: bool) -> Self {
        let jobs = if is_ordered {
            Jobs::Ordered(VecDeque::new())
        } else {
            Jobs::Unordered { ended: Stream::new(), out: HashMap::new(), number: 0 }
        };
        let chunk_size = pool.options.chunk_size.unwrap_or(1);
        Self {
            inner: Arc::clone(&pool.inner),
            options: CallOptions { chunk_size: Some(chunk_size), ..pool.options.clone() },
            function,
            input: Some(input),
            read: 0,
            chunk_size: chunk_size as usize,
            most_ahead: CHUNKS_EACH * pool.workers(),
            jobs,
            next: VecDeque::new(),
            arguments: PhantomData,
        }
    }

    /// Sends chunks until enough are out, or one was refused.
    fn read_ahead(&mut self) {
        while self.next.is_empty()
            && self.jobs.len() < self.most_ahead
            && let Some(input) = &mut self.input
        {
            let items: Vec<_> = input.by_ref().take(self.chunk_size).map(|item| (item,)).collect();
            if items.len() < self.chunk_size {
                // It is not asked again.
                self.input = None;
            }
            if !items.is_empty() {
                self.send(items);
            }
        }
    }

    fn send(&mut self, items: Vec<(A,)>) {
        let base = self.read;
        self.read = self.read.wrapping_add(u32::try_from(items.len()).unwrap_or(u32::MAX));
        let stream = match &self.jobs {
            Jobs::Ordered(_) => None,
            Jobs::Unordered { ended, number, .. } => Some((Arc::clone(ended), *number)),
        };
        let part = Part { base, stream };
        let job = self.inner.submit(self.function.clone(), Items::Many(items), &self.options, part);
        if matches!(&job.ticket, Ticket::Refused(error) if error.is_final()) {
            // It would say the same of every item, and there may be no end of them.
            self.input = None;
        }
        match (&mut self.jobs, &job.source) {
            // Its end will not show, and has come.
            (Jobs::Unordered { .. }, Source::Refused(_)) => read(&job, &mut self.next),
            (Jobs::Unordered { out, number, .. }, _) => {
                out.insert(*number, job);
                *number += 1;
            }
            (Jobs::Ordered(out), _) => out.push_back(job),
        }
    }
}

fn read<R>(job: &Job<R>, to: &mut VecDeque<Result<R, TaskError>>) {
    job.source.read(&job.ticket, &mut |outcome| to.push_back(outcome));
}

impl<F, A, R, I> Iterator for Imap<F, A, R, I>
where
    F: Fn(A) -> R + Clone + Send + Sync + 'static,
    A: Send + 'static,
    R: Send + 'static,
    I: Iterator<Item = A>,
{
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(outcome) = self.next.pop_front() {
                return Some(outcome);
            }
            self.read_ahead();
            if self.next.is_empty() {
                read(&self.jobs.wait()?, &mut self.next);
            }
        }
    }
}

impl<F, A, R, I> FusedIterator for Imap<F, A, R, I>
where
    F: Fn(A) -> R + Clone + Send + Sync + 'static,
    A: Send + 'static,
    R: Send + 'static,
    I: Iterator<Item = A>,
{
}

impl<F, A, R, I> Drop for Imap<F, A, R, I> {
    fn drop(&mut self) {
        self.jobs.cancel();
    }
}

impl<F, A, R, I> fmt::Debug for Imap<F, A, R, I> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Imap").field("read", &self.read).field("chunks_out", &self.jobs.len()).finish_non_exhaustive()
    }
}
