//! Owns how far one job on threads has come, and who wants to know of its end. Never runs it, and never looks at its
//! payload.

use super::Pace;
use crate::pending::{Attachment, Stage, Stream};
use crate::wait::Target;
use paceline_core::Sizing;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Between [`Stage::Pending`] and the ends: something of the job has begun.
const RUNNING: u8 = 16;

/// A job of one item or of many, which a pool of threads has or had.
#[derive(Debug)]
pub struct Job<T> {
    /// A [`Stage`], or [`RUNNING`]; whoever changes it to an end has ended the job, and nobody else has.
    stage: AtomicU8,
    followed: AtomicBool,
    items: u32,
    /// How many items have no outcome yet.
    unfinished: AtomicU32,
    /// How many items a thread takes at a time.
    grain: AtomicU32,
    sizing: Sizing,
    /// Of the pool: see [`Pace`].
    chunk_ns: AtomicU64,
    growth: AtomicU32,
    least_ns: AtomicU64,
    /// What an item takes, as far as it is known.
    each_ns: AtomicU64,
    /// The first item's number in the pool.
    number: AtomicU64,
    submitted_ns: AtomicU64,
    /// How many items have raised.
    raised: AtomicU64,
    attachment: Mutex<Option<Attachment>>,
    stream: Option<(Arc<Stream>, u64)>,
    payload: T,
}

impl<T> Job<T> {
    /// Of at least one item, to be submitted. With a stream, its end will show there under the given number.
    #[must_use]
    pub fn new(payload: T, items: u32, sizing: Sizing, stream: Option<(Arc<Stream>, u64)>) -> Arc<Self> {
        if let Some((stream, _)) = &stream {
            stream.enter();
        }
        let grain = match sizing {
            Sizing::Fixed(items) => items.max(1),
            Sizing::Measured => 1,
        };
        Arc::new(Self {
            stage: AtomicU8::new(Stage::Pending as u8),
            followed: AtomicBool::new(false),
            items,
            unfinished: AtomicU32::new(items),
            grain: AtomicU32::new(grain),
            sizing,
            chunk_ns: AtomicU64::new(Pace::HERE.chunk_ns),
            growth: AtomicU32::new(Pace::HERE.growth),
            least_ns: AtomicU64::new(Pace::HERE.least_ns),
            each_ns: AtomicU64::new(u64::MAX),
            number: AtomicU64::new(0),
            submitted_ns: AtomicU64::new(0),
            raised: AtomicU64::new(0),
            attachment: Mutex::new(None),
            stream,
            payload,
        })
    }

    /// What the caller made it of.
    #[must_use]
    pub fn payload(&self) -> &T {
        &self.payload
    }

    /// How many items it has.
    #[must_use]
    pub fn items(&self) -> u32 {
        self.items
    }

    /// How many items have an outcome.
    #[must_use]
    pub fn finished_items(&self) -> u32 {
        self.items - self.unfinished.load(Ordering::Relaxed).min(self.items)
    }

