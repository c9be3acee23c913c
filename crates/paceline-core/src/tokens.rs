//! Owns the tokens of a pool: how many of each kind are left, which chunk holds which, and which jobs wait for some. Never
//! publishes anything.
//!
//! A chunk takes its tokens when it is published, and gives them back when it has ended, is lost or is withdrawn. A job
//! for which there are none steps aside, so that those behind it that need none go on. It keeps its turn: of those that
//! want the same kind none that is younger or less urgent gets any before it, or the largest would wait for ever.
//!
//! Tokens of the first kind stand for devices, and are numbered: a job gets whole ones, or a part of one.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::backlog::{Backlog, Entry};
use crate::ids::JobId;

/// How many kinds of tokens there may be.
pub const TOKEN_KINDS: usize = 8;
/// What one token counts, so that there may be parts of one.
pub const WHOLE_TOKEN: u32 = 1_000;
/// How many devices there may be.
pub const MOST_DEVICES: u32 = 32;

/// Some tokens of each kind, in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tokens(pub [u32; TOKEN_KINDS]);

impl Tokens {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a pool that has all these could ever give so many to one chunk.
    #[must_use]
    pub fn could_give(&self, demand: &Self) -> bool {
        Stock::new(*self).has(demand)
    }

    fn shares_a_kind_with(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(one, other)| *one > 0 && *other > 0)
    }
}

/// What is left.
#[derive(Clone, Debug)]
struct Stock {
    amounts: Tokens,
    /// Of each device.
    devices: Vec<u32>,
}

impl Stock {
    fn new(amounts: Tokens) -> Self {
        let devices = (amounts.0[0] / WHOLE_TOKEN).min(MOST_DEVICES);
        Self { amounts, devices: vec![WHOLE_TOKEN; devices as usize] }
    }

    fn has(&self, demand: &Tokens) -> bool {
        demand.0.iter().zip(&self.amounts.0).all(|(wanted, left)| wanted <= left)
            && self.devices_for(demand.0[0]).is_some()
    }

    /// A set of devices that can give so much: whole ones, or the one that is used most of those that have enough left.
    fn devices_for(&self, wanted: u32) -> Option<u32> {
        let all = (0..).zip(&self.devices);
        if wanted == 0 {
            Some(0)
        } else if wanted < WHOLE_TOKEN {
            let fitting = all.filter(|(_, left)| **left >= wanted);
            fitting.min_by_key(|(_, left)| **left).map(|(device, _)| 1 << device)
        } else {
            let count = (wanted / WHOLE_TOKEN) as usize;
            let whole = all.filter(|(_, left)| **left == WHOLE_TOKEN).take(count);
            let set = whole.fold(0_u32, |set, (device, _)| set | 1 << device);
            (set.count_ones() as usize == count && wanted.is_multiple_of(WHOLE_TOKEN)).then_some(set)
        }
    }

    fn take(&mut self, demand: &Tokens) -> u32 {
        let devices = self.devices_for(demand.0[0]).expect("tokens are taken only where there are enough");
        self.change(demand, devices, |left, part| left - part);
        devices
    }

    fn give(&mut self, demand: &Tokens, devices: u32) {
        self.change(demand, devices, |left, part| left + part);
    }

    fn change(&mut self, demand: &Tokens, devices: u32, step: impl Fn(u32, u32) -> u32) {
        for (left, part) in self.amounts.0.iter_mut().zip(demand.0) {
            *left = step(*left, part);
        }
        let part = demand.0[0].min(WHOLE_TOKEN);
        for (device, left) in (0..).zip(&mut self.devices) {
            if devices & 1 << device != 0 {
                *left = step(*left, part);
            }
        }
    }
}

/// The turn of a job: the most urgent first, and of those the oldest.
type Turn = (Reverse<i16>, u64);

/// The tokens of a pool.
#[derive(Debug)]
pub(crate) struct Purse {
    all: Tokens,
    left: Stock,
    /// What each chunk holds, by its number.
    held: Vec<(Tokens, u32)>,
    /// The jobs that have stepped aside, by what they want; there is no empty queue.
    waiting: BTreeMap<Tokens, BTreeMap<Turn, JobId>>,
}

impl Purse {
    pub(crate) fn new(all: Tokens) -> Self {
        Self { all, left: Stock::new(all), held: Vec::new(), waiting: BTreeMap::new() }
    }

    /// Whether a job that wants so many could ever get them.
    pub(crate) fn could_give(&self, demand: &Tokens) -> bool {
        demand.is_empty() || self.all.could_give(demand)
    }

    /// Whether it is the turn of a job, and there are enough.
    pub(crate) fn may_give(&self, entry: Entry, demand: &Tokens) -> bool {
        self.left.has(demand) && self.is_turn_of(turn(entry), demand, |_| true)
    }

