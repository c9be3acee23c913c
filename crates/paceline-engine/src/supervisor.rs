//! Owns the supervisor, one thread for the process: it starts workers through the fork server, listens to their life
//! lines and their standard error, notices at once how each ends, and ends those it is told to. Never decides who is
//! started or ended, and never touches a task.

use crate::engine::{Shared, panic_message};
use crate::fork_guard;
use crate::last_words::LastWords;
use crate::outcome::Death;
use crate::threads::{SMALL_STACK, spawn_quiet};
use paceline_core::WorkerExit;
use paceline_ipc::message::{FromForkServer, FromWorker, LONGEST, ToForkServer};
use paceline_ipc::socket::{self, Received};
use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, kill_process_group, pidfd_send_signal};
use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// How to start a fork server: it finds its socket as standard input.
#[derive(Clone, Debug)]
pub struct ForkServerCommand {
    /// The program.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// A worker to be started.
pub(crate) struct Start {
    pub(crate) engine: Weak<Shared>,
    pub(crate) seat: u16,
    pub(crate) chunks: u64,
    pub(crate) own_arena: Option<OwnedFd>,
    pub(crate) fork_server: ForkServerCommand,
}

/// How a worker ended.
pub(crate) struct Ending {
    pub(crate) exit: WorkerExit,
    pub(crate) death: Death,
    pub(crate) complaint: Option<Vec<u8>>,
}

impl Ending {
    fn unborn(last_words: String) -> Self {
        Self { exit: WorkerExit::Died, death: Death { last_words, ..Death::default() }, complaint: None }
    }
}

enum Request {
    Start(u64, Box<Start>),
    Kill(u64),
    Quit(Sender<()>),
}

/// The callers' side: what they hand over is done by the thread.
pub(crate) struct Supervisor {
    requests: Sender<Request>,
    bell: Arc<OwnedFd>,
    generation: u32,
}

static CURRENT: AtomicPtr<Arc<Supervisor>> = AtomicPtr::new(std::ptr::null_mut());
static NEXT_BIRTH: AtomicU64 = AtomicU64::new(1);

impl Supervisor {
    /// The one of this process; a forked child gets one of its own. It lives as long as the process.
    pub(crate) fn of_this_process(generation: u32) -> Result<Arc<Self>, Errno> {
        loop {
            let current = CURRENT.load(Ordering::Acquire);
            // SAFETY: what was once stored is never freed.
            if let Some(supervisor) = unsafe { current.as_ref() }
                && supervisor.generation == generation
            {
                return Ok(Arc::clone(supervisor));
            }
            let mut new = Box::new(Arc::new(Self::start_thread(generation)?));
            if CURRENT.compare_exchange(current, &raw mut *new, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return Ok(Arc::clone(Box::leak(new)));
            }
        }
    }

    fn start_thread(generation: u32) -> Result<Self, Errno> {
        let (requests, receiver) = channel();
        let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let watch = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&watch, &*bell, epoll::EventData::new_u64(BELL), epoll::EventFlags::IN)?;
        let house = House {
            requests: receiver,
            bell: Arc::clone(&bell),
            watch,
            server: None,
            lives: HashMap::new(),
            queue: VecDeque::new(),
            muted: false,
            quitting: None,
        };
        spawn_quiet("paceline-supervisor", SMALL_STACK, move || house.keep())?;
        Ok(Self { requests, bell, generation })
    }

    /// Starts a worker; its number.
    pub(crate) fn start(&self, start: Start) -> u64 {
        let birth = NEXT_BIRTH.fetch_add(1, Ordering::Relaxed);
        self.request(Request::Start(birth, Box::new(start)));
        birth
    }

    /// Ends a worker at once, with its process group.
    pub(crate) fn kill(&self, birth: u64) {
        self.request(Request::Kill(birth));
    }

    /// Ends every worker and the fork server, and waits for them, so that none is left for the system's first process
    /// to bury; not longer than `patience`.
    fn quit(&self, patience: Duration) {
        let (done, ended) = channel();
        self.request(Request::Quit(done));
        let _ = ended.recv_timeout(patience);
    }

    fn request(&self, request: Request) {
        let _ = self.requests.send(request);
        let _ = rustix::io::write(&*self.bell, &1u64.to_ne_bytes());
    }
}

