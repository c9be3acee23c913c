//! Owns what is known of a published chunk: who has it, how far that one really is, what was asked about it. Never knows
//! what its items are.

use paceline_core::{ChunkId, StopCause, Tokens, WorkerId};

/// The longest and the shortest time from one look to the next, and the part of a limit that it may be.
const LONGEST_PERIOD_NS: u64 = 25_000_000;
pub(crate) const SHORTEST_PERIOD_NS: u64 = 1_000_000;
const PART_OF_LIMIT: u64 = 8;

/// How long it may be from one look to the next, while something with this limit is out.
pub(crate) fn period_ns(limit_ns: u64) -> u64 {
    (limit_ns / PART_OF_LIMIT).clamp(SHORTEST_PERIOD_NS, LONGEST_PERIOD_NS)
}

/// An item that its worker was to be asked to stop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stop {
    pub(crate) item: u32,
    pub(crate) cause: StopCause,
    pub(crate) asked_ns: u64,
    /// When its worker was last to be ended for it.
    pub(crate) ended_ns: Option<u64>,
}

/// A published chunk of which the core has not been told the end.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts that come true each by itself")]
pub(crate) struct Out {
    pub(crate) chunk: ChunkId,
    pub(crate) job: usize,
    pub(crate) first: u32,
    pub(crate) count: u32,
    pub(crate) published_ns: u64,
    /// The tokens that it holds, and which devices are among them.
    pub(crate) tokens: Tokens,
    pub(crate) devices: u32,
    /// It went out to run while nothing else does.
    pub(crate) is_lonely: bool,
    pub(crate) is_asked_back: bool,
    /// Asked back for something more urgent.
    pub(crate) is_overtaken: bool,
    /// Who has claimed it, whether the core knows or not.
    pub(crate) claimed_by: Option<WorkerId>,
    /// When the core was told that somebody has.
    pub(crate) known_to_be_claimed_ns: Option<u64>,
    /// How many looks there had been when the core knew that it is to be stopped, and who has it.
    pub(crate) looks_before_stop: u32,
    /// When its worker began with it.
    pub(crate) began_ns: Option<u64>,
    /// How many of its items have ended, whether the core knows or not.
    pub(crate) finished: u32,
    /// Since when the next one is the first of those that run.
    pub(crate) turn_ns: u64,
    /// Since when the one before it was.
    pub(crate) last_turn_ns: u64,
    /// How many items the core was last told to have ended, and since when it knows that the next one runs.
    pub(crate) sighted: Option<(u32, u64)>,
    /// Nothing of it runs any more: its worker is done with it, or gone.
    pub(crate) is_done: bool,
    /// The last stop that the core has asked for.
    pub(crate) stop: Option<Stop>,
}

impl Out {
    pub(crate) fn new(chunk: ChunkId, job: usize, (first, count): (u32, u32), published_ns: u64) -> Self {
        Self {
            chunk,
            job,
            first,
            count,
            published_ns,
            tokens: Tokens::default(),
            devices: 0,
            is_lonely: false,
            is_asked_back: false,
            is_overtaken: false,
            claimed_by: None,
            known_to_be_claimed_ns: None,
            looks_before_stop: 0,
            began_ns: None,
            finished: 0,
            turn_ns: 0,
            last_turn_ns: 0,
            sighted: None,
            is_done: false,
            stop: None,
        }
    }

    /// The item that runs, or the first of those that do.
    pub(crate) fn running_item(&self) -> Option<u32> {
        (self.began_ns.is_some() && !self.is_done).then_some(self.first + self.finished)
    }

    /// Since when this item is the first of those that run, or was until a moment ago.
    pub(crate) fn ran_since_ns(&self, item: u32) -> Option<u64> {
        self.began_ns.filter(|_| item < self.first + self.count)?;
        if item == self.first + self.finished {
            Some(self.turn_ns)
        } else {
            (item + 1 == self.first + self.finished).then_some(self.last_turn_ns)
        }
    }

    /// The stop that the core has asked for, if of this item.
    pub(crate) fn stop_of(&self, item: u32) -> Option<Stop> {
        self.stop.filter(|stop| stop.item == item)
    }
}
