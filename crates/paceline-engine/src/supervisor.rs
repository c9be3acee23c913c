//! Owns the supervisor, one thread for the process: it starts workers, listens to their life lines and to all they say,
//! notices at once how each ends, and ends those it is told to. Never decides who is started or ended, and never touches
//! a task.
//!
//! The map: this file has the thread and what it is asked; `servers` keeps the fork servers, `births` has workers born,
//! `life` is one of them, `hearing` what they say, `stacks` what they are doing, `deaths` how they end; `limits` stops what
//! is over one, and `looks` sees what nothing tells of.

mod births;
mod deaths;
mod hearing;
mod life;
mod limits;
mod looks;
mod servers;
mod stacks;

use crate::clock::now_ns;
use crate::engine::{Shared, panic_message};
use crate::fork_guard;
use crate::outcome::Death;
use crate::output::Voice;
use crate::process::HowItEnded;
use crate::start::{ForkedServer, Maker};
use crate::threads::{SMALL_STACK, spawn_quiet};
use life::Life;
use limits::Dues;
pub use looks::STOPPED_LOOKS;
use paceline_core::WorkerExit;
use paceline_ipc::message::{LONGEST, ThreadTime, ToWorker};
use paceline_ipc::table::Place;
use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::io::Errno;
use servers::Server;
use stacks::Asked;
pub use stacks::{Stack, worker_stacks};
use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// How to start a fork server, or a worker by itself: it finds its socket as standard input.
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
    pub(crate) maker: Maker,
}

/// How a worker ended.
pub(crate) struct Ending {
    pub(crate) exit: WorkerExit,
    pub(crate) death: Death,
    pub(crate) complaint: Option<Vec<u8>>,
    /// What it told of its threads before it left.
    pub(crate) threads: Vec<ThreadTime>,
}

impl Ending {
    fn unborn(last_words: String) -> Self {
        Self {
            exit: WorkerExit::Died,
            death: Death { last_words, ..Death::default() },
            complaint: None,
            threads: Vec::new(),
        }
    }
}

enum Request {
    Start(u64, Box<Start>),
    Kill(u64),
    Stop(u64, ToWorker),
    EndItem(u64, Place, u32),
    Look(Weak<Shared>, u64),
    Stacks(Option<i32>, Sender<Vec<Asked>>),
    Preload(Box<ForkServerCommand>, Vec<u8>),
    Adopt(Box<ForkedServer>),
    Dismiss(u64, Sender<()>),
    StandStill(Sender<Vec<RawFd>>, Receiver<()>),
    Attend,
    Hear(bool, Sender<()>),
    Quit(Sender<()>),
}

/// The callers' side: what they hand over is done by the thread.
pub(crate) struct Supervisor {
    requests: Sender<Request>,
    bell: Arc<OwnedFd>,
    /// Some pool has work, and is looked after until it has none.
    attending: Arc<AtomicBool>,
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
        let attending = Arc::new(AtomicBool::new(false));
        let house = House {
            requests: receiver,
            bell: Arc::clone(&bell),
            watch,
            servers: HashMap::new(),
            lives: HashMap::new(),
            queue: VecDeque::new(),
            muted: false,
            dues: Dues::default(),
            attending: Arc::clone(&attending),
            next_look_ns: None,
            quitting: None,
        };
        spawn_quiet("paceline-supervisor", SMALL_STACK, move || house.keep())?;
        Ok(Self { requests, bell, attending, generation })
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

    /// Takes over the fork server that the workers of a pool will be asked of.
    pub(crate) fn adopt(&self, server: ForkedServer) {
        self.request(Request::Adopt(Box::new(server)));
    }

    /// Ends such a server, the pool of which has ended, and waits for that; not longer than `patience`.
    pub(crate) fn dismiss(&self, server: u64, patience: Duration) {
        let (done, ended) = channel();
        self.request(Request::Dismiss(server, done));
        let _ = ended.recv_timeout(patience);
    }

    /// Some pool has work. Costs a look at a flag if that is known.
    pub(crate) fn attend(&self) {
        if !self.attending.load(Ordering::Relaxed) && !self.attending.swap(true, Ordering::Relaxed) {
            self.request(Request::Attend);
        }
    }

    /// Ends every worker and the fork servers, and waits for them, so that none is left for the system's first process
    /// to bury; not longer than `patience`.
    fn quit(&self, patience: Duration) {
        let (done, ended) = channel();
        self.request(Request::Quit(done));
        let _ = ended.recv_timeout(patience);
    }

