//! Owns the count of bytes in flight: inputs whose jobs have not ended, and results that nobody has taken yet. Tells who
//! may send more, and lets him wait. Never knows where they lie.

use crate::clock::now_ns;
use crate::engine::Engine;
use crate::memory_limits::memory_limit;
use crate::state::SubmitError;
use crate::wait::{Target, Waited};
use paceline_ipc::arena::Span;
use paceline_ipc::slabs::Placed;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How many bytes there may be in flight unless somebody says otherwise: so many for each worker, as more would not keep
/// it any busier, and what is used again is warm; but at least this, and no more than a part of the memory that there is.
const FOR_EACH_WORKER: u64 = 128 << 20;
const LEAST_BY_DEFAULT: u64 = 256 << 20;
const PART_OF_MEMORY: u64 = 8;
/// Who has had to wait for room waits for so long until there is plenty.
const AMPLE_WITHIN_NS: u64 = 1_000_000;

/// The budget of a pool that was opened without one.
#[must_use]
pub fn default_memory_budget(workers: u16) -> u64 {
    let wanted = (FOR_EACH_WORKER * u64::from(workers)).max(LEAST_BY_DEFAULT);
    memory_limit().map_or(wanted, |bytes| wanted.min(bytes / PART_OF_MEMORY))
}

/// The bytes of one pool that are under way.
#[derive(Debug)]
pub struct Flight {
    budget: u64,
    inputs: AtomicU64,
    results: AtomicU64,
    most_inputs: AtomicU64,
    most_results: AtomicU64,
    most: AtomicU64,
    /// Somebody waits, or has waited, until there are fewer inputs.
    is_awaited: AtomicBool,
}

/// How many bytes were in flight at some moment, and at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InFlight {
    /// Of inputs and results together.
    pub all: u64,
    /// Of inputs.
    pub inputs: u64,
    /// Of results.
    pub results: u64,
}

impl Flight {
    /// Nothing yet. `budget` is how many bytes there should be at most.
    #[must_use]
    pub fn new(budget: u64) -> Arc<Self> {
        Arc::new(Self {
            budget,
            inputs: AtomicU64::new(0),
            results: AtomicU64::new(0),
            most_inputs: AtomicU64::new(0),
            most_results: AtomicU64::new(0),
            most: AtomicU64::new(0),
            is_awaited: AtomicBool::new(false),
        })
    }

    /// How many bytes there should be at most.
    #[must_use]
    pub fn budget(&self) -> u64 {
        self.budget
    }

