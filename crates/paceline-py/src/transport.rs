//! Owns the sums of what handing over pickled arguments took, and which argument was the largest. Only looks, and runs no
//! code of the user's: a size is read off where the interpreter or numpy keep it, or it is not known.

use crate::arrays;
use crate::intern::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyByteArray, PyBytes, PyDict, PyFloat, PyInt, PyList, PyNone, PyString, PyTuple, PyType};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Where an argument stands among those of its call.
#[derive(Clone, IntoPyObject)]
pub(crate) enum Place {
    At(usize),
    Named(String),
}

/// Of an argument: its place, the name of its type, and about how many bytes it has as a pickle.
type Argument = (Place, String, u64);
/// Seconds, items, bytes, the largest argument of a large call, and the seconds before the first submission.
pub(crate) type Handed = (f64, u64, u64, Option<Argument>, f64);

/// Of smaller calls nobody asks which argument is the large one.
const LARGE_FROM: usize = 256 << 10;
/// So many items of a container are looked at, as samples of all of them: most of an argument itself, which comes last here,
/// and none of what is deeper in it than this goes.
const SAMPLES: [usize; 4] = [0, 4, 8, 64];

/// How many items were pickled, to how many bytes, and how long that took. The clock is a coarse one: of few items the time
/// may be none.
#[derive(Clone, Copy, Default)]
pub(crate) struct Pickled {
    pub(crate) ns: u64,
    pub(crate) items: u64,
    pub(crate) bytes: u64,
}

impl Pickled {
    pub(crate) fn add(&mut self, more: Self) {
        self.ns += more.ns;
        self.items += more.items;
        self.bytes += more.bytes;
    }
}

/// What pickling arguments took.
#[derive(Default)]
pub(crate) struct Transport {
    sums: Mutex<Sums>,
    has_submitted: AtomicBool,
}

#[derive(Default)]
struct Sums {
    pickled: Pickled,
    /// How much of the time was before the first submission.
    before_ns: u64,
    largest: Option<Argument>,
}

impl Transport {
    fn sums(&self) -> MutexGuard<'_, Sums> {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, pickled: Pickled) {
        let mut sums = self.sums();
        sums.pickled.add(pickled);
        if !self.has_submitted.load(Ordering::Relaxed) {
            sums.before_ns += pickled.ns;
        }
    }

    /// From now on the pool's clock runs.
    pub(crate) fn note_submission(&self) {
        if !self.has_submitted.load(Ordering::Relaxed) {
            self.has_submitted.store(true, Ordering::Relaxed);
        }
    }

    /// Notes which of the arguments of a call has most of its bytes, if it is a large one and that can be told.
    pub(crate) fn look_at(&self, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyAny>>, bytes: usize) {
        let known = |(_, _, known): &Argument| *known >= bytes as u64 / 2;
        if bytes < LARGE_FROM || self.sums().largest.as_ref().is_some_and(known) {
            return;
        }
        let mut arguments: Vec<_> = (0..).map(Place::At).zip(args.iter()).collect();
        if let Some(kwargs) = kwargs.and_then(|kwargs| kwargs.cast_exact::<PyDict>().ok()) {
            let place = |name: &Bound<'_, PyAny>| {
                name.cast_exact::<PyString>().ok().map(|name| Place::Named(name.to_string_lossy().into()))
            };
            arguments.extend(kwargs.iter().filter_map(|(name, value)| Some((place(&name)?, value))));
        }
        let found = culprit(arguments.iter().map(|(_, value)| size(value, SAMPLES.len() - 1)), bytes as u64);
        let Some((nth, size)) = found else { return };
        let (place, value) = arguments.swap_remove(nth);
        let kind = name_of(&value.get_type());
        self.sums().largest = kind.ok().map(|kind| (place, kind, size));
    }

    #[expect(clippy::cast_precision_loss, reason = "seconds as floats are what Python uses")]
    pub(crate) fn tell(&self) -> Handed {
        let sums = self.sums();
        let (pickled, seconds) = (sums.pickled, |ns: u64| ns as f64 / 1e9);
        (seconds(pickled.ns), pickled.items, pickled.bytes, sums.largest.clone(), seconds(sums.before_ns))
    }
}

