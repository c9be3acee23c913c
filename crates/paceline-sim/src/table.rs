//! Owns the model of the task table: what was published, who claimed it, how far it is. Never decides who does what.

use paceline_core::ChunkId;

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
    pub(crate) state: State,
    /// How many items more than those it has finished the worker may have begun, as it has written into the slot.
    pub(crate) most_running: u32,
    /// How many items the worker has finished, as it has written into the slot.
    pub(crate) finished: u32,
    pub(crate) claimed_at_ns: u64,
    pub(crate) done_at_ns: u64,
}

/// The entries, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Table {
    entries: Vec<Entry>,
    added: u64,
}

impl Table {
    pub(crate) fn publish(&mut self, chunk: ChunkId, job: usize, first: u32, count: u32) {
        self.added += 1;
        self.entries.push(Entry {
            key: self.added,
            chunk,
            job,
            first,
            count,
            state: State::Ready,
            most_running: 0,
            finished: 0,
            claimed_at_ns: 0,
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
