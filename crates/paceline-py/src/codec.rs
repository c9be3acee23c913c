//! Owns the bytes of a value: plain ones (None, bool, int, float, str, bytes, small arrays of numpy, and tuples of them)
//! are written as they are, in tens of nanoseconds; everything else is a pickle. Never decides what is to be pickled how; see
//! [`crate::pickle`].
//!
//! Only values of exactly these types are written plainly: a subclass may carry more than its value. Lists and dicts are
//! pickled, because they have an identity that two places in a value may share; so is an array that stands in two places.

use crate::arrays::{self, Head, Plain, View};
use crate::gather::Gather;
use paceline_engine::{ArenaReader, Foreign, RecordBytes, Span};
use pyo3::exceptions::{PyMemoryError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyInt, PyList, PyNone, PyString, PyTuple};
use pyo3::{PyTypeInfo, ffi};

const NONE: u8 = 0;
const TRUE: u8 = 1;
const FALSE: u8 = 2;
const INT_1: u8 = 3;
const INT_4: u8 = 4;
const INT_8: u8 = 5;
const FLOAT: u8 = 6;
const SHORT_STR: u8 = 7;
const LONG_STR: u8 = 8;
const SHORT_BYTES: u8 = 9;
const LONG_BYTES: u8 = 10;
const TUPLE: u8 = 11;
const PICKLE: u8 = 12;
/// A pickle some buffers of which lie elsewhere: how many, where each is, and the pickle.
const PICKLE_AND_BUFFERS: u8 = 13;
const ARRAY: u8 = 14;
const SCALAR: u8 = 15;
/// The items lie elsewhere: as an array, with the place instead of them.
const ARRAY_ELSEWHERE: u8 = 16;

/// Tuples deeper or longer than this are pickled.
const DEEPEST: u8 = 4;
const LONGEST_TUPLE: usize = 255;

/// Where bytes may lie that belong to a value and were written before.
pub(crate) trait Elsewhere {
    /// The place of these bytes, if they have one.
    fn find(&mut self, bytes: &[u8]) -> Option<Span>;
}

/// Nothing lies there.
pub(crate) struct Nowhere;

impl Elsewhere for Nowhere {
    fn find(&mut self, _: &[u8]) -> Option<Span> {
        None
    }
}

/// Where a plain value is written.
struct Sink<'a> {
    out: &'a mut Gather,
    elsewhere: &'a mut dyn Elsewhere,
    /// The arrays that have been written.
    arrays: Vec<*mut ffi::PyObject>,
}

/// Appends a plain value; false, with `out` as it was, if the value is not plain.
pub(crate) fn encode_plain(value: &Bound<'_, PyAny>, out: &mut Gather, elsewhere: &mut dyn Elsewhere) -> bool {
    let before = out.mark();
    let plain = encode_at(value, &mut Sink { out, elsewhere, arrays: Vec::new() }, DEEPEST);
    if !plain {
        out.cut(before);
    }
    plain
}

