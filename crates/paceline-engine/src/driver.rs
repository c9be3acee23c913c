//! Owns the engine's own thread: it takes in answers when no caller waits and somebody must know, refills the table,
//! and announces ended jobs. Never waits for anything while it holds the engine's lock.

use crate::clock::now_ns;
use crate::engine::Shared;
use crate::events::LATEST_NS;
use crate::pending::Pending;
use crate::threads::{LARGE_STACK, spawn_quiet};
use crate::worker::COOLS_AFTER_NS;
use rustix::io::Errno;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How often the table is audited while somebody relies on it. Workers that go wrong, and nothing else, make it necessary;
/// it takes about a microsecond.
const AUDIT_NS: u64 = 500_000_000;

/// Starts the driver; it leaves when the pool has ended.
pub(crate) fn start(shared: Arc<Shared>) -> Result<(), Errno> {
    spawn_quiet("paceline-driver", LARGE_STACK, move || {
        drive(&shared);
        shared.leave();
    })
    .map(|_| ())
}

fn drive(shared: &Shared) {
    let idle = &shared.table.idle;
    let mut audited_ns = now_ns();
    // Since when nobody has had anything for the pool to do.
    let mut idle_since: Option<u64> = None;
    loop {
        shared.attention.store(false, Ordering::Relaxed);
        let is_due = now_ns().saturating_sub(audited_ns) >= AUDIT_NS;
        let is_cooling = idle_since.is_some_and(|since| now_ns().saturating_sub(since) >= COOLS_AFTER_NS);
        let ((failures, ended), needs_audits, has_audience, is_warm, mended) = shared
            .with(|state, context| {
                let mended = is_due && state.has_work() && state.audit(context);
                if !idle.has_leader() {
                    state.drain(context);
                }
                let is_warm = state.is_warm_for_nothing(is_cooling);
                (state.take_attention(), state.needs_audits(), state.has_audience(), is_warm, mended)
            })
            .unwrap_or_default();
        if is_due {
            audited_ns = now_ns();
        }
        if mended {
            idle.wake_parent_after_death();
        }
        if !failures.is_empty() || !ended.is_empty() {
            for failure in failures {
                // One that cannot be shown is no reason to leave out what follows.
                let _ = catch_unwind(AssertUnwindSafe(|| shared.announce.show_failure(&failure)));
            }
            announce(shared, ended);
            continue;
        }
        if shared.ended.load(Ordering::Acquire) {
            return;
        }
        idle_since = if is_warm { idle_since.or_else(|| Some(now_ns())) } else { None };
        let rest_ns = match (needs_audits, has_audience) {
            (true, true) => Some(LATEST_NS),
            (true, false) => Some(AUDIT_NS),
            (false, _) => is_warm.then_some(COOLS_AFTER_NS),
        };
        idle.rest_driving(rest_ns, || {
            shared.attention.load(Ordering::Relaxed)
                || shared.ended.load(Ordering::Relaxed)
                || (!idle.has_leader() && shared.table.concerns_driver())
        });
    }
}

/// Announces these. One announcement that panics, which the panic has told of, is no reason to leave out the others.
fn announce(shared: &Shared, mut ended: VecDeque<Arc<Pending>>) {
    while !ended.is_empty() {
        let left = ended.len();
        let mut each = std::iter::from_fn(|| ended.pop_front());
        let told = catch_unwind(AssertUnwindSafe(|| shared.announce.announce(&mut each)));
        if told.is_ok() || ended.len() == left {
            return;
        }
    }
}