/// Ends all processes that belong to this one's engines, before it exits itself; waits for at most `patience`.
pub fn end_processes(patience: Duration) {
    // SAFETY: what was once stored is never freed.
    if let Some(supervisor) = unsafe { CURRENT.load(Ordering::Acquire).as_ref() }
        && supervisor.generation == fork_guard::generation()
    {
        supervisor.quit(patience);
    }
}

/// What the thread owns.
struct House {
    requests: Receiver<Request>,
    bell: Arc<OwnedFd>,
    watch: OwnedFd,
    server: Option<ForkServer>,
    lives: HashMap<u64, Life>,
    /// Workers to be asked for when the fork server has dealt with others.
    queue: VecDeque<(u64, Box<Start>)>,
    /// Workers' output is not read, because what was read cannot be printed.
    muted: bool,
    /// Who waits for the end of all processes.
    quitting: Option<Sender<()>>,
}

struct ForkServer {
    process: Child,
    socket: OwnedFd,
}

struct Life {
    engine: Arc<Shared>,
    seat: u16,
    line: OwnedFd,
    /// The worker's end of the life line is closed: it is gone, or was never born.
    has_hung_up: bool,
    words: LastWords,
    /// Zero until it is born.
    pid: i32,
    /// Absent until it is born, or if there were too many descriptors.
    watch: Option<OwnedFd>,
    /// The fork server that was to tell of its birth is gone.
    is_orphan: bool,
    to_be_killed: bool,
    told: Option<WorkerExit>,
    complaint: Option<Vec<u8>>,
}

/// What a descriptor in the watch is, beside the number of its worker.
const BELL: u64 = 0;
const SERVER: u64 = 1;
const LIFE_LINE: u64 = 2;
const WORDS: u64 = 3;
const PROCESS: u64 = 4;
const KINDS: u64 = 8;

/// How many workers are asked for at a time: the system limits the descriptors that are under way.
const UNBORN_LIMIT: usize = 64;

const ENDED_UNBORN: &str = "it was ended before it was born";

/// How long output that cannot be printed is left unread before another look.
const MUTED_MS: i64 = 20;

impl House {
    fn keep(mut self) {
        let mut buffer = vec![0; LONGEST];
        let mut events: [epoll::Event; 64] =
            [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; 64];
        loop {
            let timeout = self.muted.then_some(rustix::event::Timespec { tv_sec: 0, tv_nsec: MUTED_MS * 1_000_000 });
            let (ready, _) = match epoll::wait(&self.watch, &mut events, timeout.as_ref()) {
                Ok(count) => events.split_at(count),
                Err(_) => continue,
            };
            // Nothing of ours panics; but if it did, no caller may wait for workers of whom nobody tells any more.
            let heard = catch_unwind(AssertUnwindSafe(|| {
                for event in ready {
                    self.on_event(event.data.u64(), &mut buffer);
                }
                self.start_queued();
                self.mute_or_unmute();
                self.quit_if_asked();
            }));
            if let Err(panic) = heard {
                for (_, life) in self.lives.drain() {
                    life.kill();
                    life.engine.fail_without_supervisor(panic_message(&*panic));
                }
            }
        }
    }

    fn on_event(&mut self, data: u64, buffer: &mut [u8]) {
        match data % KINDS {
            BELL => self.on_bell(),
            SERVER => self.on_server(buffer),
            LIFE_LINE => self.on_life_line(data / KINDS, buffer),
            WORDS => self.on_words(data / KINDS),
            _ => self.on_process(data / KINDS),
        }
    }

    /// Only the workers of a pool that is given up are killed; so nothing is lost if one that is not born yet counts as
    /// dead. Should it be born after all, it finds its life line closed.
    fn kill(&mut self, birth: u64) {
        if let Some(position) = self.queue.iter().position(|(queued, _)| *queued == birth) {
            if let Some((_, start)) = self.queue.remove(position)
                && let Some(engine) = start.engine.upgrade()
            {
                let ending = Ending::unborn(ENDED_UNBORN.into());
                engine.with(|state, context| state.on_exited(start.seat, birth, ending, context));
            }
            return;
        }
        let Some(life) = self.lives.get_mut(&birth) else { return };
        if life.pid == 0 {
            self.bury(birth, None, None, Some(ENDED_UNBORN.into()), &mut []);
        } else {
            life.to_be_killed = true;
            life.kill();
        }
    }

