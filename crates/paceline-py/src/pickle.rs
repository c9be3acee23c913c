//! Owns the calls of pickle: plain pickle first, the Python side's fallback for what lives in `__main__` or has no
//! importable name. Never knows what the bytes are for.

use crate::codec;
use crate::outcome::errors;
use paceline_engine::Foreign;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyModule, PyTuple};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// The newest protocol that every supported Python reads.
const PROTOCOL: u8 = 5;

/// Functions of Python that are called again and again, looked up once.
pub(crate) struct Names {
    pub(crate) dumps: Py<PyAny>,
    pub(crate) loads: Py<PyAny>,
    protocol: Py<PyAny>,
    /// The module `paceline.pickling`.
    pub(crate) pickling: Py<PyModule>,
}

/// The looked-up functions.
///
/// # Errors
/// What importing them raises.
pub(crate) fn names(py: Python<'_>) -> PyResult<&Names> {
    static NAMES: PyOnceLock<Names> = PyOnceLock::new();
    NAMES.get_or_try_init(py, || {
        // The C module alone: importing `pickle` costs milliseconds.
        let pickle = PyModule::import(py, "_pickle")?;
        Ok(Names {
            dumps: pickle.getattr("dumps")?.unbind(),
            loads: pickle.getattr("loads")?.unbind(),
            protocol: PROTOCOL.into_pyobject(py)?.into_any().unbind(),
            pickling: PyModule::import(py, "paceline.pickling")?.unbind(),
        })
    })
}

/// Whether a plain pickle refers to `__main__`, which is another module in a worker.
fn names_main(pickle: &[u8]) -> bool {
    memchr::memmem::find(pickle, b"__main__").is_some()
}

/// The modules, known to this process, that no worker could import; looked for again when a module has been added.
struct Strangers {
    modules_seen: usize,
    names: Vec<Vec<u8>>,
}

/// Whether a plain pickle may refer to a module that no worker could import.
fn names_stranger(py: Python<'_>, pickle: &[u8]) -> PyResult<bool> {
    static STRANGERS: Mutex<Strangers> = Mutex::new(Strangers { modules_seen: 0, names: Vec::new() });
    let strangers = || STRANGERS.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: the interpreter's own dict of modules, borrowed for as long as the interpreter is held.
    let modules = unsafe { ffi::PyDict_Size(ffi::PyImport_GetModuleDict()) }.cast_unsigned();
    if strangers().modules_seen != modules {
        let names = names(py)?.pickling.bind(py).call_method0(intern!(py, "strangers"))?.extract()?;
        *strangers() = Strangers { modules_seen: modules, names };
    }
    Ok(strangers().names.iter().any(|name| memchr::memmem::find(pickle, name).is_some()))
}

/// The plain pickle of an object, if it has one that a worker can read.
fn dump_plain<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let py = value.py();
    let names = names(py)?;
    match names.dumps.bind(py).call1((value, &names.protocol)) {
        Ok(pickle) => {
            let pickle = pickle.cast_into::<PyBytes>()?;
            Ok((!names_main(pickle.as_bytes())).then_some(pickle))
        }
        // Whatever was wrong, the fallback either manages or says it better; but an interrupt is none of its business.
        Err(error) if error.is_instance_of::<pyo3::exceptions::PyException>(py) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The definitions of classes that arguments refer to, by number. The function has to bring them.
pub(crate) type Definitions = BTreeSet<u64>;

/// Appends an argument, and notes what it refers to.
///
/// # Errors
/// `ArgumentNotPicklable` of the Python side.
pub(crate) fn encode_argument(
    value: &Bound<'_, PyAny>,
    out: &mut Vec<u8>,
    definitions: &mut Definitions,
) -> PyResult<()> {
    if codec::encode_plain(value, out) {
        return Ok(());
    }
    let pickle = dump_argument(value, definitions)?;
    codec::encode_pickle(pickle.as_bytes(), out);
    Ok(())
}

/// The same of an item that must not keep others from being run: if it cannot be pickled, its task fails for that.
///
/// # Errors
/// Anything but `ArgumentNotPicklable`.
pub(crate) fn encode_argument_or_failure(
    value: &Bound<'_, PyAny>,
    out: &mut Vec<u8>,
    definitions: &mut Definitions,
) -> PyResult<()> {
    let start = out.len();
    let Err(error) = encode_argument(value, out, definitions) else { return Ok(()) };
    let py = value.py();
    if !error.matches(py, errors(py)?.getattr(intern!(py, "ArgumentNotPicklable"))?)? {
        return Err(error);
    }
    out.truncate(start);
    let stand_in = names(py)?.pickling.bind(py).call_method1(intern!(py, "NeverSent"), (error.value(py),))?;
    encode_argument(&stand_in, out, definitions)
}

fn dump_argument<'py>(value: &Bound<'py, PyAny>, definitions: &mut Definitions) -> PyResult<Bound<'py, PyBytes>> {
    let py = value.py();
    if let Some(pickle) = dump_plain(value)?
        && !names_stranger(py, pickle.as_bytes())?
    {
        return Ok(pickle);
    }
    let dumped = names(py)?.pickling.bind(py).call_method1(intern!(py, "dump_argument"), (value,))?;
    let (pickle, numbers): (Bound<'py, PyBytes>, Vec<u64>) = dumped.extract()?;
    definitions.extend(numbers);
    Ok(pickle)
}

