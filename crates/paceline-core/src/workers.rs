//! Owns the coming and going of workers: a seat that falls empty is filled again while there is, or may be, work.
//! Never decides about the items they held.

use crate::command::{Breakage, Command};
use crate::event::WorkerExit;
use crate::ids::WorkerId;
use crate::scheduler::Scheduler;
use crate::shutdown::Phase;

impl Scheduler {
    pub(crate) fn on_pool_opened(&mut self, commands: &mut Vec<Command>) {
        assert_eq!(self.phase, Phase::New, "a pool is opened a second time");
        self.phase = Phase::Open;
        for worker in self.seats.all() {
            self.start_worker(worker, commands);
        }
    }

    pub(crate) fn on_worker_ready(&mut self, worker: WorkerId) {
        self.seats.settle(worker, self.now);
    }

    /// A worker that outgrew its memory is ended at once: it may have what others need before it has heard of anything.
    /// What it was running is told of its end what became of it.
    pub(crate) fn on_worker_outgrown(&mut self, worker: WorkerId, commands: &mut Vec<Command>) {
        if self.seats.note_outgrown(worker) {
            self.kill_worker(worker, commands);
        }
    }

    /// Has a worker killed, unless that is under way.
    pub(crate) fn kill_worker(&mut self, worker: WorkerId, commands: &mut Vec<Command>) {
        if self.seats.note_killed(worker) {
            commands.push(Command::KillWorker { worker });
        }
    }

    /// Breaks the pool if a worker has taken longer to start than it may. When all are to leave, nobody needs it any
    /// more; but it would never hear of that, and is ended.
    pub(crate) fn end_overdue_starts(&mut self, commands: &mut Vec<Command>) {
        while let Some((overdue, worker)) = self.seats.first_overdue()
            && overdue <= self.now
        {
            if self.wants_workers() {
                self.break_pool(Breakage::StartTooSlow { worker }, commands);
            } else {
                self.kill_worker(worker, commands);
            }
        }
    }

    pub(crate) fn on_worker_exited(&mut self, worker: WorkerId, exit: WorkerExit, commands: &mut Vec<Command>) {
        if exit == WorkerExit::Died {
            self.seats.bury(worker, self.now);
        } else {
            self.seats.vacate(worker);
        }
        if !self.wants_workers() {
            return;
        }
        if exit == WorkerExit::FailedToStart {
            self.break_pool(Breakage::StartFailed, commands);
        } else if let Some(deaths) = self.seats.crash_loop() {
            self.break_pool(Breakage::CrashLoop { deaths }, commands);
        } else {
            self.start_worker(worker, commands);
            self.dispatch(commands);
        }
    }

