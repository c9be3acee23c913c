//! Owns the knowledge of whether this process was forked from one that had engines. Such a child shares their memory
//! and has none of their threads, so it must not touch them: whatever belongs to an engine remembers the generation
//! it was made in, and is left alone in any other.

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

static GENERATION: AtomicU32 = AtomicU32::new(0);
static FORKS: AtomicU32 = AtomicU32::new(0);
static HANDLER: Once = Once::new();

extern "C" fn before_fork() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// How many forks lie between the process that first opened an engine and this one; asks to be told of forks.
pub(crate) fn settle() -> u32 {
    HANDLER.call_once(|| {
        // SAFETY: the handlers only add to atomics, which is safe in a child of a threaded process.
        unsafe { libc::pthread_atfork(Some(before_fork), None, Some(in_child)) };
    });
    generation()
}

/// How often this process has forked. What it shares with others may be read by a child that there was not before.
pub(crate) fn forks() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// Has `prepare` called before each fork of this process, by the thread that forks.
pub fn before_forks(prepare: extern "C" fn()) {
    // SAFETY: a function of this library, which stays loaded, is called like any other.
    unsafe { libc::pthread_atfork(Some(prepare), None, None) };
}

/// How many forks lie between the process that first opened an engine and this one, for those that an engine has made.
pub(crate) fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}
