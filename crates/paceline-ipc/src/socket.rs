//! Owns the socket pairs on which control messages and file descriptors travel. Datagrams keep their bounds and their
//! order; end of file means that the other side is gone. Never knows a message's meaning.

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{BorrowedFd, OwnedFd};

/// The most descriptors that ride on one message.
pub const MOST_DESCRIPTORS: usize = 9;

/// A pair of connected sockets, closed on exec.
///
/// # Errors
/// What the system says when it refuses.
pub fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// Sends one datagram with descriptors.
///
/// # Errors
/// `PIPE` or `CONNRESET` when the other side is gone; else what the system says.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::INVAL);
    }
    loop {
        match sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Sends one datagram if the other side has room for it.
///
/// # Errors
/// `AGAIN` if it has none; else as [`send`].
pub fn try_send(socket: BorrowedFd<'_>, bytes: &[u8]) -> Result<(), Errno> {
    loop {
        match rustix::net::send(socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// What arrived: a datagram with its descriptors, or the end.
#[derive(Debug)]
pub enum Received {
    /// A datagram of this many bytes.
    Datagram(usize, Vec<OwnedFd>),
    /// The other side is gone.
    End,
}

/// Receives one datagram into `buffer`.
///
/// # Errors
/// `AGAIN` when `wait` is false and there is none; else what the system says. A reset connection is an end.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8], wait: bool) -> Result<Received, Errno> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = if wait { RecvFlags::CMSG_CLOEXEC } else { RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT };
    let length = loop {
        match recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut ancillary, flags) {
            Ok(message) => break message.bytes,
            Err(Errno::INTR) => {}
            Err(Errno::CONNRESET) => return Ok(Received::End),
            Err(errno) => return Err(errno),
        }
    };
    let descriptors = ancillary
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    // No message of ours is empty.
    if length == 0 { Ok(Received::End) } else { Ok(Received::Datagram(length, descriptors)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_descriptor_rides_along_and_a_closed_end_is_seen() {
        let (one, two) = pair().unwrap();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        send(one.as_fd(), b"take it", &[writer.as_fd()]).unwrap();
        drop(writer);
        let mut buffer = [0; 64];
        let Received::Datagram(length, descriptors) = receive(two.as_fd(), &mut buffer, true).unwrap() else {
            panic!("the other side is not gone");
        };
        assert_eq!(&buffer[..length], b"take it");
        rustix::io::write(&descriptors[0], b"x").unwrap();
        assert_eq!(rustix::io::read(&reader, &mut buffer).unwrap(), 1);
        assert_eq!(receive(two.as_fd(), &mut buffer, false).unwrap_err(), Errno::AGAIN);
        drop(one);
        assert!(matches!(receive(two.as_fd(), &mut buffer, true).unwrap(), Received::End));
        assert_eq!(send(two.as_fd(), b"x", &[]).unwrap_err(), Errno::PIPE);
    }
}