    fn start_worker(&mut self, worker: WorkerId, commands: &mut Vec<Command>) {
        self.seats.occupy(worker, self.now);
        commands.push(Command::StartWorker { worker });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;
    use crate::ids::Moment;
    use crate::rehearsal::{Rehearsal, complete, start};

    const SECOND_NS: u64 = 1_000_000_000;

    fn crash_loop(commands: &[Command]) -> bool {
        commands.contains(&Command::BreakPool { why: Breakage::CrashLoop { deaths: 3 } })
    }

    fn breaks(commands: &[Command]) -> bool {
        commands.iter().any(|command| matches!(command, Command::BreakPool { .. }))
    }

    #[test]
    fn opened_pool_fills_every_seat_and_a_seat_that_falls_empty() {
        let mut pool = Rehearsal::new(2, 4);
        assert_eq!(pool.tell(Event::PoolOpened), [start(0), start(1)]);
        assert_eq!(pool.exit(1, WorkerExit::Retired), [start(1)]);
        assert_eq!(pool.exit(1, WorkerExit::Died), [start(1)]);
    }

    #[test]
    fn three_deaths_before_ready_in_a_row_break_the_pool() {
        let mut pool = Rehearsal::open(2, 4);
        assert_eq!(pool.exit(0, WorkerExit::Died), [start(0)]);
        assert_eq!(pool.exit(1, WorkerExit::Died), [start(1)]);
        let answer = pool.exit(0, WorkerExit::Died);
        assert!(crash_loop(&answer));
        assert_eq!(answer[1..], [Command::KillWorker { worker: WorkerId(1) }]);
        assert_eq!(pool.exit(1, WorkerExit::Died), [Command::EndPool]);
    }

    #[test]
    fn chunk_that_ends_in_between_excuses_earlier_deaths() {
        let mut pool = Rehearsal::open(2, 4);
        pool.submit(0, 1, 1);
        pool.exit(0, WorkerExit::Died);
        pool.exit(0, WorkerExit::Died);
        assert_eq!(pool.finish((0, 0)), [complete(0)]);
        assert_eq!(pool.exit(0, WorkerExit::Died), [start(0)]);
        assert_eq!(pool.exit(0, WorkerExit::Died), [start(0)]);
        assert!(crash_loop(&pool.exit(0, WorkerExit::Died)));
    }

    #[test]
    fn worker_that_died_with_a_chunk_does_not_count() {
        let mut pool = Rehearsal::open(1, 4);
        pool.submit(0, 9, 1);
        for index in 0..4 {
            let answer = pool.lose(0, WorkerExit::Died, (index, 0), 0);
            assert!(answer.contains(&start(0)));
        }
    }

    #[test]
    fn workers_that_die_with_what_they_have_not_begun_break_the_pool_some_time() {
        let mut pool = Rehearsal::open(1, 4);
        pool.submit(0, 1, 1);
        for death in 0..20 {
            pool.ready(0);
            assert_eq!(pool.lose_chunk(0, (0, death), (0, 0)), []);
            assert_eq!(breaks(&pool.exit(0, WorkerExit::Died)), death == 19);
        }
    }

    #[test]
    fn many_idle_workers_that_die_young_break_the_pool_and_those_that_die_old_do_not() {
        let mut young = Rehearsal::open(1, 4);
        let mut old = Rehearsal::open(1, 4);
        for death in 1..=20 {
            young.ready(0);
            young.now.0 += SECOND_NS;
            assert_eq!(breaks(&young.exit(0, WorkerExit::Died)), death == 20);
            old.ready(0);
            old.now.0 += 3_600 * SECOND_NS;
            assert_eq!(old.exit(0, WorkerExit::Died), [start(0)]);
        }
    }

    #[test]
    fn slow_start_breaks_the_pool_and_needs_no_look_after_that() {
        let mut pool = Rehearsal::limited(2, 4, SECOND_NS);
        pool.tell(Event::PoolOpened);
        pool.now.0 += SECOND_NS / 2;
        pool.ready(0);
        assert_eq!(pool.exit(0, WorkerExit::Retired), [start(0)]);
        assert_eq!(pool.scheduler.next_look(), Some(Moment(SECOND_NS)));
        pool.now.0 = SECOND_NS - 1;
        assert_eq!(pool.tell(Event::TimePassed), [], "too soon");
        pool.now.0 = SECOND_NS;
        let why = Breakage::StartTooSlow { worker: WorkerId(1) };
        let kill = |worker| Command::KillWorker { worker: WorkerId(worker) };
        assert_eq!(pool.tell(Event::TimePassed), [Command::BreakPool { why }, kill(0), kill(1)]);
        assert_eq!(pool.scheduler.next_look(), None);
    }

    #[test]
    fn slow_start_in_a_closed_pool_is_ended_so_that_the_pool_ends() {
        let mut pool = Rehearsal::limited(1, 4, SECOND_NS);
        pool.tell(Event::PoolOpened);
        pool.tell(Event::PoolClosed { cancel_waiting: false });
        assert_eq!(pool.scheduler.next_look(), Some(Moment(SECOND_NS)));
        pool.now.0 = SECOND_NS;
        assert_eq!(pool.tell(Event::TimePassed), [Command::KillWorker { worker: WorkerId(0) }]);
        assert_eq!(pool.scheduler.next_look(), None);
        assert_eq!(pool.exit(0, WorkerExit::Died), [Command::EndPool]);
    }

    #[test]
    fn workers_that_outgrow_their_memory_before_they_do_anything_break_the_pool() {
        let mut pool = Rehearsal::open(1, 4);
        pool.submit(0, 1, 1);
        for death in 1..=3 {
            pool.ready(0);
            pool.tell(Event::WorkerOutgrown { worker: WorkerId(0) });
            assert_eq!(crash_loop(&pool.exit(0, WorkerExit::Died)), death == 3);
        }
    }

    #[test]
    fn workers_that_outgrow_their_memory_with_something_begun_do_not_count() {
        let mut pool = Rehearsal::open(1, 4);
        pool.submit(0, 9, 1);
        for index in 0..4 {
            pool.ready(0);
            pool.tell(Event::WorkerOutgrown { worker: WorkerId(0) });
            assert!(pool.lose(0, WorkerExit::Died, (index, 0), 0).contains(&start(0)));
        }
    }

    #[test]
    fn retired_workers_never_count() {
        let mut pool = Rehearsal::open(1, 4);
        for _ in 0..10 {
            pool.ready(0);
            assert_eq!(pool.exit(0, WorkerExit::Retired), [start(0)]);
        }
    }

    #[test]
    #[should_panic(expected = "which was empty")]
    fn exit_from_an_empty_seat_is_refused_loudly() {
        let mut pool = Rehearsal::open(1, 4);
        pool.tell(Event::PoolClosed { cancel_waiting: false });
        pool.exit(0, WorkerExit::Stopped);
        pool.exit(0, WorkerExit::Stopped);
    }
}
