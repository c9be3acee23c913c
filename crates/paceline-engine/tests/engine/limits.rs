//! What is over its limits is asked to stop, and ended if it does not; what may pass is run again.

use crate::pool::{Choice, Gate, Pool, absent, eventually, item};
use paceline_engine::{FailureWatch, Label, Outcome, Pending, RetryOn, Sizing, Stage, Terms};
use std::sync::Arc;
use std::time::Instant;

const MS: u64 = 1_000_000;

impl Pool {
    pub(crate) fn submit_chunks(&self, steps: &[&str], size: u32, terms: Terms, watch: FailureWatch) -> Arc<Pending> {
        let (mut input, mut ends) = (Vec::new(), Vec::new());
        for steps in steps {
            input.extend(item(steps.as_bytes()));
            ends.push(input.len() as u64);
        }
        let pending = Pending::watched(None, Label::default(), watch, None);
        self.engine.submit_many(&self.function, &input, ends, Sizing::Fixed(size), terms, &pending).unwrap();
        pending
    }

    /// The answer to each item, or that there is none.
    fn told(&self, pending: &Arc<Pending>) -> Vec<String> {
        self.answers(pending).into_iter().map(|answer| answer.unwrap_or("died".into())).collect()
    }
}

fn limit(timeout_ms: u64, grace_ms: u64) -> Terms {
    Terms { timeout_ns: timeout_ms * MS, grace_ns: grace_ms * MS, ..Terms::default() }
}

#[test]
fn task_that_stops_when_asked_keeps_its_worker() {
    let pool = Pool::open(1);
    let pid = pool.run("pid");
    let begin = Instant::now();
    // It is the second item of this pool, and is told which one is meant.
    assert_eq!(pool.answer(&pool.submit_under(limit(100, 20_000), "nap 20000")), "kind 3: 1");
    assert!(begin.elapsed().as_millis() >= 100);
    assert_eq!(pool.run("pid"), pid);
    pool.finish();
}

#[test]
fn task_is_told_again_to_stop_if_it_missed_the_signal() {
    let pool = Pool::open(1);
    let pid = pool.run("pid");
    let begin = Instant::now();
    assert_eq!(pool.answer(&pool.submit_under(limit(50, 20_000), "doze 15000")), "kind 3: 1");
    assert!(begin.elapsed().as_secs() < 10);
    // It is told no more of what it has taken.
    assert_eq!(pool.answer(&pool.submit_under(limit(10_000, 20_000), "nap 100; pid")), pid);
    pool.finish();
}

#[test]
fn task_that_does_not_stop_is_ended_with_its_worker() {
    let pool = Pool::open(2);
    let pid = pool.run("pid");
    let beside = pool.submit("sleep 400; echo beside");
    let death = pool.answers(&pool.submit_under(limit(50, 50), "hang")).pop().unwrap().unwrap_err();
    assert_eq!(death.signal, Some(libc::SIGKILL));
    assert!(!death.is_over_limit);
    assert_eq!(pool.answer(&beside), "beside");
    assert!(!pid.is_empty() && pool.run("echo on") == "on");
    pool.finish();
}

#[test]
fn limit_is_for_each_item_and_the_others_of_its_chunk_have_their_answers() {
    let pool = Pool::open(1);
    let steps = ["burn 20; echo a", "nap 20000", "burn 20; echo b", "hang", "burn 20; echo c"];
    let told = pool.told(&pool.submit_chunks(&steps, 5, limit(2_000, 1_000), FailureWatch::Nobody));
    assert_eq!(told, ["a", "kind 3: 1", "b", "died", "c"]);
    pool.finish();
}

#[test]
fn running_job_that_is_stopped_ends_and_what_it_left_does_not_disturb() {
    let pool = Pool::open(1);
    let pid = pool.run("pid");
    for (steps, keeps_worker) in [("nap 20000", true), ("hang", false)] {
        let job = pool.begin(limit(0, 2_000), steps);
        assert!(pool.engine.stop(&job));
        pool.wait(&job);
        assert!(matches!(job.take_outcome(), Some(Outcome::Cancelled)));
        assert_eq!(pool.run("pid") == pid, keeps_worker);
    }
    pool.finish();
}

#[test]
fn worker_that_outgrows_its_memory_is_ended_and_the_others_are_not() {
    let pool = Pool::with(Choice { workers: 2, memory_limit: 100 << 20, ..Choice::default() });
    let beside = pool.submit("sleep 500; echo beside");
    let death = pool.death("eat 150; hang");
    assert!(death.is_over_limit && death.signal == Some(libc::SIGKILL));
    assert!(death.peak_bytes > 100 << 20, "{death:?}");
    assert_eq!(pool.answer(&beside), "beside");
    assert_eq!(pool.run("eat 10; echo modest"), "modest");
    pool.finish();
}

#[test]
fn only_what_may_pass_is_run_again() {
    let pool = Pool::open(2);
    let (trip, once) = (absent("trip"), absent("once"));
    let terms = Terms { retries: 2, backoff_ns: 10 * MS, ..Terms::default() };
    assert_eq!(pool.answer(&pool.submit_under(terms, &format!("trip {}; echo up", trip.display()))), "up");
    assert_eq!(pool.answer(&pool.submit_under(terms, "fail")), "kind 1: ");
    // A second attempt would find the file, and end otherwise.
    let terms = Terms { retry_on: RetryOn { death: false, ..terms.retry_on }, ..terms };
    let died = pool.submit_under(terms, &format!("once {}; exit 4", once.display()));
    assert_eq!(pool.answers(&died).pop().unwrap().unwrap_err().code, Some(4));
    std::fs::remove_file(trip).unwrap();
    std::fs::remove_file(once).unwrap();
    pool.finish();
}

#[test]
fn failures_that_are_final_are_shown_before_the_job_ends() {
    let pool = Pool::open(1);
    let (trip, gate) = (absent("shown"), Gate::new());
    let (trips, waits) = (format!("trip {}; echo up", trip.display()), format!("{}; echo b", gate.step()));
    let steps = ["echo a", "fail", &trips, "exit 3", &waits];
    let terms = Terms { retries: 1, retry_on: RetryOn { death: false, ..RetryOn::default() }, ..Terms::default() };
    let job = pool.submit_chunks(&steps, 2, terms, FailureWatch::Everybody);
    eventually("both failures are shown", || pool.announced.shown().len() == 2);
    assert!(!job.is_done());
    gate.open();
    assert_eq!(pool.told(&job), ["a", "kind 1: ", "up", "died", "b"]);
    assert_eq!(pool.announced.shown(), [1, 3]);
    std::fs::remove_file(trip).unwrap();
    pool.finish();
}

#[test]
fn job_with_too_many_failures_is_given_up_and_its_rest_is_never_run() {
    let pool = Pool::open(1);
    let path = absent("rest");
    let rest = format!("once {}", path.display());
    let mut steps = vec!["fail", "fail", "fail", "sleep 1"];
    steps.extend(std::iter::repeat_n("sleep 1", 1_000));
    steps.push(&rest);
    let job = pool.submit_chunks(&steps, 1, Terms { most_failures: 2, ..Terms::default() }, FailureWatch::Core);
    pool.wait(&job);
    assert_eq!(job.stage(), Stage::GivenUp);
    assert_eq!(pool.run("echo on"), "on");
    pool.finish();
    assert!(!path.exists());
}
