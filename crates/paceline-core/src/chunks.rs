//! Owns the assignments that are out in the task table: their numbers, what they stand for, which job they belong to.
//! Never decides when one is made or ended.
//!
//! Numbers are used again, last returned first, because that slot is the one still in the cache; a generation tells
//! the assignments of one number apart. The chunks of a job are linked, each to the one before, so that a cancel finds
//! them without a search through the table. The links are followed only as long as no worker is known to have claimed
//! any of the job (else it cannot be cancelled), so a chunk that ends need not mend them. One that is taken back does.

use crate::ids::{ChunkId, JobId};
use crate::jobs::{Job, Progress, Range};
use crate::limits::Watch;

/// Stands for "no chunk" in the links between the chunks of a job.
pub(crate) const NO_CHUNK: u32 = u32::MAX;

/// How many tables of chunks go out after something was overtaken, before the table is filled again with what could be
/// overtaken: what filling and taking back cost is then spread over four times as many chunks.
const CAREFUL_TABLES: u32 = 4;

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
    /// How urgent its job is.
    pub priority: i16,
}

/// What is known of an assignment. Only these changes are legal:
///
/// ```text
/// Free ──► Out ── cancel ─────► AskedBack ── kept ──► Claimed
///           └──── overtaking ──► Overtaken ── kept ─────┘        and from each of them back to Free
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// The number stands for nothing.
    Free,
    /// Published; a worker may have claimed it.
    Out,
    /// Asked back because its job is to be cancelled, and not answered yet.
    AskedBack,
    /// Asked back because something more urgent goes first, and not answered yet.
    Overtaken,
    /// Known to be with a worker.
    Claimed,
}

/// One place for an assignment.
#[derive(Clone, Copy, Debug)]
struct Slot {
    generation: u32,
    assignment: Assignment,
    older: u32,
    standing: Standing,
    /// How many of its items have failed and are to be run again.
    again: u32,
    /// What is known of it, if it has to be looked at.
    watch: Option<Watch>,
}

/// The assignments that are out.
#[derive(Debug)]
pub(crate) struct Chunks {
    slots: Vec<Slot>,
    free: Vec<u32>,
    limit: u32,
    published: u32,
    /// No chunk that stands as `Out` is less urgent.
    least_urgent: i16,
    /// How many stand as `Overtaken`, and as `Claimed`.
    overtaken: u32,
    claimed: u32,
    /// How many have to be looked at.
    watched: u32,
    /// What is less urgent than this is published with care: what has been overtaken may be so again.
    careful_below: i16,
    /// For how many more publications.
    careful_for: u32,
    /// How many chunks that nobody is known to have claimed may be out, for one to be published with care.
    few: u32,
}

