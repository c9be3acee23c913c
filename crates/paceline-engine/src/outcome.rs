//! Owns what has become of a job: the answers of workers, kept where they lie in shared memory until they are read,
//! and the deaths that took the place of an answer. Never knows what an answer means.

use crate::fork_guard::generation;
use paceline_ipc::arena::{ArenaReader, Span, View};
use paceline_ipc::foreign::Foreign;
use paceline_ipc::record::{Content, Records};
use std::sync::Arc;

/// How a job ended.
#[derive(Debug)]
pub enum Outcome {
    /// Every item has an answer or a death, in the order of the items.
    Complete(Parts),
    /// It was cancelled before anything of it began.
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
    /// The worker died running this one item.
    Died {
        /// Who, and how.
        death: Arc<Death>,
        /// How often the item had been begun before.
        attempt: u16,
    },
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
    Mapped(View),
}

impl RecordBytes<'_> {
    /// The bytes, as memory that somebody may change.
    #[must_use]
    pub fn foreign(&self) -> Foreign<'_> {
        match self {
            Self::Own(bytes) => Foreign::own(bytes),
            Self::Shared(bytes) => *bytes,
            Self::Mapped(view) => view.foreign(),
        }
    }
}

impl Answer {
    /// Takes over the records of so many items that will not stay where they are, and so are copied.
    pub(crate) fn inline(bytes: Foreign<'_>, items: u32, arena: &Arc<ArenaReader>) -> Self {
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
        let mut answer = Self { bytes: copy, items, arena: None, generation: generation() };
        if answer.raw_records().any(|(_, content)| matches!(content, Content::Elsewhere(_))) {
            answer.arena = Some(Arc::clone(arena));
        }
        answer
    }

    /// Takes over records in a segment. Few bytes are copied, and free the segment at once: there are only so many, and
    /// nobody knows how long an answer is kept. Many stay where they are.
    pub(crate) fn segment(span: Span, items: u32, arena: &Arc<ArenaReader>) -> Self {
        let bytes = match arena.view(span) {
            Ok(view) if span.length < COPIED_BELOW => {
                let answer = Self::inline(view.foreign(), items, arena);
                arena.release(span.segment);
                return answer;
            }
            Ok(view) => Bytes::Segment(span.segment, view),
            Err(_) => Bytes::Corrupt,
        };
        Self { bytes, items, arena: Some(Arc::clone(arena)), generation: generation() }
    }

    /// Stands for records that cannot be found.
    pub(crate) fn corrupt() -> Self {
        Self { bytes: Bytes::Corrupt, items: 0, arena: None, generation: generation() }
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
