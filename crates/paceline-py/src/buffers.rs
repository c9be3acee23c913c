//! Owns the large buffers of arguments and results (arrays, columns of tables): taken out of the pickle and written once
//! into shared memory, and given to the other side as memory of its own. Never knows what a buffer means: pickle does, by
//! its protocol 5 (PEP 574).
//!
//! Whoever reads a buffer maps it privately: it may be written to, and only the pages that are written to are copied.
//! The memory of a result goes back to its worker when the array is collected. What a task keeps of its arguments after its
//! end is detached from the shared memory before the parent hears of that end, so the parent may use the memory again.

use paceline_engine::{ArenaReader, Foreign, HeldCopy, OpenShare, OwnCopy, RecordBytes, Span, page_faults};
use pyo3::exceptions::{PyBufferError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::{c_char, c_int};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError, Weak};

/// A buffer of at least this length travels by itself; a shorter one is copied sooner than it is mapped.
pub(crate) const APART_FROM: usize = 64 << 10;

/// A buffer of a result of at least this length stays where it is; a shorter one is copied: a worker has only so many
/// segments, and a program may keep any number of results.
const HELD_FROM: u64 = 1 << 20;

thread_local! {
    /// Buffers of at least this length are taken.
    static TAKEN_FROM: Cell<usize> = const { Cell::new(APART_FROM) };
    /// The buffers of the pickle that is being made, or none is.
    static TAKEN: RefCell<Vec<Buffer>> = const { RefCell::new(Vec::new()) };
    /// What the calls that run have been given.
    static GIVEN: RefCell<Vec<Given>> = const { RefCell::new(Vec::new()) };
}

/// Some call has been given something.
static ANY_GIVEN: AtomicBool = AtomicBool::new(false);

/// A buffer that a call has been given, mapped.
pub(crate) struct Given {
    place: Span,
    copy: Arc<OwnCopy>,
    /// How many page faults there had been until then.
    faults: u64,
}

/// What pickle hands out in the place of some memory: a `PickleBuffer`.
pub(crate) type Buffer = Py<PyAny>;

/// Is asked by pickle, for each buffer, whether it is to be in the pickle itself.
#[pyclass(module = "paceline._paceline", frozen)]
pub(crate) struct BufferTaker;

#[pymethods]
impl BufferTaker {
    #[expect(clippy::unused_self, reason = "what it takes is of the thread, and pickle calls an object")]
    fn __call__(&self, buffer: Bound<'_, PyAny>) -> bool {
        let is_taken = contents(&buffer).is_some_and(|bytes| bytes.len() >= TAKEN_FROM.get());
        if is_taken {
            TAKEN.with_borrow_mut(|taken| taken.push(buffer.unbind()));
        }
        !is_taken
    }

    /// The pickle is being made once more, from its beginning.
    #[expect(clippy::unused_self, reason = "as above")]
    fn clear(&self) {
        drop(TAKEN.take());
    }
}

/// The bytes of a `PickleBuffer`, if they lie one after the other; valid as long as it is not released.
pub(crate) fn contents<'a>(buffer: &'a Bound<'_, PyAny>) -> Option<&'a [u8]> {
    // SAFETY: the call looks at the object's type, and returns the view that it holds, or null with an exception set.
    let view = unsafe { PyPickleBuffer_GetBuffer(buffer.as_ptr()) };
    if view.is_null() {
        drop(PyErr::take(buffer.py()));
        return None;
    }
    // SAFETY: the view belongs to the buffer, which is not released while it is borrowed; its memory is as long as it
    // says, if it is contiguous.
    unsafe {
        if ffi::PyBuffer_IsContiguous(view, c_char::from_ne_bytes([b'A'])) == 0 || (*view).buf.is_null() {
            return None;
        }
        let length = usize::try_from((*view).len).ok()?;
        Some(std::slice::from_raw_parts((*view).buf.cast::<u8>(), length))
    }
}

/// The object whose memory a `PickleBuffer` shows.
pub(crate) fn owner(buffer: &Bound<'_, PyAny>) -> Option<*mut ffi::PyObject> {
    // SAFETY: as above; the view has a reference to its object.
    let view = unsafe { PyPickleBuffer_GetBuffer(buffer.as_ptr()).as_ref() };
    if view.is_none() {
        drop(PyErr::take(buffer.py()));
    }
    view.map(|view| view.obj).filter(|object| !object.is_null())
}

