//! Owns what a submission means here: its input is kept, the core is told. Never decides whether or when it runs.

use super::functions::Function;
use super::jobs::{Gathered, Job, JobSlot};
use super::{Context, State};
use crate::clock::now_ns;
use crate::outcome::Breakdown;
use crate::pending::{FailureWatch, Pending};
use paceline_core::{Event, JobId, Sizing, Terms};
use paceline_ipc::arena::{AllocateError, Span};
use paceline_ipc::share::Share;
use paceline_ipc::slabs::Placed;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The input of a job.
#[derive(Debug)]
pub struct Input<'a> {
    /// Of all items, one after the other.
    pub bytes: &'a [u8],
    /// Runs that belong among them, each with the number of bytes before it that are not of runs; none if it is short.
    pub runs: Vec<(usize, &'a [u8])>,
    /// What belongs to it and was placed before; the job takes it over, and frees it when it has ended or is refused.
    pub buffers: Vec<Span>,
    /// What it names in shared memory; the job keeps it until it has ended.
    pub shares: Vec<Arc<Share>>,
}

impl<'a, B: AsRef<[u8]> + ?Sized> From<&'a B> for Input<'a> {
    fn from(bytes: &'a B) -> Self {
        Self { bytes: bytes.as_ref(), runs: Vec::new(), buffers: Vec::new(), shares: Vec::new() }
    }
}

/// What is submitted.
pub(crate) struct Submission<'a> {
    /// What to call.
    pub function: &'a Arc<Function>,
    /// The input of all items, one after the other, if it is short.
    pub input: InputBytes<'a>,
    /// What lies in places of its own, which the job takes over.
    pub buffers: Vec<Span>,
    /// What it names in shared memory.
    pub shares: Vec<Arc<Share>>,
    /// Where each item's input ends; none for a single item.
    pub ends: Option<Box<[u64]>>,
    /// How many items.
    pub items: u32,
    /// How they are grouped.
    pub sizing: Sizing,
    /// How urgent it is, and how often an item may be run again.
    pub terms: Terms,
    /// Who wants to know.
    pub pending: &'a Arc<Pending>,
}

/// Input bytes, short or already in the parent's arena.
#[derive(Clone, Copy, Debug)]
pub(crate) enum InputBytes<'a> {
    /// To be copied.
    Short(&'a [u8]),
    /// In a segment, which the job takes over.
    Long(Span),
}

/// The pool does not take submissions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubmitError {
    /// It was closed or terminated.
    Closed,
    /// It is broken.
    Broken(Arc<Breakdown>),
    /// This process is a fork of the one that opened it.
    Forked,
    /// More items than one job can have.
    TooManyItems,
    /// There is no memory for the input.
    NoMemory(AllocateError),
}

impl State {
    pub(crate) fn submit(&mut self, submission: Submission<'_>, context: &Context<'_>) -> Result<(), SubmitError> {
        if !self.is_accepting() {
            if let InputBytes::Long(span) = submission.input {
                self.free(&[span], context);
            }
            self.free(&submission.buffers, context);
            return Err(self.why_closed());
        }
        if self.accounts.began_ns.is_none() {
            self.accounts.began_ns = Some(now_ns());
        }
        let number = self.free_jobs.pop().unwrap_or_else(|| {
            self.jobs.push(JobSlot::default());
            u32::try_from(self.jobs.len() - 1).expect("memory ends before job numbers do")
        });
        let job = JobId(number);
        let slot = &mut self.jobs[number as usize];
        let input = match submission.input {
            InputBytes::Short(bytes) => {
                slot.inline.extend_from_slice(bytes);
                None
            }
            InputBytes::Long(span) => Some(span),
        };
        slot.job = Some(Job {
            pending: Arc::clone(submission.pending),
            function: Arc::clone(submission.function),
            input,
            buffers: submission.buffers,
            shares: submission.shares,
            ends: submission.ends,
            parts: Gathered::None,
            first_item: self.next_item,
            submitted_ns: 0,
            told_again: BTreeMap::new(),
        });
        let first_item = self.next_item;
        submission.pending.begin(job, first_item);
        self.next_item += u64::from(submission.items);
        self.unfinished_items += u64::from(submission.items);
        self.failures_watched += usize::from(submission.pending.failure_watch() != FailureWatch::Nobody);
        if let Some(stream) = submission.pending.rings() {
            self.bells.expect(stream);
        }
        let Submission { items, sizing, terms, .. } = submission;
        self.apply(Event::JobSubmitted { job, items, sizing, terms }, context);
        if let Some(job) = &mut self.jobs[number as usize].job {
            job.submitted_ns = self.moment_ns;
        }
        if self.events.is_wanted() {
            self.tell_submitted(submission.function, submission.pending, first_item, items);
        }
        // Whoever submits more than fits also takes in what has been answered, so that the table never runs dry.
        if self.core.has_backlog() {
            self.drain(context);
        }
        Ok(())
    }

    /// Why no job can be submitted.
    pub(crate) fn why_closed(&self) -> SubmitError {
        self.breakdown.clone().map_or(SubmitError::Closed, SubmitError::Broken)
    }

    /// Frees places that no worker looks at any more.
    pub(crate) fn free(&mut self, places: &[Span], context: &Context<'_>) {
        for place in places {
            if !self.repeats.release(*place) {
                self.slabs.release(&mut self.arena, *place);
                self.flight.remove_input(place.length);
            }
        }
        if !places.is_empty() && self.flight.is_awaited() {
            context.waiting.wake_followers([self.flight.key(); 2]);
        }
    }

    /// A place for bytes that the workers are to read.
    pub(crate) fn place(&mut self, length: u64) -> Result<Placed, SubmitError> {
        let placed = self.slabs.place(&mut self.arena, length).map_err(SubmitError::NoMemory)?;
        self.flight.add_input(length);
        Ok(placed)
    }

    /// A place for bytes that are sent again and again; none if there is no room for them.
    pub(crate) fn place_repeat(&mut self, length: usize) -> Option<Placed> {
        self.repeats.place(&mut self.arena, length)
    }

    /// Whether segments hold memory while nobody has anything to do for the pool; with `is_cooling`, those that are free
    /// give it back.
    pub(crate) fn is_warm_for_nothing(&mut self, is_cooling: bool) -> bool {
        if self.has_work() {
            return false;
        }
        if is_cooling {
            self.repeats.forget(&mut self.arena);
            self.arena.cool();
            return false;
        }
        self.arena.resident_bytes() > 0
    }

    /// How many bytes of memory there are behind the segments of inputs, and of results.
    pub(crate) fn segment_bytes(&self) -> (u64, u64) {
        let results = self.seats.iter().flatten().map(|seat| seat.arena.file().backed_bytes());
        (self.arena.file().backed_bytes(), results.sum())
    }
}
