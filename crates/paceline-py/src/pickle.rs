//! Owns the calls of pickle: plain pickle first, the Python side's fallback for what lives in `__main__` or has no
//! importable name. Never knows what the bytes are for.

use crate::arrays::{self, View};
use crate::buffers::{self, Buffer, BufferTaker};
use crate::codec::{self, Elsewhere, Nowhere};
use crate::engine::{LONG_COPY, refusal};
use crate::flight::wait_for_room;
use crate::gather::Gather;
use crate::intern::intern;
use crate::outcome::errors;
use crate::shared::{answering, take_named};
use crate::transport::Pickled;
use once_cell::race::OnceBox;
use paceline_engine::{Engine, Foreign, Placed, Share, Span, coarse_ns};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyBytes, PyList, PyModule, PyString, PyTuple};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// The newest protocol that every supported Python reads.
const PROTOCOL: u8 = 5;

/// Functions of Python that are called again and again, looked up once.
pub(crate) struct Names {
    pub(crate) dumps: Py<PyAny>,
    pub(crate) loads: Py<PyAny>,
    protocol: Py<PyAny>,
    taker: Py<BufferTaker>,
    /// The names of the arguments of `dumps` that are given by name.
    taker_name: Py<PyTuple>,
    /// The module `paceline.pickling`.
    pub(crate) pickling: Py<PyModule>,
}

