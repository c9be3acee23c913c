//! The engine from end to end, with real processes and without Python: the workers run a small Rust program.

mod cancel;
mod deaths;
mod ends;
mod events;
mod glance;
mod leftovers;
mod limits;
mod lingering;
mod payloads;
mod pool;
mod priorities;
mod results;
mod scribbles;
mod servers;
mod starts;
mod stopped;
mod waiting;
mod worker_program;
