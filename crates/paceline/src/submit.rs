//! Owns the way of a call to its workers: its arguments as bytes for another process, or as they are for a thread of this
//! one, and the job that is made of it. Never waits for its end.

use crate::builder::CallOptions;
use crate::calls::{Calls, Patience, Slot};
use crate::codec::Gather;
use crate::errors::SubmitError;
use crate::job::{Called, Job, Source, Teller, Ticket};
use crate::pool::{Crew, Inner};
use crate::registry::{Codec, Known, Registry};
use crate::task::Task;
use crate::threads::{LocalJob, Threads};
use crate::worker::Lenience;
use paceline_engine::{Engine, FailureWatch, Function, Label, Pending, Sizing, Stream};
use std::any::type_name;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The arguments of a call, or of each item of a map.
pub(crate) enum Items<A> {
    One([A; 1]),
    Many(Vec<A>),
}

impl<A> Items<A> {
    fn as_slice(&self) -> &[A] {
        match self {
            Self::One(arguments) => arguments,
            Self::Many(items) => items,
        }
    }

    fn is_map(&self) -> bool {
        matches!(self, Self::Many(_))
    }

    fn count(&self) -> Result<u32, SubmitError> {
        u32::try_from(self.as_slice().len()).map_err(|_| SubmitError::TooManyItems)
    }

    fn sizing(&self, options: &CallOptions) -> Sizing {
        match self {
            Self::One(_) => Sizing::Fixed(1),
            Self::Many(_) => options.chunk_size.map_or(Sizing::Measured, Sizing::Fixed),
        }
    }

    fn into_slots<R>(self) -> Box<[Mutex<Slot<A, R>>]> {
        let slot = |arguments| Mutex::new(Slot::Waiting(arguments));
        match self {
            Self::One(arguments) => arguments.into_iter().map(slot).collect(),
            Self::Many(items) => items.into_iter().map(slot).collect(),
        }
    }
}

/// Of what a job is a part.
#[derive(Default)]
pub(crate) struct Part {
    /// The place of its first item in the map.
    pub(crate) base: u32,
    /// Where its end will show, and under which number.
    pub(crate) stream: Option<(Arc<Stream>, u64)>,
}

impl Inner {
    /// Submits a call, or a map.
    pub(crate) fn submit<F, A>(
        &self,
        function: F,
        arguments: Items<A>,
        options: &CallOptions,
        part: Part,
    ) -> Job<F::Output>
    where
        F: Task<A>,
        A: Send + 'static,
    {
        let items = arguments.count().unwrap_or(u32::MAX);
        let submitted = match &self.crew {
            Crew::Processes(processes) => processes.submit::<F, A>(&arguments, options, part),
            Crew::Threads(threads) => submit_here(threads, function, arguments, options, part),
        };
        submitted.unwrap_or_else(|error| Job::refused(error, items))
    }
}

/// Worker processes, and which functions they were told of.
pub(crate) struct Processes {
    pub(crate) engine: Arc<Engine>,
    pub(crate) teller: Teller,
    functions: Mutex<HashMap<(usize, Lenience), Arc<Function>>>,
}

