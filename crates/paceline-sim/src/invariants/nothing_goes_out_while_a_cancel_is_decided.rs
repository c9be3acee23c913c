//! Nothing of a job is published while the core waits for answers that may cancel it: that would put the answer off,
//! for ever if workers are slow.

use paceline_core::Command;

use super::require;
use crate::fact::Fact;
use crate::ledger::Ledger;

pub(super) fn nothing_goes_out_while_a_cancel_is_decided(ledger: &Ledger, fact: Fact) -> Result<(), String> {
    let Fact::Asked { command: Command::Publish { job: number, .. } } = fact else {
        return Ok(());
    };
    let Some(position) = ledger.position(number) else {
        return Ok(());
    };
    require(!ledger.is_being_decided(position), || format!("job {} goes on while its cancel is decided", number.0))
}
