//! Owns what the worker loop asks of whoever really runs the tasks: bytes in, bytes out.

use crate::answers::Answers;
use paceline_ipc::arena::ArenaReader;
use std::os::fd::BorrowedFd;

/// One claimed chunk, as the parent asked for it.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The function's number; [`Run::load`] has been called with its bytes before.
    pub function: u64,
    /// The input of all the items, one after the other.
    pub input: &'a [u8],
    /// Where the buffers lie that belong to it; none of them is freed before the call has been answered.
    pub buffers: &'a ArenaReader,
    /// The first item's number among all items that were ever submitted to the pool, in their order.
    pub item: u64,
    /// The first item's place among those that the caller takes for one map.
    pub first: u32,
    /// How many items.
    pub count: u32,
    /// How often the first item has been begun before. Of several items, none has.
    pub attempt: u16,
    /// The devices that it has for itself meanwhile, or a part of: a set, with a bit for each.
    pub devices: u32,
    /// When this worker began with it, in nanoseconds of the monotonic clock.
    pub began_ns: u64,
}

/// How the calls of a function go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Once called, it returns with the outcome.
    AtOnce,
    /// Once begun, it goes on beside others that have been begun, and mostly waits.
    Lingers,
}

/// Runs tasks in a worker process.
pub trait Run {
    /// Prepares the process for its tasks, with the bytes that the pool was opened with.
    ///
    /// # Errors
    /// Why it cannot: bytes for the parent, in a form that it understands. The pool is then broken.
    fn set_up(&mut self, setup: &[u8]) -> Result<(), Vec<u8>>;

    /// How calls of this function go; none until it has been loaded.
    fn manner(&self, function: u64) -> Option<Manner>;

    /// Takes a function's bytes, once, before its first call. What is wrong with them shows when it is called.
    fn load(&mut self, function: u64, bytes: &[u8]);

    /// Runs the items in order, pushing exactly one outcome for each as soon as it is known.
    fn run(&mut self, call: &Call<'_>, answers: &mut Answers<'_>);

    /// How many calls may linger at once, at least one.
    fn most_lingering(&self) -> usize;

    /// Begins every item of a call that lingers, which is known by `number` until it is settled.
    fn begin(&mut self, number: usize, call: &Call<'_>);

    /// Lets the calls that linger go on until some have ended, whose numbers are added to `ended`, or until `bell` can be
    /// read. Does not wait for either unless it `may_wait`.
    fn go_on(&mut self, bell: BorrowedFd<'_>, may_wait: bool, ended: &mut Vec<usize>);

    /// Pushes exactly one outcome for each item of a call that has ended.
    fn settle(&mut self, number: usize, answers: &mut Answers<'_>);

    /// Waits for work by calling `wait`, giving up meanwhile what others in the process may need.
    fn while_idle(&mut self, wait: &mut (dyn FnMut() + Send)) {
        wait();
    }

    /// Whether it holds memory that may be given back when there has been nothing to do for a while.
    fn is_warm(&self) -> bool {
        false
    }

    /// There has been nothing to do for a while.
    fn cool(&mut self) {}

    /// Cleans up, as the last thing in a worker that was not killed.
    fn leave(&mut self) {}
}
