//! Owns what is made of the core's answers. Never touches what the core is told, but to answer before anybody has looked.

use paceline_core::{Breakage, Command, Event, JobEnd, Moment, StopCause, Trouble, WorkerId};

use super::{Mistake, Saboteur};

impl Saboteur {
    /// Changes an answer as a whole.
    pub(super) fn distort_answer(&mut self, now: Moment, event: Event, answer: &mut Vec<Command>) {
        match self.mistake {
            Mistake::GiveCancelUp => {
                if let Some(&Command::Withdraw { chunk }) = answer.first() {
                    self.scheduler.handle(now, Event::ChunkKept { chunk }, answer);
                }
            }
            Mistake::OvertakeNothing | Mistake::RushOvertaking => self.distort_overtaking(now, event, answer),
            Mistake::SwapPublishes => {
                let is_publish = |command: &Command| matches!(command, Command::Publish { .. });
                if let Some(first) = answer.windows(2).position(|pair| pair.iter().all(is_publish)) {
                    answer.swap(first, first + 1);
                }
            }
            Mistake::KillAgain => {
                if let Event::WorkerOutgrown { worker } = event
                    && answer.is_empty()
                {
                    answer.push(Command::KillWorker { worker });
                }
            }
            _ => {}
        }
    }

    /// Gives the core an answer to chunks that it asks back for something more urgent, before anybody has looked.
    fn distort_overtaking(&mut self, now: Moment, event: Event, answer: &mut Vec<Command>) {
        let asked = answer.iter().filter_map(|command| match command {
            Command::Withdraw { chunk } => Some(*chunk),
            _ => None,
        });
        let asked: Vec<_> = asked.skip(usize::from(self.mistake == Mistake::RushOvertaking)).collect();
        let is_for_itself =
            matches!(event, Event::CancelRequested { .. } | Event::PoolClosed { .. } | Event::ItemFailed { .. });
        if is_for_itself {
            return;
        }
        if self.mistake == Mistake::OvertakeNothing {
            answer.retain(|command| !matches!(command, Command::Withdraw { .. }));
        }
        for chunk in asked {
            self.scheduler.handle(now, Event::ChunkKept { chunk }, answer);
        }
    }

    /// Appends what is asked for instead of a command.
    pub(super) fn distort_command(&mut self, command: Command, commands: &mut Vec<Command>) {
        let is_stop_at_limit = matches!(command, Command::StopItem { cause: StopCause::Overrun, .. });
        match (self.mistake, command) {
            (Mistake::BlameOtherDevice, Command::Publish { chunk, job, first, count, attempt, devices }) => {
                commands.push(Command::Publish { chunk, job, first, count, attempt, devices: devices << 1 });
            }
            (Mistake::DropRepublish, Command::Publish { chunk, attempt, .. }) if attempt > 0 && chunk.index == 0 => {}
            (Mistake::DropFinish, Command::FinishJob { .. })
            | (Mistake::DropFail, Command::FailItem { .. })
            | (Mistake::DropStop, Command::StopWorker { .. })
            | (Mistake::DropKill, Command::KillWorker { .. })
            | (Mistake::NeverEnd, Command::EndItem { .. })
            | (Mistake::ForgetNothing, Command::ForgetItem { .. })
            | (Mistake::DropEnd, Command::EndPool) => {}
            (Mistake::LetOverrun, Command::StopItem { .. }) if is_stop_at_limit => {}
            (Mistake::LetCancelledRun, Command::StopItem { .. }) if !is_stop_at_limit => {}
            // The first worker of each seat is started, or else every run would be detected at its beginning.
            (Mistake::DropStart, Command::StartWorker { .. }) if self.published.iter().any(Option::is_some) => {}
            (Mistake::DoublePublish, Command::Publish { .. })
            | (Mistake::DoubleFinish, Command::FinishJob { .. })
            | (Mistake::DoubleStart, Command::StartWorker { .. })
            | (Mistake::WithdrawTwice, Command::Withdraw { .. })
            | (Mistake::StopTwice, Command::StopItem { .. })
            | (Mistake::DoubleEnd, Command::EndPool) => commands.extend([command, command]),
            (_, command) => commands.push(self.distort_words(command)),
        }
    }

    /// What is said instead, where only the words are wrong.
    fn distort_words(&self, command: Command) -> Command {
        match (self.mistake, command) {
            (Mistake::CallCompleteCancelled, Command::FinishJob { job, end: JobEnd::Complete }) => {
                Command::FinishJob { job, end: JobEnd::Cancelled }
            }
            (Mistake::CallGivenUpComplete, Command::FinishJob { job, end: JobEnd::GivenUp }) => {
                Command::FinishJob { job, end: JobEnd::Complete }
            }
            (Mistake::FailNeighbour, Command::FailItem { job, item, worker, attempt, trouble }) => {
                Command::FailItem { job, item: item + 1, worker, attempt, trouble }
            }
            (Mistake::BlameWorker, Command::FailItem { job, item, worker, attempt, trouble: Trouble::Overran }) => {
                Command::FailItem { job, item, worker, attempt, trouble: Trouble::Died }
            }
            (Mistake::BlameItem, Command::FailItem { job, item, worker, attempt, trouble: Trouble::Died }) => {
                Command::FailItem { job, item, worker, attempt, trouble: Trouble::Overran }
            }
            (Mistake::StopNeighbour, Command::StopItem { worker, chunk, item, cause }) => {
                Command::StopItem { worker, chunk, item: item + 1, cause }
            }
            (Mistake::EndWithoutAsking, Command::StopItem { worker, chunk, item, .. }) => {
                Command::EndItem { worker, chunk, item }
            }
            (Mistake::EndNeighbour, Command::EndItem { worker, chunk, item }) => {
                Command::EndItem { worker, chunk, item: item + 1 }
            }
            (Mistake::ForgetNeighbour, Command::ForgetItem { job, item }) => {
                Command::ForgetItem { job, item: item + 1 }
            }
            (
                Mistake::BlameOtherStart,
                Command::BreakPool { why: Breakage::StartTooSlow { worker: WorkerId(seat) } },
            ) => Command::BreakPool { why: Breakage::StartTooSlow { worker: WorkerId(seat + 1) } },
            (_, command) => command,
        }
    }
}
