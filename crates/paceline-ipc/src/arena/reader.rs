//! Owns the reader's side of an arena: what is mapped of it, and what is given back. Never allocates.

use super::{BadSpan, CHECKED_FROM, COLD, FILE_SIZE, FREE, RETURNED_FROM, Shared, Span, WARM_LIMIT};
use crate::foreign::Foreign;
use crate::memory::{Mapping, MemoryFile, PAGE};
use crate::sync::{AtomicU8, AtomicU32, Ordering};
use rustix::io::Errno;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A reader's side of another process's arena: maps and frees.
#[derive(Debug)]
pub struct ArenaReader {
    pub(super) shared: Shared,
    may_free: bool,
    mappings: Mutex<HashMap<u32, Arc<Mapping>>>,
    /// How many more releases each of these segments outlives.
    held: Mutex<HashMap<u32, u32>>,
    /// About how many segments are held; none if it is zero.
    pub(super) any_held: AtomicU32,
}

/// Bytes of a segment, mapped while this lives.
#[derive(Debug)]
pub struct View {
    mapping: Arc<Mapping>,
    offset: usize,
    length: usize,
}

impl View {
    /// The bytes, as memory that the writer may change.
    #[must_use]
    pub fn foreign(&self) -> Foreign<'_> {
        // SAFETY: `ArenaReader::view` checked that the range lies inside the mapping, which lives as long as `self`.
        unsafe { Foreign::new(self.mapping.address().add(self.offset), self.length) }
    }

    /// The bytes, for who trusts the writer.
    ///
    /// It wrote them before it told of them, and does not touch them until the segment is freed.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `ArenaReader::view` checked that the range lies inside the mapping, which lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.mapping.address().add(self.offset), self.length) }
    }
}

/// Bytes of a segment that this process may change for itself, mapped while this lives.
#[derive(Debug)]
pub struct OwnCopy {
    mapping: Mapping,
    offset: usize,
    length: usize,
}

impl OwnCopy {
    /// The first byte.
    #[must_use]
    pub fn address(&self) -> *mut u8 {
        // SAFETY: `ArenaReader::own_copy` checked that the range lies inside the mapping.
        unsafe { self.mapping.address().add(self.offset) }
    }

    /// How many bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// Whether it shows what is in the segment, and nothing else.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        !self.mapping.has_own_pages()
    }

    /// Takes the pages that have not been written to over as well. From then on nothing that becomes of the segment can
    /// be seen here.
    pub fn detach(&self) {
        let page = usize::try_from(PAGE).unwrap_or(usize::MAX);
        for place in (self.offset / page * page..self.offset + self.length).step_by(page) {
            // SAFETY: the place lies inside the mapping, and is written to as an atomic that keeps its value: another
            // thread may be at work on the same bytes.
            let byte = unsafe { &*self.mapping.address().add(place).cast::<AtomicU8>() };
            // An operation that can be seen to change nothing would be made a mere reading.
            let mut seen = byte.load(Ordering::Relaxed);
            while let Err(now) = byte.compare_exchange(seen, seen, Ordering::Relaxed, Ordering::Relaxed) {
                seen = now;
            }
        }
    }
}

impl ArenaReader {
    /// The reader's side over a file that the owner sent, or that this process created for the owner.
    ///
    /// # Errors
    /// When the file is too small or cannot be mapped.
    pub fn new(file: MemoryFile) -> Result<Self, Errno> {
        Ok(Self::over(Shared::new(file)?, true))
    }

    /// The side of a reader that frees nothing, and cannot write to the arena by mistake.
    ///
    /// # Errors
    /// As above.
    pub fn read_only(file: MemoryFile) -> Result<Self, Errno> {
        Ok(Self::over(Shared::read_only(file)?, false))
    }

    fn over(shared: Shared, may_free: bool) -> Self {
        Self { shared, may_free, mappings: Mutex::default(), held: Mutex::default(), any_held: AtomicU32::new(0) }
    }

    /// A file for an arena that another process will own, and this one read.
    ///
    /// # Errors
    /// What the system says when it refuses the memory file.
    pub fn create(label: &str) -> Result<Self, Errno> {
        Self::new(MemoryFile::create(label, FILE_SIZE)?)
    }

