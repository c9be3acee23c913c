//! Owns memory that one process lays out once and any number of others map: a file without a name, which they open through
//! their sight of the first one's descriptors. Never knows what lies there, nor who is told of it.
//!
//! The first page says how many parts there are, how long they are, and whether the owner has let go of them. That tells
//! the others to unmap it; what somebody keeps stays as it is, since nothing is ever laid out there again.

use crate::memory::{Mapping, MemoryFile, PAGE};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::Errno;
use rustix::mm::{Advice, madvise};
use rustix::process::{Pid, getpid};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Parts begin at multiples of this.
const ALIGNMENT: u64 = 64;
/// More parts than this there cannot be.
const MOST_PARTS: u64 = 1 << 20;

#[derive(Debug)]
#[repr(C)]
struct Header {
    is_released: AtomicU32,
    padding: u32,
    parts: AtomicU64,
}

/// By what others find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    /// The owner's process id.
    pub pid: i32,
    /// Its descriptor.
    pub descriptor: i32,
    /// The file's number, by which it is known that the descriptor is still its.
    pub inode: u64,
    /// The file's length.
    pub size: u64,
}

/// The owner's side: dropped, it tells the others to let go.
#[derive(Debug)]
pub struct Share {
    file: MemoryFile,
    mapping: Mapping,
    pid: Pid,
    inode: u64,
    start: u64,
}

/// Where the parts begin behind a header that tells their lengths, and where the last ends.
fn layout(lengths: impl ExactSizeIterator<Item = u64>) -> Option<(Vec<u64>, u64)> {
    let count = lengths.len() as u64;
    let header = (size_of::<Header>() as u64).checked_add(count.checked_mul(size_of::<u64>() as u64)?)?;
    let mut end = header.checked_next_multiple_of(PAGE)?;
    let mut starts = Vec::new();
    for length in lengths {
        let start = end.checked_next_multiple_of(ALIGNMENT)?;
        starts.push(start);
        end = start.checked_add(length)?;
    }
    Some((starts, end.max(header).checked_next_multiple_of(PAGE)?))
}

#[expect(clippy::cast_ptr_alignment, reason = "mappings begin at a page")]
fn header(mapping: &Mapping) -> &Header {
    // SAFETY: the mapping has at least a page and begins with a header, of atomics for which any bytes are valid.
    unsafe { &*mapping.address().cast::<Header>() }
}

#[expect(clippy::cast_ptr_alignment, reason = "mappings begin at a page, and the header is a multiple of eight")]
fn length_at(mapping: &Mapping, part: usize) -> &AtomicU64 {
    // SAFETY: whoever asks has seen that the mapping has so many numbers behind its header.
    unsafe { &*mapping.address().add(size_of::<Header>()).cast::<AtomicU64>().add(part) }
}

impl Share {
    /// Lays out these parts, one after the other.
    ///
    /// # Errors
    /// What the system says when it refuses the memory.
    pub fn holding(parts: &[&[u8]]) -> Result<Self, Errno> {
        let (share, starts) = Self::with_header(parts.iter().map(|part| part.len() as u64))?;
        for (part, start) in parts.iter().zip(starts) {
            // Not by a mapping: the system would fill each page with zeros first.
            share.file.write_at(part, start)?;
        }
        Ok(share)
    }

    /// So many bytes, all of them zero, to be written by whoever maps them.
    ///
    /// # Errors
    /// As above.
    pub fn zeroed(length: u64) -> Result<Self, Errno> {
        let (share, _) = Self::with_header([length].into_iter())?;
        share.file.reserve(0, share.file.size())?;
        Ok(share)
    }

    fn with_header(lengths: impl ExactSizeIterator<Item = u64> + Clone) -> Result<(Self, Vec<u64>), Errno> {
        let (starts, size) = layout(lengths.clone()).ok_or(Errno::NOMEM)?;
        let file = MemoryFile::create("paceline-share", size)?;
        let start = starts.first().copied().unwrap_or(size);
        file.reserve(0, start.next_multiple_of(PAGE).min(size))?;
        let mapping = file.map(0, size)?;
        header(&mapping).parts.store(lengths.len() as u64, Ordering::Relaxed);
        for (part, length) in lengths.enumerate() {
            length_at(&mapping, part).store(length, Ordering::Relaxed);
        }
        let inode = fstat(&file)?.st_ino;
        Ok((Self { file, mapping, pid: getpid(), inode, start }, starts))
    }

    /// By what others find it, as long as this lives.
    #[must_use]
    pub fn name(&self) -> Name {
        let descriptor = self.file.as_fd().as_raw_fd();
        Name { pid: self.pid.as_raw_nonzero().get(), descriptor, inode: self.inode, size: self.file.size() }
    }

    /// The first byte of the first part, here.
    #[must_use]
    pub fn address(&self) -> *mut u8 {
        // SAFETY: the layout has put it inside the mapping, or at its end.
        unsafe { self.mapping.address().add(usize::try_from(self.start).unwrap_or(0)) }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // A forked child has it as well, and it is not the child's to let go of.
        if getpid() == self.pid {
            header(&self.mapping).is_released.store(1, Ordering::Release);
        }
    }
}

/// What another process has laid out, mapped here.
#[derive(Debug)]
pub struct OpenShare {
    /// Private, or shared.
    mapping: Mapping,
    /// Shared in any case.
    first_page: Mapping,
    parts: Vec<(usize, usize)>,
}

