//! Owns what a seed stands for: the pool, what its user does and when, and how bad the luck is. Never plays it.

use paceline_core::{RetryOn, Sizing, TOKEN_KINDS, Terms, Tokens, WHOLE_TOKEN};

use crate::fate::Character;
use crate::random::Random;

/// A step of virtual time. Delays are few multiples of it, so that many things are due at the same moment; it is as
/// long as the shortest time that the core leaves between two looks.
pub(crate) const STEP_NS: u64 = 250_000;

/// A job that the user will submit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlannedJob {
    pub(crate) at_step: u32,
    pub(crate) items: u32,
    pub(crate) sizing: Sizing,
    pub(crate) terms: Terms,
    pub(crate) character: Character,
    /// When the user asks for it to be cancelled, and whether with what runs of it.
    pub(crate) cancels: [Option<(u32, bool)>; 2],
}

/// What a seed stands for.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "circumstances that are each by themselves")]
pub(crate) struct Scenario {
    pub(crate) workers: u16,
    /// How many chunks a worker holds at most.
    pub(crate) chunks_per_worker: u16,
    pub(crate) table_slots: u32,
    /// What chunks may have at once, in all.
    pub(crate) tokens: Tokens,
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
    /// The longest it takes from there to being ready; zero if it need not get ready.
    pub(crate) longest_ready_steps: u32,
    /// The longest an item takes.
    pub(crate) longest_item_steps: u32,
    /// The longest the engine takes to notice anything.
    pub(crate) longest_delay_steps: u32,
    /// The longest the engine sleeps over the moment of a look.
    pub(crate) longest_look_delay_steps: u32,
    /// How often it sleeps over it a second time, and how often it looks when it need not.
    pub(crate) lost_look_percent: u32,
    pub(crate) needless_look_percent: u32,
    /// Looks for which nobody asked.
    pub(crate) needless_looks: u32,
    /// How many workers will die at most; without a limit a run might never end.
    pub(crate) most_deaths: u32,
    pub(crate) death_percent: u32,
    pub(crate) death_before_ready_percent: u32,
    pub(crate) failed_start_percent: u32,
    /// How often a worker is slow to start, or never does where that has a limit.
    pub(crate) slow_start_percent: u32,
    /// How long a worker may take to start; zero for any time.
    pub(crate) start_timeout_ns: u64,
    /// Whether every worker outgrows its memory as soon as it has started.
    pub(crate) is_too_big: bool,
    /// After how many chunks a worker retires.
    pub(crate) retire_after: Option<u32>,
    /// Whether answers to withdrawals come in later, or at once.
    pub(crate) is_answering_late: bool,
    /// Whether failed items are told also where they change nothing.
    pub(crate) is_telling_every_failure: bool,
    pub(crate) old_answers: u32,
    /// How often a slot is given up when its chunk has ended.
    pub(crate) lost_slot_percent: u32,
}

impl Scenario {
    /// What this seed stands for.
    pub(crate) fn from_random(random: &mut Random) -> Self {
        let span = random.between(5, 150);
        let longest_job = if random.chance(20) { 60 } else { 12 };
        let priorities = if random.chance(50) { random.between(2, 4) } else { 1 };
        let longest_item_steps = random.between(1, 20);
        let habits = Habits {
            span,
            longest_job,
            priorities,
            longest_item_steps,
            troubled_percent: if random.chance(70) { 60 } else { 0 },
            limited_percent: if random.chance(50) { 60 } else { 0 },
            forced_percent: if random.chance(60) { 50 } else { 0 },
            tokens: Tokens::default(),
        };
        let tokens = if random.chance(35) { some_tokens(random) } else { Tokens::default() };
        let habits = Habits { tokens, ..habits };
        let count = random.between(1, 9);
        let jobs = (0..count).map(|_| PlannedJob::from_random(random, &habits)).collect();
        let is_terminated = random.chance(25);
        let is_closed = !is_terminated || random.chance(50);
        let has_crashes = random.chance(60);
        Self {
            workers: u16::try_from(random.between(1, 4)).unwrap_or(1),
            chunks_per_worker: if random.chance(50) { u16::try_from(random.between(2, 4)).unwrap_or(1) } else { 1 },
            table_slots: random.between(1, 9),
            tokens,
            jobs,
            close_at_step: is_closed.then(|| random.below(span * 2)),
            is_closing_with_cancel: [random.chance(40), random.chance(40)],
            terminate_at_step: is_terminated.then(|| random.below(span * 3)),
            is_ended_twice: random.chance(30),
            side_by_side_percent: if random.chance(30) { random.between(20, 100) } else { 0 },
            longest_begin_steps: if random.chance(50) { random.between(1, 8) } else { 0 },
            longest_item_steps,
            longest_delay_steps: random.between(0, 12),
            longest_look_delay_steps: if random.chance(60) { random.between(0, 6) } else { 0 },
            lost_look_percent: if random.chance(30) { 30 } else { 0 },
            needless_look_percent: random.below(60),
            needless_looks: if random.chance(30) { random.below(8) } else { 0 },
            most_deaths: if has_crashes { many(random.between(1, 10)) } else { 0 },
            death_percent: random.between(5, 80),
            death_before_ready_percent: if random.chance(20) { random.between(10, 60) } else { 0 },
            failed_start_percent: if random.chance(5) { 20 } else { 0 },
            slow_start_percent: if random.chance(20) { random.between(10, 60) } else { 0 },
            start_timeout_ns: if random.chance(30) { time_ns(random, 4, 60) } else { 0 },
            is_too_big: random.chance(2),
            retire_after: random.chance(25).then(|| random.between(1, 4)),
            is_answering_late: random.chance(50),
            is_telling_every_failure: random.chance(50),
            old_answers: random.below(8),
            longest_ready_steps: if random.chance(30) { random.between(1, 12) } else { 0 },
            lost_slot_percent: if random.chance(10) { random.between(1, 20) } else { 0 },
        }
    }
}

