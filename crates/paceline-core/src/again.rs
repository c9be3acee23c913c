//! Owns the items that are to be run again, but not at once: those that wait out their backoff, and those that are to
//! run while nothing else does. Never decides which items these are.
//!
//! # Backoff
//!
//! The first time an item waits for the backoff that was asked for, each time after for twice as long, and each time
//! for between a half and all of that: items that failed together, because what they all need was out of order, do not
//! come back together (*exponential backoff with jitter*; M. Brooker, "Exponential Backoff And Jitter", AWS Architecture
//! Blog, 2015, where this kind is called equal jitter). The core has no source of chance, and must give the same commands
//! for the same events; so the jitter follows from the item's own numbers.
//!
//! # Alone
//!
//! What outgrew the memory while others ran beside it may fit when nothing does. From the moment such an item is due,
//! nothing is published; when the table is empty it goes out, and all others follow when it has ended.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::command::Command;
use crate::event::Trouble;
use crate::ids::{ChunkId, JobId, Moment};
use crate::jobs::Range;
use crate::scheduler::Scheduler;

/// The longest that an item waits before it is run again: an hour.
const LONGEST_BACKOFF_NS: u64 = 3_600_000_000_000;

/// An item that is to be run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    job: JobId,
    item: u32,
    attempt: u16,
    is_alone: bool,
}

/// The items that are to be run again later.
#[derive(Debug, Default)]
pub(crate) struct Again {
    /// Those that wait until a moment, the soonest first.
    delayed: BinaryHeap<Reverse<(Moment, Waiting)>>,
    /// Those that wait until nothing else runs.
    alone: VecDeque<Waiting>,
    /// The one of these that is out.
    lonely: Option<ChunkId>,
    /// Whether nothing is to be run again any more, but for what waits for it already.
    is_over: bool,
}

impl Again {
    /// When the next item is due, if one waits for its moment.
    pub(crate) fn next_due(&self) -> Option<Moment> {
        self.delayed.peek().map(|Reverse((due, _))| *due)
    }

    /// Whether something runs alone, or is to.
    pub(crate) fn is_anything_alone(&self) -> bool {
        self.lonely.is_some() || !self.alone.is_empty()
    }

    /// From now on nothing more is to be run again: what comes to nothing fails.
    pub(crate) fn refuse(&mut self) {
        self.is_over = true;
    }

