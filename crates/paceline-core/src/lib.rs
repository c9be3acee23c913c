//! Decides what happens next in a pool: which items of which job go into the task table, what a worker's death means
//! for them, when a job has ended, when workers are started and stopped.
//!
//! Owns jobs, chunks, attempts, retries, the backlog and the seats of the workers. Never has a clock, a thread, a
//! file, bytes of a payload, unsafe code or Python: it is handed the moment and an [`Event`], and answers with
//! [`Command`]s.

#![forbid(unsafe_code)]

mod command;
mod event;
mod ids;

pub use command::{Breakage, Command, JobEnd};
pub use event::{Event, Held, Sizing, WorkerExit};
pub use ids::{ChunkId, JobId, Moment, WorkerId};
