//! No worker sleeps while there is a task for it.

use crate::small::{Parent, answer, explore, explore_to, read, serve, wait, watch};
use loom::sync::Arc;
use loom::thread;

#[test]
fn publication_wakes_the_worker_that_goes_to_sleep() {
    for searches in [0, 2] {
        explore(move || {
            let mut parent = Parent::<2>::new();
            let table = Arc::clone(&parent.table);
            let worker = thread::spawn(move || {
                let claim = wait(&table, 0, searches);
                answer(&table, claim)
            });
            parent.publish_and_wake(&[1]);
            assert_eq!(worker.join().unwrap(), 1);
        });
    }
}

/// Each worker takes one task and stays busy with it: the other must be found for the second.
#[test]
fn two_tasks_find_two_workers() {
    for searches in [0, 2] {
        for together in [true, false] {
            explore_to(2, move || {
                let mut parent = Parent::<2>::new();
                let workers = [0, 1].map(|worker| {
                    let table = Arc::clone(&parent.table);
                    thread::spawn(move || {
                        let claim = wait(&table, worker, searches);
                        read(&table, &claim)
                    })
                });
                if together {
                    parent.publish_and_wake(&[1, 2]);
                } else {
                    parent.publish_and_wake(&[1]);
                    parent.publish_and_wake(&[2]);
                }
                let mut claimed = workers.map(|worker| worker.join().unwrap());
                claimed.sort_unstable();
                assert_eq!(claimed, [1, 2]);
            });
        }
    }
}

/// One worker is quick and does two; whichever it leaves, the other takes.
#[test]
fn three_tasks_find_a_quick_worker_and_a_sleeping_one() {
    for searches in [2] {
        explore_to(2, move || {
            let mut parent = Parent::<4>::new();
            let table = Arc::clone(&parent.table);
            let quick = thread::spawn(move || {
                let first = wait(&table, 0, searches);
                let second = table.claim(0).unwrap_or_else(|| wait(&table, 0, searches));
                [read(&table, &first), read(&table, &second)]
            });
            let table = Arc::clone(&parent.table);
            let slow = thread::spawn(move || {
                let claim = wait(&table, 1, searches);
                read(&table, &claim)
            });
            parent.publish_and_wake(&[1]);
            parent.publish_and_wake(&[2, 3]);
            let [first, second] = quick.join().unwrap();
            let mut claimed = [first, second, slow.join().unwrap()];
            claimed.sort_unstable();
            assert_eq!(claimed, [1, 2, 3]);
        });
    }
}

#[test]
fn publication_finds_the_worker_that_goes_on_watch() {
    explore(|| {
        let mut parent = Parent::<2>::new();
        let table = Arc::clone(&parent.table);
        let worker = thread::spawn(move || {
            let first = watch(&table, 0);
            let second = watch(&table, 0);
            [read(&table, &first), read(&table, &second)]
        });
        parent.publish_and_wake(&[1]);
        parent.publish_and_wake(&[2]);
        assert_eq!(worker.join().unwrap(), [1, 2]);
    });
}

/// Each takes one task, whether it waits for nothing else or is on watch.
#[test]
fn two_tasks_find_a_worker_that_sleeps_and_one_on_watch() {
    for together in [true, false] {
        explore_to(2, move || {
            let mut parent = Parent::<2>::new();
            let table = Arc::clone(&parent.table);
            let sleeper = thread::spawn(move || {
                let claim = wait(&table, 0, 0);
                read(&table, &claim)
            });
            let table = Arc::clone(&parent.table);
            let watcher = thread::spawn(move || {
                let claim = watch(&table, 1);
                read(&table, &claim)
            });
            if together {
                parent.publish_and_wake(&[1, 2]);
            } else {
                parent.publish_and_wake(&[1]);
                parent.publish_and_wake(&[2]);
            }
            let mut claimed = [sleeper.join().unwrap(), watcher.join().unwrap()];
            claimed.sort_unstable();
            assert_eq!(claimed, [1, 2]);
        });
    }
}

#[test]
fn watch_that_is_interrupted_ends() {
    explore(|| {
        let table = Arc::new(crate::small::Small::<2>::default());
        let watched = Arc::clone(&table);
        assert!(table.begin_watch(0));
        let watcher = thread::spawn(move || watched.watch(0));
        table.interrupt_watch(0);
        watcher.join().unwrap();
        table.end_watch(0);
    });
}

#[test]
fn dismissal_wakes_the_worker_that_goes_to_sleep() {
    for searches in [0, 2] {
        explore(move || {
            let mut parent = Parent::<2>::new();
            let table = Arc::clone(&parent.table);
            let worker = thread::spawn(move || serve(&table, 0, searches));
            parent.publish_and_wake(&[1]);
            parent.drain_until(1);
            parent.table.idle.dismiss(0);
            assert_eq!(worker.join().unwrap(), [1]);
        });
    }
}
