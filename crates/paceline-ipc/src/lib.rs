//! Moves bytes between two processes of one machine: the task table, payload arenas, wake-ups, sockets with file
//! descriptors.
//!
//! Owns the layout of shared memory and the memory orderings that make it safe against a process that is killed
//! between any two instructions. Never knows what a task means, retries anything, or names Python.
//!
//! The map:
//! - [`word`]: the state word of a slot, and its legal changes.
//! - [`table`]: slots, claim, publish, finish, withdraw, reclaim.
//! - [`idle`]: how workers sleep and are woken, and how the parent is.
//! - [`body`]: what a slot carries besides its state.
//! - [`marks`]: what the worker tells of a task while it runs it.
//! - [`record`]: how the outcomes of a chunk's items stand one after the other.
//! - [`arena`]: segments for payloads larger than a slot.
//! - [`slabs`]: segments shared by payloads of medium size.
//! - [`repeats`]: those of them that are sent again and again.
//! - [`foreign`]: memory that another process can write at any moment.
//! - `hostile`: attacks on all of this, for tests and fuzzers.
//! - [`share`]: memory that one process lays out and others map.
//! - [`memory`]: anonymous memory files and their mappings.
//! - [`message`] and [`socket`]: the few control messages, and descriptors, that travel beside the table.

pub mod idle;
pub mod marks;
mod sync;
pub mod table;
pub mod word;

#[cfg(not(loom))]
pub mod arena;
#[cfg(not(loom))]
pub mod body;
#[cfg(not(loom))]
pub mod foreign;
#[cfg(all(not(loom), any(test, feature = "hostile")))]
pub mod hostile;
#[cfg(not(loom))]
pub mod memory;
#[cfg(not(loom))]
pub mod message;
#[cfg(not(loom))]
pub mod record;
#[cfg(not(loom))]
pub mod repeats;
#[cfg(not(loom))]
pub mod share;
#[cfg(not(loom))]
pub mod slabs;
#[cfg(not(loom))]
pub mod socket;

#[cfg(loom)]
pub use sync::die_after;

/// The number of slots of an engine's table.
pub const SLOTS: usize = 1024;
/// The most workers that one engine can have.
pub const SEATS: usize = 512;

/// The task table of an engine.
#[cfg(not(loom))]
pub type TaskTable = table::Table<body::Body, SLOTS, { SLOTS / 64 }, SEATS, { SEATS / 64 }>;
