//! A pool breaks when a worker says that it cannot start, when one takes longer to start than it may, or when three in a
//! row die before they get anything done; for nothing else, and then surely.

use paceline_core::{Breakage, Command, Event};

use super::require;
use crate::fact::Fact;
use crate::ledger::{Ledger, Standing};

const MOST_FAILED_STARTS: u32 = 3;

pub(super) fn pool_breaks_for_a_cause(ledger: &Ledger, fact: Fact) -> Result<(), String> {
    match fact {
        Fact::Asked { command: Command::BreakPool { why } } => {
            require(ledger.standing != Standing::GivenUp, || "the pool breaks though it was given up".to_owned())?;
            match why {
                Breakage::StartFailed => require(ledger.failed_starts > 0, || "no worker failed to start".to_owned()),
                Breakage::StartTooSlow { worker } => {
                    let mut limits = ledger.start_limits();
                    let limit = limits.find(|&(_, index)| index == usize::from(worker.0));
                    let is_overdue = limit.is_some_and(|(overdue_ns, _)| overdue_ns <= ledger.now_ns);
                    require(is_overdue && ledger.wants_workers(), || {
                        format!("worker {} has until {limit:?} to start", worker.0)
                    })
                }
                Breakage::CrashLoop { deaths } => {
                    let most = ledger.idle_deaths;
                    require((MOST_FAILED_STARTS..=most).contains(&deaths), || {
                        format!("the pool breaks after {deaths} deaths, but {most} were in a row")
                    })
                }
            }
        }
        Fact::Answered { event: Event::TimePassed, .. } => {
            let overdue = ledger.start_limits().find(|&(overdue_ns, _)| overdue_ns <= ledger.now_ns);
            require(overdue.is_none(), || format!("a worker takes too long to start and may: {overdue:?}"))
        }
        Fact::Settled { .. } if ledger.wants_workers() => {
            require(ledger.failed_starts == 0, || "a worker failed to start and the pool goes on".to_owned())?;
            let deaths = ledger.vain_deaths;
            require(deaths < MOST_FAILED_STARTS, || format!("{deaths} workers died in a row and the pool goes on"))
        }
        _ => Ok(()),
    }
}
