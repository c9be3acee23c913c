//! Owns which values travel as they lie in memory: vectors of numbers, and with features `bytes::Bytes` and arrays of
//! `ndarray`. Never decides how they are sent.
//!
//! A type is known here by name alone. So a vector inside of another value is not: it travels as `serde` takes it apart.

use crate::codec::{Gather, Reader};
use bytemuck::{Pod, cast_slice, cast_slice_mut};
use std::any::{Any, TypeId};

/// The same value under its own name, if that is its type.
fn named<T: 'static, U: 'static>(value: T) -> Option<U> {
    (&mut Some(value) as &mut dyn Any).downcast_mut::<Option<U>>()?.take()
}

/// As many numbers as the next bytes are said to be.
fn numbers<N: Pod>(from: &mut Reader<'_>) -> Option<Vec<N>> {
    let bytes = from.take_counted()?.rest();
    let count = bytes.len() / size_of::<N>();
    if count * size_of::<N>() != bytes.len() {
        return None;
    }
    // Where it is large, the system gives zeroes, and they cost nothing.
    let mut numbers = vec![N::zeroed(); count];
    bytes.copy_to(cast_slice_mut(&mut numbers));
    Some(numbers)
}

/// What became of a value that may be plain.
pub(crate) enum Plain<T> {
    Value(T),
    /// It should be, but its bytes are cut short.
    Damaged,
    /// It is not of these.
    Other,
}

impl<T> Plain<T> {
    fn of(value: Option<T>) -> Self {
        value.map_or(Self::Damaged, Self::Value)
    }
}

macro_rules! vectors {
    ($($number:ty)*) => {
        /// Adds a value if it is plain; whether it is.
        pub(crate) fn encode<'a, T: 'static>(value: &'a T, to: &mut Gather<'a>) -> bool {
            let value = value as &dyn Any;
            $(if let Some(numbers) = value.downcast_ref::<Vec<$number>>() {
                to.push_run(cast_slice(numbers));
                return true;
            })*
            #[cfg(feature = "bytes")]
            if let Some(bytes) = value.downcast_ref::<bytes::Bytes>() {
                to.push_run(bytes);
                return true;
            }
            #[cfg(feature = "ndarray")]
            return arrays::encode(value, to);
            #[cfg(not(feature = "ndarray"))]
            false
        }

        /// Reads a value if it is plain.
        pub(crate) fn decode<T: 'static>(from: &mut Reader<'_>) -> Plain<T> {
            let this = TypeId::of::<T>();
            $(if this == TypeId::of::<Vec<$number>>() {
                return Plain::of(numbers::<$number>(from).and_then(named));
            })*
            #[cfg(feature = "bytes")]
            if this == TypeId::of::<bytes::Bytes>() {
                return Plain::of(numbers::<u8>(from).map(bytes::Bytes::from).and_then(named));
            }
            #[cfg(feature = "ndarray")]
            return arrays::decode(from);
            #[cfg(not(feature = "ndarray"))]
            Plain::Other
        }
    };
}

vectors! { u8 i8 u16 i16 u32 i32 u64 i64 u128 i128 usize isize f32 f64 }

/// Arrays in the order of their rows: how many dimensions, how long each is, and the numbers.
#[cfg(feature = "ndarray")]
mod arrays {
    use super::{Any, Gather, Plain, Pod, Reader, TypeId, cast_slice, named, numbers};
    use ndarray::{Array, ArrayD, Dimension, Ix1, Ix2, Ix3, IxDyn};

    fn encode_array<'a, N: Pod, D: Dimension>(array: &'a Array<N, D>, to: &mut Gather<'a>) {
        to.push_number(array.ndim());
        array.shape().iter().for_each(|length| to.push_number(*length));
        if let Some(numbers) = array.as_slice() {
            to.push_run(cast_slice(numbers));
        } else {
            let in_order: Vec<N> = array.iter().copied().collect();
            to.push_number(in_order.len() * size_of::<N>());
            to.bytes.extend_from_slice(cast_slice(&in_order));
        }
    }

    fn decode_array<N: Pod, D: Dimension>(from: &mut Reader<'_>) -> Option<Array<N, D>> {
        const MOST_DIMENSIONS: usize = 1 << 10;
        let dimensions = from.take_number().filter(|dimensions| *dimensions < MOST_DIMENSIONS)?;
        let shape = (0..dimensions).map(|_| from.take_number()).collect::<Option<Vec<_>>>()?;
        ArrayD::from_shape_vec(IxDyn(&shape), numbers(from)?).ok()?.into_dimensionality().ok()
    }

    macro_rules! arrays {
        ($($number:ty)*) => {
            pub(super) fn encode<'a>(value: &'a dyn Any, to: &mut Gather<'a>) -> bool {
                $(of_number!(encode $number, value, to);)*
                false
            }

            pub(super) fn decode<T: 'static>(from: &mut Reader<'_>) -> Plain<T> {
                let this = TypeId::of::<T>();
                $(of_number!(decode $number, this, from);)*
                Plain::Other
            }
        };
    }

    macro_rules! of_number {
        ($what:ident $number:ty, $value:ident, $with:ident) => {
            of_number!($what $number, $value, $with, Ix1 Ix2 Ix3 IxDyn);
        };
        (encode $number:ty, $value:ident, $to:ident, $($dimension:ty)*) => {
            $(if let Some(array) = $value.downcast_ref::<Array<$number, $dimension>>() {
                encode_array(array, $to);
                return true;
            })*
        };
        (decode $number:ty, $this:ident, $from:ident, $($dimension:ty)*) => {
            $(if $this == TypeId::of::<Array<$number, $dimension>>() {
                return Plain::of(decode_array::<$number, $dimension>($from).and_then(named));
            })*
        };
    }

    arrays! { u8 u32 u64 i32 i64 f32 f64 }
}
