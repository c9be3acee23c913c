//! Owns the choice between real atomics and the ones that loom explores; nothing else in the crate may name either.

#[cfg(not(loom))]
mod chosen {
    pub(crate) use std::hint::spin_loop;
    pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

    /// `std::cell::UnsafeCell` with the access methods of loom's, so that loom can watch every access.
    #[derive(Debug)]
    #[repr(transparent)]
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
            read(self.0.get())
        }

        pub(crate) fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
            write(self.0.get())
        }
    }

    /// Sleeps while `word` holds `expected`, until woken, interrupted by a signal, or `timeout_ns` has passed.
    pub(crate) fn futex_wait(word: &AtomicU32, expected: u32, timeout_ns: Option<u64>) {
        use rustix::thread::futex;
        let timeout = timeout_ns.map(|ns| futex::Timespec {
            tv_sec: i64::try_from(ns / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(ns % 1_000_000_000).unwrap_or(0),
        });
        // Every outcome (woken, value changed, signal, time-out) means the same to the caller: look again.
        let _ = futex::wait(word, futex::Flags::empty(), expected, timeout.as_ref());
    }

    /// Wakes one sleeper on `word`, in whichever process it is.
    pub(crate) fn futex_wake(word: &AtomicU32) {
        let _ = rustix::thread::futex::wake(word, rustix::thread::futex::Flags::empty(), 1);
    }
}

#[cfg(loom)]
mod chosen {
    pub(crate) use loom::cell::UnsafeCell;
    pub(crate) use loom::hint::spin_loop;
    pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

    /// A sleep that only a change of `word` ends: a lost wake-up becomes an endless loop, which loom reports.
    pub(crate) fn futex_wait(word: &AtomicU32, expected: u32, _timeout_ns: Option<u64>) {
        while word.load(Ordering::Acquire) == expected {
            loom::thread::yield_now();
        }
    }

    /// The word itself is the wake-up.
    pub(crate) fn futex_wake(_word: &AtomicU32) {}
}

pub(crate) use chosen::*;
