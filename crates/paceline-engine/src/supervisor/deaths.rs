//! Notices how workers end, and tells their engines.

use super::{Ending, House, Life};
use crate::memory_use;
use crate::outcome::Death;
use paceline_core::WorkerExit;
use paceline_ipc::message::LONGEST;

impl House {
    pub(super) fn bury_unborn(&mut self, birth: u64) {
        self.bury(
            birth,
            None,
            None,
            Some("the fork server ended before it told of the worker's birth".into()),
            &mut [],
        );
    }

    pub(super) fn on_process(&mut self, birth: u64) {
        self.bury(birth, None, None, None, &mut vec![0; LONGEST]);
    }

    /// A worker is gone: hears its last words and tells its engine.
    pub(super) fn bury(
        &mut self,
        birth: u64,
        code: Option<i32>,
        signal: Option<i32>,
        excuse: Option<String>,
        buffer: &mut [u8],
    ) {
        let Some(mut life) = self.lives.remove(&birth) else { return };
        if !buffer.is_empty() {
            life.listen(birth, buffer);
        }
        self.forget_all(&life);
        let exit = match life.told {
            Some(told) => told,
            None if code == Some(0) => WorkerExit::Stopped,
            None => WorkerExit::Died,
        };
        let mut last_words = life.words.last_words_at_end(life.pid);
        if let Some(excuse) = excuse {
            last_words = excuse;
        }
        let stack = life.read_stacks();
        let is_memory_short = memory_use::out_of_memory_kills() > life.out_of_memory_kills;
        let Life { pid, peak_bytes, .. } = life;
        let death = Death { pid, code, signal, last_words, stack, peak_bytes, is_memory_short, is_over_limit: false };
        let ending = Ending { exit, death, complaint: life.complaint };
        life.engine.with(|state, context| state.on_exited(life.seat, birth, ending, context));
    }
}
