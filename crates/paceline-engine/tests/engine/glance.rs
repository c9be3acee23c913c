//! Whoever looks at a pool while it runs is told the same few things, whatever there has been.

use crate::pool::{Pool, absent, eventually};
use paceline_engine::{Fate, Outcome, Sizing, Terms, now_ns};

#[test]
fn glance_counts_what_has_ended_and_what_has_not() {
    let pool = Pool::open(1);
    let items: Vec<_> = (0..20).map(|number| format!("echo {number}")).collect();
    pool.wait(&pool.submit_many(&items, Sizing::Fixed(4)));
    let running = pool.submit("sleep 20000");
    let waiting = pool.submit_many(&items, Sizing::Fixed(4));
    eventually("it has begun", || pool.engine.is_running(&running));
    // A worker may be at work before anybody has heard of its birth.
    let pids = pool.await_workers(1);
    let glance = pool.engine.glance();
    assert_eq!((glance.ended, glance.unfinished, glance.failed), (20, 21, 0));
    let [(pid, busy_ns, items)] = glance.workers[..] else { panic!("{:?}", glance.workers) };
    assert_eq!((vec![pid], items), (pids, 20));
    assert!(busy_ns < 20_000_000_000);
    assert!(pool.engine.cancel(&waiting));
    assert_eq!(pool.engine.glance().unfinished, 1, "what is cancelled is not to be done any more");
    assert!(pool.engine.stop(&running));
    pool.wait(&running);
    let glance = pool.engine.glance();
    assert_eq!((glance.unfinished, glance.failed), (0, 0), "what is cancelled has not failed");
    pool.finish();
}

#[test]
fn glance_has_the_latest_failures() {
    let pool = Pool::open(1);
    let items = ["echo", "say hello; fail", "echo", "fail", "echo"].map(str::to_owned);
    pool.wait(&pool.submit_many(&items, Sizing::Fixed(5)));
    let pid = pool.await_workers(1)[0];
    pool.death("signal 9");
    let glance = pool.engine.glance();
    assert_eq!((glance.ended, glance.unfinished, glance.failed), (5, 0, 3));
    let [raised, lost] = &glance.failures[..] else { panic!("{:?}", glance.failures) };
    assert_eq!((raised.function.as_str(), raised.item, raised.index), ("work", 3, Some(3)));
    assert_eq!((raised.pid, raised.fate, raised.attempt), (pid, Fate::Raised, 0));
    assert!(raised.said.is_some() && raised.death.is_none());
    assert_eq!((lost.item, lost.index, lost.pid, lost.fate), (5, None, pid, Fate::Lost));
    assert_eq!(lost.death.as_ref().and_then(|death| death.signal), Some(9));
    assert!(raised.ended_ns <= lost.ended_ns && lost.ended_ns <= now_ns());
    pool.finish();
}

#[test]
fn what_is_run_again_has_no_outcome_meanwhile() {
    let pool = Pool::open(1);
    pool.run("echo");
    let terms = Terms { retries: 1, ..Terms::default() };
    let tripped = absent("glance");
    let steps = format!("trip {}; echo", tripped.display());
    for steps in [steps.as_str(), "signal 9"] {
        pool.wait(&pool.submit_under(terms, steps));
    }
    std::fs::remove_file(&tripped).unwrap();
    let glance = pool.engine.glance();
    assert_eq!((glance.unfinished, glance.failed), (0, 3));
    let attempts: Vec<_> = glance.failures.iter().map(|failure| (failure.fate, failure.attempt)).collect();
    assert_eq!(attempts, [(Fate::Raised, 0), (Fate::Lost, 0), (Fate::Lost, 1)]);
    pool.finish();
}

#[test]
fn item_is_cancelled_by_its_number() {
    let pool = Pool::open(1);
    pool.run("echo");
    let running = pool.submit("sleep 20000");
    let items: Vec<_> = (0..10).map(|number| format!("echo {number}")).collect();
    let map = pool.submit_many(&items, Sizing::Fixed(1));
    let last = pool.submit("pid");
    eventually("it has begun", || pool.engine.is_running(&running));
    assert_eq!(pool.engine.cancel_item(0, true), None, "it has ended");
    assert_eq!(pool.engine.cancel_item(99, true), None, "there never was one");
    assert_eq!(pool.engine.cancel_item(1, false), Some(false), "it runs");
    assert_eq!(pool.engine.cancel_item(7, false), Some(true), "it belongs to a map, which waits");
    assert!(matches!(map.take_outcome(), Some(Outcome::Cancelled)));
    assert_eq!(pool.engine.cancel_item(1, true), Some(true));
    pool.wait(&running);
    assert!(matches!(running.take_outcome(), Some(Outcome::Cancelled)));
    assert!(!pool.answer(&last).is_empty(), "the others go on");
    pool.finish();
}
