//! Owns the few messages that travel on sockets beside the table: to and from the fork server, and on a worker's life
//! line. Each is one datagram; descriptors ride along with it ([`crate::socket`]). Never acts on one.

/// The longest datagram; longer texts are cut.
pub const LONGEST: usize = 64 << 10;

/// From a parent to its fork server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToForkServer {
    /// Fork a worker; its descriptors ride along.
    Fork {
        /// The parent's number for it, given back in every answer.
        birth: u64,
        /// The seat it takes in its engine.
        seat: u16,
        /// How many chunks it may run before it retires; zero for any number.
        chunks: u64,
    },
    /// Load what these bytes name, in the words of whoever runs the workers; those forked later have it.
    Preload(Vec<u8>),
}

/// From the fork server to its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromForkServer {
    /// The worker runs; its pidfd rides along.
    Forked {
        /// Which.
        birth: u64,
        /// Its process id.
        pid: i32,
    },
    /// The system refused the fork.
    Refused {
        /// Which.
        birth: u64,
        /// The system's error number.
        errno: i32,
    },
    /// The worker is gone.
    Exited {
        /// Which.
        birth: u64,
        /// Its exit code, if it exited.
        code: Option<i32>,
        /// The signal that ended it, if one did.
        signal: Option<i32>,
        /// The most memory that it had, in kibibytes; zero if that is not known.
        peak_kib: u64,
    },
}

/// From a parent to a worker, on the life line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToWorker {
    /// Stop running an item, if it runs.
    Stop {
        /// Its number among all items that were ever submitted to the pool.
        item: u64,
        /// How often it had been begun before.
        attempt: u16,
        /// Whether the rest of its chunk is not to be run either.
        drops_chunk: bool,
    },
}

/// How long a thread ran on a CPU, and for how long it could have, but had to wait for one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ThreadTime {
    /// How long it ran, in nanoseconds.
    pub ran_ns: u64,
    /// How long it waited.
    pub waited_ns: u64,
    /// The name by which the system knows the thread, of at most fifteen bytes.
    pub name: String,
}

/// No worker tells of more threads.
pub const MOST_THREADS: usize = 256;
/// The bytes of a thread's times, and of the length of its name.
const THREAD_BYTES: usize = 17;

/// From a worker to its parent, on the life line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromWorker {
    /// It is set up and takes tasks.
    Ready,
    /// It cannot be set up; the bytes say why, in the words of whoever set it up.
    Failed(Vec<u8>),
    /// It has run as many chunks as it may, and leaves.
    Retired,
    /// It leaves, and these of its threads were at work.
    Threads(Vec<ThreadTime>),
}

/// A datagram that is none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

fn number<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Malformed> {
    bytes.get(at..at + N).and_then(|part| part.try_into().ok()).ok_or(Malformed)
}

impl ToForkServer {
    /// As a datagram.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Fork { birth, seat, chunks } => {
                let mut bytes = vec![1];
                bytes.extend(birth.to_le_bytes());
                bytes.extend(seat.to_le_bytes());
                bytes.extend(chunks.to_le_bytes());
                bytes
            }
            Self::Preload(what) => [&[2], what.as_slice()].concat(),
        }
    }

    /// Of a datagram.
    ///
    /// # Errors
    /// [`Malformed`] when it is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        match bytes.first() {
            Some(1) => Ok(Self::Fork {
                birth: u64::from_le_bytes(number(bytes, 1)?),
                seat: u16::from_le_bytes(number(bytes, 9)?),
                chunks: u64::from_le_bytes(number(bytes, 11)?),
            }),
            Some(2) => Ok(Self::Preload(bytes[1..].to_vec())),
            _ => Err(Malformed),
        }
    }
}

impl FromForkServer {
    /// As a datagram.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let (kind, birth, one, two, three) = match self {
            Self::Forked { birth, pid } => (1, birth, pid, 0, 0),
            Self::Refused { birth, errno } => (2, birth, errno, 0, 0),
            Self::Exited { birth, code: Some(code), peak_kib, .. } => (3, birth, code, 0, peak_kib),
            Self::Exited { birth, signal: Some(signal), peak_kib, .. } => (3, birth, 0, signal, peak_kib),
            Self::Exited { birth, peak_kib, .. } => (4, birth, 0, 0, peak_kib),
        };
        let mut bytes = vec![kind];
        bytes.extend(birth.to_le_bytes());
        bytes.extend(one.to_le_bytes());
        bytes.extend(two.to_le_bytes());
        bytes.extend(three.to_le_bytes());
        bytes
    }

    /// Of a datagram.
    ///
    /// # Errors
    /// [`Malformed`] when it is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let birth = u64::from_le_bytes(number(bytes, 1)?);
        let (one, two) = (i32::from_le_bytes(number(bytes, 9)?), i32::from_le_bytes(number(bytes, 13)?));
        let peak_kib = u64::from_le_bytes(number(bytes, 17)?);
        match bytes[0] {
            // A number that stands for one process, for it may be sent signals.
            1 if one > 1 => Ok(Self::Forked { birth, pid: one }),
            2 if (1..4096).contains(&one) => Ok(Self::Refused { birth, errno: one }),
            3 if two == 0 => Ok(Self::Exited { birth, code: Some(one), signal: None, peak_kib }),
            3 => Ok(Self::Exited { birth, code: None, signal: Some(two), peak_kib }),
            4 => Ok(Self::Exited { birth, code: None, signal: None, peak_kib }),
            _ => Err(Malformed),
        }
    }
}

