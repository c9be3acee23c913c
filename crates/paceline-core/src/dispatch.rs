//! Owns the publishing of waiting items: which go into the task table next, and how many at a time. Never takes
//! anything out of the table.

use crate::backlog::Entry;
use crate::command::Command;
use crate::ids::{ChunkId, JobId};
use crate::jobs::{Progress, Range};
use crate::scheduler::Scheduler;

impl Scheduler {
    /// Fills the table from the front of the backlog.
    ///
    /// Order is strict, from the most urgent job on and by age within a priority: when the first must not go on (it has
    /// as many chunks out as it may have, or its cancel is being decided), those behind it wait with it. Both end by
    /// themselves: a chunk ends, the engine answers. A more urgent job that comes meanwhile stands before it. Only one for
    /// which there are no tokens steps aside.
    pub(crate) fn dispatch(&mut self, commands: &mut Vec<Command>) {
        if self.again.is_anything_alone() && !self.dispatch_alone(commands) {
            return;
        }
        while let Some(entry @ Entry { place, priority, job: number }) = self.backlog.front() {
            let overtakes = self.chunks.has_less_urgent_than(priority);
            if !overtakes && !self.chunks.has_room_for(priority) {
                return;
            }
            let Some(job) = self.jobs.job_at(number, place).filter(|job| job.waiting > 0) else {
                self.backlog.drop_front();
                continue;
            };
            let tokens = job.terms.tokens;
            if !tokens.is_empty() && !self.purse.may_give(entry, &tokens) {
                self.backlog.drop_front();
                self.purse.set_aside(entry, tokens);
                continue;
            }
            if job.progress == Progress::Cancelling || job.chunks_out >= job.most_chunks_out(self.workers) {
                return;
            }
            if overtakes {
                self.overtake(priority, commands);
                continue;
            }
            let range = job.carve(self.workers);
            if job.waiting == 0 {
                job.is_queued = false;
                self.backlog.drop_front();
            }
            self.backlog.remove_items(range.count);
            self.publish(number, range, commands);
        }
    }

    /// Publishes items for which there is room, and tokens.
    pub(crate) fn publish(&mut self, number: JobId, range: Range, commands: &mut Vec<Command>) -> ChunkId {
        let job = self.jobs.job(number);
        let chunk = self.chunks.open(number, job, range);
        self.limits.note_published(self.now, job.terms.timeout_ns);
        let tokens = &job.terms.tokens;
        let devices = if tokens.is_empty() { 0 } else { self.purse.give(chunk.index, tokens) };
        let Range { first, count, attempt } = range;
        commands.push(Command::Publish { chunk, job: number, first, count, attempt, devices });
        chunk
    }

    /// Puts items that were published back into the backlog, before everything younger of their priority.
    pub(crate) fn put_back(&mut self, number: JobId, range: Range) {
        let job = self.jobs.job(number);
        job.put_back(range);
        self.backlog.add_items(range.count);
        if !job.is_queued {
            job.is_queued = true;
            self.backlog.enter(Entry { place: job.place, priority: job.terms.priority, job: number });
        }
    }
}