fn encode_at(value: &Bound<'_, PyAny>, sink: &mut Sink<'_>, depth: u8) -> bool {
    let class = value.get_type_ptr();
    let py = value.py();
    let out = &mut *sink.out;
    if class == PyInt::type_object_raw(py) {
        encode_int(value, out)
    } else if class == PyFloat::type_object_raw(py) {
        // SAFETY: the value is exactly a float.
        let number = unsafe { ffi::PyFloat_AS_DOUBLE(value.as_ptr()) };
        out.push(FLOAT);
        out.extend_from_slice(&number.to_le_bytes());
        true
    } else if class == PyString::type_object_raw(py) {
        // SAFETY: the value is exactly a str.
        let string = unsafe { value.cast_unchecked::<PyString>() };
        // A str with lone surrogates has no UTF-8, and is pickled.
        string.to_str().is_ok_and(|text| {
            encode_run(SHORT_STR, LONG_STR, text.as_bytes(), value, out);
            true
        })
    } else if class == PyNone::type_object_raw(py) {
        out.push(NONE);
        true
    } else if class == PyBool::type_object_raw(py) {
        // SAFETY: the value is exactly a bool, of which there are two.
        let truth = unsafe { value.as_ptr() == ffi::Py_True() };
        out.push(if truth { TRUE } else { FALSE });
        true
    } else if class == PyTuple::type_object_raw(py) {
        // SAFETY: the value is exactly a tuple.
        encode_tuple(unsafe { value.cast_unchecked::<PyTuple>() }, sink, depth)
    } else if class == PyBytes::type_object_raw(py) {
        // SAFETY: the value is exactly a bytes.
        let bytes = unsafe { value.cast_unchecked::<PyBytes>() }.as_bytes();
        encode_run(SHORT_BYTES, LONG_BYTES, bytes, value, out);
        true
    } else {
        match arrays::plain(value, class) {
            Some(Plain::Array(..)) if sink.arrays.contains(&value.as_ptr()) => false,
            Some(Plain::Array(kind, flags, view)) => {
                sink.arrays.push(value.as_ptr());
                encode_array(kind, flags, view, sink);
                true
            }
            Some(Plain::Scalar(kind, view)) => {
                out.extend_from_slice(&[SCALAR, kind, arrays::small(view.bytes().len())]);
                out.extend_from_slice(view.bytes());
                true
            }
            None => false,
        }
    }
}

fn encode_array(kind: u8, flags: u8, view: View, sink: &mut Sink<'_>) {
    let (bytes, shape, out) = (view.bytes(), view.shape(), &mut *sink.out);
    let place = sink.elsewhere.find(bytes);
    let tag = if place.is_some() { ARRAY_ELSEWHERE } else { ARRAY };
    out.extend_from_slice(&[tag, kind, flags, arrays::small(shape.len())]);
    for length in shape {
        out.extend_from_slice(&length.cast_unsigned().to_le_bytes());
    }
    if let Some(place) = place {
        return encode_place(&place, out);
    }
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    // It may lie there for longer than this borrows it.
    let (start, length) = (bytes.as_ptr(), bytes.len());
    // SAFETY: the view is kept with the run, and its memory does not move.
    out.extend_from_changing(unsafe { std::slice::from_raw_parts(start, length) }, || view);
}

fn encode_int(value: &Bound<'_, PyAny>, out: &mut Gather) -> bool {
    let mut overflow = 0;
    // SAFETY: the value is exactly an int; the call has no other failure than overflow.
    let number: i64 = unsafe { ffi::PyLong_AsLongLongAndOverflow(value.as_ptr(), &raw mut overflow) };
    if overflow != 0 {
        return false;
    }
    if let Ok(number) = i8::try_from(number) {
        out.extend_from_slice(&[INT_1, number.cast_unsigned()]);
    } else if let Ok(number) = i32::try_from(number) {
        let [a, b, c, d] = number.to_le_bytes();
        out.extend_from_slice(&[INT_4, a, b, c, d]);
    } else {
        out.push(INT_8);
        out.extend_from_slice(&number.to_le_bytes());
    }
    true
}

/// Appends the bytes of an object that never change.
fn encode_run(short: u8, long: u8, bytes: &[u8], owner: &Bound<'_, PyAny>, out: &mut Gather) {
    if let Ok(length) = u8::try_from(bytes.len()) {
        out.extend_from_slice(&[short, length]);
        out.extend_from_slice(bytes);
    } else {
        out.extend_from_slice(&run_head(long, bytes.len()));
        out.extend_from(bytes, || owner.clone().unbind());
    }
}

fn encode_tuple(tuple: &Bound<'_, PyTuple>, sink: &mut Sink<'_>, depth: u8) -> bool {
    let length = tuple.len();
    if depth == 0 || length > LONGEST_TUPLE {
        return false;
    }
    sink.out.extend_from_slice(&[TUPLE, u8::try_from(length).unwrap_or(u8::MAX)]);
    tuple.iter_borrowed().all(|item| encode_at(&item, sink, depth - 1))
}

/// Appends a pickle, made elsewhere.
pub(crate) fn encode_pickle(pickle: &Bound<'_, PyBytes>, out: &mut Gather) {
    out.extend_from_slice(&pickle_head(pickle.as_bytes().len()));
    out.extend_from(pickle.as_bytes(), || pickle.clone().into_any().unbind());
}

