//! Owns what urgent items do to less urgent ones that are in the table already: they go first. Never takes a chunk from
//! a worker.
//!
//! Workers take what was published first, and the table is long: behind a thousand chunks, an urgent one would wait as
//! long as if it were not urgent. So before something is published, all that is less urgent and that no worker is known
//! to have is asked back; what no worker has claimed goes back to the backlog, to its old place, and follows the urgent
//! items as room allows. Nothing less urgent is published before each of these questions is answered, else it would go
//! out before its elders. In a pool of one priority nothing is ever asked back.

use std::cmp::Reverse;

use crate::command::Command;
use crate::scheduler::Scheduler;

impl Scheduler {
    /// Asks back what is less urgent than this, in the reverse of the order in which it is to go out again: each then
    /// goes back before what is there already, which takes no search.
    pub(crate) fn overtake(&mut self, priority: i16, commands: &mut Vec<Command>) {
        let mut overtaken = Vec::new();
        for (chunk, assignment) in self.chunks.less_urgent_than(priority) {
            let place = self.jobs.job(assignment.job).place;
            overtaken.push((assignment.priority, Reverse(place), Reverse(assignment.first), chunk));
        }
        overtaken.sort_unstable();
        let chunks = overtaken.iter().map(|&(.., chunk)| chunk);
        self.chunks.overtake(priority, chunks.clone());
        commands.extend(chunks.map(|chunk| Command::Withdraw { chunk }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, Sizing, Terms, WorkerExit};
    use crate::ids::JobId;
    use crate::rehearsal::{Rehearsal, cancelled, chunk, complete, publish, publish_again};

    fn withdraw(id: (u32, u32)) -> Command {
        Command::Withdraw { chunk: chunk(id) }
    }

    #[test]
    fn urgent_job_goes_out_before_what_nobody_has_claimed() {
        let mut pool = Rehearsal::open(1, 8);
        pool.submit(0, 3, 1);
        assert_eq!(
            pool.submit_urgent(1, 1, 5),
            [withdraw((2, 0)), withdraw((1, 0)), withdraw((0, 0)), publish((3, 0), 1, 0, 1)]
        );
        assert_eq!(pool.withdrawn((2, 0)), [], "it would go out before its elders");
        assert_eq!(pool.withdrawn((1, 0)), []);
        assert_eq!(pool.kept((0, 0)), [publish((1, 1), 0, 1, 1)]);
        assert_eq!(pool.finish((0, 0)), [], "as many lie in the table as a worker needs");
        assert_eq!(pool.finish((3, 0)), [complete(1), publish((3, 1), 0, 2, 1)]);
    }

    #[test]
    fn urgent_job_finds_room_in_a_full_table() {
        let mut pool = Rehearsal::open(1, 2);
        pool.submit(0, 4, 1);
        assert_eq!(pool.submit_urgent(1, 2, 1), [withdraw((1, 0)), withdraw((0, 0))]);
        assert_eq!(pool.withdrawn((1, 0)), [publish((1, 1), 1, 0, 1)]);
        assert_eq!(pool.kept((0, 0)), []);
        assert_eq!(pool.finish((0, 0)), [publish((0, 1), 1, 1, 1)]);
        assert_eq!(pool.finish((1, 1)), [publish((1, 2), 0, 1, 1)]);
    }

    #[test]
    fn equal_priority_takes_nothing_back() {
        let mut pool = Rehearsal::open(1, 4);
        pool.submit_urgent(0, 2, 7);
        assert_eq!(pool.submit_urgent(1, 1, 7), [publish((2, 0), 1, 0, 1)]);
        assert_eq!(pool.submit_urgent(2, 1, -7), [publish((3, 0), 2, 0, 1)]);
    }

    #[test]
    fn claimed_chunk_is_not_asked_back_again() {
        let mut pool = Rehearsal::open(1, 4);
        pool.submit(0, 1, 1);
        assert_eq!(pool.submit_urgent(1, 1, 1), [withdraw((0, 0)), publish((1, 0), 1, 0, 1)]);
        assert_eq!(pool.kept((0, 0)), []);
        assert_eq!(pool.submit_urgent(2, 1, 2), [withdraw((1, 0)), publish((2, 0), 2, 0, 1)]);
    }

    #[test]
    fn urgent_job_overtakes_a_measured_one_that_is_held_at_its_limit() {
        let mut pool = Rehearsal::open(1, 8);
        assert_eq!(pool.submit_sized(0, 9, Sizing::Measured, 0).len(), 2);
        assert_eq!(pool.submit(1, 1, 1), [], "it waits with the measured one");
        let answer = pool.submit_urgent(2, 1, 1);
        assert_eq!(answer, [withdraw((1, 0)), withdraw((0, 0)), publish((2, 0), 2, 0, 1)]);
    }

    #[test]
    fn job_overtaken_entirely_can_still_be_cancelled() {
        let mut pool = Rehearsal::open(1, 4);
        pool.submit(0, 2, 1);
        pool.submit_urgent(1, 1, 1);
        pool.withdrawn((1, 0));
        assert_eq!(pool.withdrawn((0, 0)), [publish((0, 1), 0, 0, 1)]);
        assert_eq!(pool.cancel(0), [withdraw((0, 1))]);
        assert_eq!(pool.withdrawn((0, 1)), [cancelled(0)]);
    }

    #[test]
    fn cancel_asks_for_nothing_that_was_asked_back_already() {
        let mut pool = Rehearsal::open(1, 4);
        pool.submit(0, 2, 1);
        pool.submit_urgent(1, 1, 1);
        assert_eq!(pool.cancel(0), []);
        assert_eq!(pool.withdrawn((1, 0)), []);
        assert_eq!(pool.withdrawn((0, 0)), [cancelled(0)]);
    }

    #[test]
    fn lost_urgent_item_overtakes_as_well() {
        let mut pool = Rehearsal::open(2, 2);
        let terms = Terms { retries: 1, priority: 1, ..Terms::default() };
        pool.tell(Event::JobSubmitted { job: JobId(0), items: 1, sizing: Sizing::Fixed(1), terms });
        pool.submit(1, 4, 1);
        let answer = pool.lose(0, WorkerExit::Died, (0, 0), 0);
        assert_eq!(answer[1], withdraw((1, 0)));
        assert_eq!(answer[2], publish_again((0, 1), 0, 0, 1));
    }

    #[test]
    fn table_is_filled_again_when_nothing_has_overtaken_for_long() {
        let mut pool = Rehearsal::open(1, 8);
        pool.submit(0, 100, 1);
        pool.submit_urgent(1, 1, 1);
        for index in (0..8).rev() {
            pool.withdrawn((index, 0));
        }
        assert_eq!(pool.scheduler.published_chunks(), 2);
        let mut out = std::collections::VecDeque::from([chunk((7, 1)), chunk((6, 1))]);
        for _ in 0..4 * 8 {
            let oldest = out.pop_front().unwrap();
            for command in pool.finish((oldest.index, oldest.generation)) {
                if let Command::Publish { chunk, .. } = command {
                    out.push_back(chunk);
                }
            }
        }
        assert_eq!(pool.scheduler.published_chunks(), 8);
    }
}