    fn quit_if_asked(&mut self) {
        if self.lives.is_empty()
            && let Some(done) = self.quitting.take()
        {
            self.lose_server();
            let _ = done.send(());
        }
    }

    fn on_bell(&mut self) {
        let _ = rustix::io::read(&*self.bell, &mut [0; 8]);
        while let Ok(request) = self.requests.try_recv() {
            match request {
                Request::Start(birth, start) => self.queue.push_back((birth, start)),
                Request::Kill(birth) => self.kill(birth),
                Request::Quit(done) => {
                    for life in self.lives.values_mut() {
                        life.to_be_killed = true;
                        life.kill();
                    }
                    self.quitting = Some(done);
                }
            }
        }
    }

    fn start_queued(&mut self) {
        while self.lives.values().filter(|life| life.pid == 0).count() < UNBORN_LIMIT
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
        let seat = start.seat;
        if let Err(errno) = self.try_start(birth, start, &engine) {
            let ending = Ending::unborn(format!("the worker could not be started: {errno}"));
            engine.with(|state, context| state.on_exited(seat, birth, ending, context));
        }
    }

    fn try_start(&mut self, birth: u64, start: Start, engine: &Arc<Shared>) -> Result<(), Errno> {
        let (ours, theirs) = socket::pair()?;
        let (pipe, errors) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::fs::fcntl_setfl(&pipe, OFlags::NONBLOCK)?;
        let own_arena = start.own_arena.ok_or(Errno::MFILE)?;
        let life = Life {
            engine: Arc::clone(engine),
            seat: start.seat,
            line: ours,
            has_hung_up: false,
            words: LastWords::new(pipe),
            pid: 0,
            watch: None,
            is_orphan: false,
            to_be_killed: false,
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
            errors.as_fd(),
        ];
        let message = ToForkServer::Fork { birth, seat: start.seat, chunks: start.chunks }.encode();
        let asked = self.watch(birth, &life).and_then(|()| self.ask(&start.fork_server, &message, &descriptors));
        match asked {
            Ok(()) => drop(self.lives.insert(birth, life)),
            Err(_) => self.forget_all(&life),
        }
        asked
    }

    fn watch(&self, birth: u64, life: &Life) -> Result<(), Errno> {
        self.add(&life.line, birth * KINDS + LIFE_LINE)?;
        if self.muted { Ok(()) } else { self.add(life.words.pipe(), birth * KINDS + WORDS) }
    }

    /// Sends the fork server a message; one that is found to be gone is replaced.
    fn ask(&mut self, command: &ForkServerCommand, message: &[u8], with: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        match socket::send(self.server(command)?.socket.as_fd(), message, with) {
            Err(Errno::PIPE | Errno::CONNRESET) => {
                self.lose_server();
                socket::send(self.server(command)?.socket.as_fd(), message, with)
            }
            sent => sent,
        }
    }

    fn add(&self, descriptor: &impl AsFd, data: u64) -> Result<(), Errno> {
        epoll::add(&self.watch, descriptor, epoll::EventData::new_u64(data), epoll::EventFlags::IN)
    }

    fn forget(&self, descriptor: &impl AsFd) {
        // It may not have been watched.
        let _ = epoll::delete(&self.watch, descriptor);
    }

    /// Closing is not enough: a process forked from this one may hold the same, and keep them watched.
    fn forget_all(&self, life: &Life) {
        self.forget(&life.line);
        self.forget(life.words.pipe());
        if let Some(watch) = &life.watch {
            self.forget(watch);
        }
    }

