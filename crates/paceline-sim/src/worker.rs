//! Owns the model of a worker process: one seat, and the life that sits in it. Never reports anything itself.

use paceline_core::WorkerExit;

/// What a worker is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    /// Nobody is here, and the engine knows.
    Vacant,
    /// The process is being started.
    Starting,
    /// It waits for something in the table.
    Idle,
    /// It runs an item of a chunk.
    Running {
        /// Key of the table's entry.
        entry: u64,
        job: usize,
        /// The item that it runs.
        item: u32,
        /// The end of the chunk.
        end: u32,
    },
    /// It is gone, and the engine does not know yet.
    Gone { exit: WorkerExit },
}

/// A seat and who sits there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Worker {
    pub(crate) activity: Activity,
    /// Counts the processes that have had this seat, so that what concerns an earlier one is recognised.
    pub(crate) life: u32,
    pub(crate) is_asked_to_stop: bool,
    pub(crate) chunks_run: u32,
    /// The last chunk this life was running when the table dropped it, to be named once more at its end.
    pub(crate) last_entry: Option<paceline_core::ChunkId>,
}

impl Default for Worker {
    fn default() -> Self {
        Self { activity: Activity::Vacant, life: 0, is_asked_to_stop: false, chunks_run: 0, last_entry: None }
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
