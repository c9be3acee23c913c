//! There is always room for what is published, and its number is free and of a new generation.

use paceline_core::Command;

use super::require;
use crate::fact::Fact;
use crate::ledger::Ledger;

pub(super) fn table_is_never_overfull(ledger: &Ledger, fact: Fact) -> Result<(), String> {
    match fact {
        Fact::Asked { command: Command::Publish { chunk, .. } } => {
            let slots = ledger.table_slots;
            require(ledger.out.len() < slots as usize, || format!("more than {slots} chunks are published"))?;
            let numbers = ledger.generations.len();
            require((chunk.index as usize) < numbers, || format!("{chunk:?} is beyond {numbers}"))?;
            let is_free = ledger.out.iter().all(|out| out.chunk.index != chunk.index);
            require(is_free, || format!("the number of {chunk:?} is in use"))?;
            let last = ledger.generations[chunk.index as usize];
            require(last.is_none_or(|last| last < chunk.generation), || format!("{chunk:?} follows {last:?}"))
        }
        Fact::Settled { counts } => require(ledger.out.len() == counts.published_chunks as usize, || {
            format!("{} chunks are out, but the core counts {}", ledger.out.len(), counts.published_chunks)
        }),
        _ => Ok(()),
    }
}
