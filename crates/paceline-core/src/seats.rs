//! Owns the seats of the workers: who sits there, and whether deaths look like a crash loop. Never starts or stops
//! anyone.
//!
//! What is a crash loop? Workers that die again and again without getting anything done: a library that crashes when
//! it is imported, a machine without memory. A death is a *failed start* if the worker was never ready, or outgrew its
//! memory with nothing begun. It is an *idle death* if it came soon after the worker was ready, with nothing begun, and no
//! chunk of the whole pool has ended since then. Of failed starts, few in a row break the pool. Of idle deaths it takes
//! many: somebody may be killing the workers of a pool that has nothing to do, and that alone is no reason to give it up;
//! but neither may workers that die of themselves be replaced for ever. The core is not told which worker ran a chunk that ended, so the whole pool's progress stands for the worker's own. That can only
//! excuse a death, never accuse: the worker's own chunks are among the pool's. And what it excuses would not have
//! counted, as each chunk that ends begins the row of failed starts anew. A worker that dies with a chunk begun begins
//! the row anew too; that cannot go on for ever, as each such death uses up an attempt of an item. A chunk that was only
//! claimed goes back as it was, so it excuses nothing. The time limit is there so that an idle pool is not broken because
//! someone ended three of its sleeping workers in the course of a week. A worker that was ended because it outgrew its
//! memory is no exception: if it did so before it got anything done, the next one will too.

use crate::ids::{Moment, WorkerId};

/// How many failed starts in a row break the pool.
const MOST_FAILED_STARTS: u32 = 3;

/// How many idle deaths in a row do.
const MOST_IDLE_DEATHS: u32 = 20;

/// How long after it was ready the death of an idle worker still counts.
const SETTLED_AFTER_NS: u64 = 10_000_000_000;

/// Who sits in a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seat {
    Empty,
    Starting {
        since: Moment,
    },
    Ready {
        since: Moment,
        /// How many chunks of the pool had ended then.
        chunks_ended: u64,
    },
}

/// All seats of a pool.
#[derive(Debug)]
pub(crate) struct Seats {
    places: Vec<Seat>,
    /// The worker whose losses are being told, if it had begun with any of them.
    lost_begun: Option<WorkerId>,
    /// The workers that outgrew their memory, and are about to be gone.
    outgrown: Vec<WorkerId>,
    /// The workers that are being killed, for whatever reason.
    killed: Vec<WorkerId>,
    /// How long a worker may take to start; zero for any time.
    start_timeout_ns: u64,
    live: u32,
    chunks_ended: u64,
    failed_starts: u32,
    idle_deaths: u32,
}

impl Seats {
    pub(crate) fn new(workers: u16, start_timeout_ns: u64) -> Self {
        Self {
            places: vec![Seat::Empty; usize::from(workers)],
            lost_begun: None,
            outgrown: Vec::new(),
            killed: Vec::new(),
            start_timeout_ns,
            live: 0,
            chunks_ended: 0,
            failed_starts: 0,
            idle_deaths: 0,
        }
    }

    pub(crate) fn is_deserted(&self) -> bool {
        self.live == 0
    }

    /// How many deaths in a row have been too many, if they have.
    pub(crate) fn crash_loop(&self) -> Option<u32> {
        if self.failed_starts >= MOST_FAILED_STARTS {
            Some(self.failed_starts)
        } else {
            (self.idle_deaths >= MOST_IDLE_DEATHS).then_some(self.idle_deaths)
        }
    }

    /// Every seat, taken or not.
    pub(crate) fn all(&self) -> impl Iterator<Item = WorkerId> + use<> {
        (0..self.places.len()).filter_map(|index| u16::try_from(index).ok()).map(WorkerId)
    }

    /// Every seat in which a worker sits or is being started.
    pub(crate) fn taken(&self) -> impl Iterator<Item = WorkerId> {
        self.all().filter(|&worker| self.places[usize::from(worker.0)] != Seat::Empty)
    }

    pub(crate) fn occupy(&mut self, worker: WorkerId, now: Moment) {
        let seat = &mut self.places[usize::from(worker.0)];
        debug_assert_eq!(*seat, Seat::Empty, "seat {} is taken", worker.0);
        *seat = Seat::Starting { since: now };
        self.live += 1;
    }