    /// Hears all that workers have said before this call; if asked to, unfinished lines end here.
    fn hear(&self, ends_lines: bool, patience: Duration) {
        let (done, heard) = channel();
        self.request(Request::Hear(ends_lines, done));
        let _ = heard.recv_timeout(patience);
    }

    fn request(&self, request: Request) {
        let _ = self.requests.send(request);
        let _ = rustix::io::write(&*self.bell, &1u64.to_ne_bytes());
    }
}

/// The supervisor, if this process has one already.
fn current() -> Option<&'static Arc<Supervisor>> {
    // SAFETY: what was once stored is never freed.
    let supervisor = unsafe { CURRENT.load(Ordering::Acquire).as_ref() };
    supervisor.filter(|supervisor| supervisor.generation == fork_guard::generation())
}

/// The supervisor waits until this is dropped.
pub(crate) struct Stillness {
    /// All that it has open.
    pub(crate) descriptors: Vec<RawFd>,
    _go_on: Sender<()>,
}

/// Has the supervisor, if there is one, do nothing for a while; none if it does not answer.
pub(crate) fn stand_still(patience: Duration) -> Option<Stillness> {
    let (answer, stands) = channel();
    let (go_on, going_on) = channel();
    current()?.request(Request::StandStill(answer, going_on));
    let descriptors = stands.recv_timeout(patience).ok()?;
    Some(Stillness { descriptors, _go_on: go_on })
}

/// Has the fork server, which is started if there is none, load what these bytes name, while this process goes on.
/// Workers that are asked for later wait until it is done, and have it.
///
/// # Errors
/// The system refused a thread.
pub fn preload(command: ForkServerCommand, what: Vec<u8>) -> Result<(), Errno> {
    let supervisor = Supervisor::of_this_process(fork_guard::generation())?;
    supervisor.request(Request::Preload(Box::new(command), what));
    Ok(())
}

/// Ends all processes that belong to this one's engines, before it exits itself; waits for at most `patience`.
pub fn end_processes(patience: Duration) {
    if let Some(supervisor) = current() {
        supervisor.quit(patience);
    }
}

/// Hears all that workers have said before this call, so that it can be waited for (`output::untold`). With
/// `ends_lines`, what is no whole line yet counts as one. Waits for at most `patience`.
pub fn hear_workers(ends_lines: bool, patience: Duration) {
    if let Some(supervisor) = current() {
        supervisor.hear(ends_lines, patience);
    }
}

/// What the thread owns.
struct House {
    requests: Receiver<Request>,
    bell: Arc<OwnedFd>,
    watch: OwnedFd,
    servers: HashMap<u64, Server>,
    lives: HashMap<u64, Life>,
    /// Workers to be asked for when others have been born.
    queue: VecDeque<(u64, Box<Start>)>,
    /// Workers' output is not read, because what was read cannot be printed.
    muted: bool,
    dues: Dues,
    attending: Arc<AtomicBool>,
    /// When to look for what nothing tells of, if there is something to be missed.
    next_look_ns: Option<u64>,
    /// Who waits for the end of all processes.
    quitting: Option<Sender<()>>,
}

/// What a descriptor in the watch is, beside the number of its worker or its server.
const BELL: u64 = 0;
const SERVER: u64 = 1;
const LIFE_LINE: u64 = 2;
const PROCESS: u64 = 3;
const OUTPUT: u64 = 4;
const ERRORS: u64 = 5;
const RECORDS: u64 = 6;
const CRADLE: u64 = 7;
const KINDS: u64 = 8;

const ENDED_UNBORN: &str = "it was ended before it was born";

/// How long output that cannot be printed is left unread before another look.
const MUTED_NS: u64 = 20_000_000;

