//! Owns the small tables that the models use, and how far they are explored.

use loom::sync::Arc;
use paceline_ipc::table::{Claim, Feeder, Place, Table};

/// A table of this many slots and two seats; a body is one plain number.
pub(crate) type Small<const SLOTS: usize> = Table<u64, SLOTS, 1, 2, 1>;

/// What a worker adds to a number to answer it.
pub(crate) const ANSWERED: u64 = 1_000;

/// Explores a model: all interleavings with at most four preemptions, or what `LOOM_MAX_PREEMPTIONS` says.
pub(crate) fn explore(model: impl Fn() + Send + Sync + 'static) {
    explore_to(4, model);
}

/// The same with another bound, for models in which much happens.
pub(crate) fn explore_to(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.check(model);
}

/// The parent's side of a table.
pub(crate) struct Parent<const SLOTS: usize> {
    pub(crate) table: Arc<Small<SLOTS>>,
    pub(crate) feeder: Feeder,
    pub(crate) answers: Vec<u64>,
}

impl<const SLOTS: usize> Parent<SLOTS> {
    pub(crate) fn new() -> Self {
        Self { table: Arc::new(Small::default()), feeder: Feeder::new(SLOTS), answers: Vec::new() }
    }

    pub(crate) fn publish(&mut self, value: u64) -> Place {
        // SAFETY: the slot is free, so only the parent touches its body.
        self.table.publish(&mut self.feeder, |body| unsafe { *body = value }).expect("there is room")
    }

    /// Publishes all of them, then wakes as the engine does.
    pub(crate) fn publish_and_wake(&mut self, values: &[u64]) {
        for value in values {
            self.publish(*value);
        }
        for _ in values {
            if !self.table.wake_worker() {
                break;
            }
        }
    }

    pub(crate) fn drain(&mut self) {
        let Self { table, feeder, answers } = self;
        // SAFETY: the slot is done, so only the parent touches its body.
        table.drain(feeder, |_, _, body| answers.push(unsafe { *body }));
    }

    /// Drains until there are as many answers; they are sorted.
    pub(crate) fn drain_until(&mut self, count: usize) {
        loop {
            self.drain();
            if self.answers.len() >= count {
                break;
            }
            loom::thread::yield_now();
        }
        self.answers.sort_unstable();
    }

    /// The same as a leader, who rests meanwhile.
    pub(crate) fn lead_until(&mut self, count: usize) {
        let table = Arc::clone(&self.table);
        table.idle.begin_leading();
        loop {
            self.drain();
            if self.answers.len() >= count {
                break;
            }
            table.idle.rest_leading(None, || table.has_finished());
        }
        table.idle.end_leading(|| false);
        self.answers.sort_unstable();
    }

    /// Audits the table, in which nothing is wrong.
    pub(crate) fn audit(&mut self) {
        let Self { table, feeder, answers } = self;
        table.audit(
            feeder,
            |_| true,
            // SAFETY: the slot is done, so only the parent touches its body.
            |_, _, body| answers.push(unsafe { *body }),
            |place| panic!("nothing is wrong at {place:?}"),
        );
    }

    /// Takes back what a dead worker left; the numbers that it held without an answer.
    pub(crate) fn reclaim(&mut self, worker: u16) -> Vec<u64> {
        let Self { table, feeder, answers } = self;
        let mut lost = Vec::new();
        table.reclaim(
            feeder,
            worker,
            // SAFETY: the slot is done, so only the parent touches its body.
            |_, _, body| answers.push(unsafe { *body }),
            // SAFETY: the worker that claimed the slot is dead. It may have written its answer already.
            |_, _, body| lost.push(unsafe { *body } % ANSWERED),
        );
        lost
    }
}

/// Takes the number out of a claimed slot.
pub(crate) fn read<const SLOTS: usize>(table: &Small<SLOTS>, claim: &Claim) -> u64 {
    // SAFETY: the slot is claimed by the caller.
    table.with_claimed(claim, |body| unsafe { *body })
}

/// Answers a claimed task; its number.
pub(crate) fn answer<const SLOTS: usize>(table: &Small<SLOTS>, claim: Claim) -> u64 {
    // SAFETY: the slot is claimed by the caller.
    let value = table.with_claimed(&claim, |body| unsafe {
        *body += ANSWERED;
        *body - ANSWERED
    });
    assert!(table.finish(claim), "a claim is its owner's until it is answered");
    value
}

/// Waits until there is a task, sleeping as often as it takes; `searches` times looking again before each sleep.
pub(crate) fn wait<const SLOTS: usize>(table: &Small<SLOTS>, worker: u16, searches: u32) -> Claim {
    loop {
        let mut left = searches;
        let search = || {
            left = left.saturating_sub(1);
            left > 0
        };
        if let Some(claim) = table.wait(worker, search, None) {
            return claim;
        }
    }
}

/// Waits on watch until there is a task, as a worker does that has others under way.
pub(crate) fn watch<const SLOTS: usize>(table: &Small<SLOTS>, worker: u16) -> Claim {
    loop {
        if table.begin_watch(worker) {
            table.watch(worker);
        }
        table.end_watch(worker);
        if let Some(claim) = table.claim(worker) {
            table.pass_on();
            return claim;
        }
    }
}

/// Works until dismissed, as the engine's worker does; what it answered.
pub(crate) fn serve<const SLOTS: usize>(table: &Small<SLOTS>, worker: u16, searches: u32) -> Vec<u64> {
    let mut answered = Vec::new();
    loop {
        let mut left = searches;
        let search = || {
            left = left.saturating_sub(1);
            left > 0
        };
        match table.claim(worker).or_else(|| table.wait(worker, search, None)) {
            Some(claim) => {
                answered.push(answer(table, claim));
                table.idle.wake_parent(table.ready_hint());
            }
            None if table.idle.is_dismissed(worker) => return answered,
            None => {}
        }
    }
}
