//! Owns the other processes of these tests: the fork server and the workers, which are this very test program, started
//! again. What they run is a small language of steps, one line of text for each item:
//!
//! | step | does |
//! | --- | --- |
//! | `echo TEXT` | answers with the text, behind the function's bytes |
//! | `sleep MS`, `burn MS` | waits, or computes |
//! | `await PATH` | waits until there is such a file |
//! | `big BYTES`, `length` | answers with that many bytes; with the length of the item |
//! | `say TEXT` | writes a line to standard error |
//! | `exit CODE`, `signal NUMBER`, `hang` | ends, or does not |
//! | `once PATH` | makes this file, which must not be there yet |
//! | `fork` | forks; the child comes back from the function as well |
//! | `shell COMMAND` | starts a command and does not wait for it |
//! | `pid` | answers with the worker's process id |
//! | `number` | answers with the item's number in the pool |
//! | `scribble MEMORY PLACES SEED` | writes random bytes into as many places of the table (its words, its bodies) or the worker's own arena |
//! | `babble BYTE COUNT` | sends this message of one byte so often on every socket that the worker has |
//! | `mask` | answers with the signals that are blocked |
//! | `nap MS` | waits, unless it is asked to stop; then the item's outcome is `STOPPED` |
//! | `doze MS` | the same, but it misses the first signal that tells it so |
//! | `fail`, `trip PATH` | fails; fails in a way that may pass, unless there is such a file, which is made |
//! | `eat MB` | takes so much memory, and keeps it |
//! | `retire MB` | has the worker leave after a task when it has more memory than that |
//!
//! Steps of one item are separated by `;`. The set-up bytes are steps too, and `refuse TEXT` refuses to be set up.

use paceline_engine::fork_server::{Served, Side, become_worker, serve, take_socket};
use paceline_engine::start::{ForkedServer, ForkedSide, fork_server};
use paceline_engine::{Answers, Call, ForkServerCommand, Manner, Run, kind, worker};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::HashMap;
use std::ffi::OsString;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const FORK_SERVER: &str = "--be-the-fork-server-of";
const WORKER: &str = "--be-a-worker-of";

/// How this test program is started as a fork server.
pub(crate) fn command() -> ForkServerCommand {
    command_for(FORK_SERVER)
}

/// How this test program is started as a single worker.
pub(crate) fn spawn_command() -> ForkServerCommand {
    command_for(WORKER)
}

fn command_for(role: &str) -> ForkServerCommand {
    ForkServerCommand {
        program: std::env::current_exe().unwrap().into(),
        arguments: vec![role.into(), OsString::from(std::process::id().to_string())],
    }
}

/// Forks a server off this very process, with the threads of the tests in the middle of whatever they do: what the child
/// runs takes no lock that one of them may hold.
pub(crate) fn forked_server() -> ForkedServer {
    let parent = std::process::id().cast_signed();
    match fork_server(&mut fork).unwrap() {
        ForkedSide::Parent(server) => server,
        ForkedSide::Child(socket) => {
            let code = std::panic::catch_unwind(|| be(serve(socket, parent, &mut |_| {}, &mut fork)));
            worker::exit_now(code.unwrap_or(1))
        }
    }
}

/// Runs before `main`, when the test harness has no threads yet, so that a fork server can be single-threaded.
#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = start;

extern "C" fn start() {
    let mut arguments = std::env::args().skip(1);
    let role = arguments.next();
    if let Some(FORK_SERVER | WORKER) = role.as_deref() {
        let parent = arguments.next().and_then(|pid| pid.parse().ok()).expect("whose?");
        std::process::exit(be_started(role.as_deref() == Some(WORKER), parent));
    }
}

fn be_started(is_worker: bool, parent: i32) -> i32 {
    let socket = take_socket().unwrap();
    if is_worker { be(become_worker(socket, parent)) } else { be(serve(socket, parent, &mut |_| {}, &mut fork)) }
}

fn fork() -> Result<Side, rustix::io::Errno> {
    // SAFETY: a fork server has one thread; and see `forked_server`.
    match unsafe { libc::fork() } {
        -1 => Err(rustix::io::Errno::AGAIN),
        0 => Ok(Side::Child),
        pid => Ok(Side::Parent(pid)),
    }
}

fn be(served: Served) -> i32 {
    match served {
        Served::Worker(birth) => worker::work(*birth, &mut TestRun::default()),
        Served::Ended => 0,
    }
}

/// The bytes of a function whose calls linger: an item of it is the path of a file, and ends when that is there. That it
/// has begun is told by another file, at [`begun`].
pub(crate) const LINGERS: &[u8] = b"lingers";

/// The file that is there when a call that lingers has begun.
pub(crate) fn begun(file: &str) -> String {
    format!("{file}.begun")
}

/// How many calls may linger at once.
pub(crate) const MOST_LINGERING: usize = 4;

