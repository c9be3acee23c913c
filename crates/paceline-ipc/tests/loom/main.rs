//! The table and its sleepers under every interleaving that loom finds, with small tables and bodies that it watches.
//! Run with `make loom`. A lost wake-up shows as a deadlock, a lost answer
//! as a model that never ends.
#![cfg(loom)]

mod answers;
mod claims;
mod deaths;
mod looks;
mod parent;
mod sleep;
mod small;