/// What the jobs of a seed have in common.
struct Habits {
    span: u32,
    longest_job: u32,
    priorities: u32,
    longest_item_steps: u32,
    /// How many of the jobs have items that fail or outgrow the memory.
    troubled_percent: u32,
    /// How many have a limit of time.
    limited_percent: u32,
    /// How many of the cancels stop what runs.
    forced_percent: u32,
    /// What there is for all jobs together.
    tokens: Tokens,
}

/// A time of so many steps, or a little less than one of them.
fn time_ns(random: &mut Random, least_steps: u32, most_steps: u32) -> u64 {
    let steps = u64::from(random.between(least_steps, most_steps)) * STEP_NS;
    let less = if random.chance(30) { u64::from(random.below(200_000)) } else { 0 };
    steps.saturating_sub(less)
}

/// The most that is drawn stands for many more: so many that workers are not replaced for ever.
fn many(deaths: u32) -> u32 {
    if deaths == 10 { 60 } else { deaths }
}

impl PlannedJob {
    fn from_random(random: &mut Random, habits: &Habits) -> Self {
        let at_step = random.below(habits.span);
        let items = match random.below(10) {
            0 => 0,
            1..=4 => 1,
            _ => random.between(2, habits.longest_job),
        };
        let sizing = if random.chance(40) { Sizing::Measured } else { Sizing::Fixed(random.below(6)) };
        let is_limited = random.chance(habits.limited_percent);
        let is_troubled = random.chance(habits.troubled_percent);
        let mut cancel = |percent| {
            let most_steps = if random.chance(50) { 12 } else { 60 };
            let step = at_step + random.below(most_steps);
            random.chance(percent).then(|| (step, random.chance(habits.forced_percent)))
        };
        let cancels = match cancel(30) {
            Some((step, stops_running)) => [Some((step, stops_running)), cancel(40)],
            None => [None, None],
        };
        let character = Character {
            seed: random.below(u32::MAX),
            failing_percent: if is_troubled { random.below(60) } else { 0 },
            lasting_percent: random.below(100),
            endless_percent: if is_limited && random.chance(70) { random.below(50) } else { 0 },
            outgrowing_percent: if is_troubled && random.chance(40) { random.below(40) } else { 0 },
            obeying_percent: random.below(101),
            longest_steps: habits.longest_item_steps,
        };
        Self { at_step, items, sizing, terms: terms(random, habits, is_limited), character, cancels }
    }
}

/// Few tokens of few kinds, devices among them or not.
fn some_tokens(random: &mut Random) -> Tokens {
    let mut amounts = [0; TOKEN_KINDS];
    amounts[0] = if random.chance(60) { random.between(1, 3) * WHOLE_TOKEN } else { 0 };
    for amount in &mut amounts[1..3] {
        *amount = if random.chance(60) { random.between(1, 5_000) } else { 0 };
    }
    Tokens(amounts)
}

/// What chunks of a job want of them, if anything.
fn demand(random: &mut Random, all: &Tokens) -> Tokens {
    let mut wanted = Tokens::default();
    if random.chance(40) {
        return wanted;
    }
    let devices = all.0[0] / WHOLE_TOKEN;
    if devices > 0 && random.chance(70) {
        let is_part = random.chance(40);
        wanted.0[0] = if is_part { random.between(1, WHOLE_TOKEN) } else { random.between(1, devices) * WHOLE_TOKEN };
    }
    for (wanted, all) in wanted.0.iter_mut().zip(all.0).skip(1) {
        if all > 0 && random.chance(60) {
            *wanted = random.between(1, all);
        }
    }
    wanted
}

fn terms(random: &mut Random, habits: &Habits, is_limited: bool) -> Terms {
    let retry_on = RetryOn {
        death: random.chance(70),
        overrun: random.chance(50),
        outgrowth: random.chance(70),
        alone_after_outgrowth: random.chance(50),
    };
    Terms {
        retries: u16::try_from(random.below(4)).unwrap_or(0),
        priority: i16::try_from(random.below(habits.priorities)).unwrap_or(0) - 1,
        retry_on: if random.chance(40) { RetryOn::default() } else { retry_on },
        backoff_ns: if random.chance(30) { time_ns(random, 1, 20) } else { 0 },
        timeout_ns: if is_limited { time_ns(random, 1, 60).max(1) } else { 0 },
        grace_ns: if random.chance(70) { time_ns(random, 1, 16) } else { 0 },
        most_failures: if random.chance(30) { random.below(4) } else { u32::MAX },
        tokens: if habits.tokens.is_empty() { Tokens::default() } else { demand(random, &habits.tokens) },
    }
}
