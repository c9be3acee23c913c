//! Owns what one worker says: it is read from the pipes of its standard output and standard error, and passed on a
//! whole line at a time, and from the socket of its log records; the end of what it wrote to standard error is kept, to
//! be told should the worker die. Never decides when to read.

use crate::output::{Voice, say};
use paceline_ipc::message::LONGEST;
use paceline_ipc::socket::{self, Received};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};

/// How much of a worker's last output is kept.
const KEPT_BYTES: usize = 16 << 10;
/// An unfinished line of this length is passed on as it is.
const LONGEST_LINE: usize = 64 << 10;
/// How often one pipe is read before others have their turn; more than a pipe usually holds.
const READS_AT_ONCE: usize = 8;
/// How many records are read before others have their turn; more than a socket usually holds.
const RECORDS_AT_ONCE: usize = 1024;
/// A record longer than this is dropped: nothing that a worker sends may fill the parent's memory.
const LONGEST_RECORD: usize = 64 << 20;

/// Begins a line to which the worker itself has added the prefix.
pub(crate) const PREFIXED: u8 = 0x1e;

/// What a new worker is given to speak with.
pub(crate) struct Mouth {
    pub(crate) output: OwnedFd,
    pub(crate) errors: OwnedFd,
    pub(crate) records: OwnedFd,
}

/// All that a worker says.
pub(crate) struct Words {
    output: Lines,
    errors: Lines,
    records: Records,
}

impl Words {
    /// The two sides; `prefixed` lines begin with the worker's process id.
    pub(crate) fn new(prefixed: bool) -> Result<(Self, Mouth), Errno> {
        let pipe = || {
            let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
            rustix::fs::fcntl_setfl(&ours, rustix::fs::OFlags::NONBLOCK)?;
            Ok((ours, theirs))
        };
        let (output, their_output) = pipe()?;
        let (errors, their_errors) = pipe()?;
        let (records, their_records) = socket::pair()?;
        let words = Self {
            output: Lines::new(Voice::Output, output, prefixed),
            errors: Lines::new(Voice::Errors, errors, prefixed),
            records: Records { socket: records, unfinished: Vec::new() },
        };
        Ok((words, Mouth { output: their_output, errors: their_errors, records: their_records }))
    }

    /// The descriptor of one voice.
    pub(crate) fn ear(&self, voice: Voice) -> &OwnedFd {
        match voice {
            Voice::Output => &self.output.pipe,
            Voice::Errors => &self.errors.pipe,
            Voice::Record => &self.records.socket,
        }
    }

    /// The descriptors of all voices.
    pub(crate) fn ears(&self) -> [&OwnedFd; 3] {
        [Voice::Output, Voice::Errors, Voice::Record].map(|voice| self.ear(voice))
    }

    /// Whether lines begin with the worker's process id.
    pub(crate) fn are_prefixed(&self) -> bool {
        self.output.prefixed
    }

    /// Reads what is there of one voice, without waiting, but not for ever; whether more may come.
    pub(crate) fn listen(&mut self, voice: Voice, pid: i32) -> bool {
        match voice {
            Voice::Output => self.output.listen(pid),
            Voice::Errors => self.errors.listen(pid),
            Voice::Record => self.records.listen(),
        }
    }

    /// Reads what is there of all voices.
    pub(crate) fn listen_to_all(&mut self, pid: i32) {
        for voice in [Voice::Output, Voice::Errors, Voice::Record] {
            self.listen(voice, pid);
        }
    }

    /// Passes on what is no whole line yet as one.
    pub(crate) fn end_lines(&mut self, pid: i32) {
        self.output.end_line(pid);
        self.errors.end_line(pid);
    }

    /// The worker is gone: passes on what is left, and gives its last lines.
    pub(crate) fn last_words_at_end(&mut self, pid: i32) -> String {
        // A child that it has left behind may go on writing, and is not to be heard out.
        self.listen_to_all(pid);
        self.end_lines(pid);
        self.errors.last_words()
    }
}

/// For attacks.
#[cfg(any(test, feature = "hostile"))]
impl Words {
    /// As if this had been read.
    pub(crate) fn hear(&mut self, voice: Voice, bytes: &[u8], pid: i32) {
        match voice {
            Voice::Output => self.output.hear(bytes, pid),
            Voice::Errors => self.errors.hear(bytes, pid),
            Voice::Record => self.records.hear(bytes),
        }
    }

    /// How much is kept until more comes.
    pub(crate) fn unfinished_bytes(&self) -> usize {
        self.output.unfinished.len() + self.errors.unfinished.len() + self.records.unfinished.len()
    }
}

/// One pipe of text.
struct Lines {
    voice: Voice,
    pipe: OwnedFd,
    prefixed: bool,
    /// What comes next goes on with a line the beginning of which has been passed on.
    is_within_line: bool,
    unfinished: Vec<u8>,
    kept: VecDeque<u8>,
}

