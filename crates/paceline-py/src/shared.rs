//! Owns objects and arrays that lie in shared memory once, for any number of calls: written here, found by the calls that
//! name them, and let go of when nobody names them any more. Never knows what an array is.
//!
//! A worker maps what is shared once, and each task finds it as it was: what a task has written there is taken back when it
//! ends. Only memory that is to be written to by everybody stays as it was left.

use crate::arrays::{self, View};
use crate::buffers::{self, Buffer, as_buffer};
use crate::intern::intern;
use crate::pickle::{load, names, plain_or_by_value};
use paceline_engine::{Foreign, Name, OpenShare, Share, has_memory, page_faults};
use pyo3::exceptions::{PyMemoryError, PyOSError, PyRuntimeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyModule, PyTuple};
use rustix::io::Errno;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::c_int;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What tells where shared memory is, as it is pickled.
type Place = (i32, i32, u64, u64);

/// What shared memory is pickled as: what opens it, and where it is.
fn reduced(py: Python<'_>, name: Name, holds_object: bool) -> PyResult<(Bound<'_, PyAny>, Place)> {
    let Name { pid, descriptor, inode, size } = name;
    let opener = if holds_object { intern!(py, "open_shared_object") } else { intern!(py, "open_shared_memory") };
    Ok((PyModule::import(py, "paceline._paceline")?.getattr(opener)?, (pid, descriptor, inode, size)))
}

thread_local! {
    /// What has been named by the pickles that are being made.
    static NAMED: RefCell<Vec<Arc<Share>>> = const { RefCell::new(Vec::new()) };
}

/// What has been named since this was last called; whoever sends the pickle keeps it until it has been read.
pub(crate) fn take_named() -> Vec<Arc<Share>> {
    NAMED.take()
}

/// Shared memory, of the process that has laid it out.
#[pyclass(module = "paceline._paceline", frozen, weakref)]
pub(crate) struct SharedMemory {
    share: Mutex<Option<Arc<Share>>>,
    /// What the object names.
    inner: Vec<Arc<Share>>,
    /// What its readers are given: an object that is pickled there, or the memory itself.
    holds_object: bool,
    length: usize,
}

/// How many of them there are that hold an object.
static OBJECTS: AtomicUsize = AtomicUsize::new(0);

/// Whether there is any object that a call may name.
pub(crate) fn any_objects() -> bool {
    OBJECTS.load(Ordering::Relaxed) > 0
}

#[pymethods]
impl SharedMemory {
    /// Lays out an object; its large buffers are copied once, and nothing else of it is looked at later.
    #[staticmethod]
    fn holding(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = value.py();
        // What is pickled with holes is copied into the pickle, where a task's changes could not be taken back.
        let packed = arrays::is_plain_array(value) && View::of(value).is_none() && !arrays::has_objects(value);
        let value = if packed { &value.call_method0(intern!(py, "copy"))? } else { value };
        let outer = take_named();
        let dumped = buffers::taking_all(|| plain_or_by_value(value));
        let inner = NAMED.replace(outer);
        let (pickle, taken) = dumped?;
        let view = |buffer: &Buffer| View::of(buffer.bind(py)).ok_or_else(buffers::gone);
        let views = taken.iter().map(view).collect::<PyResult<Vec<_>>>()?;
        let mut parts = vec![pickle.as_bytes()];
        parts.extend(views.iter().map(View::bytes));
        let length = parts.iter().map(|part| part.len()).sum();
        let share = laid_out(py, length, || Share::holding(&parts))?;
        OBJECTS.fetch_add(1, Ordering::Relaxed);
        Ok(Self { share: Mutex::new(Some(Arc::new(share))), inner, holds_object: true, length })
    }

    /// So many bytes of zeros, which everybody who is given them may write to.
    #[staticmethod]
    fn zeroed(py: Python<'_>, length: usize) -> PyResult<Self> {
        let share = laid_out(py, length, || Share::zeroed(length as u64))?;
        Ok(Self { share: Mutex::new(Some(Arc::new(share))), inner: Vec::new(), holds_object: false, length })
    }

    /// How many bytes it has.
    #[getter]
    fn nbytes(&self) -> usize {
        self.length
    }

