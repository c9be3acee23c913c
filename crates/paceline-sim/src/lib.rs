//! Proves the core by seeded simulation of faults: an engine, a task table and workers that die at the worst moments,
//! all in virtual time, with invariants that are checked at every step.
//!
//! Owns the model and the invariants. Never has a process, a thread or a clock in it, and never changes the core: what
//! breaks transitions on purpose sits between the core and the model.
//!
//! The map: a seed makes a `scenario`; `world` plays it (`engine` carries out commands and reports events, `worker`
//! and `table` are what it works with, `agenda` is the time); every step becomes a `fact`, which the `invariants`
//! judge against the `ledger` of all facts before. The `saboteur` lies to either side, to prove that the judges see it.

#![forbid(unsafe_code)]

mod agenda;
mod decider;
mod engine;
mod fact;
mod fate;
mod invariants;
mod ledger;
mod random;
mod reports;
mod run;
mod saboteur;
mod scenario;
mod table;
mod watching;
mod worker;
mod working;
mod world;

pub use invariants::Violation;
pub use run::{Report, replay, run_sabotaged, run_seed};
pub use saboteur::{Mistake, SABOTAGES, Sabotage};
