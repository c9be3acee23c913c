//! Owns what has become of a job: the answers of workers, kept where they lie in shared memory until they are read,
//! and the deaths that took the place of an answer. Never knows what an answer means.

use crate::flight::{Flight, Weight};
use crate::fork_guard::{forks, generation};
use paceline_core::Trouble;
use paceline_ipc::arena::{ArenaReader, OwnCopy, Span, View};
use paceline_ipc::foreign::Foreign;
use paceline_ipc::record::{self, Content, Records};
use std::sync::Arc;

/// How a job ended.
#[derive(Debug)]
pub enum Outcome {
    /// Every item has an answer or a death, in the order of the items.
    Complete(Parts),
    /// Too many items failed: some have an answer or a death, in the order of the items, the others were never run.
    GivenUp(Parts),
    /// It was cancelled: nothing of it began, or what had begun was stopped.
    Cancelled,
    /// The pool ended first; why, if it was not on request.
    Abandoned(Option<Arc<Breakdown>>),
}

/// The parts of a complete job: nearly always one.
#[derive(Debug)]
pub enum Parts {
    /// All items in one part.
    One(Part),
    /// Some items each, in order.
    Many(Vec<Part>),
}

impl Parts {
    /// The parts in order.
    #[must_use]
    pub fn as_slice(&self) -> &[Part] {
        match self {
            Self::One(part) => std::slice::from_ref(part),
            Self::Many(parts) => parts,
        }
    }
}

/// What became of some consecutive items.
#[derive(Debug)]
pub struct Part {
    /// The first item.
    pub first: u32,
    /// How many.
    pub count: u32,
    /// What became of them.
    pub content: PartContent,
}

/// An answer, or none.
#[derive(Debug)]
pub enum PartContent {
    /// The worker's records, one for each item.
    Answer(Answer),
    /// The worker ended while it ran this one item.
    Lost(Loss),
}

impl From<Answer> for PartContent {
    fn from(answer: Answer) -> Self {
        Self::Answer(answer)
    }
}

/// An item that was lost with its worker.
#[derive(Clone, Debug)]
pub struct Loss {
    /// Who, and how.
    pub death: Arc<Death>,
    /// Why its worker ended: it overran its limit, outgrew its memory, or just died.
    pub trouble: Trouble,
    /// How often the item had been begun before.
    pub attempt: u16,
    /// How long it had run, if that is known.
    pub ran_ns: Option<u64>,
    /// Its input bytes, unless they are many.
    pub input: Option<Box<[u8]>>,
    /// How many input bytes it has.
    pub input_length: u64,
}

/// What an outcome of a kind means for its item; kinds from here on are for whoever reads them.
pub mod kind {
    /// It is done.
    pub const DONE: u8 = 0;
    /// It has failed, and would again.
    pub const FAILED: u8 = 1;
    /// It has failed, and may be run again.
    pub const MAY_PASS: u8 = 2;
    /// It was stopped, as the parent has asked.
    pub const STOPPED: u8 = 3;
}

/// What an outcome of this kind tells the core.
pub(crate) fn trouble_of(kind: u8) -> Option<Trouble> {
    match kind {
        kind::DONE => None,
        kind::MAY_PASS => Some(Trouble::MayPass),
        kind::STOPPED => Some(Trouble::Overran),
        _ => Some(Trouble::Failed),
    }
}

/// How a worker ended that was running something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Death {
    /// Its process id.
    pub pid: i32,
    /// Its exit code, if it exited.
    pub code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// The end of what it wrote to its standard error.
    pub last_words: String,
    /// What it was doing when it was asked to stop, in the words of whoever ran it; empty if it was not asked.
    pub stack: String,
    /// The most memory that it had in bytes, as far as is known.
    pub peak_bytes: u64,
    /// It was ended because it had more memory than it may.
    pub is_over_limit: bool,
    /// It was killed, and not by the engine, and while it lived the system has ended processes of its control group for
    /// want of memory.
    pub is_memory_short: bool,
    /// Why it was killed by the engine, if it was.
    pub note: Option<&'static str>,
}