    /// The address of its first byte here.
    #[getter]
    fn address(&self) -> PyResult<usize> {
        Ok(self.share()?.address() as usize)
    }

    /// Lets go of the memory as soon as no call needs it any more; it cannot be named from now on.
    fn release(&self) {
        let share = self.held().take();
        drop(share);
    }

    /// Lets go of what was named by pickles that will never be sent.
    #[staticmethod]
    fn forget_named() {
        drop(take_named());
    }

    /// The object that lies here, as it was when it was shared; its buffers are mapped, and not copied.
    fn open(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let Name { pid, descriptor, inode, size } = self.share()?.name();
        open_shared_object(py, pid, descriptor, inode, size)
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Place)> {
        let share = self.share()?;
        NAMED.with_borrow_mut(|named| {
            // Of pickles that were never sent.
            named.retain(|share| Arc::strong_count(share) > 1);
            named.push(Arc::clone(&share));
            named.extend_from_slice(&self.inner);
        });
        reduced(py, share.name(), self.holds_object)
    }

    /// # Safety
    /// The interpreter's own protocol: `view` is its, to be filled.
    unsafe fn __getbuffer__(slf: &Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let this = slf.get();
        if this.holds_object {
            return Err(pyo3::exceptions::PyBufferError::new_err("what lies there is an object's"));
        }
        // SAFETY: the memory is mapped as long as this lives, since nobody releases what is no object's.
        unsafe { as_buffer(slf, (this.share()?.address(), this.length), view, flags) }
    }
}

impl SharedMemory {
    fn held(&self) -> MutexGuard<'_, Option<Arc<Share>>> {
        self.share.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn share(&self) -> PyResult<Arc<Share>> {
        let share = self.held().clone();
        share.ok_or_else(|| PyValueError::new_err("the shared object has been released"))
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        if self.holds_object {
            OBJECTS.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Lays memory out, without the interpreter, if there is so much.
fn laid_out(py: Python<'_>, length: usize, lay: impl FnOnce() -> Result<Share, Errno> + Send) -> PyResult<Share> {
    let refused = |why: &str| PyMemoryError::new_err(format!("no {length} bytes of shared memory: {why}"));
    if !has_memory(length as u64) {
        return Err(refused("there is not so much memory left"));
    }
    py.detach(lay).map_err(|errno| refused(&errno.to_string()))
}

// -- in a worker

/// What this process has opened, by name.
struct Opened {
    share: Arc<OpenShare>,
    /// Of an object: where it is not to be made anew for each that names it.
    kept: Kept,
    is_private: bool,
}

enum Kept {
    /// It is quickly made.
    Nothing,
    /// An array, of which each gets a view.
    Array(Py<PyAny>),
    /// It takes long to make, so all get the same.
    Whole(Py<PyAny>),
    /// Memory.
    Memory(Py<OpenMemory>),
}

impl Kept {
    fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Self::Nothing => Self::Nothing,
            Self::Array(array) => Self::Array(array.clone_ref(py)),
            Self::Whole(object) => Self::Whole(object.clone_ref(py)),
            Self::Memory(memory) => Self::Memory(memory.clone_ref(py)),
        }
    }

    /// What of it a reader is given; none if it is to be made anew.
    fn given<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(match self {
            Self::Nothing => None,
            Self::Array(array) => Some(array.bind(py).call_method0(intern!(py, "view"))?),
            Self::Whole(object) => Some(object.bind(py).clone()),
            Self::Memory(memory) => Some(memory.bind(py).clone().into_any()),
        })
    }
}

/// An object with a longer pickle, beside its buffers, is made once.
const MADE_ANEW_BELOW: usize = 16 << 10;

static OPENED: Mutex<Option<HashMap<Name, Opened>>> = Mutex::new(None);
static ARE_OPEN: AtomicUsize = AtomicUsize::new(0);
/// How many page faults there had been when everything was last as it was shared.
static FAULTS: AtomicU64 = AtomicU64::new(0);

fn with_opened<R>(act: impl FnOnce(&mut HashMap<Name, Opened>) -> R) -> R {
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    let opened = opened.get_or_insert_default();
    let result = act(opened);
    ARE_OPEN.store(opened.len(), Ordering::Relaxed);
    result
}

