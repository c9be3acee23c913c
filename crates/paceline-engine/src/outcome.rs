//! Owns what has become of a job: the answers of workers, kept where they lie in shared memory until they are read,
//! and the deaths that took the place of an answer. Never knows what an answer means.

use crate::fork_guard::generation;
use paceline_core::Trouble;
use paceline_ipc::arena::{ArenaReader, Span, View};
use paceline_ipc::record::{Content, Records};
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
    /// While it lived, the system has ended processes of its control group for want of memory.
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
    /// The arena in which large outcomes lie, where there are any.
    arena: Option<Arc<ArenaReader>>,
    generation: u32,
}

const SHORT: usize = 32;
/// Copying this much takes a few microseconds.
const COPIED_BELOW: u64 = 64 << 10;

#[derive(Debug)]
enum Bytes {
    Short([u8; SHORT], u8),
    Heap(Box<[u8]>),
    Segment(u32, View),
    /// The worker told of a place that does not exist.
    Corrupt,
}

/// The bytes of one record.
#[derive(Debug)]
pub enum RecordBytes<'a> {
    /// Among the other records.
    Here(&'a [u8]),
    /// In a segment of its own.
    Mapped(View),
}

impl RecordBytes<'_> {
    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Here(bytes) => bytes,
            Self::Mapped(view) => view.bytes(),
        }
    }
}

impl Answer {
    /// Takes over records that will not stay where they are, and so are copied.
    pub(crate) fn inline(bytes: &[u8], arena: &Arc<ArenaReader>) -> Self {
        let elsewhere = Records::new(bytes).any(|(_, content)| matches!(content, Content::Elsewhere(_)));
        let arena = elsewhere.then(|| Arc::clone(arena));
        if let Ok(length) = u8::try_from(bytes.len())
            && bytes.len() <= SHORT
        {
            let mut short = [0; SHORT];
            short[..bytes.len()].copy_from_slice(bytes);
            return Self { bytes: Bytes::Short(short, length), arena, generation: generation() };
        }
        Self { bytes: Bytes::Heap(bytes.into()), arena, generation: generation() }
    }

    /// Takes over records in a segment. Few bytes are copied, and free the segment at once: there are only so many, and
    /// nobody knows how long an answer is kept. Many stay where they are.
    pub(crate) fn segment(span: Span, arena: &Arc<ArenaReader>) -> Self {
        let bytes = match arena.view(span) {
            Ok(view) if span.length < COPIED_BELOW => {
                let answer = Self::inline(view.bytes(), arena);
                arena.release(span.segment);
                return answer;
            }
            Ok(view) => Bytes::Segment(span.segment, view),
            Err(_) => Bytes::Corrupt,
        };
        Self { bytes, arena: Some(Arc::clone(arena)), generation: generation() }
    }

    /// One record of these, to be looked at beside them; none if it lies elsewhere.
    pub(crate) fn copy_of(&self, nth: usize) -> Option<Self> {
        let mut records = Records::new(self.raw());
        let before = self.raw().len();
        let mut start = 0;
        for _ in 0..nth {
            records.next()?;
            start = before - records.remaining();
        }
        let (_, Content::Here(_)) = records.next()? else { return None };
        let bytes = self.raw()[start..before - records.remaining()].into();
        Some(Self { bytes: Bytes::Heap(bytes), arena: None, generation: self.generation })
    }

    /// The records before the nth, and those after it; that one is let go of.
    pub(crate) fn without(mut self, nth: usize) -> (Self, Self) {
        let raw = self.raw();
        let mut records = Records::new(raw);
        let mut cut = 0;
        for _ in 0..nth {
            records.next();
            cut = raw.len() - records.remaining();
        }
        let lost = records.next();
        let end = raw.len() - records.remaining();
        let part = |bytes: &[u8]| Self {
            bytes: Bytes::Heap(bytes.into()),
            arena: self.arena.clone(),
            generation: self.generation,
        };
        let parts = (part(&raw[..cut]), part(&raw[end..]));
        if let (Some((_, Content::Elsewhere(span))), Some(arena)) = (lost, &self.arena) {
            arena.release(span.segment);
        }
        // What the records name belongs to the parts now; a segment that they lay in does not.
        if let (Bytes::Segment(segment, _), Some(arena)) = (&self.bytes, &self.arena) {
            arena.release(*segment);
        }
        self.arena = None;
        parts
    }

    fn raw(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Short(bytes, length) => &bytes[..usize::from(*length)],
            Bytes::Heap(bytes) => bytes,
            Bytes::Segment(_, view) => view.bytes(),
            Bytes::Corrupt => &[],
        }
    }

    /// Kind and bytes of each record in order. Ends early where what the worker left cannot be read.
    pub fn records(&self) -> impl Iterator<Item = (u8, RecordBytes<'_>)> {
        Records::new(self.raw()).map_while(|(kind, content)| match content {
            Content::Here(bytes) => Some((kind, RecordBytes::Here(bytes))),
            Content::Elsewhere(span) => {
                let view = self.arena.as_ref()?.view(span).ok()?;
                Some((kind, RecordBytes::Mapped(view)))
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
        for (_, content) in Records::new(self.raw()) {
            if let Content::Elsewhere(span) = content {
                arena.release(span.segment);
            }
        }
        if let Bytes::Segment(segment, _) = self.bytes {
            arena.release(segment);
        }
    }
}
