//! Owns the book of a run: what is known to be true from the facts so far, kept apart from what the core believes.
//! Never judges: the invariants do, each fact before it is written down here.
//!
//! `job` and `out` are what is known of a job and of a chunk; `told` takes in what the core hears, `asked` what it says;
//! `tokens` is what follows from those that are held.

use std::cmp::Reverse;

use paceline_core::{ChunkId, JobEnd, JobId, Sizing, Tokens};

use crate::fact::{Counts, Fact};
use crate::scenario::{STEP_NS, Scenario};

mod asked;
mod job;
mod out;
mod tokens;
mod told;

pub(crate) use job::{ItemState, Job};
pub(crate) use out::{Out, SHORTEST_PERIOD_NS, Stop, period_ns};

/// How far the pool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    New,
    Open,
    Closed,
    /// Terminated by the user, or broken.
    GivenUp,
}

/// All that is known.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// The moment of the fact that is judged or written down.
    pub(crate) now_ns: u64,
    pub(crate) workers: u32,
    /// How many slots of the table have not been given up.
    pub(crate) table_slots: u32,
    pub(crate) start_timeout_ns: u64,
    /// What its chunks may have at once, in all.
    pub(crate) tokens: Tokens,
    /// The longest that the engine sleeps over the moment of a look.
    pub(crate) look_delay_ns: u64,
    pub(crate) jobs: Vec<Job>,
    pub(crate) out: Vec<Out>,
    /// Whether somebody sits in the seat, as the core was told.
    pub(crate) seats: Vec<Seat>,
    pub(crate) standing: Standing,
    pub(crate) ends: u32,
    /// The last generation that was published for each number of a chunk.
    pub(crate) generations: Vec<Option<u32>>,
    /// Whether anything was ever overtaken.
    pub(crate) has_overtaken: bool,
    /// Deaths of workers that had begun nothing of what they held, since a chunk ended or a worker died with one
    /// begun.
    pub(crate) idle_deaths: u32,
    /// Of these, the workers that had not been ready, or outgrew their memory.
    pub(crate) unready_deaths: u32,
    /// Of the others, those that got nothing done for sure: ready not for long, and no chunk of the pool has ended since.
    pub(crate) vain_deaths: u32,
    pub(crate) failed_starts: u32,
    /// How many chunks have ended, as the core was told.
    pub(crate) chunks_ended: u32,
    /// When the core was last told that time has passed, and how often it was.
    pub(crate) last_look_ns: u64,
    pub(crate) looks: u32,
    /// Items whose backoff was over at the last look, and that have not gone out since.
    pub(crate) just_rested: u32,
    /// The item that the core has to have forgotten before it says anything else.
    pub(crate) must_forget: Option<(usize, u32)>,
}

/// A seat, as the core was told.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "facts that come true each by itself")]
pub(crate) struct Seat {
    pub(crate) is_taken: bool,
    pub(crate) is_ready: bool,
    /// When its worker was started, or was ready.
    pub(crate) since_ns: u64,
    /// How many chunks had ended when it was ready.
    pub(crate) chunks_ended: u32,
    /// Its worker is gone, and had begun with a chunk that it held.
    pub(crate) has_lost_begun: bool,
    /// The core has been told that its worker has too much memory.
    pub(crate) is_outgrown: bool,
    /// The core has had its worker killed.
    pub(crate) is_killed: bool,
}

