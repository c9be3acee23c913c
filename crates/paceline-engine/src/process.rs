//! Owns what this process can do with a child of its own, ask of the system for itself, and see of any process from outside. Never decides what becomes
//! of one.

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::process::Command;

/// A child of this process. It has to be waited for, or its process id is never free again.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) pid: i32,
    pub(crate) watch: OwnedFd,
}

/// How a process ended, as far as anybody can say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HowItEnded {
    /// Its exit code, if it exited.
    pub(crate) code: Option<i32>,
    /// The signal that ended it, if one did.
    pub(crate) signal: Option<i32>,
    /// The most memory that it had, in kibibytes; zero if that is not known.
    pub(crate) peak_kib: u64,
}

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

/// How much sooner than its parent a worker is ended when memory runs out, in thousandths of all the memory there may be.
/// Enough that a worker goes before a parent that has mapped more than it; not so much that small workers are ended for
/// the hunger of a process that has most of the machine.
const ENDED_SOONER: i32 = 500;

/// Offers this process to the system before the one that started it, should memory run out: its end costs one task.
/// Where the system does not let it, nothing changes.
pub(crate) fn be_ended_before_parent() {
    let file = "/proc/self/oom_score_adj";
    let own = fs::read_to_string(file).ok().and_then(|text| text.trim().parse::<i32>().ok());
    if let Some(own) = own {
        let _ = fs::write(file, own.saturating_add(ENDED_SOONER).min(1000).to_string());
    }
}

/// Waits for the end of a child. Someone else in this process may have done so before; then nobody can say.
pub(crate) fn how_it_ended(watch: BorrowedFd<'_>) -> HowItEnded {
    reap(watch, libc::WEXITED).unwrap_or_default()
}

/// The same of a child that may not have ended; none if it has not.
pub(crate) fn how_it_has_ended(watch: BorrowedFd<'_>) -> Option<HowItEnded> {
    reap(watch, libc::WEXITED | libc::WNOHANG)
}

/// Takes a child that has ended off the system's hands. The library's call would not tell how much memory it had.
fn reap(watch: BorrowedFd<'_>, options: i32) -> Option<HowItEnded> {
    loop {
        // SAFETY: both are plain memory that the call fills; all zero is a value of theirs.
        let (mut info, mut usage): (libc::siginfo_t, libc::rusage) = unsafe { std::mem::zeroed() };
        let (of, number) = (libc::P_PIDFD, watch.as_raw_fd());
        // SAFETY: the descriptor is open, and the two places are large enough.
        let result = unsafe { libc::syscall(libc::SYS_waitid, of, number, &raw mut info, options, &raw mut usage) };
        if result != 0 {
            if std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted {
                continue;
            }
            return Some(HowItEnded::default());
        }
        // SAFETY: the call has filled them, or left them zero.
        let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
        let (code, signal) = if info.si_code == libc::CLD_EXITED { (Some(status), None) } else { (None, Some(status)) };
        let peak_kib = u64::try_from(usage.ru_maxrss).unwrap_or(0);
        return (pid != 0).then_some(HowItEnded { code, signal, peak_kib });
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
        assert_eq!(how_it_has_ended(child.watch.as_fd()), None);
        pidfd_send_signal(&child.watch, Signal::STOP).unwrap();
        while doing(child.pid) != Doing::Stopped {
            std::thread::yield_now();
        }
        pidfd_send_signal(&child.watch, Signal::KILL).unwrap();
        let ended = how_it_ended(child.watch.as_fd());
        assert_eq!((ended.code, ended.signal), (None, Some(9)));
        assert!(ended.peak_kib > 0);
        assert_eq!(doing(child.pid), Doing::Gone);
        assert_eq!(how_it_ended(child.watch.as_fd()), HowItEnded::default(), "it has been waited for");
    }

    #[test]
    fn program_that_does_not_exist_is_refused() {
        assert_eq!(Child::start(&mut Command::new("/nowhere/at/all")).err(), Some(Errno::NOENT));
    }
}
