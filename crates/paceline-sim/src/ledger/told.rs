//! Owns what the ledger learns from what the core is told. Never looks at an answer.

use paceline_core::{Event, Held, JobEnd, JobId, StopCause, Trouble, WorkerExit, WorkerId};

use super::{ItemState, Job, Ledger, Seat, Standing};

/// How long after it was ready the death of a worker that got nothing done counts as one in vain.
const SETTLED_AFTER_NS: u64 = 10_000_000_000;

impl Ledger {
    pub(super) fn note_event(&mut self, event: Event) {
        match event {
            Event::PoolOpened => self.standing = Standing::Open,
            Event::PoolClosed { cancel_waiting } => self.note_close(cancel_waiting),
            Event::SlotLost => self.table_slots = self.table_slots.saturating_sub(1),
            Event::PoolTerminated => self.standing = Standing::GivenUp,
            Event::JobSubmitted { job: number, items, sizing, terms } => {
                self.jobs.push(Job::new(number, items, sizing, terms));
            }
            Event::CancelRequested { job, stops_running: false } => self.note_cancel(job),
            Event::CancelRequested { job, stops_running: true } => {
                let now_ns = self.now_ns;
                let position = self.position(job);
                let Some(position) = position.filter(|&job| self.jobs[job].ending != Some(JobEnd::Cancelled)) else {
                    return;
                };
                let job = &mut self.jobs[position];
                job.is_cancel_requested = true;
                job.stopping_since_ns = now_ns;
                job.end_early(JobEnd::Cancelled);
                let its = self.out.iter_mut().filter(|out| out.job == position);
                its.for_each(|out| out.looks_before_stop = self.looks);
            }
            Event::ChunkWithdrawn { chunk } => {
                if let Some(out) = self.take_out(chunk) {
                    (out.first..out.first + out.count).for_each(|item| self.jobs[out.job].come_back(item));
                    self.note_rest(out.job);
                }
            }
            Event::ChunkKept { chunk } => {
                let (now_ns, looks) = (self.now_ns, self.looks);
                if let Some(out) = self.out_of(chunk) {
                    out.known_to_be_claimed_ns = Some(now_ns);
                    out.looks_before_stop = looks;
                    out.is_overtaken = false;
                    let job = out.job;
                    self.jobs[job].is_known_to_have_begun = true;
                }
            }
            Event::ItemFailed { chunk, item, trouble } => {
                let Some(out) = self.find_out(chunk) else { return };
                let job = &mut self.jobs[out.job];
                job.is_known_to_have_begun = true;
                if job.is_tried_again(item, trouble) {
                    job.try_again(item, trouble, self.now_ns);
                    self.must_forget = Some((out.job, item));
                } else {
                    job.count_failures(1);
                }
            }
            Event::ChunkSighted { chunk, finished, began, .. } => {
                let now_ns = self.now_ns;
                let Some(out) = self.out_of(chunk) else { return };
                let has_begun_anew = |since_ns| finished == 0 && began.0 > since_ns;
                if out.sighted.is_none_or(|(earlier, since_ns)| finished > earlier || has_begun_anew(since_ns)) {
                    out.sighted = Some((finished, if finished == 0 { began.0 } else { now_ns }));
                }
                let job = out.job;
                self.jobs[job].is_known_to_have_begun = true;
            }
            Event::TimePassed => {
                self.last_look_ns = self.now_ns;
                self.looks += 1;
                let now_ns = self.now_ns;
                let live = self.jobs.iter_mut().filter(|job| job.end.is_none());
                self.just_rested = live.map(|job| job.pass_time(now_ns)).sum();
            }
            Event::ChunkFinished { chunk, .. } => {
                if let Some(out) = self.take_out(chunk) {
                    self.jobs[out.job].is_known_to_have_begun = true;
                    (self.idle_deaths, self.vain_deaths, self.unready_deaths) = (0, 0, 0);
                    self.chunks_ended += 1;
                    self.note_rest(out.job);
                }
            }
            Event::WorkerReady { worker } => {
                let (since_ns, chunks_ended) = (self.now_ns, self.chunks_ended);
                let seat = &mut self.seats[usize::from(worker.0)];
                *seat = Seat { is_ready: true, since_ns, chunks_ended, ..*seat };
            }
            Event::WorkerOutgrown { worker } => {
                let seat = &mut self.seats[usize::from(worker.0)];
                seat.is_outgrown |= seat.is_taken;
            }
            Event::ChunkLost { worker, held } => self.note_loss(worker, held),
            Event::WorkerExited { worker, exit } => self.note_exit(worker, exit),
        }
    }