/// Why a pool cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breakdown {
    /// In words.
    pub reason: String,
    /// How the last worker ended.
    pub death: Death,
    /// What the worker itself sent about why it could not be set up.
    pub complaint: Option<Vec<u8>>,
}

/// The records of some items, wherever they lie; freed when dropped.
#[derive(Debug)]
pub struct Answer {
    bytes: Bytes,
    /// No more records than this are looked at, however many a worker has left.
    items: u32,
    /// The arena in which large outcomes lie, where there are any.
    arena: Option<Arc<ArenaReader>>,
    /// Counts its bytes as being under way.
    weight: Weight,
    generation: u32,
}

/// The last of the items of an answer that have failed.
#[derive(Debug)]
pub(crate) struct LastFailure {
    /// How many have.
    pub(crate) count: u64,
    /// Its place among all items of the answer.
    pub(crate) place: u32,
    /// Of what kind its record is.
    pub(crate) kind: u8,
    /// The record, unless it is long.
    pub(crate) said: Option<Box<[u8]>>,
}

/// Whose answer it is: where its large outcomes lie, and by whom its bytes are counted.
pub(crate) type Origin<'a> = (&'a Arc<ArenaReader>, &'a Arc<Flight>);

const SHORT: usize = 32;
/// No answer is counted as more bytes than an arena can have.
const MOST_CLAIMED: u64 = 1 << 44;
/// Copying this much takes a few microseconds.
const COPIED_BELOW: u64 = 64 << 10;

#[derive(Debug)]
enum Bytes {
    Short([u8; SHORT], u8),
    Heap(Box<[u8]>),
    Segment(u32, View),
    /// The worker told of a place that does not exist, or something else was wrong with what it left.
    Corrupt,
}

/// The bytes of one record.
#[derive(Debug)]
pub enum RecordBytes<'a> {
    /// In memory of this process.
    Own(&'a [u8]),
    /// Among other records, where the worker can still write.
    Shared(Foreign<'a>),
    /// In a segment of its own, where the worker can still write.
    Mapped(View, Place<'a>),
}

/// Where a record lies that is mapped.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    arena: &'a Arc<ArenaReader>,
    span: Span,
}

impl RecordBytes<'_> {
    /// The bytes, as memory that somebody may change.
    #[must_use]
    pub fn foreign(&self) -> Foreign<'_> {
        match self {
            Self::Own(bytes) => Foreign::own(bytes),
            Self::Shared(bytes) => *bytes,
            Self::Mapped(view, _) => view.foreign(),
        }
    }

    /// Some of the bytes, to be kept for longer than the answer, and changed; none if they are not mapped, or there are not
    /// so many.
    #[must_use]
    pub fn hold(&self, offset: u64, length: u64) -> Option<HeldCopy> {
        let Self::Mapped(_, Place { arena, span }) = self else { return None };
        if offset.checked_add(length)? > span.length {
            return None;
        }
        let copy = arena.own_copy(Span { offset: span.offset + offset, length, ..*span }).ok()?;
        arena.hold(span.segment);
        let (arena, segment) = (Arc::clone(arena), span.segment);
        Some(HeldCopy { copy: Some(copy), arena, segment, generation: generation(), forks: forks() })
    }
}

/// Some bytes of a large outcome, which whoever holds them may change for himself. Their memory is the worker's again when
/// this is dropped; unless the process has forked meanwhile.
#[derive(Debug)]
pub struct HeldCopy {
    copy: Option<OwnCopy>,
    arena: Arc<ArenaReader>,
    segment: u32,
    generation: u32,
    forks: u32,
}

impl HeldCopy {
    /// The first byte.
    #[must_use]
    pub fn address(&self) -> *mut u8 {
        self.copy.as_ref().map_or(std::ptr::null_mut(), OwnCopy::address)
    }

    /// How many bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        self.copy.as_ref().map_or(0, OwnCopy::length)
    }
}

