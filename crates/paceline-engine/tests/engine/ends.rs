//! A pool ends as asked, and every wait with it.

use crate::pool::{Choice, DEADLINE, Pool, eventually, lives};
use paceline_engine::{Outcome, Stage, SubmitError};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

#[test]
fn closed_pool_finishes_what_it_has_and_takes_no_more() {
    let pool = Pool::open(2);
    let jobs: Vec<_> = (0..300).map(|number| pool.submit(&format!("sleep 1; echo {number}"))).collect();
    pool.engine.close(false);
    assert_eq!(pool.try_submit("echo no").unwrap_err(), SubmitError::Closed);
    assert!(pool.engine.join(DEADLINE));
    for (number, job) in jobs.iter().enumerate() {
        assert!(job.is_done());
        assert_eq!(pool.answer(job), number.to_string());
    }
}

#[test]
fn terminated_pool_gives_up_running_and_waiting_jobs_alike() {
    let pool = Pool::open(2);
    let pids = pool.await_workers(2);
    let jobs: Vec<_> = (0..2_000).map(|number| pool.submit(if number < 2 { "hang" } else { "echo" })).collect();
    eventually("both hang", || pool.engine.is_running(&jobs[0]) && pool.engine.is_running(&jobs[1]));
    let began = Instant::now();
    pool.engine.terminate();
    for job in &jobs {
        pool.wait(job);
        assert!(matches!(job.take_outcome(), Some(Outcome::Abandoned(None))));
    }
    assert!(pool.engine.join(DEADLINE));
    assert!(began.elapsed().as_secs() < 5);
    assert!(!pids.iter().any(|pid| lives(*pid)));
    assert_eq!(pool.try_submit("echo no").unwrap_err(), SubmitError::Closed);
}

#[test]
fn pool_can_be_ended_before_its_workers_are_born() {
    for _ in 0..20 {
        let pool = Pool::open(2);
        pool.engine.terminate();
        assert!(pool.engine.join(DEADLINE));
        Pool::open(2).finish();
    }
}

#[test]
fn hundreds_of_workers_are_born_and_leave() {
    let pool = Pool::open(200);
    pool.await_workers(200);
    let items: Vec<_> = (0..1_000).map(|_| "sleep 5; pid".to_owned()).collect();
    let answers = pool.answers(&pool.submit_many(&items, paceline_engine::Sizing::Fixed(1)));
    let pids: std::collections::HashSet<_> = answers.into_iter().map(Result::unwrap).collect();
    assert!(pids.len() > 50, "{}", pids.len());
    pool.finish();
    Pool::open(200).engine.terminate();
}

#[test]
fn dropped_pool_finishes_what_it_has() {
    let pool = Pool::open(2);
    let pids = pool.await_workers(2);
    let jobs: Vec<_> = (0..50).map(|_| pool.submit("sleep 2; echo")).collect();
    drop(pool);
    eventually("every job has ended", || jobs.iter().all(|job| job.stage() == Stage::Complete));
    eventually("every worker has left", || !pids.iter().any(|pid| lives(*pid)));
}

#[test]
fn worker_retires_after_its_chunks_and_is_replaced() {
    let pool = Pool::with(Choice { workers: 2, chunks_per_worker: 3, ..Choice::default() });
    let jobs: Vec<_> = (0..30).map(|_| pool.submit("pid")).collect();
    let mut tasks = HashMap::<String, u32>::new();
    for job in &jobs {
        *tasks.entry(pool.answer(job)).or_default() += 1;
    }
    assert!(tasks.values().all(|count| *count <= 3), "{tasks:?}");
    assert!(tasks.len() >= 10);
    pool.finish();
}

#[test]
fn account_tells_of_every_item_once() {
    let pool = Pool::open(2);
    let jobs: Vec<_> = (0..100).map(|number| pool.submit(if number == 40 { "exit 1" } else { "burn 1" })).collect();
    for job in &jobs {
        pool.wait(job);
    }
    let accounts = pool.engine.accounts();
    let mut items: Vec<_> = accounts.workers.iter().flat_map(|worker| worker.items.iter().cloned().flatten()).collect();
    items.sort_unstable();
    assert_eq!(items, (0..100).filter(|item| *item != 40).collect::<Vec<_>>());
    let busy_ns: u64 = accounts.workers.iter().map(|worker| worker.busy_ns).sum();
    assert!(busy_ns >= 99_000_000);
    assert!(accounts.ended_ns > accounts.began_ns.unwrap());
    pool.finish();
}

#[test]
fn fork_that_comes_back_from_a_task_answers_nothing() {
    let pool = Pool::open(1);
    for number in 0..20 {
        assert_eq!(pool.run(&format!("fork; echo {number}")), number.to_string());
    }
    pool.finish();
}

#[test]
fn jobs_hold_no_engine() {
    let pool = Pool::open(1);
    let job = pool.submit("echo kept");
    pool.wait(&job);
    pool.finish();
    assert_eq!(Arc::strong_count(&job), 1);
    assert_eq!(crate::pool::read(&job), [Ok("kept".into())]);
}