/// What a place takes of what stands before a pickle.
const PLACE_BYTES: usize = 24;
/// Buffers behind a pickle begin at multiples of this.
const ALIGNMENT: usize = 64;
/// What is left out before one.
pub(crate) const GAP: [u8; ALIGNMENT] = [0; ALIGNMENT];

/// What stands before a pickle of this length and buffers of these, which follow it; and how many bytes are left out before
/// each of them.
pub(crate) fn head_of_pickle_and_buffers(pickle: usize, buffers: &[usize]) -> (Vec<u8>, Vec<usize>) {
    let mut end = 1 + 8 + buffers.len() * PLACE_BYTES + 8 + pickle;
    let (mut places, mut gaps) = (Vec::with_capacity(buffers.len()), Vec::with_capacity(buffers.len()));
    for &length in buffers {
        let start = end.next_multiple_of(ALIGNMENT);
        gaps.push(start - end);
        places.push(Span { offset: start as u64, length: length as u64, ..Span::default() });
        end = start + length;
    }
    let mut head = Gather::default();
    encode_places(pickle, &places, &mut head);
    (head.into_memory(), gaps)
}

/// Appends a pickle, made elsewhere, the buffers of which lie in these places.
pub(crate) fn encode_pickle_and_buffers(pickle: &Bound<'_, PyBytes>, places: &[Span], out: &mut Gather) {
    encode_places(pickle.as_bytes().len(), places, out);
    out.extend_from(pickle.as_bytes(), || pickle.clone().into_any().unbind());
}

fn encode_places(pickle: usize, places: &[Span], out: &mut Gather) {
    out.push(PICKLE_AND_BUFFERS);
    out.extend_from_slice(&(places.len() as u64).to_le_bytes());
    for place in places {
        encode_place(place, out);
    }
    out.extend_from_slice(&(pickle as u64).to_le_bytes());
}

