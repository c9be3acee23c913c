//! Owns what an engine's workers have been told of: each function is pickled once as long as that gives the same bytes,
//! and sent once for each content. Never calls one.

use crate::pickle::names;
use paceline_engine::{Engine, Function, SubmitError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};

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

/// How many functions are kept for the next call of the same.
const KEPT: usize = 256;

/// The functions that one engine knows.
#[derive(Default)]
pub(crate) struct Functions {
    by_identity: HashMap<(usize, Style), Known>,
    order: VecDeque<(usize, Style)>,
    by_content: HashMap<[u8; 32], Weak<Function>>,
    recent: VecDeque<Arc<Function>>,
}

struct Known {
    /// Held, so that no other object can take the identity.
    object: Py<PyAny>,
    function: Arc<Function>,
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
    /// The function as the workers know it.
    pub(crate) fn find(
        &mut self,
        engine: &Engine,
        object: &Bound<'_, PyAny>,
        style: Style,
    ) -> Result<Arc<Function>, FindError> {
        let py = object.py();
        let key = (object.as_ptr() as usize, style);
        if let Some(known) = self.by_identity.get(&key) {
            let holds = match &known.guard {
                None => true,
                Some(guard) => {
                    let holds =
                        names(py)?.pickling.bind(py).call_method1(intern!(py, "guard_holds"), (object, guard))?;
                    holds.is_truthy()?
                }
            };
            if holds {
                return Ok(Arc::clone(&known.function));
            }
        }
        let described = names(py)?.pickling.bind(py).call_method1(intern!(py, "dump_function"), (object,))?;
        let (pickle, guard): (Bound<'_, PyBytes>, Bound<'_, PyAny>) = described.extract()?;
        let function = self.send(engine, pickle.as_bytes(), style)?;
        let never_holds = guard.is_exact_instance_of::<pyo3::types::PyBool>();
        if never_holds {
            self.by_identity.remove(&key);
        } else {
            let guard = (!guard.is_none()).then(|| guard.unbind());
            self.keep(key, Known { object: object.clone().unbind(), function: Arc::clone(&function), guard });
        }
        Ok(function)
    }

    fn keep(&mut self, key: (usize, Style), known: Known) {
        if self.by_identity.insert(key, known).is_none() {
            self.order.push_back(key);
        }
        while self.by_identity.len() > KEPT {
            let Some(oldest) = self.order.pop_front() else { return };
            self.by_identity.remove(&oldest);
        }
    }

    fn send(&mut self, engine: &Engine, pickle: &[u8], style: Style) -> Result<Arc<Function>, FindError> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[style as u8]);
        hasher.update(pickle);
        let content = *hasher.finalize().as_bytes();
        if let Some(function) = self.by_content.get(&content).and_then(Weak::upgrade) {
            return Ok(function);
        }
        let mut bytes = Vec::with_capacity(1 + pickle.len());
        bytes.push(style as u8);
        bytes.extend_from_slice(pickle);
        let function = engine.register(&bytes).map_err(FindError::Refused)?;
        if self.by_content.len() > 4 * KEPT {
            self.by_content.retain(|_, function| function.strong_count() > 0);
        }
        self.by_content.insert(content, Arc::downgrade(&function));
        // Those pickled anew for every call are kept for a while as well.
        self.recent.push_back(Arc::clone(&function));
        if self.recent.len() > KEPT / 4 {
            self.recent.pop_front();
        }
        Ok(function)
    }

    /// The objects held, for the garbage collector.
    pub(crate) fn objects(&self) -> impl Iterator<Item = &Py<PyAny>> {
        self.by_identity.values().flat_map(|known| std::iter::once(&known.object).chain(&known.guard))
    }

    /// Lets go of everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}
