//! Owns the ends of a pool: closed, terminated, broken. Never ends a job that could still be run, unless the whole
//! pool is given up.

use crate::command::{Breakage, Command, JobEnd};
use crate::scheduler::Scheduler;

/// How far a pool has come. Only these changes are legal:
///
/// ```text
/// New ── opened ──► Open ── closed ──► Closing ── last job ended ──► Leaving ── last worker gone ──► Ended
///  │                 └──────────────────┴─── terminated or broken ───► GivenUp ──────────────────────┘
///  └── closed or terminated: nobody is there, so it ends at once       (also from Leaving)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not opened yet.
    New,
    /// Takes jobs.
    Open,
    /// Takes no more jobs; those it has are run.
    Closing,
    /// Every job has ended, and the workers have been asked to leave.
    Leaving,
    /// Every job was given up, and the workers are being killed.
    GivenUp,
    /// The last worker is gone.
    Ended,
}

impl Scheduler {
    /// Closing again, or closing what ends anyhow, changes nothing, but for the jobs that are to be cancelled; then what comes to
    /// nothing after that is not run again.
    pub(crate) fn on_pool_closed(&mut self, cancel_waiting: bool, commands: &mut Vec<Command>) {
        if matches!(self.phase, Phase::New | Phase::Open) {
            self.phase = Phase::Closing;
        }
        if cancel_waiting && self.phase == Phase::Closing {
            self.again.refuse();
            self.cancel_waiting(commands);
        }
    }

    /// Terminating again, or terminating a broken pool, changes nothing.
    pub(crate) fn on_pool_terminated(&mut self, commands: &mut Vec<Command>) {
        if !matches!(self.phase, Phase::GivenUp | Phase::Ended) {
            self.give_up(commands);
        }
    }

    pub(crate) fn break_pool(&mut self, why: Breakage, commands: &mut Vec<Command>) {
        commands.push(Command::BreakPool { why });
        self.give_up(commands);
    }

    /// Whether a seat that falls empty is to be filled again.
    pub(crate) fn wants_workers(&self) -> bool {
        match self.phase {
            Phase::Open => true,
            Phase::Closing => self.jobs.unfinished() > 0,
            Phase::New | Phase::Leaving | Phase::GivenUp | Phase::Ended => false,
        }
    }

    /// Sends the workers home after the last job of a closed pool, and ends the pool after the last worker.
    pub(crate) fn leave_when_done(&mut self, commands: &mut Vec<Command>) {
        if self.phase == Phase::Closing && self.jobs.unfinished() == 0 {
            self.phase = Phase::Leaving;
            commands.extend(self.seats.taken().map(|worker| Command::StopWorker { worker }));
        }
        if matches!(self.phase, Phase::Leaving | Phase::GivenUp) && self.seats.is_deserted() {
            self.phase = Phase::Ended;
            commands.push(Command::EndPool);
        }
    }

