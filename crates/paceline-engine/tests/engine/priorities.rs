//! What is urgent goes first, whatever was submitted before it.

use crate::pool::Pool;
use paceline_engine::{Outcome, Pending, Sizing, Terms};
use std::sync::Arc;

impl Pool {
    fn submit_urgent(&self, priority: i16, steps: &str) -> Arc<Pending> {
        self.submit_under(Terms { priority, ..Terms::default() }, steps)
    }

    /// Keeps the only worker busy until the path exists.
    fn hold(&self, path: &str) -> Arc<Pending> {
        let held = self.submit(&format!("await {path}"));
        crate::pool::eventually("the worker is held", || self.engine.is_running(&held));
        held
    }
}

/// A place that exists only when the test makes it.
fn gate(name: &str) -> String {
    let path = std::env::temp_dir().join(format!("paceline-{name}-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path.to_str().unwrap().to_owned()
}

#[test]
fn urgent_task_goes_before_all_that_no_worker_has_claimed() {
    let (pool, gate) = (Pool::open(1), gate("urgent"));
    let held = pool.hold(&gate);
    let others: Vec<_> = (0..3_000).map(|_| pool.submit("echo other")).collect();
    let urgent = [1, 5, 5, -1].map(|priority| pool.submit_urgent(priority, "number"));
    let map = pool.submit_many(&vec!["echo map".to_owned(); 500], Sizing::Measured);
    std::fs::write(&gate, "").unwrap();
    pool.wait(&urgent[0]);
    let ended = others.iter().filter(|other| other.is_done()).count();
    assert!(ended < 200, "{ended} tasks that are less urgent went before it");
    assert!(urgent[1].is_done() && urgent[2].is_done() && !urgent[3].is_done());
    assert_eq!(pool.answer(&urgent[3]), "3004");
    assert!(held.is_done() && map.is_done() && others.iter().all(|other| other.is_done()));
    assert!(others.iter().all(|other| pool.answer(other) == "other"));
    std::fs::remove_file(&gate).unwrap();
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
    let (pool, gate) = (Pool::open(1), gate("closing"));
    let held = pool.hold(&gate);
    let items = ["echo first".to_owned(), format!("await {gate}"), "echo last".to_owned()];
    let map = pool.submit_many(&items, Sizing::Fixed(1));
    let waiting: Vec<_> = (0..3_000).map(|_| pool.submit("echo")).collect();
    pool.engine.close(false);
    assert!(waiting.iter().all(|job| !job.is_done()));
    pool.engine.close(true);
    assert!(waiting.iter().chain([&map]).all(|job| matches!(job.take_outcome(), Some(Outcome::Cancelled))));
    assert!(!held.is_done());
    std::fs::write(&gate, "").unwrap();
    assert_eq!(pool.answer(&held), "");
    std::fs::remove_file(&gate).unwrap();
    pool.finish();
}
