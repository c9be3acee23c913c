//! The parent's sleepers, leader and driver, miss no answer that is theirs.

use crate::small::{Parent, answer, explore, explore_to};
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;
use paceline_ipc::idle::{INTEREST_EVERY, INTEREST_NONE};
use paceline_ipc::table::Claim;

/// A worker that answers what it has claimed and tells the parent.
fn answering(parent: &Parent<2>, claim: Claim) -> thread::JoinHandle<()> {
    let table = Arc::clone(&parent.table);
    thread::spawn(move || {
        answer(&table, claim);
        table.idle.wake_parent(table.ready_hint());
    })
}

fn claimed(count: u16) -> (Parent<2>, Vec<Claim>) {
    let mut parent = Parent::<2>::new();
    let claims = (0..count).map(|worker| {
        parent.publish(u64::from(worker) + 1);
        parent.table.claim(worker).unwrap()
    });
    let claims = claims.collect();
    (parent, claims)
}

#[test]
fn answer_wakes_the_leader_that_goes_to_rest() {
    explore(|| {
        let (mut parent, mut claims) = claimed(2);
        let workers = [claims.remove(0), claims.remove(0)].map(|claim| answering(&parent, claim));
        let table = Arc::clone(&parent.table);
        table.idle.begin_leading();
        while parent.answers.len() < 2 {
            parent.drain();
            if parent.answers.len() < 2 {
                table.idle.rest_leading(None, || table.has_finished());
            }
        }
        table.idle.end_leading(|| table.concerns_driver());
        for worker in workers {
            worker.join().unwrap();
        }
    });
}

/// What the engine's lock guards, and the driver's private reason to wake.
struct Engine {
    parent: Mutex<Parent<2>>,
    attention: AtomicBool,
}

impl Engine {
    fn new(parent: Parent<2>) -> Arc<Self> {
        Arc::new(Self { parent: Mutex::new(parent), attention: AtomicBool::new(false) })
    }

    /// Drives until it is told that this was all.
    fn drive(engine: &Arc<Self>) -> thread::JoinHandle<()> {
        let engine = Arc::clone(engine);
        thread::spawn(move || {
            let table = Arc::clone(&engine.parent.lock().unwrap().table);
            loop {
                let mut parent = engine.parent.lock().unwrap();
                if !table.idle.has_leader() {
                    parent.drain();
                }
                if parent.answers.len() == 1 {
                    return;
                }
                drop(parent);
                table.idle.rest_driving(None, || {
                    engine.attention.load(Ordering::Relaxed) || (!table.idle.has_leader() && table.concerns_driver())
                });
            }
        })
    }
}

#[test]
fn answer_of_interest_wakes_the_driver_that_goes_to_rest() {
    explore(|| {
        let (parent, mut claims) = claimed(1);
        parent.table.idle.set_interest(INTEREST_EVERY, || false);
        let worker = answering(&parent, claims.remove(0));
        let driver = Engine::drive(&Engine::new(parent));
        worker.join().unwrap();
        driver.join().unwrap();
    });
}

#[test]
fn interest_in_an_answer_that_is_there_already_wakes_the_driver() {
    explore(|| {
        let (parent, mut claims) = claimed(1);
        let table = Arc::clone(&parent.table);
        table.idle.set_interest(INTEREST_NONE, || false);
        let worker = answering(&parent, claims.remove(0));
        let driver = Engine::drive(&Engine::new(parent));
        table.idle.set_interest(INTEREST_EVERY, || table.concerns_driver());
        worker.join().unwrap();
        driver.join().unwrap();
    });
}

#[test]
fn leader_that_leaves_passes_an_answer_of_interest_to_the_driver() {
    explore_to(2, || {
        let (parent, mut claims) = claimed(1);
        let table = Arc::clone(&parent.table);
        table.idle.set_interest(INTEREST_EVERY, || false);
        let worker = answering(&parent, claims.remove(0));
        let engine = Engine::new(parent);
        table.idle.begin_leading();
        let driver = Engine::drive(&engine);
        engine.parent.lock().unwrap().drain();
        table.idle.end_leading(|| table.concerns_driver());
        if engine.parent.lock().unwrap().answers.len() == 1 {
            engine.attention.store(true, Ordering::Release);
            table.idle.wake_driver();
        }
        worker.join().unwrap();
        driver.join().unwrap();
    });
}

/// What the leader waits for may be there by another's hand: a death, or the driver.
#[test]
fn end_of_what_it_waits_for_wakes_the_leader_that_goes_to_rest() {
    explore(|| {
        let parent = Parent::<2>::new();
        let table = Arc::clone(&parent.table);
        let ended = Arc::new(AtomicBool::new(false));
        let other = {
            let (table, ended) = (Arc::clone(&table), Arc::clone(&ended));
            thread::spawn(move || {
                ended.store(true, Ordering::Release);
                table.idle.wake_leader();
            })
        };
        table.idle.begin_leading();
        while !ended.load(Ordering::Acquire) {
            table.idle.rest_leading(None, || ended.load(Ordering::Acquire));
        }
        table.idle.end_leading(|| false);
        other.join().unwrap();
    });
}

#[test]
fn private_reason_wakes_the_driver_that_goes_to_rest() {
    explore(|| {
        let parent = Parent::<2>::new();
        let table = Arc::clone(&parent.table);
        let engine = Engine::new(parent);
        let driver = {
            let (table, engine) = (Arc::clone(&table), Arc::clone(&engine));
            thread::spawn(move || {
                while !engine.attention.load(Ordering::Acquire) {
                    table.idle.rest_driving(None, || engine.attention.load(Ordering::Acquire));
                }
            })
        };
        engine.attention.store(true, Ordering::Release);
        table.idle.wake_driver();
        driver.join().unwrap();
    });
}
