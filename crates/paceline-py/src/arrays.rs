//! Owns small arrays and scalars of numpy as plain values: to pickle one takes as long as ten short calls. Only the types
//! that numpy has built in, in this machine's byte order, as they lie one after the other; all else is pickled.

use crate::gather::Owner;
use crate::intern::intern;
use once_cell::race::OnceBox;
use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyFloat, PyInt, PyModule, PyString, PyTuple, PyType};
use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;

/// The types of items, by what numpy calls them for short; their places are how they are written.
const KINDS: [&str; 16] = ["?", "b", "B", "h", "H", "i", "I", "l", "L", "q", "Q", "e", "f", "d", "F", "D"];
/// Arrays of at least this many bytes travel as buffers of pickles.
const SMALL_BELOW: usize = crate::buffers::APART_FROM;
/// Numpy's own limit.
const MOST_DIMENSIONS: usize = 64;

const COLUMNS_FIRST: u8 = 1;
const WRITABLE: u8 = 2;

struct Numpy {
    array: Py<PyType>,
    /// Of each kind, its dtype and the class of its scalars.
    kinds: Vec<(Py<PyAny>, Py<PyAny>)>,
}

static NUMPY: OnceBox<Numpy> = OnceBox::new();

fn numpy(py: Python<'_>) -> PyResult<&Numpy> {
    NUMPY.get_or_try_init(|| {
        let numpy = PyModule::import(py, "numpy")?;
        let kind = |name: &&str| {
            let dtype = numpy.getattr("dtype")?.call1((*name,))?;
            Ok((dtype.clone().unbind(), dtype.getattr("type")?.unbind()))
        };
        let kinds = KINDS.iter().map(kind).collect::<PyResult<_>>()?;
        Ok(Box::new(Numpy { array: numpy.getattr("ndarray")?.cast_into::<PyType>()?.unbind(), kinds }))
    })
}

/// What is known of numpy, if a class may be one of its own. Nothing of a program without numpy is asked for anything.
fn numpy_of(py: Python<'_>, class: *mut ffi::PyTypeObject) -> Option<&Numpy> {
    if let Some(numpy) = NUMPY.get() {
        return Some(numpy);
    }
    // SAFETY: a class that has an instance lives, and so does its name.
    let name = unsafe { CStr::from_ptr((*class).tp_name) };
    name.to_bytes().starts_with(b"numpy.").then(|| numpy(py).ok()).flatten()
}

/// A view of some memory of an object's, given back when dropped.
pub(crate) struct View(ffi::Py_buffer);

impl View {
    pub(crate) fn of(object: &Bound<'_, PyAny>) -> Option<Self> {
        let mut view = MaybeUninit::uninit();
        // SAFETY: the call fills the view in, or fails.
        let taken = unsafe { ffi::PyObject_GetBuffer(object.as_ptr(), view.as_mut_ptr(), ffi::PyBUF_ANY_CONTIGUOUS) };
        if taken != 0 {
            drop(PyErr::take(object.py()));
            return None;
        }
        // SAFETY: it was filled in.
        Some(Self(unsafe { view.assume_init() }))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        let length = usize::try_from(self.0.len).unwrap_or(0);
        if length == 0 || self.0.buf.is_null() {
            return &[];
        }
        // SAFETY: the view is contiguous, has so many bytes, and is held.
        unsafe { std::slice::from_raw_parts(self.0.buf.cast::<u8>(), length) }
    }

    pub(crate) fn shape(&self) -> &[ffi::Py_ssize_t] {
        let dimensions = usize::try_from(self.0.ndim).unwrap_or(0);
        if dimensions == 0 || self.0.shape.is_null() {
            return &[];
        }
        // SAFETY: the view has a shape of so many dimensions, since one was asked for.
        unsafe { std::slice::from_raw_parts(self.0.shape, dimensions) }
    }

    fn has_rows_first(&self) -> bool {
        // SAFETY: the view is held.
        unsafe { ffi::PyBuffer_IsContiguous(&raw const self.0, c_char::from_ne_bytes([b'C'])) != 0 }
    }
}

