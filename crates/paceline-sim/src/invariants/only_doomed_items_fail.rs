//! The core fails an item only if it was running in that worker when it was lost, and is not to be run again for what
//! became of it; then it fails, and for that.

use paceline_core::Command;

use super::require;
use crate::fact::Fact;
use crate::ledger::{ItemState, Ledger};

pub(super) fn only_doomed_items_fail(ledger: &Ledger, fact: Fact) -> Result<(), String> {
    match fact {
        Fact::Asked { command: Command::FailItem { job: number, item, worker, attempt, trouble } } => {
            let record = ledger.job(number).and_then(|job| job.items.get(item as usize));
            let is_doomed = record.is_some_and(|record| {
                record.state == ItemState::Doomed { worker, trouble } && record.spent == u32::from(attempt) + 1
            });
            require(is_doomed, || format!("item {item} of job {} must not fail for {trouble:?}: {record:?}", number.0))
        }
        Fact::Settled { .. } => {
            let mut items = ledger.unfinished().flat_map(|(_, job)| &job.items);
            let doomed = items.find(|item| matches!(item.state, ItemState::Doomed { .. }));
            require(doomed.is_none(), || format!("an item was lost for good and did not fail: {doomed:?}"))
        }
        _ => Ok(()),
    }
}
