//! Owns the ends of a job that come before its last outcome: what runs is to be stopped with the rest, or too many items
//! have failed. Never ends a job while anything of it is out.
//!
//! What waits is dropped, what lies in the table is asked back. What a worker has cannot be asked back; of a job that is
//! cancelled it is stopped (`limits`), of one that is given up it is left to finish. The job ends with the last of it.

use crate::backlog::Entry;
use crate::chunks::Assignment;
use crate::command::{Command, JobEnd};
use crate::event::Trouble;
use crate::ids::{ChunkId, JobId};
use crate::jobs::Progress;
use crate::scheduler::Scheduler;

impl Scheduler {
    /// Whether a job has not ended yet, and will as cancelled.
    #[must_use]
    pub fn is_being_cancelled(&self, number: JobId) -> bool {
        self.jobs.ending(number) == Some(JobEnd::Cancelled)
    }

    /// Ends a job in this way as soon as nothing of it is out. One that is given up may still be cancelled: what runs of
    /// it is stopped then, not waited for.
    pub(crate) fn end_early(&mut self, number: JobId, end: JobEnd, commands: &mut Vec<Command>) {
        let job = self.jobs.job(number);
        if job.ending().is_some_and(|earlier| earlier == JobEnd::Cancelled || earlier == end) {
            return;
        }
        job.progress = Progress::Ending(end);
        let dropped = job.drop_waiting();
        self.backlog.remove_items(dropped);
        let entry = Entry { place: job.place, priority: job.terms.priority, job: number };
        self.purse.forget(entry, &job.terms.tokens, &mut self.backlog);
        self.again.drop_job(number);
        if self.end_if_over(number, commands) {
            return;
        }
        let (asked, claimed) = self.chunks.ask_back_all_of(number);
        commands.extend(asked.into_iter().map(|chunk| Command::Withdraw { chunk }));
        if end == JobEnd::Cancelled {
            for chunk in claimed {
                self.look_at(chunk);
            }
        }
    }

    /// Ends a job that is to end early, if nothing of it is out any more; whether it did.
    pub(crate) fn end_if_over(&mut self, number: JobId, commands: &mut Vec<Command>) -> bool {
        let job = self.jobs.job(number);
        match job.ending() {
            Some(end) if job.chunks_out == 0 => {
                self.end_job(number, end, commands);
                true
            }
            _ => false,
        }
    }

    pub(crate) fn on_item_failed(&mut self, chunk: ChunkId, item: u32, trouble: Trouble, commands: &mut Vec<Command>) {
        let Some(Assignment { job: number, attempt, .. }) = self.chunks.assignment(chunk) else {
            return;
        };
        self.jobs.job(number).note_begun();
        if self.is_tried_again(number, attempt, trouble) {
            commands.push(Command::ForgetItem { job: number, item });
            self.chunks.note_again(chunk);
            self.run_again(number, item, attempt, trouble);
        } else {
            self.count_failures(number, 1, commands);
        }
    }