    /// Whether no job that comes sooner waits for any of these, among the queues that count.
    fn is_turn_of(&self, turn: Turn, demand: &Tokens, counts: impl Fn(&Tokens) -> bool) -> bool {
        let mut queues = self.waiting.iter().filter(|(wanted, _)| counts(wanted));
        !queues.any(|(wanted, queue)| {
            demand.shares_a_kind_with(wanted) && queue.first_key_value().is_some_and(|(first, _)| *first < turn)
        })
    }

    /// Gives a chunk its tokens, of which there are enough; the devices among them, as a set.
    pub(crate) fn give(&mut self, chunk: u32, demand: &Tokens) -> u32 {
        let index = chunk as usize;
        if self.held.len() <= index {
            self.held.resize(index + 1, (Tokens::default(), 0));
        }
        let devices = self.left.take(demand);
        self.held[index] = (*demand, devices);
        devices
    }

    /// Takes the tokens of a chunk back, and has those go on that waited for them.
    pub(crate) fn take_back(&mut self, chunk: u32, backlog: &mut Backlog) {
        let Some(held) = self.held.get_mut(chunk as usize) else { return };
        let (tokens, devices) = std::mem::take(held);
        if !tokens.is_empty() {
            self.left.give(&tokens, devices);
            self.call_up(backlog);
        }
    }

    /// A job waits until there are tokens for it.
    pub(crate) fn set_aside(&mut self, entry: Entry, demand: Tokens) {
        self.waiting.entry(demand).or_default().insert(turn(entry), entry.job);
    }

    /// A job wants no more, whether it has stepped aside or been called up.
    pub(crate) fn forget(&mut self, entry: Entry, demand: &Tokens, backlog: &mut Backlog) {
        if !demand.is_empty() {
            self.remove(&turn(entry), demand);
            // Others may have waited behind it.
            self.call_up(backlog);
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.all);
    }

    fn remove(&mut self, turn: &Turn, demand: &Tokens) {
        if let Some(queue) = self.waiting.get_mut(demand) {
            queue.remove(turn);
            if queue.is_empty() {
                self.waiting.remove(demand);
            }
        }
    }

    /// Sends those back to the backlog for which there are tokens now, each in its turn.
    fn call_up(&mut self, backlog: &mut Backlog) {
        let mut left = self.left.clone();
        // What those want that come sooner and have to wait on; the rest of each such queue waits with its first.
        let mut refused: Vec<Tokens> = Vec::new();
        while let Some((turn, job, demand)) = self.next_but(&refused) {
            if left.has(&demand) && !refused.iter().any(|other| other.shares_a_kind_with(&demand)) {
                left.take(&demand);
                self.remove(&turn, &demand);
                let (Reverse(priority), place) = turn;
                backlog.enter(Entry { place, priority, job });
            } else {
                refused.push(demand);
            }
        }
    }

    /// Whose turn it is, but for those that want what has been refused.
    fn next_but(&self, refused: &[Tokens]) -> Option<(Turn, JobId, Tokens)> {
        let queues = self.waiting.iter().filter(|(demand, _)| !refused.contains(demand));
        let firsts = queues.filter_map(|(demand, queue)| {
            let (turn, job) = queue.first_key_value()?;
            Some((*turn, *job, *demand))
        });
        firsts.min_by_key(|(turn, ..)| *turn)
    }
}