/// Keeps what was opened for the next who names it; but not in the process that has it anyway, and that runs no tasks after
/// which it would be let go of.
fn keep(name: Name, opened: Opened) {
    if name.pid.cast_unsigned() != std::process::id() {
        let replaced = with_opened(|all| all.insert(name, opened));
        drop(replaced);
    }
}

fn open(name: &Name, is_private: bool) -> PyResult<Arc<OpenShare>> {
    let opened = OpenShare::open(name, is_private).map_err(|errno| match errno {
        Errno::STALE => PyRuntimeError::new_err(
            "the shared memory is gone: its handle was released, or its process has ended\n\
             hint: keep the handle, or the array, until the calls that use it have ended",
        ),
        errno => PyOSError::new_err((errno.raw_os_error(), format!("cannot map shared memory: {errno}"))),
    })?;
    Ok(Arc::new(opened))
}

/// The object that lies there, as it was when it was shared.
#[pyfunction]
pub(crate) fn open_shared_object(
    py: Python<'_>,
    pid: i32,
    descriptor: i32,
    inode: u64,
    size: u64,
) -> PyResult<Py<PyAny>> {
    let name = Name { pid, descriptor, inode, size };
    let known =
        with_opened(|opened| opened.get(&name).map(|known| (known.kept.clone_ref(py), Arc::clone(&known.share))));
    if let Some((kept, share)) = known {
        return match kept.given(py)? {
            Some(object) => Ok(object.unbind()),
            None => Ok(made_from(py, &share)?.0.unbind()),
        };
    }
    drop_released();
    let share = open(&name, true)?;
    let (object, pickle_length) = made_from(py, &share)?;
    let kept = if share.parts() > 1 && arrays::is_plain_array(&object) && !arrays::has_objects(&object) {
        Kept::Array(object.clone().unbind())
    } else if pickle_length < MADE_ANEW_BELOW {
        Kept::Nothing
    } else {
        Kept::Whole(object.clone().unbind())
    };
    let result = kept.given(py)?.unwrap_or(object);
    keep(name, Opened { share, kept, is_private: true });
    Ok(result.unbind())
}

/// The object in these parts, and the length of its pickle.
fn made_from<'py>(py: Python<'py>, share: &Arc<OpenShare>) -> PyResult<(Bound<'py, PyAny>, usize)> {
    let (start, length) = share.part(0).ok_or_else(|| PyValueError::new_err("there is no object"))?;
    let buffers = (1..share.parts()).map(|part| buffers::shared(py, share, part)).collect::<PyResult<Vec<_>>>()?;
    let buffers = PyList::new(py, buffers)?;
    // SAFETY: the part is mapped as long as the share, which lives until the object is made.
    let pickle = unsafe { Foreign::new(start, length) };
    Ok((load(names(py)?.loads.bind(py), pickle, Some(&buffers))?, length))
}

/// Memory that this process has in common with others.
#[pyclass(module = "paceline._paceline", frozen)]
pub(crate) struct OpenMemory {
    share: Arc<OpenShare>,
    name: Name,
}

#[pymethods]
impl OpenMemory {
    /// The address of its first byte here.
    #[getter]
    fn address(&self) -> usize {
        self.share.part(0).map_or(0, |(start, _)| start as usize)
    }

    /// How many bytes it has.
    #[getter]
    fn nbytes(&self) -> usize {
        self.share.part(0).map_or(0, |(_, length)| length)
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Place)> {
        reduced(py, self.name, false)
    }

    /// # Safety
    /// The interpreter's own protocol: `view` is its, to be filled.
    unsafe fn __getbuffer__(slf: &Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let place = slf.get().share.part(0).ok_or_else(|| PyValueError::new_err("there is no memory"))?;
        // SAFETY: the memory is mapped as long as this lives.
        unsafe { as_buffer(slf, place, view, flags) }
    }
}

/// The memory that lies there, to be written to by everybody.
#[pyfunction]
pub(crate) fn open_shared_memory(
    py: Python<'_>,
    pid: i32,
    descriptor: i32,
    inode: u64,
    size: u64,
) -> PyResult<Py<OpenMemory>> {
    let name = Name { pid, descriptor, inode, size };
    let known = with_opened(|opened| match opened.get(&name).map(|known| &known.kept) {
        Some(Kept::Memory(memory)) => Some(memory.clone_ref(py)),
        _ => None,
    });
    if let Some(memory) = known {
        return Ok(memory);
    }
    drop_released();
    let share = open(&name, false)?;
    let memory = Py::new(py, OpenMemory { share: Arc::clone(&share), name })?;
    let kept = Kept::Memory(memory.clone_ref(py));
    keep(name, Opened { share, kept, is_private: false });
    Ok(memory)
}

