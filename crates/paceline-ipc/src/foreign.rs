//! Owns the reading of memory that another process can write at any moment: what is looked at is first copied, once, and
//! only the copy is checked and used. Never knows what the bytes mean.
//!
//! A `&[u8]` of such memory would promise to the compiler that it does not change: it may then read a length once to
//! check it, and once more to use it.

use std::collections::TryReserveError;
use std::marker::PhantomData;
use std::sync::atomic::{Ordering, compiler_fence};

/// Bytes that may change under us, for as long as they are mapped.
#[derive(Clone, Copy, Debug)]
pub struct Foreign<'a> {
    start: *const u8,
    length: usize,
    memory: PhantomData<&'a [u8]>,
}

// SAFETY: it is an address and a length; all that is done with it is to copy what is there.
unsafe impl Send for Foreign<'_> {}
// SAFETY: as above.
unsafe impl Sync for Foreign<'_> {}

impl<'a> Foreign<'a> {
    /// So many bytes from there on.
    ///
    /// # Safety
    /// They stay mapped and readable for the lifetime.
    #[must_use]
    pub unsafe fn new(start: *const u8, length: usize) -> Self {
        Self { start, length, memory: PhantomData }
    }

    /// Bytes of our own, to be read in the same way.
    #[must_use]
    pub fn own(bytes: &'a [u8]) -> Self {
        Self { start: bytes.as_ptr(), length: bytes.len(), memory: PhantomData }
    }

    /// How many bytes.
    #[must_use]
    pub fn len(self) -> usize {
        self.length
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.length == 0
    }

    /// Where they begin, for somebody else who reads them as what they are: memory that may change.
    #[must_use]
    pub fn as_ptr(self) -> *const u8 {
        self.start
    }

    /// The first `length` of them, and the rest; `None` if there are not so many.
    #[must_use]
    pub fn split_at(self, length: usize) -> Option<(Self, Self)> {
        let rest = self.length.checked_sub(length)?;
        // SAFETY: the place lies inside these bytes, or at their end.
        let middle = unsafe { self.start.add(length) };
        Some((Self { length, ..self }, Self { start: middle, length: rest, ..self }))
    }

    /// The first `N` of them, as they are at this moment; `None` if there are not so many.
    #[must_use]
    pub fn array<const N: usize>(self) -> Option<[u8; N]> {
        // SAFETY: any bytes are an array of bytes, which needs no alignment; a volatile read happens once.
        (N <= self.length).then(|| unsafe { self.start.cast::<[u8; N]>().read_volatile() })
    }

    /// Copies all of them.
    ///
    /// # Panics
    /// If `copy` is not as long.
    pub fn copy_to(self, copy: &mut [u8]) {
        assert_eq!(copy.len(), self.length);
        // SAFETY: the copy is as long, and no part of these bytes, because it is borrowed.
        unsafe { self.copy_to_address(copy.as_mut_ptr()) };
    }

    /// Copies all of them to memory that need not hold anything yet.
    ///
    /// # Safety
    /// As many bytes can be written there, and are no part of these.
    pub unsafe fn copy_to_address(self, copy: *mut u8) {
        // SAFETY: as the caller says.
        unsafe { copy.copy_from_nonoverlapping(self.start, self.length) };
        // What is read from the copy afterwards may not be read from the original once more.
        compiler_fence(Ordering::SeqCst);
    }

    /// A copy of all of them.
    ///
    /// # Errors
    /// When there is no memory for it: how many there are is for others to say.
    pub fn to_vec(self) -> Result<Vec<u8>, TryReserveError> {
        let mut copy = Vec::new();
        copy.try_reserve_exact(self.length)?;
        // SAFETY: there is room for as many, and then they are there.
        unsafe {
            self.copy_to_address(copy.as_mut_ptr());
            copy.set_len(self.length);
        }
        Ok(copy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_read_than_there_is() {
        let bytes = Foreign::own(b"abcdef");
        let (first, rest) = bytes.split_at(2).unwrap();
        assert_eq!((first.to_vec().unwrap(), rest.to_vec().unwrap()), (b"ab".to_vec(), b"cdef".to_vec()));
        assert_eq!(rest.array(), Some(*b"cde"));
        assert_eq!(rest.array::<5>(), None);
        assert!(bytes.split_at(7).is_none());
        assert!(bytes.split_at(6).unwrap().1.is_empty());
    }
}
