//! Answers one question: how long after the least possible time does a map end, by how its items are handed out? Plays
//! 1,000 tasks on 2 to 64 workers in virtual time, and prints a row of tab-separated values for each mix of tasks, number of
//! workers, and way: the core's measured chunks, the costliest first one by one, and chunks of one size.
//!
//! The time over the bound is max(total / workers, longest task), as in the benchmark's rows on real machines.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use paceline_core::{ChunkId, Command, Config, Event, JobId, Moment, Scheduler, Sizing, Terms, Tokens, WorkerId};

const COUNT: u32 = 1_000;
const TOTAL_NS: f64 = 4e9;
/// What it takes a worker to get the next chunk.
const BETWEEN_NS: u64 = 5_000;

/// The quantile of an item in a mix, before all are scaled to the same total.
type Mix = fn(f64) -> f64;

const MIXES: &[(&str, Mix)] = &[
    ("uniform", |_| 1.0),
    ("heavy-tailed", pareto),
    ("ascending", pareto),
    ("descending", pareto),
    ("bimodal", |rank| if (rank * 1_000.0) % 10.0 < 1.0 { 8.0 } else { 1.0 }),
    ("giant", |rank| if rank > 0.999 { 1_000.0 } else { 1.0 }),
];

fn pareto(rank: f64) -> f64 {
    (1.0 - rank).powf(-0.5)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "nanoseconds of seconds")]
fn items_of(name: &str, mix: Mix) -> Vec<u64> {
    let raw: Vec<f64> = (0..COUNT).map(|index| mix((f64::from(index) + 0.5) / f64::from(COUNT))).collect();
    let sum: f64 = raw.iter().sum();
    let mut items: Vec<u64> = raw.iter().map(|value| (value * TOTAL_NS / sum) as u64).collect();
    match name {
        "heavy-tailed" => shuffle(&mut items),
        "descending" => items.reverse(),
        _ => {}
    }
    items
}

/// The same order each time.
fn shuffle(items: &mut [u64]) {
    let mut state = 1_u64;
    for place in (1..items.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let other = usize::try_from((state >> 33) % (place as u64 + 1)).unwrap_or(0);
        items.swap(place, other);
    }
}

/// When the last worker is done, if workers take chunks in turn as the core publishes them.
fn by_core(items: &[u64], workers: u16, sizing: Sizing) -> u64 {
    let config = Config {
        workers,
        table_slots: 1_024,
        start_timeout_ns: 0,
        is_memory_limited: false,
        tokens: Tokens::default(),
    };
    let mut scheduler = Scheduler::new(config);
    let (mut commands, mut table) = (Vec::new(), VecDeque::new());
    scheduler.handle(Moment(0), Event::PoolOpened, &mut commands);
    for worker in 0..workers {
        scheduler.handle(Moment(0), Event::WorkerReady { worker: WorkerId(worker) }, &mut commands);
    }
    let submission = Event::JobSubmitted { job: JobId(0), items: COUNT, sizing, terms: Terms::default() };
    scheduler.handle(Moment(0), submission, &mut commands);
    let mut idle = usize::from(workers);
    let mut ends: BinaryHeap<Reverse<(u64, ChunkId, u64)>> = BinaryHeap::new();
    let mut now = 0;
    loop {
        for command in commands.drain(..) {
            if let Command::Publish { chunk, first, count, .. } = command {
                table.push_back((chunk, first as usize, count as usize));
            }
        }
        while idle > 0
            && let Some((chunk, first, count)) = table.pop_front()
        {
            let busy: u64 = items[first..first + count].iter().sum();
            ends.push(Reverse((now + BETWEEN_NS + busy, chunk, busy)));
            idle -= 1;
        }
        let Some(Reverse((end, chunk, busy_ns))) = ends.pop() else { return now };
        now = end;
        idle += 1;
        scheduler.handle(Moment(now), Event::ChunkFinished { chunk, busy_ns }, &mut commands);
    }
}

#[expect(clippy::cast_precision_loss, reason = "ratios of times")]
fn main() {
    println!("mix\tworkers\tway\tratio");
    for (name, mix) in MIXES {
        let items = items_of(name, *mix);
        let (total, longest) = (items.iter().sum::<u64>(), items.iter().copied().max().unwrap_or(0));
        let mut costliest_first = items.clone();
        costliest_first.sort_unstable_by_key(|time| Reverse(*time));
        for workers in [2_u16, 4, 8, 16, 64] {
            let bound = (total / u64::from(workers)).max(longest) as f64;
            // As `multiprocessing.Pool.map` does it: four chunks for each worker.
            let fixed = COUNT.div_ceil(4 * u32::from(workers));
            let ways = [
                ("measured", by_core(&items, workers, Sizing::Measured)),
                ("cost", by_core(&costliest_first, workers, Sizing::Fixed(1))),
                ("fixed", by_core(&items, workers, Sizing::Fixed(fixed))),
            ];
            for (way, time) in ways {
                println!("{name}\t{workers}\t{way}\t{:.4}", time as f64 / bound);
            }
        }
    }
}
