//! Fork servers and parents that are killed.

use crate::pool::{Gate, Pool, eventually, is_alone, kill, lives, parent_of, within};
use paceline_engine::{Death, Terms};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn killed_fork_server_is_replaced_and_its_workers_go_on() {
    if !is_alone("servers::killed_fork_server_is_replaced_and_its_workers_go_on") {
        return;
    }
    let pool = Pool::open(2);
    let pids = pool.await_workers(2);
    let server = parent_of(pids[0]);
    assert_eq!(parent_of(pids[1]), server);
    let gate = Gate::new();
    let running = ["one", "two"].map(|name| pool.begin(Terms::default(), &format!("{}; echo {name}", gate.step())));
    kill(server, 9);
    eventually("the server is gone", || !lives(server));
    gate.open();
    assert_eq!(running.map(|job| pool.answer(&job)), ["one", "two"]);
    // Nobody can say any more how they end, but that they do is noticed.
    let death = pool.death("signal 9");
    assert_eq!(death, Death { pid: death.pid, ..Death::default() });
    let other = if death.pid == pids[0] { pids[1] } else { pids[0] };
    kill(other, 9);
    eventually("both seats are filled anew", || {
        let now = pool.engine.pids();
        now.len() == 2 && now.iter().all(|pid| !pids.contains(pid))
    });
    assert_ne!(parent_of(pool.engine.pids()[0]), server);
    assert_eq!(pool.death("exit 4").code, Some(4), "the new server tells how its workers end");
    pool.finish();
}

#[test]
fn fork_server_killed_at_any_moment_hangs_nothing() {
    if !is_alone("servers::fork_server_killed_at_any_moment_hangs_nothing") {
        return;
    }
    let first = Pool::open(1);
    for round in 0..60u64 {
        let server = parent_of(first.await_workers(1)[0]);
        let pool = Pool::open(2);
        std::thread::sleep(Duration::from_micros(round * 50));
        kill(server, 9);
        let jobs: Vec<_> = (0..20).map(|number| pool.submit(&format!("echo {number}"))).collect();
        for job in &jobs {
            // One that was running in a worker whose birth nobody had told of may be lost with it.
            pool.answers(job);
        }
        // So may be one that such a worker takes now, until its birth is known to have failed.
        pool.await_workers(2);
        assert_eq!(pool.run("echo alive"), "alive", "round {round}");
        pool.finish();
        first.answers(&first.submit("exit 1"));
        eventually("the old worker is gone", || {
            first.engine.pids().iter().any(|pid| lives(*pid) && parent_of(*pid) != 1)
        });
    }
    first.finish();
}

#[test]
fn killed_parent_takes_everybody_with_it_within_a_second() {
    const PARENT: &str = "PACELINE_TEST_PARENT";
    if std::env::var_os(PARENT).is_some() {
        let pool = Pool::open(3);
        let pids = pool.await_workers(3);
        let jobs = [pool.submit("hang"), pool.submit("burn 60000"), pool.submit("echo idle")];
        pool.wait(&jobs[2]);
        println!("PIDS {} {} {} {}", parent_of(pids[0]), pids[0], pids[1], pids[2]);
        loop {
            std::thread::park();
        }
    }
    let name = "servers::killed_parent_takes_everybody_with_it_within_a_second";
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(PARENT, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(parent.stdout.take().unwrap()).lines();
    let pids: Vec<i32> = lines
        .map_while(Result::ok)
        .find_map(|line| Some(line.split_once("PIDS ")?.1.split(' ').map(|pid| pid.parse().unwrap()).collect()))
        .unwrap();
    assert_eq!(pids.len(), 4);
    assert!(pids.iter().all(|pid| lives(*pid)));
    parent.kill().unwrap();
    within(Duration::from_secs(1), "everybody is gone", || !pids.iter().any(|pid| lives(*pid)));
    parent.wait().unwrap();
}
