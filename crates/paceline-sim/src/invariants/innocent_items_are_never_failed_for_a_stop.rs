//! Of what a lost worker ran, only the item that was asked to stop at its limit is said to have overrun; and no item is
//! failed with its worker that had not begun.

use paceline_core::{Command, Trouble};

use super::require;
use crate::fact::Fact;
use crate::ledger::{ItemState, Ledger};

pub(super) fn innocent_items_are_never_failed_for_a_stop(ledger: &Ledger, fact: Fact) -> Result<(), String> {
    let Fact::Asked { command: Command::FailItem { job: number, item, trouble, .. } } = fact else {
        return Ok(());
    };
    let Some(record) = ledger.job(number).and_then(|job| job.items.get(item as usize)) else {
        return Ok(());
    };
    require(record.begun > 0, || format!("item {item} of job {} fails and never began", number.0))?;
    let has_overrun = matches!(record.state, ItemState::Doomed { trouble: Trouble::Overran, .. });
    require(trouble != Trouble::Overran || has_overrun, || {
        format!("item {item} of job {} is said to have overrun, and is {:?}", number.0, record.state)
    })
}
