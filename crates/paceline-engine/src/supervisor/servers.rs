//! Owns the fork servers: the clean one, which is started when it is needed, and those that were forked off this process
//! for one pool each. Never says who is to be born.

use super::{ForkServerCommand, House, KINDS, PROCESS, SERVER};
use crate::clock::now_ns;
use crate::process::Child;
use crate::start::{ForkedServer, Maker};
use paceline_ipc::message::{FromForkServer, ToForkServer};
use paceline_ipc::socket::{self, Received};
use rustix::event::epoll;
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// How many words of a fork server are taken in before others have their turn.
const WORDS_AT_ONCE: usize = 256;

/// The number of the clean server; the others have greater ones.
pub(super) const CLEAN: u64 = 0;

pub(super) struct Server {
    pub(super) process: Child,
    pub(super) socket: OwnedFd,
    /// When it last told anything.
    pub(super) heard_ns: u64,
}

impl Maker {
    /// The number of the fork server, if it is one that makes the workers.
    pub(super) fn server(&self) -> Option<u64> {
        match self {
            Self::ForkServer(_) => Some(CLEAN),
            Self::Fork(number) => Some(*number),
            Self::Spawn(_) => None,
        }
    }
}

impl House {
    /// Sends the fork server of a maker a message. A clean one that is found to be gone is replaced; a fork of this
    /// process cannot be made again.
    pub(super) fn ask(&mut self, maker: &Maker, message: &[u8], with: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        match maker {
            Maker::ForkServer(command) => {
                self.start_clean_server(command)?;
                match self.send(CLEAN, message, with) {
                    Err(Errno::PIPE | Errno::CONNRESET) => {
                        self.lose_server(CLEAN);
                        self.start_clean_server(command)?;
                        self.send(CLEAN, message, with)
                    }
                    sent => sent,
                }
            }
            Maker::Fork(number) => self.send(*number, message, with).inspect_err(|errno| {
                if matches!(*errno, Errno::PIPE | Errno::CONNRESET) {
                    self.lose_server(*number);
                }
            }),
            Maker::Spawn(_) => Err(Errno::INVAL),
        }
    }

    fn send(&self, number: u64, message: &[u8], with: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        let server = self.servers.get(&number).ok_or(Errno::SRCH)?;
        socket::send(server.socket.as_fd(), message, with)
    }

    /// Those who need it find out themselves if this fails: a worker can load everything on its own.
    pub(super) fn preload(&mut self, command: ForkServerCommand, what: Vec<u8>) {
        if self.quitting.is_none() {
            let _ = self.ask(&Maker::ForkServer(command), &ToForkServer::Preload(what).encode(), &[]);
        }
    }

    fn start_clean_server(&mut self, command: &ForkServerCommand) -> Result<(), Errno> {
        if self.servers.contains_key(&CLEAN) {
            return Ok(());
        }
        let (ours, theirs) = socket::pair()?;
        rustix::fs::fcntl_setfl(&ours, OFlags::NONBLOCK)?;
        // Where this process has none, the workers' must not be taken for something else.
        let stream = |is_ours: bool| if is_ours { Stdio::inherit() } else { Stdio::null() };
        let process = Child::start(
            command
                .command()
                .stdin(Stdio::from(theirs))
                .stdout(stream(is_stream(rustix::stdio::stdout())))
                .stderr(stream(is_stream(rustix::stdio::stderr()))),
        )?;
        self.keep_server(CLEAN, process, ours)
    }

    /// A fork of this process, made for the pool that is being opened.
    pub(super) fn adopt_server(&mut self, server: ForkedServer) {
        // Should it not be kept, nobody is born of it, and the pool hears that.
        if let Some((number, process, socket)) = server.adopt() {
            let _ = self.keep_server(number, process, socket);
        }
    }

    fn keep_server(&mut self, number: u64, process: Child, socket: OwnedFd) -> Result<(), Errno> {
        let watched = self.add(&socket, number * KINDS + SERVER);
        match watched {
            Ok(()) => drop(self.servers.insert(number, Server { process, socket, heard_ns: now_ns() })),
            Err(_) => process.end(),
        }
        watched
    }

    pub(super) fn on_server(&mut self, number: u64, buffer: &mut [u8]) {
        // Others have their turn in between; what is left is told of once more.
        for _ in 0..WORDS_AT_ONCE {
            let Some(server) = self.servers.get_mut(&number) else { return };
            match socket::receive(server.socket.as_fd(), buffer, false) {
                Ok(Received::Datagram(length, descriptors)) => match FromForkServer::decode(&buffer[..length]) {
                    Ok(word) => {
                        server.heard_ns = now_ns();
                        self.on_word(word, descriptors, buffer);
                    }
                    Err(_) => return self.lose_server(number),
                },
                Err(Errno::AGAIN) => return,
                Ok(Received::End) | Err(_) => return self.lose_server(number),
            }
        }
    }

    /// The fork server is gone. Those that it has forked live on, and are watched without it, though nobody can say any
    /// more how they end. Those that it has not told of may have been born all the same; they are asked to leave by
    /// their life lines, and are gone when the other ends of these are closed.
    pub(super) fn lose_server(&mut self, number: u64) {
        if let Some(server) = self.servers.remove(&number) {
            self.forget(&server.socket);
            server.process.end();
        }
        let (mut unborn, mut gone) = (Vec::new(), Vec::new());
        for (birth, life) in self.lives.iter_mut().filter(|(_, life)| life.server == Some(number)) {
            life.server = None;
            match &life.watch {
                Some(_) if life.gone_ns.is_some() => gone.push(*birth),
                Some(watch) => {
                    // It is watched already, unless the system refused it then.
                    let event = epoll::EventData::new_u64(birth * KINDS + PROCESS);
                    let _ = epoll::add(&self.watch, watch, event, epoll::EventFlags::IN);
                }
                None if life.has_hung_up => unborn.push(*birth),
                None => life.kill(),
            }
        }
        for birth in unborn {
            self.bury_unborn(birth);
        }
        for birth in gone {
            self.on_process(birth);
        }
    }

    pub(super) fn lose_all_servers(&mut self) {
        let numbers: Vec<_> = self.servers.keys().copied().collect();
        for number in numbers {
            self.lose_server(number);
        }
    }
}

impl ForkServerCommand {
    /// In a process group of its own: what the terminal sends to the caller's is not for it.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).process_group(0);
        command
    }
}

/// Whether a descriptor is open and meant for children too: all of ours are not.
fn is_stream(descriptor: BorrowedFd<'_>) -> bool {
    rustix::io::fcntl_getfd(descriptor).is_ok_and(|flags| !flags.contains(rustix::io::FdFlags::CLOEXEC))
}