unsafe extern "C" {
    /// Of the interpreter's interface; the bindings leave it out.
    fn PyPickleBuffer_GetBuffer(buffer: *mut ffi::PyObject) -> *const ffi::Py_buffer;
}

/// Makes a pickle by `dump`, which has a [`BufferTaker`] asked, and gives back which buffers were taken out of it. A
/// pickle may be made in the middle of another.
pub(crate) fn taking<R>(dump: impl FnOnce() -> R) -> (R, Vec<Buffer>) {
    let outer = TAKEN.take();
    let result = dump();
    (result, TAKEN.replace(outer))
}

/// The same of every buffer, however short.
pub(crate) fn taking_all<R>(dump: impl FnOnce() -> R) -> R {
    let outer = TAKEN_FROM.replace(1);
    let result = dump();
    TAKEN_FROM.set(outer);
    result
}

/// The buffer of a segment that a function has been given, as an object of Python's.
#[pyclass(module = "paceline._paceline", frozen)]
struct GivenBuffer {
    memory: Memory,
}

enum Memory {
    /// Of an argument.
    Given(Arc<OwnCopy>),
    /// Of a result.
    Held(HeldCopy),
    /// A part of what is shared.
    Shared(Arc<OpenShare>, usize),
}

impl Memory {
    fn place(&self) -> (*mut u8, usize) {
        match self {
            Self::Given(copy) => (copy.address(), copy.length()),
            Self::Held(copy) => (copy.address(), copy.length()),
            Self::Shared(share, part) => share.part(*part).unwrap_or((std::ptr::null_mut(), 0)),
        }
    }
}

#[pymethods]
impl GivenBuffer {
    /// # Safety
    /// The interpreter's own protocol: `view` is its, to be filled.
    unsafe fn __getbuffer__(slf: &Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        // SAFETY: the memory lives as long as the object.
        unsafe { as_buffer(slf, slf.get().memory.place(), view, flags) }
    }
}

/// Fills in the view of an object's memory, which may be written to.
///
/// # Safety
/// The memory lives as long as the object, to which the view keeps a reference.
pub(crate) unsafe fn as_buffer<T>(
    object: &Bound<'_, T>,
    (address, length): (*mut u8, usize),
    view: *mut ffi::Py_buffer,
    flags: c_int,
) -> PyResult<()> {
    let length = ffi::Py_ssize_t::try_from(length).map_err(|_| PyBufferError::new_err("too long"))?;
    // SAFETY: as the caller promises.
    let filled = unsafe { ffi::PyBuffer_FillInfo(view, object.as_ptr(), address.cast(), length, 0, flags) };
    if filled == 0 { Ok(()) } else { Err(PyErr::fetch(object.py())) }
}

/// A view of some memory, as others hand to pickle's reader: with a length and items, should nobody make more of it.
fn viewed(py: Python<'_>, memory: Memory) -> PyResult<Bound<'_, PyAny>> {
    let buffer = Bound::new(py, GivenBuffer { memory })?;
    // SAFETY: the call takes an object with a buffer, and returns an object of its own or an error.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyMemoryView_FromObject(buffer.as_ptr())) }
}

/// A part of what is shared, for pickle's reader.
pub(crate) fn shared<'py>(py: Python<'py>, share: &Arc<OpenShare>, part: usize) -> PyResult<Bound<'py, PyAny>> {
    viewed(py, Memory::Shared(Arc::clone(share), part))
}

/// Everything that was given and may still be there.
static ALL_GIVEN: Mutex<Vec<Weak<OwnCopy>>> = Mutex::new(Vec::new());

fn all_given() -> MutexGuard<'static, Vec<Weak<OwnCopy>>> {
    ALL_GIVEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Mappings of large buffers that nobody has written to, the latest last: a buffer in the same place needs no other, since
/// such a mapping shows whatever is in the segment now.
static KEPT: Mutex<VecDeque<(Span, Arc<OwnCopy>)>> = Mutex::new(VecDeque::new());
const MOST_KEPT: usize = 16;
/// To map less anew takes less time than to look whether it was written to.
const KEPT_FROM: u64 = 1 << 20;

