//! Owns the life of a worker process: it is set up, claims and answers until it is told to leave, and never outlives
//! its parent. Never decides what to run.
//!
//! Most calls return with their outcome, and the loop is here. The time with those that linger is `lingering`'s, and
//! `lookout` is how a worker hears of tasks meanwhile.

mod lingering;
mod lookout;
mod stops;

use crate::answers::Answers;
use crate::clock::now_ns;
use crate::cpu_time;
use crate::memory_limits::has_memory;
use crate::memory_use::Scale;
use crate::patience::Patience;
use crate::process;
use crate::run::{Call, Manner, Run};
use crate::threads::{SMALL_STACK, receive_signal, spawn_quiet};
use lookout::Lookout;
use paceline_ipc::TaskTable;
use paceline_ipc::arena::{AllocateError, Arena, ArenaReader};
use paceline_ipc::body::{Body, INLINE_BYTES, INLINE_SEGMENT};
use paceline_ipc::memory::{Mapping, MemoryFile};
use paceline_ipc::message::{FromWorker, ToWorker};
use paceline_ipc::socket::{self, Received};
use paceline_ipc::table::Claim;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, getpgrp, getpid, kill_process, kill_process_group};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
pub use stops::{StopRequest, note_stops, noted_stops, stack_signal, stop_signal, take_stop_of, take_stops};

/// The exit code of a worker that could not be set up.
pub const EXIT_NOT_SET_UP: i32 = 70;
/// The exit code of a worker that lost what connects it to its parent.
pub const EXIT_DISCONNECTED: i32 = 71;

/// What a new worker is given by the fork server.
#[derive(Debug)]
pub struct Birth {
    /// Its seat in its engine.
    pub seat: u16,
    /// How many chunks it may run; zero for any number.
    pub chunks: u64,
    /// Its end of the life line.
    pub life_line: OwnedFd,
    /// The table.
    pub table: OwnedFd,
    /// The parent's arena.
    pub parent_arena: OwnedFd,
    /// Its own arena.
    pub own_arena: OwnedFd,
    /// The bytes that set it up.
    pub setup: OwnedFd,
    /// Where it writes what it is doing, on [`stack_signal`]. It stays open as long as the process.
    pub stacks: OwnedFd,
    /// The process that must not be outlived, if the system can watch it.
    pub parent: Option<OwnedFd>,
}

/// The table, mapped.
#[derive(Debug)]
pub(crate) struct MappedTable(Mapping);

impl MappedTable {
    pub(crate) const SIZE: u64 = size_of::<TaskTable>() as u64;

    pub(crate) fn map(file: &MemoryFile) -> Result<Self, Errno> {
        file.map(0, Self::SIZE).map(Self)
    }
}

impl std::ops::Deref for MappedTable {
    type Target = TaskTable;

    #[expect(clippy::cast_ptr_alignment, reason = "mappings begin at a page")]
    fn deref(&self) -> &TaskTable {
        // SAFETY: the mapping is as large as a table and page-aligned; all of a table is atomics and bodies for which
        // any bytes are valid, all zero being an empty one.
        unsafe { &*self.0.address().cast::<TaskTable>() }
    }
}

struct Worker {
    seat: u16,
    chunks: u64,
    life_line: Arc<OwnedFd>,
    life_line_identity: Option<(u64, u64)>,
    /// It lives as long as the process.
    table: &'static MappedTable,
    inputs: ArenaReader,
    outputs: Arena,
    setup: MemoryFile,
    /// Open as long as this process may write to it.
    _stacks: OwnedFd,
    patience: Patience,
    lookout: Option<Lookout>,
    /// Up to when the time with calls that linger has been counted.
    counted_ns: u64,
    /// When its memory was last looked at.
    weighed_ns: u64,
    scale: Scale,
    /// It had too much of it, and takes no more tasks.
    is_outgrown: bool,
    /// After how much idleness its free segments give back their memory.
    cools_after_ns: u64,
}

/// How much memory a worker may have between two tasks; zero for any amount.
static MOST_MEMORY: AtomicU64 = AtomicU64::new(0);
/// To look takes some microseconds, as long as a short task.
const BETWEEN_WEIGHINGS_NS: u64 = 10_000_000;
/// After so much idleness free segments give back their memory.
pub(crate) const COOLS_AFTER_NS: u64 = 10_000_000_000;

/// The main thread, the one that watches the parent, and the lookout.
const OWN_THREADS: u64 = 3;