thread_local! {
    /// Kept from call to call, so that a small one needs no allocation.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Scratch space beyond this is given back.
const SCRATCH_KEPT: usize = 1 << 20;
/// Shorter input waits for nobody.
const COUNTED_FROM: usize = 4 << 10;
/// A wait for room is looked at again after so long.
const SLICE_NS: u64 = 1_000_000_000;

impl Processes {
    pub(crate) fn new(engine: Engine, teller: Teller) -> Self {
        Self { engine: Arc::new(engine), teller, functions: Mutex::default() }
    }

    /// The function, of which workers are told by its first call.
    fn function(&self, known: &Known, lenience: Lenience) -> Result<Arc<Function>, SubmitError> {
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(function) = functions.get(&(known.number, lenience)) {
            return Ok(Arc::clone(function));
        }
        let bytes = postcard::to_stdvec(&(lenience, known.name)).unwrap_or_default();
        let function = self.engine.register(&bytes, known.name)?;
        functions.insert((known.number, lenience), Arc::clone(&function));
        Ok(function)
    }

    fn submit<F, A>(
        &self,
        arguments: &Items<A>,
        options: &CallOptions,
        part: Part,
    ) -> Result<Job<F::Output>, SubmitError>
    where
        F: Task<A>,
        A: Send + 'static,
    {
        let stranger = || SubmitError::NotATask(type_name::<F>());
        let known = Registry::get().of_type::<F>().ok_or_else(stranger)?;
        let codec = known.codec::<A, F::Output>().ok_or_else(stranger)?;
        let function = self.function(known, options.lenience)?;
        let mut scratch = SCRATCH.take();
        let mut input = Gather::new(&mut scratch);
        let ends = gather(codec, arguments, &mut input)
            .map_err(|reason| SubmitError::NotSerialisable { function: known.name, reason })?;
        self.wait_for_room(input.len());
        let called = Called {
            function: known.name,
            name: options.name.clone(),
            items: arguments.count()?,
            base: arguments.is_map().then_some(part.base),
            limit: Duration::from_nanos(options.terms.timeout_ns),
        };
        let label = Label { name: options.name.clone(), base: called.base, ..Label::default() };
        let pending = Pending::watched(part.stream, label, watch(options), None);
        let taken = if arguments.is_map() {
            let sizing = arguments.sizing(options);
            self.engine.submit_many(&function, input.input(), ends, sizing, options.terms, &pending)
        } else {
            self.engine.submit(&function, input.input(), options.terms, &pending)
        };
        drop(input);
        if scratch.capacity() <= SCRATCH_KEPT {
            SCRATCH.set(scratch);
        }
        taken?;
        Ok(Job { ticket: Ticket::Sent(Arc::clone(&self.engine), pending), source: Source::Sent(called, codec.decode) })
    }

    /// Waits until input of so many bytes may be sent.
    fn wait_for_room(&self, bytes: usize) {
        if bytes >= COUNTED_FROM && !self.engine.flight().has_room(bytes as u64) {
            while !self.engine.wait_for_room(bytes as u64, SLICE_NS) {}
        }
    }
}

/// Makes bytes of arguments; where those of each item of a map end.
fn gather<'a, A, R>(codec: &Codec<A, R>, arguments: &'a Items<A>, to: &mut Gather<'a>) -> Result<Vec<u64>, String> {
    let items = arguments.as_slice();
    let mut ends = Vec::with_capacity(if arguments.is_map() { items.len() } else { 0 });
    for item in items {
        to.push_counted(|to| (codec.encode)(item, to))?;
        if arguments.is_map() {
            ends.push(to.len() as u64);
        }
    }
    Ok(ends)
}

/// Who has to know of failures: the core, if something may be run again of which workers tell by their answers, and not by
/// their deaths.
fn watch(options: &CallOptions) -> FailureWatch {
    let may_pass = options.lenience != Lenience::default() || options.terms.retry_on.overrun;
    if options.terms.retries > 0 && may_pass { FailureWatch::Core } else { FailureWatch::Nobody }
}

fn submit_here<F, A>(
    threads: &Arc<Threads>,
    function: F,
    arguments: Items<A>,
    options: &CallOptions,
    part: Part,
) -> Result<Job<F::Output>, SubmitError>
where
    F: Task<A>,
    A: Send + 'static,
{
    if let Some(option) = options.needs_processes() {
        return Err(SubmitError::NeedsProcesses(option));
    }
    let known = Registry::get().of_type::<F>();
    let (items, sizing) = (arguments.count()?, arguments.sizing(options));
    let called = Called {
        function: known.map_or(type_name::<F>(), |known| known.name),
        name: options.name.clone(),
        items,
        base: arguments.is_map().then_some(part.base),
        limit: Duration::ZERO,
    };
    let patience = Patience {
        retries: options.terms.retries,
        backoff: Duration::from_nanos(options.terms.backoff_ns),
        of_errors: options.lenience.of_errors,
        of_panics: options.lenience.of_panics,
    };
    let codec = known.and_then(Known::codec::<A, F::Output>);
    let calls = Arc::new(Calls { called, function, codec, patience, slots: arguments.into_slots() });
    let job: Arc<LocalJob> = LocalJob::new(Arc::clone(&calls) as _, items, sizing, part.stream);
    threads.submit(&job, options.terms.priority)?;
    Ok(Job { ticket: Ticket::Local(Arc::clone(threads), job), source: Source::Local(calls) })
}
