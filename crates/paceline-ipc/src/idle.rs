//! Owns how an idle worker sleeps and is woken by a publication, and how an idle parent sleeps and is woken by an
//! answer. Never looks at a task.
//!
//! # The problem
//!
//! Waking a sleeper costs the waker a system call (2–5 µs) and the sleeper 20–50 µs, so nobody may be woken in vain;
//! and nobody may sleep while there is something to do. Both sides race: one publishes and looks for sleepers, the
//! other announces its sleep and looks for tasks.
//!
//! # The argument
//!
//! Each race is Dekker's: *write mine, full fence, read yours*, on both sides. Of two such sequences at least one
//! reads what the other wrote, so either the publisher sees the sleeper or the sleeper sees the task.
//!
//! What may be read instead of written by the same side counts as well: whoever wakes another for a reason that a third
//! has stored (an outcome, an end) fences between learning of the reason and looking for the sleeper.
//!
//! A worker that searches has its bit in `searching`, and publishers wake nobody then: the searcher will look once
//! more after it clears its bit, whether it found something ([`end_search`](Idle::end_search), then the caller passes
//! the wake-up on if more is ready) or goes to sleep ([`begin_sleep`](Idle::begin_sleep), then the caller claims once
//! more). So a task published while a worker searched is found by it, or by whoever it wakes.
//!
//! A worker whose tasks mostly wait can be *on watch*: it sleeps elsewhere, and a thread of its sleeps here for it. Its
//! bit is in `watching`. It is woken for a task only when none is asleep, since it may be busy for a while; and those on
//! watch are woken by turns, or the first would get all there is.
//!
//! The bits are hints for the wakers; the truth is each worker's `park` word. A waker takes the bit first, so that two
//! publishers wake two workers; then it writes the word, then it calls the system. If it is killed in between, the
//! sleeper is in no bitmap, and perhaps its word says already that it was woken. Only the sleeper itself says that it is
//! awake; so the parent, on every death, wakes whoever does not say so ([`wake_all_workers`](Idle::wake_all_workers)).
//!
//! The parent has two kinds of sleepers. The *leader* is a caller that waits for a result and drains the table
//! itself; while it is present every answer is its business. The *driver* is the engine's own thread; it is woken only
//! for what cannot wait until somebody asks, as said by `interest`. A result nobody waits for stays in the table.
//!
//! # Tried and rejected
//!
//! A count of searchers instead of bits: a worker killed while it searches would be counted for ever, and tasks would
//! wait for it. One futex for all workers: wakes the wrong ones, and `FUTEX_WAKE(1)` may pick one that is on its way
//! out.

use crate::sync::{AtomicU32, AtomicU64, Ordering, fence, futex_wait, futex_wake};
use crate::table::Line;

const AWAKE: u32 = 0;
const ASLEEP: u32 = 1;
/// Told to wake up; only the sleeper itself says that it is awake.
const WOKEN: u32 = 2;

const ABSENT: u32 = 0;
const PRESENT: u32 = 1;
const RESTING: u32 = 2;

/// Wake the driver for no answer.
pub const INTEREST_NONE: u32 = 0;
/// Wake the driver for every answer.
pub const INTEREST_EVERY: u32 = u32::MAX;

/// Who is idle. All zero: every worker busy, the parent's leader absent, its driver awake, nothing of interest.
#[derive(Debug)]
#[repr(C)]
pub struct Idle<const SEATS: usize, const GROUPS: usize> {
    searching: Line<[AtomicU64; GROUPS]>,
    asleep: Line<[AtomicU64; GROUPS]>,
    watching: Line<[AtomicU64; GROUPS]>,
    dismissed: Line<[AtomicU64; GROUPS]>,
    leader: Line<AtomicU32>,
    driver: Line<AtomicU32>,
    interest: Line<AtomicU32>,
    park: [AtomicU32; SEATS],
}

const fn group(worker: u16) -> (usize, u64) {
    (worker as usize / 64, 1 << (worker % 64))
}

/// The lowest bit but `nth`.
fn nth_bit(mut bits: u64, nth: u64) -> u64 {
    for _ in 0..nth {
        bits &= bits - 1;
    }
    bits & bits.wrapping_neg()
}

/// The worker's half.
impl<const SEATS: usize, const GROUPS: usize> Idle<SEATS, GROUPS> {
    pub(crate) fn begin_search(&self, worker: u16) {
        let (word, bit) = group(worker);
        self.searching.0[word].fetch_or(bit, Ordering::Relaxed);
    }