/// After a task that took longer there is a look at whether the worker is still connected, which takes a fraction of that.
/// No task is done sooner that closes files.
const LOOKED_AFTER_NS: u64 = 5_000;

/// Which file a descriptor stands for; none if it is closed.
fn identity(descriptor: &OwnedFd) -> Option<(u64, u64)> {
    rustix::fs::fstat(descriptor).ok().map(|stat| (stat.st_dev, stat.st_ino))
}

/// Whether memory was refused because the descriptor of its file is not what it was: a task has closed it, and maybe
/// opened another in its place.
#[must_use]
pub fn is_refused_by_descriptor(refusal: AllocateError) -> bool {
    matches!(refusal, AllocateError::System(Errno::BADF | Errno::SPIPE | Errno::NODEV))
}

/// Has this worker leave for a fresh one when it is found to have more memory than this after a task.
pub fn retire_above(bytes: u64) {
    MOST_MEMORY.store(bytes, Ordering::Relaxed);
}

/// Works until told to leave; the exit code. Call from the process's only thread.
pub fn work(birth: Birth, run: &mut impl Run) -> i32 {
    let Ok(mut worker) = Worker::connect(birth) else { return EXIT_DISCONNECTED };
    if let Err(reason) = worker.set_up(run) {
        let _ = worker.tell(&FromWorker::Failed(reason));
        return EXIT_NOT_SET_UP;
    }
    if worker.tell(&FromWorker::Ready).is_err() {
        return EXIT_DISCONNECTED;
    }
    let code = worker.serve(run);
    worker.tell_threads();
    run.leave();
    code
}

impl Worker {
    fn connect(birth: Birth) -> Result<Self, Errno> {
        process::be_ended_before_parent();
        watch_forks();
        stops::adopt_main_thread();
        let life_line = Arc::new(birth.life_line);
        watch_parent(Arc::clone(&life_line), birth.parent)?;
        let table: &'static MappedTable =
            Box::leak(Box::new(MappedTable::map(&MemoryFile::from_descriptor(birth.table)?)?));
        crate::records::adopt_table(table);
        Ok(Self {
            seat: birth.seat,
            chunks: birth.chunks,
            life_line_identity: identity(&life_line),
            life_line,
            table,
            inputs: ArenaReader::read_only(MemoryFile::from_descriptor(birth.parent_arena)?)?,
            outputs: Arena::adopt(MemoryFile::from_descriptor(birth.own_arena)?)?.asking(has_memory),
            setup: MemoryFile::from_descriptor(birth.setup)?,
            _stacks: birth.stacks,
            patience: Patience::new(),
            lookout: None,
            counted_ns: 0,
            weighed_ns: 0,
            scale: Scale::default(),
            is_outgrown: false,
            cools_after_ns: COOLS_AFTER_NS,
        })
    }

    fn set_up(&self, run: &mut impl Run) -> Result<(), Vec<u8>> {
        if self.setup.size() == 0 {
            return run.set_up(&[]);
        }
        let unmappable = |errno: Errno| format!("the set-up bytes cannot be mapped: {errno}").into_bytes();
        let mapping = self.setup.map_read_only(0, self.setup.size()).map_err(unmappable)?;
        // SAFETY: the mapping lives until the call returns, and the parent wrote the bytes before it sent the file.
        run.set_up(unsafe { std::slice::from_raw_parts(mapping.address(), mapping.length()) })
    }

    fn tell(&self, word: &FromWorker) -> Result<(), Errno> {
        socket::send(self.life_line.as_fd(), &word.encode(), &[])
    }

    /// Of what its threads did nothing is left when it is gone.
    fn tell_threads(&self) {
        let threads = cpu_time::own_if_more_than(OWN_THREADS);
        if threads.len() > 1 {
            let _ = self.tell(&FromWorker::Threads(threads));
        }
    }

    /// Serves until it is to leave; with which exit code.
    fn serve(&mut self, run: &mut impl Run) -> i32 {
        let mut served = 0;
        loop {
            let Some(claim) = self.table.claim(self.seat).or_else(|| self.wait(run)) else {
                if self.table.idle.is_dismissed(self.seat) {
                    return 0;
                }
                continue;
            };
            let ran_ns = match self.answer(claim, run) {
                Ok(ran_ns) => {
                    self.table.idle.wake_parent(self.table.ready_hint());
                    served += 1;
                    ran_ns
                }
                Err(claim) => {
                    let left = if self.chunks == 0 { u64::MAX } else { self.chunks - served };
                    served += self.linger(claim, left, run);
                    u64::MAX
                }
            };
            if ran_ns >= LOOKED_AFTER_NS && self.is_cut_off() {
                return EXIT_DISCONNECTED;
            }
            if served == self.chunks || self.has_too_much_memory() {
                let _ = self.tell(&FromWorker::Retired);
                return 0;
            }
        }
    }