/// What is to be sent in the place of a function so that it brings these definitions.
///
/// # Errors
/// What the Python side raises.
pub(crate) fn bringing<'py>(function: &Bound<'py, PyAny>, definitions: &Definitions) -> PyResult<Bound<'py, PyAny>> {
    let py = function.py();
    let numbers = PyTuple::new(py, definitions)?;
    names(py)?.pickling.bind(py).call_method1(intern!(py, "bringing"), (function, numbers))
}

/// The bytes of a result: what was appended to `out`, or a head and a long run that need not be copied together.
pub(crate) enum Encoded<'py> {
    /// All in `out`.
    Gathered,
    /// These, one after the other.
    Apart([u8; 9], Bound<'py, PyBytes>),
}

/// Runs of at least this length are not copied behind their head.
const APART_FROM: usize = 64 << 10;

/// Encodes a result, by value where plain pickle cannot.
///
/// # Errors
/// What pickling by value raises.
pub(crate) fn encode_result<'py>(value: &Bound<'py, PyAny>, out: &mut Vec<u8>) -> PyResult<Encoded<'py>> {
    if let Ok(bytes) = value.cast_exact::<PyBytes>()
        && bytes.as_bytes().len() >= APART_FROM
    {
        return Ok(Encoded::Apart(codec::bytes_head(bytes.as_bytes().len()), bytes.clone()));
    }
    if codec::encode_plain(value, out) {
        return Ok(Encoded::Gathered);
    }
    let py = value.py();
    let pickle = match dump_plain(value)? {
        Some(pickle) => pickle,
        None => names(py)?.pickling.bind(py).call_method1(intern!(py, "dump_by_value"), (value,))?.cast_into()?,
    };
    if pickle.as_bytes().len() >= APART_FROM {
        return Ok(Encoded::Apart(codec::pickle_head(pickle.as_bytes().len()), pickle));
    }
    codec::encode_pickle(pickle.as_bytes(), out);
    Ok(Encoded::Gathered)
}

/// Appends the arguments of a call, and notes what they refer to: a plain tuple if there are only plain positional ones,
/// else a pickled pair.
///
/// # Errors
/// `ArgumentNotPicklable` of the Python side.
pub(crate) fn encode_call(
    args: &Bound<'_, PyAny>,
    kwargs: Option<&Bound<'_, PyAny>>,
    out: &mut Vec<u8>,
    definitions: &mut Definitions,
) -> PyResult<()> {
    if kwargs.is_none() && codec::encode_plain(args, out) {
        return Ok(());
    }
    let py = args.py();
    let pair = (args, kwargs).into_pyobject(py)?.into_any();
    let pickle = dump_argument(&pair, definitions)?;
    codec::encode_pickle(pickle.as_bytes(), out);
    Ok(())
}

/// The object that a pickle describes. A long one is read where it lies, which Python's reader does as with any buffer that
/// others may write to.
///
/// # Errors
/// What unpickling raises.
pub(crate) fn load<'py>(loads: &Bound<'py, PyAny>, pickle: Foreign<'_>) -> PyResult<Bound<'py, PyAny>> {
    const COPIED_UP_TO: usize = 4 << 10;
    let py = loads.py();
    if pickle.len() <= COPIED_UP_TO {
        return loads.call1((codec::bytes_object(py, pickle)?,));
    }
    let length = ffi::Py_ssize_t::try_from(pickle.len())?;
    // SAFETY: the view is read-only and released before the bytes go.
    let view = unsafe {
        let start = pickle.as_ptr().cast_mut().cast();
        Bound::from_owned_ptr_or_err(py, ffi::PyMemoryView_FromMemory(start, length, ffi::PyBUF_READ))?
    };
    let object = loads.call1((&view,));
    view.call_method0(intern!(py, "release"))?;
    object
}
