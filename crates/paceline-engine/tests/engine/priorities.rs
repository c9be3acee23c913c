//! What is urgent goes first, whatever was submitted before it.

use crate::pool::{Gate, Pool};
use paceline_engine::{Outcome, Pending, Sizing, Terms};
use std::sync::Arc;

impl Pool {
    fn submit_urgent(&self, priority: i16, steps: &str) -> Arc<Pending> {
        self.submit_under(Terms { priority, ..Terms::default() }, steps)
    }
}

#[test]
fn urgent_task_goes_before_all_that_no_worker_has_claimed() {
    let (pool, gate) = (Pool::open(1), Gate::new());
    let held = pool.begin(Terms::default(), &gate.step());
    let others: Vec<_> = (0..3_000).map(|_| pool.submit("turn")).collect();
    let urgent = [1, 5, 5, -1].map(|priority| pool.submit_urgent(priority, "turn"));
    let map = pool.submit_many(&vec!["turn".to_owned(); 500], Sizing::Measured);
    gate.open();
    // The worker tells itself in which order it ran them: who waits may be late to look.
    let turn = |job: &Arc<Pending>| pool.answer(job).parse::<u64>().unwrap();
    let (last, first) = (turn(&urgent[3]), [1, 2, 0].map(|place| turn(&urgent[place])));
    assert!(first.is_sorted(), "the most urgent first, and of those the oldest: {first:?}");
    assert!(first[2] < 10, "{} tasks went before it, of which all but three are less urgent", first[2]);
    let others: Vec<_> = others.iter().map(turn).collect();
    assert!(others.is_sorted(), "what is equally urgent goes by age");
    assert!(others.iter().filter(|turn| **turn < first[0]).count() < 7);
    assert_eq!(last, 1 + 3_000 + 3 + 500, "what is less urgent than all others goes last");
    assert!(held.is_done() && map.is_done());
    pool.finish();
}

#[test]
fn tasks_in_random_priorities_are_answered_each_with_its_own() {
    let pool = Pool::open(2);
    let jobs: Vec<_> = (0..5_000_u16)
        .map(|number| {
            pool.submit_urgent(i16::try_from(number.wrapping_mul(40_503) % 5).unwrap() - 2, &format!("echo {number}"))
        })
        .collect();
    for (number, job) in jobs.iter().enumerate() {
        assert_eq!(pool.answer(job), number.to_string());
    }
    pool.finish();
}

#[test]
fn pool_closed_with_a_cancel_runs_only_what_has_begun() {
    let (pool, gate) = (Pool::open(1), Gate::new());
    let held = pool.begin(Terms::default(), &gate.step());
    let items = ["echo first".to_owned(), gate.step(), "echo last".to_owned()];
    let map = pool.submit_many(&items, Sizing::Fixed(1));
    let waiting: Vec<_> = (0..3_000).map(|_| pool.submit("echo")).collect();
    pool.engine.close(false);
    assert!(waiting.iter().all(|job| !job.is_done()));
    pool.engine.close(true);
    assert!(waiting.iter().chain([&map]).all(|job| matches!(job.take_outcome(), Some(Outcome::Cancelled))));
    assert!(!held.is_done());
    gate.open();
    assert_eq!(pool.answer(&held), "");
    pool.finish();
}