impl Owner for View {}

impl Drop for View {
    fn drop(&mut self) {
        // SAFETY: the view was taken and is given back once; the interpreter is held wherever there is one.
        unsafe { ffi::PyBuffer_Release(&raw mut self.0) };
    }
}

/// What an object of numpy's is.
pub(crate) enum Plain {
    /// An array, of a kind and with flags as in [`Head`].
    Array(u8, u8, View),
    /// A scalar of a kind.
    Scalar(u8, View),
}

/// What of an object is to be written, if it is a small array or a scalar; `class` is its class.
pub(crate) fn plain(value: &Bound<'_, PyAny>, class: *mut ffi::PyTypeObject) -> Option<Plain> {
    let py = value.py();
    let numpy = numpy_of(py, class)?;
    if class == numpy.array.as_ptr().cast() {
        let dtype = value.getattr(intern!(py, "dtype")).ok()?;
        let kind = numpy.kinds.iter().position(|(known, _)| known.as_ptr() == dtype.as_ptr())?;
        let view = View::of(value)?;
        if view.bytes().len() >= SMALL_BELOW || view.shape().len() > MOST_DIMENSIONS {
            return None;
        }
        let order = if view.has_rows_first() { 0 } else { COLUMNS_FIRST };
        let flags = order | if view.0.readonly == 0 { WRITABLE } else { 0 };
        return Some(Plain::Array(small(kind), flags, view));
    }
    let kind = numpy.kinds.iter().position(|(_, known)| known.as_ptr().cast() == class)?;
    Some(Plain::Scalar(small(kind), View::of(value)?))
}

pub(crate) fn small(number: usize) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

/// Whether pickling an object runs no code but numpy's and the interpreter's own: an array without objects, or a value like
/// a number or a text.
pub(crate) fn is_quiet(value: &Bound<'_, PyAny>) -> bool {
    if value.is_none() || value.is_exact_instance_of::<PyInt>() || value.is_exact_instance_of::<PyFloat>() {
        return true;
    }
    if value.is_exact_instance_of::<PyString>() || value.is_exact_instance_of::<PyBytes>() {
        return true;
    }
    is_plain_array(value) && !has_objects(value)
}

/// Whether it is a numpy array and no more than that, so that another view of it is as good.
pub(crate) fn is_plain_array(object: &Bound<'_, PyAny>) -> bool {
    let class = object.get_type_ptr();
    numpy_of(object.py(), class).is_some_and(|numpy| class == numpy.array.as_ptr().cast())
}

/// Whether the items of an array are objects, or have some.
pub(crate) fn has_objects(array: &Bound<'_, PyAny>) -> bool {
    let py = array.py();
    let found =
        array.getattr(intern!(py, "dtype")).and_then(|dtype| dtype.getattr(intern!(py, "hasobject"))?.extract());
    found.unwrap_or(true)
}

/// What stands before the items of an array.
pub(crate) struct Head {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) shape: Vec<u64>,
}

/// The array of which these are the items. They are copied.
pub(crate) fn array<'py>(py: Python<'py>, head: Head, items: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let numpy = numpy(py)?;
    let (dtype, _) = numpy.kinds.get(usize::from(head.kind)).ok_or_else(no_such)?;
    let memory = if head.flags & WRITABLE == 0 {
        PyBytes::new(py, items).into_any()
    } else {
        PyByteArray::new(py, items).into_any()
    };
    let shape = PyTuple::new(py, head.shape)?;
    let array = numpy.array.bind(py);
    if head.flags & COLUMNS_FIRST == 0 {
        array.call1((shape, dtype, memory))
    } else {
        array.call1((shape, dtype, memory, 0, py.None(), intern!(py, "F")))
    }
}

/// The scalar of which these are the bytes.
pub(crate) fn scalar<'py>(py: Python<'py>, kind: u8, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let array = array(py, Head { kind, flags: 0, shape: Vec::new() }, bytes)?;
    array.get_item(PyTuple::empty(py))
}

fn no_such() -> PyErr {
    PyValueError::new_err("there is no such type of items")
}