fn kept() -> MutexGuard<'static, VecDeque<(Span, Arc<OwnCopy>)>> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A mapping of the buffer in this place that shows what is there.
fn mapped(arena: &ArenaReader, place: Span) -> PyResult<Arc<OwnCopy>> {
    if place.length >= KEPT_FROM {
        let mut kept = kept();
        let known = kept.iter().position(|(known, _)| *known == place);
        if let Some((_, copy)) = known.and_then(|index| kept.remove(index)) {
            return Ok(copy);
        }
    }
    let copy = Arc::new(arena.own_copy(place).map_err(|_| no_such())?);
    remember(&copy);
    Ok(copy)
}

/// Keeps a mapping that nobody uses any more, if nobody has written to it.
fn keep(Given { place, copy, faults }: Given) {
    // Whoever writes to a page for the first time makes the system give it one of its own.
    if place.length < KEPT_FROM || !(page_faults() == faults || copy.is_untouched()) {
        return;
    }
    let mut kept = kept();
    kept.push_back((place, copy));
    let surplus = if kept.len() > MOST_KEPT { kept.pop_front() } else { None };
    drop(kept);
    drop(surplus);
}

/// A child that a task forks may go on when the task has ended, and nobody would know.
extern "C" fn detach_all() {
    drop(std::mem::take(&mut *kept()));
    let given: Vec<_> = all_given().iter().filter_map(Weak::upgrade).collect();
    for copy in given {
        copy.detach();
    }
}

fn remember(copy: &Arc<OwnCopy>) {
    const LOOKED_THROUGH_FROM: usize = 64;
    static HOOKED: Once = Once::new();
    HOOKED.call_once(|| paceline_engine::before_forks(detach_all));
    let mut all = all_given();
    if all.len() >= LOOKED_THROUGH_FROM {
        all.retain(|copy| copy.strong_count() > 0);
    }
    all.push(Arc::downgrade(copy));
}

/// The buffers at these places, for pickle's reader.
pub(crate) fn give<'py>(py: Python<'py>, arena: &ArenaReader, places: &[Span]) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let give = |place: &Span| {
        let copy = mapped(arena, *place)?;
        let given = Given { place: *place, copy: Arc::clone(&copy), faults: page_faults() };
        GIVEN.with_borrow_mut(|all| all.push(given));
        ANY_GIVEN.store(true, Ordering::Relaxed);
        viewed(py, Memory::Given(copy))
    };
    places.iter().map(give).collect()
}

/// The buffers at these places in a result, for pickle's reader.
pub(crate) fn hold<'py>(
    py: Python<'py>,
    result: &RecordBytes<'_>,
    places: &[Span],
) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let hold = |place: &Span| {
        if place.length < HELD_FROM {
            return copied(py, result.foreign(), place);
        }
        let copy = result.hold(place.offset, place.length).ok_or_else(no_such)?;
        viewed(py, Memory::Held(copy))
    };
    places.iter().map(hold).collect()
}

/// A buffer of a result as memory of Python's.
fn copied<'py>(py: Python<'py>, result: Foreign<'_>, place: &Span) -> PyResult<Bound<'py, PyAny>> {
    let (offset, length) = (usize::try_from(place.offset)?, usize::try_from(place.length)?);
    let (_, rest) = result.split_at(offset).ok_or_else(no_such)?;
    let (bytes, _) = rest.split_at(length).ok_or_else(no_such)?;
    let length = ffi::Py_ssize_t::try_from(length)?;
    // SAFETY: as many bytes are there; they are copied, and any bytes will do.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyByteArray_FromStringAndSize(bytes.as_ptr().cast(), length)) }
}

/// What is raised for a buffer that somebody has released while it was pickled.
pub(crate) fn gone() -> PyErr {
    PyValueError::new_err("a buffer was released while it was pickled")
}

fn no_such() -> PyErr {
    PyValueError::new_err("there is no such buffer")
}

/// What was given since this was last called.
pub(crate) fn take_given() -> Vec<Given> {
    GIVEN.take()
}

/// The calls for which something was given since that was last taken have ended, and are about to be told of.
#[inline]
pub(crate) fn let_go_of_given() {
    // What is of a thread takes longer to find.
    if ANY_GIVEN.load(Ordering::Relaxed) {
        let_go(take_given());
    }
}

/// The calls for which these were given have ended, and are about to be told of: what somebody has kept becomes his own.
pub(crate) fn let_go(given: Vec<Given>) {
    for one in given {
        if Arc::strong_count(&one.copy) > 1 {
            one.copy.detach();
        } else {
            keep(one);
        }
    }
}
