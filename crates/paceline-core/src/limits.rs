//! Owns the limits of time: which items have run for as long as they may, what is done about it, and when to look again.
//! Never has a clock, and never sees a worker: it is told what the engine saw.
//!
//! # How the core knows when an item began
//!
//! A worker writes down when it began with a chunk, and how many items it has finished; not when each item began, which
//! would cost every item of every map a look at the clock. So the engine looks at the workers from time to time, and an
//! item counts from the first look at which it was seen to run. That can only be too late, by the time between two looks
//! (an eighth of the limit, at most [`LONGEST_PERIOD_NS`]): nothing is stopped before its time. The first item of a chunk,
//! and so every single call, counts from its very beginning; a single call that was seen to run is not looked at again
//! before it is due.
//!
//! # How an item is stopped
//!
//! First it is asked to ([`Command::StopItem`]): the worker raises something in it, and it may clean up. If it still runs
//! when its grace is over, its worker is ended ([`Command::EndItem`]), provided that it is the same item: the engine holds
//! the worker still while it looks, so that no other item is ever taken for it.

use crate::chunks::Assignment;
use crate::command::{Command, JobEnd, StopCause};
use crate::event::Trouble;
use crate::ids::{ChunkId, Moment, WorkerId};
use crate::scheduler::Scheduler;

/// The longest time between two looks at what has a limit.
pub(crate) const LONGEST_PERIOD_NS: u64 = 25_000_000;
/// The shortest.
const SHORTEST_PERIOD_NS: u64 = 1_000_000;
/// The time between two looks at the memory of workers.
const WEIGHING_PERIOD_NS: u64 = 10_000_000;
/// The part of a limit by which a stop may be late.
const PART_OF_LIMIT: u64 = 8;

/// How long it may be from one look to the next at something with this limit.
fn period_ns(timeout_ns: u64) -> u64 {
    (timeout_ns / PART_OF_LIMIT).clamp(SHORTEST_PERIOD_NS, LONGEST_PERIOD_NS)
}

/// What is known of a chunk that has to be looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Watch {
    /// How many items were finished when it was last seen.
    finished: u32,
    /// Since when the next one is known to run.
    since: Option<Moment>,
    stop: Option<Stop>,
}

/// A stop that is under way, of the item that comes after those that were finished.
#[derive(Clone, Copy, Debug)]
struct Stop {
    cause: StopCause,
    /// When the worker is ended, if the item has not stopped.
    end_at: Moment,
}

impl Watch {
    /// What has become of an item that was running when its worker was lost. `nth` is its place in the chunk.
    pub(crate) fn trouble_of(&self, nth: u32) -> Trouble {
        let is_overdue = self.stop.is_some_and(|stop| stop.cause == StopCause::Overrun) && nth == self.finished;
        if is_overdue { Trouble::Overran } else { Trouble::Died }
    }
}

/// When to look.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    is_memory_limited: bool,
    next: Option<Moment>,
    /// The first moment known at which something will be overdue.
    earliest: Option<Moment>,
}

impl Limits {
    pub(crate) fn new(is_memory_limited: bool) -> Self {
        Self { is_memory_limited, ..Self::default() }
    }

    /// Something with this limit (zero is none) has gone out.
    #[inline]
    pub(crate) fn note_published(&mut self, now: Moment, timeout_ns: u64) {
        if timeout_ns > 0 {
            self.want(now.after(period_ns(timeout_ns)));
        }
        if self.is_memory_limited {
            self.want(now.after(WEIGHING_PERIOD_NS));
        }
    }

    fn want(&mut self, at: Moment) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.is_memory_limited);
    }
}

