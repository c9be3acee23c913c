#![doc = include_str!("../README.md")]
//
// Owns what a Rust program calls. Never schedules, moves bytes or watches workers itself: the engine below does.
//
// The map: `builder`, `pool`, `result`, `imap` and `report` are what users hold, `errors` what they are told; `task`,
// `registry` and the macro of `paceline-macros` say what can be called; `submit` is the way of a call to its workers, `codec`,
// `plain` and `whole` make bytes of values; `init` and `worker` are the other process, `threads` and `calls` the way without
// one; `job` is what both have in common.

mod builder;
mod calls;
mod codec;
mod current;
mod errors;
#[cfg(test)]
mod hostile;
mod imap;
mod init;
mod job;
mod output;
mod panics;
mod plain;
mod pool;
mod registry;
mod report;
mod result;
mod submit;
mod task;
mod threads;
mod whole;
mod worker;

pub use builder::{Backend, Builder, Retry};
pub use codec::Arguments;
pub use current::{CurrentTask, current_task};
pub use errors::{BrokenPool, BuildError, Death, Panic, SubmitError, TaskError, TaskName};
pub use imap::Imap;
pub use init::init;
/// Makes a function callable in a worker.
///
/// The function stays what it was, and can be called as before. Workers know it by its name and the path of its module. Its
/// arguments, up to eight, and its result are owned values that `serde` can take apart and put together.
///
/// ```
/// #[paceline::task]
/// fn square(number: u64) -> u64 {
///     number * number
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     paceline::init();
///     let pool = paceline::Pool::builder().workers(1).build()?;
///     assert_eq!(pool.apply(square, (3,))?, square(3));
///     Ok(())
/// }
/// ```
///
/// What cannot be sent is refused by the compiler:
///
/// ```compile_fail
/// #[paceline::task]
/// fn length(text: &str) -> usize {
///     text.len()
/// }
/// ```
///
/// ```compile_fail
/// #[paceline::task]
/// fn largest<T: Ord>(items: Vec<T>) -> Option<T> {
///     items.into_iter().max()
/// }
/// ```
///
pub use paceline_macros::task;
pub use pool::Pool;
pub use report::{Report, WorkerReport};
pub use result::AsyncResult;
pub use task::Task;

/// What the macros write down. Nobody else is to use it.
#[doc(hidden)]
pub mod __private {
    pub use crate::codec::{Gather, Reader};
    pub use crate::registry::{Entry, Fallible, Infallible, Registered, Shown, TASKS, Verdict, registered};
    pub use linkme;
}
