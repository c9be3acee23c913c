//! Owns what has happened in a pool and somebody has asked to be told: a bounded queue for each who has, and the bell that
//! calls them. Never calls anybody, and never waits while it holds a lock.
//!
//! Whoever notes something holds the engine's lock, and must not be held up. So a queue that is full takes nothing more; what
//! it has missed is counted, and told in the place where it is missing. A subscriber that has been called gathers for a moment
//! before it takes what there is: with one wake-up for each event, a short task would cost more to be told than to be run.

use crate::engine::{Engine, Shared};
use crate::fork_guard::generation;
use crate::history::Fate;
use paceline_core::WorkerExit;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

/// So many events wait for one subscriber; what is more is missed.
pub const MOST_WAITING: usize = 1 << 16;
/// A subscriber takes no more at a time.
const AT_ONCE: usize = 1 << 10;
/// For so long a subscriber that was called gathers what else comes.
const GATHERING: Duration = Duration::from_millis(2);
/// Answers that nobody has asked for are taken in this often, while there is a subscriber and something to do.
pub(crate) const LATEST_NS: u64 = 10_000_000;
/// What a failed item has left is passed on if it is no longer than this,
const LONGEST_EVIDENCE: usize = 8 << 10;
/// and if there is no more than this of it in the queue.
const MOST_EVIDENCE: usize = 8 << 20;

/// Some items of one job that follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Items {
    /// The function, or the name that stands for it.
    pub function: Arc<str>,
    /// The first item's number among all that were ever submitted to the pool.
    pub first: u64,
    /// How many.
    pub count: u32,
    /// How often they had been begun before.
    pub attempt: u16,
    /// What the caller knows the submission by; zero if by nothing.
    pub origin: u64,
}

/// Something that has happened. Moments are those of [`now_ns`](crate::now_ns).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A job was submitted.
    Submitted {
        /// When.
        at_ns: u64,
        /// All of its items.
        items: Items,
    },
    /// A stretch of work has ended: what one worker ran of a job without a break.
    Ended {
        /// Which items.
        items: Items,
        /// The worker's process; zero if nobody knows.
        pid: i32,
        /// When their job was submitted.
        submitted_ns: u64,
        /// When the stretch began.
        began_ns: u64,
        /// When it ended.
        ended_ns: u64,
        /// How.
        fate: Fate,
        /// How many of the items have no result.
        failures: u32,
        /// What the first of those has left, unless it is long.
        evidence: Option<Box<[u8]>>,
    },
    /// An item has gone out to be run again.
    Retried {
        /// When.
        at_ns: u64,
        /// Which.
        items: Items,
    },
    /// A worker takes tasks.
    WorkerStarted {
        /// When.
        at_ns: u64,
        /// Its process.
        pid: i32,
    },
    /// A worker is gone.
    WorkerEnded {
        /// When that was known.
        at_ns: u64,
        /// Its process; zero if it was never born.
        pid: i32,
        /// Why.
        exit: WorkerExit,
        /// Its exit code, if it exited.
        code: Option<i32>,
        /// The signal that ended it, if one did.
        signal: Option<i32>,
    },
    /// The queue was full.
    Missed {
        /// Since when.
        at_ns: u64,
        /// How many did not fit.
        count: u64,
    },
    /// The pool has ended, and nothing follows.
    Closed {
        /// When.
        at_ns: u64,
        /// It could not go on.
        is_broken: bool,
    },
}

impl Happening {
    /// When it happened.
    #[must_use]
    pub fn at_ns(&self) -> u64 {
        match self {
            Self::Submitted { at_ns, .. }
            | Self::Ended { ended_ns: at_ns, .. }
            | Self::Retried { at_ns, .. }
            | Self::WorkerStarted { at_ns, .. }
            | Self::WorkerEnded { at_ns, .. }
            | Self::Missed { at_ns, .. }
            | Self::Closed { at_ns, .. } => *at_ns,
        }
    }

    /// The worker's process is this, as is known by now.
    fn name(&mut self, known: i32) {
        if let Self::Ended { pid, .. } | Self::WorkerStarted { pid, .. } = self {
            *pid = known;
        }
    }

