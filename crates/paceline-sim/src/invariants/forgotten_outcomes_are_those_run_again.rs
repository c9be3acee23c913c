//! The outcome of an item that has failed is forgotten if the item is to be run again, at once, and none other ever is.

use paceline_core::Command;

use super::require;
use crate::fact::Fact;
use crate::ledger::Ledger;

pub(super) fn forgotten_outcomes_are_those_run_again(ledger: &Ledger, fact: Fact) -> Result<(), String> {
    match fact {
        Fact::Asked { command: Command::ForgetItem { job, item } } => {
            let forgotten = ledger.position(job).map(|position| (position, item));
            require(forgotten.is_some() && forgotten == ledger.must_forget, || {
                format!("item {item} of job {} is forgotten, not {:?}", job.0, ledger.must_forget)
            })
        }
        Fact::Answered { .. } => {
            let kept = ledger.must_forget;
            require(kept.is_none(), || format!("a failed item is run again and its outcome is kept: {kept:?}"))
        }
        _ => Ok(()),
    }
}
