//! However many wait at once, each is woken for what is its own.

use crate::pool::{Gate, PANIC, Pool, eventually};
use paceline_engine::{Pending, Sizing, Stream, Terms, Waited, now_ns};
use std::sync::Arc;
use std::time::{Duration, Instant};

const MS: u64 = 1_000_000;
/// Much sooner than the end of a long wait, and late enough for a machine that is busy elsewhere.
const SOON: Duration = Duration::from_secs(5);

#[test]
fn wait_keeps_its_time_limit() {
    let pool = Pool::open(1);
    let gate = Gate::new();
    let job = pool.submit(&format!("{}; echo done", gate.step()));
    for _ in 0..3 {
        let began = Instant::now();
        assert_eq!(pool.engine.wait(&job, Some(now_ns() + 50 * MS), 1_000 * MS), Waited::TimedOut);
        assert!((Duration::from_millis(50)..SOON).contains(&began.elapsed()), "{:?}", began.elapsed());
        let began = Instant::now();
        assert_eq!(pool.engine.wait(&job, None, 20 * MS), Waited::Interrupted);
        assert!(began.elapsed() < SOON);
    }
    assert_eq!(pool.engine.wait(&job, Some(0), MS), Waited::TimedOut);
    gate.open();
    assert_eq!(pool.answer(&job), "done");
    assert_eq!(pool.engine.wait(&job, Some(0), MS), Waited::Done);
    pool.finish();
}

#[test]
fn many_threads_that_wait_at_once_all_get_their_own() {
    let pool = Pool::open(2);
    std::thread::scope(|scope| {
        for thread in 0..12u64 {
            let pool = &pool;
            scope.spawn(move || {
                for number in 0..150u64 {
                    let text = format!("{thread}.{number}");
                    let job = match number % 3 {
                        0 => pool.submit(&format!("sleep 1; echo {text}")),
                        _ => pool.submit(&format!("echo {text}")),
                    };
                    // Some lose patience first, and the lead with it.
                    while number % 5 == thread % 5
                        && pool.engine.wait(&job, Some(now_ns() + 100_000 * (number % 7)), MS) != Waited::Done
                    {
                    }
                    assert_eq!(pool.answer(&job), text);
                }
            });
        }
    });
    pool.finish();
}

/// No follower's wait is as long as a slice if its result comes before.
#[test]
fn followers_are_woken_when_their_own_result_comes() {
    let pool = Pool::open(2);
    let gate = Gate::new();
    let (long, short) = (pool.submit(&gate.step()), pool.submit("sleep 100; echo short"));
    std::thread::scope(|scope| {
        let leader = scope.spawn(|| pool.engine.wait(&long, None, 10_000 * MS));
        std::thread::sleep(Duration::from_millis(20));
        let followers: Vec<_> = (0..4).map(|_| scope.spawn(|| pool.engine.wait(&short, None, 10_000 * MS))).collect();
        let began = Instant::now();
        assert!(followers.into_iter().all(|follower| follower.join().unwrap() == Waited::Done));
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        gate.open();
        assert_eq!(leader.join().unwrap(), Waited::Done);
    });
    pool.finish();
}

#[test]
fn follower_takes_the_lead_when_the_leader_leaves() {
    let pool = Pool::open(2);
    let (short, long) = (pool.submit("sleep 100; echo short"), pool.submit("sleep 300; echo long"));
    std::thread::scope(|scope| {
        let leader = scope.spawn(|| pool.engine.wait(&short, None, 10_000 * MS));
        std::thread::sleep(Duration::from_millis(20));
        let began = Instant::now();
        assert_eq!(pool.engine.wait(&long, None, 10_000 * MS), Waited::Done);
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        assert_eq!(leader.join().unwrap(), Waited::Done);
    });
    pool.finish();
}

