//! When a pool is closed with all cancelled that waits, no job begins of which no worker had claimed anything.

use paceline_core::{Command, JobEnd};

use super::require;
use crate::fact::Fact;
use crate::ledger::Ledger;

pub(super) fn closing_can_cancel_what_waits(ledger: &Ledger, fact: Fact) -> Result<(), String> {
    match fact {
        Fact::Begun { job, .. } => {
            let job = &ledger.jobs[job];
            require(!job.is_shut_out, || format!("job {} begins though it was to be cancelled", job.number.0))
        }
        Fact::Asked { command: Command::FinishJob { job: number, end: JobEnd::Complete } } => {
            let is_shut_out = ledger.job(number).is_some_and(|job| job.is_shut_out);
            require(!is_shut_out, || format!("job {} is complete though it was to be cancelled", number.0))
        }
        _ => Ok(()),
    }
}
