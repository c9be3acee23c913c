//! Results are right, complete and in order.

use crate::pool::Pool;
use paceline_engine::{Sizing, Terms};

#[test]
fn one_task_is_answered() {
    let pool = Pool::open(1);
    assert_eq!(pool.run("echo hello"), "hello");
    pool.finish();
}

#[test]
fn ten_thousand_jobs_are_answered_each_with_its_own() {
    let pool = Pool::open(2);
    let jobs: Vec<_> = (0..10_000).map(|number| pool.submit(&format!("echo {number}"))).collect();
    for (number, job) in jobs.iter().enumerate() {
        assert_eq!(pool.answer(job), number.to_string());
    }
    pool.finish();
}

#[test]
fn items_of_a_job_are_answered_in_order_whatever_their_grouping() {
    let pool = Pool::open(2);
    let items: Vec<_> = (0..2_000).map(|number| format!("echo {number}")).collect();
    let expected: Vec<_> = (0..2_000).map(|number| Ok(number.to_string())).collect();
    for sizing in [Sizing::Fixed(1), Sizing::Fixed(7), Sizing::Fixed(2_000), Sizing::Measured] {
        assert_eq!(pool.answers(&pool.submit_many(&items, sizing)), expected, "{sizing:?}");
    }
    assert_eq!(pool.answers(&pool.submit_many(&[], Sizing::Measured)), []);
    pool.finish();
}

#[test]
fn workers_load_each_function_by_its_bytes() {
    let pool = Pool::open(2);
    let pending = paceline_engine::Pending::new(None);
    let function = pool.engine.register(b"function ", "work").unwrap();
    pool.engine.submit(&function, &crate::pool::item(b"echo called"), Terms::default(), &pending).unwrap();
    drop(function);
    assert_eq!(pool.answer(&pending), "function called");
    pool.finish();
}

#[test]
fn two_pools_share_the_fork_server() {
    let (one, two) = (Pool::open(1), Pool::open(1));
    assert_eq!((one.run("echo one"), two.run("echo two")), ("one".into(), "two".into()));
    one.finish();
    assert_eq!(two.run("echo still there"), "still there");
    two.finish();
}

#[test]
fn items_are_numbered_in_the_order_of_their_submission_whatever_their_grouping() {
    let pool = Pool::open(2);
    let mut next = 0_u64;
    for sizing in [Sizing::Fixed(1), Sizing::Fixed(7), Sizing::Measured] {
        assert_eq!(pool.run("number"), next.to_string());
        let numbers: Vec<_> = (next + 1..next + 501).map(|number| Ok(number.to_string())).collect();
        assert_eq!(pool.answers(&pool.submit_many(&vec!["number".to_owned(); 500], sizing)), numbers, "{sizing:?}");
        next += 501;
    }
    pool.finish();
}
