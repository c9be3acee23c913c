//! Owns what a worker's end means for the items it held: which are done, which is run again or fails, which go back.
//! Never starts or stops a worker.

use crate::chunks::Assignment;
use crate::command::Command;
use crate::event::{Held, Trouble};
use crate::ids::WorkerId;
use crate::jobs::Range;
use crate::scheduler::Scheduler;

impl Scheduler {
    /// Settles one of the chunks that a worker held when it was gone. An old assignment is refused like any late answer.
    ///
    /// Items before `held.finished` are done; the next `held.running` were running; the rest were never begun, and go
    /// back as they were. Each item that ran becomes a range of its own, so that a chunk of many items is always begun
    /// for the first time, and its attempt number is that of each of its items.
    ///
    /// Nothing is published before all that the worker held is settled and its exit is told, so that what goes back goes
    /// out in order.
    pub(crate) fn on_chunk_lost(&mut self, worker: WorkerId, held: Held, commands: &mut Vec<Command>) {
        let Held { chunk, finished, running } = held;
        self.seats.note_loss(worker, finished + running > 0);
        let Some(Assignment { job: number, first, count, attempt, .. }) = self.chunks.assignment(chunk) else {
            return;
        };
        debug_assert!(attempt == 0 || count == 1, "an item that was lost is not alone in its chunk");
        assert!(finished <= count, "{finished} items of a chunk of {count} are said to be finished");
        assert!(running <= count - finished, "{running} items of a chunk of {count} are said to run, and be finished");
        let watch = self.chunks.watch(chunk.index).copied();
        let is_outgrown = self.seats.is_outgrown(worker);
        let job = self.jobs.job(number);
        job.note_begun();
        let again = self.chunks.close(chunk, job);
        self.purse.take_back(chunk.index, &mut self.backlog);
        if job.ending().is_some() {
            self.end_if_over(number, commands);
            return;
        }
        let ran = first + finished..first + finished + running;
        let rest = Range { first: ran.end, count: first + count - ran.end, attempt };
        if rest.count > 0 {
            self.put_back(number, rest);
        }
        let mut failed = 0;
        for item in ran {
            let trouble = match watch.map(|watch| watch.trouble_of(item - first)) {
                Some(Trouble::Overran) => Trouble::Overran,
                _ if is_outgrown => Trouble::Outgrew,
                _ => Trouble::Died,
            };
            if self.is_tried_again(number, attempt, trouble) {
                self.run_again(number, item, attempt, trouble);
            } else {
                commands.push(Command::FailItem { job: number, item, worker, attempt, trouble });
                failed += 1;
            }
        }
        self.count_failures(number, failed, commands);
        if self.jobs.is_live(number) {
            self.end_items(number, finished - again + failed, commands);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Breakage, JobEnd};
    use crate::event::{Sizing, WorkerExit};
    use crate::ids::JobId;
    use crate::rehearsal::{Rehearsal, complete, publish, publish_again, start};

    fn fail(job: u32, item: u32, worker: u16, attempt: u16) -> Command {
        Command::FailItem { job: JobId(job), item, worker: WorkerId(worker), attempt, trouble: Trouble::Died }
    }

    #[test]
    fn lost_worker_returns_its_untouched_items_to_the_front() {
        let mut pool = Rehearsal::open(2, 2);
        pool.submit(0, 12, 4);
        assert_eq!(
            pool.lose(0, WorkerExit::Died, (0, 0), 1),
            [fail(0, 1, 0, 0), start(0), publish((0, 1), 0, 2, 2)],
            "items 2 and 3 go out before items 8 to 11"
        );
        assert_eq!(pool.finish((1, 0)), [publish((1, 1), 0, 8, 4)]);
        pool.finish((0, 1));
        assert_eq!(pool.finish((1, 1)), [complete(0)]);
    }

    #[test]
    fn lost_item_is_run_again_alone_until_its_retries_are_used_up() {
        let mut pool = Rehearsal::open(1, 4);
        pool.submit_sized(0, 3, Sizing::Fixed(3), 1);
        assert_eq!(
            pool.lose(0, WorkerExit::Died, (0, 0), 0),
            [start(0), publish_again((0, 1), 0, 0, 1), publish((1, 0), 0, 1, 2)]
        );
        assert_eq!(pool.lose(0, WorkerExit::Died, (0, 1), 0), [fail(0, 0, 0, 1), start(0)]);
        assert_eq!(pool.finish((1, 0)), [complete(0)]);
    }

    #[test]
    fn worker_lost_after_its_last_item_loses_nothing() {
        let mut pool = Rehearsal::open(1, 4);
        pool.submit(0, 3, 3);
        assert_eq!(pool.lose(0, WorkerExit::Died, (0, 0), 3), [complete(0), start(0)]);
    }

    #[test]
    fn worker_lost_with_many_chunks_loses_the_item_that_ran_of_each() {
        let mut pool = Rehearsal::open(1, 4);
        pool.submit(0, 4, 2);
        pool.submit(1, 2, 2);
        pool.submit(2, 2, 1);
        assert_eq!(pool.lose_chunk(0, (1, 0), (0, 1)), [fail(0, 2, 0, 0)]);
        assert_eq!(pool.lose_chunk(0, (0, 0), (1, 1)), [fail(0, 1, 0, 0)]);
        assert_eq!(pool.lose_chunk(0, (2, 0), (1, 1)), [fail(1, 1, 0, 0), complete(1)]);
        assert_eq!(
            pool.exit(0, WorkerExit::Died),
            [start(0), publish((2, 1), 0, 3, 1), publish((0, 1), 2, 1, 1)],
            "in order, though it was lost in another"
        );
    }

    #[test]
    fn chunk_that_was_claimed_and_not_begun_goes_back_as_it_was() {
        let mut pool = Rehearsal::open(1, 4);
        pool.submit_sized(0, 2, Sizing::Fixed(2), 1);
        pool.lose(0, WorkerExit::Died, (0, 0), 0);
        assert_eq!(pool.lose_chunk(0, (0, 1), (0, 0)), []);
        assert_eq!(pool.lose_chunk(0, (1, 0), (0, 0)), []);
        assert_eq!(
            pool.exit(0, WorkerExit::Died),
            [start(0), publish_again((1, 1), 0, 0, 1), publish((0, 2), 0, 1, 1)]
        );
        assert_eq!(pool.cancel(0), []);
    }

    #[test]
    fn worker_lost_with_items_side_by_side_loses_each_of_them() {
        let mut pool = Rehearsal::open(1, 4);
        pool.submit_sized(0, 4, Sizing::Fixed(4), 1);
        assert_eq!(pool.lose_chunk(0, (0, 0), (1, 3)), []);
        let again = [((0, 1), 1), ((1, 0), 2), ((2, 0), 3)].map(|(id, item)| publish_again(id, 0, item, 1));
        assert_eq!(pool.exit(0, WorkerExit::Died), [vec![start(0)], again.to_vec()].concat());
        assert_eq!(pool.lose_chunk(0, (1, 0), (0, 1)), [fail(0, 2, 0, 1)]);
        pool.finish((0, 1));
        assert_eq!(pool.finish((2, 0)), [complete(0)]);
    }

    #[test]
    fn answer_that_comes_after_the_loss_is_refused() {
        let mut pool = Rehearsal::open(1, 4);
        pool.submit_sized(0, 1, Sizing::Fixed(1), 5);
        pool.lose(0, WorkerExit::Died, (0, 0), 0);
        assert_eq!(pool.finish((0, 0)), []);
        assert_eq!(pool.lose(0, WorkerExit::Died, (0, 0), 0), [start(0)]);
        assert_eq!(pool.finish((0, 1)), [complete(0)]);
    }

    #[test]
    fn retired_and_stopped_workers_are_treated_alike_when_they_hold_something() {
        for exit in [WorkerExit::Retired, WorkerExit::Stopped] {
            let mut pool = Rehearsal::open(1, 4);
            pool.submit(0, 2, 2);
            assert_eq!(pool.lose(0, exit, (0, 0), 0), [fail(0, 0, 0, 0), start(0), publish((0, 1), 0, 1, 1)]);
        }
    }

    #[test]
    fn failed_start_that_held_something_settles_it_before_the_pool_breaks() {
        let mut pool = Rehearsal::open(1, 4);
        pool.submit(0, 2, 2);
        assert_eq!(
            pool.lose(0, WorkerExit::FailedToStart, (0, 0), 1),
            [fail(0, 1, 0, 0), complete(0), Command::BreakPool { why: Breakage::StartFailed }, Command::EndPool,]
        );
    }

    #[test]
    fn failed_start_abandons_what_is_left() {
        let mut pool = Rehearsal::open(1, 4);
        pool.submit(0, 2, 2);
        assert_eq!(
            pool.exit(0, WorkerExit::FailedToStart),
            [
                Command::BreakPool { why: Breakage::StartFailed },
                Command::FinishJob { job: JobId(0), end: JobEnd::Abandoned },
                Command::EndPool,
            ]
        );
    }
}
