//! Workers come and go with their pools, and nothing is left behind.

use crate::pools::{DEADLINE, eventually, lives, on_every_backend, processes, threads};
use crate::tasks::{nothing, pid, sleep, spin, square};
use paceline::{Backend, Pool, SubmitError, TaskError};
use rustix::process::WaitOptions;
use std::cell::Cell;
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

#[test]
fn dropped_pool_leaves_no_process_behind_whatever_it_runs() {
    let pool = processes();
    let result = pool.apply_async(spin, ());
    pool.apply(nothing, ()).unwrap();
    eventually("both workers are known", || pool.pids().len() == 2);
    let pids = pool.pids();
    drop(pool);
    assert!(pids.iter().all(|pid| !lives(*pid)));
    assert_eq!(result.get(), Err(TaskError::Cancelled));
}

#[test]
fn join_waits_until_everything_is_done() {
    on_every_backend(
        |builder| builder,
        |pool| {
            let results: Vec<_> = (0..6).map(|_| pool.apply_async(sleep, (20,))).collect();
            pool.join();
            assert!(results.iter().all(paceline::AsyncResult::ready));
            assert!(results.into_iter().all(|result| result.get() == Ok(20)));
            // Where calls run in the caller, the caller is there.
            assert_eq!(pool.pids().len(), usize::from(pool.workers() == 1));
        },
    );
}

#[test]
fn terminate_gives_up_what_waits() {
    for backend in [Backend::Processes, Backend::Threads] {
        let pool = Pool::builder().workers(1).backend(backend).build().unwrap();
        let results: Vec<_> = (0..10).map(|_| pool.apply_async(sleep, (30,))).collect();
        pool.terminate();
        assert_eq!(results.into_iter().next_back().unwrap().get(), Err(TaskError::Cancelled));
        pool.join();
    }
}

#[test]
fn workers_are_other_processes_and_may_be_replaced() {
    let pool = Pool::builder().workers(1).max_tasks_per_worker(2).build().unwrap();
    let seen: HashSet<_> = (0..6).map(|_| pool.apply(pid, ()).unwrap()).collect();
    assert!(seen.len() == 3 && !seen.contains(&std::process::id()), "{seen:?}");
    assert_eq!(threads().apply(std::process::id, ()), Ok(std::process::id()));
}

#[paceline::task]
fn of_a_pool_of_its_own(numbers: Vec<i64>) -> Result<Vec<i64>, String> {
    let pool = Pool::builder().workers(2).build().map_err(|error| error.to_string())?;
    pool.map(square, numbers).map_err(|error| error.to_string())
}

#[test]
fn workers_may_have_pools_of_their_own() {
    assert_eq!(processes().apply(of_a_pool_of_its_own, (vec![1, 2, 3],)), Ok(Ok(vec![1, 4, 9])));
}

#[test]
fn threads_end_with_their_pool() {
    let pool = threads();
    pool.map(square, 0..100).unwrap();
    let ids = pool.pids();
    drop(pool);
    eventually("the threads have ended", || {
        ids.iter().all(|id| !std::path::Path::new(&format!("/proc/self/task/{id}")).exists())
    });
}

#[test]
fn pool_of_threads_is_dropped_by_one_of_its_own_tasks() {
    let pool = threads();
    let inner = pool.clone();
    let (gate, opened) = channel::<()>();
    let wait_and_drop = |opened: Receiver<()>, pool: Pool| {
        opened.recv().unwrap_err();
        drop(pool);
    };
    let result = pool.apply_async(wait_and_drop, (opened, inner));
    drop(pool);
    drop(gate);
    assert_eq!(result.get(), Ok(()));
}

#[test]
fn task_that_joins_its_own_pool_of_threads_closes_it_and_waits_for_nothing() {
    let pool = threads();
    let inner = pool.clone();
    let joined = pool.apply_async(move || inner.join(), ());
    assert!(joined.wait_timeout(DEADLINE), "it waits for itself");
    assert_eq!(pool.apply(square, (1,)), Err(TaskError::NotSubmitted(SubmitError::Closed)));
    pool.join();
}

