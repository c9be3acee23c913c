//! Owns the worker's writing of outcomes: each is in shared memory, and counted, before the next item begins, so that
//! a death costs the item that was running and no other. Never knows what an outcome means.

use crate::outcome::kind;
use paceline_ipc::arena::{AllocateError, Arena, Span};
use paceline_ipc::body::{Body, INLINE_BYTES, INLINE_SEGMENT};
use paceline_ipc::record;

/// The outcomes of one chunk, being written.
#[derive(Debug)]
pub struct Answers<'a> {
    body: &'a mut Body,
    arena: &'a mut Arena,
    place: Place,
    written: usize,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    segment: u32,
    /// Meaningless for the slot's own bytes, which are reached through the body.
    address: *mut u8,
    capacity: usize,
}

impl<'a> Answers<'a> {
    /// Begins with the slot's own bytes; the input must have been taken out of them.
    pub(crate) fn begin(body: &'a mut Body, arena: &'a mut Arena) -> Self {
        let place = Place { segment: INLINE_SEGMENT, address: std::ptr::null_mut(), capacity: INLINE_BYTES };
        body.put_answer(Span { segment: INLINE_SEGMENT, length: INLINE_BYTES as u64, ..Span::default() });
        Self { body, arena, place, written: 0 }
    }

    /// Adds the outcome of the next item. `kind`, below 128, is for whoever reads it.
    ///
    /// # Errors
    /// When there is no memory for it; nothing was added then.
    pub fn push(&mut self, kind: u8, content: &[u8]) -> Result<(), AllocateError> {
        self.push_parts(kind, &[content])
    }

    /// The same for an outcome that lies in several places, so that a large one need not be gathered first.
    ///
    /// # Errors
    /// When there is no memory for it; nothing was added then.
    pub fn push_parts(&mut self, kind: u8, parts: &[&[u8]]) -> Result<(), AllocateError> {
        // Whatever runs after the task's function must not run twice.
        crate::worker::leave_if_forked();
        let length = parts.iter().map(|part| part.len()).sum();
        if length < record::OUT_OF_LINE_FROM {
            self.make_room(record::HEADER + length)?;
            self.write(&record::header(kind, length));
            for part in parts {
                self.write(part);
            }
        } else {
            let allocation = self.arena.allocate(length as u64)?;
            let mut end = allocation.address;
            for part in parts {
                // SAFETY: the segment is this worker's, mapped, and at least as large as all parts together.
                unsafe {
                    end.copy_from_nonoverlapping(part.as_ptr(), part.len());
                    end = end.add(part.len());
                }
            }
            if let Err(error) = self.make_room(record::ELSEWHERE) {
                self.arena.release(allocation.segment);
                return Err(error);
            }
            self.write(&record::elsewhere(kind, allocation.segment, length as u64));
        }
        if kind != kind::DONE {
            self.body.marks.note_failure();
        }
        self.body.marks.count_finished();
        Ok(())
    }

    /// How many outcomes have been added.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.body.marks.finished()
    }

    fn write(&mut self, bytes: &[u8]) {
        let end = self.written + bytes.len();
        debug_assert!(end <= self.place.capacity);
        if self.place.segment == INLINE_SEGMENT {
            self.body.inline[self.written..end].copy_from_slice(bytes);
        } else {
            // SAFETY: `make_room` saw to it that the bytes fit into the segment, which only this worker writes.
            unsafe { self.place.address.add(self.written).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        }
        self.written = end;
    }

    fn make_room(&mut self, needed: usize) -> Result<(), AllocateError> {
        if self.written + needed <= self.place.capacity {
            return Ok(());
        }
        let wanted = (self.place.capacity * 4).max(self.written + needed);
        let allocation = self.arena.allocate(wanted as u64)?;
        let old = self.place;
        let written = if old.segment == INLINE_SEGMENT { self.body.inline.as_ptr() } else { old.address.cast_const() };
        // SAFETY: what was written fits into the old place and the new one, which do not overlap.
        unsafe { allocation.address.copy_from_nonoverlapping(written, self.written) };
        self.place = Place {
            segment: allocation.segment,
            address: allocation.address,
            capacity: usize::try_from(allocation.capacity).unwrap_or(usize::MAX),
        };
        self.body.move_answer(Span { segment: allocation.segment, length: allocation.capacity, ..Span::default() });
        if old.segment != INLINE_SEGMENT {
            self.arena.release(old.segment);
        }
        Ok(())
    }

    /// States how many bytes there are in the end.
    pub(crate) fn end(self) {
        let span = Span { segment: self.place.segment, length: self.written as u64, ..Span::default() };
        self.body.put_answer(span);
    }
}