    fn note_close(&mut self, cancel_waiting: bool) {
        if self.standing == Standing::Open {
            self.standing = Standing::Closed;
        }
        if cancel_waiting && self.standing == Standing::Closed {
            let all: Vec<_> = self.unfinished().map(|(position, job)| (position, job.number)).collect();
            for (position, number) in all {
                self.note_cancel(number);
                let is_claimed = self.chunks_out(position).any(|out| out.claimed_by.is_some());
                let job = &mut self.jobs[position];
                job.has_no_more_tries = true;
                job.is_shut_out |= !job.is_known_to_have_begun && !is_claimed;
            }
        }
    }

    fn note_cancel(&mut self, number: JobId) {
        let Some(position) = self.position(number) else { return };
        let is_out = self.chunks_out(position).next().is_some();
        let job = &mut self.jobs[position];
        job.is_cancel_requested = true;
        job.must_be_cancelled |= !is_out && !job.is_known_to_have_begun;
    }

    fn note_exit(&mut self, worker: WorkerId, exit: WorkerExit) {
        let seat = std::mem::take(&mut self.seats[usize::from(worker.0)]);
        self.failed_starts += u32::from(exit == WorkerExit::FailedToStart);
        if exit != WorkerExit::Died {
            return;
        }
        if seat.has_lost_begun {
            (self.idle_deaths, self.vain_deaths, self.unready_deaths) = (0, 0, 0);
        } else {
            let is_young = self.now_ns - seat.since_ns < SETTLED_AFTER_NS;
            let is_in_vain = is_young && seat.chunks_ended == self.chunks_ended;
            let counts_as_unready = !seat.is_ready || (is_in_vain && seat.is_outgrown);
            self.idle_deaths += 1;
            self.unready_deaths += u32::from(counts_as_unready);
            self.vain_deaths += u32::from(is_in_vain && !counts_as_unready);
        }
    }

    fn note_loss(&mut self, worker: WorkerId, Held { chunk, finished, running }: Held) {
        let seat = &mut self.seats[usize::from(worker.0)];
        seat.has_lost_begun |= finished + running > 0;
        let is_outgrown = seat.is_outgrown;
        let Some(out) = self.take_out(chunk) else { return };
        let now_ns = self.now_ns;
        let job = &mut self.jobs[out.job];
        job.is_known_to_have_begun = true;
        let ran = out.first + finished..out.first + finished + running;
        (ran.end..out.first + out.count).for_each(|item| job.come_back(item));
        if job.ending.is_some() {
            return ran.for_each(|item| job.set(item, ItemState::Dropped));
        }
        let mut doomed = 0;
        for item in ran {
            let trouble = if out.stop_of(item).is_some_and(|stop| stop.cause == StopCause::Overrun) {
                Trouble::Overran
            } else if is_outgrown {
                Trouble::Outgrew
            } else {
                Trouble::Died
            };
            if job.is_tried_again(item, trouble) {
                job.try_again(item, trouble, now_ns);
            } else {
                job.items[item as usize].spent += 1;
                job.set(item, ItemState::Doomed { worker, trouble });
                doomed += 1;
            }
        }
        job.count_failures(doomed);
        self.note_rest(out.job);
    }

    /// What is left of a job may all have come to nothing before; then it can be cancelled again, though it could not.
    fn note_rest(&mut self, position: usize) {
        let is_out = self.chunks_out(position).next().is_some();
        let job = &mut self.jobs[position];
        if job.is_known_to_have_begun && !is_out && job.ending.is_none() && job.is_all_to_be_run_again() {
            job.is_known_to_have_begun = false;
            // Of a pool that was closed with all cancelled that waits, it waits now as well.
            job.is_cancel_requested = job.has_no_more_tries;
            job.must_be_cancelled |= job.has_no_more_tries;
            job.is_shut_out |= job.has_no_more_tries;
        }
    }
}
