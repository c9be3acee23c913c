//! Owns what the workers do: come up, claim, begin, end items, stop them when asked, outgrow their memory, die. Never
//! reports any of it: the engine has to notice.

use paceline_core::{Event, Trouble, WorkerExit, WorkerId};

use crate::agenda::Happening;
use crate::fact::Fact;
use crate::fate::Fate;
use crate::invariants::Violation;
use crate::table::State;
use crate::worker::{Activity, Claimed};
use crate::world::World;

impl World<'_> {
    /// A worker has started. It may have been asked to stop meanwhile, or say that it cannot start, or die.
    pub(crate) fn bring_up(&mut self, seat: u16, life: u32) -> Result<(), Violation> {
        if !self.is_this_life(seat, life) {
            return Ok(());
        }
        if self.random.chance(self.scenario.failed_start_percent) {
            return self.leave(seat, WorkerExit::FailedToStart);
        }
        if self.may_die() && self.random.chance(self.scenario.death_before_ready_percent) {
            self.deaths += 1;
            return self.leave(seat, WorkerExit::Died);
        }
        self.workers[usize::from(seat)].activity = Activity::Working;
        self.notice(Happening::HearReady { seat, life });
        if self.scenario.is_too_big {
            self.soon(2, Happening::Outgrow { seat, life });
        }
        if self.may_die() && self.random.chance(self.scenario.death_percent) {
            let most_steps = self.scenario.longest_item_steps * 4;
            self.soon(most_steps, Happening::Strike { seat, life });
        }
        self.look(seat, life)
    }

    /// A worker takes the oldest ready chunk if it may hold one more, or leaves if it holds none and has been asked to,
    /// or has run enough.
    pub(crate) fn look(&mut self, seat: u16, life: u32) -> Result<(), Violation> {
        let worker = &self.workers[usize::from(seat)];
        if !self.is_this_life(seat, life) || worker.activity != Activity::Working {
            return Ok(());
        }
        let holds = worker.claimed.len();
        let is_tired = self.scenario.retire_after.is_some_and(|most| worker.chunks_run >= most);
        if worker.is_asked_to_stop || is_tired {
            let exit = if worker.is_asked_to_stop { WorkerExit::Stopped } else { WorkerExit::Retired };
            if holds == 0 {
                self.leave(seat, exit)?;
            }
        } else if holds < usize::from(self.scenario.chunks_per_worker)
            && let Some(entry) = self.table.claim(seat, life, self.now_ns)
        {
            self.see(Fact::Claimed { chunk: entry.chunk, worker: WorkerId(seat) })?;
            let is_side_by_side = self.random.chance(self.scenario.side_by_side_percent);
            let worker = &mut self.workers[usize::from(seat)];
            worker.chunks_run += 1;
            worker.last_entry = Some(entry.chunk);
            worker.claimed.push(Claimed {
                entry: entry.key,
                chunk: entry.chunk,
                job: entry.job,
                item: entry.first,
                end: entry.first + entry.count,
                attempt: entry.attempt,
                is_side_by_side,
                fate: None,
                may_drop_rest: false,
            });
            self.soon(1, Happening::Look { seat, life });
            if self.scenario.longest_begin_steps == 0 {
                return self.begin(seat, life, entry.key);
            }
            self.soon(self.scenario.longest_begin_steps, Happening::Begin { seat, life, entry: entry.key });
        }
        Ok(())
    }

    fn find_claimed(&self, seat: u16, life: u32, entry: u64) -> Option<usize> {
        let claimed = &self.workers[usize::from(seat)].claimed;
        let index = claimed.iter().position(|claimed| claimed.entry == entry);
        index.filter(|_| self.is_this_life(seat, life))
    }

    /// Where a worker has the chunk of which it runs this item at the moment.
    fn find_running(&self, seat: u16, life: u32, (entry, item): (u64, u32)) -> Option<usize> {
        let index = self.find_claimed(seat, life, entry)?;
        let claimed = &self.workers[usize::from(seat)].claimed[index];
        (claimed.item == item && claimed.fate.is_some()).then_some(index)
    }

    /// A worker writes down that it begins with a chunk, and does, with its first item or with all of them.
    pub(crate) fn begin(&mut self, seat: u16, life: u32, key: u64) -> Result<(), Violation> {
        let Some(index) = self.find_claimed(seat, life, key) else {
            return Ok(());
        };
        let Claimed { chunk, job, item, end, is_side_by_side, .. } = self.workers[usize::from(seat)].claimed[index];
        let now_ns = self.now_ns;
        if let Some(entry) = self.table.entry(key) {
            entry.most_running = if is_side_by_side { entry.count } else { 1 };
            entry.began_at_ns = now_ns;
        }
        if is_side_by_side {
            (item + 1..end).try_for_each(|item| self.see(Fact::Begun { chunk, job, item }))?;
        }
        self.see(Fact::Begun { chunk, job, item })?;
        if self.scenario.longest_ready_steps > 0 && self.random.chance(50) {
            self.soon(self.scenario.longest_ready_steps, Happening::BeginAnew { seat, life, entry: key });
        } else {
            self.run_item(seat, life, index);
        }
        Ok(())
    }

    /// A worker is ready for a chunk with which it has begun, and writes down when.
    pub(crate) fn begin_anew(&mut self, seat: u16, life: u32, key: u64) -> Result<(), Violation> {
        let Some(index) = self.find_claimed(seat, life, key) else {
            return Ok(());
        };
        let chunk = self.workers[usize::from(seat)].claimed[index].chunk;
        let now_ns = self.now_ns;
        if let Some(entry) = self.table.entry(key) {
            entry.began_at_ns = now_ns;
        }
        self.see(Fact::BegunAnew { chunk })?;
        self.run_item(seat, life, index);
        Ok(())
    }

    /// An item takes its course.
    fn run_item(&mut self, seat: u16, life: u32, index: usize) {
        let Claimed { entry, job, item, attempt, is_side_by_side, .. } = self.workers[usize::from(seat)].claimed[index];
        let character = &self.scenario.jobs[self.planned[job]].character;
        let fate = Fate::of(character, item, attempt, &mut self.random);
        self.workers[usize::from(seat)].claimed[index].fate = Some(fate);
        if let Some(steps) = fate.steps {
            let is_nearly_over = is_side_by_side && self.table.entry(entry).is_some_and(|entry| entry.finished > 0);
            self.after(
                if is_nearly_over { steps.min(1) } else { steps },
                Happening::ItemDone { seat, life, entry, item },
            );
        }
        if let Some(steps) = fate.outgrows_after {
            self.after(steps, Happening::Outgrow { seat, life });
        }
    }

    pub(crate) fn item_done(&mut self, seat: u16, life: u32, key: u64, item: u32) -> Result<(), Violation> {
        let Some(index) = self.find_running(seat, life, (key, item)) else {
            return Ok(());
        };
        let Claimed { fate, may_drop_rest, .. } = self.workers[usize::from(seat)].claimed[index];
        let drops_rest = may_drop_rest && self.random.chance(50);
        self.end_item(seat, life, index, (fate.and_then(|fate| fate.trouble), drops_rest))
    }

    /// A worker gets to know that it is to stop an item. If it runs that no more, nothing happens.
    pub(crate) fn ask(&mut self, seat: u16, life: u32, (entry, item): (u64, u32), drops_rest: bool) {
        let Some(index) = self.find_running(seat, life, (entry, item)) else { return };
        let claimed = &mut self.workers[usize::from(seat)].claimed[index];
        claimed.may_drop_rest |= drops_rest;
        if let Some(steps) = claimed.fate.and_then(|fate| fate.stops_after) {
            self.after(steps, Happening::ItemStopped { seat, life, entry, item });
        }
    }

    /// An item that was asked to stop has, and says so as its outcome.
    pub(crate) fn item_stopped(&mut self, seat: u16, life: u32, key: u64, item: u32) -> Result<(), Violation> {
        let Some(index) = self.find_running(seat, life, (key, item)) else {
            return Ok(());
        };
        let drops_rest = self.workers[usize::from(seat)].claimed[index].may_drop_rest;
        self.end_item(seat, life, index, (Some(Trouble::Overran), drops_rest))
    }

    /// A worker writes down that an item is finished, and begins the next or says that the chunk is done.
    fn end_item(
        &mut self,
        seat: u16,
        life: u32,
        index: usize,
        (trouble, drops_rest): (Option<Trouble>, bool),
    ) -> Result<(), Violation> {
        let Claimed { entry: key, chunk, job, item, end, is_side_by_side, .. } =
            self.workers[usize::from(seat)].claimed[index];
        self.see(Fact::Over { chunk })?;
        let now_ns = self.now_ns;
        let is_done = item + 1 == end || drops_rest;
        if let Some(entry) = self.table.entry(key) {
            entry.note_end(trouble, now_ns);
            if is_done {
                entry.state = State::Done { seat, life };
                entry.done_at_ns = now_ns;
            }
        }
        if is_done {
            self.see(Fact::Done { chunk })?;
            self.workers[usize::from(seat)].claimed.remove(index);
            self.notice(Happening::Harvest { entry: key });
            self.soon(1, Happening::Look { seat, life });
            return Ok(());
        }
        let claimed = &mut self.workers[usize::from(seat)].claimed[index];
        claimed.item += 1;
        claimed.may_drop_rest = false;
        if !is_side_by_side {
            self.see(Fact::Begun { chunk, job, item: item + 1 })?;
        }
        self.run_item(seat, life, index);
        Ok(())
    }

    /// A worker outgrows its memory: the engine sees it and tells, now and then twice; or the system ends the worker,
    /// and the engine hears why when it notices the end.
    pub(crate) fn outgrow(&mut self, seat: u16, life: u32) -> Result<(), Violation> {
        let worker = &self.workers[usize::from(seat)];
        if worker.life != life || worker.activity == Activity::Vacant {
            return Ok(());
        }
        if worker.is_alive() && self.random.chance(40) {
            self.workers[usize::from(seat)].is_outgrown = true;
            return self.leave(seat, WorkerExit::Died);
        }
        if self.random.chance(20) {
            self.soon(3, Happening::Outgrow { seat, life });
        }
        self.tell(Event::WorkerOutgrown { worker: WorkerId(seat) })
    }

    /// A worker is killed: starting, idle, with chunks that it has only claimed, or in the middle of items.
    pub(crate) fn strike(&mut self, seat: u16, life: u32) -> Result<(), Violation> {
        if self.is_this_life(seat, life) && self.may_die() {
            self.deaths += 1;
            return self.leave(seat, WorkerExit::Died);
        }
        Ok(())
    }

    /// A process ends; the engine will notice.
    pub(crate) fn leave(&mut self, seat: u16, exit: WorkerExit) -> Result<(), Violation> {
        let worker = &mut self.workers[usize::from(seat)];
        worker.activity = Activity::Gone { exit };
        let life = worker.life;
        self.notice(Happening::NoticeExit { seat, life });
        self.see(Fact::Gone { worker: WorkerId(seat) })
    }

    pub(crate) fn is_this_life(&self, seat: u16, life: u32) -> bool {
        let worker = &self.workers[usize::from(seat)];
        worker.is_alive() && worker.life == life
    }

    fn may_die(&self) -> bool {
        self.deaths < self.scenario.most_deaths
    }
}
