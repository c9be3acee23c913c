//! Owns the list of what the invariants get to see. Never says whether it is right.

use paceline_core::{ChunkId, Command, Event};

/// Something that happened in a run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fact {
    /// The engine is about to tell the core.
    Told { event: Event },
    /// The core has answered with this.
    Asked { command: Command },
    /// The core has answered to a chunk's report with all it had to say.
    Answered {
        /// Whether the report was of an assignment of the past.
        was_old: bool,
        /// Whether the core gave a command or counts anything otherwise now.
        is_changed: bool,
    },
    /// A worker claims a chunk.
    Claimed { chunk: ChunkId },
    /// A worker begins an item.
    Begun {
        /// Position of the job among all that were submitted.
        job: usize,
        item: u32,
    },
    /// The engine keeps the outcome of an item.
    Kept {
        /// Position of the job among all that were submitted.
        job: usize,
        item: u32,
    },
    /// Everything that the last happening led to at once is done; this is what the core counts now.
    Settled { waiting_items: u64, unfinished_jobs: u32, published_chunks: u32, is_accepting: bool },
    /// Nothing will happen any more.
    Drained,
}
