//! The parent looks at what a worker does, without any lock, while the worker goes on, answers or dies, and the slot
//! serves again.

use crate::small::explore_to;
use loom::sync::Arc;
use loom::thread;
use paceline_ipc::die_after;
use paceline_ipc::marks::Marks;
use paceline_ipc::table::{Claim, Feeder, Place, Sight, Table, Visible};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A body with marks, and one plain number that loom watches.
#[derive(Default)]
struct Noted {
    marks: Marks,
    value: u64,
}

// SAFETY: the marks are a field of the body.
unsafe impl Visible for Noted {
    fn marks(body: *const Self) -> *const Marks {
        body.wrapping_byte_add(std::mem::offset_of!(Self, marks)).cast()
    }
}

/// One slot, which serves again and again.
type Tiny = Table<Noted, 1, 1, 2, 1>;

const FIRST: Place = Place { slot: 0, ticket: 0 };
const SECOND: Place = Place { slot: 0, ticket: 1 };

fn publish(table: &Tiny, feeder: &mut Feeder, value: u64) -> Option<Place> {
    table.publish(feeder, |body| {
        // SAFETY: the slot is free, so only the parent touches the number; the marks are atomics.
        unsafe {
            (*body).marks.reset();
            (*body).value = value;
        }
    })
}

/// Begins at a moment that tells the ticket, finishes as many items, and answers.
fn run(table: &Tiny, claim: Claim, items: u32) {
    table.with_claimed(&claim, |body| {
        // SAFETY: the slot is claimed by the caller; the marks are atomics.
        let marks = unsafe { &(*body).marks };
        marks.begin(began_ns(claim.place));
        for _ in 0..items {
            // SAFETY: as above.
            unsafe { (*body).value += 1 };
            marks.count_finished();
        }
        marks.end(1);
    });
    table.finish(claim);
}

fn began_ns(place: Place) -> u64 {
    (place.ticket + 1) * 100
}

fn claim(table: &Tiny, worker: u16) -> Claim {
    loop {
        match table.claim(worker) {
            Some(claim) => return claim,
            None => thread::yield_now(),
        }
    }
}

fn drain(table: &Tiny, feeder: &mut Feeder) {
    while feeder.used() > 0 {
        table.drain(feeder, |_, _, _| {});
        thread::yield_now();
    }
}

/// Nothing but what can be true of this publication, which this worker runs with as many items.
fn check(sight: Option<Sight>, place: Place, owner: u16, items: u32) {
    let Some(sight) = sight else { return };
    assert_eq!(sight.owner, owner);
    assert!(sight.began_ns == 0 || sight.began_ns == began_ns(place), "{sight:?}");
    assert!(sight.finished <= items, "{sight:?}");
    assert!(sight.finished == 0 || sight.began_ns != 0, "{sight:?}");
}

#[test]
fn look_at_a_task_that_ends_tells_nothing_of_the_next_one() {
    explore_to(2, || {
        let (table, mut feeder) = (Arc::new(Tiny::default()), Feeder::new(1));
        assert_eq!(publish(&table, &mut feeder, 0), Some(FIRST));
        let worker = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                run(&table, claim(&table, 0), 1);
                run(&table, claim(&table, 1), 2);
            })
        };
        let looker = {
            let table = Arc::clone(&table);
            thread::spawn(move || check(table.look(FIRST), FIRST, 0, 1))
        };
        drain(&table, &mut feeder);
        assert_eq!(publish(&table, &mut feeder, 0), Some(SECOND));
        drain(&table, &mut feeder);
        looker.join().unwrap();
        worker.join().unwrap();
    });
}

#[test]
fn look_at_a_task_tells_nothing_of_the_one_before() {
    explore_to(2, || {
        let (table, mut feeder) = (Arc::new(Tiny::default()), Feeder::new(1));
        assert_eq!(publish(&table, &mut feeder, 0), Some(FIRST));
        let worker = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                run(&table, claim(&table, 0), 2);
                run(&table, claim(&table, 1), 1);
            })
        };
        let looker = {
            let table = Arc::clone(&table);
            thread::spawn(move || check(table.look(SECOND), SECOND, 1, 1))
        };
        drain(&table, &mut feeder);
        assert_eq!(publish(&table, &mut feeder, 0), Some(SECOND));
        drain(&table, &mut feeder);
        looker.join().unwrap();
        worker.join().unwrap();
    });
}

/// As the engine looks: under the lock under which it drains and publishes.
#[test]
fn look_between_drains_sees_a_task_go_on_and_never_back() {
    explore_to(3, || {
        let (table, mut feeder) = (Arc::new(Tiny::default()), Feeder::new(1));
        publish(&table, &mut feeder, 0);
        let worker = {
            let table = Arc::clone(&table);
            thread::spawn(move || run(&table, claim(&table, 0), 2))
        };
        let looks = [table.look(FIRST), table.look(FIRST)];
        for look in looks {
            check(look, FIRST, 0, 2);
        }
        if let [Some(one), Some(two)] = looks {
            assert!(two.began_ns >= one.began_ns && two.finished >= one.finished, "{looks:?}");
        }
        drain(&table, &mut feeder);
        assert_eq!(table.look(FIRST), None);
        worker.join().unwrap();
    });
}

/// The worker is killed at each of its steps in turn; its slot is taken back, filled again, and another runs it.
#[test]
fn look_at_a_dead_workers_task_tells_nothing_of_what_its_slot_serves_for_next() {
    for steps in 0..20 {
        let outlived = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
        let seen = std::sync::Arc::clone(&outlived);
        explore_to(2, move || {
            let (table, mut feeder) = (Arc::new(Tiny::default()), Feeder::new(1));
            publish(&table, &mut feeder, 0);
            let victim = {
                let table = Arc::clone(&table);
                thread::spawn(move || {
                    die_after(steps);
                    let died = catch_unwind(AssertUnwindSafe(|| run(&table, claim(&table, 0), 1))).is_err();
                    die_after(u32::MAX);
                    died
                })
            };
            let looker = {
                let table = Arc::clone(&table);
                thread::spawn(move || check(table.look(FIRST), FIRST, 0, 1))
            };
            if victim.join().unwrap() {
                seen.store(false, std::sync::atomic::Ordering::Relaxed);
                table.reclaim(&mut feeder, 0, |_, _, _| {}, |_, _, _| {});
                if feeder.used() > 0 {
                    // It died before it claimed anything.
                    assert!(table.withdraw(&mut feeder, FIRST));
                }
                assert_eq!(publish(&table, &mut feeder, 0), Some(SECOND));
                run(&table, claim(&table, 1), 2);
            }
            looker.join().unwrap();
        });
        if outlived.load(std::sync::atomic::Ordering::Relaxed) {
            return;
        }
    }
    panic!("the worker still dies");
}