fn encode_place(place: &Span, out: &mut Gather) {
    for number in [u64::from(place.segment), place.offset, place.length] {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

/// What stands before a pickle of this length.
pub(crate) fn pickle_head(length: usize) -> [u8; 9] {
    run_head(PICKLE, length)
}

/// What stands before a bytes of this length, long ones only.
pub(crate) fn bytes_head(length: usize) -> [u8; 9] {
    run_head(LONG_BYTES, length)
}

fn run_head(tag: u8, length: usize) -> [u8; 9] {
    let mut head = [tag; 9];
    head[1..].copy_from_slice(&(length as u64).to_le_bytes());
    head
}

/// Reads values one after the other. A copy reads on from where this one stands.
#[derive(Clone, Copy)]
pub(crate) struct Decoder<'a, 'py> {
    bytes: &'a [u8],
    loads: &'a Bound<'py, PyAny>,
    /// Where the buffers lie that do not lie here.
    arena: Option<&'a ArenaReader>,
}

impl<'a, 'py> Decoder<'a, 'py> {
    /// Of these bytes; `loads` is what reads a pickle.
    pub(crate) fn new(bytes: &'a [u8], loads: &'a Bound<'py, PyAny>) -> Self {
        Self { bytes, loads, arena: None }
    }

    /// The same where there are buffers in this arena.
    pub(crate) fn with_buffers(self, arena: &'a ArenaReader) -> Self {
        Self { arena: Some(arena), ..self }
    }

    /// What has not been read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether the next value is a plain tuple.
    pub(crate) fn at_tuple(&self) -> bool {
        self.bytes.first() == Some(&TUPLE)
    }

    fn take(&mut self, length: usize) -> PyResult<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(length).ok_or_else(cut_off)?;
        self.bytes = rest;
        Ok(taken)
    }

    fn number<const N: usize>(&mut self) -> PyResult<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| cut_off())
    }

    fn run(&mut self, long: bool) -> PyResult<&'a [u8]> {
        let length = if long { u64::from_le_bytes(self.number()?) } else { u64::from(self.number::<1>()?[0]) };
        self.take(usize::try_from(length).map_err(|_| cut_off())?)
    }

    fn places(&mut self) -> PyResult<Vec<Span>> {
        let count = usize::try_from(u64::from_le_bytes(self.number()?)).map_err(|_| cut_off())?;
        // No more than there can be, before memory is asked for.
        let mut places = Vec::with_capacity(count.min(self.bytes.len() / PLACE_BYTES));
        for _ in 0..count {
            places.push(self.place()?);
        }
        Ok(places)
    }

    fn place(&mut self) -> PyResult<Span> {
        let segment = u32::try_from(u64::from_le_bytes(self.number()?)).map_err(|_| cut_off())?;
        let (offset, length) = (u64::from_le_bytes(self.number()?), u64::from_le_bytes(self.number()?));
        Ok(Span { segment, offset, length, ..Span::default() })
    }

    fn array_head(&mut self) -> PyResult<Head> {
        let [kind, flags, dimensions] = self.number()?;
        let length = |_| Ok(u64::from_le_bytes(self.number()?));
        Ok(Head { kind, flags, shape: (0..dimensions).map(length).collect::<PyResult<_>>()? })
    }

    /// The buffers at these places. A reader that has no arena is told how long they are.
    fn buffers(&self, places: &[Span]) -> PyResult<Bound<'py, PyList>> {
        let py = self.loads.py();
        match self.arena {
            Some(arena) => PyList::new(py, crate::buffers::give(py, arena, places)?),
            None => PyList::new(py, places.iter().map(|place| place.length)),
        }
    }

    /// The next value. After an error of the pickle's own the one behind it can still be read.
    pub(crate) fn next(&mut self) -> PyResult<Bound<'py, PyAny>> {
        self.value(DEEPEST)
    }

    /// With at most so many tuples inside one another: bytes that were not written here may say anything.
    fn value(&mut self, depth: u8) -> PyResult<Bound<'py, PyAny>> {
        let py = self.loads.py();
        let [tag] = self.number()?;
        Ok(match tag {
            NONE => py.None().into_bound(py),
            TRUE => PyBool::new(py, true).to_owned().into_any(),
            FALSE => PyBool::new(py, false).to_owned().into_any(),
            INT_1 => i64::from(self.number::<1>()?[0].cast_signed()).into_pyobject(py)?.into_any(),
            INT_4 => i64::from(i32::from_le_bytes(self.number()?)).into_pyobject(py)?.into_any(),
            INT_8 => i64::from_le_bytes(self.number()?).into_pyobject(py)?.into_any(),
            FLOAT => PyFloat::new(py, f64::from_le_bytes(self.number()?)).into_any(),
            SHORT_STR | LONG_STR => {
                let text = self.run(tag == LONG_STR)?;
                let length = ffi::Py_ssize_t::try_from(text.len())?;
                // SAFETY: as many bytes are there; they are checked to be text, and copied.
                unsafe {
                    let string = ffi::PyUnicode_DecodeUTF8(text.as_ptr().cast(), length, std::ptr::null());
                    Bound::from_owned_ptr_or_err(py, string)?
                }
            }
            SHORT_BYTES | LONG_BYTES => bytes_object(py, Foreign::own(self.run(tag == LONG_BYTES)?))?.into_any(),
            TUPLE => {
                let length = usize::from(self.number::<1>()?[0]);
                let depth = depth.checked_sub(1).ok_or_else(too_deep)?;
                let mut items = Vec::with_capacity(length);
                for _ in 0..length {
                    items.push(self.value(depth)?);
                }
                PyTuple::new(py, items)?.into_any()
            }
            ARRAY => {
                let head = self.array_head()?;
                return arrays::array(py, head, self.run(true)?);
            }
            ARRAY_ELSEWHERE => {
                let (head, place) = (self.array_head()?, self.place()?);
                let Some(arena) = self.arena else {
                    // For somebody who only tells of it.
                    return Ok(PyString::new(py, &format!("<array of shape {:?}>", head.shape)).into_any());
                };
                let items = arena.view(place).map_err(|_| cut_off())?;
                return arrays::array(py, head, items.bytes());
            }
            SCALAR => {
                let [kind] = self.number()?;
                return arrays::scalar(py, kind, self.run(false)?);
            }
            PICKLE => {
                let pickle = self.run(true)?;
                return crate::pickle::load(self.loads, Foreign::own(pickle), None);
            }
            PICKLE_AND_BUFFERS => {
                let places = self.places()?;
                let pickle = self.run(true)?;
                return crate::pickle::load(self.loads, Foreign::own(pickle), Some(&self.buffers(&places)?));
            }
            _ => return Err(PyValueError::new_err(format!("no value begins with {tag}"))),
        })
    }
}

