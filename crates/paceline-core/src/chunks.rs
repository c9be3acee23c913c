//! Owns the assignments that are out in the task table: their numbers, what they stand for, which job they belong to.
//! Never decides when one is made or ended.
//!
//! Numbers are used again, last returned first, because that slot is the one still in the cache; a generation tells
//! the assignments of one number apart. The chunks of a job are linked, each to the one before, so that a cancel finds
//! them without a search through the table. The links are followed only while every chunk of the job that was ever
//! published is still out (else something of it has begun, and it cannot be cancelled), so closing a chunk need not
//! mend them.

use crate::ids::{ChunkId, JobId};
use crate::jobs::{Job, Range};

/// Stands for "no chunk" in the links between the chunks of a job.
pub(crate) const NO_CHUNK: u32 = u32::MAX;

/// What a chunk stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Whose items.
    pub job: JobId,
    /// The first item.
    pub first: u32,
    /// How many items.
    pub count: u32,
    /// How often the first item has been begun before.
    pub attempt: u16,
}

/// One place for an assignment.
#[derive(Clone, Copy, Debug)]
struct Slot {
    generation: u32,
    assignment: Assignment,
    older: u32,
    is_out: bool,
    is_asked_back: bool,
}

/// The assignments that are out.
#[derive(Debug)]
pub(crate) struct Chunks {
    slots: Vec<Slot>,
    free: Vec<u32>,
    limit: u32,
    published: u32,
}

impl Chunks {
    pub(crate) fn new(limit: u32) -> Self {
        Self { slots: Vec::new(), free: Vec::new(), limit, published: 0 }
    }

    pub(crate) fn published(&self) -> u32 {
        self.published
    }

    pub(crate) fn has_room(&self) -> bool {
        self.published < self.limit
    }

    /// What this chunk stands for, if it is the current assignment of its number.
    pub(crate) fn assignment(&self, chunk: ChunkId) -> Option<Assignment> {
        let slot = self.slots.get(chunk.index as usize)?;
        (slot.is_out && slot.generation == chunk.generation).then_some(slot.assignment)
    }

    /// Makes a range of a job an assignment.
    pub(crate) fn open(&mut self, number: JobId, job: &mut Job, range: Range) -> ChunkId {
        debug_assert!(self.has_room(), "a chunk is published though the table is full");
        let index = self.free.pop().unwrap_or_else(|| self.grow());
        let slot = &mut self.slots[index as usize];
        slot.assignment = Assignment { job: number, first: range.first, count: range.count, attempt: range.attempt };
        slot.older = job.newest_chunk;
        slot.is_out = true;
        slot.is_asked_back = false;
        let chunk = ChunkId { index, generation: slot.generation };
        job.newest_chunk = index;
        job.chunks_out += 1;
        self.published += 1;
        chunk
    }

    /// Ends a current assignment; every later answer to it is refused.
    pub(crate) fn close(&mut self, chunk: ChunkId, job: &mut Job) {
        job.chunks_out -= 1;
        self.retire(chunk.index);
    }

    /// Ends every assignment, with all jobs.
    pub(crate) fn close_all(&mut self) {
        for index in 0..u32::try_from(self.slots.len()).unwrap_or(NO_CHUNK) {
            if self.slots[index as usize].is_out {
                self.retire(index);
            }
        }
    }

    /// Marks every chunk of a job as asked back, and hands out each, newest first. None of them may have been closed.
    pub(crate) fn ask_back(&mut self, job: &Job, mut each: impl FnMut(ChunkId)) {
        let mut index = job.newest_chunk;
        while index != NO_CHUNK {
            let slot = &mut self.slots[index as usize];
            debug_assert!(slot.is_out, "a chunk is asked back that was closed");
            slot.is_asked_back = true;
            each(ChunkId { index, generation: slot.generation });
            index = slot.older;
        }
    }

    pub(crate) fn is_asked_back(&self, chunk: ChunkId) -> bool {
        self.slots[chunk.index as usize].is_asked_back
    }

    fn retire(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        slot.is_out = false;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        self.published -= 1;
    }

    /// Adds a slot; the number of slots never exceeds the limit, because one is added only when all are out.
    #[cold]
    fn grow(&mut self) -> u32 {
        let index = self.published;
        self.slots.push(Slot {
            generation: 0,
            assignment: Assignment { job: JobId(0), first: 0, count: 0, attempt: 0 },
            older: NO_CHUNK,
            is_out: false,
            is_asked_back: false,
        });
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_item(first: u32) -> Range {
        Range { first, count: 1, attempt: 0 }
    }

    #[test]
    fn number_used_again_gets_a_new_generation() {
        let (mut chunks, mut job) = (Chunks::new(4), Job::default());
        let old = chunks.open(JobId(0), &mut job, one_item(0));
        chunks.close(old, &mut job);
        let new = chunks.open(JobId(0), &mut job, one_item(1));
        assert_eq!(old.index, new.index);
        assert_eq!(chunks.assignment(old), None);
        assert_eq!(chunks.assignment(new).map(|assignment| assignment.first), Some(1));
    }

    #[test]
    fn chunks_of_a_job_are_found_among_those_of_others() {
        let mut chunks = Chunks::new(6);
        let (mut job, mut other) = (Job::default(), Job::default());
        let mine: Vec<_> = (0..3)
            .map(|first| {
                chunks.open(JobId(1), &mut other, one_item(first));
                chunks.open(JobId(0), &mut job, one_item(first))
            })
            .collect();
        let mut asked = Vec::new();
        chunks.ask_back(&job, |chunk| asked.push(chunk));
        assert_eq!(asked, [mine[2], mine[1], mine[0]]);
        assert!(chunks.is_asked_back(mine[0]));
        assert_eq!(job.chunks_out, 3);
    }

    #[test]
    fn all_closed_leaves_an_empty_table_and_refuses_every_old_answer() {
        let (mut chunks, mut job) = (Chunks::new(2), Job::default());
        let all = [chunks.open(JobId(0), &mut job, one_item(0)), chunks.open(JobId(0), &mut job, one_item(1))];
        assert!(!chunks.has_room());
        chunks.close_all();
        assert_eq!(chunks.published(), 0);
        assert!(all.iter().all(|&chunk| chunks.assignment(chunk).is_none()));
    }
}
