//! Who gets a task.

use crate::small::{Parent, answer, explore, read};
use loom::sync::Arc;
use loom::thread;

#[test]
fn two_workers_never_claim_the_same_task() {
    explore(|| {
        let mut parent = Parent::<2>::new();
        parent.publish(1);
        parent.publish(2);
        let table = Arc::clone(&parent.table);
        let other = thread::spawn(move || table.claim(1).map(|claim| read(&table, &claim)));
        let mine = parent.table.claim(0).map(|claim| read(&parent.table, &claim));
        let theirs = other.join().unwrap();
        let mut claimed = [mine.unwrap(), theirs.unwrap()];
        claimed.sort_unstable();
        assert_eq!(claimed, [1, 2]);
    });
}

#[test]
fn one_task_goes_to_one_of_two_workers() {
    explore(|| {
        let mut parent = Parent::<2>::new();
        let table = Arc::clone(&parent.table);
        let other = thread::spawn(move || table.claim(1).map(|claim| read(&table, &claim)));
        parent.publish(1);
        let mine = parent.table.claim(0).map(|claim| read(&parent.table, &claim));
        let theirs = other.join().unwrap();
        assert!(matches!((mine, theirs), (Some(1), None) | (None, Some(1))), "{mine:?} and {theirs:?}");
    });
}

#[test]
fn worker_claims_the_oldest_first() {
    explore(|| {
        let mut parent = Parent::<4>::new();
        parent.publish(1);
        let table = Arc::clone(&parent.table);
        let worker = thread::spawn(move || {
            let claim = |_| table.claim(0).map(|claim| read(&table, &claim));
            (0..3).filter_map(claim).collect::<Vec<_>>()
        });
        parent.publish(2);
        parent.publish(3);
        let claimed = worker.join().unwrap();
        assert_eq!(claimed, [1, 2, 3][..claimed.len()]);
        assert!(!claimed.is_empty());
    });
}

#[test]
fn task_is_either_withdrawn_or_claimed() {
    explore(|| {
        let mut parent = Parent::<2>::new();
        parent.publish(1);
        let second = parent.publish(2);
        let table = Arc::clone(&parent.table);
        let worker = thread::spawn(move || {
            let first = table.claim(0).map(|claim| answer(&table, claim));
            assert_eq!(first, Some(1));
            table.claim(0).map(|claim| read(&table, &claim))
        });
        let withdrawn = parent.table.withdraw(&mut parent.feeder, second);
        let claimed = worker.join().unwrap();
        assert_eq!(claimed, (!withdrawn).then_some(2));
    });
}

#[test]
fn slot_withdrawn_and_filled_again_is_claimed_with_its_new_content() {
    explore(|| {
        let mut parent = Parent::<2>::new();
        let first = parent.publish(1);
        let table = Arc::clone(&parent.table);
        let worker = thread::spawn(move || table.claim(0).map(|claim| (claim.place.ticket, read(&table, &claim))));
        if parent.table.withdraw(&mut parent.feeder, first) {
            parent.publish(2);
            parent.publish(3);
            let mine = parent.table.claim(1).map(|claim| read(&parent.table, &claim));
            match worker.join().unwrap() {
                None => assert_eq!(mine, Some(2)),
                Some((ticket, value)) => {
                    assert_eq!(ticket + 1, value, "a ticket goes with its content");
                    assert_eq!(mine, Some(5 - value));
                }
            }
        } else {
            assert_eq!(worker.join().unwrap(), Some((0, 1)));
        }
    });
}

#[test]
fn ring_wraps_around_a_slot_that_stays_busy() {
    explore(|| {
        let mut parent = Parent::<2>::new();
        parent.publish(9);
        let busy = parent.table.claim(0).unwrap();
        parent.publish(1);
        let table = Arc::clone(&parent.table);
        let worker = thread::spawn(move || {
            let mut answered = Vec::new();
            while answered.len() < 3 {
                match table.claim(1) {
                    Some(claim) => answered.push(answer(&table, claim)),
                    None => thread::yield_now(),
                }
            }
            answered
        });
        parent.drain_until(1);
        parent.publish(2);
        parent.drain_until(2);
        parent.publish(3);
        parent.drain_until(3);
        assert_eq!(worker.join().unwrap(), [1, 2, 3]);
        assert_eq!(parent.answers, [1_001, 1_002, 1_003]);
        answer(&parent.table, busy);
        parent.drain_until(4);
        assert_eq!((parent.answers[3], parent.feeder.used()), (1_009, 0));
    });
}
