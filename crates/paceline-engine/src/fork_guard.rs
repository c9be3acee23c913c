//! Owns the knowledge of whether this process was forked from one that had engines. Such a child shares their memory
//! and has none of their threads, so it must not touch them: whatever belongs to an engine remembers the generation
//! it was made in, and is left alone in any other.

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

static GENERATION: AtomicU32 = AtomicU32::new(0);
static HANDLER: Once = Once::new();

extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// How many forks lie between the process that first opened an engine and this one; asks to be told of forks.
pub(crate) fn settle() -> u32 {
    HANDLER.call_once(|| {
        // SAFETY: the handler only adds to an atomic, which is safe in a child of a threaded process.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
    generation()
}

/// The same, for those that an engine has made.
pub(crate) fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}
