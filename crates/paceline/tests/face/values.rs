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
fn panic_of_a_result_that_is_read_is_the_error_of_its_item_alone() {
    let pool = processes();
    let error = pool.apply(touchy, (READ,)).unwrap_err();
    assert!(matches!(error, TaskError::NotSerialisable { .. }), "{error}");
    assert!(error.to_string().contains("it is not to be read"), "{error}");
    let outcomes: Vec<_> = pool.with_chunk_size(3).imap(touchy, [0, READ, 3, 4]).collect();
    assert!(outcomes[1].is_err());
    assert_eq!([&outcomes[0], &outcomes[2], &outcomes[3]], [&Ok(Touchy(0)), &Ok(Touchy(3)), &Ok(Touchy(4))]);
    let (sender, receiver) = channel();
    pool.apply_async(touchy, (READ,)).callback(move |result| sender.send(result).unwrap());
    assert!(receiver.recv_timeout(DEADLINE).expect("the callback is called").is_err());
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

/// Writes a number that it does not read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Uneven {
    #[serde(skip_deserializing)]
    note: u8,
    number: u8,
}

#[paceline::task]
fn number_of(uneven: Uneven) -> u8 {
    uneven.number
}

#[paceline::task]
fn uneven(number: u8) -> Uneven {
    Uneven { note: 7, number }
}

#[test]
fn value_that_reads_less_than_it_writes_is_refused_and_is_no_other_value() {
    let pool = processes();
    for error in [
        pool.apply(number_of, (Uneven { note: 7, number: 1 },)).unwrap_err(),
        pool.apply(uneven, (1,)).map(|_| ()).unwrap_err(),
    ] {
        assert!(error.to_string().contains("`Serialize` writes more"), "{error}");
    }
}

/// Leaves out what it does not have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Sparing {
    #[serde(skip_serializing_if = "Option::is_none")]
    extra: Option<u8>,
    number: u8,
    text: String,
}

#[paceline::task]
fn sparing(values: Vec<Sparing>) -> Sparing {
    values.into_iter().next_back().unwrap()
}

#[test]
fn value_that_leaves_out_a_field_is_refused_and_is_no_other_value() {
    let pool = processes();
    let value = |extra| Sparing { extra, number: 1, text: "A\0".to_owned() };
    assert_eq!(pool.apply(sparing, (vec![value(Some(1))],)), Ok(value(Some(1))));
    // Without its first field, these bytes are those of another value.
    let error = pool.apply(sparing, (vec![value(Some(1)), value(None)],)).unwrap_err();
    assert!(error.to_string().contains("skip_serializing_if"), "{error}");
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Either {
    Number(u8),
    Text(String),
}

#[paceline::task]
fn same(either: Either) -> Either {
    either
}

#[test]
fn type_that_has_to_be_told_what_comes_is_refused_with_the_reason() {
    let error = processes().apply(same, (Either::Number(1),)).unwrap_err();
    assert!(error.to_string().contains("#[serde(untagged)]"), "{error}");
}
