//! Those who have asked are told of what happens: everything, once, in order, and to the end.

use crate::pool::{Choice, DEADLINE, Pool, absent, eventually};
use paceline_engine::{Fate, Happening, RetryOn, Sizing, Subscription, Terms, WorkerExit};
use std::time::Duration;

fn rest(subscription: &Subscription) -> Vec<Happening> {
    std::iter::from_fn(|| subscription.next(Some(DEADLINE)).filter(|told| !told.is_empty())).flatten().collect()
}

/// Closes the pool, and gives what is told until its end.
fn story(pool: Pool, subscription: &Subscription) -> Vec<Happening> {
    pool.engine.close(false);
    let told = rest(subscription);
    assert!(matches!(told.last(), Some(Happening::Closed { is_broken: false, .. })), "{told:?}");
    assert_eq!(subscription.next(None), None);
    pool.finish();
    told
}

/// How many items are told to have ended like this.
fn items(told: &[Happening], wanted: Fate) -> u32 {
    let count = |one: &Happening| match one {
        Happening::Ended { items, fate, .. } if *fate == wanted => items.count,
        _ => 0,
    };
    told.iter().map(count).sum()
}

#[test]
fn every_item_of_a_map_is_told_once_and_after_its_submission() {
    let pool = Pool::open(2);
    let subscription = pool.engine.subscribe().unwrap();
    let steps: Vec<_> = (0..5_000).map(|number| format!("echo {number}")).collect();
    let job = pool.submit_many(&steps, Sizing::Measured);
    pool.answers(&job);
    let told = story(pool, &subscription);
    let mut seen = vec![0; 5_000];
    let mut is_submitted = false;
    for one in &told {
        match one {
            Happening::Submitted { items, .. } => {
                assert_eq!((&*items.function, items.first, items.count), ("work", 0, 5_000));
                is_submitted = true;
            }
            Happening::Ended { items, submitted_ns, began_ns, ended_ns, failures: 0, .. } => {
                assert!(is_submitted && submitted_ns <= began_ns && began_ns <= ended_ns);
                for item in items.first..items.first + u64::from(items.count) {
                    seen[usize::try_from(item).unwrap()] += 1;
                }
            }
            _ => {}
        }
    }
    assert!(seen.iter().all(|count| *count == 1), "{seen:?}");
}

#[test]
fn workers_are_told_before_what_they_do_and_after_it() {
    let pool = Pool::with(Choice { workers: 2, chunks_per_worker: 3, ..Choice::default() });
    let subscription = pool.engine.subscribe().unwrap();
    // They may have been ready before somebody asked.
    let first = pool.engine.pids();
    for job in (0..50).map(|_| pool.submit("pid")).collect::<Vec<_>>() {
        pool.answer(&job);
    }
    // However fast a worker is, the report of what it did says whose it was.
    eventually("every worker is known by its process", || {
        pool.engine.accounts().workers.iter().all(|account| account.pid > 0)
    });
    let told = story(pool, &subscription);
    let mut living = Vec::new();
    let mut retired = 0;
    for one in &told {
        match one {
            Happening::WorkerStarted { pid, .. } => living.push(*pid),
            Happening::Ended { pid, .. } => {
                assert!(living.contains(pid) || first.contains(pid), "{pid} of {first:?}: {told:?}");
            }
            Happening::WorkerEnded { pid, exit, code, signal, .. } => {
                retired += usize::from(*exit == WorkerExit::Retired);
                assert!(matches!(exit, WorkerExit::Retired | WorkerExit::Stopped));
                assert_eq!((*code, *signal), (Some(0), None));
                living.retain(|known| known != pid);
            }
            _ => {}
        }
    }
    assert_eq!(living, []);
    assert!(retired >= 50 / 3 - 2, "{retired} have retired");
    assert_eq!(items(&told, Fate::Done), 50);
}

