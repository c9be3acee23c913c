//! Owns the functions that the workers are told of: bytes in the parent's arena, as long as somebody may call them.

use super::State;
use super::submit::SubmitError;
use crate::fork_guard::generation;
use paceline_ipc::arena::Span;
use paceline_ipc::share::Share;
use std::sync::{Arc, Mutex, PoisonError};

/// A function that a pool's workers have been told of: bytes in the parent's arena, until the last job that needs
/// them has ended.
#[derive(Debug)]
pub struct Function {
    pub(super) id: u64,
    pub(super) place: Span,
    pub(super) name: Arc<str>,
    /// What it names in shared memory.
    _shares: Vec<Arc<Share>>,
    released: Arc<Released>,
    generation: u32,
}

/// Places whose last user is gone, to be freed under the lock.
pub(crate) type Released = Mutex<Vec<Span>>;

impl Drop for Function {
    fn drop(&mut self) {
        if self.generation != generation() {
            // In a forked child the lock may be held by a thread that it has not inherited.
            return;
        }
        self.released.lock().unwrap_or_else(PoisonError::into_inner).push(self.place);
    }
}

impl State {
    /// Gives a function's bytes to the workers.
    pub(crate) fn register(
        &mut self,
        bytes: &[u8],
        name: &str,
        shares: Vec<Arc<Share>>,
    ) -> Result<Arc<Function>, SubmitError> {
        for place in std::mem::take(&mut *self.released.lock().unwrap_or_else(PoisonError::into_inner)) {
            self.slabs.release(&mut self.arena, place);
        }
        let placed = self.slabs.place(&mut self.arena, bytes.len() as u64).map_err(SubmitError::NoMemory)?;
        // SAFETY: the place is ours, mapped, and as large as asked for.
        unsafe { placed.address.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        let (id, place) = (self.next_function, placed.span);
        self.next_function += 1;
        Ok(Arc::new(Function {
            id,
            place,
            name: name.into(),
            _shares: shares,
            released: Arc::clone(&self.released),
            generation: generation(),
        }))
    }
}