    /// Ends every job as abandoned, running ones too, and has every worker killed.
    fn give_up(&mut self, commands: &mut Vec<Command>) {
        self.phase = Phase::GivenUp;
        self.chunks.close_all();
        self.backlog.clear();
        self.purse.clear();
        self.again.clear();
        self.limits.clear();
        self.jobs.dismiss_all(|job| {
            commands.push(Command::FinishJob { job, end: JobEnd::Abandoned });
        });
        let taken: Vec<_> = self.seats.taken().collect();
        for worker in taken {
            self.kill_worker(worker, commands);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, WorkerExit};
    use crate::ids::{JobId, WorkerId};
    use crate::rehearsal::{Rehearsal, cancelled, chunk, complete, start};

    const CLOSED: Event = Event::PoolClosed { cancel_waiting: false };

    fn stop(worker: u16) -> Command {
        Command::StopWorker { worker: WorkerId(worker) }
    }

    fn kill(worker: u16) -> Command {
        Command::KillWorker { worker: WorkerId(worker) }
    }

    fn abandoned(job: u32) -> Command {
        Command::FinishJob { job: JobId(job), end: JobEnd::Abandoned }
    }

    #[test]
    fn closed_pool_finishes_its_jobs_then_sends_the_workers_home() {
        let mut pool = Rehearsal::open(2, 4);
        pool.submit(0, 2, 1);
        pool.ready(0);
        assert_eq!(pool.tell(CLOSED), []);
        assert!(!pool.scheduler.is_accepting());
        assert_eq!(pool.exit(1, WorkerExit::Died), [start(1)], "there is work left, so the seat is filled again");
        assert_eq!(pool.finish((0, 0)), []);
        assert_eq!(pool.finish((1, 0)), [complete(0), stop(0), stop(1)]);
        assert_eq!(pool.exit(0, WorkerExit::Stopped), []);
        assert_eq!(pool.exit(1, WorkerExit::FailedToStart), [Command::EndPool]);
        assert_eq!(pool.tell(Event::PoolTerminated), []);
    }

    #[test]
    fn death_that_ends_the_last_job_of_a_closed_pool_starts_nobody() {
        let mut pool = Rehearsal::open(2, 4);
        pool.submit(0, 1, 1);
        pool.tell(CLOSED);
        let answer = pool.lose(0, WorkerExit::Died, (0, 0), 0);
        assert_eq!(answer[1..], [complete(0), stop(1)]);
        assert_eq!(pool.exit(1, WorkerExit::Died), [Command::EndPool]);
    }

    #[test]
    fn terminated_pool_gives_up_waiting_and_running_jobs_alike() {
        let mut pool = Rehearsal::open(2, 2);
        pool.submit(0, 2, 1);
        pool.submit(1, 2, 1);
        assert_eq!(pool.tell(Event::PoolTerminated), [abandoned(0), abandoned(1), kill(0), kill(1)]);
        assert_eq!(pool.scheduler.waiting_items(), 0);
        assert_eq!(pool.finish((0, 0)), []);
        assert_eq!(pool.tell(Event::PoolTerminated), []);
        assert_eq!(pool.tell(CLOSED), []);
        assert_eq!(pool.lose(0, WorkerExit::Died, (1, 0), 0), []);
        assert_eq!(pool.exit(1, WorkerExit::Died), [Command::EndPool]);
    }

    #[test]
    fn worker_that_outgrew_its_memory_is_killed_once() {
        let mut pool = Rehearsal::open(2, 2);
        let outgrown = |worker| Event::WorkerOutgrown { worker: WorkerId(worker) };
        assert_eq!(pool.tell(outgrown(0)), [kill(0)]);
        assert_eq!(pool.tell(outgrown(0)), []);
        assert_eq!(pool.tell(Event::PoolTerminated), [kill(1)]);
        assert_eq!(pool.tell(outgrown(1)), []);
        assert_eq!(pool.exit(0, WorkerExit::Died), []);
        assert_eq!(pool.exit(1, WorkerExit::Died), [Command::EndPool]);
    }

    #[test]
    fn pool_terminated_while_its_workers_leave_kills_them() {
        let mut pool = Rehearsal::open(1, 2);
        assert_eq!(pool.tell(CLOSED), [stop(0)]);
        assert_eq!(pool.tell(Event::PoolTerminated), [kill(0)]);
        assert_eq!(pool.exit(0, WorkerExit::Died), [Command::EndPool]);
    }

    #[test]
    fn pool_closed_with_a_cancel_ends_what_has_begun_and_cancels_the_rest() {
        let mut pool = Rehearsal::open(1, 2);
        pool.submit(0, 3, 1);
        pool.submit(1, 2, 1);
        pool.submit(2, 1, 1);
        pool.finish((0, 0));
        assert_eq!(pool.tell(Event::PoolClosed { cancel_waiting: true }), [cancelled(1), cancelled(2)]);
        assert_eq!(pool.finish((1, 0)), []);
        assert_eq!(pool.finish((0, 1)), [complete(0), stop(0)]);
    }

    #[test]
    fn pool_closed_with_a_cancel_takes_back_what_nobody_has_claimed() {
        let mut pool = Rehearsal::open(1, 3);
        pool.submit(0, 1, 1);
        pool.submit(1, 2, 1);
        pool.submit(2, 1, 1);
        assert_eq!(pool.tell(CLOSED), []);
        let asked = [(0, 0), (2, 0), (1, 0)].map(|id| Command::Withdraw { chunk: chunk(id) });
        let answer = pool.tell(Event::PoolClosed { cancel_waiting: true });
        assert_eq!(answer, [asked[0], asked[1], asked[2], cancelled(2)]);
        assert_eq!(pool.kept((0, 0)), []);
        assert_eq!(pool.withdrawn((2, 0)), []);
        assert_eq!(pool.withdrawn((1, 0)), [cancelled(1)]);
        assert_eq!(pool.finish((0, 0)), [complete(0), stop(0)]);
    }

    #[test]
    fn pool_that_was_never_opened_ends_at_once() {
        let mut closed = Rehearsal::new(2, 2);
        assert_eq!(closed.tell(CLOSED), [Command::EndPool]);
        let mut terminated = Rehearsal::new(2, 2);
        assert_eq!(terminated.tell(Event::PoolTerminated), [Command::EndPool]);
    }

    #[test]
    #[should_panic(expected = "takes no jobs")]
    fn job_for_a_closed_pool_is_refused_loudly() {
        let mut pool = Rehearsal::open(1, 2);
        pool.tell(CLOSED);
        pool.submit(0, 1, 1);
    }
}
