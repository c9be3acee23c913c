//! Owns the Rust side of a worker: it finds functions by their names, calls them, and makes bytes of what they return.
//! Never decides what runs next.

use crate::codec::{Gather, Reader, Refusal};
use crate::current::stoppable::{begin, end};
use crate::panics::Panic;
use crate::registry::{Ended, Known, Registry};
use paceline_engine::worker::{EXIT_DISCONNECTED, exit_now, note_stops};
use paceline_engine::{AllocateError, Answers, Call, Manner, Run, kind};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io::Write;
use std::os::fd::BorrowedFd;

/// What a worker is set up with.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
    /// The name of a function, and its arguments.
    pub(crate) initializer: Option<(String, Vec<u8>)>,
}

/// What the bytes of a function are: how its failures are to be taken, and its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Lenience {
    /// One that returns an `Err` may be run again.
    pub(crate) of_errors: bool,
    /// One that panics may be run again.
    pub(crate) of_panics: bool,
}

/// What stands in the place of a result; its bytes follow those of this. Of a failure of the function's own nothing does
/// but the result itself.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Said {
    Returned,
    Panicked(Box<Panic>),
    NotSerialisable(String),
}

impl Said {
    /// Reads what stands before the result, or in its place.
    ///
    /// # Errors
    /// When it is nothing of the kind.
    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, Refusal> {
        from.parse()
    }
}

/// Runs functions of this program.
#[derive(Default)]
pub(crate) struct RustRun {
    functions: HashMap<u64, Loaded>,
    scratch: Vec<u8>,
    seed: u64,
}

struct Loaded {
    lenience: Lenience,
    name: String,
    function: Option<&'static Known>,
}

impl Loaded {
    fn of(bytes: &[u8]) -> Self {
        let (lenience, name) = postcard::from_bytes::<(Lenience, String)>(bytes).unwrap_or_default();
        let function = Registry::get().named(&name);
        Self { lenience, name, function }
    }

    /// Of what kind a failure is that may pass or not.
    fn kind(may_pass: bool) -> u8 {
        if may_pass { kind::MAY_PASS } else { kind::FAILED }
    }

    /// Calls it with the next item, and writes the outcome; whether the rest of the chunk is not to be run.
    fn answer(&self, input: &mut Reader<'_>, scratch: &mut Vec<u8>, answers: &mut Answers<'_>) -> bool {
        let Lenience { of_errors, of_panics } = self.lenience;
        let (Some(function), Some(mut item)) = (self.function, input.take_counted()) else {
            let said = Said::NotSerialisable(format!("the worker knows no function `{}`", self.name));
            end();
            say(kind::FAILED, &said, answers);
            return false;
        };
        let mut drops_chunk = false;
        function.perform(&mut item, scratch, &mut |ended| {
            // From here on it cannot be stopped any more.
            if let Some(drops) = end() {
                drops_chunk = drops;
                if !drops {
                    insist(answers.push(kind::STOPPED, &[]));
                }
                return;
            }
            match ended {
                Ended::Returned(failure, result) => {
                    let kind = if failure.is_some() { Self::kind(of_errors) } else { kind::DONE };
                    if push(kind, result, answers).is_err() {
                        let reason = format!("there is no shared memory for {} bytes", result.len());
                        say(kind::FAILED, &Said::NotSerialisable(reason), answers);
                    }
                }
                Ended::Panicked(panic) => say(Self::kind(of_panics), &Said::Panicked(panic), answers),
                Ended::Unsendable(reason) => {
                    say(kind::FAILED, &Said::NotSerialisable(format!("its result: {reason}")), answers);
                }
                Ended::Unreadable(reason) => {
                    say(kind::FAILED, &Said::NotSerialisable(format!("its arguments: {reason}")), answers);
                }
            }
        });
        drops_chunk
    }
}

/// Writes a result. Before one that is a failure it says that it is one.
fn push(kind: u8, result: &Gather<'_>, answers: &mut Answers<'_>) -> Result<(), AllocateError> {
    let returned = [RETURNED];
    let mut parts = result.parts();
    if kind != kind::DONE {
        parts.insert(0, &returned);
    }
    answers.push_parts(kind, &parts)
}

/// The bytes of [`Said::Returned`].
const RETURNED: u8 = 0;

/// Writes why there is no result.
fn say(kind: u8, said: &Said, answers: &mut Answers<'_>) {
    insist(answers.push(kind, &postcard::to_stdvec(said).unwrap_or_default()));
}

/// Without memory even for saying so, the item is lost with this worker, and its future says how.
fn insist(pushed: Result<(), AllocateError>) {
    if pushed.is_err() {
        exit_now(EXIT_DISCONNECTED);
    }
}

impl Run for RustRun {
    fn set_up(&mut self, setup: &[u8]) -> Result<(), Vec<u8>> {
        note_stops();
        let Setup { seed, initializer } = postcard::from_bytes(setup).unwrap_or_default();
        self.seed = seed;
        let Some((name, arguments)) = initializer else { return Ok(()) };
        let function = Registry::get().named(&name);
        let function = function.ok_or_else(|| format!("the worker knows no function `{name}`").into_bytes())?;
        let mut refusal = None;
        function.perform(&mut Reader::own(&arguments), &mut self.scratch, &mut |ended| {
            refusal = match ended {
                Ended::Returned(failure, _) => failure.map(|failure| format!("`{name}` returned {failure:?}")),
                Ended::Panicked(panic) => Some(format!("`{name}` panicked: {panic}")),
                Ended::Unsendable(reason) | Ended::Unreadable(reason) => Some(format!("`{name}`: {reason}")),
            };
        });
        refusal.map_or(Ok(()), |refusal| Err(refusal.into_bytes()))
    }

    fn manner(&self, function: u64) -> Option<Manner> {
        self.functions.contains_key(&function).then_some(Manner::AtOnce)
    }

    fn load(&mut self, function: u64, bytes: &[u8]) {
        self.functions.insert(function, Loaded::of(bytes));
    }

    fn run(&mut self, call: &Call<'_>, answers: &mut Answers<'_>) {
        let Self { functions, scratch, seed } = self;
        let Some(function) = functions.get(&call.function) else { return };
        let mut input = Reader::own(call.input);
        for (number, place) in (call.item..).zip(0..call.count) {
            begin(number, call.first.wrapping_add(place), call.attempt, *seed);
            if function.answer(&mut input, scratch, answers) {
                break;
            }
        }
    }

    fn most_lingering(&self) -> usize {
        1
    }

    // No function's calls linger.
    fn begin(&mut self, _: usize, _: &Call<'_>) {}
    fn go_on(&mut self, _: BorrowedFd<'_>, _: bool, _: &mut Vec<usize>) {}
    fn settle(&mut self, _: usize, _: &mut Answers<'_>) {}

    fn leave(&mut self) {
        let _ = std::io::stdout().flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_that_is_a_result_begins_as_it_says() {
        assert_eq!(postcard::to_stdvec(&Said::Returned).unwrap(), [RETURNED]);
    }
}
