//! Owns what an engine's workers have been told of: each function is pickled once as long as that gives the same bytes,
//! and sent once for each content. Never calls one.

use crate::intern::intern;
use crate::pickle::names;
use crate::shared::take_named;
use paceline_engine::{Engine, Function, Share, SubmitError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyList, PyModule};
use pyo3::{PyTraverseError, PyVisit};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// How a function takes an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Style {
    /// `fn(*args, **kwargs)`.
    Call = 0,
    /// `fn(item)`.
    Item = 1,
    /// `fn(*item)`.
    Star = 2,
}

/// In the first byte of a function, beside its style: calling it gives a coroutine.
pub(crate) const COROUTINE: u8 = 0x80;

/// A function as the workers know it.
#[derive(Clone)]
pub(crate) struct Found {
    pub(crate) function: Arc<Function>,
    /// Whether calling it gives a coroutine.
    pub(crate) is_coroutine: bool,
}

/// How many functions are kept for the next call of the same.
const KEPT: usize = 256;
/// And no more than so many bytes of them, unless it is only one: a partial may hold a large array, or name a shared one.
const KEPT_BYTES: u64 = 64 << 20;

/// The functions that one engine knows. Its lock is never held while Python's code runs.
pub(crate) struct Functions {
    kept: Mutex<Kept>,
    /// Where the workers look for modules, as long as no function tells them otherwise.
    path: Py<PyList>,
}

#[derive(Default)]
struct Kept {
    by_identity: HashMap<(usize, Style), Known>,
    order: VecDeque<(usize, Style)>,
    by_content: HashMap<[u8; 32], Weak<Function>>,
    recent: VecDeque<(Arc<Function>, u64)>,
    /// Of those known by identity, and of the recent ones.
    bytes: u64,
    recent_bytes: u64,
}

struct Known {
    /// Held, so that no other object can take the identity.
    object: Py<PyAny>,
    found: Found,
    /// With what it names in shared memory.
    bytes: u64,
    /// Tells whether the bytes are still those of the object; none if they always are.
    guard: Option<Py<PyAny>>,
}

/// Why a function could not be found or sent.
pub(crate) enum FindError {
    /// An exception of Python's.
    Raised(PyErr),
    /// The engine does not take it.
    Refused(SubmitError),
}

impl From<PyErr> for FindError {
    fn from(error: PyErr) -> Self {
        Self::Raised(error)
    }
}

impl Functions {
    /// Of an engine that has just been opened.
    pub(crate) fn new(py: Python<'_>) -> PyResult<Self> {
        let path = search_path(py)?.try_iter()?.collect::<PyResult<Vec<_>>>()?;
        Ok(Self { kept: Mutex::default(), path: PyList::new(py, path)?.unbind() })
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The function as the workers know it.
    pub(crate) fn find(&self, engine: &Engine, object: &Bound<'_, PyAny>, style: Style) -> Result<Found, FindError> {
        let py = object.py();
        let key = (object.as_ptr() as usize, style);
        let known = self.kept().by_identity.get(&key).map(|known| {
            let guard = known.guard.as_ref().map(|guard| guard.clone_ref(py));
            (known.found.clone(), guard)
        });
        match known {
            Some((found, None)) => return Ok(found),
            Some((found, Some(guard))) => {
                let holds = names(py)?.pickling.bind(py).call_method1(intern!(py, "guard_holds"), (object, guard))?;
                if holds.is_truthy()? {
                    return Ok(found);
                }
            }
            None => {}
        }
        let pickling = names(py)?.pickling.bind(py);
        let is_coroutine = pickling.call_method1(intern!(py, "gives_coroutine"), (object,))?.is_truthy()?;
        let described = pickling.call_method1(intern!(py, "dump_function"), (object,));
        // Also of one that cannot be sent: nobody is to keep what it names.
        let named = take_named();
        let (mut pickle, guard): (Bound<'_, PyBytes>, Bound<'_, PyAny>) = described?.extract()?;
        if !search_path(py)?.eq(&self.path)? {
            let module = PyModule::import(py, "paceline.search_path")?;
            pickle = module.call_method1("with_search_path", (pickle,))?.cast_into().map_err(PyErr::from)?;
        }
        let bytes = pickle.as_bytes().len() as u64 + named.iter().map(|share| share.name().size).sum::<u64>();
        let mut kept = self.kept();
        let kind = if is_coroutine { style as u8 | COROUTINE } else { style as u8 };
        let function = kept
            .send(engine, (pickle.as_bytes(), kind), named, bytes, || name_of(object))
            .map_err(FindError::Refused)?;
        let found = Found { function, is_coroutine };
        let never_holds = guard.is_exact_instance_of::<PyBool>();
        let replaced = if never_holds {
            kept.forget(&key).into_iter().collect()
        } else {
            let guard = (!guard.is_none()).then(|| guard.unbind());
            kept.keep(key, Known { object: object.clone().unbind(), found: found.clone(), bytes, guard })
        };
        drop(kept);
        // Letting go of an object may run code of Python's.
        drop(replaced);
        Ok(found)
    }

    /// Lets the garbage collector see the objects held, unless they are just being changed.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        let Ok(kept) = self.kept.try_lock() else { return Ok(()) };
        for known in kept.by_identity.values() {
            visit.call(&known.object)?;
            visit.call(&known.guard)?;
        }
        Ok(())
    }

