//! Owns the model of a worker process: one seat, and the life that sits in it. Never reports anything itself.

use paceline_core::{ChunkId, WorkerExit};

use crate::fate::Fate;

/// What a worker is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    /// Nobody is here, and the engine knows.
    Vacant,
    /// The process is being started.
    Starting,
    /// It takes what it finds in the table, as much as it may hold, and runs it.
    Working,
    /// It is gone, and the engine does not know yet.
    Gone { exit: WorkerExit },
}

/// A chunk that a worker has claimed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claimed {
    /// Key of the table's entry.
    pub(crate) entry: u64,
    pub(crate) chunk: ChunkId,
    pub(crate) job: usize,
    /// The item that it runs (side by side, the first of them), or will begin with.
    pub(crate) item: u32,
    /// The end of the chunk.
    pub(crate) end: u32,
    pub(crate) attempt: u16,
    /// Whether its items run side by side.
    pub(crate) is_side_by_side: bool,
    /// What will become of the item that it runs; none before it has begun.
    pub(crate) fate: Option<Fate>,
    /// Whether it has been told, while this item ran, to drop those that follow.
    pub(crate) may_drop_rest: bool,
}

/// A seat and who sits there.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    pub(crate) activity: Activity,
    /// Counts the processes that have had this seat, so that what concerns an earlier one is recognised.
    pub(crate) life: u32,
    pub(crate) is_asked_to_stop: bool,
    /// The system ended it for want of memory; the engine will know when it notices the end.
    pub(crate) is_outgrown: bool,
    pub(crate) chunks_run: u32,
    pub(crate) claimed: Vec<Claimed>,
    /// The last chunk that this life claimed, to be named once more at its end.
    pub(crate) last_entry: Option<ChunkId>,
}

impl Default for Worker {
    fn default() -> Self {
        Self {
            activity: Activity::Vacant,
            life: 0,
            is_asked_to_stop: false,
            is_outgrown: false,
            chunks_run: 0,
            claimed: Vec::new(),
            last_entry: None,
        }
    }
}

impl Worker {
    /// Whether the process exists.
    pub(crate) fn is_alive(&self) -> bool {
        !matches!(self.activity, Activity::Vacant | Activity::Gone { .. })
    }

    /// Puts a new process into the seat.
    pub(crate) fn be_born(&mut self) {
        *self = Self { activity: Activity::Starting, life: self.life + 1, ..Self::default() };
    }
}
