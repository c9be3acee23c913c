//! Owns the names of the things the core talks about; each is a newtype, so that none can be mistaken for another.

/// A job: one call of the user's, of one item (a submitted call) or many (a map).
///
/// The engine chooses the number when it submits, keeps it dense, and may use it again once the core has said
/// [`Command::FinishJob`](crate::Command::FinishJob).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(pub u32);

/// One assignment of consecutive items of a job to the task table.
///
/// The core chooses it. `index` is dense and used again; `generation` grows each time it is, so that an answer to an
/// old assignment is recognised and refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChunkId {
    /// Position among the chunks that are out at the same time.
    pub index: u32,
    /// How many chunks have had this index before.
    pub generation: u32,
}

/// The seat of a worker, from zero; when a worker is replaced its successor takes the same seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u16);

/// A moment, in nanoseconds since any fixed origin; handed in with every event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Moment(pub u64);

impl Moment {
    /// So many nanoseconds later.
    pub(crate) fn after(self, ns: u64) -> Self {
        Self(self.0.saturating_add(ns))
    }
}
