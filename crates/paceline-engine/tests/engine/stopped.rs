//! Fork servers and workers that somebody stops, and never continues.

use crate::pool::{Gate, Pool, eventually, is_alone, kill, lives, parent_of};
use crate::worker_program::{forked_server, spawn_command};
use paceline_engine::{StartMethod, Terms};
use std::fs;
use std::time::{Duration, Instant};

const STOP: i32 = 19;
const CONTINUE: i32 = 18;

fn stop(pid: i32) {
    kill(pid, STOP);
    eventually("it has stopped", || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit(')').next().unwrap().trim_start().starts_with('T')
    });
}

#[test]
fn stopped_fork_server_is_replaced_when_a_worker_is_to_be_born() {
    if !is_alone("stopped::stopped_fork_server_is_replaced_when_a_worker_is_to_be_born") {
        return;
    }
    let first = Pool::open(1);
    assert_eq!(first.run("echo yes"), "yes");
    let server = parent_of(first.await_workers(1)[0]);
    stop(server);
    let pool = Pool::open(2);
    assert_eq!(pool.run("echo born"), "born");
    assert!(!lives(server));
    assert_eq!(first.run("echo still there"), "still there");
    pool.finish();
    first.finish();
}

#[test]
fn stopped_fork_server_hides_no_death() {
    if !is_alone("stopped::stopped_fork_server_hides_no_death") {
        return;
    }
    let pool = Pool::open(1);
    assert_eq!(pool.run("echo yes"), "yes");
    let server = parent_of(pool.await_workers(1)[0]);
    stop(server);
    // A child of the worker's holds whatever the worker held, so that no end of file tells of its death.
    let death = pool.death("shell sleep 20; signal 9");
    assert_eq!((death.code, death.signal), (None, None), "nobody can say how it ended");
    assert_eq!(pool.run("echo again"), "again");
    assert!(!lives(server));
    pool.finish();
}

#[test]
fn stopped_fork_server_keeps_no_pool_from_ending() {
    if !is_alone("stopped::stopped_fork_server_keeps_no_pool_from_ending") {
        return;
    }
    let pools = [Pool::open(2), Pool::start(2, StartMethod::Fork(forked_server()))];
    for pool in pools {
        assert_eq!(pool.run("echo yes"), "yes");
        stop(parent_of(pool.await_workers(2)[0]));
        pool.finish();
    }
}

#[test]
fn stopped_worker_costs_its_task_and_is_replaced() {
    let pool = Pool::start(1, StartMethod::Spawn(spawn_command()));
    let job = pool.begin(Terms::default(), "sleep 60000");
    let worker = pool.await_workers(1)[0];
    stop(worker);
    let death = pool.answers(&job).pop().unwrap().unwrap_err();
    assert_eq!((death.pid, death.signal), (worker, Some(9)));
    assert!(death.note.unwrap().contains("SIGSTOP"));
    assert_eq!(pool.run("echo again"), "again");
    pool.finish();
}

#[test]
fn stopped_worker_keeps_no_pool_from_ending() {
    let pool = Pool::open(2);
    assert_eq!(pool.run("echo yes"), "yes");
    stop(pool.await_workers(2)[0]);
    pool.finish();
}

#[test]
fn worker_that_is_continued_in_time_goes_on() {
    let pool = Pool::open(1);
    let gate = Gate::new();
    let job = pool.begin(Terms::default(), &format!("{}; echo done", gate.step()));
    let worker = pool.await_workers(1)[0];
    for _ in 0..4 {
        stop(worker);
        kill(worker, CONTINUE);
    }
    gate.open();
    assert_eq!(pool.answer(&job), "done");
    assert_eq!(pool.engine.pids(), [worker]);
    pool.finish();
}

#[test]
fn stopped_worker_of_a_pool_without_work_is_left_alone() {
    let pool = Pool::open(1);
    assert_eq!(pool.run("echo yes"), "yes");
    let worker = pool.await_workers(1)[0];
    stop(worker);
    // Longer than it takes to be killed where there is work.
    let end = Instant::now() + Duration::from_millis(3_500);
    while Instant::now() < end {
        assert!(lives(worker));
        std::thread::sleep(Duration::from_millis(50));
    }
    kill(worker, CONTINUE);
    assert_eq!(pool.run("pid"), worker.to_string());
    pool.finish();
}