    /// Lets go of everything.
    pub(crate) fn clear(&self) {
        let kept = std::mem::take(&mut *self.kept());
        drop(kept);
    }
}

/// What people call a function; of a `functools.partial`, the function in it; of another object, its class. The same as
/// in `paceline.errors`.
pub(crate) fn name_of(object: &Bound<'_, PyAny>) -> String {
    const MOST_PARTIALS: usize = 8;
    let py = object.py();
    let mut object = object.clone();
    for _ in 0..MOST_PARTIALS {
        if let Ok(name) = object.getattr(intern!(py, "__qualname__")).and_then(|name| name.extract()) {
            return name;
        }
        match object.getattr(intern!(py, "func")) {
            Ok(inner) if inner.is_callable() => object = inner,
            _ => break,
        }
    }
    let class = object.get_type();
    class.qualname().map_or_else(|_| "?".to_owned(), |name| name.to_string())
}

fn search_path(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    PyModule::import(py, "sys")?.getattr(intern!(py, "path"))
}

impl Kept {
    /// Keeps one for the next call of the same; what had to make room for it.
    fn keep(&mut self, key: (usize, Style), known: Known) -> Vec<Known> {
        let mut replaced = Vec::new();
        self.bytes += known.bytes;
        match self.by_identity.insert(key, known) {
            Some(old) => {
                self.bytes -= old.bytes;
                replaced.push(old);
            }
            None => self.order.push_back(key),
        }
        while self.by_identity.len() > KEPT || (self.bytes > KEPT_BYTES && self.by_identity.len() > 1) {
            let Some(oldest) = self.order.pop_front() else { break };
            replaced.extend(self.forget(&oldest));
        }
        replaced
    }

    fn forget(&mut self, key: &(usize, Style)) -> Option<Known> {
        let known = self.by_identity.remove(key)?;
        self.bytes -= known.bytes;
        Some(known)
    }

    fn send(
        &mut self,
        engine: &Engine,
        (pickle, kind): (&[u8], u8),
        named: Vec<Arc<Share>>,
        weight: u64,
        name: impl FnOnce() -> String,
    ) -> Result<Arc<Function>, SubmitError> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[kind]);
        hasher.update(pickle);
        let content = *hasher.finalize().as_bytes();
        if let Some(function) = self.by_content.get(&content).and_then(Weak::upgrade) {
            return Ok(function);
        }
        let mut bytes = Vec::with_capacity(1 + pickle.len());
        bytes.push(kind);
        bytes.extend_from_slice(pickle);
        let function = engine.register_naming(&bytes, &name(), named)?;
        if self.by_content.len() > 4 * KEPT {
            self.by_content.retain(|_, function| function.strong_count() > 0);
        }
        self.by_content.insert(content, Arc::downgrade(&function));
        // Those pickled anew for every call are kept for a while as well.
        self.recent.push_back((Arc::clone(&function), weight));
        self.recent_bytes += weight;
        while self.recent.len() > KEPT / 4 || (self.recent_bytes > KEPT_BYTES && self.recent.len() > 1) {
            let Some((_, weight)) = self.recent.pop_front() else { break };
            self.recent_bytes -= weight;
        }
        Ok(function)
    }
}
