//! Owns the choice between real atomics and the ones that loom explores; nothing else in the crate may name either.

#[cfg(not(loom))]
mod chosen {
    pub(crate) use std::hint::spin_loop;
    pub(crate) use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence};

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

        /// Where the value lies, for what in it may be touched at any moment.
        pub(crate) fn peek(&self) -> *const T {
            self.0.get()
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
    pub(crate) use loom::hint::spin_loop;
    pub(crate) use loom::sync::atomic::{Ordering, fence};
    use loom::sync::{Condvar, Mutex};
    use std::cell::Cell;

    /// A cell whose accesses loom watches, except for those that may come at any moment.
    #[derive(Debug)]
    pub(crate) struct UnsafeCell<T> {
        watched: loom::cell::UnsafeCell<()>,
        value: std::cell::UnsafeCell<T>,
    }

    impl<T> UnsafeCell<T> {
        pub(crate) fn new(value: T) -> Self {
            Self { watched: loom::cell::UnsafeCell::new(()), value: std::cell::UnsafeCell::new(value) }
        }

        pub(crate) fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
            self.watched.with(|_| read(self.value.get()))
        }

        pub(crate) fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
            self.watched.with_mut(|_| write(self.value.get()))
        }

        pub(crate) fn peek(&self) -> *const T {
            self.value.get()
        }
    }

    loom::thread_local! {
        static STEPS_LEFT: Cell<Option<u32>> = Cell::new(None);
    }

    /// The thread dies, as if killed, before the atomic operation after this many; nothing of it happens any more.
    pub fn die_after(steps: u32) {
        STEPS_LEFT.with(|left| left.set(Some(steps)));
    }

    fn step() {
        STEPS_LEFT.with(|left| match left.get() {
            Some(0) => std::panic::resume_unwind(Box::new("killed")),
            Some(steps) => left.set(Some(steps - 1)),
            None => {}
        });
    }

    /// One of loom's, at which a thread can be killed, and on which it can sleep.
    #[derive(Debug)]
    pub(crate) struct AtomicU32 {
        value: loom::sync::atomic::AtomicU32,
        bucket: Mutex<()>,
        sleepers: Condvar,
    }

    impl AtomicU32 {
        pub(crate) fn new(value: u32) -> Self {
            let value = loom::sync::atomic::AtomicU32::new(value);
            Self { value, bucket: Mutex::new(()), sleepers: Condvar::new() }
        }

        pub(crate) fn load(&self, order: Ordering) -> u32 {
            step();
            self.value.load(order)
        }

        pub(crate) fn store(&self, value: u32, order: Ordering) {
            step();
            self.value.store(value, order);
        }

        pub(crate) fn compare_exchange(
            &self,
            from: u32,
            to: u32,
            success: Ordering,
            failure: Ordering,
        ) -> Result<u32, u32> {
            step();
            self.value.compare_exchange(from, to, success, failure)
        }
    }

    /// Like the system's: sleeps if the word has the value, which is looked at under the lock that wakers take. Never
    /// wakes by itself, so that a lost wake-up is a deadlock, which loom reports.
    pub(crate) fn futex_wait(word: &AtomicU32, expected: u32, _timeout_ns: Option<u64>) {
        let bucket = word.bucket.lock().unwrap();
        if word.value.load(Ordering::Relaxed) == expected {
            drop(word.sleepers.wait(bucket).unwrap());
        }
    }

    pub(crate) fn futex_wake(word: &AtomicU32) {
        step();
        drop(word.bucket.lock().unwrap());
        word.sleepers.notify_one();
    }

    /// One of loom's, at which a thread can be killed.
    #[derive(Debug)]
    pub(crate) struct AtomicU64(loom::sync::atomic::AtomicU64);

    impl AtomicU64 {
        pub(crate) fn new(value: u64) -> Self {
            Self(loom::sync::atomic::AtomicU64::new(value))
        }

        pub(crate) fn load(&self, order: Ordering) -> u64 {
            step();
            self.0.load(order)
        }

        pub(crate) fn store(&self, value: u64, order: Ordering) {
            step();
            self.0.store(value, order);
        }

        pub(crate) fn compare_exchange(
            &self,
            from: u64,
            to: u64,
            success: Ordering,
            failure: Ordering,
        ) -> Result<u64, u64> {
            step();
            self.0.compare_exchange(from, to, success, failure)
        }

        pub(crate) fn swap(&self, value: u64, order: Ordering) -> u64 {
            step();
            self.0.swap(value, order)
        }

        pub(crate) fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
            step();
            self.0.fetch_add(value, order)
        }

        pub(crate) fn fetch_or(&self, value: u64, order: Ordering) -> u64 {
            step();
            self.0.fetch_or(value, order)
        }

        pub(crate) fn fetch_and(&self, value: u64, order: Ordering) -> u64 {
            step();
            self.0.fetch_and(value, order)
        }

        pub(crate) fn fetch_max(&self, value: u64, order: Ordering) -> u64 {
            step();
            self.0.fetch_max(value, order)
        }
    }
}

#[cfg(loom)]
pub use chosen::die_after;
pub(crate) use chosen::*;
