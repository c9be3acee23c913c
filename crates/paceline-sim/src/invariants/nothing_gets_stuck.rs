//! When nothing will happen any more, every job has ended and so has the pool.

use super::require;
use crate::fact::Fact;
use crate::ledger::Ledger;

pub(super) fn nothing_gets_stuck(ledger: &Ledger, fact: Fact) -> Result<(), String> {
    let Fact::Drained = fact else { return Ok(()) };
    let stuck = ledger.unfinished().count();
    require(stuck == 0, || format!("{stuck} jobs never end"))?;
    require(ledger.ends == 1, || "the pool never ends".to_owned())
}
