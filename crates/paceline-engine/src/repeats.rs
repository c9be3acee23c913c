//! Owns the sending of what a program sends again and again: compares it with what was written before, without holding the
//! lock. Never decides what is kept (ipc's [`Repeats`] does).

use crate::engine::Engine;
use paceline_ipc::arena::Span;
use paceline_ipc::repeats::{LONGEST, Repeats, SHORTEST, Sighting, sample};
use paceline_ipc::slabs::Placed;

/// They have a part of what the memory budget allows, and do not count as in flight. More than some would be out of every
/// cache again.
const PART_OF_BUDGET: u64 = 8;
const MOST_BYTES: u64 = 64 << 20;

/// None yet, for a pool with this memory budget.
pub(crate) fn within(budget: u64) -> Repeats {
    Repeats::new((budget / PART_OF_BUDGET).min(MOST_BYTES))
}

impl Engine {
    /// Where these bytes lie in shared memory, if they are worth a place there because they have been sent before. To be
    /// submitted with some input, or freed.
    #[must_use]
    pub fn place_repeat(&self, bytes: &[u8]) -> Option<Span> {
        if !(SHORTEST..LONGEST).contains(&bytes.len()) || self.is_foreign() {
            return None;
        }
        let (key, sample) = ((bytes.as_ptr() as usize, bytes.len()), sample(bytes));
        match self.shared.with(|state, _| state.repeats.look(key, sample))? {
            Sighting::First => None,
            Sighting::Known(placed) => {
                // SAFETY: it is in use from now on, as long as its span says, and written by nobody.
                let there = unsafe { std::slice::from_raw_parts(placed.address.cast_const(), bytes.len()) };
                if there == bytes {
                    return Some(placed.span);
                }
                self.shared.with(|state, _| state.repeats.differs(key, &placed))?;
                None
            }
            Sighting::Second => {
                let placed: Placed = self.shared.with(|state, _| state.place_repeat(bytes.len()))??;
                // SAFETY: the place is ours, mapped, and as long as was asked for.
                unsafe { placed.address.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
                self.shared.with(|state, _| state.repeats.know(key, sample, placed))?;
                Some(placed.span)
            }
        }
    }
}
