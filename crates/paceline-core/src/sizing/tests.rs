//! Owns the proof that the chunk sizes keep the makespan near its bound, by working through whole jobs in virtual time.

use std::collections::VecDeque;

use super::*;

/// What one chunk costs beyond its items.
const OVERHEAD_NS: u64 = 2_000;

/// How a job went.
struct Outcome {
    makespan_ns: u64,
    bound_ns: u64,
    chunks: u32,
}

impl Outcome {
    /// Whether the makespan is within so many thousandths above the bound.
    fn is_within(&self, thousandths: u64) -> bool {
        self.makespan_ns * 1_000 <= self.bound_ns * (1_000 + thousandths)
    }
}

/// Works through a job as the pool would: two chunks out for each worker, the oldest taken first.
fn work_through(times_ns: &[u64], workers: u32) -> Outcome {
    let mut pace = Pace::default();
    let mut table: VecDeque<&[u64]> = VecDeque::new();
    let mut running: Vec<Option<(u64, &[u64])>> = vec![None; workers as usize];
    let (mut rest, mut now_ns, mut chunks) = (times_ns, 0, 0);
    loop {
        let mut out = table.len() + running.iter().flatten().count();
        while out < 2 * workers as usize && !rest.is_empty() {
            let remaining = u32::try_from(rest.len()).expect("a job of fewer than 2^32 items");
            let (chunk, after) = rest.split_at(pace.chunk_items(remaining, workers) as usize);
            table.push_back(chunk);
            rest = after;
            chunks += 1;
            out += 1;
        }
        for worker in running.iter_mut().filter(|worker| worker.is_none()) {
            *worker = table.pop_front().map(|chunk| (now_ns + OVERHEAD_NS + chunk.iter().sum::<u64>(), chunk));
        }
        let Some(first) = running.iter_mut().filter(|worker| worker.is_some()).min_by_key(|worker| worker.map(|w| w.0))
        else {
            break;
        };
        let (end_ns, chunk) = first.take().expect("only busy workers are looked at");
        now_ns = end_ns;
        pace.note(u32::try_from(chunk.len()).expect("a chunk of fewer than 2^32 items"), busy_ns(chunk));
    }
    let total: u64 = times_ns.iter().sum();
    let longest = times_ns.iter().copied().max().unwrap_or(0);
    Outcome { makespan_ns: now_ns, bound_ns: longest.max(total / u64::from(workers)), chunks }
}

fn busy_ns(chunk: &[u64]) -> u64 {
    chunk.iter().sum::<u64>() + OVERHEAD_NS / 2
}

/// Heavy-tailed times, shuffled: a Pareto distribution (shape 1.5) by its inverse, in a fixed pseudo-random order, cut
/// off where one item alone would be a tenth of a second.
fn heavy_tailed(items: u32, shortest_ns: u64) -> Vec<u64> {
    (0..items)
        .map(|item| {
            // The golden ratio's multiples are spread evenly over the unit interval.
            let even = f64::from(item.wrapping_mul(2_654_435_769)) / f64::from(u32::MAX);
            let stretch = (1.0 - even).max(1e-9).powf(-1.0 / 1.5);
            whole(f64::from(u32::try_from(shortest_ns).expect("a short time")) * stretch).min(100_000_000)
        })
        .collect()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "times are positive and far below 2^63")]
fn whole(value: f64) -> u64 {
    value as u64
}

#[test]
fn first_chunks_are_single_items_until_one_has_ended() {
    assert_eq!(Pace::default().chunk_items(1_000_000, 2), 1);
}

#[test]
fn chunk_is_worth_two_milliseconds_while_much_remains() {
    let mut pace = Pace::default();
    pace.note(100, 100 * 1_000);
    assert_eq!(pace.chunk_items(1_000_000, 2), 2_000);
}

#[test]
fn chunk_shrinks_towards_the_end_down_to_what_is_worthwhile() {
    let mut pace = Pace::default();
    pace.note(100, 100 * 1_000);
    assert_eq!(pace.chunk_items(4_000, 2), 1_000, "half of an even share");
    assert_eq!(pace.chunk_items(150, 2), 50, "fifty microseconds");
    assert_eq!(pace.chunk_items(60, 2), 30, "never more than an even share");
    assert_eq!(pace.chunk_items(1, 2), 1);
}

