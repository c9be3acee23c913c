//! Owns how long a waiting side searches before it sleeps. A sleep and its wake-up cost 20 to 50 µs, a look 10 ns; but
//! whoever searches takes a processor from whoever it waits for.

use crate::clock::now_ns;

/// How long to search: as long as things have lately been coming close together, about twice the gap between them;
/// else hardly at all, so that an idle pool is idle.
#[derive(Debug)]
pub(crate) struct Patience {
    usual_gap_ns: u64,
    alone: bool,
}

const SHORTEST_SEARCH_NS: u64 = 2_000;
const LONGEST_SEARCH_NS: u64 = 100_000;
/// Searching without giving the processor away is for waits shorter than a switch to another thread and back.
const POLITE_AFTER_NS: u64 = 2_000;
const LOOKS_BETWEEN_CLOCKS: u32 = 16;

impl Patience {
    pub(crate) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { usual_gap_ns: LONGEST_SEARCH_NS, alone: processors == 1 }
    }

    fn budget_ns(&self) -> u64 {
        if self.alone || self.usual_gap_ns > LONGEST_SEARCH_NS {
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
            if !looks.is_multiple_of(LOOKS_BETWEEN_CLOCKS) {
                return true;
            }
            let searched = now_ns() - began;
            if searched > POLITE_AFTER_NS {
                rustix::thread::sched_yield();
            }
            searched < budget
        });
        let gap = (now_ns() - began).min(8 * LONGEST_SEARCH_NS);
        self.usual_gap_ns = (3 * self.usual_gap_ns + gap) / 4;
        found
    }
}
