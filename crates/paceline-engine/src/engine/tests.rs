//! The tests of an engine without workers.

use super::*;
use crate::outcome::Outcome;
use crate::supervisor::{ForkServerCommand, STOPPED_LOOKS};

struct Nobody;

impl Announce for Nobody {
    fn announce(&self, _: &mut dyn Iterator<Item = Arc<Pending>>) {}

    fn show_failure(&self, _: &ShownFailure) {}
}

/// Of an engine whose fork server does nothing at all.
fn options(workers: u16) -> Options {
    let fork_server = ForkServerCommand { program: "sleep".into(), arguments: vec!["5".into()] };
    Options {
        workers,
        chunks_per_worker: 0,
        memory_limit: 0,
        memory_budget: u64::MAX,
        start_timeout_ns: 0,
        tokens: Tokens::default(),
        setup: Vec::new(),
        prefix_output: false,
        start: StartMethod::ForkServer(fork_server),
        stopped_looks: STOPPED_LOOKS,
        announce: Box::new(Nobody),
    }
}

fn engine() -> Engine {
    Engine::open(options(2)).unwrap()
}

#[test]
fn panic_under_the_lock_ends_every_wait_and_the_pool() {
    let engine = engine();
    let function = engine.register(b"", "").unwrap();
    let jobs: Vec<_> = (0..2_000).map(|_| Pending::new(None)).collect();
    for job in &jobs {
        engine.submit(&function, b"", Terms::default(), job).unwrap();
    }
    std::thread::scope(|scope| {
        let waiting = [&jobs[0], &jobs[1_999]].map(|job| scope.spawn(|| engine.wait(job, None, u64::MAX)));
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(engine.shared.with(|_, _| panic!("on purpose")), None::<()>);
        assert!(waiting.into_iter().all(|thread| thread.join().unwrap() == Waited::Done));
    });
    for job in &jobs {
        match job.take_outcome() {
            Some(Outcome::Abandoned(Some(breakdown))) => assert!(breakdown.reason.ends_with("on purpose")),
            other => panic!("{other:?}"),
        }
    }
    assert!(!engine.is_accepting());
    assert!(matches!(
        engine.submit(&function, b"", Terms::default(), &Pending::new(None)),
        Err(SubmitError::Broken(_))
    ));
    engine.poll();
    engine.close(false);
    assert!(engine.join(Duration::from_secs(20)));
}

#[test]
fn fork_server_that_does_nothing_keeps_no_terminated_pool() {
    let engine = engine();
    engine.terminate();
    assert!(engine.join(Duration::from_secs(20)));
}

#[test]
fn number_of_workers_that_makes_no_sense_is_refused() {
    for workers in [0, u16::try_from(SEATS + 1).unwrap()] {
        assert_eq!(Engine::open(options(workers)).err(), Some(OpenError::WorkerCount));
    }
}
