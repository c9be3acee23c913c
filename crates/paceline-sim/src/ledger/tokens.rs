//! Owns what follows from the tokens that chunks hold: how many are left, and whose turn it is. Never knows what the core
//! believes of them.

use paceline_core::{Command, TOKEN_KINDS, Tokens, WHOLE_TOKEN};

use super::Ledger;

impl Ledger {
    /// Whether so many are left, given the devices that are in use.
    pub(crate) fn has_left(&self, demand: &Tokens) -> bool {
        let is_enough = |kind: usize| demand.0[kind] <= self.tokens_left(kind);
        let devices = demand.0[0];
        let at_once = self.devices().filter(|&device| self.device_left(device) >= devices.min(WHOLE_TOKEN)).count();
        (0..TOKEN_KINDS).all(is_enough) && at_once >= devices.div_ceil(WHOLE_TOKEN) as usize
    }

    fn tokens_left(&self, kind: usize) -> u32 {
        self.tokens.0[kind] - self.out.iter().map(|out| out.tokens.0[kind]).sum::<u32>()
    }

    pub(crate) fn devices(&self) -> impl Iterator<Item = u32> + use<> {
        0..self.tokens.0[0] / WHOLE_TOKEN
    }

    /// How much of a device nobody has.
    pub(crate) fn device_left(&self, device: u32) -> u32 {
        let users = self.out.iter().filter(|out| out.devices & 1 << device != 0);
        WHOLE_TOKEN - users.map(|out| out.tokens.0[0].min(WHOLE_TOKEN)).sum::<u32>()
    }

    /// Whether no job that comes sooner waits for tokens of the same kind; with `for_sure`, nor may wait.
    pub(crate) fn is_in_turn(&self, position: usize, for_sure: bool) -> bool {
        let demand = &self.jobs[position].terms.tokens;
        let sooner = self.unfinished().filter(|&(other, job)| {
            let shares = job.terms.tokens.0.iter().zip(&demand.0).any(|(one, other)| *one > 0 && *other > 0);
            shares && self.rank(other) > self.rank(position)
        });
        let waits =
            |job: &super::Job| job.waiting > 0 || (for_sure && job.items.iter().any(|item| item.state.may_wait()));
        !sooner.into_iter().any(|(_, job)| waits(job))
    }

    /// Whether a job may have what its next chunk needs, for sure.
    pub(super) fn has_tokens_for(&self, position: usize) -> bool {
        let demand = &self.jobs[position].terms.tokens;
        demand.is_empty() || (self.has_left(demand) && self.is_in_turn(position, true))
    }

    /// Notes what a chunk gets that has just been published.
    pub(super) fn note_tokens(&mut self, command: Command) {
        if let Command::Publish { chunk, job, devices, .. } = command
            && let Some(tokens) = self.job(job).map(|job| job.terms.tokens)
            && let Some(out) = self.out_of(chunk)
        {
            (out.tokens, out.devices) = (tokens, devices);
        }
    }
}
