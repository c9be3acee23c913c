//! Owns the segments in which payloads travel that are larger than a slot. Never knows what they mean.
//!
//! An arena is one memory file, sparse and of a fixed huge size, with one writer: the process that owns it. It begins
//! with a directory of segments; a segment is a range of the file, of a size class, and keeps its place for ever. The
//! owner allocates; a reader in another process maps what it is told of and, when done, frees it by one atomic store
//! into the directory. The owner finds freed segments when it next needs one, and uses them again while they are warm:
//! a copy into warm pages is three times as fast as into fresh ones.
//!
//! Whatever another process can write is checked before it is used, and what is to be used twice is read once. An owner
//! knows by itself where its segments are; from the directory it takes only that a reader has freed one. Where no reader
//! ever frees ([`Arena::create_lent`]), it takes nothing.
//!
//! There is one file for each process, not one for each segment, so that every descriptor is passed when the worker
//! starts and none can be lost on the way later; the kernel frees the whole when the last holder goes.

use crate::memory::{Mapping, MemoryFile, PAGE};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use rustix::io::Errno;
use std::collections::HashMap;
use std::sync::Arc;

mod reader;

pub use reader::{ArenaReader, OwnCopy, View};

/// The size of an arena's file: address space, not memory.
const FILE_SIZE: u64 = 1 << 44;
/// A map may have that many large results; only the pages of those that there are take memory.
const DIRECTORY_ENTRIES: usize = 1 << 18;
const DIRECTORY_BYTES: u64 = (size_of::<Header>() + DIRECTORY_ENTRIES * size_of::<Entry>()) as u64;
/// Segments of at least this size give their memory back when a reader frees them; mapping them afresh is cheap beside
/// filling them.
const RETURNED_FROM: u64 = 256 << 20;
/// Segments freed by the owner hold at most about this much memory for the next payload, unless it was given another
/// limit, and those freed by a reader and not found yet at most this much.
const WARM_LIMIT: u64 = 256 << 20;
/// Of a span of at least this length it is checked that there is memory behind it.
const CHECKED_FROM: u64 = 64 << 10;
/// Whether there is so much memory is asked for segments of at least this size: it takes as long as to fill one of a
/// quarter of that.
const ASKED_FROM: u64 = 1 << 20;
/// How many segments in use are looked at for one that a reader has freed, before a new one is made.
const SWEEP: usize = 64;

/// Free, its memory being kept.
const FREE: u32 = 0;
const USED: u32 = 1;
/// Free, its memory being given back.
const COLD: u32 = 2;

#[derive(Debug)]
#[repr(C, align(64))]
struct Header {
    /// About how many bytes are kept in segments that a reader has freed and the owner has not found.
    freed_bytes: AtomicU64,
}

#[derive(Debug)]
#[repr(C)]
struct Entry {
    offset: AtomicU64,
    capacity: AtomicU64,
    state: AtomicU32,
    padding: u32,
}

/// Where a payload lies: a segment of somebody's arena, and bytes in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Span {
    /// The segment's number in the directory.
    pub segment: u32,
    /// Zero, so that a span has no hidden bytes.
    pub reserved: u32,
    /// The first byte, counted from the segment's beginning.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
}

/// Why an arena could not give memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllocateError {
    /// The system has no memory for it.
    System(Errno),
    /// Too many segments are in use at once.
    DirectoryFull,
}

impl std::fmt::Display for AllocateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::System(errno) => write!(f, "the system refused shared memory: {errno}"),
            Self::DirectoryFull => write!(f, "more than {DIRECTORY_ENTRIES} payloads are in flight"),
        }
    }
}

/// A span does not lie inside a segment of the arena it was said to be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSpan;

/// The size class of a payload: at least a page, at most a quarter larger than asked for.
fn class_of(length: u64) -> u64 {
    let pages = length.max(1).div_ceil(PAGE);
    let step = (pages.next_power_of_two() / 8).max(1);
    pages.div_ceil(step) * step * PAGE
}

#[derive(Debug)]
struct Shared {
    file: MemoryFile,
    directory: Mapping,
}

impl Shared {
    fn new(file: MemoryFile) -> Result<Self, Errno> {
        let directory = file.map(0, DIRECTORY_BYTES)?;
        Ok(Self { file, directory })
    }

    fn read_only(file: MemoryFile) -> Result<Self, Errno> {
        let directory = file.map_read_only(0, DIRECTORY_BYTES)?;
        Ok(Self { file, directory })
    }

    #[expect(clippy::cast_ptr_alignment, reason = "mappings begin at a page")]
    fn header(&self) -> &Header {
        // SAFETY: the directory's mapping begins with a header, of atomics for which any bytes are valid.
        unsafe { &*self.directory.address().cast::<Header>() }
    }

    #[expect(clippy::cast_ptr_alignment, reason = "mappings begin at a page, and entries after a cache line")]
    fn entry(&self, segment: u32) -> Option<&Entry> {
        let index = segment as usize;
        (index < DIRECTORY_ENTRIES).then(|| {
            // SAFETY: in the directory's mapping, `DIRECTORY_ENTRIES` entries follow the header, of atomics for which
            // any bytes are valid.
            unsafe { &*self.directory.address().add(size_of::<Header>()).cast::<Entry>().add(index) }
        })
    }

