//! Owns how a program becomes a worker: it is started again, and goes no further than `init`. Never runs a task.

use crate::worker::RustRun;
use paceline_engine::ForkServerCommand;
use paceline_engine::fork_server::{Served, become_worker, go_on_without_parent, take_socket};
use paceline_engine::worker::work;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, Ordering};

/// The first argument of a program that is started to be a worker. The second is its parent's process id.
const ROLE: &str = "--paceline-worker-of";

static INITIALISED: AtomicBool = AtomicBool::new(false);

/// To be called first in `main`: workers are this same program, started again, and this is where they leave its path.
///
/// In the program itself it does next to nothing. In a worker it does not return. What stands before it happens in each
/// worker as well, so nothing should: neither reading arguments, nor starting threads or a runtime.
///
/// ```
/// #[paceline::task]
/// fn greet(name: String) -> String {
///     format!("Hello, {name}, from {}", std::process::id())
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     paceline::init();
///     let pool = paceline::Pool::builder().workers(1).build()?;
///     println!("{}", pool.apply(greet, ("Ada".to_owned(),))?);
///     Ok(())
/// }
/// ```
pub fn init() {
    INITIALISED.store(true, Ordering::Relaxed);
    if let Some(parent) = asked_to_work() {
        be_worker(parent);
    }
}

/// The same before `main` begins, where that is not one's own to write: in tests.
///
/// One line in a file of `tests/`, or in the library under `#[cfg(test)]`, and workers leave before the test harness begins.
///
/// ```
/// paceline::init_before_main!();
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let pool = paceline::Pool::builder().workers(1).build()?;
/// # assert!(pool.pids().len() <= 1);
/// # Ok(())
/// # }
/// ```
#[macro_export]
macro_rules! init_before_main {
    () => {
        const _: () = {
            extern "C" fn before_main() {
                $crate::init();
            }

            #[used]
            #[unsafe(link_section = ".init_array")]
            static BEFORE_MAIN: extern "C" fn() = before_main;
        };
    };
}

/// Whether workers of this program will be workers.
pub(crate) fn is_initialised() -> bool {
    INITIALISED.load(Ordering::Relaxed)
}

/// How this program is started again. By this name it is the very file that runs, also if that has been replaced since.
pub(crate) fn command() -> ForkServerCommand {
    let parent = OsString::from(std::process::id().to_string());
    ForkServerCommand { program: "/proc/self/exe".into(), arguments: vec![ROLE.into(), parent] }
}

/// Whose worker this process was started to be.
fn asked_to_work() -> Option<i32> {
    let mut arguments = std::env::args_os();
    if arguments.next().is_some() {
        return parent_in(arguments.next().as_deref(), arguments.next().as_deref());
    }
    // Before `main`, not every C library has told what they are.
    let line = std::fs::read("/proc/self/cmdline").ok()?;
    let mut arguments = line.split(|byte| *byte == 0).skip(1).map(OsStr::from_bytes);
    parent_in(arguments.next(), arguments.next())
}

fn parent_in(role: Option<&OsStr>, parent: Option<&OsStr>) -> Option<i32> {
    if role? == ROLE { parent?.to_str()?.parse().ok() } else { None }
}

fn be_worker(parent: i32) -> ! {
    go_on_without_parent();
    let served = take_socket().map_or(Served::Ended, |socket| become_worker(socket, parent));
    let Served::Worker(birth) = served else {
        eprintln!("{ROLE} is for Paceline, which starts its workers so; there is nothing to do without a pool");
        std::process::exit(2);
    };
    // So that it can be told from the program in lists of processes.
    let _ = rustix::thread::set_name(c"paceline-worker");
    let code = work(*birth, &mut RustRun::default());
    std::process::exit(code)
}