    fn evidence_bytes(&self) -> usize {
        if let Self::Ended { evidence: Some(bytes), .. } = self { bytes.len() } else { 0 }
    }

    fn drop_evidence(&mut self) {
        if let Self::Ended { evidence, .. } = self {
            *evidence = None;
        }
    }
}

/// Whether so many bytes are short enough to be passed on as the evidence of a failure.
pub(crate) fn is_evidence(length: usize) -> bool {
    length <= LONGEST_EVIDENCE
}

/// What waits for one subscriber.
#[derive(Debug)]
pub(crate) struct Inbox {
    queue: Mutex<Queue>,
    /// There is something for who waits, or nothing more will come.
    bell: Condvar,
    /// Something has been passed on.
    told: Condvar,
    /// Its subscriber has asked for no more; changed only under the engine's lock.
    is_leaving: AtomicBool,
    generation: u32,
}

#[derive(Debug)]
struct Queue {
    happenings: VecDeque<Happening>,
    /// At how many the bell is rung; none while nobody waits.
    rings_at: usize,
    missed: u64,
    missed_since_ns: u64,
    evidence_bytes: usize,
    /// How many have come in all, how many were given to the subscriber, and how many it is done with.
    come: u64,
    given: u64,
    told: u64,
    subscriber: Option<ThreadId>,
    /// Nothing more will come.
    is_over: bool,
}