impl OpenShare {
    /// Maps it, to be read and written: what is written is everybody's, or with `is_private` this process's own.
    ///
    /// # Errors
    /// `STALE` when the owner is gone or has let go of it; else what the system says.
    pub fn open(name: &Name, is_private: bool) -> Result<Self, Errno> {
        let path = format!("/proc/{}/fd/{}", name.pid, name.descriptor);
        let flags = if is_private { OFlags::RDONLY } else { OFlags::RDWR };
        let descriptor = open(path, flags | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty()).map_err(gone)?;
        let status = fstat(&descriptor)?;
        let is_file = FileType::from_raw_mode(status.st_mode) == FileType::RegularFile;
        if !is_file || status.st_ino != name.inode || status.st_size.cast_unsigned() != name.size {
            return Err(Errno::STALE);
        }
        let file = MemoryFile::from_descriptor(descriptor)?;
        let first_page = file.map_read_only(0, PAGE)?;
        let mapping = if is_private { file.map_private(0, name.size)? } else { file.map(0, name.size)? };
        let count = header(&first_page).parts.load(Ordering::Relaxed);
        let has_room = size_of::<Header>() as u64 + count.min(MOST_PARTS) * 8 <= name.size;
        if count > MOST_PARTS || !has_room {
            return Err(Errno::STALE);
        }
        let count = usize::try_from(count).map_err(|_| Errno::STALE)?;
        let lengths: Vec<u64> = (0..count).map(|part| length_at(&mapping, part).load(Ordering::Relaxed)).collect();
        let (starts, size) = layout(lengths.iter().copied()).ok_or(Errno::STALE)?;
        if size > name.size {
            return Err(Errno::STALE);
        }
        let index = |number: u64| usize::try_from(number).map_err(|_| Errno::STALE);
        let parts: Result<_, Errno> =
            starts.into_iter().zip(lengths).map(|(start, length)| Ok((index(start)?, index(length)?))).collect();
        Ok(Self { mapping, first_page, parts: parts? })
    }

    /// Whether the owner has let go of it.
    #[must_use]
    pub fn is_released(&self) -> bool {
        header(&self.first_page).is_released.load(Ordering::Acquire) != 0
    }

    /// How many parts there are.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.parts.len()
    }

    /// Where a part begins here, and how long it is.
    #[must_use]
    pub fn part(&self, nth: usize) -> Option<(*mut u8, usize)> {
        let (start, length) = *self.parts.get(nth)?;
        // SAFETY: `open` has seen that the part lies inside the mapping.
        Some((unsafe { self.mapping.address().add(start) }, length))
    }

    /// Takes back what has been written to a private mapping.
    pub fn restore(&self) {
        if self.mapping.has_own_pages() {
            // SAFETY: the range is this mapping's; pages of a private mapping of a file are read from the file again.
            let _ = unsafe { madvise(self.mapping.address().cast(), self.mapping.length(), Advice::LinuxDontNeed) };
        }
    }
}

/// A descriptor that is not there has been closed, with its process or before.
fn gone(errno: Errno) -> Errno {
    if matches!(errno, Errno::NOENT | Errno::SRCH | Errno::NXIO) { Errno::STALE } else { errno }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::mut_from_ref, reason = "memory that others write to as well, one at a time")]
    fn bytes(open: &OpenShare, nth: usize) -> &mut [u8] {
        let (start, length) = open.part(nth).unwrap();
        // SAFETY: the part is mapped as long as `open`, and each test writes in one place at a time.
        unsafe { std::slice::from_raw_parts_mut(start, length) }
    }

    #[test]
    fn parts_are_found_where_they_were_laid_and_private_changes_are_taken_back() {
        let large = vec![7; 100_000];
        let share = Share::holding(&[b"abc", b"", &large]).unwrap();
        let (one, two) = (OpenShare::open(&share.name(), true).unwrap(), OpenShare::open(&share.name(), true).unwrap());
        assert_eq!(one.parts(), 3);
        assert_eq!((&*bytes(&one, 0), &*bytes(&one, 1)), (b"abc".as_slice(), b"".as_slice()));
        assert!(one.part(3).is_none());
        assert!(bytes(&one, 2) == large && !one.mapping.has_own_pages());
        bytes(&one, 2)[50_000] = 8;
        assert!(one.mapping.has_own_pages());
        assert!(bytes(&two, 2) == large);
        one.restore();
        assert!(bytes(&one, 2) == large && !one.mapping.has_own_pages());
    }

    #[test]
    fn what_is_written_to_shared_zeros_is_everybodys() {
        let share = Share::zeroed(10_000).unwrap();
        let (one, two) =
            (OpenShare::open(&share.name(), false).unwrap(), OpenShare::open(&share.name(), false).unwrap());
        assert!(bytes(&one, 0).iter().all(|byte| *byte == 0));
        bytes(&one, 0)[9_999] = 5;
        assert_eq!(bytes(&two, 0)[9_999], 5);
        // SAFETY: the part has ten thousand bytes.
        assert_eq!(unsafe { share.address().add(9_999).read() }, 5);
        assert!(Share::zeroed(0).is_ok());
        assert!(Share::zeroed(u64::MAX - 10).is_err());
    }

    #[test]
    fn end_of_the_owner_is_seen_and_what_is_kept_stays() {
        let share = Share::holding(&[b"kept"]).unwrap();
        let name = share.name();
        let open = OpenShare::open(&name, true).unwrap();
        assert!(!open.is_released());
        drop(share);
        assert!(open.is_released());
        assert_eq!(bytes(&open, 0), b"kept");
        assert_eq!(OpenShare::open(&name, true).unwrap_err(), Errno::STALE);
        let nobody = Name { pid: i32::MAX, ..name };
        assert_eq!(OpenShare::open(&nobody, true).unwrap_err(), Errno::STALE);
    }
}
