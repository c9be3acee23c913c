//! Every way of calling, on every kind of pool.

use crate::pools::{on_every_backend, processes, threads};
use crate::tasks::{Odd, Sample, add, fussy, gather, half, nothing, place, set_up, square, stubborn, was_set_up};
use paceline::{Backend, Pool, Retry, TaskError};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::mpsc::channel;

#[test]
fn every_way_of_calling_gives_what_the_function_returns() {
    on_every_backend(
        |builder| builder,
        |pool| {
            assert_eq!(pool.apply(square, (7,)), Ok(49));
            assert_eq!(pool.apply(nothing, ()), Ok(()));
            assert_eq!(pool.apply_async(add, (1, 2)).get(), Ok(3));
            assert_eq!(pool.map(square, 0..4), Ok(vec![0, 1, 4, 9]));
            assert_eq!(pool.map_async(square, [3, 2]).get(), Ok(vec![9, 4]));
            assert_eq!(pool.starmap(add, [(1, 2), (3, 4)]), Ok(vec![3, 7]));
            assert_eq!(pool.starmap_async(add, vec![(1, 2)]).get(), Ok(vec![3]));
            assert_eq!(pool.map(square, Vec::new()), Ok(vec![]));
            assert_eq!(pool.imap(square, 0..4).collect::<Result<Vec<_>, _>>(), Ok(vec![0, 1, 4, 9]));
            let mut unordered = pool.imap_unordered(square, 0..4).collect::<Result<Vec<_>, _>>().unwrap();
            unordered.sort_unstable();
            assert_eq!(unordered, [0, 1, 4, 9]);
        },
    );
}

#[test]
fn arguments_of_many_types_arrive_as_they_are() {
    let notes = BTreeMap::from([("one".to_owned(), Some('é')), ("two".to_owned(), None)]);
    let sample = Sample { name: "x".into(), values: vec![f64::MIN_POSITIVE, -0.0, f64::INFINITY], notes };
    let arguments = (255, String::new(), (-1, true), vec![1.5], Some(u64::MAX), [1, 2], sample, ());
    let expected = gather(
        arguments.0,
        arguments.1.clone(),
        arguments.2,
        arguments.3.clone(),
        arguments.4,
        arguments.5,
        arguments.6.clone(),
        (),
    );
    on_every_backend(|builder| builder, |pool| assert_eq!(pool.apply(gather, arguments.clone()), Ok(expected.clone())));
}

#[test]
fn an_err_is_a_result_and_keeps_its_type() {
    on_every_backend(
        |builder| builder,
        |pool| {
            assert_eq!(pool.apply(half, (3,)), Ok(Err(Odd::Number(3))));
            assert_eq!(pool.map(half, [2, 3]), Ok(vec![Ok(1), Err(Odd::Number(3))]));
        },
    );
}

#[test]
fn first_panic_of_a_map_is_its_error_and_names_its_item() {
    on_every_backend(
        |builder| builder.chunk_size(3),
        |pool| {
            let Err(TaskError::Panicked { task, panic }) = pool.map(fussy, [1, 2, 13, 4, 13]) else { panic!() };
            assert!(task.function.ends_with("tasks::fussy"), "{task}");
            assert_eq!(task.index, Some(2));
            assert_eq!(panic.message, "13 is unlucky");
            assert!(panic.location.unwrap().contains("tasks.rs:"));
            // It is not the pool's.
            assert_eq!(pool.map(fussy, [1, 2]), Ok(vec![1, 2]));
        },
    );
}

#[test]
fn closures_and_values_of_any_type_run_in_this_process() {
    let lock = Mutex::new(5);
    let seen = std::sync::Arc::new(lock);
    for backend in [Backend::Threads, Backend::Serial] {
        let pool = Pool::builder().workers(2).backend(backend).build().unwrap();
        let in_task = std::sync::Arc::clone(&seen);
        let (sender, receiver) = channel();
        let returned = pool
            .apply(
                move |sender| {
                    *in_task.lock().unwrap() += 1;
                    sender
                },
                (sender,),
            )
            .unwrap();
        returned.send(7).unwrap();
        assert_eq!(receiver.recv(), Ok(7));
    }
    assert_eq!(*seen.lock().unwrap(), 7);
}

