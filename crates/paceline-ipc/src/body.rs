//! Owns what a slot carries besides its state: the request that the parent writes, the progress and the answer that
//! the worker writes. Never knows what the bytes mean.

use crate::arena::Span;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many payload bytes fit into the slot itself; larger ones travel in a segment.
pub const INLINE_BYTES: usize = 512 - 8 - 144;

/// The segment number of a span that means the slot's own inline bytes.
pub const INLINE_SEGMENT: u32 = u32::MAX;

/// Which of the two answer spans is the current one.
const SECOND_ANSWER: u64 = 1 << 63;
/// Whether the items run side by side.
const SIDE_BY_SIDE: u64 = 1 << 62;
/// The other bits of `progress` count finished items.
const FINISHED: u64 = SIDE_BY_SIDE - 1;

/// The body of a slot. All fields are plain values for which any bytes are valid, so that whatever a worker that died
/// in the middle of a write has left can be read.
#[derive(Debug)]
#[repr(C)]
pub struct Body {
    /// When the worker began, in nanoseconds of the monotonic clock.
    pub began_ns: AtomicU64,
    /// When the worker ended.
    pub ended_ns: AtomicU64,
    progress: AtomicU64,
    /// The function's number; the worker keeps those it has loaded.
    pub function: u64,
    /// The first item's number among all items that were ever submitted to the pool.
    pub item: u64,
    /// The first item's place in its job.
    pub first: u32,
    /// How many items.
    pub count: u32,
    /// The items' input bytes, in the parent's arena or inline.
    pub input: Span,
    /// Where the function itself lies in the parent's arena.
    pub function_at: Span,
    answers: [Span; 2],
    /// The inline bytes: input first, later the answer.
    pub inline: [u8; INLINE_BYTES],
}

const _: () = assert!(size_of::<Body>() == 504, "a slot is eight cache lines");

/// What the parent asks for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The function's number.
    pub function: u64,
    /// Where the function lies in the parent's arena.
    pub function_at: Span,
    /// The first item's number among all items that were ever submitted to the pool.
    pub item: u64,
    /// The first item's place in its job.
    pub first: u32,
    /// How many items.
    pub count: u32,
    /// The items' input bytes.
    pub input: Input<'a>,
}

/// Input bytes: few enough to go inline, or lying in the parent's arena.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// At most [`INLINE_BYTES`].
    Inline(&'a [u8]),
    /// A span of the parent's arena.
    Segment(Span),
}

impl Body {
    /// Writes a request over whatever was there. Parent, into a free slot.
    pub fn put_request(&mut self, request: &Request<'_>) {
        self.began_ns.store(0, Ordering::Relaxed);
        self.progress.store(0, Ordering::Relaxed);
        self.function = request.function;
        self.function_at = request.function_at;
        self.item = request.item;
        self.first = request.first;
        self.count = request.count;
        self.answers[0] = Span::default();
        self.input = match request.input {
            Input::Inline(bytes) => {
                self.inline[..bytes.len()].copy_from_slice(bytes);
                Span { segment: INLINE_SEGMENT, length: bytes.len() as u64, ..Span::default() }
            }
            Input::Segment(span) => span,
        };
    }

    /// Names the place of the answer's bytes, before any of it counts as finished. Worker.
    pub fn put_answer(&mut self, answer: Span) {
        self.answers[self.current()] = answer;
    }

    /// Moves the answer to another place, all bytes of which are written already. One atomic store makes the change,
    /// so that a worker that dies leaves either the old place or the new. Worker.
    pub fn move_answer(&mut self, answer: Span) {
        let progress = self.progress.load(Ordering::Relaxed);
        self.answers[1 - self.current()] = answer;
        self.progress.store(progress ^ SECOND_ANSWER, Ordering::Release);
    }

    /// Says that all items are begun at once, before the first is. Worker.
    pub fn begin_side_by_side(&self) {
        self.progress.fetch_or(SIDE_BY_SIDE, Ordering::Relaxed);
    }

    /// How many items without an outcome the worker may be running at once, if it has begun.
    #[must_use]
    pub fn most_running(&self) -> u32 {
        if self.progress.load(Ordering::Relaxed) & SIDE_BY_SIDE == 0 { 1 } else { u32::MAX }
    }

    /// Counts one more item as finished, its outcome being written. Worker.
    pub fn count_finished(&self) {
        self.progress.store(self.progress.load(Ordering::Relaxed) + 1, Ordering::Release);
    }

    /// The answer's bytes, and how many items are finished in them.
    #[must_use]
    pub fn answer(&self) -> (Span, u32) {
        let finished = self.progress.load(Ordering::Acquire) & FINISHED;
        (self.answers[self.current()], u32::try_from(finished).unwrap_or(u32::MAX))
    }

    fn current(&self) -> usize {
        usize::from(self.progress.load(Ordering::Relaxed) & SECOND_ANSWER != 0)
    }

    /// The inline bytes of a span that names them; at most all there are.
    #[must_use]
    pub fn inline_bytes(&self, span: Span) -> &[u8] {
        let length = usize::try_from(span.length).unwrap_or(INLINE_BYTES).min(INLINE_BYTES);
        &self.inline[..length]
    }
}
