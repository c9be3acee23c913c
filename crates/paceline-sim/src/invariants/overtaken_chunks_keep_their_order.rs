//! While chunks are taken back for something more urgent, nothing that is to come after them goes out before them.

use std::cmp::Reverse;

use paceline_core::Command;

use super::require;
use crate::fact::Fact;
use crate::ledger::Ledger;

pub(super) fn overtaken_chunks_keep_their_order(ledger: &Ledger, fact: Fact) -> Result<(), String> {
    let Fact::Asked { command: Command::Publish { chunk, job: number, first, .. } } = fact else {
        return Ok(());
    };
    let Some(position) = ledger.position(number) else { return Ok(()) };
    let rank = |job: usize, item: u32| (ledger.jobs[job].terms.priority, Reverse(job), Reverse(item));
    let elder = ledger.out.iter().find(|out| out.is_overtaken && rank(out.job, out.first) > rank(position, first));
    require(elder.is_none(), || format!("{chunk:?} goes out before {elder:?}, which is being taken back"))
}
