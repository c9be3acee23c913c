//! Notices how workers end, and tells their engines.

use super::{Ending, House, Life};
use crate::clock::now_ns;
use crate::memory_limits;
use crate::outcome::Death;
use crate::process::{HowItEnded, how_it_ended};
use paceline_core::WorkerExit;
use paceline_ipc::message::LONGEST;
use std::os::fd::AsFd;

/// What the system ends processes with for want of memory.
const KILL: i32 = 9;

impl House {
    pub(super) fn bury_unborn(&mut self, birth: u64) {
        self.bury(
            birth,
            HowItEnded::default(),
            Some("the fork server ended before it told of the worker's birth".into()),
            &mut [],
        );
    }

    /// A worker's process is gone. How it ended is known to its parent: that is a fork server, which is about to tell, or
    /// this process, or nobody.
    pub(super) fn on_process(&mut self, birth: u64) {
        let Some(life) = self.lives.get_mut(&birth) else { return };
        if life.server.is_some() {
            life.gone_ns = Some(now_ns());
            if let Some(watch) = self.lives.get(&birth).and_then(|life| life.watch.as_ref()) {
                self.forget(watch);
            }
            self.expect();
            return;
        }
        let ended = match &life.watch {
            Some(watch) if life.is_child => how_it_ended(watch.as_fd()),
            _ => HowItEnded::default(),
        };
        self.bury(birth, ended, None, &mut vec![0; LONGEST]);
    }

    /// A worker is gone: hears its last words and tells its engine.
    pub(super) fn bury(&mut self, birth: u64, ended: HowItEnded, excuse: Option<String>, buffer: &mut [u8]) {
        let Some(mut life) = self.lives.remove(&birth) else { return };
        if !buffer.is_empty() {
            life.listen(birth, buffer);
        }
        self.forget_all(&life);
        let exit = match life.told {
            Some(told) => told,
            None if ended.code == Some(0) => WorkerExit::Stopped,
            None => WorkerExit::Died,
        };
        let mut last_words = life.words.last_words_at_end(life.pid);
        if let Some(excuse) = excuse {
            last_words = excuse;
        }
        let stack = life.read_stacks();
        let is_memory_short = may_be_for_memory(
            (life.out_of_memory_kills, memory_limits::out_of_memory_kills("")),
            life.to_be_killed,
            ended.signal,
        );
        let (Life { pid, note, .. }, HowItEnded { code, signal, peak_kib }) = (&life, ended);
        let (pid, note, peak_bytes) = (*pid, *note, peak_kib * 1024);
        let death =
            Death { pid, code, signal, last_words, stack, peak_bytes, note, is_memory_short, is_over_limit: false };
        let ending = Ending { exit, death, complaint: life.complaint, threads: life.threads };
        life.engine.with(|state, context| state.on_exited(life.seat, birth, ending, context));
    }
}

/// Whether the system may have ended a worker for want of memory: it counts such ends, and there was one between the
/// worker's birth and its end, which came by the signal that it uses for that, and which nobody here has sent.
fn may_be_for_memory((before, now): (Option<u64>, Option<u64>), was_killed_here: bool, signal: Option<i32>) -> bool {
    before.zip(now).is_some_and(|(before, now)| now > before) && !was_killed_here && signal == Some(KILL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_system_may_have_killed_is_taken_for_short_of_memory() {
        let (kill, segv) = (Some(9), Some(11));
        assert!(may_be_for_memory((Some(1), Some(2)), false, kill));
        assert!(!may_be_for_memory((Some(2), Some(2)), false, kill), "nobody was killed");
        assert!(!may_be_for_memory((None, Some(2)), false, kill), "before it was born, perhaps");
        assert!(!may_be_for_memory((Some(2), None), false, kill));
        assert!(!may_be_for_memory((None, None), false, kill));
        assert!(!may_be_for_memory((Some(1), Some(2)), true, kill), "it was killed here");
        assert!(!may_be_for_memory((Some(1), Some(2)), false, segv));
        assert!(!may_be_for_memory((Some(1), Some(2)), false, None));
    }
}