#[test]
fn tasks_know_their_places_and_have_seeds_that_come_again() {
    let mut seen = Vec::new();
    for backend in [Backend::Processes, Backend::Threads, Backend::Serial] {
        let pool = Pool::builder().workers(2).backend(backend).seed(1).build().unwrap();
        let told = pool.starmap(place, vec![(); 20]).unwrap();
        assert!(told.iter().enumerate().all(|(index, task)| (task.0, task.1) == (index as u64, index)));
        seen.push(told);
        assert_eq!(pool.apply(place, ()).map(|task| (task.0, task.1)), Ok((20, 0)));
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]));
    let other = Pool::builder().workers(1).seed(2).build().unwrap();
    assert_ne!(other.apply(place, ()).unwrap().2, seen[0][0].2);
}

#[test]
fn initializer_has_run_before_the_first_task() {
    on_every_backend(
        |builder| builder.initializer(set_up, (42,)),
        |pool| assert!(pool.map(was_set_up, 0..20).unwrap().iter().all(|number| *number == 42)),
    );
}

#[test]
fn initializer_that_panics_breaks_the_pool_and_says_why() {
    on_every_backend(
        |builder| builder.initializer(set_up, (13,)),
        |pool| {
            let error = pool.apply(square, (1,)).unwrap_err();
            assert!(error.to_string().contains("no worker wants to be set up with 13"), "{error}");
            assert!(error.to_string().contains("tasks::set_up"), "{error}");
        },
    );
}

#[test]
fn what_fails_is_run_again_after_what_was_asked_for() {
    on_every_backend(
        |builder| builder.retries(2).retry_on(&[Retry::Error, Retry::Panic]),
        |pool| {
            assert_eq!(pool.apply(stubborn, (2, "error".into())), Ok(Ok(2)));
            assert_eq!(pool.apply(stubborn, (2, "panic".into())), Ok(Ok(2)));
            assert_eq!(pool.apply(stubborn, (3, "error".into())), Ok(Err("attempt 2".into())));
            let only_panics = pool.with_retry_on(&[Retry::Panic]);
            assert_eq!(only_panics.apply(stubborn, (1, "error".into())), Ok(Err("attempt 0".into())));
            assert_eq!(pool.with_retries(0).apply(stubborn, (1, "error".into())), Ok(Err("attempt 0".into())));
            let items: Vec<_> = (0..10).map(|item| (item % 3, "error".to_owned())).collect();
            assert!(pool.starmap(stubborn, items).unwrap().iter().enumerate().all(|(item, n)| *n == Ok(item % 3)));
        },
    );
    let pool = Pool::builder().workers(1).retries(1).build().unwrap();
    assert_eq!(pool.apply(stubborn, (1, "abort".into())), Ok(Ok(1)));
}

#[test]
fn handles_have_terms_of_their_own_and_the_same_workers() {
    let pool = threads();
    let named = pool.with_name("census").with_priority(3).with_chunk_size(2);
    let error = named.map(fussy, [13]).unwrap_err();
    assert_eq!(error.to_string().split(" panicked").next(), Some("item 0 of `census`"));
    drop(pool);
    assert_eq!(named.map(square, [2]), Ok(vec![4]));
}

#[test]
fn urgent_calls_overtake_those_that_wait() {
    let folder = tempfile::tempdir().unwrap();
    let gate = folder.path().join("gate").to_string_lossy().into_owned();
    for pool in [
        Pool::builder().workers(1).build().unwrap(),
        Pool::builder().workers(1).backend(Backend::Threads).build().unwrap(),
    ] {
        let _ = std::fs::remove_file(&gate);
        let first = pool.apply_async(crate::tasks::await_file, (gate.clone(),));
        let (sender, order) = channel();
        for (name, priority) in [("plain", 0), ("low", -1), ("urgent", 5)] {
            let sender = sender.clone();
            let call = pool.with_priority(priority).apply_async(nothing, ());
            call.callback(move |result| sender.send((name, result.is_ok())).unwrap());
        }
        std::fs::write(&gate, "").unwrap();
        first.get().unwrap();
        let order: Vec<_> = order.iter().take(3).collect();
        assert_eq!(order, [("urgent", true), ("plain", true), ("low", true)]);
    }
}

#[test]
fn report_counts_every_task_once() {
    for pool in [processes(), threads()] {
        pool.map(square, 0..100).unwrap();
        pool.apply(square, (1,)).unwrap();
        let report = pool.report();
        assert_eq!(report.tasks(), 101);
        let mut numbers: Vec<_> = report.workers.iter().flat_map(|worker| worker.numbers.clone()).flatten().collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..101).collect::<Vec<_>>());
        assert!(report.to_string().contains("Total work done (s)"));
    }
}