fn name_of(class: &Bound<'_, PyType>) -> PyResult<String> {
    Ok(class.name()?.to_string_lossy().into())
}

/// Which of some values, whose sizes are known or not, has most of so many bytes; and how many it has.
fn culprit(sizes: impl Iterator<Item = Option<u64>>, bytes: u64) -> Option<(usize, u64)> {
    let mut sizes: Vec<_> = sizes.collect();
    let known = sizes.iter().flatten().fold(0_u64, |sum, size| sum.saturating_add(*size));
    let mut unknown = sizes.iter_mut().filter(|size| size.is_none());
    // If a single one is not known, it has the rest.
    match (unknown.next(), unknown.next()) {
        (Some(size), None) => *size = Some(bytes.saturating_sub(known)),
        (Some(_), Some(_)) => return None,
        (None, _) => {}
    }
    let sum = sizes.iter().flatten().fold(0_u64, |sum, size| sum.saturating_add(*size));
    let (nth, size) = sizes.iter().flatten().copied().enumerate().max_by_key(|(_, size)| *size)?;
    // Sizes are estimates, but all in the same way.
    (size > sum / 2).then(|| (nth, bytes.saturating_sub(sum - size).max(bytes / 2)))
}

/// About how many bytes a value has as a pickle, if that can be told without asking it.
fn size(value: &Bound<'_, PyAny>, depth: usize) -> Option<u64> {
    /// In front of a text or of bytes.
    const HEAD: usize = 4;
    let length = |length: usize| Some((HEAD + length) as u64);
    if let Ok(text) = value.cast_exact::<PyString>() {
        length(text.len().unwrap_or(0))
    } else if let Ok(bytes) = value.cast_exact::<PyBytes>() {
        length(bytes.as_bytes().len())
    } else if let Ok(bytes) = value.cast_exact::<PyByteArray>() {
        length(bytes.len())
    } else if value.is_exact_instance_of::<PyInt>() {
        Some(if value.extract::<u16>().is_ok() { 3 } else { 5 })
    } else if value.is_exact_instance_of::<PyFloat>() {
        Some(9)
    } else if value.is_exact_instance_of::<PyNone>() || value.is_exact_instance_of::<PyBool>() {
        Some(1)
    } else if arrays::is_plain_array(value) {
        let is_whole = !arrays::has_objects(value);
        is_whole.then(|| value.getattr(intern!(value.py(), "nbytes")).and_then(|bytes| bytes.extract()).ok()).flatten()
    } else if depth == 0 {
        None
    } else if let Ok(items) = value.cast_exact::<PyTuple>() {
        let samples = spread(items.len(), SAMPLES[depth]).filter_map(|place| items.get_item(place).ok());
        of_items(samples, items.len(), depth)
    } else if let Ok(items) = value.cast_exact::<PyList>() {
        let samples = spread(items.len(), SAMPLES[depth]).filter_map(|place| items.get_item(place).ok());
        of_items(samples, items.len(), depth)
    } else if let Ok(items) = value.cast_exact::<PyDict>() {
        let samples = items.iter().take(SAMPLES[depth]).flat_map(|(key, value)| [key, value]);
        of_items(samples, items.len().saturating_mul(2), depth)
    } else {
        None
    }
}

/// At most so many places among that many, evenly.
fn spread(length: usize, most: usize) -> impl Iterator<Item = usize> {
    let step = length.div_ceil(most).max(1);
    (0..length).step_by(step)
}

/// Of so many items, some of which are samples.
fn of_items<'py>(samples: impl Iterator<Item = Bound<'py, PyAny>>, items: usize, depth: usize) -> Option<u64> {
    let sizes = samples.map(|item| size(&item, depth - 1)).collect::<Option<Vec<_>>>()?;
    let sum = sizes.iter().fold(0_u64, |sum, size| sum.saturating_add(*size));
    let whole = u128::from(sum) * items as u128 / (sizes.len().max(1) as u128);
    Some(u64::try_from(whole).unwrap_or(u64::MAX))
}
