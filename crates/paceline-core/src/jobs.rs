//! Owns the jobs: their items, which of them wait, and how far each job has come. Never publishes or ends anything.
//!
//! The items of a job that wait are its fresh ones, `next..items`, and ranges that were published once and came back.
//! A job's slot is used again with its number, and keeps its memory, so that submitting allocates nothing once the
//! pool has been as full as it gets.

use crate::chunks::NO_CHUNK;
use crate::command::JobEnd;
use crate::event::{Sizing, Terms};
use crate::ids::JobId;
use crate::sizing::Pace;

/// Consecutive items of one job that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) first: u32,
    pub(crate) count: u32,
    /// How often the items have been begun before; more than zero only for a range of one item.
    pub(crate) attempt: u16,
}

impl Range {
    /// One item that is to be run again, having been begun so often.
    pub(crate) fn again(item: u32, attempt: u16) -> Self {
        Self { first: item, count: 1, attempt }
    }
}

/// How far a job has come, as far as a cancel is concerned. Only these changes are legal:
///
/// ```text
/// Untouched ── cancel requested, chunks out ──► Cancelling ── a chunk was kept, finished or held ──► Begun
///     └──────────────────────── a chunk was finished or held ─────────────────────────────────────────┘
///  any of them ── its running items are to be stopped as well, or too many have failed ──► Ending
///  Ending, given up ── its running items are to be stopped ──► Ending, cancelled
///  Begun ── nothing of it is out, and all that is left is to be run again ──► Untouched
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// As far as is known, no worker has claimed any of it; or all that is left of it waits to be run again.
    Untouched,
    /// Its chunks have been asked back; nothing more of it is published until that is decided.
    Cancelling,
    /// A worker has claimed some of it: it cannot be cancelled any more, unless what runs is stopped.
    Begun,
    /// Nothing more of it is published; it ends in this way when nothing of it is out any more.
    Ending(JobEnd),
}

/// One job.
#[derive(Debug)]
pub(crate) struct Job {
    /// Place in the order of submission, over all jobs of the pool.
    pub(crate) place: u64,
    /// Ranges that came back, the lowest last, so that the next to go out is taken from the end.
    returned: Vec<Range>,
    pub(crate) pace: Pace,
    sizing: Sizing,
    items: u32,
    next: u32,
    /// How many items have no outcome yet.
    pub(crate) unended: u32,
    /// How many items wait: fresh and returned.
    pub(crate) waiting: u32,
    pub(crate) chunks_out: u32,
    pub(crate) newest_chunk: u32,
    /// How many items have failed for good.
    pub(crate) failures: u32,
    pub(crate) terms: Terms,
    pub(crate) progress: Progress,
    /// Whether the backlog has an entry for it.
    pub(crate) is_queued: bool,
    is_live: bool,
}

impl Default for Job {
    fn default() -> Self {
        Self {
            place: 0,
            returned: Vec::new(),
            pace: Pace::default(),
            sizing: Sizing::Measured,
            items: 0,
            next: 0,
            unended: 0,
            waiting: 0,
            chunks_out: 0,
            newest_chunk: NO_CHUNK,
            failures: 0,
            terms: Terms::default(),
            progress: Progress::Untouched,
            is_queued: false,
            is_live: false,
        }
    }
}

impl Job {
    /// How many chunks it may have out at once. With measured sizes few, because a size is chosen when a chunk is
    /// published, and chunks that lie in the table cannot learn from those that end meanwhile: two for each worker is
    /// one to run and one to take next.
    pub(crate) fn most_chunks_out(&self, workers: u32) -> u32 {
        match self.sizing {
            Sizing::Fixed(_) => u32::MAX,
            Sizing::Measured => workers * 2,
        }
    }

    /// Takes the next range to be published from what waits: what came back first, lowest item first.
    pub(crate) fn carve(&mut self, workers: u32) -> Range {
        let most = match self.sizing {
            Sizing::Fixed(items) => items.max(1),
            Sizing::Measured => self.pace.chunk_items(self.waiting, workers),
        };
        let range = if let Some(lowest) = self.returned.last_mut() {
            let range = Range { count: lowest.count.min(most), ..*lowest };
            if range.count == lowest.count {
                self.returned.pop();
            } else {
                lowest.first += range.count;
                lowest.count -= range.count;
            }
            range
        } else {
            let range = Range { first: self.next, count: (self.items - self.next).min(most), attempt: 0 };
            self.next += range.count;
            range
        };
        debug_assert!(range.count > 0, "a job without waiting items was asked for some");
        self.waiting -= range.count;
        range
    }

    /// Notes that a worker has claimed some of it.
    pub(crate) fn note_begun(&mut self) {
        if !matches!(self.progress, Progress::Ending(_)) {
            self.progress = Progress::Begun;
        }
    }

    /// Forgets that a worker had some of it, if none has now and all that is left came to nothing before: it can be
    /// cancelled then, like a job that has not begun, however long it has to wait to be run again. Whether that is so.
    pub(crate) fn note_rest(&mut self) -> bool {
        let has_fresh = self.next < self.items || self.returned.iter().any(|range| range.attempt == 0);
        let rests = self.progress == Progress::Begun && self.chunks_out == 0 && self.unended > 0 && !has_fresh;
        if rests {
            self.progress = Progress::Untouched;
            // The links to what has been closed are not mended.
            self.newest_chunk = NO_CHUNK;
        }
        rests
    }

