//! Looks, once a second, for what nothing tells of: a fork server that answers no more, and a worker that somebody has
//! stopped. Looks only while there is something to be missed: an answer that a fork server owes, or work of a pool that
//! has not ended. Never looks at what a worker does.

use super::House;
use super::life::Life;
use crate::clock::now_ns;
use crate::engine::Shared;
use crate::process::{Doing, doing};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How often there is a look, and how long a fork server is left in peace.
const LOOK_NS: u64 = 1_000_000_000;
/// After this long without a word, a fork server that owes one is given up. It may be loading something large.
const SLOWEST_SERVER_NS: u64 = 60 * LOOK_NS;
/// At how many looks in a row a worker may be found stopped; its pool may say otherwise.
pub const STOPPED_LOOKS: u32 = 10;

const STOPPED: &str = "it had been stopped (SIGSTOP) and nobody continued it, so it was killed";

impl Life {
    /// Since when its fork server owes a word about it: that it was born, or how it ended.
    fn owed_since(&self) -> Option<u64> {
        self.server.and(if self.pid == 0 { Some(self.asked_ns) } else { self.gone_ns })
    }
}

impl House {
    /// Somebody owes a word, and it is seen to it that it comes.
    pub(super) fn expect(&mut self) {
        self.next_look_ns.get_or_insert_with(|| now_ns() + LOOK_NS);
    }

    /// How long it is to the next look, if there is to be one.
    pub(super) fn until_look_ns(&self) -> Option<u64> {
        self.next_look_ns.map(|next| next.saturating_sub(now_ns()))
    }

    pub(super) fn look_if_due(&mut self) {
        if self.attending.load(Ordering::Relaxed) {
            self.expect();
        }
        let now = now_ns();
        if self.next_look_ns.is_none_or(|next| now < next) {
            return;
        }
        self.next_look_ns = None;
        // Before the engines are asked: one that gets work after it was asked asks for attention again. Its lock, which
        // both take, puts the two in order.
        self.attending.store(false, Ordering::Relaxed);
        let busy = self.look_at_workers();
        if busy {
            self.attending.store(true, Ordering::Relaxed);
        }
        if self.look_at_servers(now) || busy {
            self.expect();
        }
    }

    /// Gives up servers that will not tell what they owe; whether any still owes something.
    fn look_at_servers(&mut self, now: u64) -> bool {
        let mut debts: HashMap<u64, u64> = HashMap::new();
        for life in self.lives.values() {
            if let (Some(number), Some(since)) = (life.server, life.owed_since()) {
                let oldest = debts.entry(number).or_insert(since);
                *oldest = since.min(*oldest);
            }
        }
        let mut owed = false;
        for (number, since) in debts {
            let Some(server) = self.servers.get(&number) else { continue };
            // One that has told something meanwhile is at work.
            let silent_ns = now.saturating_sub(since.max(server.heard_ns));
            let is_lost = silent_ns >= SLOWEST_SERVER_NS
                || (now.saturating_sub(since) >= LOOK_NS && doing(server.process.pid) != Doing::Something);
            if is_lost {
                self.lose_server(number);
            }
            owed |= !is_lost;
        }
        owed
    }

    /// Kills workers that have been found stopped too often; whether any pool has work.
    fn look_at_workers(&mut self) -> bool {
        let mut busy: HashMap<*const Shared, bool> = HashMap::new();
        for life in self.lives.values_mut() {
            let is_busy = *busy.entry(Arc::as_ptr(&life.engine)).or_insert_with(|| life.engine.is_busy());
            if !is_busy || life.pid == 0 || life.to_be_killed || doing(life.pid) != Doing::Stopped {
                life.times_seen_stopped = 0;
                continue;
            }
            life.times_seen_stopped += 1;
            if life.times_seen_stopped >= life.engine.stopped_looks() {
                life.note = Some(STOPPED);
                life.to_be_killed = true;
                life.kill();
            }
        }
        busy.into_values().any(|is_busy| is_busy)
    }
}
