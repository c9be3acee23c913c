//! Owns what Python is told of what happened: the workers' accounts, the history, and a glance at the present. Only looks.

use paceline_engine::{Accounts, Glance, History, RecentFailure, ThreadTime, now_ns};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// The history of a pool as Python is told it.
pub(crate) type Chronicle = (Vec<i32>, Vec<String>, u64, (u64, u64, u64), u64, Py<PyBytes>, Vec<String>);

pub(crate) fn chronicle(py: Python<'_>, accounts: &Accounts, history: &History) -> Chronicle {
    let mut rows = Vec::with_capacity(history.stretches().len() * 12 * 8);
    for one in history.stretches() {
        let numbers = [
            u64::from(one.worker),
            u64::from(one.function).min(history.names().len() as u64),
            one.first_item,
            u64::from(one.items),
            u64::from(one.merged),
            u64::from(one.attempt),
            one.fate as u64,
            one.submitted_ns,
            one.began_ns,
            one.ended_ns,
            one.busy_ns,
            one.longest_ns,
        ];
        rows.extend(numbers.iter().flat_map(|number| number.to_ne_bytes()));
    }
    let pids = accounts.workers.iter().map(|account| account.pid).collect();
    let names = history.names().iter().map(ToString::to_string).chain(["(others)".to_owned()]).collect();
    let failed = history.failed();
    let failed = (failed.raised, failed.stopped, failed.lost);
    let began_ns = accounts.began_ns.unwrap_or(0);
    (pids, names, history.forgotten(), failed, began_ns, PyBytes::new(py, &rows).unbind(), hosts(accounts))
}

/// The host of each worker, if they are not all on this one.
fn hosts(accounts: &Accounts) -> Vec<String> {
    let is_here = accounts.workers.iter().all(|account| account.host.is_empty());
    if is_here { Vec::new() } else { accounts.workers.iter().map(|account| account.host.to_string()).collect() }
}

/// The same of one job; the moments count from its submission, and so does how long it has taken.
pub(crate) fn chronicle_of(
    py: Python<'_>,
    (mut accounts, history): (Accounts, History),
    is_done: bool,
) -> (f64, Chronicle) {
    accounts.began_ns = history.stretches().iter().map(|one| one.submitted_ns).min();
    let last_ns = history.stretches().iter().map(|one| one.ended_ns).max().unwrap_or(0);
    accounts.ended_ns = if is_done { last_ns } else { now_ns() };
    (wall_seconds(&accounts), chronicle(py, &accounts, &history))
}

/// The accounts of a pool as Python is told them.
pub(crate) type Told = (f64, Vec<(i32, f64, u64, Vec<(u64, u64)>, String)>);

#[expect(clippy::cast_precision_loss, reason = "seconds as floats are what Python uses")]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

fn wall_seconds(accounts: &Accounts) -> f64 {
    seconds(accounts.began_ns.map_or(0, |began| accounts.ended_ns.saturating_sub(began)))
}

pub(crate) fn tell(accounts: &Accounts) -> Told {
    let workers = accounts.workers.iter().map(|account| {
        let items: Vec<_> = account.items.iter().map(|range| (range.start, range.end - range.start)).collect();
        let ended = items.iter().map(|(_, count)| count).sum();
        (account.pid, seconds(account.busy_ns), ended, items, account.host.to_string())
    });
    (wall_seconds(accounts), workers.collect())
}

/// Of each worker's process id, its threads, the main one first: name, seconds at work, and seconds of waiting for a CPU.
pub(crate) type ToldThreads = Vec<(i32, Vec<(String, f64, f64)>)>;

/// What threads did, as Python is told it.
pub(crate) fn told_of_threads(workers: Vec<(i32, Vec<ThreadTime>)>) -> ToldThreads {
    let tell = |one: ThreadTime| (one.name, seconds(one.ran_ns), seconds(one.waited_ns));
    workers.into_iter().map(|(pid, threads)| (pid, threads.into_iter().map(tell).collect())).collect()
}

/// How the worker of a failure ended: signal, exit code, why the engine killed it, and whether it had too much memory.
type Ended = (Option<i32>, Option<i32>, Option<&'static str>, bool);
/// A failure: function, item, index, attempt, process id, seconds ago, fate, record, and the end of its worker.
type Failure = (String, u64, Option<u32>, u16, i32, f64, u8, Option<Py<PyBytes>>, Option<Ended>);
/// Items that have ended, have not, and have failed; of each worker process id, busy seconds and items; and failures.
pub(crate) type Glanced = (u64, u64, u64, Vec<(i32, f64, u64)>, Vec<Failure>);

/// A glance at a pool as Python is told it.
pub(crate) fn show_glance(py: Python<'_>, glance: Glance) -> Glanced {
    let now = now_ns();
    let failure = |one: RecentFailure| {
        let seconds_ago = seconds(now.saturating_sub(one.ended_ns));
        let said = one.said.map(|said| PyBytes::new(py, &said).unbind());
        let ended = one.death.map(|death| (death.signal, death.code, death.note, death.is_over_limit));
        (one.function, one.item, one.index, one.attempt, one.pid, seconds_ago, one.fate as u8, said, ended)
    };
    let workers = glance.workers.into_iter().map(|(pid, busy_ns, items)| (pid, seconds(busy_ns), items)).collect();
    let failures = glance.failures.into_iter().map(failure).collect();
    (glance.ended, glance.unfinished, glance.failed, workers, failures)
}
