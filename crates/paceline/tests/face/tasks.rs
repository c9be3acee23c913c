//! Owns the functions that the tests have workers call.

use paceline::{Backend, Pool, current_task};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[paceline::task]
pub(crate) fn square(number: i64) -> i64 {
    number * number
}

#[paceline::task]
pub(crate) fn nothing() {}

#[paceline::task]
pub(crate) fn pid() -> u32 {
    std::process::id()
}

#[paceline::task]
pub(crate) fn add(one: i64, other: i64) -> i64 {
    one + other
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) values: Vec<f64>,
    pub(crate) notes: BTreeMap<String, Option<char>>,
}

#[paceline::task]
#[expect(clippy::too_many_arguments, clippy::many_single_char_names, reason = "as many as there may be")]
pub(crate) fn gather(
    a: u8,
    b: String,
    c: (i8, bool),
    d: Vec<f32>,
    e: Option<u64>,
    f: [u16; 2],
    g: Sample,
    h: (),
) -> String {
    format!("{a} {b} {c:?} {d:?} {e:?} {f:?} {g:?} {h:?}")
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Odd {
    Number(i64),
}

#[paceline::task]
pub(crate) fn half(number: i64) -> Result<i64, Odd> {
    if number % 2 == 0 { Ok(number / 2) } else { Err(Odd::Number(number)) }
}

#[paceline::task]
pub(crate) fn fussy(number: i64) -> i64 {
    assert!(number != 13, "{number} is unlucky");
    number
}

/// Does something terrible if the number is 77.
#[paceline::task]
pub(crate) fn risky(number: i64, how: String) -> i64 {
    if number == 77 {
        match how.as_str() {
            "segfault" => segfault(),
            "abort" => std::process::abort(),
            "exit" => std::process::exit(3),
            "overflow" => return overflow(number),
            _ => panic!("{how}"),
        }
    }
    number
}

fn segfault() {
    // SAFETY: there is none; the process is meant to end here.
    unsafe { std::ptr::dangling_mut::<u64>().write_volatile(1) };
}

#[expect(unconditional_recursion, reason = "the crash is the point")]
fn overflow(number: i64) -> i64 {
    std::hint::black_box([number; 64]);
    1 + overflow(number + 1)
}

/// Computes for ever.
#[paceline::task]
pub(crate) fn spin() {
    loop {
        std::hint::spin_loop();
    }
}

/// Makes a file, and computes for ever.
#[paceline::task]
pub(crate) fn tell_and_spin(path: String) {
    std::fs::write(path, "").unwrap();
    spin();
}

/// Sleeps, and looks now and then whether it is to stop.
#[paceline::task]
pub(crate) fn doze(path: String) {
    while !current_task().unwrap().should_stop() {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::fs::write(path, "cleaned up").unwrap();
}

/// Sleeps in its first attempt, until it is to stop.
#[paceline::task]
pub(crate) fn doze_at_first() -> usize {
    let task = current_task().unwrap();
    while task.attempt() == 0 && !task.should_stop() {
        std::thread::sleep(Duration::from_millis(1));
    }
    task.attempt()
}

/// Sleeps as a task of a pool of its own, and stays itself.
#[paceline::task]
pub(crate) fn doze_within(path: String) {
    let before = current_task();
    let pool = Pool::builder().backend(Backend::Serial).build().unwrap();
    pool.apply(doze, (path,)).unwrap();
    assert_eq!(current_task(), before);
}

#[paceline::task]
pub(crate) fn sleep(milliseconds: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(milliseconds));
    milliseconds
}

/// Waits until there is such a file.
#[paceline::task]
pub(crate) fn await_file(path: String) {
    let end = Instant::now() + crate::pools::DEADLINE;
    while !std::path::Path::new(&path).exists() {
        assert!(Instant::now() < end, "{path} does not come");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Takes memory, and uses it, until somebody ends it.
#[paceline::task]
pub(crate) fn eat(most_mebibytes: usize) -> usize {
    let mut eaten = Vec::new();
    for _ in 0..most_mebibytes {
        eaten.push(vec![1_u8; 1 << 20]);
        std::thread::sleep(Duration::from_millis(1));
    }
    eaten.len()
}

#[paceline::task]
pub(crate) fn reversed(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.reverse();
    bytes
}

#[paceline::task]
pub(crate) fn doubled(numbers: Vec<f64>) -> Vec<f64> {
    numbers.into_iter().map(|number| 2.0 * number).collect()
}

#[paceline::task]
pub(crate) fn repeated(text: String, times: usize) -> Vec<String> {
    vec![text; times]
}

/// Fails in its first attempts.
#[paceline::task]
pub(crate) fn stubborn(failures: usize, how: String) -> Result<usize, String> {
    let attempt = current_task().unwrap().attempt();
    if attempt >= failures {
        return Ok(attempt);
    }
    match how.as_str() {
        "error" => Err(format!("attempt {attempt}")),
        "abort" => std::process::abort(),
        _ => panic!("attempt {attempt}"),
    }
}

#[paceline::task]
pub(crate) fn place() -> (u64, usize, u64) {
    let task = current_task().unwrap();
    (task.number(), task.index(), task.seed())
}

pub(crate) static SET_UP: AtomicU64 = AtomicU64::new(0);

#[paceline::task]
pub(crate) fn set_up(number: u64) {
    assert_ne!(number, 13, "no worker wants to be set up with 13");
    SET_UP.store(number, Ordering::Relaxed);
}

#[paceline::task]
pub(crate) fn was_set_up(_: usize) -> u64 {
    SET_UP.load(Ordering::Relaxed)
}

/// Refuses to be taken apart, or put together.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stuck(pub(crate) bool);

impl Serialize for Stuck {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if self.0 { Err(serde::ser::Error::custom("it is stuck")) } else { to.serialize_bool(self.0) }
    }
}

impl<'de> Deserialize<'de> for Stuck {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        bool::deserialize(from).map(Stuck)
    }
}

#[paceline::task]
pub(crate) fn stick(stuck: Stuck) -> Stuck {
    Stuck(!stuck.0)
}
