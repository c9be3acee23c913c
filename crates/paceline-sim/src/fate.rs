//! Owns what becomes of an item when it is run: how long it takes, how it fails, how it takes being asked to stop. Never
//! makes it happen.
//!
//! What an item does follows from its own numbers, so that one that fails twice and then passes does so whatever else
//! happens.

use paceline_core::Trouble;

use crate::random::Random;

/// How often the items of a job misbehave, in a hundred.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Character {
    pub(crate) seed: u32,
    pub(crate) failing_percent: u32,
    /// How many of those that fail would again.
    pub(crate) lasting_percent: u32,
    /// Those that never end by themselves; only where a limit ends them.
    pub(crate) endless_percent: u32,
    pub(crate) outgrowing_percent: u32,
    /// Those that stop when they are asked to.
    pub(crate) obeying_percent: u32,
    /// The longest that an item takes.
    pub(crate) longest_steps: u32,
}

/// What becomes of an item that is run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fate {
    /// How long it takes; none if it never ends.
    pub(crate) steps: Option<u32>,
    /// How it fails.
    pub(crate) trouble: Option<Trouble>,
    /// How long it takes to stop when it is asked to; none if it does not care.
    pub(crate) stops_after: Option<u32>,
    /// When its worker outgrows its memory.
    pub(crate) outgrows_after: Option<u32>,
}

/// The most attempts in a row for which an item misbehaves in one way.
const MOST_ATTEMPTS: u32 = 4;

impl Fate {
    /// What becomes of an item that has been begun so often before. How long it takes is left to chance.
    pub(crate) fn of(character: &Character, item: u32, attempt: u16, chance: &mut Random) -> Self {
        let mut own = Random::from_seed(u64::from(character.seed) << 32 | u64::from(item));
        let mut is_one = |percent: u32| {
            let attempts = own.between(1, MOST_ATTEMPTS);
            own.chance(percent) && u32::from(attempt) < attempts
        };
        let fails = is_one(character.failing_percent);
        let is_endless = is_one(character.endless_percent);
        let outgrows = is_one(character.outgrowing_percent);
        let trouble = if own.chance(character.lasting_percent) { Trouble::Failed } else { Trouble::MayPass };
        let obeys = own.chance(character.obeying_percent);
        Self {
            steps: (!is_endless).then(|| chance.between(0, character.longest_steps)),
            trouble: fails.then_some(trouble),
            stops_after: obeys.then(|| chance.below(10)),
            outgrows_after: outgrows.then(|| chance.between(0, character.longest_steps)),
        }
    }
}
