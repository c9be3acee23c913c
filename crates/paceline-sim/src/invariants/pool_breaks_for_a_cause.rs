//! A pool breaks when a worker says that it cannot start, when one takes longer to start than it may, or when three in a
//! row die before they are ready, or twenty before they get anything done, or when no slot of the table is left; for
//! nothing else, and then surely.

use paceline_core::{Breakage, Command, Event};

use super::require;
use crate::fact::Fact;
use crate::ledger::{Ledger, Standing};

const MOST_FAILED_STARTS: u32 = 3;
const MOST_IDLE_DEATHS: u32 = 20;

pub(super) fn pool_breaks_for_a_cause(ledger: &Ledger, fact: Fact) -> Result<(), String> {
    match fact {
        Fact::Asked { command: Command::BreakPool { why } } => {
            require(ledger.standing != Standing::GivenUp, || "the pool breaks though it was given up".to_owned())?;
            match why {
                Breakage::StartFailed => require(ledger.failed_starts > 0, || "no worker failed to start".to_owned()),
                Breakage::TableDestroyed => {
                    let slots = ledger.table_slots;
                    require(slots == 0, || format!("the table has {slots} slots left"))
                }
                Breakage::StartTooSlow { worker } => {
                    let mut limits = ledger.start_limits();
                    let limit = limits.find(|&(_, index)| index == usize::from(worker.0));
                    let is_overdue = limit.is_some_and(|(overdue_ns, _)| overdue_ns <= ledger.now_ns);
                    require(is_overdue && ledger.wants_workers(), || {
                        format!("worker {} has until {limit:?} to start", worker.0)
                    })
                }
                Breakage::CrashLoop { deaths } => {
                    let (unready, idle) = (ledger.unready_deaths, ledger.idle_deaths);
                    let is_cause =
                        (MOST_FAILED_STARTS..=unready).contains(&deaths) || (MOST_IDLE_DEATHS..=idle).contains(&deaths);
                    require(is_cause, || {
                        format!(
                            "the pool breaks after {deaths} deaths, but {unready} unready and {idle} in all were in a row"
                        )
                    })
                }
            }
        }
        Fact::Answered { event: Event::TimePassed, .. } => {
            let overdue = ledger.start_limits().find(|&(overdue_ns, _)| overdue_ns <= ledger.now_ns);
            require(overdue.is_none(), || format!("a worker takes too long to start and may: {overdue:?}"))
        }
        Fact::Settled { .. } if ledger.wants_workers() => {
            require(ledger.table_slots > 0, || "the table has no slot left and the pool goes on".to_owned())?;
            require(ledger.failed_starts == 0, || "a worker failed to start and the pool goes on".to_owned())?;
            let (unready, vain) = (ledger.unready_deaths, ledger.vain_deaths);
            require(unready < MOST_FAILED_STARTS && vain < MOST_IDLE_DEATHS, || {
                format!("{unready} workers died unready in a row, {vain} in vain, and the pool goes on")
            })
        }
        _ => Ok(()),
    }
}