impl Drop for HeldCopy {
    fn drop(&mut self) {
        // Nothing may be seen here of what the worker does with it next.
        drop(self.copy.take());
        // A forked child shares the segments, and they are its parent's to free: which must not have them used again as long
        // as there may be a child that reads what it has inherited.
        if self.generation == generation() && self.forks == forks() {
            self.arena.release(self.segment);
        }
    }
}

impl Outcome {
    /// How many bytes it has, few being none.
    #[must_use]
    pub fn weight(&self) -> u64 {
        let (Self::Complete(parts) | Self::GivenUp(parts)) = self else { return 0 };
        let of_part = |part: &Part| if let PartContent::Answer(answer) = &part.content { answer.weight() } else { 0 };
        parts.as_slice().iter().map(of_part).sum()
    }
}

impl Answer {
    /// Takes over the records of so many items that will not stay where they are, and so are copied.
    pub(crate) fn inline(bytes: Foreign<'_>, items: u32, (arena, flight): Origin<'_>) -> Self {
        let length = bytes.len();
        let copy = if let Ok(kept) = u8::try_from(length)
            && length <= SHORT
        {
            let mut short = [0; SHORT];
            bytes.copy_to(&mut short[..length]);
            Bytes::Short(short, kept)
        } else {
            bytes.to_vec().map_or(Bytes::Corrupt, |copy| Bytes::Heap(copy.into()))
        };
        let mut answer = Self { bytes: copy, items, arena: None, weight: Weight::default(), generation: generation() };
        if answer.raw_records().any(|(_, content)| matches!(content, Content::Elsewhere(_))) {
            answer.arena = Some(Arc::clone(arena));
        }
        answer.weigh(flight);
        answer
    }

    /// Takes over records in a segment. Few bytes are copied, and free the segment at once: there are only so many, and
    /// nobody knows how long an answer is kept. Many stay where they are.
    pub(crate) fn segment(span: Span, items: u32, (arena, flight): Origin<'_>) -> Self {
        let bytes = match arena.view(span) {
            Ok(view) if span.length < COPIED_BELOW => {
                let answer = Self::inline(view.foreign(), items, (arena, flight));
                arena.release(span.segment);
                return answer;
            }
            Ok(view) => Bytes::Segment(span.segment, view),
            Err(_) => Bytes::Corrupt,
        };
        let arena = Some(Arc::clone(arena));
        let mut answer = Self { bytes, items, arena, weight: Weight::default(), generation: generation() };
        answer.weigh(flight);
        answer
    }

    fn weigh(&mut self, flight: &Arc<Flight>) {
        let own = match &self.bytes {
            Bytes::Short(..) | Bytes::Corrupt => 0,
            Bytes::Heap(bytes) => bytes.len() as u64,
            Bytes::Segment(_, view) => view.foreign().len() as u64,
        };
        let elsewhere = |(_, content)| if let Content::Elsewhere(span) = content { span.length } else { 0 };
        let other =
            if self.arena.is_some() { self.raw_records().map(elsewhere).fold(0, u64::saturating_add) } else { 0 };
        // A worker may claim what it likes.
        self.weight = Weight::of(own.saturating_add(other).min(MOST_CLAIMED), flight);
    }

