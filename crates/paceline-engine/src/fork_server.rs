//! Owns the fork server: a single-threaded process that forks workers on request, tells how they end, and leaves with its
//! parent; and the program that becomes a worker itself, without a fork. Never decides when to fork or what to load, and
//! never talks to a worker.

use crate::process::{HowItEnded, how_it_has_ended};
use crate::worker::{Birth, exit_now, raw_pid};
use paceline_ipc::message::{FromForkServer, LONGEST, ToForkServer};
use paceline_ipc::socket::{self, Received};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, getppid, kill_process, kill_process_group, pidfd_open, setpgid, waitpid,
};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Which side of a fork this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The child.
    Child,
    /// The parent, and the child's process id.
    Parent(i32),
}

/// Why [`serve`] returned.
#[derive(Debug)]
pub enum Served {
    /// This process is a new worker.
    Worker(Box<Birth>),
    /// The parent is gone or wants no more; the server should leave.
    Ended,
}

struct Server {
    socket: OwnedFd,
    parent: Option<OwnedFd>,
    children: Vec<Child>,
}

struct Child {
    birth: u64,
    pid: Pid,
    watch: OwnedFd,
}

/// How long a parent may take to end, once it has let go of its files.
const ENDING: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// What a new worker is given, as it comes with its message.
type Gifts = [OwnedFd; 9];

/// Has the system continue this process when its parent ends, if it is stopped then and cannot look for itself: it is not
/// killed, because it has to end others. It counts from the end of the thread that started it, and does no harm if others
/// go on. To be called before anybody looks whether the parent is still there.
pub fn go_on_without_parent() {
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::CONT));
}

/// The socket with which this process was started as its standard input, which is empty from now on.
///
/// # Errors
/// When there are no more descriptors.
pub fn take_socket() -> Result<OwnedFd, Errno> {
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let nothing = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&nothing)?;
    Ok(socket)
}

/// Serves the parent with this process id at the other end of `socket`, loading with `preload` and forking with `fork`,
/// until it is gone. Returns in each worker as well.
pub fn serve(
    socket: OwnedFd,
    parent_pid: i32,
    preload: &mut dyn FnMut(&[u8]),
    fork: &mut dyn FnMut() -> Result<Side, Errno>,
) -> Served {
    let Some(mut server) = Server::of(socket, parent_pid) else { return Served::Ended };
    let outcome = server.serve(preload, fork);
    if matches!(outcome, Served::Ended) {
        server.end_orphans();
    }
    outcome
}

/// Waits for the one message of the parent with this process id at the other end of `socket`, and becomes the worker that
/// it asks for, without a fork: the parent, which started this process, watches it itself.
#[must_use]
pub fn become_worker(socket: OwnedFd, parent_pid: i32) -> Served {
    let Some(server) = Server::of(socket, parent_pid) else { return Served::Ended };
    let mut buffer = vec![0; LONGEST];
    loop {
        let Some(ready) = server.wait() else { return Served::Ended };
        if !ready {
            continue;
        }
        match socket::receive(server.socket.as_fd(), &mut buffer, false) {
            Ok(Received::Datagram(length, descriptors)) => {
                return match (ToForkServer::decode(&buffer[..length]), Gifts::try_from(descriptors)) {
                    (Ok(ToForkServer::Fork { seat, chunks, .. }), Ok(gifts)) => {
                        Served::Worker(Box::new(born(seat, chunks, gifts, server.parent)))
                    }
                    _ => Served::Ended,
                };
            }
            Err(Errno::AGAIN) => {}
            Ok(Received::End) | Err(_) => return Served::Ended,
        }
    }
}

/// This process is a worker from now on.
fn born(seat: u16, chunks: u64, gifts: Gifts, parent: Option<OwnedFd>) -> Birth {
    let [life_line, table, parent_arena, own_arena, setup, output, errors, records, stacks] = gifts;
    let _ = setpgid(None, None);
    let speaks = rustix::stdio::dup2_stdout(&output).and_then(|()| rustix::stdio::dup2_stderr(&errors));
    if speaks.is_err() {
        exit_now(crate::worker::EXIT_DISCONNECTED);
    }
    crate::records::adopt(records);
    Birth { seat, chunks, life_line, table, parent_arena, own_arena, setup, stacks, parent }
}

/// Whether this process has a thread beside the main one.
fn has_threads() -> bool {
    std::fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() > 1)
}