    /// Whether a task has closed what connects this worker to its parent. The next task that needs it would fail for it.
    fn is_cut_off(&self) -> bool {
        identity(&self.life_line) != self.life_line_identity
    }

    /// Whether it is to leave when what it runs has ended: it will find so once more then.
    fn has_reason_to_leave(&mut self) -> bool {
        self.has_too_much_memory() || self.is_cut_off()
    }

    /// Whether it is to leave for a fresh one when it runs nothing.
    fn has_too_much_memory(&mut self) -> bool {
        let most = MOST_MEMORY.load(Ordering::Relaxed);
        if most == 0 || self.is_outgrown {
            return self.is_outgrown;
        }
        let now = now_ns();
        if now.saturating_sub(self.weighed_ns) < BETWEEN_WEIGHINGS_NS {
            return false;
        }
        self.weighed_ns = now;
        self.is_outgrown = self.scale.over(std::process::id().cast_signed(), most).is_some();
        self.is_outgrown
    }

    fn wait(&mut self, run: &mut impl Run) -> Option<Claim> {
        let (table, seat, patience) = (self.table, self.seat, &mut self.patience);
        // Memory that nothing may ever be written to again is given back after a while, and not sooner, as what comes
        // next is written to warm memory much faster.
        let is_warm = self.outputs.resident_bytes() > 0 || run.is_warm();
        let timeout_ns = is_warm.then_some(self.cools_after_ns);
        let began_ns = if is_warm { now_ns() } else { 0 };
        let mut found = None;
        run.while_idle(&mut || found = patience.exercise(|keep| table.wait(seat, keep, timeout_ns)));
        if found.is_some() {
            self.cools_after_ns = COOLS_AFTER_NS;
        } else if is_warm && now_ns().saturating_sub(began_ns) >= self.cools_after_ns {
            self.outputs.cool();
            run.cool();
            // What is left is still in use, for who knows how long.
            self.cools_after_ns = self.cools_after_ns.saturating_mul(2);
        }
        found
    }

    /// Answers a claim, or gives it back if its call lingers. How long it ran.
    fn answer(&mut self, claim: Claim, run: &mut impl Run) -> Result<u64, Claim> {
        let Self { table, inputs, outputs, .. } = self;
        // SAFETY: the claim makes this worker the only one to touch the body until it finishes.
        let answered = table.with_claimed(&claim, |body| answer(unsafe { &mut *body }, inputs, outputs, run));
        let Some(ran_ns) = answered else { return Err(claim) };
        leave_if_forked();
        self.table.finish(claim);
        Ok(ran_ns)
    }
}

/// How long it ran, being answered; nothing was done if its call lingers.
fn answer(body: &mut Body, inputs: &ArenaReader, outputs: &mut Arena, run: &mut impl Run) -> Option<u64> {
    body.marks.begin(now_ns());
    if manner(body, inputs, run) == Manner::Lingers {
        return None;
    }
    let Body { function, item, first, count, devices, .. } = *body;
    let (attempt, began_ns) = (attempt(body), body.marks.began_ns());
    if body.input.segment == INLINE_SEGMENT {
        // The answer may take the input's place.
        let mut copy = [0; INLINE_BYTES];
        let bytes = body.inline_bytes(body.input);
        let length = bytes.len();
        copy[..length].copy_from_slice(bytes);
        let mut answers = Answers::begin(body, outputs);
        run.run(
            &Call { function, input: &copy[..length], buffers: inputs, item, first, count, attempt, devices, began_ns },
            &mut answers,
        );
        answers.end();
    } else {
        let Ok(view) = inputs.view(body.input) else { exit_now(EXIT_DISCONNECTED) };
        let mut answers = Answers::begin(body, outputs);
        run.run(
            &Call { function, input: view.bytes(), buffers: inputs, item, first, count, attempt, devices, began_ns },
            &mut answers,
        );
        answers.end();
    }
    let ended_ns = now_ns();
    body.marks.end(ended_ns);
    Some(ended_ns.saturating_sub(began_ns))
}

fn attempt(body: &Body) -> u16 {
    u16::try_from(body.attempt).unwrap_or(u16::MAX)
}

