//! A worker's death costs the item that was running, with its cause told, and nothing else.

use crate::pool::{Choice, Pool, eventually, is_alone, kill, read};
use paceline_engine::{Death, FailureWatch, Fate, Outcome, Sizing, Terms, worker};
use std::time::Duration;

fn ways() -> Vec<(&'static str, Option<i32>, Option<i32>)> {
    vec![
        ("exit 3", Some(3), None),
        ("exit 0", Some(0), None),
        ("signal 9", None, Some(9)),
        ("signal 11", None, Some(11)),
        ("signal 6", None, Some(6)),
        ("signal 15", None, Some(15)),
        ("signal 14", None, Some(14)),
    ]
}

#[test]
fn death_tells_exit_code_or_signal_and_last_words() {
    let pool = Pool::open(1);
    for (way, code, signal) in ways() {
        let pid = pool.await_workers(1)[0];
        let death = pool.death(&format!("say first of {way}; say last of {way}; {way}"));
        let last_words = format!("first of {way}\nlast of {way}");
        assert!(death.peak_bytes > 0, "the system tells how much memory it had");
        let peak_bytes = death.peak_bytes;
        assert_eq!(death, Death { pid, code, signal, last_words, peak_bytes, ..Death::default() });
        assert_eq!(pool.run("echo alive"), "alive");
        eventually("the new worker is known", || !pool.engine.pids().contains(&pid));
    }
    pool.finish();
}

/// A child that outlives the worker, and writes without end into what was the worker's standard error.
#[test]
fn flood_from_a_dead_workers_child_holds_up_nobody() {
    if !is_alone("deaths::flood_from_a_dead_workers_child_holds_up_nobody") {
        return;
    }
    let pool = Pool::open(1);
    assert_eq!(pool.death("shell exec yes flood >&2; sleep 50; signal 9").signal, Some(9));
    assert_eq!(pool.run("echo alive"), "alive");
    pool.finish();
}

#[test]
fn workers_block_no_signals_but_the_one_for_stacks() {
    let pool = Pool::open(1);
    let own = 1_u64 << (worker::stack_signal() - 1);
    assert_eq!(pool.run("mask"), format!("{own:016x}"));
    pool.finish();
}

#[test]
fn death_costs_one_of_many_jobs() {
    let pool = Pool::open(2);
    let jobs: Vec<_> = (0..500)
        .map(|number| pool.submit(&if number % 100 == 50 { "exit 1".into() } else { format!("echo {number}") }))
        .collect();
    for (number, job) in jobs.iter().enumerate() {
        let answer = pool.answers(job).pop().unwrap();
        if number % 100 == 50 {
            assert_eq!(answer.unwrap_err().code, Some(1));
        } else {
            assert_eq!(answer, Ok(number.to_string()));
        }
    }
    pool.finish();
}

#[test]
fn death_in_the_middle_of_a_chunk_keeps_what_is_finished_and_runs_the_rest_once() {
    for long in [false, true] {
        let mark = |number| std::env::temp_dir().join(format!("paceline-{}-{number}", std::process::id()));
        let pool = Pool::open(2);
        let items: Vec<_> = (0..20)
            .map(|number| match (number, long) {
                (7, _) => "signal 9".to_owned(),
                // Answers that overflow the slot, and some that get segments of their own.
                (_, true) => format!("once {}; big {}", mark(number).display(), number * 10_000),
                (_, false) => format!("once {}; echo {number}", mark(number).display()),
            })
            .collect();
        let answers = pool.answers(&pool.submit_many(&items, Sizing::Fixed(20)));
        assert_eq!(answers.len(), 20);
        for (number, answer) in answers.into_iter().enumerate() {
            match (number, long) {
                (7, _) => assert_eq!(answer.unwrap_err().signal, Some(9)),
                (_, true) => assert_eq!(answer.unwrap().len(), number * 10_000),
                (_, false) => assert_eq!(answer.unwrap(), number.to_string()),
            }
            assert_eq!(std::fs::remove_file(mark(number)).is_ok(), number != 7, "item {number} was run");
        }
        pool.finish();
    }
}

