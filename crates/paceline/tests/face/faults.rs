//! What goes wrong in one task costs that task alone.

use crate::pools::{DEADLINE, eventually, processes};
use crate::tasks::{doze, doze_at_first, doze_within, eat, fussy, pid, risky, sleep, spin, square, tell_and_spin};
use paceline::{Pool, Retry, TaskError};
use std::time::{Duration, Instant};

/// Runs 200 tasks of which the one with number 77 does this; the error of that one.
fn one_of_200(how: &str) -> TaskError {
    let pool = processes();
    let results: Vec<_> = (0..200).map(|number| pool.apply_async(risky, (number, how.to_owned()))).collect();
    let mut outcomes: Vec<_> = results.into_iter().map(paceline::AsyncResult::get).collect();
    let error = outcomes.remove(77).unwrap_err();
    assert!(outcomes.into_iter().eq((0..200).filter(|number| *number != 77).map(Ok)));
    assert_eq!(pool.map(square, [1, 2]), Ok(vec![1, 4]));
    error
}

#[test]
fn segfault_in_one_task_of_200_costs_that_task_alone() {
    let TaskError::Died { task, death } = one_of_200("segfault") else { panic!() };
    assert_eq!(death.signal, Some(11));
    assert!(death.pid > 0);
    assert!(task.function.ends_with("tasks::risky"));
}

#[test]
fn abort_exit_and_overflow_of_the_stack_cost_one_task_as_well() {
    assert!(matches!(one_of_200("abort"), TaskError::Died { death, .. } if death.signal == Some(6)));
    assert!(matches!(one_of_200("exit"), TaskError::Died { death, .. } if death.code == Some(3)));
    // Before `main`, where workers of these tests are, nobody has told Rust how large the stack is.
    assert!(matches!(one_of_200("overflow"), TaskError::Died { death, .. } if matches!(death.signal, Some(6 | 11))));
}

#[test]
fn segfault_in_one_item_of_a_map_is_its_error_and_of_imap_one_outcome() {
    let pool = processes().with_chunk_size(7);
    let items = || (0..200).map(|number| (number, "segfault".to_owned()));
    let Err(TaskError::Died { task, .. }) = pool.starmap(risky, items()) else { panic!() };
    assert_eq!(task.index, Some(77));
    let outcomes: Vec<_> = pool.imap(fussy, 0..20).collect();
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_err()).count(), 1);
    assert!(outcomes[13].is_err());
}

#[test]
fn busy_loop_is_ended_at_its_limit_and_others_are_not() {
    let pool = Pool::builder().workers(2).grace(Duration::from_millis(50)).build().unwrap();
    let others = pool.map_async(sleep, vec![20; 20]);
    let began = Instant::now();
    let limit = Duration::from_millis(200);
    let error = pool.with_timeout(limit).apply(spin, ()).unwrap_err();
    assert!(matches!(&error, TaskError::TimedOut { limit: told, .. } if *told == limit), "{error}");
    assert!(began.elapsed() >= limit && began.elapsed() < DEADLINE);
    assert_eq!(others.get(), Ok(vec![20; 20]));
}

#[test]
fn task_that_looks_can_clean_up_when_it_is_over_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("note").to_string_lossy().into_owned();
    let pool = Pool::builder().workers(1).grace(DEADLINE).timeout(Duration::from_millis(100)).build().unwrap();
    let before = pool.apply(pid, ()).unwrap();
    let error = pool.apply(doze, (path.clone(),)).unwrap_err();
    assert!(matches!(error, TaskError::TimedOut { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(path).unwrap(), "cleaned up");
    assert_eq!(pool.apply(pid, ()), Ok(before), "its worker goes on");
}

#[test]
fn task_that_was_stopped_in_time_may_be_run_again() {
    let pool = Pool::builder().workers(1).grace(DEADLINE).timeout(Duration::from_millis(50)).retries(1);
    let pool = pool.retry_on(&[Retry::Timeout]).build().unwrap();
    assert_eq!(pool.apply(doze_at_first, ()), Ok(1));
}

#[test]
fn task_that_calls_others_in_its_own_thread_is_asked_to_stop_in_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("note").to_string_lossy().into_owned();
    let pool = Pool::builder().workers(1).grace(DEADLINE).timeout(Duration::from_millis(50)).build().unwrap();
    assert!(matches!(pool.apply(doze_within, (path.clone(),)), Err(TaskError::TimedOut { .. })));
    assert_eq!(std::fs::read_to_string(path).unwrap(), "cleaned up");
}

#[test]
fn task_that_outgrows_its_memory_is_ended() {
    let pool = Pool::builder().workers(2).memory_limit(200 << 20).build().unwrap();
    let others = pool.map_async(square, 0..50);
    let error = pool.apply(eat, (4_000,)).unwrap_err();
    let TaskError::OutOfMemory { death, .. } = &error else { panic!("{error}") };
    assert!(death.peak_bytes > 200 << 20);
    assert!(error.to_string().contains("outgrew its memory"), "{error}");
    assert_eq!(others.get().unwrap().len(), 50);
    assert_eq!(pool.apply(eat, (1,)), Ok(1));
}

#[test]
fn what_waits_can_be_cancelled_and_what_runs_by_force() {
    let folder = tempfile::tempdir().unwrap();
    let sign = folder.path().join("sign");
    let pool = Pool::builder().workers(1).grace(Duration::ZERO).build().unwrap();
    let running = pool.apply_async(tell_and_spin, (sign.to_string_lossy().into_owned(),));
    eventually("the task has begun", || sign.exists());
    assert!(!running.cancel());
    let waiting = pool.apply_async(square, (1,));
    assert!(waiting.cancel());
    assert_eq!(waiting.get(), Err(TaskError::Cancelled));
    assert!(running.cancel_by_force());
    assert_eq!(running.get(), Err(TaskError::Cancelled));
    assert_eq!(pool.apply(square, (5,)), Ok(25));
}

#[test]
fn worker_killed_by_somebody_else_costs_what_it_ran() {
    let folder = tempfile::tempdir().unwrap();
    let sign = folder.path().join("sign");
    let pool = Pool::builder().workers(1).build().unwrap();
    let result = pool.apply_async(tell_and_spin, (sign.to_string_lossy().into_owned(),));
    eventually("the task has begun, and its worker is known", || sign.exists() && pool.pids().len() == 1);
    let victim = rustix::process::Pid::from_raw(pool.pids()[0]).unwrap();
    rustix::process::kill_process(victim, rustix::process::Signal::KILL).unwrap();
    assert!(matches!(result.get(), Err(TaskError::Died { death, .. }) if death.signal == Some(9)));
    assert_eq!(pool.apply(square, (5,)), Ok(25));
}