/// Whether anything is open.
pub(crate) fn is_open() -> bool {
    ARE_OPEN.load(Ordering::Relaxed) > 0
}

/// Lets go of what has been released.
pub(crate) fn drop_released() {
    if is_open() {
        let released: Vec<_> = with_opened(|opened| opened.extract_if(|_, known| known.share.is_released()).collect());
        // What is dropped may be anything of Python's.
        drop(released);
    }
}

/// A task has ended: what it has written to what is private is taken back, whether it was given it, or the function has it.
#[inline]
pub(crate) fn take_back() {
    // Whoever writes to a page for the first time makes the system give it one of its own.
    if is_open() && page_faults() != FAULTS.load(Ordering::Relaxed) {
        restore();
    }
}

#[cold]
fn restore() {
    with_opened(|opened| {
        for known in opened.values().filter(|known| known.is_private) {
            known.share.restore();
        }
    });
    FAULTS.store(page_faults(), Ordering::Relaxed);
}

thread_local! {
    /// A result is being pickled.
    static ANSWERS: Cell<bool> = const { Cell::new(false) };
}

/// Does something for a result, in which nothing may be named: nobody keeps it until the result is read.
pub(crate) fn answering<R>(act: impl FnOnce() -> R) -> R {
    let outer = ANSWERS.replace(true);
    let result = act();
    ANSWERS.set(outer);
    result
}

/// Whether a result is being pickled.
#[pyfunction]
pub(crate) fn is_answering() -> bool {
    ANSWERS.get()
}

// -- on threads

/// The arguments with the shared objects themselves in the places of their handles, on threads: where nothing is pickled.
/// Handles are found in plain containers.
pub(crate) fn resolved<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = value.py();
    let class = PyModule::import(py, "paceline.sharing")?.getattr(intern!(py, "Shared"))?;
    Ok(resolve(value, &class, 0)?.unwrap_or_else(|| value.clone()))
}

/// The same; none if there is no handle in it.
fn resolve<'py>(
    value: &Bound<'py, PyAny>,
    class: &Bound<'py, PyAny>,
    depth: u32,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    const DEEPEST: u32 = 16;
    let py = value.py();
    if value.get_type().is(class) {
        return Ok(Some(value.call_method0(intern!(py, "get"))?));
    }
    if depth == DEEPEST {
        return Ok(None);
    }
    if let Ok(tuple) = value.cast_exact::<PyTuple>() {
        return Ok(match resolve_each(tuple.iter(), class, depth)? {
            Some(items) => Some(PyTuple::new(py, items)?.into_any()),
            None => None,
        });
    }
    if let Ok(list) = value.cast_exact::<PyList>() {
        return Ok(match resolve_each(list.iter(), class, depth)? {
            Some(items) => Some(PyList::new(py, items)?.into_any()),
            None => None,
        });
    }
    if let Ok(dict) = value.cast_exact::<PyDict>() {
        let (keys, values): (Vec<_>, Vec<_>) = dict.iter().unzip();
        let Some(values) = resolve_each(values.into_iter(), class, depth)? else { return Ok(None) };
        let resolved = PyDict::new(py);
        for (key, value) in keys.into_iter().zip(values) {
            resolved.set_item(key, value)?;
        }
        return Ok(Some(resolved.into_any()));
    }
    Ok(None)
}

fn resolve_each<'py>(
    items: impl Iterator<Item = Bound<'py, PyAny>>,
    class: &Bound<'py, PyAny>,
    depth: u32,
) -> PyResult<Option<Vec<Bound<'py, PyAny>>>> {
    let mut any = false;
    let mut resolved = Vec::new();
    for item in items {
        let found = resolve(&item, class, depth + 1)?;
        any |= found.is_some();
        resolved.push(found.unwrap_or(item));
    }
    Ok(any.then_some(resolved))
}
