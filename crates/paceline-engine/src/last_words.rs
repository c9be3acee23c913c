//! Owns what workers write to their standard error: it reaches the parent's a whole line at a time, and the end of it
//! is kept, to be told should the worker die. Never reads anything but those pipes.

use crate::fork_guard::generation;
use crate::threads::{SMALL_STACK, spawn_quiet};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How much of a worker's last output is kept.
const KEPT_BYTES: usize = 4 << 10;
/// An unfinished line of this length is passed on as it is.
const LONGEST_LINE: usize = 64 << 10;
/// How often one pipe is read before others have their turn; as much as a pipe usually holds.
const READS_AT_ONCE: usize = 8;
/// While this much waits to be printed, workers' pipes are left to fill.
const BACKLOG_LIMIT: usize = 1 << 20;

/// The pipe of one worker's standard error.
#[derive(Debug)]
pub(crate) struct LastWords {
    pipe: OwnedFd,
    line: Vec<u8>,
    kept: VecDeque<u8>,
}

impl LastWords {
    pub(crate) fn new(pipe: OwnedFd) -> Self {
        Self { pipe, line: Vec::new(), kept: VecDeque::new() }
    }

    pub(crate) fn pipe(&self) -> &OwnedFd {
        &self.pipe
    }

    /// Reads what is there, without waiting, but not for ever; whether more may come.
    pub(crate) fn listen(&mut self) -> bool {
        let mut buffer = [0; 16 << 10];
        for _ in 0..READS_AT_ONCE {
            match rustix::io::read(self.pipe.as_fd(), &mut buffer) {
                Ok(0) => return false,
                Ok(length) => self.hear(&buffer[..length]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return true,
                Err(_) => return false,
            }
        }
        true
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.kept.extend(bytes);
        let surplus = self.kept.len().saturating_sub(KEPT_BYTES);
        self.kept.drain(..surplus);
        self.line.extend_from_slice(bytes);
        let whole = self.line.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let whole = if self.line.len() - whole > LONGEST_LINE { self.line.len() } else { whole };
        if whole > 0 {
            Printer::of_this_process().print(self.line.drain(..whole).collect());
        }
    }

    /// The worker is gone: prints what is left, and gives its last lines.
    pub(crate) fn end(mut self) -> String {
        // A child that it has left behind may go on writing, and is not to be heard out.
        self.listen();
        if !self.line.is_empty() {
            self.line.push(b'\n');
            Printer::of_this_process().print(std::mem::take(&mut self.line));
        }
        let cut = self.kept.len() == KEPT_BYTES;
        let kept = String::from_utf8_lossy(self.kept.make_contiguous()).into_owned();
        match (cut, kept.find('\n')) {
            (true, Some(end)) => kept[end + 1..].trim_end().to_owned(),
            _ => kept.trim_end().to_owned(),
        }
    }
}

/// Prints on a thread of its own, so that a standard error that blocks holds up nothing but workers' output.
struct Printer {
    generation: u32,
    queue: Mutex<Option<Sender<Vec<u8>>>>,
    backlog: AtomicUsize,
    printed: Condvar,
    waiting: Mutex<()>,
}

static CURRENT: AtomicPtr<Printer> = AtomicPtr::new(std::ptr::null_mut());

impl Printer {
    /// The one of this process. A forked child gets one of its own: it has not inherited the thread, and the locks may
    /// be held by threads that it has not inherited either.
    fn of_this_process() -> &'static Self {
        let generation = generation();
        loop {
            let current = CURRENT.load(Ordering::Acquire);
            // SAFETY: what was once stored is never freed.
            if let Some(printer) = unsafe { current.as_ref() }
                && printer.generation == generation
            {
                return printer;
            }
            let mut new = Box::new(Self {
                generation,
                queue: Mutex::new(None),
                backlog: AtomicUsize::new(0),
                printed: Condvar::new(),
                waiting: Mutex::new(()),
            });
            if CURRENT.compare_exchange(current, &raw mut *new, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return Box::leak(new);
            }
        }
    }

    fn print(&'static self, bytes: Vec<u8>) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.is_none() {
            let (sender, receiver) = channel::<Vec<u8>>();
            if spawn_quiet("paceline-output", SMALL_STACK, move || self.keep(&receiver)).is_err() {
                return write_all(&bytes);
            }
            *queue = Some(sender);
        }
        self.backlog.fetch_add(bytes.len(), Ordering::Relaxed);
        if let Some(queue) = &*queue {
            let _ = queue.send(bytes);
        }
    }

    fn keep(&self, queue: &Receiver<Vec<u8>>) {
        for bytes in queue {
            write_all(&bytes);
            self.backlog.fetch_sub(bytes.len(), Ordering::Relaxed);
            drop(self.waiting.lock());
            self.printed.notify_all();
        }
    }
}

/// Whether so much waits to be printed that no more should be read.
pub(crate) fn is_backed_up() -> bool {
    Printer::of_this_process().backlog.load(Ordering::Relaxed) > BACKLOG_LIMIT
}

fn write_all(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match rustix::io::write(rustix::stdio::stderr(), bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// Waits, for a while at most, until what workers wrote has been printed.
pub fn flush(patience: Duration) {
    let printer = Printer::of_this_process();
    let waiting = printer.waiting.lock().unwrap_or_else(PoisonError::into_inner);
    let unprinted = |(): &mut ()| printer.backlog.load(Ordering::Relaxed) > 0;
    let _ = printer.printed.wait_timeout_while(waiting, patience, unprinted);
}