    pub(crate) fn settle(&mut self, worker: WorkerId, now: Moment) {
        let chunks_ended = self.chunks_ended;
        let seat = self.seat(worker);
        assert!(
            matches!(*seat, Seat::Starting { .. }),
            "a worker is ready in seat {} where none was starting",
            worker.0
        );
        *seat = Seat::Ready { since: now, chunks_ended };
    }

    /// When the first of those that are starting has taken as long as it may, and which it is. Who is being killed needs
    /// no looking after.
    pub(crate) fn first_overdue(&self) -> Option<(Moment, WorkerId)> {
        if self.start_timeout_ns == 0 {
            return None;
        }
        let starting = self.all().filter_map(|worker| match self.places[usize::from(worker.0)] {
            Seat::Starting { since } if !self.killed.contains(&worker) => {
                Some((Moment(since.0.saturating_add(self.start_timeout_ns)), worker))
            }
            Seat::Empty | Seat::Starting { .. } | Seat::Ready { .. } => None,
        });
        starting.min()
    }

    /// When that is.
    pub(crate) fn next_overdue(&self) -> Option<Moment> {
        self.first_overdue().map(|(at, _)| at)
    }

    /// A worker outgrew its memory; whether anybody sits there of whom that was not known.
    pub(crate) fn note_outgrown(&mut self, worker: WorkerId) -> bool {
        let is_news = *self.seat(worker) != Seat::Empty && !self.is_outgrown(worker);
        if is_news {
            self.outgrown.push(worker);
        }
        is_news
    }

    /// A worker is to be killed; whether that was not known.
    pub(crate) fn note_killed(&mut self, worker: WorkerId) -> bool {
        let is_news = !self.killed.contains(&worker);
        if is_news {
            self.killed.push(worker);
        }
        is_news
    }

    pub(crate) fn is_outgrown(&self, worker: WorkerId) -> bool {
        self.outgrown.contains(&worker)
    }

    /// Empties a seat whose worker left in good order, or failed in a way that breaks the pool at once.
    pub(crate) fn vacate(&mut self, worker: WorkerId) {
        self.take_out(worker);
    }

    /// Empties a seat whose worker died, and judges the death.
    pub(crate) fn bury(&mut self, worker: WorkerId, now: Moment) {
        let had_begun = self.lost_begun == Some(worker);
        let was_outgrown = self.is_outgrown(worker);
        let seat = self.take_out(worker);
        if had_begun {
            (self.failed_starts, self.idle_deaths) = (0, 0);
            return;
        }
        match seat {
            Seat::Empty => {}
            Seat::Starting { .. } => self.failed_starts += 1,
            Seat::Ready { since, chunks_ended } => {
                let is_young = now.0.saturating_sub(since.0) < SETTLED_AFTER_NS;
                if is_young && chunks_ended == self.chunks_ended {
                    let deaths = if was_outgrown { &mut self.failed_starts } else { &mut self.idle_deaths };
                    *deaths += 1;
                }
            }
        }
    }

    /// A worker that is about to be taken out held a chunk.
    pub(crate) fn note_loss(&mut self, worker: WorkerId, had_begun: bool) {
        assert_ne!(*self.seat(worker), Seat::Empty, "a chunk is lost by a worker in seat {} which was empty", worker.0);
        if had_begun {
            self.lost_begun = Some(worker);
        }
    }

    /// A chunk has ended: whoever ran it, the pool gets something done.
    pub(crate) fn note_progress(&mut self) {
        self.chunks_ended += 1;
        (self.failed_starts, self.idle_deaths) = (0, 0);
    }

    fn take_out(&mut self, worker: WorkerId) -> Seat {
        let seat = std::mem::replace(self.seat(worker), Seat::Empty);
        assert_ne!(seat, Seat::Empty, "a worker is gone from seat {} which was empty", worker.0);
        self.live -= 1;
        self.lost_begun = None;
        self.outgrown.retain(|outgrown| *outgrown != worker);
        self.killed.retain(|killed| *killed != worker);
        seat
    }

    fn seat(&mut self, worker: WorkerId) -> &mut Seat {
        let seats = self.places.len();
        self.places
            .get_mut(usize::from(worker.0))
            .unwrap_or_else(|| panic!("seat {} does not exist: the pool has {seats}", worker.0))
    }
}
