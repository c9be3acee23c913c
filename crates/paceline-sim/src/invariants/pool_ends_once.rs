//! The pool ends exactly once: after it was closed or given up, every job has ended and every worker is gone.

use paceline_core::Command;

use super::require;
use crate::fact::Fact;
use crate::ledger::{Ledger, Standing};

pub(super) fn pool_ends_once(ledger: &Ledger, fact: Fact) -> Result<(), String> {
    match fact {
        Fact::Asked { command: Command::EndPool } => {
            let is_over = matches!(ledger.standing, Standing::Closed | Standing::GivenUp);
            require(is_over, || "the pool ends though it is open".to_owned())?;
            require(ledger.unfinished().next().is_none(), || "the pool ends before its jobs".to_owned())?;
            require(ledger.seats.iter().all(|seat| !seat.is_taken), || "the pool ends before its workers".to_owned())?;
            require(ledger.ends == 0, || "the pool ends a second time".to_owned())
        }
        Fact::Asked { command } => require(ledger.ends == 0, || format!("{command:?} comes after the end")),
        Fact::Settled { counts } => {
            let is_accepting = counts.is_accepting;
            let is_open = ledger.standing == Standing::Open;
            require(is_accepting == is_open, || format!("the pool takes jobs: {is_accepting}, is open: {is_open}"))
        }
        _ => Ok(()),
    }
}
