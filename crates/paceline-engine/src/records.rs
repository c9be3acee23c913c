//! Owns the worker's end of the line on which its log records reach the parent. Never knows what a record holds.

use paceline_ipc::message::LONGEST;
use paceline_ipc::socket;
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;

static LINE: OnceLock<OwnedFd> = OnceLock::new();

/// This process is a worker, and this is its line.
pub(crate) fn adopt(line: OwnedFd) {
    let _ = LINE.set(line);
}

/// Sends a record to the parent; waits while many that were sent before have not been read.
///
/// # Errors
/// `BADF` in a process that is no worker; else what the system says.
pub fn send_record(record: &[u8]) -> Result<(), Errno> {
    let line = LINE.get().ok_or(Errno::BADF)?;
    let mut parts = record.chunks(LONGEST - 1).peekable();
    while let Some(part) = parts.next() {
        let mut datagram = Vec::with_capacity(part.len() + 1);
        datagram.push(u8::from(parts.peek().is_some()));
        datagram.extend_from_slice(part);
        socket::send(line.as_fd(), &datagram, &[])?;
    }
    Ok(())
}
