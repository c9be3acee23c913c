//! Nothing waits while there is room, unless the oldest job must not go on: its cancel is being decided, or it is
//! measured and has all the chunks out that it may have.

use paceline_core::Sizing;

use super::require;
use crate::fact::Fact;
use crate::ledger::Ledger;

pub(super) fn room_is_used(ledger: &Ledger, fact: Fact) -> Result<(), String> {
    let Fact::Settled { .. } = fact else { return Ok(()) };
    if ledger.out.len() >= ledger.table_slots as usize {
        return Ok(());
    }
    let Some((position, job)) = ledger.next_in_backlog() else {
        return Ok(());
    };
    let is_at_limit =
        job.sizing == Sizing::Measured && ledger.chunks_out(position).count() >= 2 * ledger.workers as usize;
    require(is_at_limit || ledger.is_being_decided(position), || {
        format!("job {} waits though there is room", job.number.0)
    })
}
