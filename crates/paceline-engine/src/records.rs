//! Owns what a worker does in order to be heard beside writing: it sends its log records to the parent, and leaves a sign
//! in the table when it has printed or logged something. Never knows what a record holds.

use crate::worker::MappedTable;
use paceline_ipc::message::LONGEST;
use paceline_ipc::socket;
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicPtr, Ordering};

static LINE: AtomicPtr<OwnedFd> = AtomicPtr::new(std::ptr::null_mut());
static TABLE: AtomicPtr<MappedTable> = AtomicPtr::new(std::ptr::null_mut());

/// This process is a worker, and this is its line. If it was forked from another worker, that one's line is closed.
pub(crate) fn adopt(line: OwnedFd) {
    let before = LINE.swap(Box::into_raw(Box::new(line)), Ordering::AcqRel);
    if !before.is_null() {
        // SAFETY: it came from a box of this function's, and a process that is just becoming a worker has no other
        // thread that could be sending on it.
        drop(unsafe { Box::from_raw(before) });
    }
}

/// This process is a worker, and this is its table.
pub(crate) fn adopt_table(table: &'static MappedTable) {
    TABLE.store(std::ptr::from_ref(table).cast_mut(), Ordering::Release);
}

/// Tells the parent that there is something to be heard, before it takes the result of the task.
pub fn note_speech() {
    // SAFETY: a table that was once adopted lives as long as the process.
    if let Some(table) = unsafe { TABLE.load(Ordering::Acquire).as_ref() } {
        table.note_speech();
    }
}

/// Sends a record to the parent; waits while many that were sent before have not been read.
///
/// # Errors
/// `BADF` in a process that is no worker; else what the system says.
pub fn send_record(record: &[u8]) -> Result<(), Errno> {
    // SAFETY: it is replaced only where a process becomes a worker, which happens before anything is sent.
    let line = unsafe { LINE.load(Ordering::Acquire).as_ref() }.ok_or(Errno::BADF)?;
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
