//! Owns the task table: a ring of slots that the parent fills and workers empty, and the bitmap by which they answer.
//!
//! Never decides what goes into it, sleeps, or looks into a body.
//!
//! # Why it is safe against death at any instruction
//!
//! A slot changes hands only by its state word ([`crate::word`]). The claim is one compare-exchange that records the
//! owner, so whatever a killed worker held can be read off the words. Everything else is a hint:
//!
//! - `tail` says how far the parent has published, `head` below which ticket nothing is ready. A worker that dies
//!   before it advances `head` costs the next one a few more looks. A slot counts for a ticket only if it holds that
//!   ticket: by the time a slow worker looks, it may hold a younger one, whose turn comes later.
//! - The completion bitmap says which slots may be done. A worker that dies between its `DONE` and its bit leaves a
//!   slot that [`Table::reclaim`] finds by its owner. One that is *stopped* between its bit and the summary must not
//!   hold up others in the same word, so each looks whether the summary is set, not only the first.
//!
//! # What a worker cannot do to the parent
//!
//! Every worker can write the whole table, and one whose native code runs wild may write anything. The parent therefore
//! knows by itself which slots it has filled, and under which tickets ([`Feeder`]), and believes a state word only if it
//! goes with that; bits for slots that there are not, and answers to questions that were not asked, are passed over. No
//! loop is as long as a number read from the table. What has been lost all the same is found by [`Table::audit`].
//!
//! # Memory ordering
//!
//! The body is written before the `Release` store of `READY` and read after the `Acquire` of the claim; the answer is
//! written before the `Release` of `DONE` and read after the `Acquire` load in [`Table::drain`]. The parent frees and
//! publishes from under one lock, so `FREE → READY` needs no ordering between processes. `tail` and the bitmap
//! order the same a second time, since a worker claims only below the `tail` it has read and the parent takes only slots
//! whose bit it has read; and they must, because a slot seen not to be ready is never looked at again under that ticket.
//! Bits are set word first,
//! summary second, and taken summary first, word second: a bit set after its word was taken finds the word empty and
//! sets the summary again. Sleeping and waking has its own argument in [`crate::idle`].

use crate::idle::Idle;
use crate::marks::Marks;
use crate::sync::{AtomicU64, Ordering, UnsafeCell};
use crate::word::{Phase, Word};

/// A value alone on its cache line, so that writers of its neighbours do not slow its readers.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Line<T>(pub(crate) T);

/// One place in the table.
#[derive(Debug)]
#[repr(C, align(64))]
struct Slot<B> {
    state: AtomicU64,
    body: UnsafeCell<B>,
}

/// The table, laid over shared memory: `SLOTS` slots (a power of two), their `WORDS` = ⌈`SLOTS` / 64⌉ words of
/// completion bits, `SEATS` workers and their `GROUPS` = ⌈`SEATS` / 64⌉ words of idle bits. All zero is an empty table.
#[derive(Debug)]
#[repr(C)]
pub struct Table<B, const SLOTS: usize, const WORDS: usize, const SEATS: usize, const GROUPS: usize> {
    head: Line<AtomicU64>,
    tail: Line<AtomicU64>,
    summary: Line<AtomicU64>,
    finished: Line<[AtomicU64; WORDS]>,
    /// How workers and parent sleep and are woken.
    pub idle: Idle<SEATS, GROUPS>,
    spoken: Line<AtomicU64>,
    slots: [Slot<B>; SLOTS],
}

// SAFETY: bodies are reached only by the one side that the state word names, with the orderings argued above.
unsafe impl<B: Send, const S: usize, const W: usize, const T: usize, const G: usize> Sync for Table<B, S, W, T, G> {}

/// What the parent alone knows of the table: how far it has published, and which slots are not free.
#[derive(Debug)]
pub struct Feeder {
    tail: u64,
    /// The ticket of each slot that is not free; else one of the two below.
    tickets: Vec<u64>,
    used: usize,
    given_up: usize,
}

