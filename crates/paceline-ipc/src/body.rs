//! Owns what a slot carries besides its state: the request that the parent writes, the progress and the answer that
//! the worker writes. Never knows what the bytes mean.

use crate::arena::Span;
use crate::foreign::Foreign;
use crate::marks::Marks;
use crate::table::Visible;
use std::marker::PhantomData;

/// How many payload bytes fit into the slot itself; larger ones travel in a segment.
pub const INLINE_BYTES: usize = 512 - 8 - 152;

/// The segment number of a span that means the slot's own inline bytes.
pub const INLINE_SEGMENT: u32 = u32::MAX;

/// The body of a slot. All fields are plain values for which any bytes are valid, so that whatever a worker that died
/// in the middle of a write has left can be read.
#[derive(Debug)]
#[repr(C)]
pub struct Body {
    /// How far the worker is.
    pub marks: Marks,
    /// The function's number; the worker keeps those it has loaded.
    pub function: u64,
    /// The first item's number among all items that were ever submitted to the pool.
    pub item: u64,
    /// The first item's place among those that the caller takes for one map.
    pub first: u32,
    /// How many items.
    pub count: u32,
    /// How often the first item has been begun before.
    pub attempt: u32,
    /// The devices that it has for itself meanwhile, or a part of: a set, with a bit for each.
    pub devices: u32,
    /// The items' input bytes, in the parent's arena or inline.
    pub input: Span,
    /// Where the function itself lies in the parent's arena.
    pub function_at: Span,
    answers: [Span; 2],
    /// The inline bytes: input first, later the answer.
    pub inline: [u8; INLINE_BYTES],
}

// SAFETY: the marks are a field of the body.
unsafe impl Visible for Body {
    fn marks(body: *const Self) -> *const Marks {
        body.wrapping_byte_add(std::mem::offset_of!(Self, marks)).cast()
    }
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
    /// The first item's place among those that the caller takes for one map.
    pub first: u32,
    /// How many items.
    pub count: u32,
    /// How often the first item has been begun before.
    pub attempt: u16,
    /// The devices that it has for itself meanwhile, or a part of: a set, with a bit for each.
    pub devices: u32,
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
        self.marks.reset();
        self.function = request.function;
        self.function_at = request.function_at;
        self.item = request.item;
        self.first = request.first;
        self.count = request.count;
        self.attempt = u32::from(request.attempt);
        self.devices = request.devices;
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
        self.answers[self.marks.progress().answer()] = answer;
    }

    /// Moves the answer to another place, all bytes of which are written already. One atomic store makes the change,
    /// so that a worker that dies leaves either the old place or the new. Worker.
    pub fn move_answer(&mut self, answer: Span) {
        self.answers[1 - self.marks.progress().answer()] = answer;
        self.marks.switch_answer();
    }

    /// The inline bytes of a span that names them; at most all there are. For the worker that has claimed the slot.
    #[must_use]
    pub fn inline_bytes(&self, span: Span) -> &[u8] {
        let length = usize::try_from(span.length).unwrap_or(INLINE_BYTES).min(INLINE_BYTES);
        &self.inline[..length]
    }
}

/// What a worker has left in a slot, for the parent: it may be anything, and change at any moment.
#[derive(Clone, Copy, Debug)]
pub struct Left<'a> {
    body: *const Body,
    memory: PhantomData<&'a Body>,
}

impl<'a> Left<'a> {
    /// What is left in this body.
    ///
    /// # Safety
    /// The body stays mapped and readable for the lifetime.
    #[must_use]
    pub unsafe fn new(body: *const Body) -> Self {
        Self { body, memory: PhantomData }
    }

    /// How far the worker has come.
    #[must_use]
    pub fn marks(self) -> &'a Marks {
        // SAFETY: the marks are atomics for which any bytes are valid, and mapped.
        unsafe { &(*self.body).marks }
    }

    /// The answer's bytes, and how many items are finished in them.
    #[must_use]
    pub fn answer(self) -> (Span, u32) {
        let progress = self.marks().progress();
        // SAFETY: the body is mapped, and any bytes are a span. It is read once.
        let span = unsafe { (&raw const (*self.body).answers[progress.answer()]).read_volatile() };
        (span, progress.finished())
    }

    /// How many items without an outcome the worker may be running at once, if it has begun.
    #[must_use]
    pub fn most_running(self) -> u32 {
        if self.marks().progress().is_side_by_side() { u32::MAX } else { 1 }
    }

    /// The inline bytes of a span that names them; at most all there are.
    #[must_use]
    pub fn inline_bytes(self, span: Span) -> Foreign<'a> {
        let length = usize::try_from(span.length).unwrap_or(INLINE_BYTES).min(INLINE_BYTES);
        // SAFETY: the bytes are those of the body, which is mapped.
        unsafe { Foreign::new((&raw const (*self.body).inline).cast(), length) }
    }
}
