//! An answer to an assignment of the past is refused: no result of an old attempt is accepted.

use super::require;
use crate::fact::Fact;
use crate::ledger::Ledger;

pub(super) fn old_answers_change_nothing(_: &Ledger, fact: Fact) -> Result<(), String> {
    let Fact::Answered { was_old, is_changed, .. } = fact else {
        return Ok(());
    };
    require(!(was_old && is_changed), || "an answer to an assignment of the past changed something".to_owned())
}
