//! Starts, watches, stops and times: the engine of a pool in the parent, the fork server, the worker loop.
//!
//! Owns processes, threads, clocks and signals. Never decides what happens next (the core does), never lays out shared
//! memory (ipc does), and never names what runs on it: payloads are opaque, and workers run a [`Run`].
//!
//! The map, in the parent: [`Engine`] is what a caller holds; its `state` carries out the core's commands under one
//! lock; `wait` is how callers wait, `driver` the engine's own thread; the `supervisor`, one for the process, starts
//! workers in one of the ways of [`start`], hears what they say (`words`, `output`) and notices how they end. In the
//! other processes: [`fork_server`] and [`worker`].
//! A pool of threads has none of that: it is [`local`].

mod accounts;
mod answers;
mod clock;
mod control_groups;
mod cpu_time;
mod driver;
mod engine;
mod events;
mod flight;
mod fork_guard;
pub mod fork_server;
mod history;
#[cfg(any(test, feature = "hostile"))]
pub mod hostile;
pub mod local;
mod machine;
mod memory_limits;
mod memory_use;
mod outcome;
pub mod output;
mod patience;
mod pending;
mod process;
mod recent;
mod records;
mod repeats;
mod run;
pub mod start;
mod state;
mod supervisor;
mod threads;
mod wait;
mod words;
pub mod worker;

pub use accounts::{Account, Accounts};
pub use answers::Answers;
pub use clock::{coarse_ns, now_ns};
pub use engine::{Announce, Engine, OpenError, Options};
pub use events::{Happening, Items, MOST_WAITING, Subscription};
pub use flight::{Flight, InFlight, default_memory_budget};
pub use fork_guard::before_forks;
pub use history::{Failed, Fate, History, Stretch};
pub use machine::Machine;
pub use memory_limits::{has_memory, memory_limit};
pub use memory_use::page_faults;
pub use outcome::{Answer, Breakdown, Death, HeldCopy, Loss, Outcome, Part, PartContent, Parts, RecordBytes, kind};
pub use paceline_core::{MOST_DEVICES, RetryOn, Sizing, TOKEN_KINDS, Terms, Tokens, Trouble, WHOLE_TOKEN, WorkerExit};
pub use paceline_ipc::SEATS as MOST_PROCESSES;
pub use paceline_ipc::arena::{AllocateError, ArenaReader, OwnCopy, Span};
pub use paceline_ipc::foreign::Foreign;
pub use paceline_ipc::message::ThreadTime;
pub use paceline_ipc::share::{Name, OpenShare, Share};
pub use paceline_ipc::slabs::Placed;
pub use pending::{Attachment, FailureWatch, Label, Mark, Pending, Stage, Stream};
pub use recent::RecentFailure;
pub use records::{note_speech, send_record};
pub use run::{Call, Manner, Run};
pub use start::StartMethod;
pub use state::{Function, Glance, Input, Running, ShownFailure, SubmitError};
pub use supervisor::{ForkServerCommand, STOPPED_LOOKS, Stack, end_processes, hear_workers, preload, worker_stacks};
pub use wait::{Target, Waited};
