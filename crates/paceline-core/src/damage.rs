//! Owns what damage to the task table means for the pool: it has less room from then on. Never finds the damage, nor
//! decides what becomes of the chunks that it hit: the engine tells their ends like any other.

use crate::command::{Breakage, Command};
use crate::scheduler::Scheduler;
use crate::shutdown::Phase;

impl Scheduler {
    /// A slot of the table will not be used any more. What lay there is out until its end is told, which follows: only
    /// then is there room again, so nothing goes out now. A pool without any slot cannot go on.
    pub(crate) fn on_slot_lost(&mut self, commands: &mut Vec<Command>) {
        let is_any_left = self.chunks.give_up_slot();
        if !is_any_left && matches!(self.phase, Phase::Open | Phase::Closing) {
            self.break_pool(Breakage::TableDestroyed, commands);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::JobEnd;
    use crate::event::Event;
    use crate::ids::{JobId, WorkerId};
    use crate::rehearsal::{Rehearsal, complete, publish};

    #[test]
    fn lost_slot_is_counted_no_more() {
        let mut pool = Rehearsal::open(1, 2);
        pool.submit(0, 4, 1);
        assert_eq!(pool.tell(Event::SlotLost), []);
        assert_eq!(pool.finish((0, 0)), [], "the slot of this chunk is the lost one");
        assert_eq!(pool.finish((1, 0)), [publish((1, 1), 0, 2, 1)]);
        assert_eq!(pool.finish((1, 1)), [publish((1, 2), 0, 3, 1)], "one at a time");
        assert_eq!(pool.finish((1, 2)), [complete(0)]);
    }

    #[test]
    fn pool_without_slots_breaks() {
        let mut pool = Rehearsal::open(1, 2);
        pool.submit(0, 4, 1);
        assert_eq!(pool.tell(Event::SlotLost), []);
        assert_eq!(
            pool.tell(Event::SlotLost),
            [
                Command::BreakPool { why: Breakage::TableDestroyed },
                Command::FinishJob { job: JobId(0), end: JobEnd::Abandoned },
                Command::KillWorker { worker: WorkerId(0) },
            ]
        );
        assert_eq!(pool.finish((0, 0)), []);
        assert_eq!(pool.tell(Event::SlotLost), [], "there is nothing left to lose");
    }

    #[test]
    fn loss_of_the_last_slot_does_not_keep_a_pool_from_leaving() {
        let mut pool = Rehearsal::open(1, 1);
        pool.tell(Event::PoolClosed { cancel_waiting: false });
        assert_eq!(pool.tell(Event::SlotLost), []);
    }
}