    /// Counts items that have failed for good; with too many, the rest of the job is given up.
    pub(crate) fn count_failures(&mut self, number: JobId, count: u32, commands: &mut Vec<Command>) {
        let job = self.jobs.job(number);
        job.failures = job.failures.saturating_add(count);
        if job.failures > job.terms.most_failures {
            self.end_early(number, JobEnd::GivenUp, commands);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::StopCause;
    use crate::event::{Event, Sizing, Terms, WorkerExit};
    use crate::ids::{Moment, WorkerId};
    use crate::rehearsal::{Rehearsal, cancelled, chunk, complete, publish, start};

    fn withdraw(id: (u32, u32)) -> Command {
        Command::Withdraw { chunk: chunk(id) }
    }

    fn stop_all(pool: &mut Rehearsal, job: u32) -> Vec<Command> {
        pool.tell(Event::CancelRequested { job: JobId(job), stops_running: true })
    }

    fn given_up(job: u32) -> Command {
        Command::FinishJob { job: JobId(job), end: JobEnd::GivenUp }
    }

    #[test]
    fn running_job_is_stopped_and_then_cancelled() {
        let mut pool = Rehearsal::open(1, 2);
        pool.submit(0, 5, 2);
        pool.submit(1, 1, 1);
        assert_eq!(stop_all(&mut pool, 0), [withdraw((0, 0)), withdraw((1, 0))]);
        assert!(pool.scheduler.is_being_cancelled(JobId(0)));
        assert_eq!(pool.kept((0, 0)), []);
        assert_eq!(pool.withdrawn((1, 0)), [publish((1, 1), 1, 0, 1)], "what waits of it goes nowhere");
        assert_eq!(pool.scheduler.next_look(), Some(Moment(0)), "at once");
        let sighted = Event::ChunkSighted { chunk: chunk((0, 0)), worker: WorkerId(0), finished: 1, began: Moment(0) };
        let (worker, chunk, item) = (WorkerId(0), chunk((0, 0)), 1);
        assert_eq!(pool.tell(sighted), [Command::StopItem { worker, chunk, item, cause: StopCause::Cancelled }]);
        assert_eq!(pool.tell(sighted), [Command::EndItem { worker, chunk, item }], "it was given no grace");
        assert_eq!(stop_all(&mut pool, 0), [], "a second request changes nothing");
        assert_eq!(pool.lose(0, WorkerExit::Died, (0, 0), 1), [cancelled(0), start(0)]);
    }

    #[test]
    fn job_whose_last_chunk_ends_first_is_cancelled_all_the_same() {
        let mut pool = Rehearsal::open(1, 2);
        pool.submit(0, 1, 1);
        assert_eq!(stop_all(&mut pool, 0), [withdraw((0, 0))]);
        assert_eq!(pool.finish((0, 0)), [cancelled(0)]);
        assert_eq!(pool.kept((0, 0)), []);
    }

    #[test]
    fn job_that_only_waits_is_cancelled_at_once_with_or_without_stopping() {
        let mut pool = Rehearsal::open(1, 1);
        pool.submit(0, 1, 1);
        pool.submit(1, 3, 1);
        assert_eq!(stop_all(&mut pool, 1), [cancelled(1)]);
        assert_eq!(pool.scheduler.waiting_items(), 0);
    }

    #[test]
    fn job_with_too_many_failures_is_given_up_when_what_runs_has_ended() {
        let mut pool = Rehearsal::open(2, 2);
        let terms = Terms { most_failures: 1, ..Terms::default() };
        pool.tell(Event::JobSubmitted { job: JobId(0), items: 9, sizing: Sizing::Fixed(1), terms });
        for (index, item) in [(0, 0), (1, 1)] {
            let failed = Event::ItemFailed { chunk: chunk((index, 0)), item, trouble: Trouble::Failed };
            // Its own chunk is asked for as well: that it is finished is told only next.
            let asked = if item == 0 { vec![] } else { vec![withdraw((0, 1)), withdraw((1, 0))] };
            assert_eq!(pool.tell(failed), asked);
            let published = if item == 0 { vec![publish((0, 1), 0, 2, 1)] } else { vec![] };
            assert_eq!(pool.finish((index, 0)), published);
        }
        assert_eq!(pool.kept((0, 1)), []);
        assert_eq!(pool.scheduler.next_look(), None, "what runs is left to finish");
        assert_eq!(pool.finish((0, 1)), [given_up(0)]);
    }

    #[test]
    fn job_that_is_given_up_can_be_stopped() {
        let mut pool = Rehearsal::open(2, 2);
        let terms = Terms { most_failures: 0, ..Terms::default() };
        pool.tell(Event::JobSubmitted { job: JobId(0), items: 2, sizing: Sizing::Fixed(1), terms });
        pool.tell(Event::ItemFailed { chunk: chunk((0, 0)), item: 0, trouble: Trouble::Failed });
        assert_eq!(pool.finish((0, 0)), []);
        assert_eq!(pool.kept((1, 0)), []);
        assert_eq!(stop_all(&mut pool, 0), [], "its chunk is known to be with a worker");
        assert_eq!(pool.scheduler.next_look(), Some(Moment(0)));
        let (worker, chunk, item) = (WorkerId(0), chunk((1, 0)), 1);
        let stop = Command::StopItem { worker, chunk, item, cause: StopCause::Cancelled };
        assert_eq!(pool.tell(Event::ChunkSighted { chunk, worker, finished: 0, began: Moment(0) }), [stop]);
        assert_eq!(pool.finish((1, 0)), [cancelled(0)]);
    }

    #[test]
    fn deaths_count_as_failures() {
        let mut pool = Rehearsal::open(1, 4);
        let terms = Terms { most_failures: 0, ..Terms::default() };
        pool.tell(Event::JobSubmitted { job: JobId(0), items: 4, sizing: Sizing::Fixed(2), terms });
        let answer = pool.lose(0, WorkerExit::Died, (0, 0), 0);
        assert_eq!(answer[1..], [withdraw((1, 0)), start(0)]);
        assert_eq!(pool.withdrawn((1, 0)), [given_up(0)]);
    }

    #[test]
    fn cancel_that_was_being_decided_becomes_a_stop() {
        let mut pool = Rehearsal::open(1, 2);
        pool.submit(0, 1, 1);
        assert_eq!(pool.cancel(0), [withdraw((0, 0))]);
        assert_eq!(stop_all(&mut pool, 0), []);
        assert_eq!(pool.kept((0, 0)), []);
        assert!(pool.scheduler.is_watched(chunk((0, 0))));
        assert_eq!(pool.finish((0, 0)), [cancelled(0)]);
        pool.submit(0, 1, 1);
        assert_eq!(pool.finish((0, 1)), [complete(0)]);
    }
}
