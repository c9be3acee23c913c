//! Owns a worker's time with calls that linger: it claims more while some are out, and answers each as soon as it has
//! ended. Never knows what they wait for.

use super::lookout::Lookout;
use super::{EXIT_DISCONNECTED, Worker, begin, exit_now, leave_if_forked};
use crate::answers::Answers;
use crate::clock::now_ns;
use crate::run::Run;
use paceline_ipc::table::Claim;

/// The most calls to begin before the others go on. A worker that took all it may at once would leave none to those
/// that are just waking up; so it begins with few.
const MOST_AT_ONCE: u64 = 16;

/// The claims that are out, by number.
#[derive(Default)]
struct Out {
    claims: Vec<Option<Claim>>,
    free: Vec<usize>,
}

impl Out {
    fn count(&self) -> usize {
        self.claims.len() - self.free.len()
    }

    fn add(&mut self, claim: Claim) -> usize {
        let number = self.free.pop().unwrap_or_else(|| {
            self.claims.push(None);
            self.claims.len() - 1
        });
        self.claims[number] = Some(claim);
        number
    }

    fn remove(&mut self, number: usize) -> Option<Claim> {
        let claim = self.claims.get_mut(number)?.take()?;
        self.free.push(number);
        Some(claim)
    }
}

impl Worker {
    /// Begins with a claim that lingers, takes what else there is, at most `left` claims with it, and comes back when
    /// none is out. How many claims it has taken. It takes no more when the worker has a reason to leave.
    pub(super) fn linger(&mut self, first: Claim, mut left: u64, run: &mut impl Run) -> u64 {
        let posted = self.lookout.take().map_or_else(|| Lookout::post(self.table, self.seat), Ok);
        let Ok(lookout) = posted else { exit_now(EXIT_DISCONNECTED) };
        self.counted_ns = now_ns();
        let (mut out, mut ended) = (Out::default(), Vec::new());
        let (mut taken, mut most_at_once) = (1, 1);
        self.begin(first, &mut out, run);
        let mut has_begun = true;
        while out.count() > 0 {
            let has_room = out.count() < run.most_lingering() && taken < left;
            // A call that was just begun may end without waiting for anything, and then nobody need watch.
            let may_wait = !has_begun && (!has_room || self.table.idle.is_dismissed(self.seat) || lookout.watch());
            run.go_on(lookout.bell(), may_wait, &mut ended);
            leave_if_forked();
            let was_woken = lookout.has_rung();
            let any_ended = !ended.is_empty();
            for number in ended.drain(..) {
                self.settle(number, &mut out, run);
            }
            if any_ended {
                self.table.idle.wake_parent(self.table.ready_hint());
            }
            if (any_ended || has_begun) && self.has_reason_to_leave() {
                left = taken;
            }
            most_at_once = (most_at_once * 2).min(MOST_AT_ONCE);
            let most = most_at_once.min(self.table.ready_hint().div_ceil(2)).max(1);
            let before = taken;
            while taken < left && taken - before < most && out.count() < run.most_lingering() {
                let Some(claim) = self.table.claim(self.seat) else { break };
                taken += 1;
                self.begin_or_answer(claim, &mut out, run);
            }
            has_begun = taken > before;
            if has_begun || was_woken {
                self.table.pass_on();
            }
        }
        lookout.rest();
        self.table.pass_on();
        self.lookout = Some(lookout);
        taken
    }

    fn begin_or_answer(&mut self, claim: Claim, out: &mut Out, run: &mut impl Run) {
        if let Err(claim) = self.answer(claim, run) {
            self.begin(claim, out, run);
        } else {
            self.counted_ns = now_ns();
            self.table.idle.wake_parent(self.table.ready_hint());
        }
    }

    fn begin(&mut self, claim: Claim, out: &mut Out, run: &mut impl Run) {
        let number = out.add(claim);
        let claim = out.claims[number].as_ref().expect("it was just added");
        // SAFETY: the claim makes this worker the only one to touch the body until it finishes.
        self.table.with_claimed(claim, |body| begin(unsafe { &mut *body }, &self.inputs, number, run));
    }

    fn settle(&mut self, number: usize, out: &mut Out, run: &mut impl Run) {
        let Some(claim) = out.remove(number) else { return };
        let now = now_ns();
        let counted_ns = std::mem::replace(&mut self.counted_ns, now);
        self.table.with_claimed(&claim, |body| {
            // SAFETY: as above.
            let body = unsafe { &mut *body };
            let mut answers = Answers::begin(body, &mut self.outputs);
            run.settle(number, &mut answers);
            answers.end();
            // Calls that linger side by side share the time, so that a worker is not busier than the clock.
            body.marks.begin(counted_ns);
            body.marks.end(now);
        });
        leave_if_forked();
        self.table.finish(claim);
    }
}
