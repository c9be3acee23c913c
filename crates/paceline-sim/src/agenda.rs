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
    /// The user wants that job cancelled, with what runs of it or not.
    Cancel { planned: usize, stops_running: bool },
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
    /// A worker that has begun with a chunk has got ready for it.
    BeginAnew { seat: u16, life: u32, entry: u64 },
    /// An item that a worker runs comes to its end by itself.
    ItemDone { seat: u16, life: u32, entry: u64, item: u32 },
    /// A worker gets to know that it is to stop an item, and maybe to drop what follows it in its chunk.
    Ask { seat: u16, life: u32, entry: u64, item: u32, drops_rest: bool },
    /// An item that was asked to stop does.
    ItemStopped { seat: u16, life: u32, entry: u64, item: u32 },
    /// A worker has more memory than it may.
    Outgrow { seat: u16, life: u32 },
    /// A worker is killed, whatever it is doing.
    Strike { seat: u16, life: u32 },
    /// The engine notices that a worker is gone.
    NoticeExit { seat: u16, life: u32 },
    /// The engine notices that a chunk is done.
    Harvest { entry: u64 },
    /// The engine wakes up to look at what the workers do.
    WakeUp,
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
