//! Owns what workers write to their standard error: it reaches the parent's a whole line at a time, and the end of it
//! is kept, to be told should the worker die. Never reads anything but those pipes.

use rustix::io::Errno;
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How much of a worker's last output is kept.
const KEPT_BYTES: usize = 4 << 10;
/// An unfinished line of this length is passed on as it is.
const LONGEST_LINE: usize = 64 << 10;
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

    /// Reads what is there, without waiting; whether more may come.
    pub(crate) fn listen(&mut self) -> bool {
        let mut buffer = [0; 16 << 10];
        loop {
            match rustix::io::read(self.pipe.as_fd(), &mut buffer) {
                Ok(0) => return false,
                Ok(length) => self.hear(&buffer[..length]),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return true,
                Err(_) => return false,
            }
            if is_backed_up() {
                return true;
            }
        }
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.kept.extend(bytes);
        let surplus = self.kept.len().saturating_sub(KEPT_BYTES);
        self.kept.drain(..surplus);
        self.line.extend_from_slice(bytes);
        let whole = self.line.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let whole = if self.line.len() - whole > LONGEST_LINE { self.line.len() } else { whole };
        if whole > 0 {
            print(self.line.drain(..whole).collect());
        }
    }

    /// The worker is gone: prints what is left, and gives its last lines.
    pub(crate) fn end(mut self) -> String {
        while self.listen() && is_backed_up() {
            // The printer is slow; a dead worker's pipe holds no more than the system lets it.
            if rustix::io::ioctl_fionread(&self.pipe).map_or(true, |left| left == 0) {
                break;
            }
        }
        if !self.line.is_empty() {
            self.line.push(b'\n');
            print(std::mem::take(&mut self.line));
        }
        let cut = self.kept.len() == KEPT_BYTES;
        let kept = String::from_utf8_lossy(self.kept.make_contiguous()).into_owned();
        match (cut, kept.find('\n')) {
            (true, Some(end)) => kept[end + 1..].trim_end().to_owned(),
            _ => kept.trim_end().to_owned(),
        }
    }
}

struct Printer {
    queue: Mutex<Option<Sender<Vec<u8>>>>,
    backlog: AtomicUsize,
    generation: AtomicUsize,
    printed: Condvar,
    waiting: Mutex<()>,
}

static PRINTER: Printer = Printer {
    queue: Mutex::new(None),
    backlog: AtomicUsize::new(0),
    generation: AtomicUsize::new(0),
    printed: Condvar::new(),
    waiting: Mutex::new(()),
};

/// Whether so much waits to be printed that no more should be read.
pub(crate) fn is_backed_up() -> bool {
    PRINTER.backlog.load(Ordering::Relaxed) > BACKLOG_LIMIT
}

/// Prints on a thread of its own, so that a standard error that blocks holds up nothing but workers' output.
fn print(bytes: Vec<u8>) {
    let mut queue = PRINTER.queue.lock().unwrap_or_else(PoisonError::into_inner);
    let generation = crate::fork_guard::generation() as usize;
    if PRINTER.generation.swap(generation, Ordering::Relaxed) != generation {
        // A forked child has not inherited the thread.
        *queue = None;
        PRINTER.backlog.store(0, Ordering::Relaxed);
    }
    if queue.is_none() {
        let (sender, receiver) = channel::<Vec<u8>>();
        let started = crate::threads::spawn_quiet("paceline-output", move || {
            for bytes in receiver {
                write_all(&bytes);
                PRINTER.backlog.fetch_sub(bytes.len(), Ordering::Relaxed);
                drop(PRINTER.waiting.lock());
                PRINTER.printed.notify_all();
            }
        });
        if started.is_err() {
            return write_all(&bytes);
        }
        *queue = Some(sender);
    }
    PRINTER.backlog.fetch_add(bytes.len(), Ordering::Relaxed);
    if let Some(queue) = &*queue {
        let _ = queue.send(bytes);
    }
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
    let waiting = PRINTER.waiting.lock().unwrap_or_else(PoisonError::into_inner);
    let unprinted = |(): &mut ()| PRINTER.backlog.load(Ordering::Relaxed) > 0;
    let _ = PRINTER.printed.wait_timeout_while(waiting, patience, unprinted);
}
