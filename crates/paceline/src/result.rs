//! Owns what a caller holds of a call that was not waited for: to be waited for, awaited, or answered by a callback. Never
//! starts one.

use crate::errors::TaskError;
use crate::job::{Job, Ticket, deadline, ring};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// A result that there will be: of [`apply_async`](crate::Pool::apply_async), [`map_async`](crate::Pool::map_async) and
/// [`starmap_async`](crate::Pool::starmap_async).
///
/// It is waited for by [`get`](Self::get), or awaited: it is a `Future`, and needs no particular runtime. Let go of, it
/// changes nothing: the call is made all the same.
///
/// ```
/// #[paceline::task]
/// fn half(number: u32) -> Result<u32, String> {
///     if number % 2 == 0 { Ok(number / 2) } else { Err(format!("{number} is odd")) }
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     paceline::init();
///     let pool = paceline::Pool::builder().workers(2).build()?;
///     let even = pool.apply_async(half, (8,));
///     let odd = pool.apply_async(half, (9,));
///     even.wait();
///     assert!(even.ready());
///     assert_eq!(even.get()?, Ok(4));
///     // What a function returns is its result, also if that is an `Err`.
///     assert_eq!(odd.get()?, Err("9 is odd".to_owned()));
///     Ok(())
/// }
/// ```
#[must_use = "the call is made all the same, but what comes of it, and what goes wrong, is known by this alone"]
pub struct AsyncResult<T> {
    ticket: Ticket,
    result: Mutex<Reading<T>>,
    /// Who is to be woken, once somebody awaits it.
    waker: Option<Arc<Mutex<Option<Waker>>>>,
}

/// Reads the result of a job that has ended.
type Read<T> = Box<dyn FnOnce(&Ticket) -> Result<T, TaskError> + Send>;

/// A result that is read once, when somebody wants to know it.
enum Reading<T> {
    Unread(Read<T>),
    Read(Result<T, TaskError>),
    Taken,
}

impl<T> Reading<T> {
    fn read(self, ticket: &Ticket) -> Result<T, TaskError> {
        match self {
            Self::Unread(read) => read(ticket),
            Self::Read(result) => result,
            Self::Taken => Err(TaskError::Cancelled),
        }
    }
}

impl<R: Send + 'static> AsyncResult<R> {
    /// Of a job of one item.
    pub(crate) fn of_one(job: Job<R>) -> Self {
        let Job { ticket, source } = job;
        let read = move |ticket: &Ticket| {
            let mut result = Err(TaskError::Cancelled);
            source.read(ticket, &mut |read| result = read);
            result
        };
        Self { ticket, result: Mutex::new(Reading::Unread(Box::new(read))), waker: None }
    }
}

impl<R: Send + 'static> AsyncResult<Vec<R>> {
    /// Of a job of many.
    pub(crate) fn of_many(job: Job<R>) -> Self {
        let Job { ticket, source } = job;
        let read = move |ticket: &Ticket| {
            let mut results = Ok(Vec::new());
            if let Ticket::Refused(error) = ticket {
                return Err(TaskError::NotSubmitted(error.clone()));
            }
            source.read(ticket, &mut |read| match (&mut results, read) {
                (Ok(results), Ok(value)) => results.push(value),
                (Ok(_), Err(error)) => results = Err(error),
                (Err(_), _) => {}
            });
            results
        };
        Self { ticket, result: Mutex::new(Reading::Unread(Box::new(read))), waker: None }
    }
}

impl<T: Send + 'static> AsyncResult<T> {
    /// Waits for the end of the call.
    pub fn wait(&self) {
        self.ticket.wait(None);
    }

    /// Waits for the end, but no longer than this; whether it has come.
    pub fn wait_timeout(&self, patience: Duration) -> bool {
        self.ticket.wait(Some(deadline(patience)))
    }

    /// Waits for the end, and gives the result.
    ///
    /// # Errors
    /// What kept the task from giving one; of a map, what kept the first item that gave none, after all have ended.
    pub fn get(mut self) -> Result<T, TaskError> {
        self.ticket.wait(None);
        self.take()
    }

    /// Whether the call has ended.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.ticket.is_done()
    }

    /// Whether the call has ended, and [`get`](Self::get) will give a result and no error.
    #[must_use]
    pub fn successful(&self) -> bool {
        if !self.ticket.is_done() {
            return false;
        }
        let mut reading = self.result.lock().unwrap_or_else(PoisonError::into_inner);
        let result = std::mem::replace(&mut *reading, Reading::Taken).read(&self.ticket);
        let is_there = result.is_ok();
        *reading = Reading::Read(result);
        is_there
    }

    /// Cancels the call if nothing of it has begun; whether it is cancelled.
    pub fn cancel(&self) -> bool {
        self.ticket.cancel(false)
    }

    /// Cancels the call, and stops what of it runs; whether it is cancelled, or will be. What runs on a thread cannot be
    /// stopped.
    pub fn cancel_by_force(&self) -> bool {
        self.ticket.cancel(true)
    }

    /// Has the result given to a function when there is one: on a thread of the pool's, or at once in this one if there is.
    /// [`join`](crate::Pool::join) waits for that. A panic of the function is printed, and harms nobody.
    ///
    /// The function holds up the other callbacks, and those who await results: it is not to block on a future of the
    /// pool, which this same thread would have to wake.
    ///
    /// ```
    /// use paceline::{Backend, Pool};
    /// use std::sync::mpsc::channel;
    ///
    /// let pool = Pool::builder().backend(Backend::Threads).build()?;
    /// let (sender, receiver) = channel();
    /// pool.apply_async(|| 6 * 7, ()).callback(move |result| sender.send(result).unwrap());
    /// assert_eq!(receiver.recv()??, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn callback(mut self, function: impl FnOnce(Result<T, TaskError>) + Send + 'static) {
        let reading = self.reading();
        let ticket = Arc::new(self.ticket);
        let of_bell = Arc::clone(&ticket);
        if let Err(bell) = ticket.attach(Box::new(move || function(reading.read(&of_bell)))) {
            ring(bell);
        }
    }

    fn reading(&mut self) -> Reading<T> {
        std::mem::replace(self.result.get_mut().unwrap_or_else(PoisonError::into_inner), Reading::Taken)
    }

    fn take(&mut self) -> Result<T, TaskError> {
        self.reading().read(&self.ticket)
    }
}

// Nothing in it minds being moved.
impl<T> Unpin for AsyncResult<T> {}

impl<T: Send + 'static> Future for AsyncResult<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.ticket.is_done() {
            return Poll::Ready(self.take());
        }
        let set = |waker: &Mutex<Option<Waker>>| {
            *waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.waker().clone());
        };
        if let Some(waker) = &self.waker {
            set(waker);
            // It may have ended before the new one was there to be woken.
            return if self.ticket.is_done() { Poll::Ready(self.take()) } else { Poll::Pending };
        }
        let waker = Arc::<Mutex<Option<Waker>>>::default();
        set(&waker);
        self.waker = Some(Arc::clone(&waker));
        let ring = move || {
            // Not under the lock: whoever is woken may have locks of its own, and hold them while it polls.
            let woken = waker.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(woken) = woken {
                woken.wake();
            }
        };
        if self.ticket.attach(Box::new(ring)).is_err() { Poll::Ready(self.take()) } else { Poll::Pending }
    }
}

impl<T> fmt::Debug for AsyncResult<T> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("AsyncResult").field("ended", &self.ticket.is_done()).finish_non_exhaustive()
    }
}
