//! Owns the ways in which workers come into being, and the fork of this process from which the workers of one pool are
//! forked. Never starts a worker.

use crate::fork_guard;
use crate::fork_server::Side;
use crate::process::Child;
use crate::supervisor::{self, ForkServerCommand};
use paceline_ipc::socket;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, setpgid, waitpid};
use std::os::fd::{OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How the workers of a pool come into being.
#[derive(Debug)]
pub enum StartMethod {
    /// Forked by the one clean fork server of this process, which is started by this command if none is running.
    ForkServer(ForkServerCommand),
    /// Each is a program of its own, which calls [`become_worker`](crate::fork_server::become_worker).
    Spawn(ForkServerCommand),
    /// Forked by a fork of this process, made for this pool alone: they have all that the process had then.
    Fork(ForkedServer),
}

/// Who makes the workers of a pool, as it is told to the supervisor for each of them.
#[derive(Clone, Debug)]
pub(crate) enum Maker {
    ForkServer(ForkServerCommand),
    Spawn(ForkServerCommand),
    /// The server with this number, which the supervisor has adopted.
    Fork(u64),
}

/// A fork of this process that serves as fork server for one pool. Dropped, it ends.
#[derive(Debug)]
pub struct ForkedServer {
    number: u64,
    /// Until it is adopted.
    rest: Option<(Child, OwnedFd)>,
}

impl ForkedServer {
    fn of(pid: i32, socket: OwnedFd) -> Result<Self, Errno> {
        let number = NEXT_NUMBER.fetch_add(1, Ordering::Relaxed);
        let process = Child::of(pid).inspect_err(|_| {
            // One that cannot be watched must not run.
            if let Some(pid) = Pid::from_raw(pid) {
                let _ = kill_process(pid, Signal::KILL);
                let _ = waitpid(Some(pid), WaitOptions::empty());
            }
        })?;
        Ok(Self { number, rest: Some((process, socket)) })
    }

    /// Its number, its process and its socket, for whoever ends it from now on.
    pub(crate) fn adopt(mut self) -> Option<(u64, Child, OwnedFd)> {
        self.rest.take().map(|(process, socket)| (self.number, process, socket))
    }
}

impl StartMethod {
    /// What each start of a worker has to know, and what the supervisor is to adopt.
    pub(crate) fn divide(self) -> (Maker, Option<ForkedServer>) {
        match self {
            Self::ForkServer(command) => (Maker::ForkServer(command), None),
            Self::Spawn(command) => (Maker::Spawn(command), None),
            Self::Fork(server) => (Maker::Fork(server.number), Some(server)),
        }
    }
}

impl Drop for ForkedServer {
    fn drop(&mut self) {
        if let Some((process, _)) = &self.rest {
            process.end();
        }
    }
}

/// Which side of [`fork_server`] this is.
#[derive(Debug)]
pub enum ForkedSide {
    /// The child: it is to [`serve`](crate::fork_server::serve) this socket, and never to return to its caller.
    Child(OwnedFd),
    /// The parent.
    Parent(ForkedServer),
}

/// How long the supervisor is waited for. It answers in microseconds; but should it have failed, a pool opens all the
/// same, and the fork holds more than it needs.
const PATIENCE: Duration = Duration::from_secs(1);

/// Zero is the clean server's.
static NEXT_NUMBER: AtomicU64 = AtomicU64::new(1);

/// Forks a server off this process, by `fork`.
///
/// The supervisor stands still meanwhile, so that no worker is half made, and the child closes all that it has open:
/// what is said to this process is not for the child to hear, and what this process closes shall be closed.
///
/// # Errors
/// What the system says when it refuses a socket or the fork.
pub fn fork_server(fork: &mut dyn FnMut() -> Result<Side, Errno>) -> Result<ForkedSide, Errno> {
    // So that the child knows that the engines it finds are not its own.
    fork_guard::settle();
    let (ours, theirs) = socket::pair()?;
    rustix::fs::fcntl_setfl(&ours, OFlags::NONBLOCK)?;
    let stillness = supervisor::stand_still(PATIENCE);
    match fork()? {
        Side::Child => {
            drop(ours);
            if let Some(stillness) = stillness {
                close_all(&stillness.descriptors);
                // Whom it would let go on does not exist here.
                std::mem::forget(stillness);
            }
            let _ = setpgid(None, None);
            Ok(ForkedSide::Child(theirs))
        }
        Side::Parent(pid) => {
            // Both sides do it, so that it holds whoever comes first: Ctrl-C is for the caller alone.
            let _ = Pid::from_raw(pid).map(|pid| setpgid(Some(pid), Some(pid)));
            ForkedServer::of(pid, ours).map(ForkedSide::Parent)
        }
    }
}

fn close_all(descriptors: &[RawFd]) {
    for descriptor in descriptors {
        // SAFETY: the supervisor's thread, which alone owns these, does not exist in a forked child, and nothing else
        // there uses or closes them.
        unsafe { libc::close(*descriptor) };
    }
}