/// The looked-up functions.
///
/// # Errors
/// What importing them raises.
pub(crate) fn names(py: Python<'_>) -> PyResult<&Names> {
    static NAMES: OnceBox<Names> = OnceBox::new();
    NAMES.get_or_try_init(|| {
        // The C module alone: importing `pickle` costs milliseconds.
        let pickle = PyModule::import(py, "_pickle")?;
        Ok(Box::new(Names {
            dumps: pickle.getattr("dumps")?.unbind(),
            loads: pickle.getattr("loads")?.unbind(),
            protocol: PROTOCOL.into_pyobject(py)?.into_any().unbind(),
            taker: Py::new(py, BufferTaker)?,
            taker_name: PyTuple::new(py, ["buffer_callback"])?.unbind(),
            pickling: PyModule::import(py, "paceline.pickling")?.unbind(),
        }))
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

/// The plain pickle of an object, its large buffers beside it, if it has one that a worker can read.
fn dump_plain_apart<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<(Bound<'py, PyBytes>, Vec<Buffer>)>> {
    let py = value.py();
    let names = names(py)?;
    let arguments = [value.as_ptr(), names.protocol.as_ptr(), names.taker.as_ptr()];
    // SAFETY: the arguments are two by place and one by name, and live longer than the call, which returns an object of
    // its own, or null with an exception set.
    let dump = || unsafe {
        let result = ffi::PyObject_Vectorcall(names.dumps.as_ptr(), arguments.as_ptr(), 2, names.taker_name.as_ptr());
        Bound::from_owned_ptr_or_err(py, result)
    };
    let (result, taken) = buffers::taking(dump);
    Ok(readable(py, result)?.map(|pickle| (pickle, taken)))
}

/// The bytes of a plain pickle, if it could be made and a worker can read it.
fn readable<'py>(py: Python<'py>, pickle: PyResult<Bound<'py, PyAny>>) -> PyResult<Option<Bound<'py, PyBytes>>> {
    match pickle {
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

/// A buffer that has been placed.
struct Known {
    placed: Placed,
    /// Of an object that is an item or stands in one, and so is not changed by what makes the next: that object, and what
    /// keeps its memory from being used for another.
    still: Option<(*mut ffi::PyObject, Buffer)>,
}

/// What goes along with the arguments of a job.
pub(crate) struct Along<'e> {
    pub(crate) definitions: Definitions,
    engine: &'e Engine,
    buffers: Vec<Span>,
    /// What is sent again and again, and lies where it did before.
    repeats: Vec<Span>,
    shares: Vec<Arc<Share>>,
    /// In these buffers.
    bytes: usize,
    /// By address and length in the caller's memory. Only those whose contents are still the same are sent but once.
    known: HashMap<(usize, usize), Known>,
    /// What was pickled, with the buffers that were written, and how long there was no room for them.
    pickled: Pickled,
    waited_ns: u64,
    /// The items come from a list or a tuple, and none so far was pickled by code that may change another.
    is_still: bool,
    /// The item that is being pickled, if that is so.
    item: Option<Py<PyAny>>,
}

impl<'e> Along<'e> {
    /// Nothing yet, of a job of this engine.
    pub(crate) fn new(engine: &'e Engine) -> Self {
        Self {
            definitions: Definitions::new(),
            engine,
            buffers: Vec::new(),
            repeats: Vec::new(),
            shares: Vec::new(),
            bytes: 0,
            known: HashMap::new(),
            pickled: Pickled::default(),
            waited_ns: 0,
            is_still: false,
            item: None,
        }
    }

    /// What is read next comes from a list or a tuple: what was sent of it stays as it is until the last is read, as long as
    /// no item is pickled by code that may change another.
    pub(crate) fn begin_still(&mut self) {
        self.is_still = true;
    }

    /// This is about to be pickled.
    fn begin_pickle(&mut self, item: &Bound<'_, PyAny>) {
        self.is_still = self.is_still
            && match item.cast_exact::<PyTuple>() {
                Ok(tuple) => tuple.iter_borrowed().all(|part| arrays::is_quiet(&part)),
                Err(_) => arrays::is_quiet(item),
            };
        self.item = self.is_still.then(|| item.clone().unbind());
    }

    /// The object whose memory it is, if that is the item that is being read, or stands in it.
    fn still_owner(&self, buffer: &Bound<'_, PyAny>) -> Option<*mut ffi::PyObject> {
        let item = self.item.as_ref()?.bind(buffer.py());
        let owner = buffers::owner(buffer)?;
        let is_in = |tuple: &Bound<'_, PyTuple>| tuple.iter_borrowed().any(|part| part.as_ptr() == owner);
        (item.as_ptr() == owner || item.cast_exact::<PyTuple>().is_ok_and(is_in)).then_some(owner)
    }

    /// How many bytes there are in the buffers.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What the pickles have named in shared memory, which the job is to keep.
    pub(crate) fn take_shares(&mut self) -> Vec<Arc<Share>> {
        std::mem::take(&mut self.shares)
    }

    /// The buffers, which the job is to take over.
    pub(crate) fn take_buffers(&mut self) -> Vec<Span> {
        self.known.clear();
        self.buffers.append(&mut self.repeats);
        std::mem::take(&mut self.buffers)
    }

    /// Waits until so many bytes more may be sent. Only before anything is there: what belongs to one job is sent together,
    /// and those who each had a part of theirs there would wait for each other.
    pub(crate) fn wait_for_room(&mut self, py: Python<'_>, bytes: usize) -> PyResult<()> {
        if !self.buffers.is_empty() {
            return Ok(());
        }
        let began_ns = coarse_ns();
        wait_for_room(py, self.engine, bytes)?;
        self.waited_ns += coarse_ns().saturating_sub(began_ns);
        Ok(())
    }

    /// What was pickled so far.
    pub(crate) fn pickled(&self) -> Pickled {
        self.pickled
    }

    /// Writes a buffer into shared memory, unless it is there already; where it is.
    fn place(&mut self, buffer: &Bound<'_, PyAny>) -> PyResult<Span> {
        let py = buffer.py();
        // Held by itself, since others may release the buffer while it is copied.
        let view = View::of(buffer).ok_or_else(buffers::gone)?;
        let bytes = view.bytes();
        let key = (bytes.as_ptr() as usize, bytes.len());
        let owner = self.still_owner(buffer);
        let known = self.known.get(&key);
        let still = known.and_then(|known| known.still.as_ref()).map(|(owner, _)| *owner);
        let known = known.map(|known| known.placed);
        if let Some(known) = known.filter(|_| owner.is_some() && owner == still) {
            return Ok(known.span);
        }
        // SAFETY: it was placed for this job, which has not been submitted, and is as long as these bytes.
        let there = known.map(|known| unsafe { std::slice::from_raw_parts(known.address.cast_const(), bytes.len()) });
        let engine = self.engine;
        let place = || if there == Some(bytes) { Ok(None) } else { engine.place(bytes).map(Some) };
        let placed = if bytes.len() >= LONG_COPY { py.detach(place) } else { place() };
        let placed = placed.map_err(|error| refusal(py, &error))?;
        if let Some(placed) = placed {
            self.buffers.push(placed.span);
            self.bytes += bytes.len();
            let still = owner.map(|owner| (owner, buffer.clone().unbind()));
            self.known.insert(key, Known { placed, still });
        }
        Ok(placed.or(known).map(|placed| placed.span).unwrap_or_default())
    }
}

impl Drop for Along<'_> {
    fn drop(&mut self) {
        for places in [&self.buffers, &self.repeats] {
            self.engine.free(places);
        }
    }
}

impl Elsewhere for Along<'_> {
    fn find(&mut self, bytes: &[u8]) -> Option<Span> {
        let place = self.engine.place_repeat(bytes)?;
        self.repeats.push(place);
        Some(place)
    }
}

/// Appends an argument, and notes what it refers to.
///
/// # Errors
/// `ArgumentNotPicklable` of the Python side.
pub(crate) fn encode_argument(value: &Bound<'_, PyAny>, out: &mut Gather, along: &mut Along<'_>) -> PyResult<()> {
    if codec::encode_plain(value, out, along) { Ok(()) } else { encode_pickled(value, out, along) }
}

/// The same of an item that must not keep others from being run: if it cannot be pickled, its task fails for that.
///
/// # Errors
/// Anything but `ArgumentNotPicklable`.
pub(crate) fn encode_argument_or_failure(
    value: &Bound<'_, PyAny>,
    out: &mut Gather,
    along: &mut Along<'_>,
) -> PyResult<()> {
    let start = out.mark();
    let Err(error) = encode_argument(value, out, along) else { return Ok(()) };
    let py = value.py();
    if !error.matches(py, errors(py)?.getattr(intern!(py, "ArgumentNotPicklable"))?)? {
        return Err(error);
    }
    out.cut(start);
    let stand_in = names(py)?.pickling.bind(py).call_method1(intern!(py, "NeverSent"), (error.value(py),))?;
    encode_argument(&stand_in, out, along)
}

fn encode_pickled(value: &Bound<'_, PyAny>, out: &mut Gather, along: &mut Along<'_>) -> PyResult<()> {
    along.begin_pickle(value);
    let (began_ns, waited_ns, bytes) = (coarse_ns(), along.waited_ns, out.len() + along.bytes);
    let result = encode_pickled_itself(value, out, along);
    let waited_ns = along.waited_ns - waited_ns;
    along.pickled.add(Pickled {
        ns: coarse_ns().saturating_sub(began_ns).saturating_sub(waited_ns),
        items: 1,
        bytes: (out.len() + along.bytes).saturating_sub(bytes) as u64,
    });
    along.shares.append(&mut take_named());
    result
}

fn encode_pickled_itself(value: &Bound<'_, PyAny>, out: &mut Gather, along: &mut Along<'_>) -> PyResult<()> {
    let py = value.py();
    if let Some((pickle, taken)) = dump_plain_apart(value)?
        && !names_stranger(py, pickle.as_bytes())?
    {
        return encode_apart(py, &pickle, &taken, out, along);
    }
    let (dumped, taken) = dump_by_value_apart(value, intern!(py, "dump_argument"))?;
    let (pickle, numbers): (Bound<'_, PyBytes>, Vec<u64>) = dumped.extract()?;
    along.definitions.extend(numbers);
    encode_apart(py, &pickle, &taken, out, along)
}

fn encode_apart(
    py: Python<'_>,
    pickle: &Bound<'_, PyBytes>,
    taken: &[Buffer],
    out: &mut Gather,
    along: &mut Along<'_>,
) -> PyResult<()> {
    if taken.is_empty() {
        codec::encode_pickle(pickle, out);
        return Ok(());
    }
    let mut places = Vec::with_capacity(taken.len());
    let length = |buffer: &Buffer| buffers::contents(buffer.bind(py)).map_or(0, <[u8]>::len);
    along.wait_for_room(py, taken.iter().map(length).sum())?;
    for buffer in taken {
        places.push(along.place(buffer.bind(py))?);
    }
    codec::encode_pickle_and_buffers(pickle, &places, out);
    Ok(())
}

/// What a function of the Python side makes of an object by value, its large buffers beside it.
fn dump_by_value_apart<'py>(
    value: &Bound<'py, PyAny>,
    how: &Bound<'py, PyString>,
) -> PyResult<(Bound<'py, PyAny>, Vec<Buffer>)> {
    let names = names(value.py())?;
    let pickling = names.pickling.bind(value.py());
    let (dumped, taken) = buffers::taking(|| pickling.call_method1(how, (value, &names.taker)));
    Ok((dumped?, taken))
}

/// The pickle of an object that anybody can read, its large buffers beside it; with what it refers to by value, if need be.
///
/// # Errors
/// What pickling by value raises.
pub(crate) fn plain_or_by_value<'py>(value: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyBytes>, Vec<Buffer>)> {
    let py = value.py();
    if let Some((pickle, taken)) = dump_plain_apart(value)?
        && !names_stranger(py, pickle.as_bytes())?
    {
        return Ok((pickle, taken));
    }
    let (dumped, taken) = dump_by_value_apart(value, intern!(py, "dump_to_share"))?;
    Ok((dumped.cast_into()?, taken))
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
    /// A head, a pickle, and its buffers, each behind a gap.
    WithBuffers(Vec<u8>, Bound<'py, PyBytes>, Vec<(usize, Buffer)>),
}

/// Runs of at least this length are not copied behind their head.
const APART_FROM: usize = 64 << 10;

/// Encodes a result, by value where plain pickle cannot.
///
/// # Errors
/// What pickling by value raises.
pub(crate) fn encode_result<'py>(value: &Bound<'py, PyAny>, out: &mut Gather) -> PyResult<Encoded<'py>> {
    if let Ok(bytes) = value.cast_exact::<PyBytes>()
        && bytes.as_bytes().len() >= APART_FROM
    {
        return Ok(Encoded::Apart(codec::bytes_head(bytes.as_bytes().len()), bytes.clone()));
    }
    if codec::encode_plain(value, out, &mut Nowhere) {
        return Ok(Encoded::Gathered);
    }
    answering(|| encode_pickled_result(value, out))
}