#[derive(Default)]
struct TestRun {
    functions: HashMap<u64, Vec<u8>>,
    lingering: Vec<(usize, Vec<String>)>,
    /// How many items it has run.
    turns: u64,
}

impl Run for TestRun {
    fn set_up(&mut self, setup: &[u8]) -> Result<(), Vec<u8>> {
        let steps = std::str::from_utf8(setup).unwrap();
        if let Some(reason) = steps.strip_prefix("refuse ") {
            return Err(reason.as_bytes().to_vec());
        }
        // SAFETY: the handler does nothing that a signal handler must not.
        unsafe {
            libc::signal(worker::stop_signal(), note_stop as *const () as usize);
            libc::signal(worker::stack_signal(), libc::SIG_IGN);
        }
        take_steps(steps, b"");
        Ok(())
    }

    fn manner(&self, function: u64) -> Option<Manner> {
        let bytes = self.functions.get(&function)?;
        Some(if bytes == LINGERS { Manner::Lingers } else { Manner::AtOnce })
    }

    fn load(&mut self, function: u64, bytes: &[u8]) {
        assert!(self.functions.insert(function, bytes.to_vec()).is_none(), "a function is loaded once");
    }

    fn run(&mut self, call: &Call<'_>, answers: &mut Answers<'_>) {
        let function = &self.functions[&call.function];
        for (number, item) in (call.item..).zip(items(call)) {
            // Long items are only measured.
            let (kind, answer) = match std::str::from_utf8(&item[..item.len().min(300)]) {
                Ok("number") => (kind::DONE, number.to_string().into_bytes()),
                Ok("turn") => (kind::DONE, self.turns.to_string().into_bytes()),
                Ok(steps) if item.len() < 300 => take_steps(steps, function),
                _ => (kind::DONE, item.len().to_string().into_bytes()),
            };
            self.turns += 1;
            answers.push(kind, &answer).unwrap();
        }
    }

    fn most_lingering(&self) -> usize {
        MOST_LINGERING
    }

    fn begin(&mut self, number: usize, call: &Call<'_>) {
        let files: Vec<_> = items(call).into_iter().map(|item| String::from_utf8(item.to_vec()).unwrap()).collect();
        for file in &files {
            std::fs::write(begun(file), "").unwrap();
        }
        self.lingering.push((number, files));
        assert!(self.lingering.len() <= MOST_LINGERING);
    }

    fn go_on(&mut self, bell: BorrowedFd<'_>, may_wait: bool, ended: &mut Vec<usize>) {
        loop {
            let is_there = |file: &String| std::fs::exists(file).unwrap();
            ended.extend(
                self.lingering.iter().filter(|(_, files)| files.iter().all(is_there)).map(|(number, _)| *number),
            );
            if !may_wait || !ended.is_empty() {
                return;
            }
            let moment = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };
            if poll(&mut [PollFd::new(&bell, PollFlags::IN)], Some(&moment)).unwrap() > 0 {
                return;
            }
        }
    }

    fn settle(&mut self, number: usize, answers: &mut Answers<'_>) {
        let place = self.lingering.iter().position(|one| one.0 == number).unwrap();
        let (_, files) = self.lingering.swap_remove(place);
        for file in files {
            let answer = format!("{} {file}", std::process::id());
            answers.push(0, answer.as_bytes()).unwrap();
        }
    }
}

/// The items of a call, which are all there is in its input.
fn items<'a>(call: &Call<'a>) -> Vec<&'a [u8]> {
    let mut input = call.input;
    let mut items = Vec::new();
    for _ in 0..call.count {
        let (length, rest) = input.split_first_chunk::<4>().unwrap();
        let (item, rest) = rest.split_at(usize::try_from(u32::from_le_bytes(*length)).unwrap());
        input = rest;
        items.push(item);
    }
    assert!(input.is_empty(), "the input holds the items and nothing else");
    items
}

/// Whether something has been asked to stop that a nap has not seen yet.
static STOP: AtomicBool = AtomicBool::new(false);

extern "C" fn note_stop(_: i32) {
    STOP.store(true, Ordering::Relaxed);
}

/// Waits; whether it was asked to stop, and for which item. So many signals that say so are missed.
fn nap(limit: Duration, mut missed: usize) -> Option<u64> {
    let end = Instant::now() + limit;
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(1));
        let is_told = STOP.swap(false, Ordering::Relaxed);
        if is_told && missed > 0 {
            missed -= 1;
        } else if is_told {
            return worker::take_stops().last().map(|stop| stop.item);
        }
    }
    None
}