impl Scheduler {
    /// When the core wants to be told that time has passed ([`Event::TimePassed`](crate::Event::TimePassed)), if it does.
    #[must_use]
    pub fn next_look(&self) -> Option<Moment> {
        let next = match (self.limits.next, self.again.next_due()) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        match (next, self.seats.next_overdue()) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// Whether the engine is to tell of a chunk what it sees before it tells that time has passed.
    #[must_use]
    pub fn is_watched(&self, chunk: ChunkId) -> bool {
        self.chunks.assignment(chunk).is_some() && self.chunks.watch(chunk.index).is_some()
    }

    /// Since when the item of a chunk is known to run that has not ended, if the chunk was ever looked at.
    #[must_use]
    pub fn running_since(&self, chunk: ChunkId) -> Option<Moment> {
        self.chunks.assignment(chunk)?;
        self.chunks.watch(chunk.index)?.since
    }

    pub(crate) fn on_chunk_sighted(
        &mut self,
        chunk: ChunkId,
        worker: WorkerId,
        (finished, began): (u32, Moment),
        commands: &mut Vec<Command>,
    ) {
        let Some(assignment) = self.chunks.assignment(chunk) else { return };
        let now = self.now;
        let job = self.jobs.job(assignment.job);
        job.note_begun();
        let terms = job.terms;
        let is_cancelled = job.ending() == Some(JobEnd::Cancelled);
        let Some(watch) = self.chunks.watch_mut(chunk.index) else { return };
        if finished >= assignment.count || finished < watch.finished {
            // It is about to be told; or a worker writes nonsense.
            return;
        }
        if finished > watch.finished || watch.since.is_none() {
            let since = if finished == 0 { began.min(now) } else { now };
            *watch = Watch { finished, since: Some(since), stop: None };
        } else if finished == 0 {
            // It may have begun anew since it was last seen: with the item itself, when its worker had got ready for it.
            watch.since = watch.since.max(Some(began.min(now)));
        }
        let since = watch.since.unwrap_or(now);
        let item = assignment.first + finished;
        let overdue_at = (terms.timeout_ns > 0).then(|| since.after(terms.timeout_ns));
        let cause = match overdue_at {
            _ if is_cancelled => Some(StopCause::Cancelled),
            Some(at) if now >= at => Some(StopCause::Overrun),
            _ => None,
        };
        let next = match (watch.stop, cause) {
            (None, Some(cause)) => {
                let end_at = now.after(terms.grace_ns);
                watch.stop = Some(Stop { cause, end_at });
                commands.push(Command::StopItem { worker, chunk, item, cause });
                Some(end_at)
            }
            (Some(stop), _) if now >= stop.end_at => {
                // Told again at the next look, should the engine have found that it was another item's turn.
                commands.push(Command::EndItem { worker, chunk, item });
                None
            }
            (Some(stop), _) => Some(stop.end_at),
            (None, None) => overdue_at,
        };
        if let Some(next) = next {
            self.limits.earliest = Some(self.limits.earliest.map_or(next, |earliest| earliest.min(next)));
        }
    }

    pub(crate) fn on_time_passed(&mut self, commands: &mut Vec<Command>) {
        self.release_due();
        self.plan_looks();
        self.end_overdue_starts(commands);
        self.dispatch(commands);
    }

    /// Plans the next look, while anything has to be looked at that is out: as soon as any of that needs it.
    fn plan_looks(&mut self) {
        let now = self.now;
        self.limits.next = None;
        if let Some(earliest) = self.limits.earliest.take() {
            self.limits.want(earliest.max(now.after(SHORTEST_PERIOD_NS / 4)));
        }
        if self.limits.is_memory_limited && self.chunks.published() > 0 {
            self.limits.want(now.after(WEIGHING_PERIOD_NS));
        }
        for (Assignment { job: number, count, .. }, watch) in self.chunks.watches() {
            let timeout_ns = self.jobs.job(number).terms.timeout_ns;
            let is_cancelled = self.jobs.ending(number) == Some(JobEnd::Cancelled);
            let due = watch.since.filter(|_| timeout_ns > 0).map(|since| since.after(timeout_ns));
            let is_known_until = |due: &Moment| count == 1 && !is_cancelled && watch.stop.is_none() && *due > now;
            let period_ns = if is_cancelled { SHORTEST_PERIOD_NS } else { period_ns(timeout_ns) };
            self.limits.want(due.filter(is_known_until).unwrap_or(now.after(period_ns)));
        }
    }

    /// Has a chunk looked at that a worker is known to have, because it is to be stopped.
    pub(crate) fn look_at(&mut self, chunk: ChunkId) {
        self.chunks.begin_watch(chunk.index);
        self.limits.want(self.now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, RetryOn, Sizing, Terms, WorkerExit};
    use crate::ids::JobId;
    use crate::rehearsal::{Rehearsal, chunk, complete, publish_again, start};

    const MS: u64 = 1_000_000;

    fn limited(pool: &mut Rehearsal, items: u32, retries: u16) {
        let retry_on = RetryOn { overrun: true, ..RetryOn::default() };
        let terms = Terms { retries, retry_on, timeout_ns: 100 * MS, grace_ns: 50 * MS, ..Terms::default() };
        pool.tell(Event::JobSubmitted { job: JobId(0), items, sizing: Sizing::Fixed(items), terms });
    }

    fn see(pool: &mut Rehearsal, at_ms: u64, id: (u32, u32), finished: u32) -> Vec<Command> {
        pool.now = Moment(at_ms * MS);
        let (chunk, worker) = (chunk(id), WorkerId(0));
        let mut commands = pool.tell(Event::ChunkSighted { chunk, worker, finished, began: Moment(MS) });
        commands.extend(pool.tell(Event::TimePassed));
        commands
    }

    fn stop(id: (u32, u32), item: u32, cause: StopCause) -> Command {
        Command::StopItem { worker: WorkerId(0), chunk: chunk(id), item, cause }
    }

    fn end(id: (u32, u32), item: u32) -> Command {
        Command::EndItem { worker: WorkerId(0), chunk: chunk(id), item }
    }

    #[test]
    fn item_is_asked_at_its_limit_and_its_worker_ended_after_the_grace() {
        let mut pool = Rehearsal::open(1, 4);
        limited(&mut pool, 1, 0);
        assert_eq!(pool.scheduler.next_look(), Some(Moment(12_500_000)));
        assert_eq!(see(&mut pool, 12, (0, 0), 0), []);
        assert_eq!(see(&mut pool, 100, (0, 0), 0), [], "it began at 1 ms");
        assert_eq!(pool.scheduler.next_look(), Some(Moment(101 * MS)), "the look comes when it is due");
        assert_eq!(see(&mut pool, 101, (0, 0), 0), [stop((0, 0), 0, StopCause::Overrun)]);
        assert_eq!(see(&mut pool, 150, (0, 0), 0), []);
        assert_eq!(see(&mut pool, 151, (0, 0), 0), [end((0, 0), 0)]);
        let trouble = Trouble::Overran;
        let fail = Command::FailItem { job: JobId(0), item: 0, worker: WorkerId(0), attempt: 0, trouble };
        assert_eq!(pool.lose(0, WorkerExit::Died, (0, 0), 0), [fail, complete(0), start(0)]);
        pool.tell(Event::TimePassed);
        assert_eq!(pool.scheduler.next_look(), None);
    }

    #[test]
    fn later_item_of_a_chunk_counts_from_when_it_was_first_seen() {
        let mut pool = Rehearsal::open(1, 4);
        limited(&mut pool, 3, 0);
        assert_eq!(see(&mut pool, 90, (0, 0), 0), []);
        assert_eq!(see(&mut pool, 110, (0, 0), 1), []);
        assert_eq!(see(&mut pool, 209, (0, 0), 1), []);
        assert_eq!(see(&mut pool, 210, (0, 0), 1), [stop((0, 0), 1, StopCause::Overrun)]);
        assert_eq!(see(&mut pool, 220, (0, 0), 2), [], "it has stopped, and the next has its own time");
        assert_eq!(see(&mut pool, 270, (0, 0), 2), []);
        assert_eq!(see(&mut pool, 320, (0, 0), 2), [stop((0, 0), 2, StopCause::Overrun)]);
    }

    #[test]
    fn item_that_was_overdue_is_the_only_one_that_overran() {
        let mut pool = Rehearsal::open(1, 4);
        limited(&mut pool, 3, 0);
        see(&mut pool, 200, (0, 0), 0);
        let answer = pool.lose(0, WorkerExit::Died, (0, 0), 1);
        let trouble = Trouble::Died;
        assert_eq!(answer[0], Command::FailItem { job: JobId(0), item: 1, worker: WorkerId(0), attempt: 0, trouble });
    }

    #[test]
    fn overdue_item_is_run_again_if_asked_for() {
        let mut pool = Rehearsal::open(1, 4);
        limited(&mut pool, 1, 1);
        see(&mut pool, 200, (0, 0), 0);
        assert_eq!(pool.lose(0, WorkerExit::Died, (0, 0), 0), [start(0), publish_again((0, 1), 0, 0, 1)]);
        assert_eq!(see(&mut pool, 230, (0, 1), 0), [stop((0, 1), 0, StopCause::Overrun)], "a limit of its own");
    }

    #[test]
    fn nothing_is_looked_at_that_has_no_limit() {
        let mut pool = Rehearsal::open(1, 4);
        pool.submit(0, 1, 1);
        assert_eq!(pool.scheduler.next_look(), None);
        assert!(!pool.scheduler.is_watched(chunk((0, 0))));
        assert_eq!(see(&mut pool, 1_000_000, (0, 0), 0), []);
    }

    #[test]
    fn memory_is_looked_at_as_long_as_something_runs() {
        let config = crate::Config {
            workers: 1,
            table_slots: 4,
            start_timeout_ns: 0,
            is_memory_limited: true,
            tokens: crate::Tokens::default(),
        };
        let mut pool = Rehearsal { scheduler: Scheduler::new(config), now: Moment(0) };
        pool.tell(Event::PoolOpened);
        assert_eq!(pool.scheduler.next_look(), None);
        pool.submit(0, 1, 1);
        assert_eq!(pool.scheduler.next_look(), Some(Moment(WEIGHING_PERIOD_NS)));
        pool.now = Moment(WEIGHING_PERIOD_NS);
        pool.tell(Event::TimePassed);
        assert_eq!(pool.scheduler.next_look(), Some(Moment(2 * WEIGHING_PERIOD_NS)));
        pool.finish((0, 0));
        pool.tell(Event::TimePassed);
        assert_eq!(pool.scheduler.next_look(), None);
    }

    #[test]
    fn item_that_begins_anew_counts_from_then() {
        let mut pool = Rehearsal::open(1, 4);
        limited(&mut pool, 1, 0);
        assert_eq!(see(&mut pool, 12, (0, 0), 0), [], "before its worker gets ready for it");
        let worker = WorkerId(0);
        for (at_ms, began_ms, answer) in [(101, 80, None), (179, 80, None), (180, 80, Some(StopCause::Overrun))] {
            pool.now = Moment(at_ms * MS);
            let began = Moment(began_ms * MS);
            let commands = pool.tell(Event::ChunkSighted { chunk: chunk((0, 0)), worker, finished: 0, began });
            assert_eq!(commands, answer.map(|cause| stop((0, 0), 0, cause)).into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn beginning_that_is_said_to_come_is_taken_for_now() {
        let mut pool = Rehearsal::open(1, 4);
        limited(&mut pool, 1, 0);
        see(&mut pool, 12, (0, 0), 0);
        pool.now = Moment(20 * MS);
        let (chunk, worker, began) = (chunk((0, 0)), WorkerId(0), Moment(u64::MAX));
        pool.tell(Event::ChunkSighted { chunk, worker, finished: 0, began });
        assert_eq!(pool.scheduler.running_since(chunk), Some(Moment(20 * MS)));
    }

    #[test]
    fn single_call_that_was_seen_to_run_is_looked_at_when_it_is_due() {
        let mut pool = Rehearsal::open(1, 4);
        limited(&mut pool, 1, 0);
        pool.now = Moment(12 * MS);
        pool.tell(Event::TimePassed);
        assert_eq!(pool.scheduler.next_look(), Some(Moment(24_500_000)), "it was not seen yet");
        see(&mut pool, 24, (0, 0), 0);
        assert_eq!(pool.scheduler.next_look(), Some(Moment(101 * MS)));
        see(&mut pool, 50, (0, 0), 0);
        assert_eq!(pool.scheduler.next_look(), Some(Moment(101 * MS)));
        pool.now = Moment(102 * MS);
        pool.tell(Event::TimePassed);
        assert_eq!(pool.scheduler.next_look(), Some(Moment(114_500_000)), "it is due, and not seen");
    }

    #[test]
    fn chunk_of_several_items_is_looked_at_all_the_time() {
        let mut pool = Rehearsal::open(1, 4);
        limited(&mut pool, 2, 0);
        see(&mut pool, 12, (0, 0), 0);
        assert_eq!(pool.scheduler.next_look(), Some(Moment(24_500_000)));
    }

    #[test]
    fn looks_are_seldom_again_when_what_needed_them_has_ended() {
        let mut pool = Rehearsal::open(2, 4);
        let terms = Terms { timeout_ns: 3_600_000 * MS, ..Terms::default() };
        pool.tell(Event::JobSubmitted { job: JobId(0), items: 2, sizing: Sizing::Fixed(2), terms });
        let terms = Terms { timeout_ns: 1, ..Terms::default() };
        pool.tell(Event::JobSubmitted { job: JobId(1), items: 1, sizing: Sizing::Fixed(1), terms });
        pool.submit(2, 2, 2);
        pool.tell(Event::CancelRequested { job: JobId(2), stops_running: true });
        pool.kept((2, 0));
        pool.tell(Event::TimePassed);
        assert_eq!(pool.scheduler.next_look(), Some(Moment(SHORTEST_PERIOD_NS)));
        pool.finish((1, 0));
        pool.tell(Event::TimePassed);
        assert_eq!(pool.scheduler.next_look(), Some(Moment(SHORTEST_PERIOD_NS)), "one is to be stopped");
        pool.finish((2, 0));
        pool.tell(Event::TimePassed);
        assert_eq!(pool.scheduler.next_look(), Some(Moment(LONGEST_PERIOD_NS)));
    }

    #[test]
    fn looks_are_as_frequent_as_the_shortest_limit_needs() {
        let mut pool = Rehearsal::open(1, 4);
        let terms = Terms { timeout_ns: 3_600_000 * MS, ..Terms::default() };
        pool.tell(Event::JobSubmitted { job: JobId(0), items: 1, sizing: Sizing::Fixed(1), terms });
        assert_eq!(pool.scheduler.next_look(), Some(Moment(LONGEST_PERIOD_NS)));
        let terms = Terms { timeout_ns: 1, ..Terms::default() };
        pool.tell(Event::JobSubmitted { job: JobId(1), items: 1, sizing: Sizing::Fixed(1), terms });
        assert_eq!(pool.scheduler.next_look(), Some(Moment(SHORTEST_PERIOD_NS)));
    }
}