/// The slot is free. No ticket is so large.
const FREE: u64 = u64::MAX;
/// The slot is not used any more, because somebody may still write into it.
const GIVEN_UP: u64 = u64::MAX - 1;

impl Feeder {
    /// The feeder of an empty table with this many slots.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        Self { tail: 0, tickets: vec![FREE; slots], used: 0, given_up: 0 }
    }

    /// How many slots are not free: filled, or given up.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used
    }

    /// How many slots there are that have not been given up.
    #[must_use]
    pub fn usable(&self) -> usize {
        self.tickets.len() - self.given_up
    }

    /// Whether nothing more can be published.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.used == self.tickets.len()
    }

    fn release(&mut self, slot: usize) {
        debug_assert!(self.tickets[slot] < GIVEN_UP, "slot {slot} was freed twice");
        self.tickets[slot] = FREE;
        self.used -= 1;
    }

    /// Whether this is what a slot that was filled under its ticket may become.
    fn expects(&self, slot: usize, word: Word) -> bool {
        self.tickets[slot] == word.ticket()
    }
}

/// Where something was published, or claimed: a slot and the ticket that makes this use of it unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The slot's index.
    pub slot: u32,
    /// The ticket of this publication.
    pub ticket: u64,
}

/// A slot that a worker has claimed and not yet answered.
#[derive(Debug, PartialEq, Eq)]
pub struct Claim {
    /// Where.
    pub place: Place,
    owner: u16,
}

/// What a worker is doing with a task, as seen in one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// The worker that has claimed it; as the slot says, so not surely one that there is.
    pub owner: u16,
    /// When it began, in nanoseconds of the monotonic clock; zero if it has claimed the task and not begun.
    pub began_ns: u64,
    /// How many items it has finished.
    pub finished: u32,
    /// Whether it still gets ready, and runs nothing of the task yet.
    pub is_preparing: bool,
}

/// A body that can be looked at while its owner writes it.
///
/// # Safety
/// The marks lie inside the body, and everybody touches them only as the atomics that they are.
pub unsafe trait Visible {
    /// Where the marks of this body are.
    fn marks(body: *const Self) -> *const Marks;
}

