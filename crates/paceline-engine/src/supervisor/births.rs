//! Has workers born: forked by a fork server, or each started by itself.

use super::{CRADLE, Ending, ForkServerCommand, House, KINDS, LIFE_LINE, Life, PROCESS, Start};
use crate::clock::now_ns;
use crate::engine::Shared;
use crate::memory_limits;
use crate::process::{Child, HowItEnded};
use crate::start::Maker;
use crate::words::{Mouth, Words};
use paceline_ipc::message::{FromForkServer, ToForkServer};
use paceline_ipc::socket;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Stdio;
use std::sync::Arc;

/// How many workers are asked for at a time: the system limits the descriptors that are under way.
const UNBORN_LIMIT: usize = 48;

impl House {
    pub(super) fn start_queued(&mut self) {
        while self.lives.values().filter(|life| life.is_unborn()).count() < UNBORN_LIMIT
            && let Some((birth, start)) = self.queue.pop_front()
        {
            self.start(birth, *start);
        }
    }

    fn start(&mut self, birth: u64, start: Start) {
        let Some(engine) = start.engine.upgrade() else { return };
        if self.quitting.is_some() {
            // The process is about to exit: nobody is replaced any more.
            return;
        }
        let (seat, maker) = (start.seat, start.maker.clone());
        if let Err(errno) = self.try_start(birth, start, &engine) {
            let why = match maker {
                Maker::Fork(number) if !self.servers.contains_key(&number) => {
                    "the fork of the program that this pool's workers are forked from has ended, and cannot be made again"
                        .into()
                }
                _ => format!("the worker could not be started: {errno}"),
            };
            engine.with(|state, context| state.on_exited(seat, birth, Ending::unborn(why), context));
        }
    }

    fn try_start(&mut self, birth: u64, start: Start, engine: &Arc<Shared>) -> Result<(), Errno> {
        let (ours, theirs) = socket::pair()?;
        let (words, mouth) = Words::new(engine.prefixes_output())?;
        // Written to by a handler of a signal, which must not wait.
        let (stacks, their_stacks) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let own_arena = start.own_arena.ok_or(Errno::MFILE)?;
        let mut life = Life::asked_for(Arc::clone(engine), start.seat, start.maker.server(), (ours, stacks), words);
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
            their_stacks.as_fd(),
        ];
        let message = ToForkServer::Fork { birth, seat: start.seat, chunks: start.chunks }.encode();
        let asked = self.watch(birth, &life).and_then(|()| match &start.maker {
            Maker::Spawn(command) => self.spawn(birth, &mut life, command, &message, &descriptors, &mouth),
            maker => self.ask(maker, &message, &descriptors),
        });
        if asked.is_err() {
            self.forget_all(&life);
            return asked;
        }
        let (seat, pid) = (life.seat, life.pid);
        self.lives.insert(birth, life);
        if pid == 0 {
            self.expect();
        } else {
            engine.with(|state, _| state.on_forked(seat, birth, pid));
        }
        Ok(())
    }

    fn watch(&self, birth: u64, life: &Life) -> Result<(), Errno> {
        self.add(&life.line, birth * KINDS + LIFE_LINE)?;
        if self.muted { Ok(()) } else { self.watch_words(birth, &life.words) }
    }

    /// Starts a worker by itself. Its message waits for it to be ready to read; what it says before, such as why it never
    /// will be, is heard as the worker's.
    fn spawn(
        &self,
        birth: u64,
        life: &mut Life,
        command: &ForkServerCommand,
        message: &[u8],
        descriptors: &[BorrowedFd<'_>],
        mouth: &Mouth,
    ) -> Result<(), Errno> {
        let (ours, theirs) = socket::pair()?;
        socket::send(ours.as_fd(), message, descriptors)?;
        let (output, errors) = (mouth.output.try_clone(), mouth.errors.try_clone());
        let (Ok(output), Ok(errors)) = (output, errors) else { return Err(Errno::MFILE) };
        let streams = (Stdio::from(theirs), Stdio::from(output), Stdio::from(errors));
        let child = Child::start(command.command().stdin(streams.0).stdout(streams.1).stderr(streams.2))?;
        self.add(&child.watch, birth * KINDS + PROCESS)
            .and_then(|()| self.add(&ours, birth * KINDS + CRADLE))
            .inspect_err(|_| child.end())?;
        life.is_child = true;
        life.pid = child.pid;
        life.watch = Some(child.watch);
        life.cradle = Some(ours);
        Ok(())
    }

    /// A worker that was started by itself has taken its message, or has ended, which is told in a moment.
    pub(super) fn on_cradle(&mut self, birth: u64) {
        if let Some(cradle) = self.lives.get_mut(&birth).and_then(|life| life.cradle.take()) {
            self.forget(&cradle);
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
                    life.to_be_killed |= life.watch.is_none();
                    if life.to_be_killed {
                        life.kill();
                    }
                    let (engine, seat) = (Arc::clone(&life.engine), life.seat);
                    engine.with(|state, _| state.on_forked(seat, birth, pid));
                }
                if let Some(watch) = self.lives.get(&birth).and_then(|life| life.watch.as_ref()) {
                    // The server tells how it ended; this tells that the server has something to tell.
                    let _ = self.add(watch, birth * KINDS + PROCESS);
                }
                self.hear_the_named(birth);
            }
            FromForkServer::Refused { birth, errno } => {
                let errno = Errno::from_raw_os_error(errno);
                self.bury(birth, HowItEnded::default(), Some(format!("the system refused to fork: {errno}")), buffer);
            }
            FromForkServer::Exited { birth, code, signal, peak_kib } => {
                self.bury(birth, HowItEnded { code, signal, peak_kib }, None, buffer);
            }
        }
    }
}

impl Life {
    fn asked_for(
        engine: Arc<Shared>,
        seat: u16,
        server: Option<u64>,
        (line, stacks): (OwnedFd, OwnedFd),
        words: Words,
    ) -> Self {
        Self {
            engine,
            seat,
            line,
            has_hung_up: false,
            words,
            stacks,
            is_ready: false,
            out_of_memory_kills: memory_limits::out_of_memory_kills(""),
            pid: 0,
            watch: None,
            server,
            is_child: false,
            cradle: None,
            asked_ns: now_ns(),
            gone_ns: None,
            to_be_killed: false,
            times_seen_stopped: 0,
            told: None,
            complaint: None,
            threads: Vec::new(),
            note: None,
        }
    }

    /// It has not taken yet what it was given.
    fn is_unborn(&self) -> bool {
        self.pid == 0 || self.cradle.is_some()
    }
}
