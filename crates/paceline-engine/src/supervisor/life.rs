//! One worker, from the moment it is asked for until it is known to be gone.

use crate::engine::Shared;
use crate::memory_use;
use crate::words::Words;
use paceline_core::WorkerExit;
use paceline_ipc::message::{FromWorker, ThreadTime};
use paceline_ipc::socket::{self, Received};
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};
use rustix::process::{Pid, Signal, kill_process_group, pidfd_send_signal};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, learned at a time of its own")]
pub(super) struct Life {
    pub(super) engine: Arc<Shared>,
    pub(super) seat: u16,
    pub(super) line: OwnedFd,
    /// The worker's end of the life line is closed: it is gone, or was never born.
    pub(super) has_hung_up: bool,
    pub(super) words: Words,
    /// Where it writes what it is doing, when it is asked to.
    pub(super) stacks: OwnedFd,
    /// It has said that it takes tasks.
    pub(super) is_ready: bool,
    /// How often the system had ended a process of this one's control group for want of memory when it was asked for.
    pub(super) out_of_memory_kills: Option<u64>,
    /// Zero until it is born.
    pub(super) pid: i32,
    /// Absent until it is born, or if there were too many descriptors.
    pub(super) watch: Option<OwnedFd>,
    /// The number of the fork server that tells of its birth and its end; none if there is no such server, or no more.
    pub(super) server: Option<u64>,
    /// It is a child of this very process, which has to wait for it.
    pub(super) is_child: bool,
    /// The socket with the message that such a child has not taken yet.
    pub(super) cradle: Option<OwnedFd>,
    pub(super) asked_ns: u64,
    /// When it was found to be gone, though its fork server has not told how it ended.
    pub(super) gone_ns: Option<u64>,
    /// It is killed by this process: at once, or when it is born.
    pub(super) to_be_killed: bool,
    /// At how many looks in a row.
    pub(super) times_seen_stopped: u32,
    pub(super) told: Option<WorkerExit>,
    pub(super) complaint: Option<Vec<u8>>,
    /// Of those that were at work before it left.
    pub(super) threads: Vec<ThreadTime>,
    /// Why it was killed here.
    pub(super) note: Option<&'static str>,
}

impl Life {
    /// Takes in what the worker says; whether it may say more. It says that it is ready, or why it is not, and then that
    /// it leaves, and what its threads did: one that says anything else, or anything more, is not to be trusted.
    pub(super) fn listen(&mut self, birth: u64, buffer: &mut [u8]) -> bool {
        loop {
            match socket::receive(self.line.as_fd(), buffer, false) {
                Ok(Received::Datagram(length, _)) => match FromWorker::decode(&buffer[..length]) {
                    Ok(FromWorker::Ready) if !self.is_ready && self.told.is_none() => {
                        self.is_ready = true;
                        self.engine.with(|state, context| state.on_ready(self.seat, birth, context));
                    }
                    Ok(FromWorker::Failed(reason)) if !self.is_ready && self.told.is_none() => {
                        self.told = Some(WorkerExit::FailedToStart);
                        self.complaint = Some(reason);
                    }
                    Ok(FromWorker::Retired) if self.is_ready && self.told.is_none() => {
                        self.told = Some(WorkerExit::Retired);
                    }
                    Ok(FromWorker::Threads(threads)) if self.is_ready && self.threads.is_empty() => {
                        self.threads = threads;
                    }
                    Ok(_) | Err(_) => return false,
                },
                Err(Errno::AGAIN) => return true,
                Ok(Received::End) | Err(_) => return false,
            }
        }
    }

    /// All that is open for it.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = &OwnedFd> {
        let own = [Some(&self.line), Some(&self.stacks), self.watch.as_ref(), self.cradle.as_ref()];
        own.into_iter().flatten().chain(self.words.ears())
    }

    /// Whether nothing is left of it but what its parent is told. The system closes what a process has open after it has
    /// let go of its memory.
    pub(super) fn has_ended(&self) -> bool {
        memory_use::of_process(self.pid).is_none_or(|bytes| bytes == 0)
    }

    pub(super) fn kill(&self) {
        let Some(watch) = &self.watch else {
            // Not born yet, or out of reach: it leaves when it finds its life line shut.
            let _ = shutdown(&self.line, Shutdown::Write);
            return;
        };
        // The group first, while its leader's number is surely still its own.
        let watch: BorrowedFd<'_> = watch.as_fd();
        if pidfd_send_signal(watch, Signal::STOP).is_ok()
            && let Some(group) = Pid::from_raw(self.pid)
        {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = pidfd_send_signal(watch, Signal::KILL);
    }
}