    pub(crate) fn add_input(&self, bytes: u64) {
        let inputs = self.inputs.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.most_inputs.fetch_max(inputs, Ordering::Relaxed);
        self.most.fetch_max(inputs + self.results.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    pub(crate) fn remove_input(&self, bytes: u64) {
        self.inputs.fetch_sub(bytes, Ordering::SeqCst);
    }

    fn add_result(&self, bytes: u64) {
        let results = self.results.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.most_results.fetch_max(results, Ordering::Relaxed);
        self.most.fetch_max(results + self.inputs.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Now, and at most so far.
    #[must_use]
    pub fn counts(&self) -> (InFlight, InFlight) {
        let (inputs, results) = (self.inputs.load(Ordering::Relaxed), self.results.load(Ordering::Relaxed));
        let most = InFlight {
            all: self.most.load(Ordering::Relaxed),
            inputs: self.most_inputs.load(Ordering::Relaxed),
            results: self.most_results.load(Ordering::Relaxed),
        };
        (InFlight { all: inputs + results, inputs, results }, most)
    }

    /// Whether there has ever been an input or a result that counts.
    #[must_use]
    pub fn has_had_any(&self) -> bool {
        self.most.load(Ordering::Relaxed) > 0
    }

    /// Whether inputs of so many bytes more may be sent. The first may always be, however large.
    #[must_use]
    pub fn has_room(&self, bytes: u64) -> bool {
        let inputs = self.inputs.load(Ordering::SeqCst);
        inputs == 0 || inputs.saturating_add(bytes) <= self.budget
    }

    /// The same for who has had to wait: not for every single byte, since each wait costs a wake-up.
    fn has_ample_room(&self, bytes: u64) -> bool {
        let inputs = self.inputs.load(Ordering::SeqCst);
        inputs == 0 || inputs.saturating_add(bytes) <= self.budget - self.budget / 4
    }

    /// Whether more may be sent where the results that are under way are expected to have so many bytes.
    #[must_use]
    pub fn has_room_for_results(&self, expected: u64) -> bool {
        let (now, _) = self.counts();
        now.inputs.saturating_add(now.results.max(expected)) < self.budget
    }

    /// By what the inputs are known among what is waited for.
    pub(crate) fn key(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }

    /// Whether somebody may wait until there are fewer inputs.
    pub(crate) fn is_awaited(&self) -> bool {
        self.is_awaited.load(Ordering::SeqCst)
    }
}

/// Some bytes of results; they count as long as this lives.
#[derive(Debug, Default)]
pub(crate) struct Weight(Option<(Arc<Flight>, u64)>);

impl Weight {
    pub(crate) fn of(bytes: u64, flight: &Arc<Flight>) -> Self {
        if bytes == 0 {
            return Self(None);
        }
        flight.add_result(bytes);
        Self(Some((Arc::clone(flight), bytes)))
    }

    pub(crate) fn flight(&self) -> Option<&Arc<Flight>> {
        self.0.as_ref().map(|(flight, _)| flight)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.0.as_ref().map_or(0, |(_, bytes)| *bytes)
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        if let Some((flight, bytes)) = &self.0 {
            flight.results.fetch_sub(*bytes, Ordering::Relaxed);
        }
    }
}

/// Room for inputs of so many bytes.
struct Room<'a> {
    flight: &'a Flight,
    bytes: u64,
    /// And for some more, so that who sends much does not wait for each.
    is_ample: bool,
}

impl Target for Room<'_> {
    fn is_there(&self) -> bool {
        if self.is_ample { self.flight.has_ample_room(self.bytes) } else { self.flight.has_room(self.bytes) }
    }

    fn follow(&self) {
        // Before it looks once more whether there is room, as those who make room look after that whether it is awaited.
        self.flight.is_awaited.store(true, Ordering::SeqCst);
    }

    fn key(&self) -> usize {
        self.flight.key()
    }
}

/// What is sent apart from what is submitted with it.
impl Engine {
    /// The bytes under way.
    #[must_use]
    pub fn flight(&self) -> &Arc<Flight> {
        &self.shared.flight
    }

    /// Waits for at most a slice until inputs of so many bytes more may be sent, or none are taken any more; whether that
    /// is so.
    #[must_use]
    pub fn wait_for_room(&self, bytes: u64, slice_ns: u64) -> bool {
        let room = |is_ample| Room { flight: &self.shared.flight, bytes, is_ample };
        if self.wait(&room(false), None, slice_ns) != Waited::Done {
            return !self.is_accepting();
        }
        // One large input may stay for long, and what there is beside it be all that there will be.
        let _ = self.wait(&room(true), Some(now_ns() + AMPLE_WITHIN_NS), slice_ns);
        true
    }

    /// Copies bytes into shared memory, without holding the lock; to be submitted with some input, or freed.
    ///
    /// # Errors
    /// When there is no memory for them, or this process was forked from the engine's.
    pub fn place(&self, input: &[u8]) -> Result<Placed, SubmitError> {
        self.place_all(input, &[])
    }

    /// The same of bytes among which there are runs; each comes before some of the bytes.
    pub(crate) fn place_all(&self, bytes: &[u8], runs: &[(usize, &[u8])]) -> Result<Placed, SubmitError> {
        if self.is_foreign() {
            return Err(SubmitError::Forked);
        }
        let length = bytes.len() + runs.iter().map(|(_, run)| run.len()).sum::<usize>();
        let place = || self.shared.with(|state, _| state.place(length as u64));
        let placed = place().unwrap_or_else(|| Err(self.shared.broken()))?;
        let (mut end, mut copied) = (placed.address, 0);
        let mut append = |part: &[u8]| {
            // SAFETY: the place is ours, mapped, as large as all parts together, and stays so until the job has ended.
            unsafe {
                end.copy_from_nonoverlapping(part.as_ptr(), part.len());
                end = end.add(part.len());
            }
        };
        for (before, run) in runs {
            append(&bytes[copied..*before]);
            append(run);
            copied = *before;
        }
        append(&bytes[copied..]);
        Ok(placed)
    }

    /// Frees what was placed and not submitted.
    pub fn free(&self, places: &[Span]) {
        if !places.is_empty() && !self.is_foreign() {
            self.shared.with(|state, context| state.free(places, context));
        }
    }

    /// How many bytes of memory there are behind the segments of inputs, and of results.
    #[must_use]
    pub fn segment_bytes(&self) -> (u64, u64) {
        if self.is_foreign() { (0, 0) } else { self.shared.with(|state, _| state.segment_bytes()).unwrap_or_default() }
    }
}
