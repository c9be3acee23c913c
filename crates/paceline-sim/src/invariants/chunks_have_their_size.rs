//! No chunk is empty or bigger than the user fixed, and none of a measured job is bigger than an even share for
//! each that can run at once.

use paceline_core::{Command, Sizing};

use super::require;
use crate::fact::Fact;
use crate::ledger::Ledger;

pub(super) fn chunks_have_their_size(ledger: &Ledger, fact: Fact) -> Result<(), String> {
    let Fact::Asked { command: Command::Publish { job: number, count, .. } } = fact else {
        return Ok(());
    };
    let Some(job) = ledger.job(number) else { return Ok(()) };
    let most = match job.sizing {
        Sizing::Fixed(size) => size.max(1),
        Sizing::Measured => (job.waiting + job.resting).div_ceil(ledger.workers).max(1),
    };
    require((1..=most).contains(&count), || format!("a chunk of job {} has {count} items, not 1 to {most}", number.0))
}
