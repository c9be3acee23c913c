//! Owns what a worker does in order to be heard beside writing: it sends its log records to the parent, and leaves a sign
//! in the table when it has printed or logged something. Never knows what a record holds.

use crate::worker::MappedTable;
use paceline_ipc::message::LONGEST;
use paceline_ipc::socket;
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;

static LINE: OnceLock<OwnedFd> = OnceLock::new();
static TABLE: OnceLock<&'static MappedTable> = OnceLock::new();

/// This process is a worker, and this is its line.
pub(crate) fn adopt(line: OwnedFd) {
    let _ = LINE.set(line);
}

/// This process is a worker, and this is its table.
pub(crate) fn adopt_table(table: &'static MappedTable) {
    let _ = TABLE.set(table);
}

/// Tells the parent that there is something to be heard, before it takes the result of the task.
pub fn note_speech() {
    if let Some(table) = TABLE.get() {
        table.note_speech();
    }
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
    note_speech();
    Ok(())
}
