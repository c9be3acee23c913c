//! Every item without an outcome is either published or waits in the backlog: untouched items are never lost.

use super::require;
use crate::fact::Fact;
use crate::ledger::Ledger;

pub(super) fn no_item_is_forgotten(ledger: &Ledger, fact: Fact) -> Result<(), String> {
    let Fact::Settled { waiting_items, .. } = fact else {
        return Ok(());
    };
    let known: u64 = ledger.unfinished().map(|(_, job)| u64::from(job.waiting)).sum();
    require(known == waiting_items, || format!("{known} items wait, but the core counts {waiting_items}"))
}
