//! Owns what the ledger learns from what the core asks for. Never learns anything that only the core could know.

use paceline_core::{Command, JobId};

use super::{ItemState, Ledger, Out, Seat, Stop};

impl Ledger {
    pub(super) fn note_command(&mut self, command: Command) {
        match command {
            Command::Publish { chunk, job: number, first, count, .. } => {
                let Some(position) = self.position(number) else { return };
                let job = &mut self.jobs[position];
                let mut out = Out::new(chunk, position, (first, count), self.now_ns);
                let state = job.items.get(first as usize).map(|item| item.state);
                out.is_lonely = state.is_some_and(|state| state == ItemState::Lonely || state.may_be_lonely());
                (first..first + count).for_each(|item| job.set(item, ItemState::Out));
                self.out.push(out);
                self.generations[chunk.index as usize] = Some(chunk.generation);
                self.note_tokens(command);
            }
            Command::Withdraw { chunk } => {
                let Some(Out { job, .. }) = self.find_out(chunk) else { return };
                let job = &self.jobs[job];
                let is_for_itself = job.ending.is_some() || (job.is_cancel_requested && !job.is_known_to_have_begun);
                self.has_overtaken |= !is_for_itself;
                if let Some(out) = self.out_of(chunk) {
                    out.is_asked_back = true;
                    out.is_overtaken = !is_for_itself;
                }
            }
            Command::StopItem { chunk, item, cause, .. } => {
                let asked_ns = self.now_ns;
                if let Some(out) = self.out_of(chunk) {
                    out.stop = Some(Stop { item, cause, asked_ns, ended_ns: None });
                }
            }
            Command::ForgetItem { job, item } => {
                let position = self.position(job);
                self.must_forget = self.must_forget.filter(|_| position.is_none());
                if let Some(position) = position {
                    self.jobs[position].items[item as usize].has_outcome = false;
                }
            }
            Command::FailItem { job, item, .. } => self.note_failure(job, item),
            Command::FinishJob { job, end } => {
                if let Some(position) = self.position(job) {
                    self.jobs[position].end = Some(end);
                    self.out.retain(|out| out.job != position);
                }
            }
            Command::StartWorker { worker } => {
                let since_ns = self.now_ns;
                self.seats[usize::from(worker.0)] = Seat { is_taken: true, since_ns, ..Seat::default() };
            }
            Command::EndItem { chunk, .. } => {
                let now_ns = self.now_ns;
                if let Some(stop) = self.out_of(chunk).and_then(|out| out.stop.as_mut()) {
                    stop.ended_ns = Some(now_ns);
                }
            }
            Command::StopWorker { .. } => {}
            Command::KillWorker { worker } => self.seats[usize::from(worker.0)].is_killed = true,
            Command::BreakPool { .. } => self.standing = super::Standing::GivenUp,
            Command::EndPool => self.ends += 1,
        }
    }

    fn note_failure(&mut self, number: JobId, item: u32) {
        if let Some(position) = self.position(number)
            && let Some(record) = self.jobs[position].items.get_mut(item as usize)
        {
            record.has_outcome = true;
            self.jobs[position].set(item, ItemState::Ended);
        }
    }
}
