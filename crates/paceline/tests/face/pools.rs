//! Owns what the tests need to open pools and to wait for something.

use paceline::{Backend, Builder, Pool};
use std::time::{Duration, Instant};

/// No wait of these tests takes longer, or something hangs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A pool of two processes.
pub(crate) fn processes() -> Pool {
    Pool::builder().workers(2).build().unwrap()
}

/// A pool of two threads.
pub(crate) fn threads() -> Pool {
    Pool::builder().workers(2).backend(Backend::Threads).build().unwrap()
}

/// Has a claim hold on every kind of pool.
pub(crate) fn on_every_backend(configure: impl Fn(Builder) -> Builder, claim: impl Fn(&Pool)) {
    for backend in [Backend::Processes, Backend::Threads, Backend::Serial] {
        let pool = configure(Pool::builder().workers(2).backend(backend)).build().unwrap();
        eprintln!("on {backend:?}");
        claim(&pool);
    }
}

/// Waits until something holds.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < end, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether a process exists and is no zombie.
pub(crate) fn lives(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with(['Z', 'X'])))
}
