//! Owns the running of one seed, honest or sabotaged. Never knows what the seed stands for.

use paceline_core::{Config, Scheduler};

use crate::decider::Decider;
use crate::invariants::Violation;
use crate::random::Random;
use crate::saboteur::{Mistake, Saboteur};
use crate::scenario::Scenario;
use crate::world::World;

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// What the seed stands for.
    pub scenario: String,
    /// Every fact in order, one a line, headed by the virtual step.
    pub trace: Vec<String>,
    /// How it went.
    pub outcome: Result<(), Violation>,
}

/// Runs a seed.
///
/// # Errors
///
/// The first violation of an invariant.
pub fn run_seed(seed: u64) -> Result<(), Violation> {
    let (scenario, random) = prepare(seed);
    let mut scheduler = honest(&scenario);
    World::new(&scenario, &mut scheduler, random, false).play()
}

/// Runs a seed with someone who makes a mistake.
///
/// # Errors
///
/// The first violation of an invariant.
pub fn run_sabotaged(seed: u64, mistake: Mistake) -> Result<(), Violation> {
    let (scenario, random) = prepare(seed);
    let mut saboteur = Saboteur::new(&scenario, mistake);
    World::new(&scenario, &mut saboteur, random, false).play()
}

/// Runs a seed and writes down everything that happens; with a mistake, if one is given.
#[must_use]
pub fn replay(seed: u64, mistake: Option<Mistake>) -> Report {
    let (scenario, random) = prepare(seed);
    let mut decider: Box<dyn Decider> = match mistake {
        Some(mistake) => Box::new(Saboteur::new(&scenario, mistake)),
        None => Box::new(honest(&scenario)),
    };
    let mut world = World::new(&scenario, &mut *decider, random, true);
    let outcome = world.play();
    let trace = world.trace.take().unwrap_or_default();
    Report { scenario: format!("{scenario:#?}"), trace, outcome }
}

fn prepare(seed: u64) -> (Scenario, Random) {
    let mut random = Random::from_seed(seed);
    (Scenario::from_random(&mut random), random)
}

fn honest(scenario: &Scenario) -> Scheduler {
    let &Scenario { workers, table_slots, start_timeout_ns, tokens, .. } = scenario;
    Scheduler::new(Config { workers, table_slots, start_timeout_ns, is_memory_limited: false, tokens })
}
