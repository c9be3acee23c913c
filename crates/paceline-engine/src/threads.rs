//! Owns how the engine starts threads of its own: named, and with every signal blocked, so that the caller's threads
//! keep receiving theirs. And how the fork server, started by such a thread, comes back to receiving its own.

use rustix::io::Errno;
use std::thread::JoinHandle;

/// The stack of a thread that runs only code of ours.
pub(crate) const SMALL_STACK: usize = 256 << 10;
/// The stack of a thread that runs code of callers, which are used to that of a main thread. It costs address space.
pub(crate) const LARGE_STACK: usize = 8 << 20;

/// Starts a thread that receives no signals.
///
/// # Errors
/// What the system says when it refuses a thread.
pub(crate) fn spawn_quiet<T: Send + 'static>(
    name: &str,
    stack_bytes: usize,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, Errno> {
    // A new thread inherits the mask, so that there is no moment at which it could receive one.
    let before = block_all_signals();
    let started = std::thread::Builder::new().name(name.to_owned()).stack_size(stack_bytes).spawn(body);
    set_signal_mask(&before);
    started.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::AGAIN))
}

/// Lets every signal through to this thread, and the ends of children be waited for: neither is to be inherited from
/// whoever started this process.
pub(crate) fn receive_all_signals() {
    // SAFETY: the set is plain memory that the call fills; no handler is installed, the default action is.
    unsafe {
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        set_signal_mask(&none);
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
    }
}

/// Has this thread, which somebody else started, receive no signals.
pub(crate) fn receive_no_signals() {
    block_all_signals();
}

/// Has this thread receive a signal, or not receive it, whatever it does about others.
pub(crate) fn receive_signal(number: i32, does: bool) {
    let how = if does { libc::SIG_UNBLOCK } else { libc::SIG_BLOCK };
    // SAFETY: the set is plain memory that the calls fill; the mask of this thread has no other effect.
    unsafe {
        let mut one = std::mem::zeroed();
        libc::sigemptyset(&raw mut one);
        libc::sigaddset(&raw mut one, number);
        libc::pthread_sigmask(how, &raw const one, std::ptr::null_mut());
    }
}

fn block_all_signals() -> libc::sigset_t {
    // SAFETY: both sets are plain memory that the calls fill; blocking signals has no other effect.
    unsafe {
        let (mut all, mut before) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        before
    }
}

fn set_signal_mask(mask: &libc::sigset_t) {
    // SAFETY: the set was filled by `block_all_signals`.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, std::ptr::from_ref(mask), std::ptr::null_mut()) };
}