    fn server(&mut self, command: &ForkServerCommand) -> Result<&ForkServer, Errno> {
        if self.server.is_none() {
            let (ours, theirs) = socket::pair()?;
            rustix::fs::fcntl_setfl(&ours, OFlags::NONBLOCK)?;
            // A process group of its own: what the terminal sends to the caller's is not for it.
            let process = Command::new(&command.program)
                .args(&command.arguments)
                .stdin(Stdio::from(theirs))
                .process_group(0)
                .spawn()
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::NOEXEC))?;
            self.add(&ours, SERVER)?;
            self.server = Some(ForkServer { process, socket: ours });
        }
        self.server.as_ref().ok_or(Errno::NOEXEC)
    }

    fn on_server(&mut self, buffer: &mut [u8]) {
        loop {
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

    fn on_word(&mut self, word: FromForkServer, descriptors: Vec<OwnedFd>, buffer: &mut [u8]) {
        match word {
            FromForkServer::Forked { birth, pid } => {
                if let Some(life) = self.lives.get_mut(&birth) {
                    life.pid = pid;
                    life.watch = descriptors.into_iter().next();
                    // One that cannot be watched must not work.
                    if life.to_be_killed || life.watch.is_none() {
                        life.kill();
                    }
                    let (engine, seat) = (Arc::clone(&life.engine), life.seat);
                    engine.with(|state, _| state.on_forked(seat, birth, pid));
                }
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
    fn lose_server(&mut self) {
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

    fn bury_unborn(&mut self, birth: u64) {
        self.bury(
            birth,
            None,
            None,
            Some("the fork server ended before it told of the worker's birth".into()),
            &mut [],
        );
    }

    fn on_process(&mut self, birth: u64) {
        self.bury(birth, None, None, None, &mut vec![0; LONGEST]);
    }

    fn on_life_line(&mut self, birth: u64, buffer: &mut [u8]) {
        let Some(life) = self.lives.get_mut(&birth) else { return };
        if life.listen(birth, buffer) {
            return;
        }
        // Either it is dead, which will be told in a moment, or it has closed what connects it to us; then it must go.
        life.has_hung_up = true;
        life.kill();
        if life.is_orphan && life.watch.is_none() {
            self.bury_unborn(birth);
        } else if let Some(life) = self.lives.get(&birth) {
            self.forget(&life.line);
        }
    }

    fn on_words(&mut self, birth: u64) {
        let Some(life) = self.lives.get_mut(&birth) else { return };
        if !life.words.listen()
            && let Some(life) = self.lives.get(&birth)
        {
            self.forget(life.words.pipe());
        }
    }

    fn mute_or_unmute(&mut self) {
        let muted = crate::last_words::is_backed_up();
        if muted == self.muted {
            return;
        }
        self.muted = muted;
        for (birth, life) in &self.lives {
            if muted {
                self.forget(life.words.pipe());
            } else {
                let _ = self.add(life.words.pipe(), birth * KINDS + WORDS);
            }
        }
    }

    /// A worker is gone: hears its last words and tells its engine.
    fn bury(&mut self, birth: u64, code: Option<i32>, signal: Option<i32>, excuse: Option<String>, buffer: &mut [u8]) {
        let Some(mut life) = self.lives.remove(&birth) else { return };
        if !buffer.is_empty() {
            life.listen(birth, buffer);
        }
        self.forget_all(&life);
        let exit = match life.told {
            Some(told) => told,
            None if code == Some(0) => WorkerExit::Stopped,
            None => WorkerExit::Died,
        };
        let mut last_words = life.words.end();
        if let Some(excuse) = excuse {
            last_words = excuse;
        }
        let ending =
            Ending { exit, death: Death { pid: life.pid, code, signal, last_words }, complaint: life.complaint };
        life.engine.with(|state, context| state.on_exited(life.seat, birth, ending, context));
    }
}

impl Life {
    /// Takes in what the worker says; whether it may say more.
    fn listen(&mut self, birth: u64, buffer: &mut [u8]) -> bool {
        loop {
            match socket::receive(self.line.as_fd(), buffer, false) {
                Ok(Received::Datagram(length, _)) => match FromWorker::decode(&buffer[..length]) {
                    Ok(FromWorker::Ready) => {
                        self.engine.with(|state, context| state.on_ready(self.seat, birth, context));
                    }
                    Ok(FromWorker::Failed(reason)) => {
                        self.told = Some(WorkerExit::FailedToStart);
                        self.complaint = Some(reason);
                    }
                    Ok(FromWorker::Retired) => self.told = Some(WorkerExit::Retired),
                    Err(_) => return false,
                },
                Err(Errno::AGAIN) => return true,
                Ok(Received::End) | Err(_) => return false,
            }
        }
    }

    fn kill(&self) {
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