/// Kept apart, so that plain results pay nothing for it.
#[inline(never)]
fn encode_pickled_result<'py>(value: &Bound<'py, PyAny>, out: &mut Gather) -> PyResult<Encoded<'py>> {
    let py = value.py();
    let (pickle, taken) = if let Some(dumped) = dump_plain_apart(value)? {
        dumped
    } else {
        let (dumped, taken) = dump_by_value_apart(value, intern!(py, "dump_by_value"))?;
        (dumped.cast_into()?, taken)
    };
    if !taken.is_empty() {
        let length = |buffer: &Buffer| buffers::contents(buffer.bind(py)).map(<[u8]>::len).ok_or_else(buffers::gone);
        let lengths = taken.iter().map(length).collect::<PyResult<Vec<_>>>()?;
        let (head, gaps) = codec::head_of_pickle_and_buffers(pickle.as_bytes().len(), &lengths);
        return Ok(Encoded::WithBuffers(head, pickle, gaps.into_iter().zip(taken).collect()));
    }
    if pickle.as_bytes().len() >= APART_FROM {
        return Ok(Encoded::Apart(codec::pickle_head(pickle.as_bytes().len()), pickle));
    }
    codec::encode_pickle(&pickle, out);
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
    out: &mut Gather,
    along: &mut Along<'_>,
) -> PyResult<()> {
    if kwargs.is_none() && codec::encode_plain(args, out, along) {
        return Ok(());
    }
    let py = args.py();
    let pair = (args, kwargs).into_pyobject(py)?.into_any();
    encode_pickled(&pair, out, along)
}

/// The object that a pickle describes, with the buffers that are not in it. A long one is read where it lies, which
/// Python's reader does as with any buffer that others may write to.
///
/// # Errors
/// What unpickling raises.
pub(crate) fn load<'py>(
    loads: &Bound<'py, PyAny>,
    pickle: Foreign<'_>,
    buffers: Option<&Bound<'py, PyList>>,
) -> PyResult<Bound<'py, PyAny>> {
    const COPIED_UP_TO: usize = 4 << 10;
    let py = loads.py();
    let named = buffers.map(|buffers| [("buffers", buffers)].into_py_dict(py)).transpose()?;
    if pickle.len() <= COPIED_UP_TO {
        return loads.call((codec::bytes_object(py, pickle)?,), named.as_ref());
    }
    let length = ffi::Py_ssize_t::try_from(pickle.len())?;
    // SAFETY: the view is read-only and released before the bytes go.
    let view = unsafe {
        let start = pickle.as_ptr().cast_mut().cast();
        Bound::from_owned_ptr_or_err(py, ffi::PyMemoryView_FromMemory(start, length, ffi::PyBUF_READ))?
    };
    let object = loads.call((&view,), named.as_ref());
    view.call_method0(intern!(py, "release"))?;
    object
}
