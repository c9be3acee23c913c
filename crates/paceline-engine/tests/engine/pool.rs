//! Owns what the tests need to use an engine: opening one, submitting lines of steps, waiting with a deadline.

use crate::worker_program;
use paceline_engine::output::{listen, promise_to_listen};
use paceline_engine::{
    Announce, Death, Engine, FailureWatch, Function, Label, OpenError, Options, Outcome, Part, PartContent, Pending,
    ShownFailure, Sizing, StartMethod, SubmitError, Terms, Tokens, Waited, kind, now_ns,
};
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// No wait of these tests takes longer, or something hangs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Remembers what was announced, by number.
#[derive(Default)]
pub(crate) struct Announced(Mutex<Vec<u64>>, Mutex<Vec<u32>>);

impl Announced {
    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.0.lock().unwrap().clone()
    }

    /// The items whose failures were shown.
    pub(crate) fn shown(&self) -> Vec<u32> {
        self.1.lock().unwrap().clone()
    }
}

struct Announcer(Arc<Announced>);

impl Announce for Announcer {
    fn announce(&self, ended: &mut dyn Iterator<Item = Arc<Pending>>) {
        for pending in ended {
            assert!(pending.is_done());
            let number = pending.take_attachment().unwrap().downcast::<u64>().unwrap();
            need_stack();
            assert_ne!(*number, PANIC, "an announcer that panics, on purpose");
            self.0.0.lock().unwrap().push(*number);
        }
    }

    fn show_failure(&self, failure: &ShownFailure) {
        self.0.1.lock().unwrap().push(failure.item);
    }
}

/// A callback may need as much as it could have on a main thread.
#[expect(clippy::large_stack_arrays, reason = "that is the point")]
fn need_stack() {
    std::hint::black_box([0u8; 1 << 20]);
}

/// A number at which announcing panics.
pub(crate) const PANIC: u64 = u64::MAX;

/// An engine and a function with empty bytes.
pub(crate) struct Pool {
    pub(crate) engine: Engine,
    pub(crate) function: Arc<Function>,
    pub(crate) announced: Arc<Announced>,
}

/// What may be chosen of a pool.
#[derive(Clone, Copy)]
pub(crate) struct Choice<'a> {
    pub(crate) workers: u16,
    pub(crate) chunks_per_worker: u64,
    pub(crate) setup: &'a str,
    /// How many bytes of memory a worker may have; zero for any.
    pub(crate) memory_limit: u64,
    pub(crate) memory_budget: u64,
}

impl Default for Choice<'_> {
    fn default() -> Self {
        Self { workers: 1, chunks_per_worker: 0, setup: "", memory_limit: 0, memory_budget: u64::MAX }
    }
}

impl Pool {
    pub(crate) fn open(workers: u16) -> Self {
        Self::with(Choice { workers, ..Choice::default() })
    }

    pub(crate) fn with(choice: Choice<'_>) -> Self {
        Self::try_with(choice).unwrap()
    }

    pub(crate) fn try_with(choice: Choice<'_>) -> Result<Self, OpenError> {
        Self::try_start(choice, StartMethod::ForkServer(worker_program::command()))
    }

    pub(crate) fn start(workers: u16, start: StartMethod) -> Self {
        Self::try_start(Choice { workers, ..Choice::default() }, start).unwrap()
    }

    pub(crate) fn try_start(choice: Choice<'_>, start: StartMethod) -> Result<Self, OpenError> {
        pass_on_what_workers_say();
        let announced = Arc::<Announced>::default();
        let engine = Engine::open(Options {
            workers: choice.workers,
            memory_limit: choice.memory_limit,
            memory_budget: choice.memory_budget,
            start_timeout_ns: 0,
            tokens: Tokens::default(),
            chunks_per_worker: choice.chunks_per_worker,
            setup: choice.setup.as_bytes().to_vec(),
            prefix_output: false,
            start,
            stopped_looks: 2,
            announce: Box::new(Announcer(Arc::clone(&announced))),
        })?;
        let function = engine.register(b"", "work").unwrap();
        Ok(Self { engine, function, announced })
    }

    pub(crate) fn submit(&self, steps: &str) -> Arc<Pending> {
        self.try_submit(steps).unwrap()
    }

    pub(crate) fn try_submit(&self, steps: &str) -> Result<Arc<Pending>, SubmitError> {
        let pending = Pending::new(None);
        self.engine.submit(&self.function, &item(steps.as_bytes()), Terms::default(), &pending)?;
        Ok(pending)
    }

    pub(crate) fn submit_under(&self, terms: Terms, steps: &str) -> Arc<Pending> {
        let pending = Pending::watched(None, Label::default(), FailureWatch::Core, None);
        self.engine.submit(&self.function, &item(steps.as_bytes()), terms, &pending).unwrap();
        pending
    }

    /// Submits steps that a worker is at when this returns: a job counts as running as soon as a worker has claimed it,
    /// and one that dies before it begins with it costs it nothing.
    pub(crate) fn begin(&self, terms: Terms, steps: &str) -> Arc<Pending> {
        let begun = absent("begun");
        let job = self.submit_under(terms, &format!("once {}; {steps}", begun.display()));
        eventually("it has begun", || begun.exists());
        std::fs::remove_file(begun).unwrap();
        job
    }