/// The value that begins bytes which another process may change meanwhile. Long runs of bytes are copied once, into the
/// object; a long pickle is read where it lies.
pub(crate) fn decode_shared<'py>(bytes: Foreign<'_>, loads: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    if let Some([tag @ (LONG_BYTES | PICKLE), length @ ..]) = bytes.array::<9>() {
        let length = usize::try_from(u64::from_le_bytes(length)).map_err(|_| cut_off())?;
        let (_, run) = bytes.split_at(9).ok_or_else(cut_off)?;
        let (run, _) = run.split_at(length).ok_or_else(cut_off)?;
        return if tag == PICKLE {
            crate::pickle::load(loads, run, None)
        } else {
            bytes_object(loads.py(), run).map(Bound::into_any)
        };
    }
    let copy = bytes.to_vec().map_err(|error| PyMemoryError::new_err(error.to_string()))?;
    Decoder::new(&copy, loads).next()
}

/// The value of a result that has large buffers; none if it has not.
pub(crate) fn decode_apart<'py>(
    result: &RecordBytes<'_>,
    loads: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = loads.py();
    let Some([PICKLE_AND_BUFFERS, count @ ..]) = result.foreign().array::<9>() else { return Ok(None) };
    let count = usize::try_from(u64::from_le_bytes(count)).map_err(|_| cut_off())?;
    let head_bytes = count.checked_mul(PLACE_BYTES).and_then(|bytes| bytes.checked_add(9 + 8)).ok_or_else(cut_off)?;
    let (head, rest) = result.foreign().split_at(head_bytes).ok_or_else(cut_off)?;
    // What is read twice must be the same both times.
    let head = head.to_vec().map_err(|error| PyMemoryError::new_err(error.to_string()))?;
    let mut decoder = Decoder::new(&head[1..], loads);
    let places = decoder.places()?;
    let pickle_bytes = usize::try_from(u64::from_le_bytes(decoder.number()?)).map_err(|_| cut_off())?;
    let (pickle, _) = rest.split_at(pickle_bytes).ok_or_else(cut_off)?;
    let buffers = PyList::new(py, crate::buffers::hold(py, result, &places)?)?;
    crate::pickle::load(loads, pickle, Some(&buffers)).map(Some)
}

/// A copy of these bytes, if there is memory for it.
pub(crate) fn bytes_object<'py>(py: Python<'py>, bytes: Foreign<'_>) -> PyResult<Bound<'py, PyBytes>> {
    let length = ffi::Py_ssize_t::try_from(bytes.len())?;
    // SAFETY: as many bytes are there; they are copied, and any bytes will do. What comes back is a bytes.
    unsafe {
        let object = ffi::PyBytes_FromStringAndSize(bytes.as_ptr().cast(), length);
        Ok(Bound::from_owned_ptr_or_err(py, object)?.cast_into_unchecked())
    }
}

/// The value that these bytes hold; with `shared`, as if they were in memory that a worker can still write to.
#[pyfunction]
#[pyo3(signature = (data, *, shared))]
pub(crate) fn decode_value<'py>(py: Python<'py>, data: &[u8], shared: bool) -> PyResult<Bound<'py, PyAny>> {
    let loads = crate::pickle::names(py)?.loads.bind(py);
    if shared { decode_shared(Foreign::own(data), loads) } else { Decoder::new(data, loads).next() }
}

fn too_deep() -> PyErr {
    PyValueError::new_err("the bytes of a value nest too deeply")
}

fn cut_off() -> PyErr {
    PyValueError::new_err("the bytes of a value are cut off")
}
