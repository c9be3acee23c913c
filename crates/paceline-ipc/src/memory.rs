//! Owns anonymous memory files and their mappings. Nothing here has a name in any file system: memory goes when the
//! last process that holds the file or a mapping of it goes.

use rustix::fs::{
    FallocateFlags, MemfdFlags, Mode, OFlags, SealFlags, fallocate, fchmod, fcntl_add_seals, fstat, ftruncate,
    memfd_create, open,
};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

/// The size of a page, to which all offsets here are rounded.
pub const PAGE: u64 = 4096;

/// A memory file of a fixed size, sparse until written.
#[derive(Debug)]
pub struct MemoryFile {
    descriptor: OwnedFd,
    size: u64,
}

impl MemoryFile {
    /// A new file of `size` bytes, sealed against resizing. `label` shows in `/proc/<pid>/maps`.
    ///
    /// # Errors
    /// What the system says when it refuses the file or its size.
    pub fn create(label: &str, size: u64) -> Result<Self, Errno> {
        let descriptor = nameless(label)?;
        ftruncate(&descriptor, size)?;
        fcntl_add_seals(&descriptor, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Ok(Self { descriptor, size })
    }

    /// The file behind a descriptor that another process sent.
    ///
    /// # Errors
    /// When the descriptor is no file.
    pub fn from_descriptor(descriptor: OwnedFd) -> Result<Self, Errno> {
        let size = u64::try_from(fstat(&descriptor)?.st_size).map_err(|_| Errno::INVAL)?;
        Ok(Self { descriptor, size })
    }

    /// A new file that holds just these bytes, for ever.
    ///
    /// # Errors
    /// What the system says when it refuses the file or the memory.
    pub fn holding(label: &str, bytes: &[u8]) -> Result<Self, Errno> {
        let descriptor = nameless(label)?;
        let file = Self { descriptor, size: bytes.len() as u64 };
        file.write_at(bytes, 0)?;
        let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        fcntl_add_seals(&file.descriptor, seals)?;
        Ok(file)
    }

    /// Writes bytes from this place on.
    ///
    /// # Errors
    /// What the system says when it refuses the memory.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), Errno> {
        let mut written = 0;
        while written < bytes.len() {
            match rustix::io::pwrite(&self.descriptor, &bytes[written..], offset + written as u64) {
                Ok(0) => return Err(Errno::NOSPC),
                Ok(count) => written += count,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Another descriptor of the same file.
    ///
    /// # Errors
    /// When there are too many descriptors.
    pub fn try_clone(&self) -> Result<Self, Errno> {
        Ok(Self { descriptor: rustix::io::fcntl_dupfd_cloexec(&self.descriptor, 3)?, size: self.size })
    }

    /// How many bytes the file has, written or not.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// How many bytes of memory there are behind the file at this moment.
    #[must_use]
    pub fn backed_bytes(&self) -> u64 {
        fstat(&self.descriptor).map_or(0, |stat| stat.st_blocks.unsigned_abs().saturating_mul(512))
    }

    /// Makes sure that this range is backed by memory, so that writing it cannot fail later.
    ///
    /// # Errors
    /// `NOMEM` or `NOSPC` when there is not enough.
    pub fn reserve(&self, offset: u64, length: u64) -> Result<(), Errno> {
        loop {
            match fallocate(&self.descriptor, FallocateFlags::empty(), offset, length) {
                Err(Errno::INTR) => {}
                result => return result,
            }
        }
    }

    /// Gives the memory of this range back to the system; it reads as zeros afterwards.
    pub fn discard(&self, offset: u64, length: u64) {
        // A refusal only means that the memory stays.
        let _ = fallocate(&self.descriptor, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, length);
    }

    /// Maps a range, shared with every other process that maps it. `offset` is a multiple of [`PAGE`].
    ///
    /// # Errors
    /// `INVAL` when the range is not inside the file; else what the system says.
    pub fn map(&self, offset: u64, length: u64) -> Result<Mapping, Errno> {
        self.map_with(offset, length, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED)
    }

    /// The same, only to be read: whoever writes there by mistake is ended by the system.
    ///
    /// # Errors
    /// As above.
    pub fn map_read_only(&self, offset: u64, length: u64) -> Result<Mapping, Errno> {
        self.map_with(offset, length, ProtFlags::READ, MapFlags::SHARED)
    }

    /// The same, to be read and written by this process alone: what it writes is its own, page by page.
    ///
    /// # Errors
    /// As above.
    pub fn map_private(&self, offset: u64, length: u64) -> Result<Mapping, Errno> {
        self.map_with(offset, length, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
    }

    fn map_with(&self, offset: u64, length: u64, protection: ProtFlags, sharing: MapFlags) -> Result<Mapping, Errno> {
        if length == 0 || !offset.is_multiple_of(PAGE) || offset.checked_add(length).is_none_or(|end| end > self.size) {
            return Err(Errno::INVAL);
        }
        let length = usize::try_from(length).map_err(|_| Errno::NOMEM)?;
        // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
        let address = unsafe {
            mmap(std::ptr::null_mut(), length, protection, sharing | MapFlags::NORESERVE, &self.descriptor, offset)
        }?;
        let address = NonNull::new(address.cast()).ok_or(Errno::NOMEM)?;
        Ok(Mapping { address, length })
    }
}

fn nameless(label: &str) -> Result<OwnedFd, Errno> {
    let descriptor = memfd_create(label, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    // Nobody else gets at it anyway, for it has no name; but the system makes it with every right for everybody.
    fchmod(&descriptor, Mode::RUSR | Mode::WUSR)?;
    Ok(descriptor)
}

impl AsFd for MemoryFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// A range of a memory file in this process's address space, until dropped.
#[derive(Debug)]
pub struct Mapping {
    address: NonNull<u8>,
    length: usize,
}

// SAFETY: a mapping is plain memory; whoever reads or writes through it answers for the synchronisation.
unsafe impl Send for Mapping {}
// SAFETY: as above; `&Mapping` gives out nothing but the address.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// The first byte.
    #[must_use]
    pub fn address(&self) -> *mut u8 {
        self.address.as_ptr()
    }

    /// How many bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// Of a private mapping: whether a page is not the file's any more; if the system does not tell, it may be so.
    #[must_use]
    pub fn has_own_pages(&self) -> bool {
        const PRESENT: u64 = 1 << 63;
        const SWAPPED: u64 = 1 << 62;
        const OF_FILE: u64 = 1 << 61;
        const AT_ONCE: usize = 4 << 10;
        let page = usize::try_from(PAGE).unwrap_or(4096);
        let Ok(pagemap) = open("/proc/self/pagemap", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) else {
            return true;
        };
        let pages = self.length.div_ceil(page);
        let first = self.address() as usize / page;
        let mut bytes = vec![0u8; AT_ONCE.min(pages) * 8];
        for batch in (0..pages).step_by(AT_ONCE) {
            let wanted = AT_ONCE.min(pages - batch) * 8;
            let place = ((first + batch) * 8) as u64;
            if rustix::io::pread(&pagemap, &mut bytes[..wanted], place) != Ok(wanted) {
                return true;
            }
            let is_own = |entry: u64| entry & SWAPPED != 0 || (entry & PRESENT != 0 && entry & OF_FILE == 0);
            let (entries, _) = bytes[..wanted].as_chunks::<8>();
            if entries.iter().any(|entry| is_own(u64::from_ne_bytes(*entry))) {
                return true;
            }
        }
        false
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `MemoryFile::map`, and nobody else unmaps it.
        let _ = unsafe { munmap(self.address.as_ptr().cast(), self.length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_mappings_of_one_file_show_the_same_bytes() {
        let file = MemoryFile::create("test", 4 * PAGE).unwrap();
        let (one, two) = (file.map(PAGE, PAGE).unwrap(), file.map(0, 4 * PAGE).unwrap());
        // SAFETY: both addresses lie inside their mappings.
        unsafe {
            one.address().write(7);
            assert_eq!(two.address().add(usize::try_from(PAGE).unwrap()).read(), 7);
        }
        file.discard(PAGE, PAGE);
        // SAFETY: as above.
        unsafe { assert_eq!(one.address().read(), 0) };
    }

    #[test]
    fn what_is_written_to_a_private_mapping_stays_there() {
        let file = MemoryFile::create("test", PAGE).unwrap();
        let (shared, private) = (file.map(0, PAGE).unwrap(), file.map_private(0, PAGE).unwrap());
        // SAFETY: both addresses lie inside their mappings.
        unsafe {
            shared.address().write(1);
            assert_eq!(private.address().read(), 1);
            private.address().write(2);
            assert_eq!((shared.address().read(), private.address().read()), (1, 2));
            shared.address().add(1).write(3);
            assert_eq!(private.address().add(1).read(), 0, "the page is its own");
        }
    }

    #[test]
    fn a_range_outside_the_file_is_refused() {
        let file = MemoryFile::create("test", PAGE).unwrap();
        for (offset, length) in [(0, PAGE + 1), (PAGE, 1), (1, 1), (0, 0), (u64::MAX - PAGE + 1, PAGE)] {
            assert_eq!(file.map(offset, length).unwrap_err(), Errno::INVAL);
        }
    }

    #[test]
    fn what_a_file_holds_for_ever_cannot_be_changed() {
        let file = MemoryFile::holding("test", b"hold").unwrap();
        assert_eq!(file.map(0, 4).unwrap_err(), Errno::PERM);
        assert_eq!(rustix::io::pwrite(&file, b"x", 0).unwrap_err(), Errno::PERM);
        let mapping = file.map_read_only(0, 4).unwrap();
        // SAFETY: the address lies inside the mapping.
        assert_eq!(unsafe { mapping.address().read() }, b'h');
        assert_eq!(MemoryFile::holding("test", b"").unwrap().size(), 0);
    }

    #[test]
    fn the_size_is_sealed() {
        let file = MemoryFile::create("test", PAGE).unwrap();
        assert_eq!(ftruncate(&file, 0).unwrap_err(), Errno::PERM);
        assert_eq!(ftruncate(&file, 2 * PAGE).unwrap_err(), Errno::PERM);
    }
}