    pub(crate) fn submit_many(&self, items: &[String], sizing: Sizing) -> Arc<Pending> {
        let (mut input, mut ends) = (Vec::new(), Vec::new());
        for steps in items {
            input.extend(item(steps.as_bytes()));
            ends.push(input.len() as u64);
        }
        let pending = Pending::new(None);
        self.engine.submit_many(&self.function, &input, ends, sizing, Terms::default(), &pending).unwrap();
        pending
    }

    /// Waits for a job's end, in short slices, as a face does that has signals to look after.
    pub(crate) fn wait(&self, pending: &Arc<Pending>) {
        let deadline = now_ns() + u64::try_from(DEADLINE.as_nanos()).unwrap();
        loop {
            match self.engine.wait(pending, Some(deadline), 100_000_000) {
                Waited::Done => return,
                Waited::Interrupted => {}
                Waited::TimedOut => panic!("a job hangs; workers: {:?}", self.engine.pids()),
            }
        }
    }

    /// The answer to a job of one item.
    pub(crate) fn answer(&self, pending: &Arc<Pending>) -> String {
        let mut answers = self.answers(pending);
        assert_eq!(answers.len(), 1);
        answers.pop().unwrap().unwrap()
    }

    /// What became of each item of a job.
    pub(crate) fn answers(&self, pending: &Arc<Pending>) -> Vec<Result<String, Death>> {
        self.wait(pending);
        read(pending)
    }

    pub(crate) fn run(&self, steps: &str) -> String {
        self.answer(&self.submit(steps))
    }

    pub(crate) fn death(&self, steps: &str) -> Death {
        self.answers(&self.submit(steps)).pop().unwrap().unwrap_err()
    }

    /// Closes, and waits for the end.
    pub(crate) fn finish(self) {
        self.engine.close(false);
        assert!(self.engine.join(DEADLINE), "a closed pool does not end; workers: {:?}", self.engine.pids());
    }

    /// Waits until as many workers live.
    pub(crate) fn await_workers(&self, count: usize) -> Vec<i32> {
        eventually("the workers are born", || self.engine.pids().len() == count);
        self.engine.pids()
    }
}

/// The bytes of one item.
pub(crate) fn item(bytes: &[u8]) -> Vec<u8> {
    let mut item = u32::try_from(bytes.len()).unwrap().to_le_bytes().to_vec();
    item.extend_from_slice(bytes);
    item
}

/// Takes out what became of each item of a job that is complete.
pub(crate) fn read(pending: &Arc<Pending>) -> Vec<Result<String, Death>> {
    let parts = match pending.take_outcome() {
        Some(Outcome::Complete(parts)) => parts,
        other => panic!("the job is not complete: {other:?}"),
    };
    let mut items = Vec::new();
    for Part { first, count, content } in parts.as_slice() {
        assert_eq!(usize::try_from(*first).unwrap(), items.len(), "every item has exactly one outcome");
        match content {
            PartContent::Answer(answer) => {
                items.extend(answer.records().map(|(kind, bytes)| {
                    let text = String::from_utf8(bytes.foreign().to_vec().unwrap()).unwrap();
                    Ok(if kind == kind::DONE { text } else { format!("kind {kind}: {text}") })
                }));
            }
            PartContent::Lost(loss) => items.push(Err(Death::clone(&loss.death))),
        }
        assert_eq!(usize::try_from(first + count).unwrap(), items.len(), "every item has a record");
    }
    items
}

/// What workers write is shown with the test's own output, like the message of one that panics.
fn pass_on_what_workers_say() {
    if promise_to_listen() {
        std::thread::spawn(|| {
            loop {
                for saying in listen() {
                    std::io::stderr().write_all(&saying.bytes).unwrap();
                }
            }
        });
    }
}

/// A path where there is nothing.
pub(crate) fn absent(name: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("paceline-{name}-{}-{number}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

/// What holds up tasks until the test lets them through.
pub(crate) struct Gate(PathBuf);

impl Gate {
    pub(crate) fn new() -> Self {
        Self(absent("gate"))
    }

    /// The step that waits.
    pub(crate) fn step(&self) -> String {
        format!("await {}", self.0.display())
    }

    pub(crate) fn open(&self) {
        std::fs::write(&self.0, "").unwrap();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Waits until something holds.
pub(crate) fn eventually(what: &str, holds: impl FnMut() -> bool) {
    within(DEADLINE, what, holds);
}

/// Waits until something holds, not longer than this.
pub(crate) fn within(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Sends a signal to a process that the test knows to be its own.
pub(crate) fn kill(pid: i32, signal: i32) {
    assert!(pid > 1);
    // SAFETY: a signal to a process of ours.
    unsafe { libc::kill(pid, signal) };
}

/// Whether a process exists and is no zombie.
pub(crate) fn lives(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with(['Z', 'X'])))
}

/// Whether this process runs nothing but this test; if it does not, another one is started that does, and has to succeed.
pub(crate) fn is_alone(test: &str) -> bool {
    const ALONE: &str = "PACELINE_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let mut other = std::process::Command::new(std::env::current_exe().unwrap());
    let output = other.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(ALONE, "1").output().unwrap();
    let told = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success() && told[0].contains("1 passed"), "{}\n{}", told[0], told[1]);
    false
}

/// The parent of a process.
pub(crate) fn parent_of(pid: i32) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit(')').next().unwrap().split_whitespace().nth(1).unwrap().parse().unwrap()
}
