//! An item is asked to stop only if it has run for as long as it may or its job is cancelled with what runs, and once;
//! and the one who is asked is the one who has it.

use paceline_core::{Command, JobEnd, StopCause};

use super::require;
use crate::fact::Fact;
use crate::ledger::Ledger;

pub(super) fn nothing_is_stopped_before_its_time(ledger: &Ledger, fact: Fact) -> Result<(), String> {
    let Fact::Asked { command: Command::StopItem { worker, chunk, item, cause } } = fact else {
        return Ok(());
    };
    let Some(out) = ledger.find_out(chunk) else {
        return Err(format!("item {item} of {chunk:?} is to stop, which is not out"));
    };
    require(out.claimed_by == Some(worker), || format!("worker {} is asked to stop an item it never had", worker.0))?;
    require(out.stop_of(item).is_none(), || format!("item {item} of {chunk:?} is asked to stop again"))?;
    let job = &ledger.jobs[out.job];
    let Some(since_ns) = out.ran_since_ns(item) else {
        return Err(format!("item {item} of {chunk:?} is to stop and does not run"));
    };
    match cause {
        StopCause::Cancelled => {
            require(job.ending == Some(JobEnd::Cancelled), || format!("job {} is not to be stopped", job.number.0))
        }
        StopCause::Overrun => {
            let ran_ns = ledger.now_ns - since_ns;
            let limit_ns = job.terms.timeout_ns;
            require(limit_ns > 0 && ran_ns >= limit_ns, || {
                format!("item {item} of {chunk:?} is to stop after {ran_ns} ns, and may run for {limit_ns}")
            })
        }
    }
}