impl Ledger {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let &Scenario { workers, table_slots, start_timeout_ns, tokens, .. } = scenario;
        Self {
            now_ns: 0,
            workers: u32::from(workers),
            table_slots,
            start_timeout_ns,
            tokens,
            look_delay_ns: 2 * u64::from(scenario.longest_look_delay_steps) * STEP_NS,
            jobs: Vec::new(),
            out: Vec::new(),
            seats: vec![Seat::default(); usize::from(workers)],
            standing: Standing::New,
            ends: 0,
            generations: vec![None; table_slots as usize],
            has_overtaken: false,
            idle_deaths: 0,
            unready_deaths: 0,
            vain_deaths: 0,
            failed_starts: 0,
            chunks_ended: 0,
            last_look_ns: 0,
            looks: 0,
            just_rested: 0,
            must_forget: None,
        }
    }

    /// Position of the job that has this number now.
    pub(crate) fn position(&self, number: JobId) -> Option<usize> {
        self.jobs.iter().rposition(|job| job.number == number && job.end.is_none())
    }

    pub(crate) fn job(&self, number: JobId) -> Option<&Job> {
        self.position(number).map(|position| &self.jobs[position])
    }

    pub(crate) fn unfinished(&self) -> impl Iterator<Item = (usize, &Job)> {
        self.jobs.iter().enumerate().filter(|(_, job)| job.end.is_none())
    }

    pub(crate) fn find_out(&self, chunk: ChunkId) -> Option<Out> {
        self.out.iter().find(|out| out.chunk == chunk).copied()
    }

    pub(crate) fn chunks_out(&self, job: usize) -> impl Iterator<Item = &Out> {
        self.out.iter().filter(move |out| out.job == job)
    }

    /// A job that is to end in this way as soon as nothing of it is out, and of which nothing is.
    pub(crate) fn is_over(&self, end: JobEnd) -> Option<&Job> {
        let mut over = self.unfinished().filter(|(_, job)| job.ending == Some(end));
        over.find(|&(position, _)| self.chunks_out(position).next().is_none()).map(|(_, job)| job)
    }

    /// Whether the answers to withdrawals may still cancel this job.
    pub(crate) fn is_being_decided(&self, job: usize) -> bool {
        let Job { is_cancel_requested, is_known_to_have_begun, ending, .. } = self.jobs[job];
        let is_open = is_cancel_requested && !is_known_to_have_begun && ending.is_none();
        is_open && self.chunks_out(job).any(|out| out.is_asked_back)
    }

    /// The most urgent job with items that wait for sure, and of several the oldest; of those for which there are tokens.
    pub(crate) fn next_in_backlog(&self) -> Option<(usize, &Job)> {
        let waiting = self.unfinished().filter(|&(position, job)| job.waiting > 0 && self.has_tokens_for(position));
        waiting.max_by_key(|&(position, _)| self.rank(position))
    }

    /// The higher, the sooner its items go out.
    pub(crate) fn rank(&self, job: usize) -> (i16, Reverse<usize>) {
        (self.jobs[job].terms.priority, Reverse(job))
    }

    /// How many items may wait again, their backoff being over, or may not yet.
    pub(crate) fn doubtful_items(&self) -> u64 {
        let jobs = self.unfinished().filter(|(_, job)| job.resting > 0);
        jobs.flat_map(|(_, job)| &job.items).map(|item| u64::from(item.state.may_wait())).sum()
    }

    /// Whether a job that comes before this one may have items that wait.
    pub(crate) fn may_come_after_another(&self, job: usize) -> bool {
        let mut others = self.unfinished().filter(|(_, other)| other.resting > 0);
        others.any(|(position, other)| {
            self.rank(position) > self.rank(job) && other.items.iter().any(|item| item.state.may_wait())
        })
    }

    /// Whether nothing of a job may be published: its cancel is being decided, or it is measured and has all the
    /// chunks out that it may have.
    pub(crate) fn is_held_back(&self, job: usize) -> bool {
        let is_measured = self.jobs[job].sizing == Sizing::Measured;
        let is_at_limit = is_measured && self.chunks_out(job).count() >= 2 * self.workers as usize;
        is_at_limit || self.is_being_decided(job)
    }

    /// Whether an item is to run while nothing else does.
    pub(crate) fn is_anything_lonely(&self) -> bool {
        self.unfinished().any(|(_, job)| job.lonely > 0)
    }

    /// Whether that may be so, or one runs.
    pub(crate) fn may_anything_be_lonely(&self) -> bool {
        let mut resting = self.unfinished().filter(|(_, job)| job.resting > 0).flat_map(|(_, job)| &job.items);
        self.is_anything_lonely()
            || self.out.iter().any(|out| out.is_lonely)
            || resting.any(|item| item.state.may_be_lonely())
    }

    /// Whether a seat that falls empty has to be filled again.
    pub(crate) fn wants_workers(&self) -> bool {
        match self.standing {
            Standing::Open => true,
            Standing::Closed => self.unfinished().next().is_some(),
            Standing::New | Standing::GivenUp => false,
        }
    }

    /// The moment at which the start of a worker takes too long, of those that matter, and in which seat.
    pub(crate) fn start_limits(&self) -> impl Iterator<Item = (u64, usize)> {
        let limit_ns = self.start_timeout_ns;
        let matters = limit_ns > 0 && matches!(self.standing, Standing::Open | Standing::Closed);
        let starting = self.seats.iter().enumerate().filter(move |(_, seat)| matters && seat.is_starting());
        starting.map(move |(index, seat)| (seat.since_ns + limit_ns, index))
    }

    /// Writes a fact down.
    pub(crate) fn note(&mut self, fact: Fact) {
        match fact {
            Fact::Told { event } => self.note_event(event),
            Fact::Asked { command } => self.note_command(command),
            Fact::Claimed { chunk, worker } => {
                if let Some(out) = self.out_of(chunk) {
                    out.claimed_by = Some(worker);
                }
            }
            Fact::Begun { chunk, job, item } => {
                self.jobs[job].items[item as usize].begun += 1;
                let now_ns = self.now_ns;
                if let Some(out) = self.out_of(chunk) {
                    out.began_ns = out.began_ns.or(Some(now_ns));
                    out.turn_ns = now_ns;
                }
            }
            Fact::BegunAnew { chunk } => {
                let now_ns = self.now_ns;
                if let Some(out) = self.out_of(chunk) {
                    out.turn_ns = now_ns;
                }
            }
            Fact::Over { chunk } => {
                let now_ns = self.now_ns;
                if let Some(out) = self.out_of(chunk) {
                    out.finished += 1;
                    out.last_turn_ns = std::mem::replace(&mut out.turn_ns, now_ns);
                }
            }
            Fact::Done { chunk } => {
                if let Some(out) = self.out_of(chunk) {
                    out.is_done = true;
                }
            }
            Fact::Gone { worker } => {
                let its = self.out.iter_mut().filter(|out| out.claimed_by == Some(worker));
                its.for_each(|out| out.is_done = true);
            }
            Fact::Kept { job, item } => self.jobs[job].keep(item),
            Fact::Answered { counts, .. } => self.note_answer(counts),
            Fact::Settled { .. } | Fact::Drained => {}
        }
    }

    /// Of what may or may not wait, the core's own count tells, if all of it does or none.
    fn note_answer(&mut self, counts: Counts) {
        self.just_rested = 0;
        let doubtful = self.doubtful_items();
        if doubtful == 0 {
            return;
        }
        let known: u64 = self.unfinished().map(|(_, job)| u64::from(job.waiting)).sum();
        let (is_all, is_none) = (counts.waiting_items == known + doubtful, counts.waiting_items == known);
        if is_all || is_none {
            self.jobs.iter_mut().filter(|job| job.end.is_none()).for_each(|job| job.settle_doubt(is_all));
        }
    }

    fn out_of(&mut self, chunk: ChunkId) -> Option<&mut Out> {
        self.out.iter_mut().find(|out| out.chunk == chunk)
    }

    fn take_out(&mut self, chunk: ChunkId) -> Option<Out> {
        let index = self.out.iter().position(|out| out.chunk == chunk)?;
        Some(self.out.swap_remove(index))
    }
}

impl Seat {
    /// Whether somebody is starting here, whom nobody has had killed.
    pub(crate) fn is_starting(&self) -> bool {
        self.is_taken && !self.is_ready && !self.is_killed
    }
}