impl Chunks {
    pub(crate) fn new(limit: u32, few: u32) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            limit,
            published: 0,
            least_urgent: i16::MAX,
            overtaken: 0,
            claimed: 0,
            watched: 0,
            careful_below: i16::MIN,
            careful_for: 0,
            few,
        }
    }

    pub(crate) fn published(&self) -> u32 {
        self.published
    }

    /// One chunk fewer may be out at once from now on; whether any may. As many as there are may be out still.
    pub(crate) fn give_up_slot(&mut self) -> bool {
        self.limit = self.limit.saturating_sub(1);
        self.limit > 0
    }

    /// Whether a chunk of this priority may go out, being the most urgent there is.
    ///
    /// While overtaken chunks are being taken back, nothing like them goes out before them. And what has been overtaken
    /// once fills only a small part of the table for a while, enough for the workers, so that a row of urgent jobs
    /// does not have a thousand chunks taken back and published again for each.
    pub(crate) fn has_room_for(&self, priority: i16) -> bool {
        self.published < self.limit
            && (priority >= self.careful_below || (self.overtaken == 0 && self.published - self.claimed < self.few))
    }

    /// Whether chunks may lie unclaimed in the table that are less urgent.
    pub(crate) fn has_less_urgent_than(&self, priority: i16) -> bool {
        priority > self.least_urgent && self.published > 0
    }

    /// What this chunk stands for, if it is the current assignment of its number.
    pub(crate) fn assignment(&self, chunk: ChunkId) -> Option<Assignment> {
        let slot = self.slots.get(chunk.index as usize)?;
        (slot.standing != Standing::Free && slot.generation == chunk.generation).then_some(slot.assignment)
    }

    /// Makes a range of a job an assignment.
    pub(crate) fn open(&mut self, number: JobId, job: &mut Job, range: Range) -> ChunkId {
        debug_assert!(self.published < self.limit, "a chunk is published though the table is full");
        let index = self.free.pop().unwrap_or_else(|| self.grow());
        let slot = &mut self.slots[index as usize];
        let (Range { first, count, attempt }, priority) = (range, job.terms.priority);
        slot.assignment = Assignment { job: number, first, count, attempt, priority };
        slot.older = job.newest_chunk;
        slot.standing = Standing::Out;
        if job.terms.timeout_ns > 0 {
            slot.watch = Some(Watch::default());
            self.watched += 1;
        }
        let chunk = ChunkId { index, generation: slot.generation };
        job.newest_chunk = index;
        job.chunks_out += 1;
        self.least_urgent = if self.published == 0 { priority } else { self.least_urgent.min(priority) };
        self.published += 1;
        if self.careful_for > 0 {
            self.relax();
        }
        chunk
    }

    /// Ends a current assignment of which a worker had claimed at least something; every later answer to it is refused.
    /// How many of its items have failed and are to be run again.
    pub(crate) fn close(&mut self, chunk: ChunkId, job: &mut Job) -> u32 {
        debug_assert!(
            !matches!(job.progress, Progress::Untouched | Progress::Cancelling),
            "the links of a job that may be cancelled are broken"
        );
        job.chunks_out -= 1;
        let again = self.slots[chunk.index as usize].again;
        self.retire(chunk.index);
        again
    }

    /// Ends an assignment that nobody had claimed.
    pub(crate) fn take_back(&mut self, chunk: ChunkId, job: &mut Job) {
        if matches!(job.progress, Progress::Untouched | Progress::Cancelling) {
            self.unlink(chunk.index, job);
        }
        job.chunks_out -= 1;
        self.retire(chunk.index);
    }

    /// Ends every assignment, with all jobs.
    pub(crate) fn close_all(&mut self) {
        for index in 0..u32::try_from(self.slots.len()).unwrap_or(NO_CHUNK) {
            if self.slots[index as usize].standing != Standing::Free {
                self.retire(index);
            }
        }
    }

    /// Asks every chunk of a job back that has not been, and hands out each, newest first. None may have been closed.
    pub(crate) fn ask_back(&mut self, job: &Job, mut each: impl FnMut(ChunkId)) {
        let mut index = job.newest_chunk;
        while index != NO_CHUNK {
            let slot = &mut self.slots[index as usize];
            debug_assert!(slot.standing != Standing::Free, "a chunk is asked back that was closed");
            if slot.standing == Standing::Out {
                slot.standing = Standing::AskedBack;
                each(ChunkId { index, generation: slot.generation });
            }
            index = slot.older;
        }
    }

    /// Asks every chunk of a job back that nobody has been asked for, whatever the links. Those that are asked for, and
    /// those that a worker is known to have.
    pub(crate) fn ask_back_all_of(&mut self, job: JobId) -> (Vec<ChunkId>, Vec<ChunkId>) {
        let (mut asked, mut claimed) = (Vec::new(), Vec::new());
        for (index, slot) in (0..).zip(&mut self.slots) {
            let chunk = ChunkId { index, generation: slot.generation };
            if slot.assignment.job == job && slot.standing == Standing::Out {
                slot.standing = Standing::AskedBack;
                asked.push(chunk);
            } else if slot.assignment.job == job && slot.standing == Standing::Claimed {
                claimed.push(chunk);
            }
        }
        (asked, claimed)
    }

    /// What is known of a chunk that has to be looked at; none if it need not.
    pub(crate) fn watch(&self, index: u32) -> Option<&Watch> {
        self.slots[index as usize].watch.as_ref()
    }

    pub(crate) fn watch_mut(&mut self, index: u32) -> Option<&mut Watch> {
        self.slots[index as usize].watch.as_mut()
    }

    /// All chunks that have to be looked at, and what is known of each.
    pub(crate) fn watches(&self) -> impl Iterator<Item = (Assignment, Watch)> {
        let watched = self.slots.iter().filter_map(|slot| Some((slot.assignment, slot.watch?)));
        watched.take(self.watched as usize)
    }

    /// Has a chunk looked at from now on, if it is not already.
    pub(crate) fn begin_watch(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        if slot.watch.is_none() {
            slot.watch = Some(Watch::default());
            self.watched += 1;
        }
    }

    /// One more item of a chunk has failed and is to be run again.
    pub(crate) fn note_again(&mut self, chunk: ChunkId) {
        self.slots[chunk.index as usize].again += 1;
    }

    /// Every chunk that may lie unclaimed in the table and is less urgent than this.
    pub(crate) fn less_urgent_than(&self, priority: i16) -> impl Iterator<Item = (ChunkId, Assignment)> {
        (0..).zip(&self.slots).filter_map(move |(index, slot)| {
            let is_one = slot.standing == Standing::Out && slot.assignment.priority < priority;
            is_one.then_some((ChunkId { index, generation: slot.generation }, slot.assignment))
        })
    }

    /// Asks chunks back so that something of this priority goes first: all those that are less urgent.
    pub(crate) fn overtake(&mut self, priority: i16, chunks: impl Iterator<Item = ChunkId>) {
        for chunk in chunks {
            self.slots[chunk.index as usize].standing = Standing::Overtaken;
            self.overtaken += 1;
        }
        self.least_urgent = priority;
        if self.overtaken > 0 {
            self.careful_below = self.careful_below.max(priority);
            self.careful_for = self.limit.saturating_mul(CAREFUL_TABLES);
        }
    }

    /// Notes that a worker has a chunk.
    pub(crate) fn keep(&mut self, chunk: ChunkId) {
        self.leave_standing(chunk.index, Standing::Claimed);
    }

    pub(crate) fn is_asked_back(&self, chunk: ChunkId) -> bool {
        matches!(self.slots[chunk.index as usize].standing, Standing::AskedBack | Standing::Overtaken)
    }

    /// One publication fewer to be careful for.
    #[cold]
    fn relax(&mut self) {
        if self.overtaken == 0 {
            self.careful_for -= 1;
        }
        if self.careful_for == 0 {
            self.careful_below = i16::MIN;
        }
    }

    fn unlink(&mut self, index: u32, job: &mut Job) {
        let older = self.slots[index as usize].older;
        if job.newest_chunk == index {
            job.newest_chunk = older;
            return;
        }
        // Chunks are asked back newest first, so this is rare.
        let mut newer = job.newest_chunk;
        while self.slots[newer as usize].older != index {
            newer = self.slots[newer as usize].older;
        }
        self.slots[newer as usize].older = older;
    }

    fn retire(&mut self, index: u32) {
        self.leave_standing(index, Standing::Free);
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        slot.again = 0;
        self.watched -= u32::from(slot.watch.take().is_some());
        self.free.push(index);
        self.published -= 1;
    }

    fn leave_standing(&mut self, index: u32, next: Standing) {
        let standing = std::mem::replace(&mut self.slots[index as usize].standing, next);
        self.overtaken -= u32::from(standing == Standing::Overtaken);
        self.claimed -= u32::from(standing == Standing::Claimed);
        self.claimed += u32::from(next == Standing::Claimed);
    }

    /// Adds a slot; the number of slots never exceeds the limit, because one is added only when all are out.
    #[cold]
    fn grow(&mut self) -> u32 {
        let index = self.published;
        self.slots.push(Slot {
            generation: 0,
            assignment: Assignment { job: JobId(0), first: 0, count: 0, attempt: 0, priority: 0 },
            older: NO_CHUNK,
            standing: Standing::Free,
            again: 0,
            watch: None,
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
        let (mut chunks, mut job) = (Chunks::new(4, 4), Job::default());
        job.progress = Progress::Begun;
        let old = chunks.open(JobId(0), &mut job, one_item(0));
        chunks.close(old, &mut job);
        let new = chunks.open(JobId(0), &mut job, one_item(1));
        assert_eq!(old.index, new.index);
        assert_eq!(chunks.assignment(old), None);
        assert_eq!(chunks.assignment(new).map(|assignment| assignment.first), Some(1));
    }

    #[test]
    fn chunks_of_a_job_are_found_among_those_of_others() {
        let mut chunks = Chunks::new(6, 6);
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
    fn chunks_taken_back_in_any_order_leave_the_others_linked() {
        for taken in [[0, 2], [2, 0], [1, 3], [3, 1], [3, 2], [0, 1]] {
            let (mut chunks, mut job) = (Chunks::new(4, 4), Job::default());
            let all: Vec<_> = (0..4).map(|first| chunks.open(JobId(0), &mut job, one_item(first))).collect();
            chunks.take_back(all[taken[0]], &mut job);
            chunks.take_back(all[taken[1]], &mut job);
            let mut asked = Vec::new();
            chunks.ask_back(&job, |chunk| asked.push(chunk));
            let left: Vec<_> = (0..4).rev().filter(|index| !taken.contains(index)).map(|index| all[index]).collect();
            assert_eq!(asked, left);
        }
    }

    #[test]
    fn all_closed_leaves_an_empty_table_and_refuses_every_old_answer() {
        let (mut chunks, mut job) = (Chunks::new(2, 2), Job::default());
        let all = [chunks.open(JobId(0), &mut job, one_item(0)), chunks.open(JobId(0), &mut job, one_item(1))];
        assert!(!chunks.has_room_for(0));
        chunks.close_all();
        assert_eq!(chunks.published(), 0);
        assert!(all.iter().all(|&chunk| chunks.assignment(chunk).is_none()));
    }
}
