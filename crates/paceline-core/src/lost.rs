//! Owns what a worker's end means for the items it held: which are done, which is run again or fails, which go back.
//! Never starts or stops a worker.

use crate::chunks::Assignment;
use crate::command::Command;
use crate::event::Held;
use crate::ids::WorkerId;
use crate::jobs::{Progress, Range};
use crate::scheduler::Scheduler;

impl Scheduler {
    /// Settles the chunk that a worker held when it was gone. An old assignment is refused like any late answer.
    ///
    /// Items before `held.finished` are done; the next one was running; the rest were never begun. The item that ran
    /// becomes a range of its own, so that a chunk of many items is always begun for the first time, and its attempt
    /// number is that of each of its items.
    pub(crate) fn settle_held(&mut self, worker: WorkerId, held: Held, commands: &mut Vec<Command>) {
        let Some(Assignment { job: number, first, count, attempt }) = self.chunks.assignment(held.chunk) else {
            return;
        };
        let Held { chunk, finished } = held;
        debug_assert!(attempt == 0 || count == 1, "an item that was lost is not alone in its chunk");
        assert!(finished <= count, "{finished} items of a chunk of {count} are said to be finished");
        let job = self.jobs.job(number);
        job.progress = Progress::Begun;
        let retries = job.retries;
        self.chunks.close(chunk, job);
        let mut ended = finished;
        if finished < count {
            let item = first + finished;
            let rest = Range { first: item + 1, count: count - finished - 1, attempt: 0 };
            if rest.count > 0 {
                self.put_back(number, rest);
            }
            if attempt < retries {
                self.put_back(number, Range { first: item, count: 1, attempt: attempt + 1 });
            } else {
                commands.push(Command::FailItem { job: number, item, worker, attempt });
                ended += 1;
            }
        }
        if ended > 0 {
            self.end_items(number, ended, commands);
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
        Command::FailItem { job: JobId(job), item, worker: WorkerId(worker), attempt }
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
