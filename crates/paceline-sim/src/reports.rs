//! Owns what the engine reports of chunks and of workers that are gone. Never decides anything.

use paceline_core::{Event, Held, Moment, Trouble, WorkerId};

use crate::fact::Fact;
use crate::invariants::Violation;
use crate::scenario::STEP_NS;
use crate::table::{Entry, State};
use crate::worker::Activity;
use crate::world::World;

impl World<'_> {
    pub(crate) fn hear_ready(&mut self, seat: u16, life: u32) -> Result<(), Violation> {
        let worker = &self.workers[usize::from(seat)];
        if worker.life != life || worker.activity == Activity::Vacant {
            return Ok(());
        }
        self.tell(Event::WorkerReady { worker: WorkerId(seat) })
    }

    /// Keeps what a chunk gave, which may be that its slot was written over: then that is given up. If it is gone from the table its report comes too late, and is made all the same.
    pub(crate) fn harvest(&mut self, key: u64) -> Result<(), Violation> {
        let Some(entry) = self.table.remove(key) else {
            return self.repeat_old_answer();
        };
        self.keep_outcomes(entry)?;
        self.old_chunks.push(entry.chunk);
        if self.random.chance(self.scenario.lost_slot_percent) {
            self.tell(Event::SlotLost)?;
        }
        self.tell(Event::ChunkFinished { chunk: entry.chunk, busy_ns: busy_ns(entry) })
    }

    /// Reports that a worker is gone, and each chunk that it held. Those it was done with are found now, or later as
    /// usual.
    pub(crate) fn notice_exit(&mut self, seat: u16, life: u32) -> Result<(), Violation> {
        let worker = &mut self.workers[usize::from(seat)];
        let Activity::Gone { exit } = worker.activity else {
            return Ok(());
        };
        if worker.life != life {
            return Ok(());
        }
        worker.activity = Activity::Vacant;
        let (last_entry, is_outgrown) = (worker.last_entry, worker.is_outgrown);
        let mut held = self.table.take_running(seat, life);
        for key in self.table.find_done(seat, life) {
            match self.random.below(10) {
                0..4 => self.harvest(key)?,
                4..7 => held.extend(self.table.remove(key)),
                _ => {}
            }
        }
        if is_outgrown {
            self.tell(Event::WorkerOutgrown { worker: WorkerId(seat) })?;
        }
        if held.is_empty() {
            // Now and then the engine names a chunk that the worker is known to be done with.
            let old = last_entry.filter(|&chunk| self.ledger.find_out(chunk).is_none());
            if let Some(chunk) = old.filter(|_| self.random.chance(20)) {
                let held = Held { chunk, finished: 0, running: self.random.below(2) };
                self.tell(Event::ChunkLost { worker: WorkerId(seat), held })?;
            }
        }
        while !held.is_empty() {
            let count = u32::try_from(held.len()).unwrap_or(1);
            let entry = held.swap_remove(self.random.below(count) as usize);
            self.keep_outcomes(entry)?;
            self.old_chunks.push(entry.chunk);
            let is_done = matches!(entry.state, State::Done { .. });
            let running = if is_done { 0 } else { entry.most_running.min(entry.count - entry.finished) };
            let held = Held { chunk: entry.chunk, finished: entry.finished, running };
            self.tell(Event::ChunkLost { worker: WorkerId(seat), held })?;
        }
        self.tell(Event::WorkerExited { worker: WorkerId(seat), exit })
    }

    /// Keeps every outcome of a chunk, and tells the core of those that are failures.
    fn keep_outcomes(&mut self, entry: Entry) -> Result<(), Violation> {
        let Entry { chunk, job, first, finished, .. } = entry;
        (first..first + finished).try_for_each(|item| self.see(Fact::Kept { job, item }))?;
        let terms = self.ledger.jobs[job].terms;
        let is_of_interest = terms.retries > 0 || terms.most_failures < u32::MAX;
        if is_of_interest || self.scenario.is_telling_every_failure {
            for (nth, item) in (0..finished).zip(first..) {
                if let Some(trouble) = entry.trouble(nth) {
                    self.tell(Event::ItemFailed { chunk, item, trouble })?;
                }
            }
        }
        Ok(())
    }

    /// Tells the core something about an assignment of the past, as a late or doubled report would.
    pub(crate) fn repeat_old_answer(&mut self) -> Result<(), Violation> {
        let count = u32::try_from(self.old_chunks.len()).unwrap_or(u32::MAX);
        if count == 0 {
            return Ok(());
        }
        let chunk = self.old_chunks[self.random.below(count) as usize];
        let report = match self.random.below(5) {
            0 => Event::ChunkFinished { chunk, busy_ns: STEP_NS },
            1 => Event::ChunkWithdrawn { chunk },
            2 => Event::ItemFailed { chunk, item: self.random.below(2), trouble: Trouble::MayPass },
            3 => {
                let began = Moment(self.now_ns / 2);
                Event::ChunkSighted { chunk, worker: WorkerId(0), finished: self.random.below(2), began }
            }
            _ => Event::ChunkKept { chunk },
        };
        self.tell(report)
    }
}

/// How long a worker was at a chunk, as if a step were a microsecond; a thousand times that makes chunk sizes move
/// through their whole range.
fn busy_ns(entry: Entry) -> u64 {
    let scaled_ns = (entry.done_at_ns - entry.claimed_at_ns) / STEP_NS * 1_000;
    if entry.key.is_multiple_of(3) { scaled_ns * 1_000 } else { scaled_ns }
}