#[test]
fn time_of_a_chunk_that_was_lost_is_told_as_lost() {
    // One item is lost after none; after two, and nobody has looked how far it was; and after two with a limit of time,
    // so that somebody has.
    for (before, timeout_ms) in [(0, 0), (2, 0), (2, 2_000)] {
        let pool = Pool::open(1);
        pool.run("echo there");
        let mut items = vec!["sleep 150"; before];
        items.extend(["sleep 300; signal 9", "echo after"]);
        let terms = Terms { timeout_ns: timeout_ms * 1_000_000, ..Terms::default() };
        let job = pool.submit_chunks(&items, 4, terms, FailureWatch::Core);
        assert!(pool.answers(&job)[before].is_err());
        let (history, accounts) = (pool.engine.history(), pool.engine.accounts());
        let lost: Vec<_> = history.stretches().iter().filter(|one| one.fate == Fate::Lost).collect();
        let ([lost], [dead, ..]) = (&*lost, &*accounts.workers) else { panic!("{lost:?}") };
        assert_eq!((lost.items, history.failed().lost), (1, 1));
        assert!(lost.ended_ns <= accounts.ended_ns);
        let took_ns = 300_000_000 * u64::try_from(before / 2 + 1).unwrap();
        assert!(dead.busy_ns >= took_ns, "{dead:?}");
        let told: Vec<_> = history.stretches().iter().filter(|one| one.first_item == 1 && *one != *lost).collect();
        assert_eq!(told.len(), before / 2);
        let done_ns = told.iter().map(|done| done.busy_ns).sum::<u64>();
        assert!(done_ns + lost.busy_ns >= took_ns);
        assert_eq!(done_ns > 0, timeout_ms > 0, "{told:?}");
        if let [done] = *told {
            assert_eq!((done.items, done.fate), (2, Fate::Done));
            assert!(done.ended_ns <= lost.began_ns, "one worker is at one thing at a time");
        }
        pool.finish();
    }
}

#[test]
fn workers_that_die_one_after_the_other_cost_one_item_each() {
    let pool = Pool::open(2);
    let items: Vec<_> =
        (0..60).map(|number| if number % 3 == 0 { "signal 9".into() } else { format!("echo {number}") }).collect();
    let answers = pool.answers(&pool.submit_many(&items, Sizing::Fixed(10)));
    for (number, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.is_err(), number % 3 == 0, "item {number}");
    }
    pool.finish();
}

#[test]
fn worker_that_refuses_to_be_set_up_breaks_the_pool_with_its_complaint() {
    let pool = Pool::with(Choice { workers: 2, setup: "refuse the module is missing", ..Choice::default() });
    let job = pool.try_submit("echo never");
    eventually("the pool is broken", || !pool.engine.is_accepting());
    let breakdown = match job {
        Ok(job) => {
            pool.wait(&job);
            match job.take_outcome() {
                Some(Outcome::Abandoned(Some(breakdown))) => breakdown,
                other => panic!("{other:?}"),
            }
        }
        Err(paceline_engine::SubmitError::Broken(breakdown)) => breakdown,
        Err(other) => panic!("{other:?}"),
    };
    assert_eq!(breakdown.complaint.as_deref(), Some(&b"the module is missing"[..]));
    assert_eq!(breakdown.death.code, Some(paceline_engine::worker::EXIT_NOT_SET_UP));
    assert_eq!(pool.try_submit("echo no").unwrap_err(), paceline_engine::SubmitError::Broken(breakdown));
    pool.finish();
}

#[test]
fn workers_that_die_before_they_are_ready_end_in_one_breakdown_and_not_in_a_loop() {
    let pool = Pool::with(Choice { workers: 2, setup: "say what is wrong; exit 5", ..Choice::default() });
    eventually("the pool is broken", || !pool.engine.is_accepting());
    let Err(paceline_engine::SubmitError::Broken(breakdown)) = pool.try_submit("echo no") else {
        panic!("a broken pool takes no jobs");
    };
    assert!(breakdown.reason.contains("3 workers in a row ended"), "{breakdown:?}");
    assert_eq!((breakdown.death.code, breakdown.death.last_words.as_str()), (Some(5), "what is wrong"));
    pool.finish();
}

#[test]
fn kills_at_random_moments_lose_nothing_and_hang_nothing() {
    let seeds: u64 = std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(10);
    for seed in 0..seeds {
        let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut next = move |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        let pool = Pool::open(2);
        pool.await_workers(2);
        let jobs: Vec<_> = (0..600)
            .map(|number| match number % 4 {
                0 => pool.submit(&format!("big {}", number * 300)),
                _ => pool.submit(&format!("burn {}; echo {number}", number % 2)),
            })
            .collect();
        let mut killed = 0;
        for _ in 0..5 {
            std::thread::sleep(Duration::from_micros(next(20_000)));
            let pids = pool.engine.pids();
            if let Some(pid) = pids.get(usize::try_from(next(2)).unwrap()) {
                kill(*pid, 9);
                killed += 1;
            }
        }
        let mut died = 0;
        for (number, job) in jobs.iter().enumerate() {
            pool.wait(job);
            match read(job).pop().unwrap() {
                Ok(answer) if number % 4 == 0 => assert_eq!(answer.len(), number * 300, "seed {seed}"),
                Ok(answer) => assert_eq!(answer, number.to_string(), "seed {seed}"),
                Err(death) => {
                    assert_eq!(death.signal, Some(9), "seed {seed}");
                    died += 1;
                }
            }
        }
        assert!(died <= killed, "seed {seed}: {killed} kills cost {died} jobs");
        assert_eq!(pool.run("echo alive"), "alive");
        pool.finish();
    }
}
