//! Every item without an outcome is either published, or waits in the backlog, for its backoff or to run alone: untouched
//! items are never lost.

use super::require;
use crate::fact::Fact;
use crate::ledger::Ledger;

pub(super) fn no_item_is_forgotten(ledger: &Ledger, fact: Fact) -> Result<(), String> {
    let Fact::Settled { counts } = fact else {
        return Ok(());
    };
    let known: u64 = ledger.unfinished().map(|(_, job)| u64::from(job.waiting)).sum();
    let (least, most) = (known, known + ledger.doubtful_items());
    require((least..=most).contains(&counts.waiting_items), || {
        format!("{least} to {most} items wait, but the core counts {}", counts.waiting_items)
    })
}