    fn bounds(&self, segment: u32) -> Option<(u64, u64)> {
        let entry = self.entry(segment)?;
        Some((entry.offset.load(Ordering::Acquire), entry.capacity.load(Ordering::Acquire)))
    }
}

/// The owner's side of an arena: allocates.
#[derive(Debug)]
pub struct Arena {
    shared: Arc<Shared>,
    next_offset: u64,
    segments: Vec<Segment>,
    classes: HashMap<u64, Class>,
    /// In free segments that are known to be free.
    warm_bytes: u64,
    warm_limit: u64,
    /// In all segments with memory behind them.
    resident_bytes: u64,
    /// Asked before much memory is reserved whether there is so much.
    has_memory: fn(u64) -> bool,
    /// Readers free nothing.
    is_lent: bool,
}

#[derive(Debug)]
struct Segment {
    offset: u64,
    capacity: u64,
    mapping: Option<Mapping>,
    /// Memory must be asked for before it is written.
    is_cold: bool,
}

#[derive(Debug, Default)]
struct Class {
    free: Vec<u32>,
    used: Vec<u32>,
    next_look: usize,
}

/// A segment just allocated, to be filled by its owner. Plain data: freeing it is the holder's to do.
#[derive(Clone, Copy, Debug)]
pub struct Allocation {
    /// Its number.
    pub segment: u32,
    /// Where it is mapped in the owner's process, valid until the arena is dropped or the segment released.
    pub address: *mut u8,
    /// How many bytes fit.
    pub capacity: u64,
}

// SAFETY: it is an address and two numbers; whoever writes through it answers for the synchronisation.
unsafe impl Send for Allocation {}

impl Arena {
    /// A new, empty arena. `label` shows in `/proc/<pid>/maps`.
    ///
    /// # Errors
    /// What the system says when it refuses the memory file.
    pub fn create(label: &str) -> Result<Self, Errno> {
        Self::adopt(MemoryFile::create(label, FILE_SIZE)?)
    }

    /// The same, of which readers only read: what a segment says of itself is not believed. Free segments hold at most
    /// about `warm_limit` bytes of memory for the next payload.
    ///
    /// # Errors
    /// As above.
    pub fn create_lent(label: &str, warm_limit: u64) -> Result<Self, Errno> {
        Ok(Self { is_lent: true, warm_limit, ..Self::create(label)? })
    }

    /// The owner's side over a file that another process has created for this one, never used before.
    ///
    /// # Errors
    /// When the file is too small or cannot be mapped.
    pub fn adopt(file: MemoryFile) -> Result<Self, Errno> {
        let shared = Arc::new(Shared::new(file)?);
        Ok(Self {
            shared,
            next_offset: DIRECTORY_BYTES.next_multiple_of(PAGE),
            segments: Vec::new(),
            classes: HashMap::new(),
            warm_bytes: 0,
            warm_limit: WARM_LIMIT,
            resident_bytes: 0,
            has_memory: |_| true,
            is_lent: false,
        })
    }

    /// Has this asked before much memory is reserved. The system itself does not refuse it where a control group has too
    /// little, but kills who touches it.
    #[must_use]
    pub fn asking(self, has_memory: fn(u64) -> bool) -> Self {
        Self { has_memory, ..self }
    }

    /// The file, to be sent to readers.
    #[must_use]
    pub fn file(&self) -> &MemoryFile {
        &self.shared.file
    }

