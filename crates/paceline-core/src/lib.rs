//! Decides what happens next in a pool: which items of which job go into the task table, what a worker's death means
//! for them, when a job has ended, when workers are started and stopped.
//!
//! Owns jobs, chunks, attempts, retries, the backlog and the seats of the workers. Never has a clock, a thread, a
//! file, bytes of a payload, unsafe code or Python: it is handed the moment and an [`Event`], and answers with
//! [`Command`]s.
//!
//! The map: `event`, `command` and `ids` are the contract. [`Scheduler`] hands each event to the file named for what
//! happens (`submit`, `finish`, `lost`, `cancel`, `ending`, `again`, `limits`, `overtake`, `workers`, `damage`, `shutdown`), and
//! `dispatch` fills the table afterwards. What is known is kept in `jobs`, `chunks`, `backlog`, `tokens` and `seats`; `sizing` chooses
//! how many items make a chunk.

#![forbid(unsafe_code)]

mod again;
mod backlog;
mod cancel;
mod chunks;
mod command;
mod damage;
mod dispatch;
mod ending;
mod event;
mod finish;
mod ids;
mod jobs;
mod limits;
mod lost;
mod overtake;
#[cfg(test)]
mod rehearsal;
mod scheduler;
mod seats;
mod shutdown;
mod sizing;
mod submit;
mod tokens;
mod workers;

pub use chunks::Assignment;
pub use command::{Breakage, Command, JobEnd, StopCause};
pub use event::{Event, Held, RetryOn, Sizing, Terms, Trouble, WorkerExit};
pub use ids::{ChunkId, JobId, Moment, WorkerId};
pub use scheduler::{Config, Scheduler};
pub use tokens::{MOST_DEVICES, TOKEN_KINDS, Tokens, WHOLE_TOKEN};