/// The outcome of some steps, and its kind.
fn take_steps(steps: &str, function: &[u8]) -> (u8, Vec<u8>) {
    let mut answer = Vec::new();
    for step in steps.split(';').map(str::trim).filter(|step| !step.is_empty()) {
        let (verb, rest) = step.split_once(' ').unwrap_or((step, ""));
        let number = || rest.parse::<u64>().unwrap();
        match verb {
            "echo" => {
                answer.extend_from_slice(function);
                answer.extend_from_slice(rest.as_bytes());
            }
            "sleep" => std::thread::sleep(Duration::from_millis(number())),
            "burn" => {
                let end = Instant::now() + Duration::from_millis(number());
                while Instant::now() < end {
                    std::hint::black_box(0);
                }
            }
            "await" => {
                while !std::path::Path::new(rest).exists() {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            "nap" | "doze" => {
                let missed = usize::from(verb == "doze");
                if let Some(item) = nap(Duration::from_millis(number()), missed) {
                    return (kind::STOPPED, item.to_string().into_bytes());
                }
            }
            "fail" => return (kind::FAILED, answer),
            "trip" if std::fs::File::create_new(rest).is_ok() => return (kind::MAY_PASS, answer),
            "trip" => {}
            "retire" => worker::retire_above(number() << 20),
            "eat" => std::mem::forget(vec![1_u8; usize::try_from(number()).unwrap() << 20]),
            "big" => answer.resize(usize::try_from(number()).unwrap(), b'x'),
            "once" => drop(std::fs::File::create_new(rest).expect("an item is run a second time")),
            "shell" => {
                // The first shell ends at once, and leaves the other to nobody.
                let command = format!("setsid sh -c '{rest}' &");
                assert!(std::process::Command::new("sh").args(["-c", &command]).status().unwrap().success());
            }
            "say" => eprintln!("{rest}"),
            "exit" => std::process::exit(rest.parse().unwrap()),
            "signal" => send_signal(rest.parse().unwrap()),
            "hang" => loop {
                std::thread::park();
            },
            "pid" => answer.extend_from_slice(std::process::id().to_string().as_bytes()),
            "scribble" => scribble(rest),
            "babble" => babble(rest),
            "mask" => answer.extend_from_slice(blocked_signals().as_bytes()),
            // SAFETY: the child only comes back from the function, which ends it.
            "fork" => assert!(unsafe { libc::fork() } >= 0),
            _ => panic!("there is no step `{step}`"),
        }
    }
    (kind::DONE, answer)
}

fn send_signal(number: i32) {
    // SAFETY: signals of one's own choice, to oneself.
    unsafe {
        libc::signal(number, libc::SIG_DFL);
        libc::kill(libc::getpid(), number);
    }
    std::thread::sleep(Duration::from_secs(5));
}

/// What code that runs wild does to the sockets by which this process is heard; neither waits nor fails.
fn babble(how: &str) {
    let (byte, count) = how.split_once(' ').unwrap();
    let message = [byte.parse::<u8>().unwrap()];
    for _ in 0..count.parse().unwrap() {
        for descriptor in 3..64 {
            // SAFETY: one byte is sent, or an error comes back.
            unsafe { libc::send(descriptor, message.as_ptr().cast(), 1, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
        }
    }
}

/// What code that runs wild does to the memory that this process shares with others.
fn scribble(how: &str) {
    let [memory, places, seed] = *how.split(' ').collect::<Vec<_>>() else { panic!("how to scribble? {how}") };
    let mut state: u64 = seed.parse().unwrap();
    let mut random = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    let file = if memory == "arena" { "memfd:paceline-results" } else { "memfd:paceline-table" };
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mapped: Vec<(usize, usize)> = maps
        .lines()
        .filter(|line| line.contains(file) && line.contains(" rw-s "))
        .map(|line| {
            let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
            (usize::from_str_radix(start, 16).unwrap(), usize::from_str_radix(end, 16).unwrap())
        })
        .collect();
    assert!(!mapped.is_empty(), "{maps}");
    for _ in 0..places.parse().unwrap() {
        let pick = |random: u64, of: usize| usize::try_from(random % of as u64).unwrap();
        let (start, end) = mapped[pick(random(), mapped.len())];
        // What is mapped ends with a whole page, behind the table.
        let slots = (start + size_of::<paceline_ipc::TaskTable>()).saturating_sub(1_024 * 512);
        let place = match memory {
            // The first of the words before the slots; the state words; anything.
            "hints" => start + pick(random(), 10) * 64 + pick(random(), 16) * 8,
            "words" => slots + pick(random(), 1_024) * 512,
            _ => start + pick(random(), (end - start) / 8) * 8,
        };
        let bytes = random().to_le_bytes();
        for (number, byte) in bytes.iter().take(pick(random(), 8) + 1).enumerate() {
            // SAFETY: none at all; that is the point. The memory is mapped, and nobody's references are to it.
            unsafe { (place as *mut u8).add(number).write_volatile(*byte) };
        }
    }
}

fn blocked_signals() -> String {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
    line.trim().to_owned()
}