    /// A segment for `length` bytes, backed by memory.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn allocate(&mut self, length: u64) -> Result<Allocation, AllocateError> {
        let capacity = class_of(length);
        let segment = match self.recycle(capacity) {
            Some(segment) => segment,
            None => self.extend(capacity)?,
        };
        self.occupy(segment, capacity).inspect_err(|_| self.class(capacity).free.push(segment))
    }

    fn entry(&self, segment: u32) -> &Entry {
        self.shared.entry(segment).expect("the arena made this segment")
    }

    fn class(&mut self, capacity: u64) -> &mut Class {
        self.classes.entry(capacity).or_default()
    }

    /// A free segment of this class, or one that a reader has freed meanwhile.
    fn recycle(&mut self, capacity: u64) -> Option<u32> {
        if self.class(capacity).free.is_empty() {
            self.find_freed(capacity, SWEEP);
        }
        let segment = self.class(capacity).free.pop()?;
        if !self.segments[segment as usize].is_cold {
            self.warm_bytes = self.warm_bytes.saturating_sub(capacity);
        }
        Some(segment)
    }

    /// Looks among so many of the segments in use for those that a reader has freed.
    fn find_freed(&mut self, capacity: u64, looks: usize) {
        let class = self.classes.entry(capacity).or_default();
        if self.is_lent {
            return;
        }
        for _ in 0..looks.min(class.used.len()) {
            if class.next_look >= class.used.len() {
                class.next_look = 0;
            }
            let segment = class.used[class.next_look];
            let Some(entry) = self.shared.entry(segment) else { return };
            let state = entry.state.load(Ordering::Acquire);
            if state == USED {
                class.next_look += 1;
                continue;
            }
            class.used.swap_remove(class.next_look);
            class.free.push(segment);
            if state == FREE {
                self.shared.header().freed_bytes.fetch_sub(capacity, Ordering::Relaxed);
                self.warm_bytes += capacity;
            } else {
                self.segments[segment as usize].is_cold = true;
                self.resident_bytes -= capacity;
            }
        }
    }

    fn extend(&mut self, capacity: u64) -> Result<u32, AllocateError> {
        let segment = u32::try_from(self.segments.len()).map_err(|_| AllocateError::DirectoryFull)?;
        let Some(entry) = self.shared.entry(segment) else { return Err(AllocateError::DirectoryFull) };
        if self.next_offset.checked_add(capacity).is_none_or(|end| end > self.shared.file.size()) {
            return Err(AllocateError::System(Errno::NOSPC));
        }
        let offset = self.next_offset;
        entry.offset.store(offset, Ordering::Release);
        entry.capacity.store(capacity, Ordering::Release);
        self.next_offset += capacity;
        self.segments.push(Segment { offset, capacity, mapping: None, is_cold: true });
        Ok(segment)
    }

    fn occupy(&mut self, segment: u32, capacity: u64) -> Result<Allocation, AllocateError> {
        let kept = &mut self.segments[segment as usize];
        let offset = kept.offset;
        if kept.is_cold {
            if capacity >= ASKED_FROM && !(self.has_memory)(capacity) {
                return Err(AllocateError::System(Errno::NOMEM));
            }
            self.shared.file.reserve(offset, capacity).map_err(AllocateError::System)?;
            kept.is_cold = false;
            self.resident_bytes += capacity;
        }
        if kept.mapping.is_none() {
            kept.mapping = Some(self.shared.file.map(offset, capacity).map_err(AllocateError::System)?);
        }
        let address = kept.mapping.as_ref().map_or(std::ptr::null_mut(), Mapping::address);
        self.entry(segment).state.store(USED, Ordering::Release);
        self.classes.entry(capacity).or_default().used.push(segment);
        Ok(Allocation { segment, address, capacity })
    }

    /// A copy of what its owner has written into a segment that is in use; none if there is no such span.
    #[must_use]
    pub fn read(&self, span: Span) -> Option<Box<[u8]>> {
        let mapping = self.segments.get(span.segment as usize)?.mapping.as_ref()?;
        let end = span.offset.checked_add(span.length)?;
        if end > mapping.length() as u64 {
            return None;
        }
        let (offset, length) = (usize::try_from(span.offset).ok()?, usize::try_from(span.length).ok()?);
        let mut copy = vec![0; length].into_boxed_slice();
        // SAFETY: the range lies inside the mapping. Its readers only read it; should one of them write to it after all,
        // what is copied is wrong, and no more than that.
        unsafe { mapping.address().add(offset).copy_to_nonoverlapping(copy.as_mut_ptr(), length) };
        Some(copy)
    }

    /// Frees a segment on the owner's side.
    pub fn release(&mut self, segment: u32) {
        let capacity = self.segments[segment as usize].capacity;
        let class = self.classes.entry(capacity).or_default();
        if let Some(position) = class.used.iter().rposition(|used| *used == segment) {
            class.used.swap_remove(position);
            class.free.push(segment);
            self.entry(segment).state.store(FREE, Ordering::Release);
            self.warm_bytes += capacity;
            while self.warm_bytes > self.warm_limit {
                // Payloads of another size may never come again.
                let Some((other, its_capacity)) = self.warm_segment_of_another(capacity) else {
                    return self.chill(segment, capacity);
                };
                self.chill(other, its_capacity);
            }
        }
    }

    fn warm_segment_of_another(&self, capacity: u64) -> Option<(u32, u64)> {
        let others = self.classes.iter().filter(|(other, _)| **other != capacity);
        others.into_iter().find_map(|(other, class)| {
            let warm = class.free.iter().find(|segment| !self.segments[**segment as usize].is_cold)?;
            Some((*warm, *other))
        })
    }

    /// Gives the memory of a free segment back to the system; its place stays.
    fn chill(&mut self, segment: u32, capacity: u64) {
        let kept = &mut self.segments[segment as usize];
        if std::mem::replace(&mut kept.is_cold, true) {
            return;
        }
        kept.mapping = None;
        let offset = kept.offset;
        self.shared.file.discard(offset, capacity);
        self.warm_bytes = self.warm_bytes.saturating_sub(capacity);
        self.resident_bytes -= capacity;
    }

    /// How many bytes of memory there are behind the segments, used or free.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        self.resident_bytes
    }

    /// Gives the memory of all free segments back to the system.
    pub fn cool(&mut self) {
        let capacities: Vec<u64> = self.classes.keys().copied().collect();
        for capacity in capacities {
            self.find_freed(capacity, usize::MAX);
            for segment in self.class(capacity).free.clone() {
                self.chill(segment, capacity);
            }
        }
    }
}

#[cfg(test)]
mod tests;
