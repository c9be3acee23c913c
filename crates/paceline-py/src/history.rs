//! Owns what Python is told of what happened: the workers' accounts, and the history. Only looks.

use paceline_engine::{Accounts, History, now_ns};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// The history of a pool as Python is told it.
pub(crate) type Chronicle = (Vec<i32>, Vec<String>, u64, (u64, u64, u64), u64, Py<PyBytes>);

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
    (pids, names, history.forgotten(), failed, began_ns, PyBytes::new(py, &rows).unbind())
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
pub(crate) type Told = (f64, Vec<(i32, f64, u64, Vec<(u64, u64)>)>);

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
        (account.pid, seconds(account.busy_ns), items.iter().map(|(_, count)| count).sum(), items)
    });
    (wall_seconds(accounts), workers.collect())
}