impl Inbox {
    fn new() -> Self {
        let queue = Queue {
            happenings: VecDeque::new(),
            rings_at: usize::MAX,
            missed: 0,
            missed_since_ns: 0,
            evidence_bytes: 0,
            come: 0,
            given: 0,
            told: 0,
            subscriber: None,
            is_over: false,
        };
        Self {
            queue: Mutex::new(queue),
            bell: Condvar::new(),
            told: Condvar::new(),
            is_leaving: AtomicBool::new(false),
            generation: generation(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// In a forked child the lock may be held by a thread that it has not inherited.
    fn is_foreign(&self) -> bool {
        self.generation != generation()
    }

    fn put(&self, happening: Happening) {
        let mut queue = self.lock();
        queue.put(happening);
        let rings = queue.happenings.len() >= queue.rings_at;
        if rings {
            queue.rings_at = usize::MAX;
        }
        drop(queue);
        if rings {
            self.bell.notify_one();
        }
    }

    /// Nothing more will come, after this if there is something.
    fn end(&self, last: Option<Happening>) {
        let mut queue = self.lock();
        if let Some(last) = last
            && !queue.is_over
        {
            queue.tell_missed();
            queue.come += 1;
            queue.happenings.push_back(last);
        }
        queue.is_over = true;
        drop(queue);
        self.bell.notify_all();
    }

    /// Waits for what comes next, not longer than `patience`; none when nothing more will come. What was given before has been
    /// passed on by then.
    fn next(&self, patience: Option<Duration>) -> Option<Vec<Happening>> {
        if self.is_foreign() {
            return None;
        }
        let deadline = patience.map(|patience| Instant::now() + patience);
        let mut queue = self.lock();
        queue.subscriber = Some(std::thread::current().id());
        queue.told = queue.given;
        self.told.notify_all();
        queue = self.wait(queue, 1, deadline);
        if !queue.happenings.is_empty() {
            let gathered = Instant::now() + GATHERING;
            queue = self.wait(queue, AT_ONCE, Some(deadline.map_or(gathered, |deadline| deadline.min(gathered))));
        }
        queue.rings_at = usize::MAX;
        let taken = queue.take();
        (!taken.is_empty() || !queue.is_over).then_some(taken)
    }

    /// The subscriber is done with what it was given; whether nothing more will come.
    fn is_over(&self) -> bool {
        if self.is_foreign() {
            return true;
        }
        let mut queue = self.lock();
        queue.told = queue.given;
        self.told.notify_all();
        queue.is_over && queue.happenings.is_empty()
    }

    fn wait<'a>(
        &self,
        mut queue: MutexGuard<'a, Queue>,
        count: usize,
        deadline: Option<Instant>,
    ) -> MutexGuard<'a, Queue> {
        while queue.happenings.len() < count && !queue.is_over {
            queue.rings_at = count;
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            queue = match left {
                None => self.bell.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(left) if left.is_zero() => break,
                Some(left) => self.bell.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
        queue
    }

    /// Waits until all that has come by now has been passed on, not longer than `patience`; whether nobody need wait any more.
    /// The subscriber does not wait for itself.
    fn wait_until_told(&self, patience: Duration) -> bool {
        if self.is_foreign() {
            return true;
        }
        let queue = self.lock();
        if queue.subscriber == Some(std::thread::current().id()) {
            return true;
        }
        let target = queue.come + u64::from(queue.missed > 0);
        let is_told = |queue: &Queue| queue.told >= target;
        let waited = self.told.wait_timeout_while(queue, patience, |queue| !is_told(queue));
        is_told(&waited.unwrap_or_else(PoisonError::into_inner).0)
    }
}

impl Queue {
    fn put(&mut self, mut happening: Happening) {
        if self.is_over {
            return;
        }
        if self.happenings.len() >= MOST_WAITING {
            if self.missed == 0 {
                self.missed_since_ns = happening.at_ns();
            }
            self.missed += 1;
            return;
        }
        self.tell_missed();
        if self.evidence_bytes + happening.evidence_bytes() > MOST_EVIDENCE {
            happening.drop_evidence();
        }
        self.evidence_bytes += happening.evidence_bytes();
        self.come += 1;
        self.happenings.push_back(happening);
    }

    /// Says what is missing, in the place where it is.
    fn tell_missed(&mut self) {
        if self.missed > 0 {
            self.come += 1;
            self.happenings.push_back(Happening::Missed { at_ns: self.missed_since_ns, count: self.missed });
            self.missed = 0;
        }
    }

    fn take(&mut self) -> Vec<Happening> {
        if self.happenings.len() <= AT_ONCE {
            self.tell_missed();
        }
        let count = self.happenings.len().min(AT_ONCE);
        let taken: Vec<_> = self.happenings.drain(..count).collect();
        if self.happenings.is_empty() {
            // One that had many once need not have room for them for ever.
            self.happenings.shrink_to(AT_ONCE);
        }
        self.evidence_bytes -= taken.iter().map(Happening::evidence_bytes).sum::<usize>();
        self.given += taken.len() as u64;
        taken
    }
}

/// Those who have asked to be told.
#[derive(Debug, Default)]
pub(crate) struct Events {
    inboxes: Vec<Arc<Inbox>>,
    /// How many they are, with those who are to come and without those who are to leave when what is held is told.
    audience: usize,
    held: VecDeque<Held>,
    is_over: bool,
}

/// What has to wait, because it is about a worker whose process id is not known yet, or because something before it is: a
/// worker may be faster with its first tasks than the fork server with the word that it was born.
#[derive(Debug)]
enum Held {
    /// Something of the worker in this seat, if of one without a name.
    Happening(Happening, Option<u16>),
    Subscribed(Arc<Inbox>),
    Unsubscribed(Arc<Inbox>),
}

impl Held {
    /// Whether it need not wait for a name.
    fn is_ready(&self) -> bool {
        !matches!(self, Self::Happening(_, Some(_)))
    }
}

impl Events {
    /// Whether anybody wants to know. To be asked before anything is gathered that only they need.
    pub(crate) fn is_wanted(&self) -> bool {
        self.audience > 0
    }

    pub(crate) fn tell(&mut self, happening: Happening) {
        self.tell_of(happening, None);
    }

    /// The same of something of the worker in this seat, whose process id is not known yet.
    pub(crate) fn tell_of(&mut self, happening: Happening, nameless: Option<u16>) {
        if self.audience > 0 {
            self.pass_on(Held::Happening(happening, nameless));
        }
    }

    /// The process id of the worker in this seat is known, or nothing more will be.
    pub(crate) fn name(&mut self, seat: u16, pid: i32) {
        for held in &mut self.held {
            if let Held::Happening(happening, nameless) = held
                && *nameless == Some(seat)
            {
                happening.name(pid);
                *nameless = None;
            }
        }
        while self.held.front().is_some_and(Held::is_ready)
            && let Some(next) = self.held.pop_front()
        {
            self.carry_out(next);
        }
    }

    fn pass_on(&mut self, next: Held) {
        if self.held.is_empty() && next.is_ready() {
            self.carry_out(next);
        } else {
            self.held.push_back(next);
        }
    }

    fn carry_out(&mut self, next: Held) {
        match next {
            Held::Happening(happening, _) => {
                let Some((last, others)) = self.inboxes.split_last() else { return };
                for inbox in others {
                    inbox.put(happening.clone());
                }
                last.put(happening);
            }
            Held::Subscribed(inbox) => self.inboxes.push(inbox),
            Held::Unsubscribed(inbox) => {
                self.inboxes.retain(|known| !Arc::ptr_eq(known, &inbox));
                inbox.end(None);
            }
        }
    }

    /// The pool has ended.
    pub(crate) fn end(&mut self, at_ns: u64, is_broken: bool) {
        self.is_over = true;
        while let Some(next) = self.held.pop_front() {
            self.carry_out(next);
        }
        for inbox in &self.inboxes {
            inbox.end(Some(Happening::Closed { at_ns, is_broken }));
        }
    }

    pub(crate) fn subscribe(&mut self, at_ns: u64, is_broken: bool) -> Arc<Inbox> {
        let inbox = Arc::new(Inbox::new());
        if self.is_over {
            inbox.end(Some(Happening::Closed { at_ns, is_broken }));
        }
        self.audience += 1;
        self.pass_on(Held::Subscribed(Arc::clone(&inbox)));
        inbox
    }

    pub(crate) fn unsubscribe(&mut self, inbox: &Arc<Inbox>) {
        if !inbox.is_leaving.swap(true, Ordering::Relaxed) {
            self.audience -= 1;
            self.pass_on(Held::Unsubscribed(Arc::clone(inbox)));
        }
    }

    pub(crate) fn inboxes(&self) -> Vec<Arc<Inbox>> {
        self.inboxes.clone()
    }
}

/// What a subscriber holds: it is told, until it lets go or the pool has ended. It keeps no engine.
#[derive(Debug)]
pub struct Subscription {
    inbox: Arc<Inbox>,
    shared: Weak<Shared>,
}

impl Subscription {
    /// Waits for what happens next, not longer than `patience`; none when nothing more will come, and all has been given. By
    /// asking for more, the subscriber says that it is done with what it was given before.
    #[must_use]
    pub fn next(&self, patience: Option<Duration>) -> Option<Vec<Happening>> {
        self.inbox.next(patience)
    }

    /// Says that the subscriber is done with what it was given before; whether nothing more will come. Never waits.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.inbox.is_over()
    }

    /// Nothing that happens from now on is told. What has happened before still is, also what workers have answered and nobody
    /// has taken in.
    pub fn close(&self) {
        if self.inbox.is_foreign() {
            return;
        }
        let told = self
            .shared
            .upgrade()
            .and_then(|shared| shared.with(|state, context| state.unsubscribe(&self.inbox, context)));
        if told.is_none() {
            self.inbox.end(None);
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.close();
    }
}

impl Engine {
    /// Has what happens from now on told to whoever holds the subscription; none in a forked child, where nothing does.
    #[must_use]
    pub fn subscribe(&self) -> Option<Subscription> {
        if self.is_foreign() {
            return None;
        }
        let inbox = self.shared.with(|state, _| state.subscribe())?;
        Some(Subscription { inbox, shared: Arc::downgrade(&self.shared) })
    }

    /// Waits until all that has happened by now has been passed on, not longer than `patience`; whether it has.
    #[must_use]
    pub fn wait_until_told(&self, patience: Duration) -> bool {
        if self.is_foreign() {
            return true;
        }
        let deadline = Instant::now() + patience;
        let inboxes = self.shared.with(|state, _| state.inboxes()).unwrap_or_default();
        let left = || deadline.saturating_duration_since(Instant::now());
        inboxes.iter().all(|inbox| inbox.wait_until_told(left()))
    }
}

#[cfg(test)]
mod tests;