#[test]
fn stream_gives_jobs_in_the_order_in_which_they_end() {
    let pool = Pool::open(2);
    let stream = Stream::new();
    let submit = |number: u64, steps: &str| {
        let pending = Pending::new(Some((Arc::clone(&stream), number)));
        let input = crate::pool::item(steps.as_bytes());
        pool.engine.submit(&pool.function, &input, Terms::default(), &pending).unwrap();
        pending
    };
    let gate = Gate::new();
    let jobs = [submit(0, &gate.step()), submit(1, "sleep 100"), submit(2, "sleep 1"), submit(3, "sleep 1")];
    assert_eq!(stream.outstanding(), 4);
    let mut order = Vec::new();
    while stream.outstanding() > 0 {
        assert_ne!(pool.engine.wait(&stream, Some(now_ns() + 20_000 * MS), 10_000 * MS), Waited::TimedOut);
        while let Some(number) = stream.pop() {
            assert!(jobs[usize::try_from(number).unwrap()].is_done());
            order.push(number);
        }
        if order.len() == 3 {
            gate.open();
        }
    }
    assert_eq!(order, [1, 2, 3, 0]);
    pool.finish();
}

#[test]
fn several_threads_share_a_stream() {
    let pool = Pool::open(2);
    let stream = Stream::new();
    for number in 0..2_000 {
        let pending = Pending::new(Some((Arc::clone(&stream), number)));
        pool.engine.submit(&pool.function, &crate::pool::item(b"echo"), Terms::default(), &pending).unwrap();
    }
    let mut numbers = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut mine = Vec::new();
                    while stream.outstanding() > 0 {
                        let waited = pool.engine.wait(&stream, Some(now_ns() + 20_000 * MS), 20 * MS);
                        assert_ne!(waited, Waited::TimedOut);
                        mine.extend(stream.pop());
                    }
                    mine
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    numbers.sort_unstable();
    assert_eq!(numbers, (0..2_000).collect::<Vec<_>>());
    pool.finish();
}

#[test]
fn ends_are_announced_in_their_order_though_nobody_waits() {
    let pool = Pool::open(1);
    let gate = Gate::new();
    let running = pool.submit(&gate.step());
    let jobs: Vec<_> = (0..3_000u64)
        .map(|number| {
            let job = pool.submit("echo");
            pool.engine
                .announce(&job, Box::new(number))
                .map_err(drop)
                .unwrap_or_else(|()| panic!("it has ended already"));
            job
        })
        .collect();
    gate.open();
    eventually("all are announced", || pool.announced.numbers().len() == jobs.len());
    assert_eq!(pool.announced.numbers(), (0..3_000).collect::<Vec<_>>());
    let attachment = pool.engine.announce(&jobs[0], Box::new(7u64)).unwrap_err();
    assert_eq!(*attachment.downcast::<u64>().unwrap(), 7, "what comes too late is given back");
    assert!(running.is_done());
    pool.finish();
}

#[test]
fn backlog_is_worked_off_though_nobody_waits() {
    let pool = Pool::open(2);
    let items: Vec<_> = (0..10_000).map(|number| format!("echo {number}")).collect();
    let gate = Gate::new();
    let jobs = [pool.submit_many(&items, Sizing::Fixed(1)), pool.submit(&format!("{}; echo last", gate.step()))];
    pool.engine.announce(&jobs[1], Box::new(1u64)).map_err(drop).unwrap();
    gate.open();
    eventually("the last is announced", || pool.announced.numbers() == [1]);
    pool.finish();
}

#[test]
fn announcer_that_panics_stops_nothing() {
    let pool = Pool::open(1);
    let gate = Gate::new();
    for number in [1, PANIC, 2] {
        let job = pool.submit(&gate.step());
        pool.engine.announce(&job, Box::new(number)).map_err(drop).unwrap();
    }
    gate.open();
    eventually("the others are announced", || pool.announced.numbers() == [1, 2]);
    assert_eq!(pool.run("echo alive"), "alive");
    pool.finish();
}
