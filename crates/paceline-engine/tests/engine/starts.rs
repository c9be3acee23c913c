//! The ways in which workers come into being, beside the usual one.

use crate::pool::{Choice, DEADLINE, Gate, Pool, eventually, is_alone, kill, lives, parent_of};
use crate::worker_program::{forked_server, spawn_command};
use paceline_engine::{ForkServerCommand, Outcome, StartMethod, Terms};

fn us() -> i32 {
    std::process::id().cast_signed()
}

fn children() -> Vec<i32> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>()).collect()
}

#[test]
fn spawned_workers_are_our_children_and_their_ends_are_told() {
    let pool = Pool::start(2, StartMethod::Spawn(spawn_command()));
    assert_eq!(pool.run("echo yes"), "yes");
    let pids = pool.await_workers(2);
    assert!(pids.iter().all(|pid| parent_of(*pid) == us()));
    assert_eq!(pool.death("say farewell; exit 5").code, Some(5));
    let death = pool.death("say farewell; signal 11");
    assert_eq!((death.signal, death.last_words.as_str()), (Some(11), "farewell"));
    assert!(!std::path::Path::new(&format!("/proc/{}", death.pid)).exists(), "it has been waited for");
    assert_eq!(pool.run("echo again"), "again");
    pool.finish();
}

#[test]
fn spawned_workers_are_replaced_after_so_many_chunks() {
    let choice = Choice { workers: 1, chunks_per_worker: 2, ..Choice::default() };
    let pool = Pool::try_start(choice, StartMethod::Spawn(spawn_command())).unwrap();
    let pids: Vec<_> = (0..6).map(|_| pool.run("pid")).collect();
    assert!(pids[0] == pids[1] && pids[2] == pids[3] && pids[4] == pids[5]);
    assert!(pids[0] != pids[2] && pids[2] != pids[4]);
    pool.finish();
    assert!(!pids.iter().any(|pid| std::path::Path::new(&format!("/proc/{pid}")).exists()), "no zombie is left");
}

#[test]
fn programs_that_never_become_a_worker_break_the_pool() {
    for (program, words) in [("/nowhere/at/all", "could not be started"), ("false", ""), ("true", "")] {
        let command = ForkServerCommand { program: program.into(), arguments: Vec::new() };
        let pool = Pool::start(1, StartMethod::Spawn(command));
        let Ok(job) = pool.try_submit("echo never") else { continue };
        pool.wait(&job);
        match job.take_outcome() {
            Some(Outcome::Abandoned(Some(breakdown))) => assert!(breakdown.death.last_words.contains(words)),
            other => panic!("{program}: {other:?}"),
        }
        pool.finish();
    }
}

#[test]
fn what_a_program_says_before_it_fails_to_become_a_worker_is_told() {
    let arguments = ["-c", "echo no such module >&2; exit 3"].map(Into::into).to_vec();
    let pool = Pool::start(1, StartMethod::Spawn(ForkServerCommand { program: "sh".into(), arguments }));
    eventually("the pool is broken", || !pool.engine.is_accepting());
    match pool.try_submit("echo never") {
        Err(paceline_engine::SubmitError::Broken(breakdown)) => {
            assert_eq!((breakdown.death.code, breakdown.death.last_words.as_str()), (Some(3), "no such module"));
        }
        other => panic!("{other:?}"),
    }
    pool.finish();
}

#[test]
fn program_that_takes_no_message_is_killed_with_its_pool() {
    let arguments = vec!["60".into()];
    let pool = Pool::start(3, StartMethod::Spawn(ForkServerCommand { program: "sleep".into(), arguments }));
    let pids = pool.await_workers(3);
    pool.engine.terminate();
    assert!(pool.engine.join(DEADLINE));
    assert!(!pids.iter().any(|pid| lives(*pid)));
}

#[test]
fn fork_of_this_process_serves_one_pool_and_ends_with_it() {
    if !is_alone("starts::fork_of_this_process_serves_one_pool_and_ends_with_it") {
        return;
    }
    let clean = Pool::open(1);
    let pool = Pool::start(2, StartMethod::Fork(forked_server()));
    let other = Pool::start(1, StartMethod::Fork(forked_server()));
    let servers = [(&clean, 1), (&pool, 2), (&other, 1)].map(|(pool, workers)| {
        assert_eq!(pool.run("echo yes"), "yes");
        parent_of(pool.await_workers(workers)[0])
    });
    assert!(servers[0] != servers[1] && servers[1] != servers[2] && servers[2] != servers[0]);
    assert!(servers.iter().all(|server| parent_of(*server) == us()));
    assert_eq!(pool.death("exit 5").code, Some(5));
    assert_eq!(pool.death("signal 11").signal, Some(11));
    assert_eq!(pool.run("echo again"), "again");
    let pids = pool.await_workers(2);
    assert!(pids.iter().all(|pid| parent_of(*pid) == servers[1]), "those that are replaced come from the same");
    pool.finish();
    assert!(!children().contains(&servers[1]), "it has been waited for");
    assert_eq!([clean.run("echo yes"), other.run("echo yes")], ["yes", "yes"]);
    other.engine.terminate();
    assert!(other.engine.join(DEADLINE));
    clean.finish();
    assert_eq!(children(), servers[..1]);
}

#[test]
fn fork_of_this_process_keeps_nothing_of_the_supervisors() {
    if !is_alone("starts::fork_of_this_process_keeps_nothing_of_the_supervisors") {
        return;
    }
    let clean = Pool::open(2);
    assert_eq!(clean.run("echo yes"), "yes");
    let pool = Pool::start(1, StartMethod::Fork(forked_server()));
    assert_eq!(pool.run("echo yes"), "yes");
    let server = parent_of(pool.await_workers(1)[0]);
    let files: Vec<_> = std::fs::read_dir(format!("/proc/{server}/fd"))
        .unwrap()
        .map(|file| std::fs::read_link(file.unwrap().path()).unwrap().to_string_lossy().into_owned())
        .filter(|file| file.starts_with("socket:") || file.starts_with("anon_inode:"))
        .collect();
    // Its own socket, the parent's pidfd and that of its one worker.
    assert_eq!(files.iter().filter(|file| file.starts_with("socket:")).count(), 1, "{files:?}");
    assert_eq!(files.len(), 3, "{files:?}");
    pool.finish();
    clean.finish();
}

#[test]
fn lost_fork_of_this_process_breaks_its_pool_once_a_worker_is_missing() {
    if !is_alone("starts::lost_fork_of_this_process_breaks_its_pool_once_a_worker_is_missing") {
        return;
    }
    let pool = Pool::start(1, StartMethod::Fork(forked_server()));
    assert_eq!(pool.run("echo yes"), "yes");
    let worker = pool.await_workers(1)[0];
    let server = parent_of(worker);
    let gate = Gate::new();
    let running = pool.begin(Terms::default(), &format!("{}; echo done", gate.step()));
    kill(server, 9);
    eventually("the server is gone", || !lives(server));
    gate.open();
    assert_eq!(pool.answer(&running), "done", "a worker goes on without its server");
    pool.answers(&pool.submit("exit 1"));
    eventually("the pool is broken", || !pool.engine.is_accepting());
    match pool.try_submit("echo never") {
        Err(paceline_engine::SubmitError::Broken(breakdown)) => {
            assert!(breakdown.death.last_words.contains("cannot be made again"), "{breakdown:?}");
        }
        other => panic!("{other:?}"),
    }
    pool.finish();
}
