//! The engine from end to end, with real processes and without Python: the workers run a small Rust program.

mod deaths;
mod pool;
mod results;
mod worker_program;
