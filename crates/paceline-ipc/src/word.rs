//! Owns the state word of a slot: the one atomic value that is the whole truth about it.
//!
//! ```text
//! FREE ──parent──► READY(t) ──worker w, one compare-exchange──► RUNNING(w, t) ──worker w──► DONE(w, t) ──parent──► FREE
//!                     └──parent, compare-exchange (withdraw)──► FREE        RUNNING(w, t) ──parent, w is dead──► FREE
//! ```
//!
//! `t` is the ticket: it numbers publications, never repeats in practice (2⁴⁸ of them), and refuses answers to an
//! older use of the slot.

/// Where a slot is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Empty; only the parent may touch it.
    Free,
    /// Published; any worker may claim it, the parent may withdraw it.
    Ready,
    /// Claimed by its owner, and only that worker may touch it.
    Running,
    /// Answered by its owner; only the parent may touch it.
    Done,
}

/// The value of a state word: phase, owner and ticket.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Word(pub(crate) u64);

const PHASE_BITS: u32 = 2;
const OWNER_BITS: u32 = 14;
const OWNER_MASK: u64 = (1 << OWNER_BITS) - 1;

impl Word {
    /// The word of an empty slot; zero, so that fresh memory is an empty table.
    pub const FREE: Self = Self(0);

    const fn pack(phase: u64, owner: u16, ticket: u64) -> Self {
        Self(phase | ((owner as u64 & OWNER_MASK) << PHASE_BITS) | (ticket << (PHASE_BITS + OWNER_BITS)))
    }

    /// Published under this ticket.
    #[must_use]
    pub const fn ready(ticket: u64) -> Self {
        Self::pack(1, 0, ticket)
    }

    /// Claimed by this worker.
    #[must_use]
    pub const fn running(owner: u16, ticket: u64) -> Self {
        Self::pack(2, owner, ticket)
    }

    /// Answered by this worker.
    #[must_use]
    pub const fn done(owner: u16, ticket: u64) -> Self {
        Self::pack(3, owner, ticket)
    }

    /// Where the slot is in its life.
    #[must_use]
    pub const fn phase(self) -> Phase {
        match self.0 & 3 {
            0 => Phase::Free,
            1 => Phase::Ready,
            2 => Phase::Running,
            _ => Phase::Done,
        }
    }

    /// The worker that claimed the slot; meaningless while it is free or ready.
    #[must_use]
    pub const fn owner(self) -> u16 {
        ((self.0 >> PHASE_BITS) & OWNER_MASK) as u16
    }

    /// The ticket under which the slot was published.
    #[must_use]
    pub const fn ticket(self) -> u64 {
        self.0 >> (PHASE_BITS + OWNER_BITS)
    }
}

impl std::fmt::Debug for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.phase() {
            Phase::Free => write!(f, "Free"),
            Phase::Ready => write!(f, "Ready({})", self.ticket()),
            Phase::Running => write!(f, "Running({}, {})", self.owner(), self.ticket()),
            Phase::Done => write!(f, "Done({}, {})", self.owner(), self.ticket()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_keeps_phase_owner_and_ticket_apart() {
        for owner in [0, 1, 511, 16_383] {
            for ticket in [0, 1, 1_023, (1 << 48) - 1] {
                for (word, phase) in
                    [(Word::running(owner, ticket), Phase::Running), (Word::done(owner, ticket), Phase::Done)]
                {
                    assert_eq!((word.phase(), word.owner(), word.ticket()), (phase, owner, ticket));
                }
                assert_eq!((Word::ready(ticket).phase(), Word::ready(ticket).ticket()), (Phase::Ready, ticket));
            }
        }
    }
}