impl House {
    fn keep(mut self) {
        let mut buffer = vec![0; LONGEST];
        let mut events: [epoll::Event; 64] =
            [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; 64];
        loop {
            let timeout = self.until_next_ns().map(timespec);
            let (ready, _) = match epoll::wait(&self.watch, &mut events, timeout.as_ref()) {
                Ok(count) => events.split_at(count),
                Err(_) => continue,
            };
            // Nothing of ours panics; but if it did, no caller may wait for workers of whom nobody tells any more.
            let heard = catch_unwind(AssertUnwindSafe(|| {
                for event in ready {
                    self.on_event(event.data.u64(), &mut buffer);
                }
                self.look_at_due();
                self.start_queued();
                self.mute_or_unmute();
                self.look_if_due();
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

    /// How long nothing has to be done unless something happens; none for ever.
    fn until_next_ns(&self) -> Option<u64> {
        let until_unmuted = self.muted.then_some(MUTED_NS);
        [until_unmuted, self.until_look_ns(), self.dues.until_next_ns()].into_iter().flatten().min()
    }

    fn on_event(&mut self, data: u64, buffer: &mut [u8]) {
        match data % KINDS {
            BELL => self.on_bell(),
            SERVER => self.on_server(data / KINDS, buffer),
            LIFE_LINE => self.on_life_line(data / KINDS, buffer),
            PROCESS => self.on_process(data / KINDS),
            OUTPUT => self.on_words(data / KINDS, Voice::Output),
            ERRORS => self.on_words(data / KINDS, Voice::Errors),
            CRADLE => self.on_cradle(data / KINDS),
            _ => self.on_words(data / KINDS, Voice::Record),
        }
    }

    /// Workers are killed with their pool, or for the memory that they have, which they do not have before they are born. So
    /// nothing is lost if one that is not born yet counts as dead. Should it be born after all, it finds its life line
    /// closed.
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
            // Closing is not enough: others may hold copies of the life line.
            life.kill();
            self.bury(birth, HowItEnded::default(), Some(ENDED_UNBORN.into()), &mut []);
        } else {
            life.to_be_killed = true;
            life.kill();
        }
    }

    fn quit_if_asked(&mut self) {
        if self.lives.is_empty()
            && let Some(done) = self.quitting.take()
        {
            self.lose_all_servers();
            let _ = done.send(());
        }
    }

    fn on_bell(&mut self) {
        let _ = rustix::io::read(&*self.bell, &mut [0; 8]);
        while let Ok(request) = self.requests.try_recv() {
            match request {
                Request::Start(birth, start) => self.queue.push_back((birth, start)),
                Request::Kill(birth) => self.kill(birth),
                Request::Stop(birth, word) => self.stop(birth, word),
                Request::EndItem(birth, place, finished) => self.end_item(birth, place, finished),
                Request::Look(engine, at_ns) => self.dues.add(engine, at_ns),
                Request::Stacks(pid, done) => self.ask_for_stacks(pid, &done),
                Request::Preload(command, what) => self.preload(*command, what),
                Request::Adopt(server) => self.adopt_server(*server),
                Request::Dismiss(server, done) => {
                    self.lose_server(server);
                    let _ = done.send(());
                }
                Request::StandStill(answer, going_on) => {
                    let _ = answer.send(self.descriptors());
                    // It says nothing, and ends this by being dropped.
                    let _ = going_on.recv();
                }
                // The look that this is about comes with every round.
                Request::Attend => {}
                Request::Hear(ends_lines, done) => {
                    self.hear_all(ends_lines);
                    let _ = done.send(());
                }
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

    /// All that is open here.
    fn descriptors(&self) -> Vec<RawFd> {
        let own = [self.bell.as_raw_fd(), self.watch.as_raw_fd()];
        let servers = self.servers.values().flat_map(|server| [&server.socket, &server.process.watch]);
        let queued = self.queue.iter().filter_map(|(_, start)| start.own_arena.as_ref());
        let lives = self.lives.values().flat_map(Life::descriptors);
        own.into_iter().chain(servers.chain(queued).chain(lives).map(AsRawFd::as_raw_fd)).collect()
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
        self.forget_words(&life.words);
        for descriptor in [&life.watch, &life.cradle].into_iter().flatten() {
            self.forget(descriptor);
        }
    }

    fn on_life_line(&mut self, birth: u64, buffer: &mut [u8]) {
        let Some(life) = self.lives.get_mut(&birth) else { return };
        if life.listen(birth, buffer) {
            return;
        }
        // Either it is dead, which will be told in a moment, or it has closed what connects it to us; then it must go.
        life.has_hung_up = true;
        life.to_be_killed |= !life.has_ended();
        life.kill();
        if life.watch.is_none() && life.pid != 0 {
            life.gone_ns = Some(now_ns());
        }
        if life.server.is_none() && life.watch.is_none() {
            self.bury_unborn(birth);
        } else if let Some(life) = self.lives.get(&birth) {
            self.forget(&life.line);
        }
    }
}

fn timespec(ns: u64) -> rustix::event::Timespec {
    // A little late rather than early, when there would be nothing to do yet.
    let duration = Duration::from_nanos(ns) + Duration::from_micros(100);
    rustix::event::Timespec { tv_sec: duration.as_secs().cast_signed(), tv_nsec: duration.subsec_nanos().into() }
}