    /// How it is to end, if not when its last item has an outcome.
    pub(crate) fn ending(&self) -> Option<JobEnd> {
        match self.progress {
            Progress::Ending(end) => Some(end),
            Progress::Untouched | Progress::Cancelling | Progress::Begun => None,
        }
    }

    /// Lets go of all items that wait; how many these were.
    pub(crate) fn drop_waiting(&mut self) -> u32 {
        self.returned.clear();
        self.next = self.items;
        std::mem::take(&mut self.waiting)
    }

    /// Takes a range back that was published, keeping the order of items.
    pub(crate) fn put_back(&mut self, range: Range) {
        debug_assert!(range.first + range.count <= self.next, "items came back that were never published");
        let place = self.returned.partition_point(|other| other.first > range.first);
        self.returned.insert(place, range);
        self.waiting += range.count;
    }
}

/// All jobs, by number.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    slots: Vec<Job>,
    unfinished: u32,
    submitted: u64,
}

impl Jobs {
    pub(crate) fn unfinished(&self) -> u32 {
        self.unfinished
    }

    pub(crate) fn is_live(&self, number: JobId) -> bool {
        self.slots.get(number.0 as usize).is_some_and(|job| job.is_live)
    }

    /// The job of this number, which must not have ended.
    pub(crate) fn job(&mut self, number: JobId) -> &mut Job {
        let job = &mut self.slots[number.0 as usize];
        debug_assert!(job.is_live, "job {} has ended", number.0);
        job
    }

    /// The job of this number, if it is the one that was submitted at this place and has not ended.
    pub(crate) fn job_at(&mut self, number: JobId, place: u64) -> Option<&mut Job> {
        self.slots.get_mut(number.0 as usize).filter(|job| job.is_live && job.place == place)
    }

    /// How the job of this number is to end, if early.
    pub(crate) fn ending(&self, number: JobId) -> Option<JobEnd> {
        self.slots.get(number.0 as usize).filter(|job| job.is_live)?.ending()
    }

    /// Makes a slot the job of this number.
    pub(crate) fn admit(&mut self, number: JobId, items: u32, sizing: Sizing, terms: Terms) -> &mut Job {
        let index = number.0 as usize;
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, Job::default);
        }
        self.unfinished += 1;
        self.submitted += 1;
        let job = &mut self.slots[index];
        let mut returned = std::mem::take(&mut job.returned);
        returned.clear();
        *job = Job {
            place: self.submitted,
            returned,
            sizing,
            items,
            unended: items,
            waiting: items,
            terms,
            is_live: true,
            ..Job::default()
        };
        job
    }

    /// The numbers of all jobs of which no worker is known to have anything, and that are not being decided about.
    pub(crate) fn untouched(&self) -> Vec<JobId> {
        let all = (0..).zip(&self.slots);
        let untouched = all.filter(|(_, job)| job.is_live && job.progress == Progress::Untouched);
        untouched.map(|(number, _)| JobId(number)).collect()
    }

    /// Marks a job as ended; its number may be used again.
    pub(crate) fn dismiss(&mut self, number: JobId) {
        let job = &mut self.slots[number.0 as usize];
        debug_assert!(job.is_live, "job {} ends twice", number.0);
        job.is_live = false;
        self.unfinished -= 1;
    }

    /// Marks every job as ended, and hands out each, in the order of their numbers.
    pub(crate) fn dismiss_all(&mut self, mut each: impl FnMut(JobId)) {
        for (number, job) in (0..).zip(&mut self.slots) {
            if job.is_live {
                job.is_live = false;
                each(JobId(number));
            }
        }
        self.unfinished = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed(items: u32, size: u32) -> Job {
        let mut jobs = Jobs::default();
        jobs.admit(JobId(0), items, Sizing::Fixed(size), Terms::default());
        jobs.slots.remove(0)
    }

    fn carved(job: &mut Job) -> Vec<(u32, u32)> {
        let mut all = Vec::new();
        while job.waiting > 0 {
            let range = job.carve(1);
            all.push((range.first, range.count));
        }
        all
    }

    #[test]
    fn fixed_chunks_are_equal_and_the_last_may_be_shorter() {
        assert_eq!(carved(&mut fixed(7, 3)), [(0, 3), (3, 3), (6, 1)]);
        assert_eq!(carved(&mut fixed(2, 0)), [(0, 1), (1, 1)]);
    }

    #[test]
    fn ranges_that_came_back_go_out_first_in_the_order_of_items() {
        let mut job = fixed(10, 2);
        job.carve(1);
        job.carve(1);
        job.put_back(Range { first: 3, count: 1, attempt: 0 });
        job.put_back(Range { first: 0, count: 1, attempt: 1 });
        job.put_back(Range { first: 1, count: 2, attempt: 0 });
        assert_eq!(carved(&mut job), [(0, 1), (1, 2), (3, 1), (4, 2), (6, 2), (8, 2)]);
    }

    #[test]
    fn number_used_again_forgets_what_came_back_before() {
        let mut jobs = Jobs::default();
        let job = jobs.admit(JobId(3), 4, Sizing::Fixed(4), Terms::default());
        let range = job.carve(1);
        job.put_back(range);
        jobs.dismiss(JobId(3));
        let job = jobs.admit(JobId(3), 1, Sizing::Fixed(4), Terms::default());
        assert_eq!(carved(job), [(0, 1)]);
        assert_eq!(jobs.unfinished(), 1);
    }
}
