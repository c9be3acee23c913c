//! Owns the cancelling of a job: all of it, or nothing. Never takes a chunk from a worker.
//!
//! A job may be cancelled as long as no worker has claimed any of it, and only the task table knows whether one has.
//! So the core asks for the job's chunks back, publishes nothing of it meanwhile, and decides by the answers: if every
//! chunk was withdrawn the job ends as cancelled; as soon as one is known to be claimed, the cancel is off and the
//! withdrawn items go out again, first of all, in their order.
//!
//! What waits to be run again counts as not claimed, when that is all that is left of the job.
//!
//! A pool that is closed may have all its jobs cancelled that can be.

use crate::command::{Command, JobEnd};
use crate::ids::{ChunkId, JobId};
use crate::jobs::{Progress, Range};
use crate::scheduler::Scheduler;

impl Scheduler {
    /// A job that has ended stays as it is; so does one that has begun, or is being decided about, unless what runs of it
    /// is to be stopped.
    pub(crate) fn on_cancel_requested(&mut self, number: JobId, stops_running: bool, commands: &mut Vec<Command>) {
        if !self.jobs.is_live(number) {
            return;
        }
        let job = self.jobs.job(number);
        if stops_running {
            self.end_early(number, JobEnd::Cancelled, commands);
        } else if job.progress == Progress::Untouched {
            self.begin_cancel(number, commands);
        } else {
            return;
        }
        self.dispatch(commands);
    }

    /// Cancels every job of which nothing has begun. All of them are marked before anything more is published, or one
    /// would make room for the next.
    pub(crate) fn cancel_waiting(&mut self, commands: &mut Vec<Command>) {
        for number in self.jobs.untouched() {
            self.begin_cancel(number, commands);
        }
        self.dispatch(commands);
    }

    fn begin_cancel(&mut self, number: JobId, commands: &mut Vec<Command>) {
        let job = self.jobs.job(number);
        if job.chunks_out == 0 {
            self.end_early(number, JobEnd::Cancelled, commands);
        } else {
            job.progress = Progress::Cancelling;
            self.chunks.ask_back(job, |chunk| commands.push(Command::Withdraw { chunk }));
        }
    }

    pub(crate) fn on_chunk_withdrawn(&mut self, chunk: ChunkId, commands: &mut Vec<Command>) {
        let Some(assignment) = self.chunks.assignment(chunk) else {
            return;
        };
        assert!(self.chunks.is_asked_back(chunk), "a chunk was withdrawn that nobody asked for");
        let number = assignment.job;
        let job = self.jobs.job(number);
        self.chunks.take_back(chunk, job);
        self.purse.take_back(chunk.index, &mut self.backlog);
        if job.ending().is_some() {
            self.end_if_over(number, commands);
            return self.dispatch(commands);
        }
        let is_decided = job.progress == Progress::Cancelling && job.chunks_out == 0;
        let range = Range { first: assignment.first, count: assignment.count, attempt: assignment.attempt };
        self.put_back(number, range);
        if is_decided {
            self.end_early(number, JobEnd::Cancelled, commands);
        } else {
            self.let_rest(number, commands);
        }
        self.dispatch(commands);
    }

    /// Notes that all that is left of a job may wait to be run again. If nothing is to be any more, the job is cancelled.
    pub(crate) fn let_rest(&mut self, number: JobId, commands: &mut Vec<Command>) {
        if self.jobs.job(number).note_rest() && self.again.is_over() {
            self.end_early(number, JobEnd::Cancelled, commands);
        }
    }

    pub(crate) fn on_chunk_kept(&mut self, chunk: ChunkId, commands: &mut Vec<Command>) {
        let Some(assignment) = self.chunks.assignment(chunk) else {
            return;
        };
        self.jobs.job(assignment.job).note_begun();
        self.chunks.keep(chunk);
        if self.is_being_cancelled(assignment.job) {
            self.look_at(chunk);
        }
        self.dispatch(commands);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::WorkerExit;
    use crate::rehearsal::{Rehearsal, cancelled, chunk, complete, publish, start};

    fn withdraw(id: (u32, u32)) -> Command {
        Command::Withdraw { chunk: chunk(id) }
    }

    #[test]
    fn job_that_only_waits_is_cancelled_at_once() {
        let mut pool = Rehearsal::open(1, 1);
        pool.submit(0, 1, 1);
        pool.submit(1, 5, 1);
        pool.submit(2, 1, 1);
        assert_eq!(pool.cancel(1), [cancelled(1)]);
        assert_eq!(pool.scheduler.waiting_items(), 1);
        assert_eq!(pool.finish((0, 0)), [complete(0), publish((0, 1), 2, 0, 1)]);
    }

    #[test]
    fn job_is_cancelled_when_every_chunk_came_back() {
        let mut pool = Rehearsal::open(1, 2);
        pool.submit(0, 3, 1);
        pool.submit(1, 1, 1);
        assert_eq!(pool.cancel(0), [withdraw((1, 0)), withdraw((0, 0))]);
        assert_eq!(pool.cancel(0), [], "a second request changes nothing");
        assert_eq!(pool.withdrawn((1, 0)), [], "nothing is published while it is decided");
        assert_eq!(pool.withdrawn((0, 0)), [cancelled(0), publish((0, 1), 1, 0, 1)]);
        assert_eq!(pool.withdrawn((0, 0)), []);
        assert_eq!(pool.scheduler.waiting_items(), 0);
    }

    #[test]
    fn kept_chunk_calls_the_cancel_off_and_withdrawn_items_go_out_again_in_order() {
        let mut pool = Rehearsal::open(1, 3);
        pool.submit(0, 5, 1);
        assert_eq!(pool.cancel(0).len(), 3);
        assert_eq!(pool.withdrawn((2, 0)), []);
        assert_eq!(pool.kept((0, 0)), [publish((2, 1), 0, 2, 1)]);
        assert_eq!(pool.withdrawn((1, 0)), [publish((1, 1), 0, 1, 1)]);
        assert_eq!(pool.cancel(0), [], "what has begun cannot be cancelled");
        assert_eq!(pool.finish((0, 0)), [publish((0, 1), 0, 3, 1)]);
    }

    #[test]
    fn chunk_finished_before_the_answer_calls_the_cancel_off() {
        let mut pool = Rehearsal::open(1, 2);
        pool.submit(0, 2, 1);
        pool.cancel(0);
        assert_eq!(pool.finish((0, 0)), []);
        assert_eq!(pool.kept((0, 0)), []);
        assert_eq!(pool.withdrawn((1, 0)), [publish((1, 1), 0, 1, 1)]);
        assert_eq!(pool.finish((1, 1)), [complete(0)]);
    }

    #[test]
    fn chunk_held_at_a_death_calls_the_cancel_off() {
        let mut pool = Rehearsal::open(1, 2);
        pool.submit(0, 4, 2);
        pool.cancel(0);
        assert_eq!(pool.withdrawn((1, 0)), []);
        let answer = pool.lose(0, WorkerExit::Died, (0, 0), 0);
        assert_eq!(answer[1..], [start(0), publish((0, 1), 0, 1, 1), publish((1, 1), 0, 2, 2)]);
        assert_eq!(pool.kept((0, 0)), []);
    }

    #[test]
    fn request_for_a_job_that_has_ended_changes_nothing() {
        let mut pool = Rehearsal::open(1, 2);
        pool.submit(0, 1, 1);
        pool.finish((0, 0));
        assert_eq!(pool.cancel(0), []);
        assert_eq!(pool.cancel(9), []);
    }
}
