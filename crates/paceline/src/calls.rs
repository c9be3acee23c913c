//! Owns the items of a job that runs in this process: their arguments until they are run, and what came of each until
//! somebody takes it. Never decides when they run.

use crate::codec::{Gather, Reader};
use crate::current;
use crate::errors::{Panic, TaskError};
use crate::job::Called;
use crate::panics::catch;
use crate::registry::Codec;
use crate::task::Task;
use crate::threads::{Threads, Work};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How often something may be run again, and after what.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Patience {
    pub(crate) retries: u16,
    pub(crate) backoff: Duration,
    pub(crate) of_errors: bool,
    pub(crate) of_panics: bool,
}

/// The items of a job.
pub(crate) struct Calls<F, A: 'static, R: 'static> {
    pub(crate) called: Called,
    pub(crate) function: F,
    /// Of a registered function. To be run again, arguments have to be copied, and this is how.
    pub(crate) codec: Option<&'static Codec<A, R>>,
    pub(crate) patience: Patience,
    pub(crate) slots: Box<[Mutex<Slot<A, R>>]>,
}

/// What there is of an item.
pub(crate) enum Slot<A, R> {
    Waiting(A),
    Ended(Result<R, Box<Panic>>),
    Empty,
}

/// Where the results of a job are.
pub(crate) trait Results<R>: Send + Sync {
    /// What came of an item; the first to ask gets it.
    fn take(&self, place: u32) -> Result<R, TaskError>;
}

impl<F, A, R> Calls<F, A, R> {
    fn replace(&self, place: u32, slot: Slot<A, R>) -> Slot<A, R> {
        let held = &self.slots[place as usize];
        std::mem::replace(&mut *held.lock().unwrap_or_else(PoisonError::into_inner), slot)
    }
}

impl<F: Task<A, Output = R>, A: Send + 'static, R: Send + 'static> Calls<F, A, R> {
    fn attempt(&self, arguments: A, number: u64, place: u32, attempt: u16, seed: u64) -> Result<R, Box<Panic>> {
        let index = self.called.base.unwrap_or(0).wrapping_add(place);
        current::within(number, index, attempt, seed, || catch(|| self.function.call(arguments)))
    }

    fn fails(&self, result: &Result<R, Box<Panic>>) -> bool {
        result.as_ref().map_or(true, |value| self.codec.is_some_and(|codec| (codec.failure)(value).is_some()))
    }

    fn may_pass(&self, result: &Result<R, Box<Panic>>) -> bool {
        self.fails(result) && if result.is_err() { self.patience.of_panics } else { self.patience.of_errors }
    }

    /// The bytes of arguments that may be needed again.
    fn kept(&self, arguments: &A) -> Option<(&'static Codec<A, R>, Vec<u8>)> {
        let codec = self.codec.filter(|_| self.patience.retries > 0)?;
        let mut scratch = Vec::new();
        let mut gather = Gather::new(&mut scratch);
        // What cannot be copied, or panics when it is, is run once.
        catch(|| (codec.encode)(arguments, &mut gather)).ok()?.ok()?;
        let bytes = gather.parts().concat();
        Some((codec, bytes))
    }
}

impl<F: Task<A, Output = R>, A: Send + 'static, R: Send + 'static> Work for Calls<F, A, R> {
    fn name(&self) -> &str {
        self.called.name()
    }

    fn run(&self, place: u32, number: u64, threads: &Threads) -> bool {
        let Slot::Waiting(arguments) = self.replace(place, Slot::Empty) else { return false };
        let kept = self.kept(&arguments);
        let mut result = self.attempt(arguments, number, place, 0, threads.seed);
        if let Some((codec, bytes)) = kept {
            let mut backoff = self.patience.backoff;
            for attempt in 1..=self.patience.retries {
                if !self.may_pass(&result) || !threads.pool.rest_before_retry(backoff) {
                    break;
                }
                let copied = catch(|| (codec.decode_arguments)(&mut Reader::own(&bytes)));
                let Ok(Ok(arguments)) = copied else { break };
                result = self.attempt(arguments, number, place, attempt, threads.seed);
                backoff = backoff.saturating_mul(2);
            }
        }
        let failed = self.fails(&result);
        self.replace(place, Slot::Ended(result));
        failed
    }

    fn forget(&self) {
        for slot in &self.slots {
            drop(std::mem::replace(&mut *slot.lock().unwrap_or_else(PoisonError::into_inner), Slot::Empty));
        }
    }
}

impl<F: Send + Sync, A: Send, R: Send> Results<R> for Calls<F, A, R> {
    fn take(&self, place: u32) -> Result<R, TaskError> {
        match self.replace(place, Slot::Empty) {
            Slot::Ended(Ok(value)) => Ok(value),
            Slot::Ended(Err(panic)) => Err(TaskError::Panicked { task: self.called.task(place), panic: *panic }),
            Slot::Waiting(_) | Slot::Empty => Err(TaskError::Cancelled),
        }
    }
}