    pub(crate) fn end_search(&self, worker: u16) {
        let (word, bit) = group(worker);
        self.searching.0[word].fetch_and(!bit, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    pub(crate) fn begin_sleep(&self, worker: u16) {
        let (word, bit) = group(worker);
        self.park[worker as usize].store(ASLEEP, Ordering::Relaxed);
        self.asleep.0[word].fetch_or(bit, Ordering::Release);
        self.searching.0[word].fetch_and(!bit, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    pub(crate) fn sleep(&self, worker: u16) {
        while self.is_asleep(worker) {
            self.sleep_for(worker, None);
        }
    }

    /// Sleeps until woken, for at most so long, or shorter: look whether it is still asleep.
    pub(crate) fn sleep_for(&self, worker: u16, timeout_ns: Option<u64>) {
        futex_wait(&self.park[worker as usize], ASLEEP, timeout_ns);
    }

    pub(crate) fn is_asleep(&self, worker: u16) -> bool {
        self.park[worker as usize].load(Ordering::Acquire) == ASLEEP
    }

    pub(crate) fn begin_watch(&self, worker: u16) {
        let (word, bit) = group(worker);
        self.park[worker as usize].store(ASLEEP, Ordering::Relaxed);
        self.watching.0[word].fetch_or(bit, Ordering::Release);
        fence(Ordering::SeqCst);
    }

    pub(crate) fn end_watch(&self, worker: u16) {
        let (word, bit) = group(worker);
        self.watching.0[word].fetch_and(!bit, Ordering::Relaxed);
        self.park[worker as usize].store(AWAKE, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Clears what announced the sleep. If a waker took the bit, its wake-up was for some task: the caller, which then
    /// claims or passes on, serves it.
    pub(crate) fn end_sleep(&self, worker: u16) {
        let (word, bit) = group(worker);
        self.asleep.0[word].fetch_and(!bit, Ordering::Relaxed);
        self.park[worker as usize].store(AWAKE, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Whether this worker has been asked to leave.
    pub fn is_dismissed(&self, worker: u16) -> bool {
        let (word, bit) = group(worker);
        self.dismissed.0[word].load(Ordering::Relaxed) & bit != 0
    }

    /// Tells the parent of an answer, if anybody there needs to know now; `ready` is about how many tasks still wait
    /// for workers.
    pub fn wake_parent(&self, ready: u64) {
        fence(Ordering::SeqCst);
        match self.leader.0.load(Ordering::Relaxed) {
            ABSENT if self.is_interested(ready) => self.wake_driver(),
            RESTING => self.wake_leader(),
            _ => {}
        }
    }
}

/// The half of whoever publishes.
impl<const SEATS: usize, const GROUPS: usize> Idle<SEATS, GROUPS> {
    /// Whether one was woken. `turn` says which, among those on watch.
    pub(crate) fn wake_worker_unless_searching(&self, turn: u64) -> bool {
        fence(Ordering::SeqCst);
        self.searching.0.iter().all(|word| word.load(Ordering::Relaxed) == 0)
            && (Self::first_of(&self.asleep.0, 0).or_else(|| Self::first_of(&self.watching.0, turn)))
                .inspect(|seat| self.unpark(*seat))
                .is_some()
    }

    /// Takes a bit away, the first after as many as `turn` says, and gives its number.
    fn first_of(words: &[AtomicU64; GROUPS], turn: u64) -> Option<usize> {
        for (index, word) in words.iter().enumerate() {
            let mut bits = word.load(Ordering::Relaxed);
            while bits != 0 {
                let bit = nth_bit(bits, turn % u64::from(bits.count_ones()));
                bits &= !bit;
                if word.fetch_and(!bit, Ordering::AcqRel) & bit != 0 {
                    return Some(index * 64 + bit.trailing_zeros() as usize);
                }
            }
        }
        None
    }

    pub(crate) fn unpark(&self, seat: usize) {
        self.park[seat].store(WOKEN, Ordering::Release);
        futex_wake(&self.park[seat]);
    }
}

/// The parent's half.
impl<const SEATS: usize, const GROUPS: usize> Idle<SEATS, GROUPS> {
    /// Wakes every worker that sleeps, whatever the bitmap says. After a death, and against lost wake-ups of a killed
    /// or stopped waker.
    pub fn wake_all_workers(&self) {
        fence(Ordering::SeqCst);
        for seat in 0..SEATS {
            if self.park[seat].load(Ordering::Relaxed) != AWAKE {
                self.unpark(seat);
            }
        }
    }

    /// Wakes every worker there is, also those whose word says that they are awake, for it may have been scribbled on;
    /// and clears what stands for workers that there are not. For [`Table::audit`](crate::table::Table::audit).
    pub(crate) fn rouse_workers(&self, is_seated: &impl Fn(u16) -> bool) {
        fence(Ordering::SeqCst);
        for (seat, worker) in (0..SEATS).zip(0u16..) {
            if is_seated(worker) {
                self.unpark(seat);
            } else {
                let (word, bit) = group(worker);
                for words in [&self.searching.0, &self.asleep.0, &self.watching.0] {
                    if words[word].load(Ordering::Relaxed) & bit != 0 {
                        words[word].fetch_and(!bit, Ordering::Relaxed);
                    }
                }
            }
        }
    }

    /// Asks a worker to leave once it is idle.
    pub fn dismiss(&self, worker: u16) {
        let (word, bit) = group(worker);
        self.dismissed.0[word].fetch_or(bit, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.park[worker as usize].load(Ordering::Relaxed) != AWAKE {
            self.unpark(worker as usize);
        }
    }

    /// Clears all that a seat's last worker left behind, so that a new one finds it as at the beginning.
    pub fn forget(&self, worker: u16) {
        let (word, bit) = group(worker);
        for words in [&self.searching.0, &self.asleep.0, &self.watching.0, &self.dismissed.0] {
            words[word].fetch_and(!bit, Ordering::Relaxed);
        }
        self.park[worker as usize].store(AWAKE, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// A caller begins to drain the table for itself; at most one does at a time.
    pub fn begin_leading(&self) {
        self.leader.0.store(PRESENT, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The leader sleeps until an answer comes, a signal arrives or the time is up; not at all if `anything` holds.
    pub fn rest_leading(&self, timeout_ns: Option<u64>, anything: impl FnOnce() -> bool) {
        self.leader.0.store(RESTING, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if !anything() {
            futex_wait(&self.leader.0, RESTING, timeout_ns);
        }
        self.begin_leading();
    }

    /// The leader leaves; what came in its last moments is the driver's, if `anything` of interest did.
    pub fn end_leading(&self, anything: impl FnOnce() -> bool) {
        self.leader.0.store(ABSENT, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if anything() {
            self.wake_driver();
        }
    }

    /// Wakes the leader, if it rests: what it waits for is there.
    pub fn wake_leader(&self) {
        fence(Ordering::SeqCst);
        if self.leader.0.compare_exchange(RESTING, PRESENT, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            futex_wake(&self.leader.0);
        }
    }

    /// Says for which answers the driver is woken while no leader is present: none, every, or only when at most this
    /// many tasks still wait for workers. `anything` tells whether answers of interest are there already.
    pub fn set_interest(&self, interest: u32, anything: impl FnOnce() -> bool) {
        if self.interest.0.load(Ordering::Relaxed) == interest {
            return;
        }
        self.interest.0.store(interest, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.leader.0.load(Ordering::Relaxed) == ABSENT && anything() {
            self.wake_driver();
        }
    }

    /// Whether an answer is of interest to the driver while about this many tasks wait for workers.
    pub(crate) fn is_interested(&self, ready: u64) -> bool {
        let interest = self.interest.0.load(Ordering::Relaxed);
        interest != INTEREST_NONE && ready <= u64::from(interest)
    }

    /// The driver sleeps until something of interest, a private reason ([`wake_driver`](Self::wake_driver)) or the
    /// end of the time; not at all if `anything` holds, which must cover both.
    pub fn rest_driving(&self, timeout_ns: Option<u64>, anything: impl FnOnce() -> bool) {
        self.driver.0.store(ASLEEP, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if !anything() {
            futex_wait(&self.driver.0, ASLEEP, timeout_ns);
        }
        self.driver.0.store(AWAKE, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Whether a leader is present, awake or at rest.
    pub fn has_leader(&self) -> bool {
        self.leader.0.load(Ordering::Relaxed) != ABSENT
    }

    /// Wakes the driver, if it sleeps: it has a reason to look about.
    pub fn wake_driver(&self) {
        fence(Ordering::SeqCst);
        if self.driver.0.compare_exchange(ASLEEP, AWAKE, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            futex_wake(&self.driver.0);
        }
    }

    /// Wakes leader and driver even if a killed worker had begun to wake them.
    pub fn wake_parent_after_death(&self) {
        fence(Ordering::SeqCst);
        for (word, sleeping, awake) in [(&self.leader.0, RESTING, PRESENT), (&self.driver.0, ASLEEP, AWAKE)] {
            let _ = word.compare_exchange(sleeping, awake, Ordering::AcqRel, Ordering::Relaxed);
            futex_wake(word);
        }
    }
}

#[cfg(loom)]
impl<const SEATS: usize, const GROUPS: usize> Default for Idle<SEATS, GROUPS> {
    fn default() -> Self {
        let words = || Line(std::array::from_fn(|_| AtomicU64::new(0)));
        Self {
            searching: words(),
            asleep: words(),
            watching: words(),
            dismissed: words(),
            leader: Line(AtomicU32::new(0)),
            driver: Line(AtomicU32::new(0)),
            interest: Line(AtomicU32::new(0)),
            park: std::array::from_fn(|_| AtomicU32::new(0)),
        }
    }
}
