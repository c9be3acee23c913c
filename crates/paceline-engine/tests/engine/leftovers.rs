//! Nothing is left behind, and nothing is done when there is nothing to do.

use crate::pool::{Choice, Pool, eventually, is_alone, kill, parent_of};
use paceline_engine::OpenError;
use std::collections::BTreeMap;
use std::time::Duration;

fn entries(directory: &str) -> usize {
    std::fs::read_dir(directory).unwrap().count()
}

#[test]
fn pool_that_has_ended_leaves_no_descriptor_thread_or_process() {
    if !is_alone("leftovers::pool_that_has_ended_leaves_no_descriptor_thread_or_process") {
        return;
    }
    // The process keeps a supervisor, a printer, and a fork server.
    let first = Pool::open(1);
    first.run("say something");
    let server = parent_of(first.await_workers(1)[0]);
    first.finish();
    let count = || {
        let children = std::fs::read_to_string(format!("/proc/{server}/task/{server}/children")).unwrap_or_default();
        (entries("/proc/self/fd"), entries("/proc/self/task"), entries(&format!("/proc/{server}/fd")), children)
    };
    let mut before = count();
    eventually("the first has left", || {
        std::thread::sleep(Duration::from_millis(100));
        let earlier = std::mem::replace(&mut before, count());
        before == earlier && before.3.is_empty()
    });
    for round in 0..10 {
        let pool = Pool::open(3);
        pool.await_workers(3);
        let jobs: Vec<_> = (0..50).map(|number| pool.submit(&format!("big {}", number * 3_000))).collect();
        match round % 4 {
            0 => jobs.iter().for_each(|job| pool.wait(job)),
            1 => drop(pool.death("signal 9")),
            2 => kill(pool.engine.pids()[1], 9),
            _ => pool.engine.terminate(),
        }
        pool.finish();
        drop(jobs);
        eventually("all is as before", || count() == before);
    }
}

/// How many descriptors this process may have, at most a thousand.
fn allow_descriptors(count: u64) {
    let limits = libc::rlimit { rlim_cur: count, rlim_max: 1_024 };
    // SAFETY: the call only reads the limits.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limits) }, 0);
}

#[test]
fn lack_of_descriptors_is_told_and_hangs_nothing() {
    if !is_alone("leftovers::lack_of_descriptors_is_told_and_hangs_nothing") {
        return;
    }
    let first = Pool::open(1);
    assert_eq!(first.run("echo before"), "before");
    // It may answer before it is told of, and what it is watched by is to be there when descriptors are counted.
    first.await_workers(1);
    let (mut refused, mut broken, mut opened) = (0, 0, 0);
    for spare in 0..36 {
        // Their numbers have gaps, which a new one fills.
        let limit = u64::try_from(entries("/proc/self/fd")).unwrap() - 7 + spare;
        allow_descriptors(limit);
        match Pool::try_with(Choice { workers: 2, ..Choice::default() }) {
            Err(error) => {
                assert_eq!(error, OpenError::System(rustix::io::Errno::MFILE));
                refused += 1;
            }
            Ok(pool) => {
                if let Ok(job) = pool.try_submit("echo through") {
                    pool.wait(&job);
                }
                let count = if pool.engine.is_accepting() { &mut opened } else { &mut broken };
                *count += 1;
                pool.finish();
            }
        }
        allow_descriptors(1_024);
        assert_eq!(first.run("echo still"), "still");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(refused > 0 && broken > 0 && opened > 0, "{refused} refused, {broken} broken, {opened} opened");
    first.finish();
}

#[test]
fn fork_server_is_not_taken_for_dead_where_descriptors_lack() {
    if !is_alone("leftovers::fork_server_is_not_taken_for_dead_where_descriptors_lack") {
        return;
    }
    let pool = Pool::open(1);
    assert_eq!(pool.run("echo before"), "before");
    let worker = pool.await_workers(1)[0];
    let server = parent_of(worker);
    // It owes the end of its worker for longer than it is left in peace, and there is no descriptor to look at it with.
    allow_descriptors(3);
    kill(server, 19);
    kill(worker, 9);
    std::thread::sleep(Duration::from_millis(2_500));
    allow_descriptors(1_024);
    kill(server, 18);
    assert_eq!(pool.run("echo after"), "after");
    assert_eq!(parent_of(pool.await_workers(1)[0]), server);
    pool.finish();
}

/// Processor time of this process, of a fork server and of the workers, by process.
fn used(pids: &[i32]) -> BTreeMap<i32, u64> {
    let of = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let of_threads: u64 = threads
            .filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok())
            .map(|stat| stat.split(' ').next().unwrap().parse::<u64>().unwrap())
            .sum();
        drop(stat);
        (*pid, of_threads)
    };
    pids.iter().map(of).collect()
}

#[test]
fn idle_pool_uses_no_processor_within_a_second_of_its_last_task() {
    if !is_alone("leftovers::idle_pool_uses_no_processor_within_a_second_of_its_last_task") {
        return;
    }
    let pool = Pool::open(2);
    let mut pids = pool.await_workers(2);
    for _ in 0..1_000 {
        pool.run("echo");
    }
    pids.push(parent_of(pids[0]));
    std::thread::sleep(Duration::from_secs(1));
    let before = used(&pids);
    let mine = used(&[i32::try_from(std::process::id()).unwrap()]);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(used(&pids), before);
    let now = used(&[i32::try_from(std::process::id()).unwrap()]);
    let grown = now.values().sum::<u64>() - mine.values().sum::<u64>();
    assert!(grown < 2_000_000, "{grown} ns in a second, besides this test's own sleep");
    pool.finish();
}
