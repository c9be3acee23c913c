//! Owns the list of what the invariants get to see. Never says whether it is right.

use paceline_core::{ChunkId, Command, Event, WorkerId};

/// Something that happened in a run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fact {
    /// The engine is about to tell the core.
    Told { event: Event },
    /// The core has answered with this.
    Asked { command: Command },
    /// The core has answered to an event with all it had to say.
    Answered {
        event: Event,
        /// Whether the event was a report of an assignment of the past.
        was_old: bool,
        /// Whether the core gave a command or counts anything otherwise now.
        is_changed: bool,
        counts: Counts,
    },
    /// A worker claims a chunk.
    Claimed { chunk: ChunkId, worker: WorkerId },
    /// A worker begins an item.
    Begun {
        chunk: ChunkId,
        /// Position of the job among all that were submitted.
        job: usize,
        item: u32,
    },
    /// A worker, which has said that it begins with a chunk, is ready for it only now; its time counts anew.
    BegunAnew { chunk: ChunkId },
    /// A worker writes down that one more item of a chunk has come to its end.
    Over { chunk: ChunkId },
    /// A worker is done with a chunk, whether it has run all of it or dropped the rest.
    Done { chunk: ChunkId },
    /// A process has ended.
    Gone { worker: WorkerId },
    /// The engine keeps the outcome of an item.
    Kept {
        /// Position of the job among all that were submitted.
        job: usize,
        item: u32,
    },
    /// Everything that the last happening led to at once is done.
    Settled { counts: Counts },
    /// Nothing will happen any more.
    Drained,
}

/// What the core says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) waiting_items: u64,
    pub(crate) unfinished_jobs: u32,
    pub(crate) published_chunks: u32,
    pub(crate) is_accepting: bool,
    pub(crate) next_look_ns: Option<u64>,
}
