//! Owns what is known of a job and its items. Never knows where its chunks are.

use paceline_core::{JobEnd, JobId, Sizing, Terms, Trouble, WorkerId};

/// The longest backoff: an hour.
const LONGEST_BACKOFF_NS: u64 = 3_600_000_000_000;

/// What has become of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ItemState {
    /// It must be published, some time.
    Waiting,
    /// It waits out its backoff.
    Resting {
        /// Its moment comes no sooner than this, and no later than that.
        from_ns: u64,
        by_ns: u64,
        /// Whether it is to run alone then.
        is_alone: bool,
        /// Whether a look has come after the first of these moments, and its own may have come.
        is_doubtful: bool,
    },
    /// It must be published when nothing else is out.
    Lonely,
    /// It is in a published chunk.
    Out,
    /// It came to nothing with the end of this worker, and may not be run again: it must fail, for this.
    Doomed { worker: WorkerId, trouble: Trouble },
    /// It has an outcome.
    Ended,
    /// Its job ends before it; it is not run again.
    Dropped,
}

impl ItemState {
    /// Whether it may wait in the backlog, or may not yet.
    pub(crate) fn may_wait(self) -> bool {
        matches!(self, Self::Resting { is_doubtful: true, is_alone: false, .. })
    }

    /// Whether it may wait to run alone, or may not yet.
    pub(crate) fn may_be_lonely(self) -> bool {
        matches!(self, Self::Resting { is_doubtful: true, is_alone: true, .. })
    }
}

/// An item of a job.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    pub(crate) state: ItemState,
    /// Whether the engine has an outcome of it.
    pub(crate) has_outcome: bool,
    /// How often a worker has begun it.
    pub(crate) begun: u32,
    /// How often that came to nothing that lasts: it is run again, or fails for the end of its worker.
    pub(crate) spent: u32,
}

/// A job.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts that come true each by itself")]
pub(crate) struct Job {
    pub(crate) number: JobId,
    pub(crate) items: Vec<Item>,
    pub(crate) sizing: Sizing,
    pub(crate) terms: Terms,
    /// How many items are waiting, resting, lonely.
    pub(crate) waiting: u32,
    pub(crate) resting: u32,
    pub(crate) lonely: u32,
    /// How many items have failed for good.
    pub(crate) failures: u32,
    /// How it has to end as soon as nothing of it is out, if before its last outcome.
    pub(crate) ending: Option<JobEnd>,
    /// When it was to be cancelled with what runs.
    pub(crate) stopping_since_ns: u64,
    pub(crate) end: Option<JobEnd>,
    pub(crate) is_cancel_requested: bool,
    /// The cancel was requested when nothing of the job was published or ever had been begun.
    pub(crate) must_be_cancelled: bool,
    /// The pool was closed, with all cancelled that waits, when no worker had claimed any of it.
    pub(crate) is_shut_out: bool,
    /// What comes to nothing fails from now on, whatever its retries.
    pub(crate) has_no_more_tries: bool,
    /// The core has been told that a worker claimed some of it, other than what is to be run again and is all that is left.
    pub(crate) is_known_to_have_begun: bool,
}

impl Job {
    pub(crate) fn new(number: JobId, items: u32, sizing: Sizing, terms: Terms) -> Self {
        let item = Item { state: ItemState::Waiting, has_outcome: false, begun: 0, spent: 0 };
        Self {
            number,
            items: vec![item; items as usize],
            sizing,
            terms,
            waiting: items,
            resting: 0,
            lonely: 0,
            failures: 0,
            ending: None,
            stopping_since_ns: 0,
            end: None,
            is_cancel_requested: false,
            must_be_cancelled: false,
            is_shut_out: false,
            has_no_more_tries: false,
            is_known_to_have_begun: false,
        }
    }

    pub(crate) fn set(&mut self, item: u32, state: ItemState) {
        let old = std::mem::replace(&mut self.items[item as usize].state, state);
        for (state, has_come) in [(old, false), (state, true)] {
            let count = match state {
                ItemState::Waiting => &mut self.waiting,
                ItemState::Resting { .. } => &mut self.resting,
                ItemState::Lonely => &mut self.lonely,
                _ => continue,
            };
            *count = if has_come { *count + 1 } else { *count - 1 };
        }
    }

    pub(crate) fn keep(&mut self, item: u32) {
        self.set(item, ItemState::Ended);
        self.items[item as usize].has_outcome = true;
    }

