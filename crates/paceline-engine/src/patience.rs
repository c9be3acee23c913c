//! Owns how long a waiting side searches before it sleeps. A sleep and its wake-up cost 20 to 50 µs, a look 10 ns; but
//! whoever searches takes a processor from whoever it waits for.
//!
//! With a processor for each side, looking without pause answers soonest. Where both sides share one, as when another
//! program holds the rest, the one that waits must give it away, or nothing happens until it does: then each look begins
//! with that, which makes a round trip of two switches. Which of the two holds is seen from how long giving way takes.

use crate::clock::now_ns;

/// How long to search: as long as things have lately been coming close together, about twice the gap between them;
/// else hardly at all, so that an idle pool is idle.
#[derive(Debug)]
pub(crate) struct Patience {
    usual_gap_ns: u64,
    /// When this thread last gave its processor away, another took it.
    crowded: bool,
}

const SHORTEST_SEARCH_NS: u64 = 2_000;
const LONGEST_SEARCH_NS: u64 = 100_000;
/// In a crowd or not, a search of this length gives way now and then.
const POLITE_AFTER_NS: u64 = 2_000;
const LOOKS_BETWEEN_CLOCKS: u32 = 16;
/// Giving way takes less than this if nobody takes the processor, and more if somebody does.
const SWITCH_NS: u64 = 700;

impl Patience {
    pub(crate) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { usual_gap_ns: LONGEST_SEARCH_NS, crowded: processors == 1 }
    }

    fn budget_ns(&self) -> u64 {
        if self.usual_gap_ns > LONGEST_SEARCH_NS {
            SHORTEST_SEARCH_NS
        } else {
            (2 * self.usual_gap_ns).clamp(SHORTEST_SEARCH_NS, LONGEST_SEARCH_NS)
        }
    }

    /// Waits by calling `wait` with a function that says whether to search on.
    pub(crate) fn exercise<R>(&mut self, wait: impl FnOnce(&mut dyn FnMut() -> bool) -> R) -> R {
        let began = now_ns();
        let (budget, mut looks) = (self.budget_ns(), 0u32);
        let found = wait(&mut || {
            looks += 1;
            if !self.crowded && !looks.is_multiple_of(LOOKS_BETWEEN_CLOCKS) {
                return true;
            }
            let mut now = now_ns();
            if self.crowded || now - began > POLITE_AFTER_NS {
                now = self.give_way(now);
            }
            now - began < budget
        });
        let gap = (now_ns() - began).min(8 * LONGEST_SEARCH_NS);
        self.usual_gap_ns = (3 * self.usual_gap_ns + gap) / 4;
        found
    }

    /// Lets another thread have the processor; the moment after.
    fn give_way(&mut self, now: u64) -> u64 {
        rustix::thread::sched_yield();
        let after = now_ns();
        self.crowded = after - now > SWITCH_NS;
        after
    }
}
