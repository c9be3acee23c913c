//! Owns what a caller holds of a job: its outcome, once there is one, and who wants to know. Never waits; see
//! [`crate::wait`].

use crate::history::Failed;
use crate::outcome::Outcome;
use paceline_core::JobId;
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use std::any::Any;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

const NO_JOB: u32 = u32::MAX;

/// How far a job has come, as its caller sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// It has not ended.
    Pending = 0,
    /// Every item has an outcome.
    Complete = 1,
    /// It was cancelled before anything of it began.
    Cancelled = 2,
    /// The pool was terminated first.
    Abandoned = 3,
    /// The pool broke first; the outcome says why.
    Broken = 4,
    /// Too many of its items failed; those that had not begun were never run.
    GivenUp = 5,
}

/// What a caller knows a job by.
#[derive(Clone, Debug, Default)]
pub struct Label {
    /// Stands for the function.
    pub name: Option<Arc<str>>,
    /// The place of the first item, if the caller takes several jobs for one map.
    pub base: Option<u32>,
    /// Where each item stands among those of its caller, if they are sent in another order.
    pub order: Option<Arc<[u32]>>,
    /// What the caller knows this submission by in events; zero if by nothing.
    pub origin: u64,
}

/// Who wants to know of items that fail, before the job ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureWatch {
    /// Nobody.
    Nobody,
    /// The core, because they may be run again, or too many of them end the job.
    Core,
    /// The core, and whoever is told of ends (`Announce::show_failure`).
    Everybody,
}

/// A job that was submitted, and may have ended.
#[derive(Debug)]
pub struct Pending {
    stage: AtomicU8,
    outcome: Mutex<Option<Outcome>>,
    job: AtomicU32,
    /// The number of its first item in the pool's order of submission.
    first_item: AtomicU64,
    /// How many of its items have failed, counted each time that one was run.
    failed: Mutex<Failed>,
    followed: AtomicBool,
    /// Whether the driver is to announce the end; changed only under the engine's lock.
    attention: AtomicBool,
    attachment: Mutex<Option<Attachment>>,
    stream: Option<(Arc<Stream>, u64)>,
    failure_watch: FailureWatch,
    mark: Option<Mark>,
    label: Label,
}

/// By what a caller knows a job when one of its failures is shown.
pub type Mark = Box<dyn Any + Send + Sync>;

/// What a caller hangs on a job, to be given back when its end is announced.
pub type Attachment = Box<dyn Any + Send>;

impl Pending {
    /// Of a job to be submitted. With a stream, its end will show there under the given number.
    #[must_use]
    pub fn new(stream: Option<(Arc<Stream>, u64)>) -> Arc<Self> {
        Self::watched(stream, Label::default(), FailureWatch::Nobody, None)
    }

    /// The same for a job that has a label, or of which somebody wants to know the failures as they come.
    #[must_use]
    pub fn watched(
        stream: Option<(Arc<Stream>, u64)>,
        label: Label,
        failure_watch: FailureWatch,
        mark: Option<Mark>,
    ) -> Arc<Self> {
        if let Some((stream, _)) = &stream {
            stream.enter();
        }
        Arc::new(Self {
            stage: AtomicU8::new(Stage::Pending as u8),
            outcome: Mutex::new(None),
            job: AtomicU32::new(NO_JOB),
            first_item: AtomicU64::new(0),
            failed: Mutex::default(),
            followed: AtomicBool::new(false),
            attention: AtomicBool::new(false),
            attachment: Mutex::new(None),
            stream,
            failure_watch,
            mark,
            label,
        })
    }

    /// Where an item stands among those of the job in the caller's order.
    pub(crate) fn place_of(&self, item: u32) -> u32 {
        self.label.order.as_ref().and_then(|order| order.get(item as usize)).copied().unwrap_or(item)
    }

    /// The place of an item among those that the caller takes for one map.
    pub(crate) fn index_of(&self, item: u32) -> u32 {
        self.label.base.unwrap_or(0).wrapping_add(self.place_of(item))
    }

    pub(crate) fn label(&self) -> &Label {
        &self.label
    }

    pub(crate) fn failure_watch(&self) -> FailureWatch {
        self.failure_watch
    }

    /// By what the caller knows it.
    #[must_use]
    pub fn mark(&self) -> Option<&(dyn Any + Send + Sync)> {
        self.mark.as_deref()
    }

