//! Owns what the worker loop asks of whoever really runs the tasks: bytes in, bytes out.

use crate::answers::Answers;

/// One claimed chunk, as the parent asked for it.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The function's number; [`Run::load`] has been called with its bytes before.
    pub function: u64,
    /// The input of all the items, one after the other.
    pub input: &'a [u8],
    /// The first item's number among all items that were ever submitted to the pool, in their order.
    pub item: u64,
    /// The first item's place in its job.
    pub first: u32,
    /// How many items.
    pub count: u32,
}

/// Runs tasks in a worker process.
pub trait Run {
    /// Prepares the process for its tasks, with the bytes that the pool was opened with.
    ///
    /// # Errors
    /// Why it cannot: bytes for the parent, in a form that it understands. The pool is then broken.
    fn set_up(&mut self, setup: &[u8]) -> Result<(), Vec<u8>>;

    /// Whether this function has been loaded.
    fn has_loaded(&self, function: u64) -> bool;

    /// Takes a function's bytes, once, before its first call. What is wrong with them shows when it is called.
    fn load(&mut self, function: u64, bytes: &[u8]);

    /// Runs the items in order, pushing exactly one outcome for each as soon as it is known.
    fn run(&mut self, call: &Call<'_>, answers: &mut Answers<'_>);

    /// Waits for work by calling `wait`, giving up meanwhile what others in the process may need.
    fn while_idle(&mut self, wait: &mut (dyn FnMut() + Send)) {
        wait();
    }
}
