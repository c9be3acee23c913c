//! Owns the model of the task table: what was published, who claimed it, how far it is. Never decides who does what.

use paceline_core::{ChunkId, Trouble};

/// How far an entry has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Any worker may claim it.
    Ready,
    /// This life of a worker has claimed it.
    Running { seat: u16, life: u32 },
    /// That worker is done with it.
    Done { seat: u16, life: u32 },
}

/// A published chunk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// Tells all entries of a run apart.
    pub(crate) key: u64,
    pub(crate) chunk: ChunkId,
    /// Position of the job among all that were submitted.
    pub(crate) job: usize,
    pub(crate) first: u32,
    pub(crate) count: u32,
    pub(crate) attempt: u16,
    pub(crate) state: State,
    /// How many items more than those it has finished the worker may have begun, as it has written into the slot.
    pub(crate) most_running: u32,
    /// How many items the worker has finished, as it has written into the slot.
    pub(crate) finished: u32,
    /// The most finished items that the engine has seen at a look.
    pub(crate) sighted: u32,
    /// One bit for each item that has failed, failed in a way that may pass, or was stopped at its limit.
    pub(crate) failed: u64,
    pub(crate) passing: u64,
    pub(crate) overran: u64,
    pub(crate) claimed_at_ns: u64,
    pub(crate) began_at_ns: u64,
    /// When the last of its items that has ended did.
    pub(crate) item_ended_at_ns: u64,
    pub(crate) done_at_ns: u64,
}

impl Entry {
    /// Whether its worker is at work on this item.
    pub(crate) fn is_running(&self, item: u32) -> bool {
        matches!(self.state, State::Running { .. }) && self.most_running > 0 && self.first + self.finished == item
    }

    /// Writes down how one more item has ended.
    pub(crate) fn note_end(&mut self, trouble: Option<Trouble>, now_ns: u64) {
        let bit = 1 << self.finished;
        match trouble {
            Some(Trouble::Failed) => self.failed |= bit,
            Some(Trouble::MayPass) => self.passing |= bit,
            Some(_) => self.overran |= bit,
            None => {}
        }
        self.finished += 1;
        self.item_ended_at_ns = now_ns;
    }

    /// How this item has failed, if it has.
    pub(crate) fn trouble(&self, nth: u32) -> Option<Trouble> {
        let kinds =
            [(self.failed, Trouble::Failed), (self.passing, Trouble::MayPass), (self.overran, Trouble::Overran)];
        kinds.into_iter().find(|(bits, _)| bits >> nth & 1 == 1).map(|(_, trouble)| trouble)
    }
}

/// The entries, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Table {
    entries: Vec<Entry>,
    added: u64,
}

impl Table {
    pub(crate) fn publish(&mut self, chunk: ChunkId, job: usize, (first, count): (u32, u32), attempt: u16) {
        self.added += 1;
        self.entries.push(Entry {
            key: self.added,
            chunk,
            job,
            first,
            count,
            attempt,
            state: State::Ready,
            most_running: 0,
            finished: 0,
            sighted: 0,
            failed: 0,
            passing: 0,
            overran: 0,
            claimed_at_ns: 0,
            began_at_ns: 0,
            item_ended_at_ns: 0,
            done_at_ns: 0,
        });
    }

    /// Hands the oldest ready entry to a worker.
    pub(crate) fn claim(&mut self, seat: u16, life: u32, now_ns: u64) -> Option<Entry> {
        let entry = self.entries.iter_mut().find(|entry| entry.state == State::Ready)?;
        entry.state = State::Running { seat, life };
        entry.claimed_at_ns = now_ns;
        Some(*entry)
    }

    pub(crate) fn entry(&mut self, key: u64) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.key == key)
    }

    pub(crate) fn find(&self, chunk: ChunkId) -> Option<Entry> {
        self.entries.iter().find(|entry| entry.chunk == chunk).copied()
    }

    /// All that a worker has begun, and who: also what it is done with, as long as the engine has not noticed.
    pub(crate) fn begun(&self) -> impl Iterator<Item = (u16, Entry)> {
        self.entries.iter().filter_map(|entry| match entry.state {
            State::Running { seat, .. } | State::Done { seat, .. } if entry.most_running > 0 => Some((seat, *entry)),
            _ => None,
        })
    }

    pub(crate) fn remove(&mut self, key: u64) -> Option<Entry> {
        let index = self.entries.iter().position(|entry| entry.key == key)?;
        Some(self.entries.remove(index))
    }

    /// Takes a chunk back, if no worker has claimed it.
    pub(crate) fn withdraw(&mut self, chunk: ChunkId) -> bool {
        let found = self.entries.iter().position(|entry| entry.chunk == chunk && entry.state == State::Ready);
        found.map(|index| self.entries.remove(index)).is_some()
    }

    /// Drops what is there of a job that was given up.
    pub(crate) fn drop_job(&mut self, job: usize) {
        self.entries.retain(|entry| entry.job != job);
    }

    /// Takes out all that a worker that is gone had claimed and was not done with.
    pub(crate) fn take_running(&mut self, seat: u16, life: u32) -> Vec<Entry> {
        self.entries.extract_if(.., |entry| entry.state == State::Running { seat, life }).collect()
    }

    /// The chunks that a worker that is gone was done with, and that the engine has not noticed yet.
    pub(crate) fn find_done(&self, seat: u16, life: u32) -> Vec<u64> {
        let done = self.entries.iter().filter(|entry| entry.state == State::Done { seat, life });
        done.map(|entry| entry.key).collect()
    }
}
