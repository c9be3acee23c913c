//! Owns the engine's own thread: it takes in answers when no caller waits and somebody must know, refills the table,
//! and announces ended jobs. Never waits for anything while it holds the engine's lock.

use crate::engine::Shared;
use rustix::io::Errno;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Starts the driver; it leaves when the pool has ended.
pub(crate) fn start(shared: Arc<Shared>) -> Result<(), Errno> {
    crate::threads::spawn_quiet("paceline-driver", move || {
        drive(&shared);
        shared.leave();
    })
    .map(|_| ())
}

fn drive(shared: &Shared) {
    let idle = &shared.table.idle;
    loop {
        shared.attention.store(false, Ordering::Relaxed);
        let mut ended = shared.with(|state, context| {
            if !idle.has_leader() {
                state.drain(context);
            }
            state.take_attention()
        });
        if !ended.is_empty() {
            shared.announce.announce(&mut ended.drain(..));
            continue;
        }
        if shared.ended.load(Ordering::Acquire) {
            return;
        }
        idle.rest_driving(None, || {
            shared.attention.load(Ordering::Relaxed)
                || shared.ended.load(Ordering::Relaxed)
                || (!idle.has_leader() && shared.table.concerns_driver())
        });
    }
}