impl Server {
    /// None if the parent is gone already.
    fn of(socket: OwnedFd, parent_pid: i32) -> Option<Self> {
        let parent = Pid::from_raw(parent_pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        // The parent may have died, and its number been given away, before it could be watched.
        if getppid().map(raw_pid) != Some(parent_pid) {
            return None;
        }
        crate::threads::receive_all_signals();
        Some(Self { socket, parent, children: Vec::new() })
    }

    fn serve(&mut self, preload: &mut dyn FnMut(&[u8]), fork: &mut dyn FnMut() -> Result<Side, Errno>) -> Served {
        let mut buffer = vec![0; LONGEST];
        loop {
            let Some(ready) = self.wait() else { return Served::Ended };
            self.bury();
            if !ready {
                continue;
            }
            match socket::receive(self.socket.as_fd(), &mut buffer, false) {
                Ok(Received::Datagram(length, descriptors)) => match ToForkServer::decode(&buffer[..length]) {
                    Ok(ToForkServer::Fork { birth, seat, chunks }) => {
                        if let Some(birth) = self.fork(birth, seat, chunks, descriptors, fork) {
                            return Served::Worker(birth);
                        }
                    }
                    Ok(ToForkServer::Preload(what)) => {
                        preload(&what);
                        if has_threads() {
                            // A fork would take none of them along, but the locks that they may hold. The parent starts
                            // another server when it needs one, and does not ask that one to load the same again.
                            return Served::Ended;
                        }
                    }
                    Err(_) => return Served::Ended,
                },
                Err(Errno::AGAIN) => {}
                Ok(Received::End) | Err(_) => return Served::Ended,
            }
        }
    }

    /// Ends the workers of a parent that is gone. They do so themselves, but for those that are stopped.
    fn end_orphans(&mut self) {
        self.bury();
        let Some(parent) = &self.parent else { return };
        if self.children.is_empty() {
            return;
        }
        // Its end of the socket is closed before its end can be seen.
        let mut watched = [PollFd::new(parent, PollFlags::IN)];
        if poll(&mut watched, Some(&ENDING)) != Ok(1) {
            return;
        }
        for child in &self.children {
            let _ = kill_process_group(child.pid, Signal::KILL);
        }
    }

    /// Sleeps until something happens; whether there is a message, or `None` when the parent is gone.
    fn wait(&self) -> Option<bool> {
        let mut watched = vec![PollFd::new(&self.socket, PollFlags::IN)];
        watched.extend(self.children.iter().map(|child| PollFd::new(&child.watch, PollFlags::IN)));
        if let Some(parent) = &self.parent {
            watched.push(PollFd::new(parent, PollFlags::IN));
        }
        match poll(&mut watched, None) {
            Ok(_) => {
                let parent_gone = self.parent.is_some() && watched.last().is_some_and(|one| !one.revents().is_empty());
                (!parent_gone).then(|| !watched[0].revents().is_empty())
            }
            Err(Errno::INTR) => Some(false),
            Err(_) => None,
        }
    }

    /// Tells how every child that has ended did.
    fn bury(&mut self) {
        let mut index = 0;
        while index < self.children.len() {
            let child = &self.children[index];
            match how_it_has_ended(child.watch.as_fd()) {
                None => index += 1,
                Some(HowItEnded { code, signal, peak_kib }) => {
                    let birth = self.children.swap_remove(index).birth;
                    self.tell(FromForkServer::Exited { birth, code, signal, peak_kib }, &[]);
                }
            }
        }
    }

    /// A parent that does not listen is gone, which the next wait will see.
    fn tell(&self, word: FromForkServer, descriptors: &[BorrowedFd<'_>]) {
        let _ = socket::send(self.socket.as_fd(), &word.encode(), descriptors);
    }

    fn fork(
        &mut self,
        birth: u64,
        seat: u16,
        chunks: u64,
        descriptors: Vec<OwnedFd>,
        fork: &mut dyn FnMut() -> Result<Side, Errno>,
    ) -> Option<Box<Birth>> {
        let Ok(gifts) = Gifts::try_from(descriptors) else {
            self.tell(FromForkServer::Refused { birth, errno: Errno::MFILE.raw_os_error() }, &[]);
            return None;
        };
        match fork() {
            Ok(Side::Child) => Some(Box::new(born(seat, chunks, gifts, self.parent.take()))),
            Ok(Side::Parent(pid)) => {
                self.announce(birth, pid);
                None
            }
            Err(errno) => {
                self.tell(FromForkServer::Refused { birth, errno: errno.raw_os_error() }, &[]);
                None
            }
        }
    }

    fn announce(&mut self, birth: u64, raw: i32) {
        let Some(pid) = Pid::from_raw(raw) else { return };
        // Both sides do it, so that it holds whoever comes first.
        let _ = setpgid(Some(pid), Some(pid));
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(watch) => {
                self.tell(FromForkServer::Forked { birth, pid: raw }, &[watch.as_fd()]);
                self.children.push(Child { birth, pid, watch });
            }
            Err(errno) => {
                // Without a way to watch it, it must not run.
                let _ = kill_process(pid, Signal::KILL);
                let _ = waitpid(Some(pid), WaitOptions::empty());
                self.tell(FromForkServer::Refused { birth, errno: errno.raw_os_error() }, &[]);
            }
        }
    }
}