    /// How many bytes there are, if they are not few.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.weight.bytes()
    }

    /// A copy of one record, to be looked at beside the others; none if it is so large that it lies elsewhere.
    pub(crate) fn single(kind: u8, content: &RecordBytes<'_>) -> Option<Self> {
        let bytes = match content {
            RecordBytes::Mapped(..) => return None,
            RecordBytes::Own(_) | RecordBytes::Shared(_) => content.foreign().to_vec().ok()?,
        };
        let mut copy = record::header(kind, bytes.len()).to_vec();
        copy.extend(bytes);
        Some(Self::of_copies(copy, 1, None))
    }

    /// The records of the items before the nth, and of those after it; that one is let go of.
    pub(crate) fn without(mut self, nth: u32) -> (Self, Self) {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for (place, (kind, content)) in (0..).zip(self.raw_records()) {
            let part = if place < nth { &mut before } else { &mut after };
            match content {
                Content::Elsewhere(span) if place == nth => {
                    if let Some(arena) = &self.arena {
                        arena.release(span.segment);
                    }
                }
                Content::Here(_) if place == nth => {}
                Content::Elsewhere(span) => part.extend(record::elsewhere(kind, span.segment, span.length)),
                Content::Here(bytes) => match bytes.to_vec() {
                    Ok(copy) => {
                        part.extend(record::header(kind, copy.len()));
                        part.extend(copy);
                    }
                    // The part ends here, and its last items cannot be read.
                    Err(_) => break,
                },
            }
        }
        let items = self.items;
        let arena = self.arena.take();
        // What the records name belongs to the parts now; a segment that they lay in does not.
        if let (Bytes::Segment(segment, _), Some(arena)) = (&self.bytes, &arena) {
            arena.release(*segment);
        }
        let flight = self.weight.flight();
        let part = |bytes, items| {
            let mut part = Self::of_copies(bytes, items, arena.clone());
            if let Some(flight) = flight {
                part.weigh(flight);
            }
            part
        };
        (part(before, nth), part(after, items.saturating_sub(nth + 1)))
    }

    fn of_copies(bytes: Vec<u8>, items: u32, arena: Option<Arc<ArenaReader>>) -> Self {
        Self { bytes: Bytes::Heap(bytes.into()), items, arena, weight: Weight::default(), generation: generation() }
    }

    /// Stands for records that cannot be found.
    pub(crate) fn corrupt() -> Self {
        Self { bytes: Bytes::Corrupt, items: 0, arena: None, weight: Weight::default(), generation: generation() }
    }

    fn raw_records(&self) -> impl Iterator<Item = (u8, Content<'_>)> {
        let raw = match &self.bytes {
            Bytes::Short(bytes, length) => Foreign::own(&bytes[..usize::from(*length)]),
            Bytes::Heap(bytes) => Foreign::own(bytes),
            Bytes::Segment(_, view) => view.foreign(),
            Bytes::Corrupt => Foreign::own(&[]),
        };
        Records::new(raw).take(self.items as usize)
    }

    /// Of what kind each record is.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = u8> {
        self.raw_records().map(|(kind, _)| kind)
    }

    /// The last item that has failed, if any has; of its record a copy, if that is no longer than `most`.
    pub(crate) fn last_failure(&self, most: usize) -> Option<LastFailure> {
        let count = self.kinds().filter(|kind| *kind != kind::DONE).count() as u64;
        let failures = (0..).zip(self.raw_records()).filter(|(_, (kind, _))| *kind != kind::DONE);
        let (place, (kind, content)) = failures.last()?;
        let said = match content {
            Content::Here(bytes) if bytes.len() <= most => bytes.to_vec().ok().map(Box::from),
            Content::Here(_) | Content::Elsewhere(_) => None,
        };
        Some(LastFailure { count, place, kind, said })
    }

    /// Kind and bytes of each record in order. Ends early where what the worker left cannot be read.
    pub fn records(&self) -> impl Iterator<Item = (u8, RecordBytes<'_>)> {
        self.raw_records().map_while(|(kind, content)| match content {
            Content::Here(bytes) if matches!(self.bytes, Bytes::Segment(..)) => {
                Some((kind, RecordBytes::Shared(bytes)))
            }
            Content::Here(bytes) => {
                // SAFETY: they are bytes of `self`, where no other process can write.
                let own = unsafe { std::slice::from_raw_parts(bytes.as_ptr(), bytes.len()) };
                Some((kind, RecordBytes::Own(own)))
            }
            Content::Elsewhere(span) => {
                let arena = self.arena.as_ref()?;
                let view = arena.view(span).ok()?;
                Some((kind, RecordBytes::Mapped(view, Place { arena, span })))
            }
        })
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let Some(arena) = &self.arena else { return };
        if self.generation != generation() {
            // A forked child shares the segments, and they are its parent's to free.
            return;
        }
        for (_, content) in self.raw_records() {
            if let Content::Elsewhere(span) = content {
                arena.release(span.segment);
            }
        }
        if let Bytes::Segment(segment, _) = self.bytes {
            arena.release(segment);
        }
    }
}