    /// Whether an item has to be run again after this, with what it has spent already.
    pub(crate) fn is_tried_again(&self, item: u32, trouble: Trouble) -> bool {
        let retry_on = self.terms.retry_on;
        let is_named = match trouble {
            Trouble::Failed => false,
            Trouble::MayPass => true,
            Trouble::Overran => retry_on.overrun,
            Trouble::Died => retry_on.death,
            Trouble::Outgrew => retry_on.outgrowth,
        };
        let may_try = self.ending.is_none() && !self.has_no_more_tries;
        is_named && may_try && self.items[item as usize].spent < u32::from(self.terms.retries)
    }

    /// An item has come to nothing, and is to be run again: at once, after its backoff, or alone.
    pub(crate) fn try_again(&mut self, item: u32, trouble: Trouble, now_ns: u64) {
        let spent = self.items[item as usize].spent;
        self.items[item as usize].spent += 1;
        let is_alone = trouble == Trouble::Outgrew && self.terms.retry_on.alone_after_outgrowth;
        let whole_ns = (u128::from(self.terms.backoff_ns) << spent).min(u128::from(LONGEST_BACKOFF_NS));
        let whole_ns = u64::try_from(whole_ns).unwrap_or(LONGEST_BACKOFF_NS);
        let (from_ns, by_ns) = (now_ns + whole_ns / 2, now_ns + whole_ns);
        self.set(
            item,
            match (whole_ns, is_alone) {
                (0, false) => ItemState::Waiting,
                (0, true) => ItemState::Lonely,
                _ => ItemState::Resting { from_ns, by_ns, is_alone, is_doubtful: false },
            },
        );
    }

    /// Whether all that has no outcome yet waits, having come to nothing before.
    pub(crate) fn is_all_to_be_run_again(&self) -> bool {
        let mut is_any_left = false;
        let came_to_nothing = self.items.iter().all(|item| match item.state {
            ItemState::Ended | ItemState::Doomed { .. } => true,
            ItemState::Waiting | ItemState::Resting { .. } | ItemState::Lonely => {
                is_any_left = true;
                item.spent > 0
            }
            ItemState::Out | ItemState::Dropped => false,
        });
        is_any_left && came_to_nothing
    }

    /// Counts items that have failed for good, and gives the job up if they are too many.
    pub(crate) fn count_failures(&mut self, count: u32) {
        self.failures += count;
        if self.failures > self.terms.most_failures && self.ending.is_none() {
            self.end_early(JobEnd::GivenUp);
        }
    }

    /// It is to end in this way as soon as nothing of it is out.
    pub(crate) fn end_early(&mut self, end: JobEnd) {
        self.ending = Some(end);
        for item in (0..).take(self.items.len()) {
            let state = self.items[item as usize].state;
            if matches!(state, ItemState::Waiting | ItemState::Resting { .. } | ItemState::Lonely) {
                self.set(item, ItemState::Dropped);
            }
        }
    }

    /// What an item becomes that comes back as it was.
    pub(crate) fn come_back(&mut self, item: u32) {
        self.set(item, if self.ending.is_some() { ItemState::Dropped } else { ItemState::Waiting });
    }

    /// Time has passed: how many items have waited long enough for sure.
    pub(crate) fn pass_time(&mut self, now_ns: u64) -> u32 {
        let mut rested = 0;
        for item in (0..).take(if self.resting > 0 { self.items.len() } else { 0 }) {
            let ItemState::Resting { from_ns, by_ns, is_alone, .. } = self.items[item as usize].state else { continue };
            if by_ns <= now_ns {
                self.set(item, if is_alone { ItemState::Lonely } else { ItemState::Waiting });
                rested += u32::from(!is_alone);
            } else if from_ns <= now_ns {
                self.set(item, ItemState::Resting { from_ns, by_ns, is_alone, is_doubtful: true });
            }
        }
        rested
    }

    /// All items of which it was not known whether they wait do, or none does.
    pub(crate) fn settle_doubt(&mut self, do_wait: bool) {
        for item in (0..).take(if self.resting > 0 { self.items.len() } else { 0 }) {
            let state = self.items[item as usize].state;
            if let ItemState::Resting { from_ns, by_ns, is_alone: false, is_doubtful: true } = state {
                let resting = ItemState::Resting { from_ns, by_ns, is_alone: false, is_doubtful: false };
                self.set(item, if do_wait { ItemState::Waiting } else { resting });
            }
        }
    }
}
