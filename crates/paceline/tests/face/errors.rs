//! What is refused, and how it is said.

use crate::pools::{processes, threads};
use crate::tasks::{Stuck, square, stick};
use paceline::{Backend, BuildError, Pool, SubmitError, TaskError};
use std::time::Duration;

fn unknown(number: i64) -> i64 {
    number
}

#[test]
fn closures_and_unregistered_functions_cannot_go_to_a_process_and_the_error_says_what_to_do() {
    let pool = processes();
    let error = pool.map(unknown, [1]).unwrap_err();
    assert!(
        matches!(&error, TaskError::NotSubmitted(SubmitError::NotATask(name)) if name.ends_with("errors::unknown"))
    );
    assert!(error.to_string().contains("#[paceline::task]"), "{error}");
    let factor = 2;
    let error = pool.apply(move || factor, ()).unwrap_err();
    assert!(error.to_string().contains("Backend::Threads"), "{error}");
    // An iterator says so, and ends, also where its input does not.
    assert_eq!(pool.imap(unknown, 0..).map(|outcome| assert!(outcome.is_err())).count(), 1);
    assert_eq!(pool.imap_unordered(unknown, 0..).map(|outcome| assert!(outcome.is_err())).count(), 1);
}

#[test]
fn values_that_cannot_be_sent_say_so_and_cost_nothing_else() {
    let pool = processes();
    let refused = pool.apply(stick, (Stuck(true),)).unwrap_err();
    assert!(matches!(refused, TaskError::NotSubmitted(SubmitError::NotSerialisable { .. })));
    assert!(refused.to_string().contains("an argument of"), "{refused}");
    let lost = pool.apply(stick, (Stuck(false),)).unwrap_err();
    assert!(matches!(lost, TaskError::NotSerialisable { .. }));
    assert!(lost.to_string().contains("its result"), "{lost}");
    assert_eq!(pool.apply(square, (2,)), Ok(4));
    for outcomes in [pool.imap(stick, [true, false].map(Stuck)), pool.imap_unordered(stick, [true, false].map(Stuck))] {
        assert_eq!(outcomes.filter(Result::is_err).count(), 2);
    }
    let endless = pool.imap_unordered(stick, std::iter::repeat_with(|| Stuck(true)));
    assert!(endless.take(100).all(|outcome| outcome.is_err()));
    assert_eq!(threads().apply(stick, (Stuck(true),)), Ok(Stuck(false)));
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let error = |builder: paceline::Builder| builder.build().err();
    assert_eq!(error(Pool::builder().workers(0)), Some(BuildError::Workers { asked: 0, most: 512 }));
    assert_eq!(error(Pool::builder().workers(100_000)), Some(BuildError::Workers { asked: 100_000, most: 512 }));
    let threads = || Pool::builder().backend(Backend::Threads);
    assert_eq!(error(threads().memory_limit(1)), Some(BuildError::NeedsProcesses("memory_limit")));
    assert_eq!(error(threads().timeout(Duration::ZERO)), Some(BuildError::NeedsProcesses("timeout")));
    let limited = threads().build().unwrap().with_timeout(Duration::from_secs(1));
    assert_eq!(limited.apply(square, (1,)), Err(TaskError::NotSubmitted(SubmitError::NeedsProcesses("timeout"))));
    let stranger = error(Pool::builder().initializer(|| (), ()));
    assert!(matches!(stranger, Some(BuildError::NotATask(_))));
}

#[test]
fn closed_pools_take_nothing_more() {
    for pool in [processes(), threads()] {
        let before = pool.apply_async(square, (3,));
        pool.close();
        assert_eq!(pool.apply(square, (1,)), Err(TaskError::NotSubmitted(SubmitError::Closed)));
        assert_eq!(before.get(), Ok(9));
        pool.join();
    }
}