    /// How far the job has come.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Acquire) {
            0 => Stage::Pending,
            1 => Stage::Complete,
            2 => Stage::Cancelled,
            3 => Stage::Abandoned,
            4 => Stage::Broken,
            _ => Stage::GivenUp,
        }
    }

    /// Whether the job has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.stage() != Stage::Pending
    }

    /// Takes the outcome out, once the job has ended; the first to ask gets it.
    #[must_use]
    pub fn take_outcome(&self) -> Option<Outcome> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// How many bytes the outcome has, few being none, as long as nobody has taken it out.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(0, Outcome::weight)
    }

    pub(crate) fn job(&self) -> Option<JobId> {
        let job = self.job.load(Ordering::Relaxed);
        (job != NO_JOB && !self.is_done()).then_some(JobId(job))
    }

    pub(crate) fn begin(&self, job: JobId, first_item: u64) {
        self.first_item.store(first_item, Ordering::Relaxed);
        self.job.store(job.0, Ordering::Relaxed);
    }

    pub(crate) fn first_item(&self) -> u64 {
        self.first_item.load(Ordering::Relaxed)
    }

    pub(crate) fn count_failed(&self, failed: Failed) {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).add(failed);
    }

    pub(crate) fn failed(&self) -> Failed {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the outcome; whether somebody follows this job and must be woken.
    pub(crate) fn end(self: &Arc<Self>, outcome: Outcome) -> bool {
        debug_assert!(!self.is_done(), "a job ended twice");
        let stage = match outcome {
            Outcome::Complete(_) => Stage::Complete,
            Outcome::GivenUp(_) => Stage::GivenUp,
            Outcome::Cancelled => Stage::Cancelled,
            Outcome::Abandoned(None) => Stage::Abandoned,
            Outcome::Abandoned(Some(_)) => Stage::Broken,
        };
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        self.stage.store(stage as u8, Ordering::SeqCst);
        let mut followed = self.followed.swap(false, Ordering::SeqCst);
        if let Some((stream, number)) = &self.stream {
            followed |= stream.push(*number);
        }
        followed
    }

    /// Says that a thread will sleep until this ends; it must look at the outcome once more before it does.
    pub(crate) fn follow(&self) {
        self.followed.store(true, Ordering::SeqCst);
    }

    /// What identifies this job, or its stream, to those who follow it.
    pub(crate) fn keys(self: &Arc<Self>) -> [usize; 2] {
        let stream = self.stream.as_ref().map_or(0, |(stream, _)| Arc::as_ptr(stream) as usize);
        [Arc::as_ptr(self) as usize, stream]
    }

    /// The stream whose bell the end will ring.
    pub(crate) fn rings(&self) -> Option<&Arc<Stream>> {
        self.stream.as_ref().map(|(stream, _)| stream).filter(|stream| stream.bell.is_some())
    }

    pub(crate) fn wants_attention(&self) -> bool {
        self.attention.load(Ordering::Relaxed)
    }

    pub(crate) fn want_attention(&self, attachment: Attachment) {
        self.attention.store(true, Ordering::Relaxed);
        *self.attachment.lock().unwrap_or_else(PoisonError::into_inner) = Some(attachment);
    }

    /// Gives back what the caller has hung on the job.
    pub fn take_attachment(&self) -> Option<Attachment> {
        self.attachment.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The numbers of jobs in the order in which they ended.
#[derive(Debug, Default)]
pub struct Stream {
    ended: Mutex<VecDeque<u64>>,
    outstanding: AtomicUsize,
    followed: AtomicBool,
    bell: Option<Bell>,
}

/// A file that can be read when something has ended, for those who wait for files and not for us.
#[derive(Debug)]
struct Bell {
    file: OwnedFd,
    rung: AtomicBool,
}

impl Stream {
    /// An empty one.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// An empty one with a file that can be read when something has ended since [`hush`](Self::hush).
    ///
    /// # Errors
    /// When the system has no file for it.
    pub fn with_bell() -> Result<Arc<Self>, Errno> {
        let file = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Arc::new(Self { bell: Some(Bell { file, rung: AtomicBool::new(false) }), ..Self::default() }))
    }

    /// The bell's file, if there is a bell.
    #[must_use]
    pub fn bell(&self) -> Option<BorrowedFd<'_>> {
        self.bell.as_ref().map(|bell| bell.file.as_fd())
    }

    /// Has the bell ring again with the next end. Whoever calls this polls the engines afterwards, which else would not
    /// take in what need not ring, and then pops, so that none is missed.
    pub fn hush(&self) {
        if let Some(bell) = &self.bell {
            // In this order: an end in between does not ring, but is there to be popped.
            let _ = rustix::io::read(&bell.file, &mut [0; 8]);
            bell.rung.store(false, Ordering::SeqCst);
        }
    }

    /// Whether those whom the bell calls are on their way.
    pub(crate) fn is_rung(&self) -> bool {
        self.bell.as_ref().is_some_and(|bell| bell.rung.load(Ordering::SeqCst))
    }

    /// One more will end here.
    pub(crate) fn enter(&self) {
        self.outstanding.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn push(&self, number: u64) -> bool {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).push_back(number);
        if let Some(bell) = &self.bell
            && !bell.rung.swap(true, Ordering::SeqCst)
        {
            let _ = rustix::io::write(&bell.file, &1_u64.to_ne_bytes());
        }
        self.followed.swap(false, Ordering::SeqCst)
    }

    /// The next that has ended.
    #[must_use]
    pub fn pop(&self) -> Option<u64> {
        let number = self.ended.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        if number.is_some() {
            self.outstanding.fetch_sub(1, Ordering::Relaxed);
        }
        number
    }

    /// Whether one can be popped.
    #[must_use]
    pub fn has_next(&self) -> bool {
        !self.ended.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// One that was to be submitted was not.
    pub fn withdraw(&self) {
        self.outstanding.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many have been submitted and not been popped.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Relaxed)
    }

    pub(crate) fn follow(&self) {
        self.followed.store(true, Ordering::SeqCst);
    }
}
