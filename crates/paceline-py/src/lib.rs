//! The Python face of the engine: the extension module `paceline._paceline`.
//!
//! Owns how Python objects become bytes and back, the native halves of futures and engines, and the Python side of a
//! worker. Never loops, schedules or waits while it holds the interpreter.
//!
//! The map: `engine` and `future` are what callers hold, `stream` orders futures by their end, `job` is what a
//! future is of; `functions` knows what the workers have been told of; `current` what a thread knows of its task;
//! `codec`, `arrays` and `pickle` make bytes of objects, which `gather` puts together; `buffers` are the large
//! parts of those, `shared` what is sent once for many calls; `outcome` makes objects of answers; `worker` is the
//! other side, `coroutines` what it has under way, `voice` how it is heard, `output` who hears it. `intern` has the
//! names that Python has only once. `terms` are those of a call, `flight` says how many bytes may be under way.
//! `history` and `events` tell what has happened, `transport` what handing over arguments took. `machine` counts
//! the CPUs, `command` says how the fork server is started. `local` is the pool of threads, which needs none of the
//! bytes.

mod arrays;
mod buffers;
mod codec;
mod command;
mod coroutines;
mod current;
mod engine;
mod events;
mod flight;
mod functions;
mod future;
mod gather;
mod history;
mod intern;
mod job;
mod local;
mod machine;
mod outcome;
mod output;
mod pickle;
mod resources;
mod shared;
mod stops;
mod stream;
mod terms;
mod transport;
mod voice;
mod worker;

use pyo3::prelude::*;

#[pymodule]
mod _paceline {
    #[pymodule_export]
    use super::codec::decode_value;
    #[pymodule_export]
    use super::current::{Task, current_item, current_task, number_item};
    #[pymodule_export]
    use super::engine::Engine;
    #[pymodule_export]
    use super::engine::{end_processes, preload, worker_stacks};
    #[pymodule_export]
    use super::events::Events;
    #[pymodule_export]
    use super::flight::Gauge;
    #[pymodule_export]
    use super::future::TaskFuture;
    #[pymodule_export]
    use super::local::LocalEngine;
    #[pymodule_export]
    use super::machine::{default_workers, machine_limits, share_machine, sharers};
    #[pymodule_export]
    use super::output::{flush_worker_output, next_output, promise_to_listen, renounce_listening, write_output};
    #[pymodule_export]
    use super::shared::{OpenMemory, SharedMemory, is_answering, open_shared_memory, open_shared_object};
    #[pymodule_export]
    use super::stops::{begin_stops, note_may_pass, retire_above, stop_signals, take_stop};
    #[pymodule_export]
    use super::stream::Stream;
    #[pymodule_export]
    use super::terms::Terms;
    #[pymodule_export]
    use super::voice::{line_prefix, note_speech, prefix_lines, send_record};
    #[pymodule_export]
    use super::worker::{become_worker, serve_forks};
}
