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
        let mut bytes = Vec::new();
        while read_some(&self.stacks, &mut bytes) {}
        String::from_utf8_lossy(&bytes).into_owned()
    }
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
    /// Asks all workers at once what they are doing.
    pub(super) fn ask_all_for_stacks(&mut self, done: &Sender<Vec<Asked>>) {
        let mut asked = Vec::new();
        for life in self.lives.values_mut().filter(|life| life.pid != 0) {
            if let Ok(pipe) = life.stacks.as_fd().try_clone_to_owned() {
                life.forget_stacks();
                life.ask_for_stacks();
                asked.push(Asked { pid: life.pid, pipe });
            }
        }
        let _ = done.send(asked);
    }
}

/// What every worker of this process is doing, each in its own words; waits for at most `patience` for those that do not
/// answer.
#[must_use]
pub fn worker_stacks(patience: Duration) -> Vec<Stack> {
    let Some(supervisor) = current() else { return Vec::new() };
    let deadline = Instant::now() + patience;
    let (done, asked) = channel();
    supervisor.request(super::Request::Stacks(done));
    let asked = asked.recv_timeout(patience).unwrap_or_default();
    asked.into_iter().map(|asked| Stack { pid: asked.pid, text: answer_of(&asked.pipe, deadline) }).collect()
}

fn answer_of(pipe: &OwnedFd, deadline: Instant) -> String {
    let mut bytes = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let patience = if bytes.is_empty() { left } else { left.min(SILENCE) };
        let timeout = Timespec::try_from(patience).unwrap_or_default();
        match poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&timeout)) {
            Err(Errno::INTR) => {}
            Ok(1) if read_some(pipe, &mut bytes) => {}
            Ok(_) | Err(_) => return String::from_utf8_lossy(&bytes).into_owned(),
        }
    }
}