/// How the call goes, its function being loaded if need be.
fn manner(body: &Body, inputs: &ArenaReader, run: &mut impl Run) -> Manner {
    if let Some(manner) = run.manner(body.function) {
        return manner;
    }
    // Others' code is loaded with it, as a module is imported, which is none of the task's time.
    body.marks.prepare();
    match inputs.view(body.function_at) {
        Ok(view) => run.load(body.function, view.bytes()),
        Err(_) => exit_now(EXIT_DISCONNECTED),
    }
    body.marks.end_preparing(now_ns());
    run.manner(body.function).unwrap_or(Manner::AtOnce)
}

/// Begins a call that lingers; the input is not needed any more when it has begun.
fn begin(body: &Body, inputs: &ArenaReader, number: usize, run: &mut impl Run) {
    // Should this worker die from here on, none of the items may be taken for one that was not begun.
    body.marks.begin_side_by_side();
    let Body { function, item, first, count, devices, .. } = *body;
    let (attempt, began_ns) = (attempt(body), body.marks.began_ns());
    if body.input.segment == INLINE_SEGMENT {
        run.begin(
            number,
            &Call {
                function,
                input: body.inline_bytes(body.input),
                buffers: inputs,
                item,
                first,
                count,
                attempt,
                devices,
                began_ns,
            },
        );
    } else {
        let Ok(view) = inputs.view(body.input) else { exit_now(EXIT_DISCONNECTED) };
        run.begin(
            number,
            &Call { function, input: view.bytes(), buffers: inputs, item, first, count, attempt, devices, began_ns },
        );
    }
}

/// Starts the thread that hears the parent, and that ends this process group when the parent is gone, whatever the main
/// thread is doing.
fn watch_parent(life_line: Arc<OwnedFd>, parent: Option<OwnedFd>) -> Result<(), Errno> {
    let mut reminder = stops::Reminder::default();
    let watch = move || {
        receive_signal(stack_signal(), true);
        loop {
            reminder.remind_if_due();
            // The parent shuts only its half when it cannot reach this process in any other way.
            let mut watched = vec![PollFd::new(&*life_line, PollFlags::IN | PollFlags::RDHUP)];
            if let Some(parent) = &parent {
                watched.push(PollFd::new(parent, PollFlags::IN));
            }
            let timeout = reminder.until_due().map(|left| Timespec::try_from(left).unwrap_or_default());
            match poll(&mut watched, timeout.as_ref()) {
                Ok(_) if watched[1..].iter().any(|one| !one.revents().is_empty()) => end_group(),
                Ok(_) if watched[0].revents() == PollFlags::IN => hear_parent(&life_line, &mut reminder),
                Ok(_) if !watched[0].revents().is_empty() => end_group(),
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => end_group(),
            }
        }
    };
    spawn_quiet("paceline-watch", SMALL_STACK, watch).map(|_| ())
}

fn hear_parent(life_line: &OwnedFd, reminder: &mut stops::Reminder) {
    let mut buffer = [0; 64];
    match socket::receive(life_line.as_fd(), &mut buffer, false) {
        Ok(Received::Datagram(length, _)) => {
            if let Ok(word) = ToWorker::decode(&buffer[..length]) {
                reminder.note(word);
            }
        }
        Err(Errno::AGAIN) => {}
        Ok(Received::End) | Err(_) => end_group(),
    }
}

fn end_group() -> ! {
    if getpgrp() == getpid() {
        let _ = kill_process_group(getpid(), Signal::KILL);
    }
    let _ = kill_process(getpid(), Signal::KILL);
    exit_now(EXIT_DISCONNECTED)
}

/// Leaves at once, running no clean-up of anybody's.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` takes any code and does not return.
    unsafe { libc::_exit(code) }
}

static FORKED: AtomicBool = AtomicBool::new(false);

extern "C" fn in_fork() {
    FORKED.store(true, Ordering::Relaxed);
}

/// Has this process know when it is a fork of a worker. It may be one itself, made to be a worker of a pool of that one's.
fn watch_forks() {
    FORKED.store(false, Ordering::Relaxed);
    // SAFETY: the handler only stores to an atomic, which is safe in a child of a threaded process.
    unsafe { libc::pthread_atfork(None, None, Some(in_fork)) };
}

/// Ends this process if it is a fork of a worker, made by a task, and back from the task's function: it shares the
/// worker's memory, and only the worker itself may answer.
pub(crate) fn leave_if_forked() {
    if FORKED.load(Ordering::Relaxed) {
        exit_now(0);
    }
}

/// The process id as the system prints it.
pub(crate) fn raw_pid(pid: Pid) -> i32 {
    pid.as_raw_nonzero().get()
}