#[test]
fn callback_waits_for_another_pool_and_not_for_its_own() {
    for (one, other) in [(processes(), threads()), (threads(), processes()), (processes(), processes())] {
        let (sender, receiver) = channel();
        let own = one.clone();
        one.apply_async(nothing, ()).callback(move |_| {
            let slow = other.apply_async(sleep, (100,));
            other.join();
            let have_left = other.pids().is_empty();
            own.join();
            sender.send((have_left, slow.get())).unwrap();
        });
        assert_eq!(receiver.recv_timeout(DEADLINE), Ok((true, Ok(100))));
    }
}

#[test]
fn call_of_nothing_makes_the_caller_no_thread_of_the_pool() {
    let pool = threads();
    assert_eq!(pool.map(square, Vec::new()), Ok(vec![]));
    assert_eq!(pool.pids(), Vec::<i32>::new());
}

static SET_UPS: AtomicUsize = AtomicUsize::new(0);

#[paceline::task]
fn refuse() -> Result<(), String> {
    SET_UPS.fetch_add(1, Ordering::Relaxed);
    Err("not today".to_owned())
}

#[test]
fn caller_that_cannot_be_set_up_is_not_set_up_again() {
    let pool = Pool::builder().backend(Backend::Serial).initializer(refuse, ()).build().unwrap();
    for _ in 0..3 {
        assert!(pool.apply(square, (1,)).unwrap_err().to_string().contains("not today"));
    }
    assert_eq!(SET_UPS.load(Ordering::Relaxed), 1);
}

unsafe extern "C" {
    fn fork() -> i32;
    fn _exit(code: i32) -> !;
}

/// Has a forked child of this process do something; whether it did, in time.
fn in_fork(act: impl FnOnce()) -> bool {
    // SAFETY: the child's locks may be held by threads that it does not have, but for those of the C library. What it does
    // is tried here, and it never returns.
    let child = unsafe { fork() };
    if child == 0 {
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
        // SAFETY: nothing has to be ended in order.
        unsafe { _exit(i32::from(done.is_err())) };
    }
    let child = rustix::process::Pid::from_raw(child).unwrap();
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some((_, status)) = rustix::process::waitpid(Some(child), WaitOptions::NOHANG).unwrap() {
            return status.exit_status() == Some(0);
        }
        if Instant::now() > end {
            rustix::process::kill_process(child, rustix::process::Signal::KILL).unwrap();
            rustix::process::waitpid(Some(child), WaitOptions::empty()).unwrap();
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn fork_is_told_that_it_has_no_workers_and_waits_for_none() {
    let of_threads = threads();
    let threads_to_join = of_threads.clone();
    for pool in [processes(), of_threads] {
        let mut unordered = pool.imap_unordered(sleep, [1, 400, 400]);
        assert_eq!(unordered.next(), Some(Ok(1)));
        // Nothing ends, and so no lock is held, while the child is made.
        let unordered = Cell::new(Some(unordered));
        assert!(in_fork(|| {
            assert_eq!(pool.apply(square, (1,)), Err(TaskError::NotSubmitted(SubmitError::Forked)));
            let outcomes: Vec<_> = unordered.take().unwrap().collect();
            assert_eq!(outcomes, [Err(TaskError::Cancelled), Err(TaskError::Cancelled)]);
            threads_to_join.join();
        }));
        // Here everything goes on.
        assert_eq!(unordered.take().unwrap().collect::<Vec<_>>(), [Ok(400), Ok(400)]);
    }
}

#[test]
fn ten_pools_at_a_time_have_workers_of_their_own() {
    let pools: Vec<_> = (0..10).map(|_| processes()).collect();
    let pids: HashSet<_> = pools.iter().map(|pool| pool.apply(pid, ()).unwrap()).collect();
    assert_eq!(pids.len(), 10);
    for pool in pools {
        pool.with_timeout(Duration::from_secs(20)).map(square, 0..10).unwrap();
    }
}
