//! What workers are doing, as they write it down when they are asked to: read from the pipe that each has for that. Never
//! asks by itself, and never reads what is written.

use super::{House, Life, current};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

/// No more is kept of what one worker writes down.
const MOST_KEPT: usize = 256 << 10;
/// What is there to be read is read in so many steps; whoever writes faster than it is read is not heard out. No pipe of
/// the usual size holds as much.
const MOST_READS: usize = 64;
/// A worker that has been silent for so long has written down all.
const SILENCE: Duration = Duration::from_millis(20);

/// What one worker is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// Its process id.
    pub pid: i32,
    /// In the words of whoever runs the tasks; empty if it did not answer.
    pub text: String,
}

/// A worker that was asked, and where it answers.
pub(super) struct Asked {
    pid: i32,
    pipe: OwnedFd,
}

impl Life {
    /// Throws away what was written down before.
    pub(super) fn forget_stacks(&mut self) {
        let _ = self.read_stacks();
    }

    /// What the worker has written down.
    pub(super) fn read_stacks(&mut self) -> String {
        String::from_utf8_lossy(&read_all(&self.stacks)).into_owned()
    }
}

/// Reads what is there.
fn read_all(pipe: &OwnedFd) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..MOST_READS {
        if !read_some(pipe, &mut bytes) {
            break;
        }
    }
    bytes
}

/// Reads what is there; whether there may be more.
fn read_some(pipe: &OwnedFd, bytes: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 4096];
    match rustix::io::read(pipe.as_fd(), &mut buffer) {
        Ok(0) => false,
        Ok(length) => {
            bytes.extend_from_slice(&buffer[..length.min(MOST_KEPT.saturating_sub(bytes.len()))]);
            true
        }
        Err(Errno::INTR) => true,
        Err(_) => false,
    }
}

impl House {
    /// Asks all workers at once what they are doing, or one of them.
    pub(super) fn ask_for_stacks(&mut self, pid: Option<i32>, done: &Sender<Vec<Asked>>) {
        let mut asked = Vec::new();
        let is_meant = |life: &&mut Life| life.pid != 0 && pid.is_none_or(|pid| life.pid == pid);
        for life in self.lives.values_mut().filter(is_meant) {
            if let Ok(pipe) = life.stacks.as_fd().try_clone_to_owned() {
                life.forget_stacks();
                life.ask_for_stacks();
                asked.push(Asked { pid: life.pid, pipe });
            }
        }
        let _ = done.send(asked);
    }
}

/// What every worker of this process is doing, or the one with this process id, each in its own words; waits for at most
/// `patience` for those that do not answer.
#[must_use]
pub fn worker_stacks(patience: Duration, pid: Option<i32>) -> Vec<Stack> {
    let Some(supervisor) = current() else { return Vec::new() };
    let deadline = Instant::now() + patience;
    let (done, asked) = channel();
    supervisor.request(super::Request::Stacks(pid, done));
    let asked = asked.recv_timeout(patience).unwrap_or_default();
    asked.into_iter().map(|asked| Stack { pid: asked.pid, text: answer_of(&asked.pipe, deadline) }).collect()
}

fn answer_of(pipe: &OwnedFd, deadline: Instant) -> String {
    let mut bytes = Vec::new();
    // What comes in small pieces may need many reads; they end with the time, or when nothing more would be kept.
    let mut is_last = false;
    while !is_last && bytes.len() < MOST_KEPT {
        let left = deadline.saturating_duration_since(Instant::now());
        is_last = left.is_zero();
        let patience = if bytes.is_empty() { left } else { left.min(SILENCE) };
        let timeout = Timespec::try_from(patience).unwrap_or_default();
        match poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&timeout)) {
            Err(Errno::INTR) => {}
            Ok(1) if read_some(pipe, &mut bytes) => {}
            Ok(_) | Err(_) => break,
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pipe::{PipeFlags, pipe_with};
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn whoever_writes_without_end_is_not_heard_out() {
        let (pipe, theirs) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        let _ = rustix::io::write(&theirs, &[b'x'; 4096]);
                    }
                });
            }
            let begin = Instant::now();
            let at_once = read_all(&pipe);
            let patiently = answer_of(&pipe, Instant::now() + Duration::from_millis(200));
            let too_late = answer_of(&pipe, begin);
            let took = begin.elapsed();
            // A test that fails before has writers that never end.
            is_over.store(true, Ordering::Relaxed);
            assert!(at_once.len() <= MOST_KEPT && took.as_secs() < 10);
            assert!((1..=MOST_KEPT).contains(&patiently.len()));
            assert!(too_late.len() <= 4096, "there is one look when the time is over");
        });
    }
}