    /// The file, to be sent to the owner.
    #[must_use]
    pub fn file(&self) -> &MemoryFile {
        &self.shared.file
    }

    /// The bytes of a span.
    ///
    /// # Errors
    /// [`BadSpan`] when it does not lie inside a segment, or cannot be mapped.
    pub fn view(&self, span: Span) -> Result<View, BadSpan> {
        let (start, capacity) = self.segment_of(span)?;
        let mapping = self.mapping(span.segment, start, capacity)?;
        let offset = usize::try_from(span.offset).map_err(|_| BadSpan)?;
        let length = usize::try_from(span.length).map_err(|_| BadSpan)?;
        // A directory that changed under us must not make us read outside what is mapped.
        if offset.checked_add(length).is_none_or(|end| end > mapping.length()) {
            return Err(BadSpan);
        }
        Ok(View { mapping, offset, length })
    }

    /// The bytes of a span, as memory of this process: what it writes there nobody else sees. Until they are detached, the
    /// segment must not be freed.
    ///
    /// # Errors
    /// [`BadSpan`] when it does not lie inside a segment, or cannot be mapped.
    pub fn own_copy(&self, span: Span) -> Result<OwnCopy, BadSpan> {
        let (start, _) = self.segment_of(span)?;
        let before = span.offset % PAGE;
        let length = span.length.checked_add(before).ok_or(BadSpan)?.max(1);
        let start = start.checked_add(span.offset - before).ok_or(BadSpan)?;
        let mapping = self.shared.file.map_private(start, length).map_err(|_| BadSpan)?;
        let offset = usize::try_from(before).map_err(|_| BadSpan)?;
        Ok(OwnCopy { mapping, offset, length: usize::try_from(span.length).map_err(|_| BadSpan)? })
    }

    /// Where the segment of a span begins, and its capacity, if the span lies inside it.
    fn segment_of(&self, span: Span) -> Result<(u64, u64), BadSpan> {
        let (start, capacity) = self.shared.bounds(span.segment).ok_or(BadSpan)?;
        if span.offset.checked_add(span.length).is_none_or(|end| end > capacity) {
            return Err(BadSpan);
        }
        // A file is mostly holes. Reading them would fill them with memory, as much as somebody cares to name.
        if span.length >= CHECKED_FROM && span.length > self.shared.file.backed_bytes() {
            return Err(BadSpan);
        }
        Ok((start, capacity))
    }

    fn mapping(&self, segment: u32, start: u64, capacity: u64) -> Result<Arc<Mapping>, BadSpan> {
        let mut mappings = self.mappings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mapping) = mappings.get(&segment) {
            return Ok(Arc::clone(mapping));
        }
        let mapping = Arc::new(self.shared.file.map_read_only(start, capacity).map_err(|_| BadSpan)?);
        if capacity < RETURNED_FROM {
            mappings.insert(segment, Arc::clone(&mapping));
        }
        Ok(mapping)
    }

    /// Has a segment outlive one release more.
    pub fn hold(&self, segment: u32) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        *held.entry(segment).or_default() += 1;
        self.any_held.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether a segment is held, which it is once less from now on.
    fn is_held(&self, segment: u32) -> bool {
        if self.any_held.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(times) = held.get_mut(&segment) else { return false };
        *times -= 1;
        if *times == 0 {
            held.remove(&segment);
        }
        self.any_held.fetch_sub(1, Ordering::Relaxed);
        true
    }

    /// Frees a segment on the reader's side, so that its owner may use it again; unless it is held.
    pub fn release(&self, segment: u32) {
        if !self.may_free || self.is_held(segment) {
            return;
        }
        let (Some(entry), Some((start, capacity))) = (self.shared.entry(segment), self.shared.bounds(segment)) else {
            return;
        };
        let freed_bytes = &self.shared.header().freed_bytes;
        let kept = freed_bytes.fetch_add(capacity, Ordering::Relaxed).saturating_add(capacity);
        if capacity >= RETURNED_FROM || kept > WARM_LIMIT {
            freed_bytes.fetch_sub(capacity, Ordering::Relaxed);
            self.shared.file.discard(start, capacity);
            entry.state.store(COLD, Ordering::Release);
        } else {
            entry.state.store(FREE, Ordering::Release);
        }
    }
}
