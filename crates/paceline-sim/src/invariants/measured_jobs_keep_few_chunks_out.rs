//! A job whose chunks are sized by measurement has at most two of them out for each worker.

use paceline_core::{Command, Sizing};

use super::require;
use crate::fact::Fact;
use crate::ledger::Ledger;

pub(super) fn measured_jobs_keep_few_chunks_out(ledger: &Ledger, fact: Fact) -> Result<(), String> {
    let Fact::Asked { command: Command::Publish { job: number, .. } } = fact else {
        return Ok(());
    };
    let Some(position) = ledger.position(number) else {
        return Ok(());
    };
    if ledger.jobs[position].sizing != Sizing::Measured {
        return Ok(());
    }
    let out = ledger.chunks_out(position).count();
    require(out < 2 * ledger.workers as usize, || format!("measured job {} has {out} chunks out already", number.0))
}
