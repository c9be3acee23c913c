//! An item that is to run alone goes out when nothing else is out, and then at once; nothing goes out before it, or
//! beside it.

use paceline_core::Command;

use super::require;
use crate::fact::Fact;
use crate::ledger::{ItemState, Ledger};

pub(super) fn what_runs_alone_runs_alone(ledger: &Ledger, fact: Fact) -> Result<(), String> {
    match fact {
        Fact::Asked { command: Command::Publish { job: number, first, count, .. } } => {
            let Some(item) = ledger.job(number).and_then(|job| job.items.get(first as usize)) else {
                return Ok(());
            };
            if item.state == ItemState::Lonely || item.state.may_be_lonely() {
                let others = ledger.out.len() + count as usize - 1;
                return require(others == 0, || format!("item {first} of job {} runs beside {others}", number.0));
            }
            let lonely = ledger.out.iter().find(|out| out.is_lonely);
            require(lonely.is_none(), || format!("job {} goes out beside {lonely:?}", number.0))?;
            require(!ledger.is_anything_lonely(), || format!("job {} goes out before what is to run alone", number.0))
        }
        Fact::Settled { .. } => {
            let is_left = ledger.out.is_empty() && ledger.is_anything_lonely();
            require(!is_left, || "an item that is to run alone waits though nothing is out".to_owned())
        }
        _ => Ok(()),
    }
}
