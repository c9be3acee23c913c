//! Owns the good end: a chunk whose items all have outcomes, and the job whose last item has one. Never deals with
//! items that were lost.

use crate::command::{Command, JobEnd};
use crate::ids::{ChunkId, JobId};
use crate::scheduler::Scheduler;

impl Scheduler {
    pub(crate) fn on_chunk_finished(&mut self, chunk: ChunkId, busy_ns: u64, commands: &mut Vec<Command>) {
        let Some(assignment) = self.chunks.assignment(chunk) else {
            return;
        };
        let job = self.jobs.job(assignment.job);
        job.pace.note(assignment.count, busy_ns);
        job.note_begun();
        let again = self.chunks.close(chunk, job);
        self.purse.take_back(chunk.index, &mut self.backlog);
        self.seats.note_progress();
        self.end_items(assignment.job, assignment.count - again, commands);
        self.dispatch(commands);
    }

    /// Counts items that have an outcome now, and ends the job with its last; or with its last chunk, if it is to end
    /// early.
    pub(crate) fn end_items(&mut self, number: JobId, items: u32, commands: &mut Vec<Command>) {
        let job = self.jobs.job(number);
        job.unended -= items;
        if job.ending().is_some() {
            self.end_if_over(number, commands);
        } else if job.unended == 0 {
            debug_assert!(job.waiting == 0 && job.chunks_out == 0, "a complete job has items that wait or run");
            self.end_job(number, JobEnd::Complete, commands);
        } else {
            self.let_rest(number, commands);
        }
    }

    /// Ends a job that has nothing in the table any more.
    pub(crate) fn end_job(&mut self, number: JobId, end: JobEnd, commands: &mut Vec<Command>) {
        self.jobs.dismiss(number);
        commands.push(Command::FinishJob { job: number, end });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Sizing;
    use crate::rehearsal::{Rehearsal, complete, publish};

    #[test]
    fn job_ends_with_its_last_item_whatever_the_order() {
        let mut pool = Rehearsal::open(2, 8);
        pool.submit(0, 3, 1);
        assert_eq!(pool.finish((2, 0)), []);
        assert_eq!(pool.finish((0, 0)), []);
        assert_eq!(pool.finish((1, 0)), [complete(0)]);
        assert_eq!(pool.scheduler.published_chunks(), 0);
    }

    #[test]
    fn answer_to_an_old_assignment_changes_nothing() {
        let mut pool = Rehearsal::open(1, 1);
        pool.submit(0, 2, 1);
        assert_eq!(pool.finish((0, 0)), [publish((0, 1), 0, 1, 1)]);
        assert_eq!(pool.finish((0, 0)), []);
        assert_eq!(pool.finish((9, 0)), []);
        assert_eq!(pool.scheduler.unfinished_jobs(), 1);
        assert_eq!(pool.finish((0, 1)), [complete(0)]);
    }

    #[test]
    fn number_of_a_job_that_ended_may_be_used_again() {
        let mut pool = Rehearsal::open(1, 2);
        pool.submit(0, 1, 1);
        pool.finish((0, 0));
        assert_eq!(pool.submit(0, 1, 1), [publish((0, 1), 0, 0, 1)]);
        assert_eq!(pool.finish((0, 1)), [complete(0)]);
    }

    #[test]
    fn measured_job_probes_with_single_items_then_grows_and_keeps_two_chunks_a_worker() {
        let mut pool = Rehearsal::open(2, 64);
        let probes = pool.submit_sized(0, 10_000, Sizing::Measured, 0);
        assert_eq!(probes.len(), 4);
        assert!(probes.iter().all(|command| matches!(command, Command::Publish { count: 1, .. })));
        assert_eq!(pool.submit(1, 1, 1), [], "a younger job waits for the measured one");
        let next = pool.finish_after((0, 0), 1_000);
        assert_eq!(next, [publish((0, 1), 0, 4, 64)]);
    }
}
