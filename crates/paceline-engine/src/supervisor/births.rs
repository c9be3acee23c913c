//! Starts workers through the fork server, which it starts itself when there is none.

use super::{Ending, ForkServer, ForkServerCommand, House, KINDS, LIFE_LINE, Life, PROCESS, SERVER, Start};
use crate::engine::Shared;
use crate::words::Words;
use paceline_ipc::message::{FromForkServer, ToForkServer};
use paceline_ipc::socket::{self, Received};
use rustix::event::epoll;
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// How many workers are asked for at a time: the system limits the descriptors that are under way.
const UNBORN_LIMIT: usize = 48;
/// How many words of the fork server are taken in before others have their turn.
const WORDS_AT_ONCE: usize = 256;

impl House {
    pub(super) fn start_queued(&mut self) {
        while self.lives.values().filter(|life| life.pid == 0).count() < UNBORN_LIMIT
            && let Some((birth, start)) = self.queue.pop_front()
        {
            self.start(birth, *start);
        }
    }

    pub(super) fn start(&mut self, birth: u64, start: Start) {
        let Some(engine) = start.engine.upgrade() else { return };
        if self.quitting.is_some() {
            // The process is about to exit: nobody is replaced any more.
            return;
        }
        let seat = start.seat;
        if let Err(errno) = self.try_start(birth, start, &engine) {
            let ending = Ending::unborn(format!("the worker could not be started: {errno}"));
            engine.with(|state, context| state.on_exited(seat, birth, ending, context));
        }
    }

    pub(super) fn try_start(&mut self, birth: u64, start: Start, engine: &Arc<Shared>) -> Result<(), Errno> {
        let (ours, theirs) = socket::pair()?;
        let (words, mouth) = Words::new(engine.prefixes_output())?;
        let own_arena = start.own_arena.ok_or(Errno::MFILE)?;
        let life = Life {
            engine: Arc::clone(engine),
            seat: start.seat,
            line: ours,
            has_hung_up: false,
            words,
            pid: 0,
            watch: None,
            is_orphan: false,
            to_be_killed: false,
            is_ready: false,
            told: None,
            complaint: None,
        };
        let files = engine.files();
        let descriptors = [
            theirs.as_fd(),
            files.table.as_fd(),
            files.arena.as_fd(),
            own_arena.as_fd(),
            files.setup.as_fd(),
            mouth.output.as_fd(),
            mouth.errors.as_fd(),
            mouth.records.as_fd(),
        ];
        let message = ToForkServer::Fork { birth, seat: start.seat, chunks: start.chunks }.encode();
        let asked = self.watch(birth, &life).and_then(|()| self.ask(&start.fork_server, &message, &descriptors));
        match asked {
            Ok(()) => drop(self.lives.insert(birth, life)),
            Err(_) => self.forget_all(&life),
        }
        asked
    }

    pub(super) fn watch(&self, birth: u64, life: &Life) -> Result<(), Errno> {
        self.add(&life.line, birth * KINDS + LIFE_LINE)?;
        if self.muted { Ok(()) } else { self.watch_words(birth, &life.words) }
    }

    /// Sends the fork server a message; one that is found to be gone is replaced.
    pub(super) fn ask(
        &mut self,
        command: &ForkServerCommand,
        message: &[u8],
        with: &[BorrowedFd<'_>],
    ) -> Result<(), Errno> {
        match socket::send(self.server(command)?.socket.as_fd(), message, with) {
            Err(Errno::PIPE | Errno::CONNRESET) => {
                self.lose_server();
                socket::send(self.server(command)?.socket.as_fd(), message, with)
            }
            sent => sent,
        }
    }

    /// Those who need it find out themselves if this fails: a worker can load everything on its own.
    pub(super) fn preload(&mut self, command: &ForkServerCommand, what: Vec<u8>) {
        if self.quitting.is_none() {
            let _ = self.ask(command, &ToForkServer::Preload(what).encode(), &[]);
        }
    }

    pub(super) fn server(&mut self, command: &ForkServerCommand) -> Result<&ForkServer, Errno> {
        if self.server.is_none() {
            let (ours, theirs) = socket::pair()?;
            rustix::fs::fcntl_setfl(&ours, OFlags::NONBLOCK)?;
            // Where this process has none, the workers' must not be taken for something else.
            let stream = |is_ours: bool| if is_ours { Stdio::inherit() } else { Stdio::null() };
            // A process group of its own: what the terminal sends to the caller's is not for it.
            let process = Command::new(&command.program)
                .args(&command.arguments)
                .stdin(Stdio::from(theirs))
                .stdout(stream(is_stream(rustix::stdio::stdout())))
                .stderr(stream(is_stream(rustix::stdio::stderr())))
                .process_group(0)
                .spawn()
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::NOEXEC))?;
            self.add(&ours, SERVER)?;
            self.server = Some(ForkServer { process, socket: ours });
        }
        self.server.as_ref().ok_or(Errno::NOEXEC)
    }

    pub(super) fn on_server(&mut self, buffer: &mut [u8]) {
        // Others have their turn in between; what is left is told of once more.
        for _ in 0..WORDS_AT_ONCE {
            let Some(server) = &self.server else { return };
            match socket::receive(server.socket.as_fd(), buffer, false) {
                Ok(Received::Datagram(length, descriptors)) => match FromForkServer::decode(&buffer[..length]) {
                    Ok(word) => self.on_word(word, descriptors, buffer),
                    Err(_) => return self.lose_server(),
                },
                Err(Errno::AGAIN) => return,
                Ok(Received::End) | Err(_) => return self.lose_server(),
            }
        }
    }

    pub(super) fn on_word(&mut self, word: FromForkServer, descriptors: Vec<OwnedFd>, buffer: &mut [u8]) {
        match word {
            FromForkServer::Forked { birth, pid } => {
                // Nobody is born twice.
                if let Some(life) = self.lives.get_mut(&birth).filter(|life| life.pid == 0) {
                    life.pid = pid;
                    life.watch = descriptors.into_iter().next();
                    // One that cannot be watched must not work.
                    if life.to_be_killed || life.watch.is_none() {
                        life.kill();
                    }
                    let (engine, seat) = (Arc::clone(&life.engine), life.seat);
                    engine.with(|state, _| state.on_forked(seat, birth, pid));
                }
                self.hear_the_named(birth);
            }
            FromForkServer::Refused { birth, errno } => {
                let errno = Errno::from_raw_os_error(errno);
                self.bury(birth, None, None, Some(format!("the system refused to fork: {errno}")), buffer);
            }
            FromForkServer::Exited { birth, code, signal } => self.bury(birth, code, signal, None, buffer),
        }
    }

    /// The fork server is gone. Those that it has forked live on, and are watched without it, though nobody can say any
    /// more how they end. Those that it has not told of may have been born all the same; they are asked to leave by
    /// their life lines, and are gone when the other ends of these are closed.
    pub(super) fn lose_server(&mut self) {
        if let Some(mut server) = self.server.take() {
            self.forget(&server.socket);
            let _ = server.process.kill();
            let _ = server.process.wait();
        }
        let mut unborn = Vec::new();
        for (birth, life) in &mut self.lives {
            life.is_orphan = true;
            match &life.watch {
                Some(watch) => {
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
    }
}

/// Whether a descriptor is open and meant for children too: all of ours are not.
fn is_stream(descriptor: BorrowedFd<'_>) -> bool {
    rustix::io::fcntl_getfd(descriptor).is_ok_and(|flags| !flags.contains(rustix::io::FdFlags::CLOEXEC))
}
