//! A job of which more items have failed than may is given up as soon as nothing of it is out, and nothing more of it
//! goes out or is claimed; no other is given up.

use paceline_core::{Command, JobEnd};

use super::require;
use crate::fact::Fact;
use crate::ledger::Ledger;

pub(super) fn jobs_with_too_many_failures_are_given_up(ledger: &Ledger, fact: Fact) -> Result<(), String> {
    match fact {
        Fact::Asked { command: Command::FinishJob { job: number, end } } => {
            let Some(position) = ledger.position(number) else { return Ok(()) };
            let job = &ledger.jobs[position];
            let (failures, most) = (job.failures, job.terms.most_failures);
            if end == JobEnd::GivenUp {
                require(job.ending == Some(end), || {
                    format!("job {} is given up with {failures} failures, of {most} that may be", number.0)
                })?;
                let out = ledger.chunks_out(position).next();
                require(out.is_none(), || format!("job {} is given up while {out:?} is out", number.0))
            } else {
                require(end != JobEnd::Complete || failures <= most, || {
                    format!("job {} is complete with {failures} failures, of {most} that may be", number.0)
                })
            }
        }
        Fact::Asked { command: Command::Publish { job: number, .. } } => {
            let is_given_up = ledger.job(number).is_some_and(|job| job.ending == Some(JobEnd::GivenUp));
            require(!is_given_up, || format!("job {} goes on though it is given up", number.0))
        }
        Fact::Claimed { chunk, .. } => {
            let job = ledger.find_out(chunk).map(|out| &ledger.jobs[out.job]);
            let is_given_up = job.is_some_and(|job| job.ending == Some(JobEnd::GivenUp));
            require(!is_given_up, || format!("{chunk:?} is claimed though its job is given up"))
        }
        Fact::Settled { .. } => {
            let over = ledger.is_over(JobEnd::GivenUp);
            require(over.is_none(), || format!("a job is given up and does not end: {over:?}"))
        }
        _ => Ok(()),
    }
}
