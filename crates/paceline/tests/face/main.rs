//! The Rust face as programs use it: real workers, which are this very test program started again.

mod calls;
mod errors;
mod faults;
mod iterators;
mod lives;
mod payloads;
mod pools;
mod results;
mod tasks;
mod values;

paceline::init_before_main!();
