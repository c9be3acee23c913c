//! No answer is lost, and each is seen whole.

use crate::small::{Parent, answer, explore, explore_to, serve};
use loom::sync::Arc;
use loom::thread;

#[test]
fn answer_is_seen_whole_and_its_slot_serves_again() {
    explore(|| {
        let mut parent = Parent::<2>::new();
        let table = Arc::clone(&parent.table);
        let worker = thread::spawn(move || {
            for _ in 0..3 {
                let claim = loop {
                    match table.claim(0) {
                        Some(claim) => break claim,
                        None => thread::yield_now(),
                    }
                };
                answer(&table, claim);
            }
        });
        parent.publish(1);
        parent.publish(2);
        parent.drain_until(1);
        parent.publish(3);
        parent.drain_until(3);
        worker.join().unwrap();
        assert_eq!((parent.answers, parent.feeder.used()), (vec![1_001, 1_002, 1_003], 0));
    });
}

#[test]
fn two_answers_in_one_word_are_both_drained() {
    explore(|| {
        let mut parent = Parent::<2>::new();
        parent.publish(1);
        parent.publish(2);
        let workers = [0, 1].map(|worker| {
            let table = Arc::clone(&parent.table);
            let claim = table.claim(worker).unwrap();
            thread::spawn(move || answer(&table, claim))
        });
        parent.drain_until(2);
        assert_eq!((parent.answers, parent.feeder.used()), (vec![1_001, 1_002], 0));
        for worker in workers {
            worker.join().unwrap();
        }
    });
}

#[test]
fn audit_finds_nothing_wrong_with_a_worker_that_claims_and_answers() {
    explore_to(3, || {
        let mut parent = Parent::<2>::new();
        let table = Arc::clone(&parent.table);
        let worker = thread::spawn(move || {
            for _ in 0..2 {
                let claim = loop {
                    match table.claim(0) {
                        Some(claim) => break claim,
                        None => thread::yield_now(),
                    }
                };
                answer(&table, claim);
            }
        });
        parent.publish(1);
        parent.audit();
        parent.publish(2);
        parent.audit();
        parent.drain_until(2);
        worker.join().unwrap();
        parent.audit();
        assert_eq!((parent.answers, parent.feeder.used()), (vec![1_001, 1_002], 0));
    });
}

#[test]
fn audit_that_wakes_a_worker_for_nothing_loses_no_task() {
    explore_to(2, || {
        let mut parent = Parent::<2>::new();
        let table = Arc::clone(&parent.table);
        let worker = thread::spawn(move || serve(&table, 0, 0));
        parent.publish_and_wake(&[1]);
        parent.audit();
        parent.lead_until(1);
        parent.table.idle.dismiss(0);
        assert_eq!(worker.join().unwrap(), [1]);
    });
}
