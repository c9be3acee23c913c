//! Owns what a seed stands for: the pool, what its user does and when, and how bad the luck is. Never plays it.

use paceline_core::{Sizing, Terms};

use crate::random::Random;

/// A microsecond of virtual time. Delays are few multiples of it, so that many things are due at the same moment.
pub(crate) const STEP_NS: u64 = 1_000;

/// A job that the user will submit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlannedJob {
    pub(crate) at_step: u32,
    pub(crate) items: u32,
    pub(crate) sizing: Sizing,
    pub(crate) terms: Terms,
    pub(crate) cancel_at_step: Option<u32>,
    /// Whether the user asks for the cancel a second time, a step later.
    pub(crate) is_cancelled_twice: bool,
}

/// What a seed stands for.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) workers: u16,
    /// How many chunks a worker holds at most.
    pub(crate) chunks_per_worker: u16,
    pub(crate) table_slots: u32,
    pub(crate) jobs: Vec<PlannedJob>,
    pub(crate) close_at_step: Option<u32>,
    /// Whether closing cancels what waits; and closing a second time.
    pub(crate) is_closing_with_cancel: [bool; 2],
    pub(crate) terminate_at_step: Option<u32>,
    /// Whether the user closes or terminates a second time, three steps later.
    pub(crate) is_ended_twice: bool,
    /// How often a worker runs the items of a chunk side by side, not one after the other.
    pub(crate) side_by_side_percent: u32,
    /// The longest a worker takes from claiming a chunk to beginning with it.
    pub(crate) longest_begin_steps: u32,
    /// The longest an item takes.
    pub(crate) longest_item_steps: u32,
    /// The longest the engine takes to notice anything.
    pub(crate) longest_delay_steps: u32,
    /// How many workers will die at most; without a limit a run might never end.
    pub(crate) most_deaths: u32,
    pub(crate) death_percent: u32,
    pub(crate) death_before_ready_percent: u32,
    pub(crate) failed_start_percent: u32,
    /// After how many chunks a worker retires.
    pub(crate) retire_after: Option<u32>,
    /// Whether answers to withdrawals come in later, or at once.
    pub(crate) is_answering_late: bool,
    pub(crate) old_answers: u32,
}

impl Scenario {
    /// What this seed stands for.
    pub(crate) fn from_random(random: &mut Random) -> Self {
        let span = random.between(5, 150);
        let longest_job = if random.chance(20) { 60 } else { 12 };
        let priorities = if random.chance(50) { random.between(2, 4) } else { 1 };
        let count = random.between(1, 9);
        let jobs = (0..count).map(|_| PlannedJob::from_random(random, span, longest_job, priorities)).collect();
        let is_terminated = random.chance(25);
        let is_closed = !is_terminated || random.chance(50);
        let has_crashes = random.chance(60);
        Self {
            workers: u16::try_from(random.between(1, 4)).unwrap_or(1),
            chunks_per_worker: if random.chance(50) { u16::try_from(random.between(2, 4)).unwrap_or(1) } else { 1 },
            table_slots: random.between(1, 9),
            jobs,
            close_at_step: is_closed.then(|| random.below(span * 2)),
            is_closing_with_cancel: [random.chance(40), random.chance(40)],
            terminate_at_step: is_terminated.then(|| random.below(span * 3)),
            is_ended_twice: random.chance(30),
            side_by_side_percent: if random.chance(30) { random.between(20, 100) } else { 0 },
            longest_begin_steps: if random.chance(50) { random.between(1, 8) } else { 0 },
            longest_item_steps: random.between(1, 20),
            longest_delay_steps: random.between(0, 12),
            most_deaths: if has_crashes { random.between(1, 10) } else { 0 },
            death_percent: random.between(5, 80),
            death_before_ready_percent: if random.chance(20) { random.between(10, 60) } else { 0 },
            failed_start_percent: if random.chance(5) { 20 } else { 0 },
            retire_after: random.chance(25).then(|| random.between(1, 4)),
            is_answering_late: random.chance(50),
            old_answers: random.below(8),
        }
    }
}

impl PlannedJob {
    fn from_random(random: &mut Random, span: u32, longest_job: u32, priorities: u32) -> Self {
        let at_step = random.below(span);
        let items = match random.below(10) {
            0 => 0,
            1..=4 => 1,
            _ => random.between(2, longest_job),
        };
        Self {
            at_step,
            items,
            sizing: if random.chance(40) { Sizing::Measured } else { Sizing::Fixed(random.below(6)) },
            terms: Terms {
                retries: u16::try_from(random.below(4)).unwrap_or(0),
                priority: i16::try_from(random.below(priorities)).unwrap_or(0) - 1,
                ..Terms::default()
            },
            cancel_at_step: random.chance(30).then(|| at_step + random.below(12)),
            is_cancelled_twice: random.chance(30),
        }
    }
}