impl<B, const SLOTS: usize, const WORDS: usize, const SEATS: usize, const GROUPS: usize>
    Table<B, SLOTS, WORDS, SEATS, GROUPS>
{
    const MASK: u64 = SLOTS as u64 - 1;
    /// The bits of `summary` that mean anything.
    const ALL_WORDS: u64 = u64::MAX >> (64 - WORDS);

    #[expect(clippy::cast_possible_truncation, reason = "masked to the number of slots")]
    fn index(ticket: u64) -> usize {
        (ticket & Self::MASK) as usize
    }

    #[expect(clippy::cast_possible_truncation, reason = "a table has fewer slots")]
    fn place(slot: usize, ticket: u64) -> Place {
        Place { slot: slot as u32, ticket }
    }

    fn load(&self, slot: usize) -> Word {
        Word(self.slots[slot].state.load(Ordering::Acquire))
    }

    fn exchange(&self, slot: usize, from: Word, to: Word) -> bool {
        self.slots[slot].state.compare_exchange(from.0, to.0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// A worker has printed or logged something; to be called before it answers the task that did.
    pub fn note_speech(&self) {
        // The answer's `Release`, and the parent's `Acquire` of it, carry this along.
        self.spoken.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How often a worker has, as far as answers that were taken in tell.
    #[must_use]
    pub fn spoken(&self) -> u64 {
        self.spoken.0.load(Ordering::Relaxed)
    }

    /// Puts one more task into the table; `fill` writes its body. `None` if every slot is in use. Parent only.
    ///
    /// Wakes nobody: [`Table::wake_worker`] comes after, once for as many publications as you like.
    pub fn publish(&self, feeder: &mut Feeder, fill: impl FnOnce(*mut B)) -> Option<Place> {
        if feeder.is_full() {
            return None;
        }
        // Slots of tasks that take long are stepped over; workers step over them too.
        while feeder.tickets[Self::index(feeder.tail)] != FREE {
            feeder.tail += 1;
        }
        let ticket = feeder.tail;
        let slot = Self::index(ticket);
        self.slots[slot].body.with_mut(fill);
        self.slots[slot].state.store(Word::ready(ticket).0, Ordering::Release);
        feeder.tickets[slot] = ticket;
        feeder.used += 1;
        feeder.tail += 1;
        self.tail.0.store(feeder.tail, Ordering::Release);
        Some(Self::place(slot, ticket))
    }

    /// Takes a task back before any worker has claimed it; false if one has. Parent only.
    pub fn withdraw(&self, feeder: &mut Feeder, place: Place) -> bool {
        let slot = place.slot as usize;
        let withdrawn = self.exchange(slot, Word::ready(place.ticket), Word::FREE);
        if withdrawn {
            feeder.release(slot);
        }
        withdrawn
    }

    /// Claims the oldest ready task for `worker`.
    pub fn claim(&self, worker: u16) -> Option<Claim> {
        let tail = self.tail.0.load(Ordering::Acquire);
        let head = self.head.0.load(Ordering::Relaxed);
        let near = tail.min(head.saturating_add(SLOTS as u64));
        let mut ticket = head;
        while ticket < near {
            let slot = Self::index(ticket);
            let ready = Word::ready(ticket);
            // A slot that holds a younger task by now is passed over: its turn comes at its own ticket.
            if self.load(slot) == ready && self.exchange(slot, ready, Word::running(worker, ticket)) {
                self.advance_head(head, ticket + 1);
                return Some(Claim { place: Self::place(slot, ticket), owner: worker });
            }
            ticket += 1;
        }
        if near < tail { self.claim_far(worker, head, tail) } else { self.found_none(head, tail) }
    }

    /// The same when none of the next tickets is ready, as many as there are slots, and there are more: those were of slots
    /// that were stepped over because they were busy, or somebody has scribbled on `tail`. So each slot is looked at, and
    /// the oldest is taken.
    #[cold]
    fn claim_far(&self, worker: u16, head: u64, tail: u64) -> Option<Claim> {
        loop {
            let Some(ticket) = self.ready_tickets(head, tail).min() else {
                return self.found_none(head, tail);
            };
            let slot = Self::index(ticket);
            if self.exchange(slot, Word::ready(ticket), Word::running(worker, ticket)) {
                self.advance_head(head, ticket + 1);
                return Some(Claim { place: Self::place(slot, ticket), owner: worker });
            }
        }
    }

    /// The tickets from `head` to `tail` under which slots are ready.
    fn ready_tickets(&self, head: u64, tail: u64) -> impl Iterator<Item = u64> {
        (0..SLOTS).filter_map(move |slot| {
            let word = self.load(slot);
            let ticket = word.ticket();
            let is_ready = word == Word::ready(ticket) && Self::index(ticket) == slot;
            (is_ready && (head..tail).contains(&ticket)).then_some(ticket)
        })
    }

    fn found_none(&self, head: u64, tail: u64) -> Option<Claim> {
        self.advance_head(head, tail);
        None
    }

    /// Every ticket below `to` was seen not to be ready, and a ticket that is not ready never becomes so again.
    fn advance_head(&self, from: u64, to: u64) {
        if to > from {
            self.head.0.fetch_max(to, Ordering::Relaxed);
        }
    }

    /// The body of a claimed slot, for its owner alone.
    pub fn with_claimed<R>(&self, claim: &Claim, access: impl FnOnce(*mut B) -> R) -> R {
        self.slots[claim.place.slot as usize].body.with_mut(access)
    }

    /// Answers a claimed task, whose outcome stands in the body. False, and nothing changed, if the slot is no longer
    /// this claim's. Wakes nobody: [`Idle::wake_parent`] comes after.
    #[expect(clippy::needless_pass_by_value, reason = "a claim ends with its answer")]
    pub fn finish(&self, claim: Claim) -> bool {
        let slot = claim.place.slot as usize;
        let ticket = claim.place.ticket;
        let done = Word::done(claim.owner, ticket);
        if !self.exchange(slot, Word::running(claim.owner, ticket), done) {
            // Nobody else can have claimed this ticket: if it still runs, somebody has scribbled on its owner.
            let word = self.load(slot);
            if word != Word::running(word.owner(), ticket) || !self.exchange(slot, word, done) {
                return false;
            }
        }
        let (word, bit) = (slot / 64, 1 << (slot % 64));
        let others = self.finished.0[word].fetch_or(bit, Ordering::AcqRel);
        // Whoever set the first bit also sets the summary, unless it was stopped in between.
        if others == 0 || self.summary.0.load(Ordering::Relaxed) & (1 << word) == 0 {
            self.summary.0.fetch_or(1 << word, Ordering::AcqRel);
        }
        true
    }

    /// Whether something may be done that has not been drained.
    pub fn has_finished(&self) -> bool {
        self.summary.0.load(Ordering::Relaxed) != 0
    }

    /// Whether something may be done that the driver wants to know while no caller waits.
    pub fn concerns_driver(&self) -> bool {
        self.has_finished() && self.idle.is_interested(self.ready_hint())
    }

    /// Hands every done slot to `take` and frees it. Parent only.
    pub fn drain(&self, feeder: &mut Feeder, mut take: impl FnMut(Place, u16, *const B)) {
        if !self.has_finished() {
            return;
        }
        let summary = self.summary.0.swap(0, Ordering::AcqRel);
        self.drain_words(feeder, summary & Self::ALL_WORDS, &mut take);
    }

    fn drain_words(&self, feeder: &mut Feeder, mut words: u64, take: &mut impl FnMut(Place, u16, *const B)) {
        while words != 0 {
            let word = words.trailing_zeros() as usize;
            words &= words - 1;
            let mut bits = self.finished.0[word].swap(0, Ordering::AcqRel);
            while bits != 0 {
                let slot = word * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                if slot >= SLOTS {
                    continue;
                }
                let state = self.load(slot);
                if state.phase() == Phase::Done && feeder.expects(slot, state) {
                    self.take(feeder, slot, state, take);
                }
            }
        }
    }

    fn take(&self, feeder: &mut Feeder, slot: usize, state: Word, take: &mut impl FnMut(Place, u16, *const B)) {
        self.slots[slot].body.with(|body| take(Self::place(slot, state.ticket()), state.owner(), body));
        self.slots[slot].state.store(Word::FREE.0, Ordering::Release);
        feeder.release(slot);
    }

    /// Takes back everything that a dead worker left: what it had answered goes to `done`, what it was running to
    /// `held`. Parent only, and only once the process is known to be gone.
    ///
    /// Also drains every bit there is, since the dead worker may have set a word and not its summary.
    pub fn reclaim(
        &self,
        feeder: &mut Feeder,
        worker: u16,
        mut done: impl FnMut(Place, u16, *const B),
        mut held: impl FnMut(Place, u16, *const B),
    ) {
        self.summary.0.swap(0, Ordering::AcqRel);
        self.drain_words(feeder, Self::ALL_WORDS, &mut done);
        for slot in 0..SLOTS {
            let state = self.load(slot);
            if !feeder.expects(slot, state) {
                continue;
            }
            match state.phase() {
                Phase::Done if state.owner() == worker => self.take(feeder, slot, state, &mut done),
                Phase::Running if state.owner() == worker => self.take(feeder, slot, state, &mut held),
                _ => {}
            }
        }
        self.idle.forget(worker);
    }

    /// Looks whether the table is as it must be, and mends what is not. Parent only; seldom.
    ///
    /// Between its own steps a worker may leave a bit unset, or a mark behind; these are mended by others, and by
    /// [`Table::reclaim`]. What is found here beside that is damage: somebody has written where nobody may. Answers whose
    /// bits are gone go to `done`. Tasks whose words make no sense go to `lost`, and their slots are given up, since
    /// whoever has claimed them may still write there. Whether anything was mended.
    pub fn audit(
        &self,
        feeder: &mut Feeder,
        is_seated: impl Fn(u16) -> bool,
        mut done: impl FnMut(Place, u16, *const B),
        mut lost: impl FnMut(Place),
    ) -> bool {
        let mut mended = false;
        let mut oldest_ready = u64::MAX;
        for slot in 0..SLOTS {
            let ticket = feeder.tickets[slot];
            if ticket >= GIVEN_UP {
                continue;
            }
            let state = self.load(slot);
            match state.phase() {
                _ if state == Word::ready(ticket) => oldest_ready = oldest_ready.min(ticket),
                Phase::Running if feeder.expects(slot, state) && is_seated(state.owner()) => {}
                Phase::Done if feeder.expects(slot, state) && is_seated(state.owner()) => {
                    self.take(feeder, slot, state, &mut done);
                }
                _ => {
                    feeder.tickets[slot] = GIVEN_UP;
                    feeder.given_up += 1;
                    lost(Self::place(slot, ticket));
                    mended = true;
                }
            }
        }
        // Only the parent moves `tail`. Nothing that is ready is below `head`; and `head` is never above `tail`, since
        // both only grow, and it is moved up to a `tail` that was read.
        if self.tail.0.load(Ordering::Relaxed) != feeder.tail {
            self.tail.0.store(feeder.tail, Ordering::Release);
            mended = true;
        }
        let head = self.head.0.load(Ordering::Relaxed);
        if head > oldest_ready.min(feeder.tail) {
            self.head.0.store(oldest_ready.min(feeder.tail), Ordering::Relaxed);
            mended = true;
        }
        if oldest_ready != u64::MAX {
            self.idle.rouse_workers(&is_seated);
        }
        mended
    }

    /// Whether no worker has claimed what was published here.
    pub fn is_ready(&self, place: Place) -> bool {
        self.load(place.slot as usize) == Word::ready(place.ticket)
    }

    /// What the worker is doing that runs what was published here; `None` if no worker runs it (any more). The numbers
    /// are never those of another publication, whatever happens meanwhile.
    ///
    /// The word that names ticket and owner is read before the marks and after. The claim read what the parent stored
    /// with `READY`, so whoever sees the claim sees the marks reset, or younger. Marks of a younger publication are
    /// stored with `Release` after the word has moved on, and loaded with `Acquire` before it is read again; so it is
    /// seen to have moved on. It never comes back, because no ticket does.
    pub fn look(&self, place: Place) -> Option<Sight>
    where
        B: Visible,
    {
        let slot = self.slots.get(place.slot as usize)?;
        let word = Word(slot.state.load(Ordering::Acquire));
        let owner = word.owner();
        if word != Word::running(owner, place.ticket) {
            return None;
        }
        // SAFETY: the marks lie in the slot, and are atomics for which any bytes are valid.
        let marks = unsafe { &*B::marks(slot.body.peek()) };
        // In this order: whoever is seen to have finished something is seen to have begun.
        let progress = marks.progress();
        let (finished, is_preparing) = (progress.finished(), progress.is_preparing());
        let began_ns = marks.began_ns();
        (slot.state.load(Ordering::Relaxed) == word.0).then_some(Sight { owner, began_ns, finished, is_preparing })
    }

    /// About how many published tasks wait for a worker: a hint, never less than there are.
    pub fn ready_hint(&self) -> u64 {
        self.tail.0.load(Ordering::Relaxed).saturating_sub(self.head.0.load(Ordering::Relaxed))
    }

    /// Whether some task is ready now.
    pub fn has_ready(&self) -> bool {
        let tail = self.tail.0.load(Ordering::Acquire);
        let head = self.head.0.load(Ordering::Relaxed);
        if tail.saturating_sub(head) > SLOTS as u64 {
            return self.ready_tickets(head, tail).next().is_some();
        }
        (head..tail).any(|ticket| self.load(Self::index(ticket)) == Word::ready(ticket))
    }

    /// Sees to it that a published task finds a worker: wakes one, unless one is searching or none sleeps; whether it
    /// did. After publishing.
    pub fn wake_worker(&self) -> bool {
        self.idle.wake_worker_unless_searching(self.tail.0.load(Ordering::Relaxed))
    }

    /// Waits for a task on behalf of `worker`: searches while `keep_searching` says so, then sleeps until woken, or for
    /// as long as given. `None` if that brought no task: look at [`Idle::is_dismissed`] and call again.
    pub fn wait(
        &self,
        worker: u16,
        mut keep_searching: impl FnMut() -> bool,
        timeout_ns: Option<u64>,
    ) -> Option<Claim> {
        self.idle.begin_search(worker);
        let mut found = self.claim(worker);
        while found.is_none() && !self.idle.is_dismissed(worker) && keep_searching() {
            crate::sync::spin_loop();
            if self.tail.0.load(Ordering::Relaxed) > self.head.0.load(Ordering::Relaxed) {
                found = self.claim(worker);
            }
        }
        if found.is_some() {
            self.idle.end_search(worker);
        } else {
            self.idle.begin_sleep(worker);
            found = self.claim(worker);
            if found.is_none() && !self.idle.is_dismissed(worker) {
                match timeout_ns {
                    None => self.idle.sleep(worker),
                    Some(_) => self.idle.sleep_for(worker, timeout_ns),
                }
            }
            self.idle.end_sleep(worker);
            found = found.or_else(|| self.claim(worker));
        }
        // Others may have relied on this worker, searching or being woken, for more than the one task it has claimed.
        if found.is_some() {
            self.pass_on();
        }
        found
    }

    /// Sees to it that tasks which are ready find a worker: what a worker does that was woken for more than it claims.
    pub fn pass_on(&self) {
        if self.has_ready() {
            self.wake_worker();
        }
    }

    /// Announces that `worker`, which has something to do and could do more, is to be woken for a task; false if it
    /// should look at once. [`Table::end_watch`] comes after, in any case.
    pub fn begin_watch(&self, worker: u16) -> bool {
        self.idle.begin_watch(worker);
        !self.has_ready() && !self.idle.is_dismissed(worker)
    }

    /// Sleeps until the worker is woken. For one thread of the worker's, while another goes on with what there is to do.
    pub fn watch(&self, worker: u16) {
        self.idle.sleep(worker);
    }

    /// Makes [`Table::watch`] return.
    pub fn interrupt_watch(&self, worker: u16) {
        self.idle.unpark(usize::from(worker));
    }

    /// Takes back what announced the watch, once nobody watches any more. The worker may have been woken for some task,
    /// which it claims now, or passes on.
    pub fn end_watch(&self, worker: u16) {
        self.idle.end_watch(worker);
    }
}

#[cfg(loom)]
impl<B: Default, const SLOTS: usize, const WORDS: usize, const SEATS: usize, const GROUPS: usize> Default
    for Table<B, SLOTS, WORDS, SEATS, GROUPS>
{
    fn default() -> Self {
        Self {
            head: Line(AtomicU64::new(0)),
            tail: Line(AtomicU64::new(0)),
            summary: Line(AtomicU64::new(0)),
            finished: Line(std::array::from_fn(|_| AtomicU64::new(0))),
            idle: Idle::default(),
            spoken: Line(AtomicU64::new(0)),
            slots: std::array::from_fn(|_| Slot { state: AtomicU64::new(0), body: UnsafeCell::new(B::default()) }),
        }
    }
}