impl ToWorker {
    /// As a datagram.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let Self::Stop { item, attempt, drops_chunk } = self;
        let mut bytes = vec![1];
        bytes.extend(item.to_le_bytes());
        bytes.extend(attempt.to_le_bytes());
        bytes.push(u8::from(drops_chunk));
        bytes
    }

    /// Of a datagram.
    ///
    /// # Errors
    /// [`Malformed`] when it is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        match bytes {
            [1, .., drops_chunk] if bytes.len() == 12 => Ok(Self::Stop {
                item: u64::from_le_bytes(number(bytes, 1)?),
                attempt: u16::from_le_bytes(number(bytes, 9)?),
                drops_chunk: *drops_chunk != 0,
            }),
            _ => Err(Malformed),
        }
    }
}

impl ThreadTime {
    fn decode_all(mut bytes: &[u8]) -> Result<Vec<Self>, Malformed> {
        let mut threads = Vec::new();
        while !bytes.is_empty() && threads.len() < MOST_THREADS {
            let [ran_ns, waited_ns] = [number(bytes, 0)?, number(bytes, 8)?].map(u64::from_le_bytes);
            let end = THREAD_BYTES + usize::from(*bytes.get(THREAD_BYTES - 1).ok_or(Malformed)?);
            let name = str::from_utf8(bytes.get(THREAD_BYTES..end).ok_or(Malformed)?).map_err(|_| Malformed)?;
            threads.push(Self { ran_ns, waited_ns, name: name.to_owned() });
            bytes = &bytes[end..];
        }
        if bytes.is_empty() { Ok(threads) } else { Err(Malformed) }
    }
}

impl FromWorker {
    /// As a datagram.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Ready => vec![1],
            Self::Failed(reason) => {
                let mut bytes = vec![2];
                bytes.extend_from_slice(&reason[..reason.len().min(LONGEST - 1)]);
                bytes
            }
            Self::Retired => vec![3],
            Self::Threads(threads) => {
                let mut bytes = vec![4];
                for thread in &threads[..threads.len().min(MOST_THREADS)] {
                    bytes.extend(thread.ran_ns.to_le_bytes());
                    bytes.extend(thread.waited_ns.to_le_bytes());
                    let length = u8::try_from(thread.name.len()).unwrap_or(u8::MAX);
                    bytes.push(length);
                    bytes.extend_from_slice(&thread.name.as_bytes()[..length.into()]);
                }
                bytes
            }
        }
    }

    /// Of a datagram.
    ///
    /// # Errors
    /// [`Malformed`] when it is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        match bytes.split_first() {
            Some((1, [])) => Ok(Self::Ready),
            Some((2, reason)) => Ok(Self::Failed(reason.to_vec())),
            Some((3, [])) => Ok(Self::Retired),
            Some((4, threads)) => ThreadTime::decode_all(threads).map(Self::Threads),
            _ => Err(Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_come_back_as_sent() {
        let fork = ToForkServer::Fork { birth: 1 << 40, seat: 511, chunks: 3 };
        assert_eq!(ToForkServer::decode(&fork.encode()), Ok(fork));
        let preload = ToForkServer::Preload(b"json".to_vec());
        assert_eq!(ToForkServer::decode(&preload.encode()), Ok(preload));
        for answer in [
            FromForkServer::Forked { birth: 7, pid: 4_194_304 },
            FromForkServer::Refused { birth: 7, errno: 11 },
            FromForkServer::Exited { birth: 7, code: Some(0), signal: None, peak_kib: 1 << 40 },
            FromForkServer::Exited { birth: 7, code: None, signal: Some(9), peak_kib: 7 },
            FromForkServer::Exited { birth: 7, code: None, signal: None, peak_kib: 0 },
        ] {
            assert_eq!(FromForkServer::decode(&answer.encode()), Ok(answer));
        }
        let threads =
            ["python", "", "ünnamed"].map(|name| ThreadTime { ran_ns: 1 << 40, waited_ns: 7, name: name.into() });
        let threads = FromWorker::Threads(threads.to_vec());
        for word in [FromWorker::Ready, FromWorker::Failed(b"no".to_vec()), FromWorker::Retired, threads] {
            assert_eq!(FromWorker::decode(&word.encode()), Ok(word));
        }
        let stop = ToWorker::Stop { item: 1 << 40, attempt: 513, drops_chunk: true };
        assert_eq!(ToWorker::decode(&stop.encode()), Ok(stop));
        for pid in [i32::MIN, -7, -1, 0, 1] {
            assert_eq!(FromForkServer::decode(&FromForkServer::Forked { birth: 7, pid }.encode()), Err(Malformed));
        }
        assert_eq!(FromForkServer::decode(&FromForkServer::Refused { birth: 7, errno: -1 }.encode()), Err(Malformed));
        assert_eq!(FromWorker::Failed(vec![0; 1 << 20]).encode().len(), LONGEST);
        let many = FromWorker::Threads(vec![ThreadTime { name: "n".repeat(255), ..ThreadTime::default() }; 1_000]);
        // Names are shorter than that.
        assert!(many.encode().len() < 2 * LONGEST);
        let Ok(FromWorker::Threads(told)) = FromWorker::decode(&many.encode()) else { panic!("it was refused") };
        assert_eq!(told.len(), MOST_THREADS);
        assert_eq!(FromWorker::decode(&[many.encode(), vec![0; 17]].concat()), Err(Malformed));
    }

    proptest! {
        #[test]
        fn any_datagram_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = ToForkServer::decode(&bytes);
            let _ = FromForkServer::decode(&bytes);
            let _ = ToWorker::decode(&bytes);
            let _ = FromWorker::decode(&bytes);
        }
    }
}
