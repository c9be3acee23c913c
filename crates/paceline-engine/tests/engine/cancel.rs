//! A job is cancelled as long as nothing of it has begun.

use crate::pool::{Gate, Pool, eventually};
use paceline_engine::{Outcome, Sizing, Terms};

#[test]
fn waiting_job_is_cancelled_and_never_runs() {
    let pool = Pool::open(1);
    let gate = Gate::new();
    let running = pool.begin(Terms::default(), &gate.step());
    // More than the table holds.
    let waiting: Vec<_> = (0..3_000).map(|number| pool.submit(&format!("echo {number}"))).collect();
    for job in waiting.iter().step_by(2) {
        assert!(pool.engine.cancel(job));
        assert!(matches!(job.take_outcome(), Some(Outcome::Cancelled)));
    }
    gate.open();
    for (number, job) in waiting.iter().enumerate().skip(1).step_by(2) {
        assert_eq!(pool.answer(job), number.to_string());
    }
    assert_eq!(pool.answer(&running), "");
    pool.finish();
}

#[test]
fn running_job_is_not_cancelled_nor_one_that_has_ended() {
    let pool = Pool::open(1);
    let gate = Gate::new();
    let job = pool.begin(Terms::default(), &gate.step());
    assert!(pool.engine.is_running(&job));
    assert!(!pool.engine.cancel(&job));
    gate.open();
    pool.wait(&job);
    assert!(!pool.engine.cancel(&job));
    assert!(!pool.engine.is_running(&job));
    assert_eq!(pool.answer(&job), "");
    pool.finish();
}

#[test]
fn job_of_which_one_chunk_has_begun_runs_to_its_end() {
    let pool = Pool::open(1);
    let gate = Gate::new();
    let items: Vec<_> = (0..50).map(|number| format!("{}; echo {number}", gate.step())).collect();
    let job = pool.submit_many(&items, Sizing::Fixed(1));
    eventually("it has begun", || pool.engine.is_running(&job));
    assert!(!pool.engine.cancel(&job));
    gate.open();
    assert_eq!(pool.answers(&job), (0..50).map(|number| Ok(number.to_string())).collect::<Vec<_>>());
    pool.finish();
}

/// The table's slots are used in turn, and what they held before must not count.
#[test]
fn waiting_job_in_a_slot_used_before_is_not_running() {
    let pool = Pool::open(1);
    let first = [pool.submit("sleep 20"), pool.submit("echo"), pool.submit("echo")];
    for job in &first {
        pool.wait(job);
    }
    for _ in first.len()..paceline_ipc::SLOTS - 1 {
        pool.run("echo");
    }
    let gate = Gate::new();
    let running = pool.begin(Terms::default(), &gate.step());
    assert!(pool.engine.is_running(&running));
    assert!(!pool.engine.is_running(&pool.submit("echo")));
    gate.open();
    pool.finish();
}