#[test]
fn item_lost_with_its_worker_is_told_lost_and_then_run_again() {
    let pool = Pool::open(1);
    let subscription = pool.engine.subscribe().unwrap();
    let path = absent("events");
    let terms = Terms { retries: 2, ..Terms::default() };
    let job = pool.submit_under(terms, &format!("trip {}; signal 9", path.display()));
    assert!(pool.answers(&job)[0].is_err());
    std::fs::remove_file(&path).unwrap();
    let told = story(pool, &subscription);
    let tale: Vec<_> = told
        .iter()
        .filter_map(|one| match one {
            Happening::Ended { items, fate, .. } => Some(format!("{fate:?} {}", items.attempt)),
            Happening::Retried { items, .. } => Some(format!("again {}", items.attempt)),
            Happening::WorkerEnded { exit: WorkerExit::Died, signal, .. } => Some(format!("died {signal:?}")),
            _ => None,
        })
        .collect();
    let lost = ["Lost 1", "died Some(9)", "again 2", "Lost 2", "died Some(9)"];
    assert_eq!(tale, [&["Raised 0", "again 1"][..], &lost].concat(), "{told:?}");
}

#[test]
fn what_nobody_waits_for_is_told_all_the_same() {
    let pool = Pool::open(1);
    pool.run("echo warm");
    let subscription = pool.engine.subscribe().unwrap();
    let job = pool.submit("echo quiet");
    let mut told = Vec::new();
    eventually("the end of a call is told", || {
        told.extend(subscription.next(Some(Duration::from_millis(100))).unwrap());
        items(&told, Fate::Done) == 1
    });
    let place = |wanted: fn(&Happening) -> bool| told.iter().position(wanted);
    let submitted = place(|one| matches!(one, Happening::Submitted { .. }));
    assert!(submitted.is_some() && submitted < place(|one| matches!(one, Happening::Ended { .. })), "{told:?}");
    assert_eq!(pool.answer(&job), "quiet");
    pool.finish();
}

#[test]
fn closed_subscription_has_what_was_answered_before_and_nothing_after() {
    let pool = Pool::open(1);
    let subscription = pool.engine.subscribe().unwrap();
    pool.run("echo before");
    subscription.close();
    pool.run("echo after");
    assert_eq!(items(&rest(&subscription), Fate::Done), 1);
    let late = pool.engine.subscribe().unwrap();
    drop(subscription);
    assert!(pool.engine.wait_until_told(Duration::ZERO), "the one that is closed is not waited for");
    let told = story(pool, &late);
    assert_eq!(items(&told, Fate::Done), 0);
    assert!(told.iter().any(|one| matches!(one, Happening::WorkerEnded { exit: WorkerExit::Stopped, .. })));
}

#[test]
fn pool_that_breaks_says_so_at_its_end() {
    let pool = Pool::with(Choice { setup: "refuse not today", ..Choice::default() });
    let subscription = pool.engine.subscribe().unwrap();
    let told = rest(&subscription);
    assert!(matches!(told.last(), Some(Happening::Closed { is_broken: true, .. })), "{told:?}");
    assert!(!told.iter().any(|one| matches!(one, Happening::WorkerStarted { .. })), "none was ever ready");
    pool.finish();
}

#[test]
fn overrun_that_is_run_again_is_told_as_stopped() {
    let pool = Pool::open(1);
    let subscription = pool.engine.subscribe().unwrap();
    let retry_on = RetryOn { overrun: true, ..RetryOn::default() };
    let terms = Terms { retries: 1, retry_on, timeout_ns: 20_000_000, grace_ns: 5_000_000_000, ..Terms::default() };
    let job = pool.submit_under(terms, "nap 60000");
    pool.answers(&job);
    let told = story(pool, &subscription);
    assert_eq!(items(&told, Fate::Stopped), 2);
    assert_eq!(told.iter().filter(|one| matches!(one, Happening::Retried { .. })).count(), 1);
}