impl Lines {
    fn new(voice: Voice, pipe: OwnedFd, prefixed: bool) -> Self {
        Self { voice, pipe, prefixed, is_within_line: false, unfinished: Vec::new(), kept: VecDeque::new() }
    }

    fn listen(&mut self, pid: i32) -> bool {
        let mut buffer = [0; 16 << 10];
        for _ in 0..READS_AT_ONCE {
            match rustix::io::read(self.pipe.as_fd(), &mut buffer) {
                Ok(0) => return false,
                Ok(length) => self.hear(&buffer[..length], pid),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return true,
                Err(_) => return false,
            }
        }
        true
    }

    fn hear(&mut self, bytes: &[u8], pid: i32) {
        if self.voice == Voice::Errors {
            self.kept.extend(bytes);
            let surplus = self.kept.len().saturating_sub(KEPT_BYTES);
            self.kept.drain(..surplus);
        }
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        if whole > 0 {
            self.unfinished.extend_from_slice(&bytes[..whole]);
            let lines = std::mem::take(&mut self.unfinished);
            self.pass_on(&lines, pid);
        }
        self.unfinished.extend_from_slice(&bytes[whole..]);
        if self.unfinished.len() > LONGEST_LINE {
            let rest = self.unfinished.split_off(end_of_text(&self.unfinished));
            let part = std::mem::replace(&mut self.unfinished, rest);
            self.pass_on(&part, pid);
        }
    }

    fn pass_on(&mut self, lines: &[u8], pid: i32) {
        let mut is_within_line = std::mem::replace(&mut self.is_within_line, !lines.ends_with(b"\n"));
        if !self.prefixed {
            return say(self.voice, lines);
        }
        let mut text = Vec::with_capacity(lines.len() + 64);
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let from_task = line.strip_prefix(&[PREFIXED]);
            if from_task.is_none() && !is_within_line {
                text.extend_from_slice(format!("[{pid}] ").as_bytes());
            }
            text.extend_from_slice(from_task.unwrap_or(line));
            is_within_line = false;
        }
        say(self.voice, &text);
    }

    fn end_line(&mut self, pid: i32) {
        if self.is_within_line || !self.unfinished.is_empty() {
            self.unfinished.push(b'\n');
            let line = std::mem::take(&mut self.unfinished);
            self.pass_on(&line, pid);
        }
    }

    fn last_words(&mut self) -> String {
        let cut = self.kept.len() == KEPT_BYTES;
        let kept: Vec<u8> = self.kept.iter().copied().filter(|byte| *byte != PREFIXED).collect();
        let kept = String::from_utf8_lossy(&kept).into_owned();
        match (cut, kept.find('\n')) {
            (true, Some(end)) => kept[end + 1..].trim_end().to_owned(),
            _ => kept.trim_end().to_owned(),
        }
    }
}

/// Where a text can be cut without cutting a character of it.
fn end_of_text(bytes: &[u8]) -> usize {
    let longest_character = 4;
    let is_start = |byte: u8| byte & 0b1100_0000 != 0b1000_0000;
    let tail = bytes.iter().rev().take(longest_character).position(|byte| is_start(*byte));
    match tail {
        Some(back) if bytes[bytes.len() - 1 - back] >= 0b1100_0000 => bytes.len() - 1 - back,
        _ => bytes.len(),
    }
}

/// The socket of log records. A datagram is a record, or a part of one that is not the last: its first byte tells.
struct Records {
    socket: OwnedFd,
    unfinished: Vec<u8>,
}

impl Records {
    fn listen(&mut self) -> bool {
        let mut buffer = vec![0; LONGEST];
        for _ in 0..RECORDS_AT_ONCE {
            match socket::receive(self.socket.as_fd(), &mut buffer, false) {
                Ok(Received::Datagram(length, _)) => self.hear(&buffer[..length]),
                Err(Errno::AGAIN) => return true,
                Ok(Received::End) | Err(_) => return false,
            }
        }
        true
    }

    fn hear(&mut self, datagram: &[u8]) {
        let Some((more, part)) = datagram.split_first() else { return };
        if self.unfinished.len() <= LONGEST_RECORD {
            self.unfinished.extend_from_slice(part);
        }
        if *more == 0 {
            let record = std::mem::take(&mut self.unfinished);
            if record.len() <= LONGEST_RECORD {
                say(Voice::Record, &record);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::end_of_text;

    #[test]
    fn text_is_not_cut_within_a_character() {
        assert_eq!(end_of_text(b"abc"), 3);
        assert_eq!(end_of_text("abé".as_bytes()), 2);
        assert_eq!(end_of_text(&"ab€".as_bytes()[..4]), 2);
        assert_eq!(end_of_text(&[0x80; 8]), 8);
        assert_eq!(end_of_text(b""), 0);
    }
}
