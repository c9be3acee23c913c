//! Owns what a submission means: the job takes its place in the backlog, behind all that are as urgent. Never refuses one: a pool that
//! takes no more jobs is the engine's to tell the user.

use crate::backlog::Entry;
use crate::command::{Command, JobEnd};
use crate::event::{Sizing, Terms};
use crate::ids::JobId;
use crate::scheduler::Scheduler;

impl Scheduler {
    pub(crate) fn on_job_submitted(
        &mut self,
        number: JobId,
        items: u32,
        sizing: Sizing,
        terms: Terms,
        commands: &mut Vec<Command>,
    ) {
        assert!(self.is_accepting(), "job {} is submitted to a pool that takes no jobs ({:?})", number.0, self.phase);
        assert!(!self.jobs.is_live(number), "job {} is submitted though its number is in use", number.0);
        assert!(self.purse.could_give(&terms.tokens), "job {} wants more tokens than the pool has", number.0);
        if items == 0 {
            commands.push(Command::FinishJob { job: number, end: JobEnd::Complete });
            return;
        }
        let job = self.jobs.admit(number, items, sizing, terms);
        job.is_queued = true;
        self.backlog.enter(Entry { place: job.place, priority: job.terms.priority, job: number });
        self.backlog.add_items(items);
        self.dispatch(commands);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{Rehearsal, publish};

    #[test]
    fn job_without_items_ends_at_once() {
        let mut pool = Rehearsal::open(2, 4);
        assert_eq!(pool.submit(0, 0, 1), [Command::FinishJob { job: JobId(0), end: JobEnd::Complete }]);
        assert_eq!(pool.scheduler.unfinished_jobs(), 0);
    }

    #[test]
    fn jobs_go_out_in_the_order_of_submission_as_far_as_there_is_room() {
        let mut pool = Rehearsal::open(2, 3);
        assert_eq!(pool.submit(7, 4, 2), [publish((0, 0), 7, 0, 2), publish((1, 0), 7, 2, 2)]);
        assert_eq!(pool.submit(3, 4, 2), [publish((2, 0), 3, 0, 2)]);
        assert_eq!(pool.submit(1, 1, 2), []);
        assert_eq!(pool.scheduler.waiting_items(), 3);
        assert_eq!(pool.finish((1, 0)), [publish((1, 1), 3, 2, 2)]);
        assert_eq!(pool.finish((1, 1)), [publish((1, 2), 1, 0, 1)]);
        assert!(!pool.scheduler.has_backlog());
    }

    #[test]
    #[should_panic(expected = "its number is in use")]
    fn number_in_use_is_refused_loudly() {
        let mut pool = Rehearsal::open(1, 4);
        pool.submit(0, 1, 1);
        pool.submit(0, 1, 1);
    }
}