    /// Whether nothing more is to be run again.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Drops what waits of a job that is to end early: it is not run again, and nobody is to be woken for it.
    pub(crate) fn drop_job(&mut self, job: JobId) {
        self.delayed.retain(|Reverse((_, waiting))| waiting.job != job);
        self.alone.retain(|waiting| waiting.job != job);
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// How long an item waits that has been begun so often.
fn delay_ns(backoff_ns: u64, begun: u16, place: u64, item: u32) -> u64 {
    if backoff_ns == 0 {
        return 0;
    }
    let doublings = u32::from(begun.saturating_sub(1)).min(63);
    let whole = backoff_ns.checked_shl(doublings).filter(|whole| whole >> doublings == backoff_ns);
    let whole = whole.unwrap_or(LONGEST_BACKOFF_NS).min(LONGEST_BACKOFF_NS);
    let half = whole / 2;
    half + mix(place ^ (u64::from(item) << 20) ^ (u64::from(begun) << 52)) % (whole - half + 1)
}

/// Scatters a number over all 64 bits (the finalizer of `SplitMix64`, by Sebastiano Vigna, public domain).
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl Scheduler {
    /// Whether an item is run again after this, having been begun `attempt` times before.
    pub(crate) fn is_tried_again(&mut self, number: JobId, attempt: u16, trouble: Trouble) -> bool {
        let job = self.jobs.job(number);
        let retry_on = job.terms.retry_on;
        let is_of_a_kind = match trouble {
            Trouble::Failed => false,
            Trouble::MayPass => true,
            Trouble::Overran => retry_on.overrun,
            Trouble::Died => retry_on.death,
            Trouble::Outgrew => retry_on.outgrowth,
        };
        is_of_a_kind && attempt < job.terms.retries && job.ending().is_none() && !self.again.is_over
    }

    /// Has an item run again that had been begun `attempt` times before this time: at once, or when its time has come.
    pub(crate) fn run_again(&mut self, number: JobId, item: u32, attempt: u16, trouble: Trouble) {
        let job = self.jobs.job(number);
        let (place, terms) = (job.place, job.terms);
        let attempt = attempt + 1;
        let is_alone = trouble == Trouble::Outgrew && terms.retry_on.alone_after_outgrowth;
        let delay = delay_ns(terms.backoff_ns, attempt, place, item);
        if delay == 0 && !is_alone {
            return self.put_back(number, Range::again(item, attempt));
        }
        let due = Moment(self.now.0.saturating_add(delay));
        let waiting = Waiting { job: number, item, attempt, is_alone };
        if delay == 0 {
            self.again.alone.push_back(waiting);
        } else {
            self.again.delayed.push(Reverse((due, waiting)));
        }
    }

    /// Puts those back whose moment has come.
    pub(crate) fn release_due(&mut self) {
        while let Some(Reverse((due, waiting))) = self.again.delayed.peek().copied()
            && due <= self.now
        {
            self.again.delayed.pop();
            if waiting.is_alone {
                self.again.alone.push_back(waiting);
            } else {
                self.put_back(waiting.job, Range::again(waiting.item, waiting.attempt));
            }
        }
    }

    /// Publishes the next item that is to run alone, if it is; whether others may be published.
    #[cold]
    pub(crate) fn dispatch_alone(&mut self, commands: &mut Vec<Command>) -> bool {
        if let Some(chunk) = self.again.lonely {
            if self.chunks.assignment(chunk).is_some() {
                return false;
            }
            self.again.lonely = None;
        }
        if self.again.alone.is_empty() {
            return true;
        }
        if self.chunks.published() == 0
            && let Some(Waiting { job: number, item, attempt, .. }) = self.again.alone.pop_front()
        {
            self.again.lonely = Some(self.publish(number, Range::again(item, attempt), commands));
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, RetryOn, Sizing, Terms, WorkerExit};
    use crate::ids::WorkerId;
    use crate::rehearsal::{Rehearsal, chunk, complete, publish, publish_again, start};

    fn failed((index, generation): (u32, u32), item: u32, trouble: Trouble) -> Event {
        Event::ItemFailed { chunk: chunk((index, generation)), item, trouble }
    }

    #[test]
    fn failure_that_may_pass_is_forgotten_and_run_again_as_often_as_allowed() {
        let mut pool = Rehearsal::open(1, 4);
        pool.submit_sized(0, 3, Sizing::Fixed(3), 1);
        assert_eq!(pool.tell(failed((0, 0), 1, Trouble::MayPass)), [Command::ForgetItem { job: JobId(0), item: 1 }]);
        assert_eq!(pool.tell(failed((0, 0), 2, Trouble::Failed)), []);
        assert_eq!(pool.finish((0, 0)), [publish_again((0, 1), 0, 1, 1)]);
        assert_eq!(pool.tell(failed((0, 1), 1, Trouble::MayPass)), [], "its retries are used up");
        assert_eq!(pool.finish((0, 1)), [complete(0)]);
    }

    #[test]
    fn item_waits_out_its_backoff_and_others_go_on() {
        let mut pool = Rehearsal::open(1, 1);
        let terms = Terms { retries: 3, backoff_ns: 1_000_000, ..Terms::default() };
        pool.tell(Event::JobSubmitted { job: JobId(0), items: 1, sizing: Sizing::Fixed(1), terms });
        pool.submit(1, 1, 1);
        pool.tell(failed((0, 0), 0, Trouble::MayPass));
        assert_eq!(pool.finish((0, 0)), [publish((0, 1), 1, 0, 1)]);
        assert_eq!(pool.finish((0, 1)), [complete(1)]);
        let due = pool.scheduler.next_look().expect("an item waits");
        assert!((500_000..=1_000_000).contains(&due.0), "{due:?}");
        pool.now = Moment(due.0 - 1);
        assert_eq!(pool.tell(Event::TimePassed), [], "too soon");
        pool.now = due;
        assert_eq!(pool.tell(Event::TimePassed), [publish_again((0, 2), 0, 0, 1)]);
        assert_eq!(pool.scheduler.next_look(), None);
    }

    #[test]
    fn backoff_doubles_and_is_bounded() {
        for begun in 1..=40 {
            let whole = (1_000_u64 << (begun - 1)).min(LONGEST_BACKOFF_NS);
            for item in 0..50 {
                let delay = delay_ns(1_000, begun, 7, item);
                assert!(delay >= whole / 2 && delay <= whole, "attempt {begun}: {delay}");
            }
        }
        assert!(delay_ns(u64::MAX, 9, 1, 1) <= LONGEST_BACKOFF_NS);
        assert_eq!(delay_ns(0, 9, 1, 1), 0);
    }

    #[test]
    fn what_outgrew_the_memory_runs_alone() {
        let mut pool = Rehearsal::open(2, 4);
        let retry_on = RetryOn { alone_after_outgrowth: true, ..RetryOn::default() };
        let terms = Terms { retries: 1, retry_on, ..Terms::default() };
        pool.tell(Event::JobSubmitted { job: JobId(0), items: 3, sizing: Sizing::Fixed(1), terms });
        pool.submit(1, 2, 1);
        assert_eq!(pool.tell(Event::WorkerOutgrown { worker: WorkerId(0) }), [pool_kills(0)]);
        assert_eq!(pool.lose(0, WorkerExit::Died, (0, 0), 0), [start(0)], "the others end first");
        assert_eq!(pool.finish((1, 0)), []);
        assert_eq!(pool.finish((2, 0)), []);
        assert_eq!(pool.finish((3, 0)), [publish_again((3, 1), 0, 0, 1)]);
        assert_eq!(pool.finish((3, 1)), [complete(0), publish((3, 2), 1, 1, 1)]);
    }

    #[test]
    fn item_of_a_job_that_ended_meanwhile_is_not_run_again() {
        let mut pool = Rehearsal::open(1, 4);
        let terms = Terms { retries: 3, backoff_ns: 1_000, ..Terms::default() };
        pool.tell(Event::JobSubmitted { job: JobId(0), items: 1, sizing: Sizing::Fixed(1), terms });
        pool.tell(failed((0, 0), 0, Trouble::MayPass));
        pool.finish((0, 0));
        let cancelled = pool.tell(Event::CancelRequested { job: JobId(0), stops_running: true });
        assert_eq!(cancelled, [crate::rehearsal::cancelled(0)]);
        assert_eq!(pool.scheduler.next_look(), None, "nobody is woken for it");
        pool.submit(0, 1, 1);
        pool.now = Moment(1_000_000);
        assert_eq!(pool.tell(Event::TimePassed), []);
    }

    fn resting(pool: &mut Rehearsal) -> Moment {
        let terms = Terms { retries: 3, backoff_ns: 1_000_000, ..Terms::default() };
        pool.tell(Event::JobSubmitted { job: JobId(0), items: 2, sizing: Sizing::Fixed(1), terms });
        pool.finish((0, 0));
        pool.tell(failed((1, 0), 1, Trouble::MayPass));
        assert_eq!(pool.cancel(0), [], "it runs");
        assert_eq!(pool.finish((1, 0)), []);
        pool.scheduler.next_look().expect("an item waits")
    }

    #[test]
    fn job_that_only_waits_to_be_run_again_can_be_cancelled() {
        let mut pool = Rehearsal::open(1, 4);
        resting(&mut pool);
        assert_eq!(pool.cancel(0), [crate::rehearsal::cancelled(0)]);
        assert_eq!(pool.scheduler.next_look(), None, "nobody is woken for it");
    }

    #[test]
    fn item_that_is_to_be_run_again_is_asked_back_when_it_lies_in_the_table() {
        let mut pool = Rehearsal::open(1, 4);
        pool.now = resting(&mut pool);
        assert_eq!(pool.tell(Event::TimePassed), [publish_again((1, 1), 0, 1, 1)]);
        assert_eq!(pool.cancel(0), [Command::Withdraw { chunk: chunk((1, 1)) }]);
        assert_eq!(pool.withdrawn((1, 1)), [crate::rehearsal::cancelled(0)]);
        assert_eq!(pool.scheduler.waiting_items(), 0);
    }

    #[test]
    fn closing_with_cancel_ends_what_waits_to_be_run_again_and_runs_nothing_more_again() {
        let mut pool = Rehearsal::open(1, 4);
        resting(&mut pool);
        let terms = Terms { retries: 3, ..Terms::default() };
        pool.tell(Event::JobSubmitted { job: JobId(1), items: 1, sizing: Sizing::Fixed(1), terms });
        let answer = pool.tell(Event::PoolClosed { cancel_waiting: true });
        assert!(answer.contains(&crate::rehearsal::cancelled(0)), "{answer:?}");
        pool.kept((1, 1));
        let answer = pool.lose(0, WorkerExit::Died, (1, 1), 0);
        assert!(answer.iter().any(|command| matches!(command, Command::FailItem { job: JobId(1), .. })), "{answer:?}");
    }

    #[test]
    fn closing_with_cancel_ends_a_job_when_what_runs_of_it_has_ended_and_the_rest_waits_to_be_run_again() {
        let mut pool = Rehearsal::open(2, 4);
        let terms = Terms { retries: 3, backoff_ns: 1_000_000, ..Terms::default() };
        pool.tell(Event::JobSubmitted { job: JobId(0), items: 2, sizing: Sizing::Fixed(1), terms });
        pool.tell(failed((0, 0), 0, Trouble::MayPass));
        pool.finish((0, 0));
        assert_eq!(pool.tell(Event::PoolClosed { cancel_waiting: true }), [], "the other one runs");
        assert!(pool.finish((1, 0)).contains(&crate::rehearsal::cancelled(0)));
    }

    fn pool_kills(worker: u16) -> Command {
        Command::KillWorker { worker: WorkerId(worker) }
    }
}
