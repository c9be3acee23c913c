//! Owns the way of what workers print to the program's own output: one thread passes it on, and whoever closes a pool waits
//! until it has. Never changes a line.

use paceline_engine::hear_workers;
use paceline_engine::output::{Saying, Voice, listen, promise_to_listen, renounce, untold, wait_until_told};
use std::io::{Write, stderr, stdout};
use std::thread::Builder;
use std::time::Duration;

/// Workers are heard in microseconds; but nobody is held up for ever.
const PATIENCE: Duration = Duration::from_secs(1);

/// Has what workers print appear, from now on.
pub(crate) fn pass_on() {
    if promise_to_listen() {
        let started = Builder::new().name("paceline-output".to_owned()).spawn(|| {
            loop {
                listen().iter().for_each(write);
            }
        });
        if started.is_err() {
            renounce();
        }
    }
}

fn write(saying: &Saying) {
    // Output that nobody takes any more is nobody's loss.
    let _ = match saying.voice {
        Voice::Output => stdout().write_all(&saying.bytes).and_then(|()| stdout().flush()),
        Voice::Errors => stderr().write_all(&saying.bytes),
        Voice::Record => Ok(()),
    };
}

/// Waits until all that workers have printed has appeared.
pub(crate) fn flush() {
    hear_workers(true, PATIENCE);
    if let Some(target) = untold() {
        let _ = wait_until_told(target, PATIENCE);
    }
}
