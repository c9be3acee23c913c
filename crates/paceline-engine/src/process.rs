//! Owns what this process can do with a child of its own, and see of any process from outside. Never decides what becomes
//! of one.

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Command;

/// A child of this process. It has to be waited for, or its process id is never free again.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) pid: i32,
    pub(crate) watch: OwnedFd,
}

/// Exit code, or the number of the signal; neither if nobody can say.
pub(crate) type HowItEnded = (Option<i32>, Option<i32>);

impl Child {
    /// The child with this process id, which has not been waited for.
    pub(crate) fn of(pid: i32) -> Result<Self, Errno> {
        let watch = pidfd_open(Pid::from_raw(pid).ok_or(Errno::SRCH)?, PidfdFlags::empty())?;
        Ok(Self { pid, watch })
    }

    pub(crate) fn start(command: &mut Command) -> Result<Self, Errno> {
        let mut started = command.spawn().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::NOEXEC))?;
        Self::of(started.id().cast_signed()).inspect_err(|_| {
            // One that cannot be watched must not run.
            let _ = started.kill();
            let _ = started.wait();
        })
    }

    /// Ends it at once, and waits for that.
    pub(crate) fn end(&self) {
        let _ = pidfd_send_signal(&self.watch, Signal::KILL);
        how_it_ended(self.watch.as_fd());
    }
}

/// Waits for the end of a child. Someone else in this process may have done so before; then nobody can say.
pub(crate) fn how_it_ended(watch: BorrowedFd<'_>) -> HowItEnded {
    loop {
        match waitid(WaitId::PidFd(watch), WaitIdOptions::EXITED) {
            Err(Errno::INTR) => {}
            ended => {
                let status = ended.ok().flatten();
                let code = status.as_ref().and_then(rustix::process::WaitIdStatus::exit_status);
                let signal = status.as_ref().and_then(rustix::process::WaitIdStatus::terminating_signal);
                return (code, signal);
            }
        }
    }
}

/// What a process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    /// It runs, or sleeps, or a debugger holds it.
    Something,
    /// A signal has stopped it, and none has continued it yet.
    Stopped,
    /// It is gone, but for its exit code.
    Gone,
}

/// What the process with this id is doing.
pub(crate) fn doing(pid: i32) -> Doing {
    let stat = match std::fs::read(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat,
        // The file may be gone when it is opened, or the process when it is read.
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::NOENT | Errno::SRCH)) => return Doing::Gone,
        // Without a descriptor to look with, nothing is seen.
        Err(_) => return Doing::Something,
    };
    // The name in parentheses may have any bytes in it, parentheses too.
    let state = stat.iter().rposition(|byte| *byte == b')').and_then(|end| stat.get(end + 2));
    match state {
        Some(b'T') => Doing::Stopped,
        Some(b'Z' | b'X') | None => Doing::Gone,
        Some(_) => Doing::Something,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn child_is_seen_to_stop_and_its_end_is_told() {
        let child = Child::start(Command::new("sleep").arg("60")).unwrap();
        assert_eq!(doing(child.pid), Doing::Something);
        pidfd_send_signal(&child.watch, Signal::STOP).unwrap();
        while doing(child.pid) != Doing::Stopped {
            std::thread::yield_now();
        }
        pidfd_send_signal(&child.watch, Signal::KILL).unwrap();
        assert_eq!(how_it_ended(child.watch.as_fd()), (None, Some(9)));
        assert_eq!(doing(child.pid), Doing::Gone);
        assert_eq!(how_it_ended(child.watch.as_fd()), (None, None), "it has been waited for");
    }

    #[test]
    fn program_that_does_not_exist_is_refused() {
        assert_eq!(Child::start(&mut Command::new("/nowhere/at/all")).err(), Some(Errno::NOENT));
    }
}