    /// How far it has come.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Acquire) {
            1 => Stage::Complete,
            2 => Stage::Cancelled,
            3 => Stage::Abandoned,
            4 => Stage::Broken,
            _ => Stage::Pending,
        }
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.stage() != Stage::Pending
    }

    /// Whether something of it has begun, and it has not ended.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.stage.load(Ordering::Relaxed) == RUNNING
    }

    /// Begins with the first of it, unless it was cancelled.
    pub(super) fn begin(&self) -> bool {
        self.change(Stage::Pending as u8, RUNNING)
    }

    /// Ends it if nothing of it has begun.
    pub(super) fn cancel(&self) -> bool {
        self.change(Stage::Pending as u8, Stage::Cancelled as u8)
    }

    /// Ends it unless it has ended.
    pub(super) fn end(&self, stage: Stage) -> bool {
        self.change(RUNNING, stage as u8) || self.change(Stage::Pending as u8, stage as u8)
    }

    fn change(&self, from: u8, to: u8) -> bool {
        // Sequentially consistent for the sake of `follow`: of an end and somebody who looks once more before going to
        // sleep, one sees the other.
        self.stage.compare_exchange(from, to, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// Shows the end to those who follow it; whether there are any to be woken.
    pub(super) fn show_end(&self) -> bool {
        let mut followed = self.followed.swap(false, Ordering::SeqCst);
        if let Some((stream, number)) = &self.stream {
            followed |= stream.push(*number);
        }
        followed
    }

    /// What identifies this job, and its stream, to those who follow it.
    pub(super) fn keys(self: &Arc<Self>) -> [usize; 2] {
        let stream = self.stream.as_ref().map_or(0, |(stream, _)| Arc::as_ptr(stream) as usize);
        [self.key(), stream]
    }

    /// Hangs something on it, to be given back at its end.
    ///
    /// # Errors
    /// Gives it back at once if the job has ended.
    pub fn attach(&self, attachment: Attachment) -> Result<(), Attachment> {
        let mut held = self.attachment.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever ends the job does so before looking here.
        if self.is_done() {
            return Err(attachment);
        }
        *held = Some(attachment);
        Ok(())
    }

    pub(super) fn take_attachment(&self) -> Option<Attachment> {
        self.attachment.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The pool takes it, its first item having this number there.
    pub(super) fn enter(&self, number: u64, now_ns: u64, pace: Pace) {
        self.chunk_ns.store(pace.chunk_ns, Ordering::Relaxed);
        self.growth.store(pace.growth, Ordering::Relaxed);
        self.least_ns.store(pace.least_ns, Ordering::Relaxed);
        self.number.store(number, Ordering::Relaxed);
        self.submitted_ns.store(now_ns, Ordering::Relaxed);
    }

    pub(super) fn submitted_ns(&self) -> u64 {
        self.submitted_ns.load(Ordering::Relaxed)
    }

    pub(super) fn count_raised(&self, raised: u64) {
        self.raised.fetch_add(raised, Ordering::Relaxed);
    }

    pub(super) fn raised(&self) -> u64 {
        self.raised.load(Ordering::Relaxed)
    }

    /// The numbers of some items in the pool's order of submission.
    #[must_use]
    pub fn numbers(&self, items: &Range<u32>) -> Range<u64> {
        let number = self.number.load(Ordering::Relaxed);
        number + u64::from(items.start)..number + u64::from(items.end)
    }

    /// Some items have an outcome, after so long; whether all have.
    pub fn note_outcomes(&self, count: u32, busy_ns: u64) -> bool {
        if self.sizing == Sizing::Measured && self.items > 1 {
            let each_ns = (busy_ns / u64::from(count)).max(1);
            let chunk_ns = self.chunk_ns.load(Ordering::Relaxed);
            let fitting = u32::try_from(chunk_ns / each_ns).unwrap_or(u32::MAX).max(1);
            // Growing step by step, because the first items may have been the short ones.
            let most = count.saturating_mul(self.growth.load(Ordering::Relaxed));
            self.grain.store(fitting.min(most), Ordering::Relaxed);
            self.each_ns.store(each_ns, Ordering::Relaxed);
        }
        self.unfinished.fetch_sub(count, Ordering::AcqRel) == count
    }

    /// How many of the items that are left a thread takes, so that the others find something as well.
    pub(super) fn share(&self, left: u32, workers: u16) -> u32 {
        let grain = self.grain.load(Ordering::Relaxed);
        match self.sizing {
            Sizing::Fixed(_) => grain.min(left),
            Sizing::Measured => {
                let least = self.least_ns.load(Ordering::Relaxed) / self.each_ns.load(Ordering::Relaxed);
                let least = u32::try_from(least).unwrap_or(u32::MAX).min(left);
                grain.min(left.div_ceil(2 * u32::from(workers)).max(least))
            }
        }
    }
}

impl<T> Target for Arc<Job<T>> {
    fn is_there(&self) -> bool {
        self.is_done()
    }

    fn follow(&self) {
        self.followed.store(true, Ordering::SeqCst);
    }

    fn key(&self) -> usize {
        Arc::as_ptr(self) as usize
    }
}
