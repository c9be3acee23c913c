//! Owns how a panic of a task is caught: with its message, and with its place, which only the hook is told. Never lets one
//! through, and prints none.

use serde::{Deserialize, Serialize};
use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::Once;

/// A panic of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Panic {
    /// What it said.
    pub message: String,
    /// Where it happened, as `file:line:column`; none if the program has replaced the hook that is told.
    pub location: Option<String>,
    /// What had called what, if `RUST_BACKTRACE` asks for it.
    pub backtrace: Option<String>,
}

impl fmt::Display for Panic {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            Some(location) => write!(to, "{} ({location})", self.message),
            None => write!(to, "{}", self.message),
        }
    }
}

/// What the hook was told.
#[derive(Default)]
struct Told {
    location: Option<String>,
    backtrace: Option<String>,
}

thread_local! {
    /// Whether this thread runs a task.
    static CATCHING: Cell<bool> = const { Cell::new(false) };
    static TOLD: RefCell<Option<Told>> = const { RefCell::new(None) };
}

/// Has panics of tasks noted, and all others told as before.
fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(
            move |info| if CATCHING.get() && cfg!(panic = "unwind") { note(info) } else { before(info) },
        ));
    });
}

fn note(info: &PanicHookInfo<'_>) {
    let backtrace = Backtrace::capture();
    let told = Told {
        location: info.location().map(ToString::to_string),
        backtrace: (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string()),
    };
    TOLD.set(Some(told));
}

/// What a panic said.
pub(crate) fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a message")
}

/// Does something of the user's.
///
/// # Errors
/// The panic, if it panics.
pub(crate) fn catch<R>(act: impl FnOnce() -> R) -> Result<R, Box<Panic>> {
    listen();
    let before = CATCHING.replace(true);
    // Of one that a task has caught by itself.
    TOLD.set(None);
    // What a task leaves half done is its own, and goes with it.
    let result = catch_unwind(AssertUnwindSafe(act));
    CATCHING.set(before);
    result.map_err(|panic| {
        let Told { location, backtrace } = TOLD.take().unwrap_or_default();
        let message = message(&*panic).to_owned();
        // One whose payload panics when it is dropped is not worth more.
        std::mem::forget(panic);
        Box::new(Panic { message, location, backtrace })
    })
}
