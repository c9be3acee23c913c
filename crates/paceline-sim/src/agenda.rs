//! Owns virtual time: what will happen, and when. Never makes it happen.
//!
//! What is due at the same moment comes in random order, so that every interleaving of near events has its chance.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::random::Random;

/// Something that will happen in the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Happening {
    /// The user submits the job of this position in the scenario.
    Submit { planned: usize },
    /// The user wants that job cancelled.
    Cancel { planned: usize },
    /// The user closes the pool.
    Close { cancel_waiting: bool },
    /// The user terminates the pool.
    Terminate,
    /// An answer to an old assignment comes in once more.
    RepeatOldAnswer,
    /// This life of a worker has started, and takes chunks from now on.
    WorkerUp { seat: u16, life: u32 },
    /// The engine hears that it has.
    HearReady { seat: u16, life: u32 },
    /// A worker looks into the table.
    Look { seat: u16, life: u32 },
    /// A worker begins with a chunk that it has claimed.
    Begin { seat: u16, life: u32, entry: u64 },
    /// A worker is done with the item of a chunk that it ran.
    ItemDone { seat: u16, life: u32, entry: u64 },
    /// A worker is killed, whatever it is doing.
    Strike { seat: u16, life: u32 },
    /// The engine notices that a worker is gone.
    NoticeExit { seat: u16, life: u32 },
    /// The engine notices that a chunk is done.
    Harvest { entry: u64 },
    /// The engine tells the core how an attempt to withdraw went.
    AnswerWithdraw { index: u32, generation: u32, is_withdrawn: bool },
}

/// What will happen, soonest first.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    due: BinaryHeap<Reverse<(u64, u32, u64, Happening)>>,
    added: u64,
}

impl Agenda {
    pub(crate) fn add(&mut self, at_ns: u64, happening: Happening, random: &mut Random) {
        self.added += 1;
        self.due.push(Reverse((at_ns, random.below(u32::MAX), self.added, happening)));
    }

    pub(crate) fn next(&mut self) -> Option<(u64, Happening)> {
        self.due.pop().map(|Reverse((at_ns, _, _, happening))| (at_ns, happening))
    }
}
