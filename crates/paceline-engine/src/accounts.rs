//! Owns the account of each worker process: how long it was busy, with which items. Only looks at what happened.

use paceline_ipc::message::ThreadTime;
use std::ops::Range;
use std::sync::Arc;

/// What one worker process has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Its process id.
    pub pid: i32,
    /// The host that it is on; empty for this one.
    pub host: Arc<str>,
    /// How long it was at it.
    pub busy_ns: u64,
    /// How many items have ended.
    pub ended_items: u64,
    /// Which items, by their place in the pool's order of submission, in the order in which they ended.
    pub items: Vec<Range<u64>>,
    /// What it told of its threads when it left; nothing if it has not, or was alone.
    pub threads: Vec<ThreadTime>,
}

/// What a pool has done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    /// When the first item was submitted, if any was.
    pub began_ns: Option<u64>,
    /// When the last item ended, or now while some have not.
    pub ended_ns: u64,
    /// How many items have ended with any worker.
    pub ended_items: u64,
    /// Each worker process that there has been, in the order of their births.
    pub workers: Vec<Account>,
}

/// The longest time of a chunk that is taken at its word (a year).
const LONGEST_NS: u64 = 365 * 86_400 * 1_000_000_000;

impl Accounts {
    /// An item ended then, as its worker says.
    pub(crate) fn note_end(&mut self, ended_ns: u64) {
        self.ended_ns = self.ended_ns.max(ended_ns);
    }

    pub(crate) fn open(&mut self, pid: i32) -> usize {
        self.workers.push(Account { pid, ..Account::default() });
        self.workers.len() - 1
    }

    /// The process id of that worker has become known.
    pub(crate) fn name(&mut self, worker: usize, pid: i32) {
        self.workers[worker].pid = pid;
    }

    /// It told this of its threads.
    pub(crate) fn tell_threads(&mut self, worker: usize, threads: Vec<ThreadTime>) {
        self.workers[worker].threads = threads;
    }

    /// It was busy for so long, with what it has not ended.
    pub(crate) fn add_time(&mut self, worker: usize, busy_ns: u64) {
        let account = &mut self.workers[worker];
        // It comes from the worker, and may be anything.
        account.busy_ns = account.busy_ns.saturating_add(busy_ns.min(LONGEST_NS));
    }

    pub(crate) fn add(&mut self, worker: usize, busy_ns: u64, items: Range<u64>) {
        self.add_time(worker, busy_ns);
        let account = &mut self.workers[worker];
        let count = items.end - items.start;
        account.ended_items += count;
        self.ended_items += count;
        match account.items.last_mut() {
            Some(last) if last.end == items.start => last.end = items.end,
            _ => account.items.push(items),
        }
    }
}