#[test]
fn chunk_grows_at_most_by_the_factor_from_what_was_measured() {
    let mut pace = Pace::default();
    pace.note(1, 1);
    assert_eq!(pace.chunk_items(1_000_000, 2), 64);
    pace.note(64, 64);
    assert_eq!(pace.chunk_items(1_000_000, 2), 4_096);
}

#[test]
fn items_longer_than_the_target_go_out_alone() {
    let mut pace = Pace::default();
    pace.note(1, 5_000_000);
    assert_eq!(pace.chunk_items(1_000_000, 2), 1);
}

#[test]
fn times_of_zero_and_without_limit_do_no_harm() {
    let mut pace = Pace::default();
    pace.note(u32::MAX, 0);
    assert_eq!(pace.chunk_items(u32::MAX, 2), u32::MAX.div_ceil(2), "an even share, as even that takes no time");
    for _ in 0..100 {
        pace.note(u32::MAX, u64::MAX);
    }
    assert!(pace.chunk_items(u32::MAX, u32::from(u16::MAX)) >= 1);
}

#[test]
fn uniform_times_come_near_the_bound_with_few_chunks() {
    let outcome = work_through(&vec![10_000; 100_000], 2);
    assert!(outcome.is_within(10), "{} of {}", outcome.makespan_ns, outcome.bound_ns);
    assert!(outcome.chunks < 600, "{} chunks", outcome.chunks);
}

#[test]
fn million_items_of_nothing_take_few_chunks() {
    let outcome = work_through(&vec![50; 1_000_000], 2);
    assert!(outcome.chunks < 100, "{} chunks", outcome.chunks);
    assert!(outcome.is_within(50), "{} of {}", outcome.makespan_ns, outcome.bound_ns);
}

#[test]
fn heavy_tailed_times_come_within_five_percent_or_one_item_if_the_longest_come_last() {
    for (items, shortest_ns, workers) in [(20_000, 50_000, 2), (100_000, 5_000, 4), (50_000, 20_000, 8)] {
        let shuffled = heavy_tailed(items, shortest_ns);
        let mut ascending = shuffled.clone();
        ascending.sort_unstable();
        let descending: Vec<u64> = ascending.iter().rev().copied().collect();
        for (order, times) in [("shuffled", &shuffled), ("descending", &descending)] {
            let outcome = work_through(times, workers);
            assert!(outcome.is_within(50), "{order}: {} of {}", outcome.makespan_ns, outcome.bound_ns);
        }
        // The longest items come last and nothing is left to fill the gaps, whatever the sizes: at most one of them.
        let outcome = work_through(&ascending, workers);
        let longest = *ascending.last().expect("a job with items");
        assert!(outcome.makespan_ns <= outcome.bound_ns * 105 / 100 + longest, "ascending: {}", outcome.makespan_ns);
    }
}

#[test]
fn times_that_rise_or_fall_steadily_come_within_three_percent() {
    let ascending: Vec<u64> = (1..=40_000).map(|item| item * 2).collect();
    let descending: Vec<u64> = ascending.iter().rev().copied().collect();
    for times in [ascending, descending] {
        let outcome = work_through(&times, 2);
        assert!(outcome.is_within(30), "{} of {}", outcome.makespan_ns, outcome.bound_ns);
    }
}

#[test]
fn single_giant_delays_the_job_by_little_more_than_one_chunk() {
    for place in [0, 5_000, 9_000] {
        let mut times = vec![10_000; 10_000];
        times[place] = 40_000_000;
        let outcome = work_through(&times, 2);
        // Who does not know the times cannot begin the giant before its turn.
        let bound_ns = outcome.bound_ns.max(place as u64 * 10_000 / 2 + times[place]);
        assert!(outcome.makespan_ns <= bound_ns * 103 / 100 + TARGET_NS, "at {place}: {}", outcome.makespan_ns);
    }
}
