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
const DIRECTORY_ENTRIES: usize = 1 << 14;
const DIRECTORY_BYTES: u64 = (size_of::<Header>() + DIRECTORY_ENTRIES * size_of::<Entry>()) as u64;
/// Segments of at least this size give their memory back when they are freed; mapping them afresh is cheap beside
/// filling them.
const RETURNED_FROM: u64 = 256 << 20;
/// Segments freed by the owner hold at most about this much memory for the next payload, and those freed by a reader
/// and not found yet as much again.
const WARM_LIMIT: u64 = 256 << 20;
/// Of a span of at least this length it is checked that there is memory behind it.
const CHECKED_FROM: u64 = 64 << 10;
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
    warm_bytes: u64,
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

    /// The same, of which readers only read: what a segment says of itself is not believed.
    ///
    /// # Errors
    /// As above.
    pub fn create_lent(label: &str) -> Result<Self, Errno> {
        Ok(Self { is_lent: true, ..Self::create(label)? })
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
            is_lent: false,
        })
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
        let class = self.classes.entry(capacity).or_default();
        if class.free.is_empty() && !self.is_lent {
            for _ in 0..SWEEP.min(class.used.len()) {
                if class.next_look >= class.used.len() {
                    class.next_look = 0;
                }
                let segment = class.used[class.next_look];
                let entry = self.shared.entry(segment)?;
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
                }
            }
        }
        let segment = class.free.pop()?;
        if !self.segments[segment as usize].is_cold {
            self.warm_bytes = self.warm_bytes.saturating_sub(capacity);
        }
        Some(segment)
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
            self.shared.file.reserve(offset, capacity).map_err(AllocateError::System)?;
            kept.is_cold = false;
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
            if capacity >= RETURNED_FROM || self.warm_bytes > WARM_LIMIT {
                self.chill(segment, capacity);
            }
        }
    }

    /// Gives the memory of a free segment back to the system; its place stays.
    fn chill(&mut self, segment: u32, capacity: u64) {
        let kept = &mut self.segments[segment as usize];
        kept.mapping = None;
        kept.is_cold = true;
        let offset = kept.offset;
        self.shared.file.discard(offset, capacity);
        self.warm_bytes = self.warm_bytes.saturating_sub(capacity);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::fd::AsFd;

    fn pair() -> (Arena, ArenaReader) {
        let arena = Arena::create("test").unwrap();
        let file = MemoryFile::from_descriptor(arena.file().as_fd().try_clone_to_owned().unwrap()).unwrap();
        (arena, ArenaReader::new(file).unwrap())
    }

    fn fill(allocation: Allocation, bytes: &[u8]) -> Span {
        assert!(bytes.len() as u64 <= allocation.capacity);
        // SAFETY: the allocation is mapped and large enough.
        unsafe { allocation.address.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Span { segment: allocation.segment, length: bytes.len() as u64, ..Span::default() }
    }

    #[test]
    fn a_freed_segment_is_used_again() {
        let (mut arena, reader) = pair();
        let first = arena.allocate(10_000).unwrap();
        let second = arena.allocate(10_000).unwrap();
        assert_ne!(first.segment, second.segment);
        reader.release(first.segment);
        assert_eq!(arena.allocate(10_100).unwrap().segment, first.segment);
        arena.release(second.segment);
        assert_eq!(arena.allocate(9_900).unwrap().segment, second.segment);
    }

    #[test]
    fn a_span_outside_its_segment_is_refused() {
        let (mut arena, reader) = pair();
        let span = fill(arena.allocate(5).unwrap(), b"hello");
        assert_eq!(reader.view(span).unwrap().bytes(), b"hello");
        for bad in [
            Span { segment: 1, ..span },
            Span { segment: u32::MAX, ..span },
            Span { offset: 4092, ..span },
            Span { offset: u64::MAX, ..span },
            Span { length: u64::MAX, ..span },
        ] {
            assert!(reader.view(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_long_span_over_a_hole_is_refused_and_fills_nothing() {
        let (mut arena, reader) = pair();
        let segment = arena.allocate(5).unwrap().segment;
        let entry = reader.shared.entry(segment).unwrap();
        entry.capacity.store(1 << 40, Ordering::Relaxed);
        assert!(reader.view(Span { segment, length: 1 << 30, ..Span::default() }).is_err());
        assert!(reader.shared.file.backed_bytes() < 1 << 20);
    }

    #[test]
    fn a_segment_that_is_held_is_freed_by_the_last_release() {
        let (mut arena, reader) = pair();
        let first = arena.allocate(10_000).unwrap().segment;
        reader.hold(first);
        reader.hold(first);
        reader.release(first);
        reader.release(first);
        let second = arena.allocate(10_000).unwrap().segment;
        assert_ne!(second, first);
        reader.release(second);
        reader.release(first);
        assert_eq!(reader.any_held.load(Ordering::Relaxed), 0);
        let mut both = [arena.allocate(10_000).unwrap().segment, arena.allocate(10_000).unwrap().segment];
        both.sort_unstable();
        assert_eq!(both, [first, second]);
    }

    #[test]
    fn own_copies_are_changed_for_oneself_and_outlive_the_segment_when_detached() {
        let mut arena = Arena::create_lent("test").unwrap();
        let reader = ArenaReader::read_only(arena.file().try_clone().unwrap()).unwrap();
        let bytes: Vec<u8> = (0..20_000u32).map(|number| number.to_le_bytes()[0]).collect();
        let span = fill(arena.allocate(20_000).unwrap(), &bytes);
        let part = Span { offset: 5_000, length: 10_000, ..span };
        let (one, two) = (reader.own_copy(part).unwrap(), reader.own_copy(part).unwrap());
        // SAFETY: the address is the first of ten thousand bytes that are this test's own.
        unsafe { one.address().write_bytes(0, 10) };
        // SAFETY: as long as the copy lives, and nobody writes to it meanwhile.
        let seen = |copy: &OwnCopy| unsafe { std::slice::from_raw_parts(copy.address(), copy.length()).to_vec() };
        assert_eq!(seen(&two), bytes[5_000..15_000]);
        two.detach();
        arena.release(span.segment);
        let again = arena.allocate(20_000).unwrap();
        assert_eq!(again.segment, span.segment);
        fill(again, &vec![9; 20_000]);
        assert_eq!(seen(&two), bytes[5_000..15_000]);
        assert!(reader.own_copy(Span { offset: 30_000, ..part }).is_err());
        assert!(reader.own_copy(Span { length: u64::MAX, ..part }).is_err());
    }

    #[test]
    fn segments_of_a_lent_arena_are_freed_by_their_owner_alone() {
        let mut arena = Arena::create_lent("test").unwrap();
        let reader = ArenaReader::new(arena.file().try_clone().unwrap()).unwrap();
        let first = arena.allocate(10_000).unwrap();
        reader.release(first.segment);
        assert_ne!(arena.allocate(10_000).unwrap().segment, first.segment);
        reader.shared.entry(first.segment).unwrap().offset.store(0, Ordering::Relaxed);
        arena.release(first.segment);
        let again = arena.allocate(10_000).unwrap();
        assert_eq!((again.segment, again.address), (first.segment, first.address));
    }

    #[test]
    fn a_huge_segment_gives_its_memory_back() {
        let (mut arena, reader) = pair();
        let huge = arena.allocate(RETURNED_FROM).unwrap();
        arena.release(huge.segment);
        let blocks = rustix::fs::fstat(arena.file()).unwrap().st_blocks;
        assert!(blocks * 512 < 1 << 20, "{blocks} blocks are still held");
        assert_eq!(reader.view(Span { segment: huge.segment, length: 1, ..Span::default() }).unwrap().bytes(), [0]);
    }

    #[test]
    fn readers_leave_no_more_than_so_much_memory_in_free_segments() {
        let (mut arena, reader) = pair();
        let large: Vec<_> = (0..20).map(|_| arena.allocate(32 << 20).unwrap().segment).collect();
        for segment in &large {
            reader.release(*segment);
        }
        let held = rustix::fs::fstat(arena.file()).unwrap().st_blocks.unsigned_abs() * 512;
        assert!(held <= WARM_LIMIT + (1 << 20), "{held} bytes are still held");
        for round in 0..3 {
            let again: Vec<_> = large.iter().map(|_| arena.allocate(32 << 20).unwrap()).collect();
            for allocation in &again {
                assert!(large.contains(&allocation.segment), "round {round}");
                fill(*allocation, &[7; 8_192]);
            }
            for allocation in again {
                reader.release(allocation.segment);
            }
        }
    }

    proptest! {
        #[test]
        fn a_class_fits_and_wastes_at_most_a_quarter(length in 1u64..(1 << 40)) {
            let class = class_of(length);
            prop_assert!(class >= length && class.is_multiple_of(PAGE));
            prop_assert!(class <= (length + length / 4).max(PAGE) + PAGE);
        }

        #[test]
        fn payloads_in_flight_never_overlap(sizes in proptest::collection::vec((1u64..50_000, any::<bool>()), 1..60)) {
            let (mut arena, reader) = pair();
            let mut live: Vec<(Span, u8)> = Vec::new();
            for (number, (size, by_reader)) in sizes.into_iter().enumerate() {
                let mark = u8::try_from(number).unwrap();
                let bytes = vec![mark; usize::try_from(size).unwrap()];
                live.push((fill(arena.allocate(size).unwrap(), &bytes), mark));
                if live.len() > 5 {
                    let (span, mark) = live.remove(number % 5);
                    prop_assert!(reader.view(span).unwrap().bytes().iter().all(|byte| *byte == mark));
                    if by_reader { reader.release(span.segment) } else { arena.release(span.segment) }
                }
            }
            for (span, mark) in live {
                prop_assert!(reader.view(span).unwrap().bytes().iter().all(|byte| *byte == mark));
            }
        }
    }
}
