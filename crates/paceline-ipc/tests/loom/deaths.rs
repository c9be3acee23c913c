//! A worker is killed at each of its steps in turn, and nothing is lost or doubled.

use crate::small::{ANSWERED, Parent, Small, answer, explore_to, serve};
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;
use paceline_ipc::die_after;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// More steps than a worker takes in the models below.
const STEPS: u32 = 40;

/// Starts a worker that is killed after so many steps, if it lives that long.
fn mortal<const SLOTS: usize>(
    table: &Arc<Small<SLOTS>>,
    steps: u32,
    life: impl FnOnce(&Small<SLOTS>) + Send + 'static,
) -> thread::JoinHandle<bool> {
    let table = Arc::clone(table);
    thread::spawn(move || {
        die_after(steps);
        let died = catch_unwind(AssertUnwindSafe(|| life(&table))).is_err();
        die_after(u32::MAX);
        died
    })
}

/// Explores the same model with every moment of death, until the worker outlives it.
fn at_each_step(preemptions: usize, model: impl Fn(u32) -> bool + Copy + Send + Sync + 'static) {
    for steps in 0..STEPS {
        let died = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let seen = std::sync::Arc::clone(&died);
        explore_to(preemptions, move || {
            if model(steps) {
                seen.store(true, std::sync::atomic::Ordering::Relaxed);
            }
        });
        if !died.load(std::sync::atomic::Ordering::Relaxed) {
            return;
        }
    }
    panic!("the worker still dies after {STEPS} steps");
}

#[test]
fn what_a_dead_worker_held_comes_back_once_and_the_answers_of_others_are_kept() {
    at_each_step(3, |steps| {
        let mut parent = Parent::<2>::new();
        parent.publish(1);
        parent.publish(2);
        let victim = mortal(&parent.table, steps, |table| {
            if let Some(claim) = table.claim(0) {
                answer(table, claim);
            }
        });
        let table = Arc::clone(&parent.table);
        let other = thread::spawn(move || table.claim(1).map(|claim| answer(&table, claim)));
        parent.drain();
        let died = victim.join().unwrap();
        let lost = if died { parent.reclaim(0) } else { Vec::new() };
        assert!(other.join().unwrap().is_some());
        // Another worker does what is left, in slots some of which served before.
        let table = Arc::clone(&parent.table);
        for value in lost {
            parent.publish(value);
        }
        while let Some(claim) = table.claim(1) {
            answer(&table, claim);
        }
        parent.drain_until(2);
        assert_eq!((parent.answers, parent.feeder.used()), (vec![1_001, 1_002], 0));
        died
    });
}

/// A stopped process is not dead, and nobody reclaims what it holds.
#[test]
fn worker_that_is_stopped_while_it_answers_holds_up_no_other_answer() {
    at_each_step(3, |steps| {
        let mut parent = Parent::<2>::new();
        parent.publish(1);
        parent.publish(2);
        let (stopped, claim) = (parent.table.claim(0).unwrap(), parent.table.claim(1).unwrap());
        let victim = mortal(&parent.table, steps, |table| {
            answer(table, stopped);
        });
        let table = Arc::clone(&parent.table);
        let other = thread::spawn(move || answer(&table, claim));
        let stopped = victim.join().unwrap();
        other.join().unwrap();
        parent.drain();
        assert!(parent.answers.contains(&1_002), "{:?}", parent.answers);
        stopped
    });
}

/// The other worker sleeps and relies on the victim: on its search, or on being woken by it.
#[test]
fn worker_that_dies_searching_or_waking_leaves_no_task_unclaimed() {
    at_each_step(1, |steps| {
        let mut parent = Parent::<2>::new();
        let table = Arc::clone(&parent.table);
        let other = thread::spawn(move || serve(&table, 1, 0));
        let victim = mortal(&parent.table, steps, |table| {
            let mut searches = 2;
            let claim = table.wait(
                0,
                || {
                    searches -= 1;
                    searches > 0
                },
                None,
            );
            if let Some(claim) = claim {
                answer(table, claim);
            }
        });
        parent.publish_and_wake(&[1, 2]);
        // It need not wait in vain, should the other do both.
        parent.table.idle.dismiss(0);
        let died = victim.join().unwrap();
        if died {
            let lost = parent.reclaim(0);
            parent.publish_and_wake(&lost);
            parent.table.idle.wake_all_workers();
        }
        parent.lead_until(2);
        assert_eq!(parent.answers, [1_001, 1_002]);
        parent.table.idle.dismiss(1);
        other.join().unwrap();
        died
    });
}

/// What it said of itself in the bitmaps must not outlive it.
#[test]
fn worker_that_died_idle_is_not_relied_on() {
    at_each_step(2, |steps| {
        let mut parent = Parent::<2>::new();
        parent.table.idle.dismiss(0);
        let victim = mortal(&parent.table, steps, |table| {
            let mut searches = 2;
            let search = || {
                searches -= 1;
                searches > 0
            };
            assert!(table.wait(0, search, None).is_none());
        });
        let died = victim.join().unwrap();
        if died {
            assert!(parent.reclaim(0).is_empty());
        }
        let table = Arc::clone(&parent.table);
        let other = thread::spawn(move || serve(&table, 1, 0));
        parent.publish_and_wake(&[1]);
        parent.lead_until(1);
        parent.table.idle.dismiss(1);
        other.join().unwrap();
        died
    });
}

/// The leader rests until the death is noticed by another thread of the parent.
#[test]
fn worker_that_dies_telling_of_its_answer_leaves_no_leader_asleep() {
    at_each_step(2, |steps| {
        let mut parent = Parent::<2>::new();
        parent.publish(1);
        let table = Arc::clone(&parent.table);
        let claim = table.claim(0).unwrap();
        let parent = Arc::new(Mutex::new(parent));
        let ended = Arc::new(AtomicBool::new(false));
        let victim = mortal(&table, steps, move |table| {
            answer(table, claim);
            table.idle.wake_parent(table.ready_hint());
        });
        let supervisor = {
            let (table, parent, ended) = (Arc::clone(&table), Arc::clone(&parent), Arc::clone(&ended));
            thread::spawn(move || {
                let died = victim.join().unwrap();
                if died {
                    let mut parent = parent.lock().unwrap();
                    let lost = parent.reclaim(0);
                    parent.answers.extend(lost.into_iter().map(|value| value + ANSWERED));
                    drop(parent);
                    ended.store(true, Ordering::Release);
                    table.idle.wake_parent_after_death();
                }
                died
            })
        };
        table.idle.begin_leading();
        loop {
            let mut parent = parent.lock().unwrap();
            parent.drain();
            if !parent.answers.is_empty() {
                break;
            }
            drop(parent);
            table.idle.rest_leading(None, || table.has_finished() || ended.load(Ordering::Acquire));
        }
        table.idle.end_leading(|| false);
        let died = supervisor.join().unwrap();
        assert_eq!(parent.lock().unwrap().answers, [1_001]);
        died
    });
}
