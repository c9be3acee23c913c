//! Workers are started only in empty seats, and in each as long as they are wanted; they are stopped only when every
//! job has ended, and killed only when the pool is given up, or when they have outgrown their memory (then surely), or
//! take too long to start when all others leave; and once.

use paceline_core::Command;

use super::require;
use crate::fact::Fact;
use crate::ledger::{Ledger, Standing};

pub(super) fn seats_are_in_order(ledger: &Ledger, fact: Fact) -> Result<(), String> {
    let is_taken = |worker: paceline_core::WorkerId| ledger.seats[usize::from(worker.0)].is_taken;
    match fact {
        Fact::Asked { command: Command::StartWorker { worker } } => {
            require(!is_taken(worker), || format!("seat {} is taken already", worker.0))?;
            require(ledger.wants_workers(), || format!("nobody is wanted in seat {}", worker.0))
        }
        Fact::Asked { command: Command::StopWorker { worker } } => {
            require(is_taken(worker), || format!("nobody is in seat {} to be stopped", worker.0))?;
            let is_over = ledger.standing == Standing::Closed && !ledger.wants_workers();
            require(is_over, || format!("worker {} is stopped too early", worker.0))
        }
        Fact::Asked { command: Command::KillWorker { worker } } => {
            require(is_taken(worker), || format!("nobody is in seat {} to be killed", worker.0))?;
            let is_killed = ledger.seats[usize::from(worker.0)].is_killed;
            require(!is_killed, || format!("worker {} is killed twice", worker.0))?;
            let is_too_slow = ledger.start_limits().any(|(overdue_ns, index)| {
                index == usize::from(worker.0) && overdue_ns <= ledger.now_ns && !ledger.wants_workers()
            });
            let is_outgrown = ledger.seats[usize::from(worker.0)].is_outgrown;
            require(ledger.standing == Standing::GivenUp || is_outgrown || is_too_slow, || {
                format!("worker {} is killed for nothing", worker.0)
            })
        }
        Fact::Answered { .. } => {
            let spared = ledger.seats.iter().position(|seat| seat.is_outgrown && !seat.is_killed);
            require(spared.is_none(), || format!("worker {spared:?} has outgrown its memory and is not killed"))
        }
        Fact::Settled { .. } if ledger.wants_workers() => {
            let empty = ledger.seats.iter().position(|seat| !seat.is_taken);
            require(empty.is_none(), || format!("seat {empty:?} stays empty"))
        }
        _ => Ok(()),
    }
}
