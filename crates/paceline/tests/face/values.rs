//! Values that misbehave: they panic when bytes are made of them, or they of bytes, or when they are dropped; or write
//! something else than they read.

use crate::pools::{DEADLINE, processes};
use crate::tasks::square;
use paceline::{Backend, Pool, Retry, TaskError};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::sync::mpsc::channel;

const WRITTEN: u8 = 1;
const READ: u8 = 2;

/// Panics when it is written, or when it is read, by its number.
#[derive(Clone, Debug, PartialEq)]
struct Touchy(u8);

impl Serialize for Touchy {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        assert_ne!(self.0, WRITTEN, "it is not to be written");
        to.serialize_u8(self.0)
    }
}

impl<'de> Deserialize<'de> for Touchy {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let number = u8::deserialize(from)?;
        assert_ne!(number, READ, "it is not to be read");
        Ok(Self(number))
    }
}

#[paceline::task]
fn touch(touchy: Touchy) -> u8 {
    touchy.0
}

#[paceline::task]
fn touchy(number: u8) -> Touchy {
    Touchy(number)
}

#[test]
fn panics_of_arguments_and_of_results_in_a_worker_cost_their_task_alone() {
    let pool = processes();
    assert!(matches!(pool.apply(touch, (Touchy(READ),)), Err(TaskError::Panicked { .. })));
    assert!(matches!(pool.apply(touchy, (WRITTEN,)), Err(TaskError::Panicked { .. })));
    assert_eq!(pool.apply(touch, (Touchy(5),)), Ok(5));
}

#[test]
fn arguments_that_panic_when_they_are_copied_run_once_on_threads() {
    let builder = Pool::builder().workers(1).backend(Backend::Threads).retries(2).retry_on(&[Retry::Panic]);
    let pool = builder.build().unwrap();
    for number in [WRITTEN, READ, 5] {
        let result = pool.apply_async(touch, (Touchy(number),));
        assert!(result.wait_timeout(DEADLINE), "it hangs: {number}");
        assert_eq!(result.get(), Ok(number));
    }
}

/// Panics when it is dropped.
struct Clingy;

impl Drop for Clingy {
    fn drop(&mut self) {
        panic!("it panics when it is dropped, on purpose");
    }
}

#[test]
fn result_that_panics_when_it_is_dropped_costs_no_thread() {
    let pool = Pool::builder().workers(1).backend(Backend::Threads).build().unwrap();
    // All are sent before the first has ended, so that no thread is started for the others.
    let (gate, opened) = channel::<()>();
    let first = move |opened: std::sync::mpsc::Receiver<()>| {
        opened.recv().unwrap_err();
        Clingy
    };
    drop(pool.apply_async(first, (opened,)));
    let next = pool.apply_async(square, (4,));
    drop(gate);
    assert!(next.wait_timeout(DEADLINE), "its thread is gone");
    assert_eq!(next.get(), Ok(16));
}