fn turn(entry: Entry) -> Turn {
    (Reverse(entry.priority), entry.place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Command;
    use crate::event::{Event, Sizing, Terms, WorkerExit};
    use crate::rehearsal::{Rehearsal, cancelled, chunk, complete, publish};

    fn tokens(devices: u32, other: u32) -> Tokens {
        let mut amounts = [0; TOKEN_KINDS];
        (amounts[0], amounts[1]) = (devices, other);
        Tokens(amounts)
    }

    /// Submits a job of chunks of one item that want so many tokens each.
    fn submit(pool: &mut Rehearsal, job: u32, items: u32, wanted: Tokens, priority: i16) -> Vec<Command> {
        let terms = Terms { tokens: wanted, priority, ..Terms::default() };
        pool.tell(Event::JobSubmitted { job: JobId(job), items, sizing: Sizing::Fixed(1), terms })
    }

    fn publish_on(id: (u32, u32), job: u32, first: u32, devices: u32) -> Command {
        Command::Publish { chunk: chunk(id), job: JobId(job), first, count: 1, attempt: 0, devices }
    }

    #[test]
    fn no_more_run_at_once_than_there_are_tokens_for_and_others_pass_by() {
        let mut pool = Rehearsal::with_tokens(4, 16, tokens(0, 2_000));
        assert_eq!(submit(&mut pool, 0, 4, tokens(0, 1_000), 0), [publish((0, 0), 0, 0, 1), publish((1, 0), 0, 1, 1)]);
        assert_eq!(pool.submit(1, 1, 1), [publish((2, 0), 1, 0, 1)], "it needs none");
        assert_eq!(pool.finish((0, 0)), [publish((0, 1), 0, 2, 1)]);
        assert_eq!(pool.finish((2, 0)), [complete(1)]);
        assert_eq!(pool.lose(0, WorkerExit::Died, (1, 0), 0).last(), Some(&publish((1, 1), 0, 3, 1)));
    }

    #[test]
    fn who_wants_much_is_not_passed_by_those_that_want_little_of_the_same() {
        let mut pool = Rehearsal::with_tokens(4, 16, tokens(0, 2_000));
        submit(&mut pool, 0, 1, tokens(0, 1_000), 0);
        assert_eq!(submit(&mut pool, 1, 1, tokens(0, 2_000), 0), []);
        assert_eq!(submit(&mut pool, 2, 1, tokens(0, 1_000), 0), [], "there is one left, but job 1 waits for two");
        assert_eq!(pool.finish((0, 0)), [complete(0), publish((0, 1), 1, 0, 1)]);
        assert_eq!(pool.finish((0, 1)), [complete(1), publish((0, 2), 2, 0, 1)]);
    }

    #[test]
    fn urgent_job_gets_tokens_first() {
        let mut pool = Rehearsal::with_tokens(2, 16, tokens(0, 1_000));
        submit(&mut pool, 0, 3, tokens(0, 1_000), 0);
        assert_eq!(submit(&mut pool, 1, 1, tokens(0, 1_000), 5), []);
        assert_eq!(pool.finish((0, 0)), [publish((0, 1), 1, 0, 1)]);
        assert_eq!(pool.finish((0, 1)), [complete(1), publish((0, 2), 0, 1, 1)]);
    }

    #[test]
    fn cancelled_job_makes_way_for_those_that_waited_behind_it() {
        let mut pool = Rehearsal::with_tokens(4, 16, tokens(0, 2_000));
        submit(&mut pool, 0, 1, tokens(0, 1_000), 0);
        submit(&mut pool, 1, 1, tokens(0, 2_000), 0);
        submit(&mut pool, 2, 1, tokens(0, 1_000), 0);
        assert_eq!(pool.cancel(1), [cancelled(1), publish((1, 0), 2, 0, 1)]);
    }

    #[test]
    fn withdrawn_chunk_gives_its_tokens_back() {
        let mut pool = Rehearsal::with_tokens(1, 16, tokens(0, 1_000));
        submit(&mut pool, 0, 1, tokens(0, 1_000), 0);
        submit(&mut pool, 1, 1, tokens(0, 1_000), 0);
        pool.cancel(0);
        assert_eq!(pool.withdrawn((0, 0)), [cancelled(0), publish((0, 1), 1, 0, 1)]);
    }

    #[test]
    fn devices_are_whole_or_shared_and_come_back() {
        let mut pool = Rehearsal::with_tokens(4, 16, tokens(3_000, 0));
        assert_eq!(submit(&mut pool, 0, 1, tokens(500, 0), 0), [publish_on((0, 0), 0, 0, 0b001)]);
        assert_eq!(submit(&mut pool, 1, 1, tokens(1_000, 0), 0), [publish_on((1, 0), 1, 0, 0b010)]);
        assert_eq!(submit(&mut pool, 2, 1, tokens(400, 0), 0), [publish_on((2, 0), 2, 0, 0b001)], "it shares");
        assert_eq!(submit(&mut pool, 3, 1, tokens(2_000, 0), 0), []);
        assert_eq!(pool.finish((1, 0)), [complete(1), publish_on((1, 1), 3, 0, 0b110)]);
        assert_eq!(submit(&mut pool, 4, 1, tokens(200, 0), 0), [], "only a tenth of a device is left");
        assert_eq!(pool.finish((2, 0)), [complete(2), publish_on((2, 1), 4, 0, 0b001)]);
    }

    #[test]
    fn pool_that_is_given_up_forgets_who_waits() {
        let mut pool = Rehearsal::with_tokens(1, 16, tokens(0, 1_000));
        submit(&mut pool, 0, 3, tokens(0, 1_000), 0);
        pool.tell(Event::PoolTerminated);
        assert_eq!(pool.scheduler.waiting_items(), 0);
        assert_eq!(pool.exit(0, WorkerExit::Died), [Command::EndPool]);
    }

    #[test]
    fn what_can_never_be_had_is_known() {
        let all = tokens(2_000, 500);
        assert!(all.could_give(&tokens(2_000, 500)));
        assert!(all.could_give(&tokens(300, 0)));
        assert!(!all.could_give(&tokens(3_000, 0)));
        assert!(!all.could_give(&tokens(1_500, 0)), "of a device and a half");
        assert!(!all.could_give(&tokens(0, 501)));
    }

    #[test]
    #[should_panic(expected = "more tokens than the pool has")]
    fn demand_that_can_never_be_met_is_refused_loudly() {
        let mut pool = Rehearsal::with_tokens(1, 16, tokens(0, 1_000));
        submit(&mut pool, 0, 1, tokens(0, 2_000), 0);
    }
}
