//! Owns which values lie in memory as they travel: vectors of numbers, and with features arrays of `ndarray` and
//! `bytes::Bytes`. Never decides how they are sent.

use bytemuck::{Pod, cast_slice, cast_slice_mut};
use paceline_engine::Foreign;
use std::any::{Any, TypeId};

/// The same value under its own name, if that is its type.
fn into<T: 'static, U: 'static>(value: T) -> Option<U> {
    (&mut Some(value) as &mut dyn Any).downcast_mut::<Option<U>>()?.take()
}

/// As many numbers as these bytes are.
fn vector<N: Pod>(bytes: Foreign<'_>) -> Option<Vec<N>> {
    let count = bytes.len() / size_of::<N>();
    if count * size_of::<N>() != bytes.len() {
        return None;
    }
    // Zeroed by the system where it is large, which then is no work of its own.
    let mut numbers = vec![N::zeroed(); count];
    bytes.copy_to(cast_slice_mut(&mut numbers));
    Some(numbers)
}

macro_rules! vectors {
    ($($number:ty),*) => {
        /// Whether values of this type are plain.
        pub(crate) fn is_plain<T: 'static>() -> bool {
            let this = TypeId::of::<T>();
            [$(TypeId::of::<Vec<$number>>()),*].contains(&this) || more::is_plain(this)
        }

        /// The bytes of a plain value.
        pub(crate) fn bytes_of<T: 'static>(value: &T) -> Option<&[u8]> {
            let value = value as &dyn Any;
            $(if let Some(numbers) = value.downcast_ref::<Vec<$number>>() {
                return Some(cast_slice(numbers));
            })*
            more::bytes_of(value)
        }

        /// The plain value of these bytes, if there can be one.
        pub(crate) fn value_of<T: 'static>(bytes: Foreign<'_>) -> Option<T> {
            let this = TypeId::of::<T>();
            $(if this == TypeId::of::<Vec<$number>>() {
                return into(vector::<$number>(bytes)?);
            })*
            more::value_of(bytes)
        }
    };
}

vectors! { u8, i8, u16, i16, u32, i32, u64, i64, u128, i128, usize, isize, f32, f64 }

#[cfg(not(feature = "bytes"))]
mod more {
    use super::{Any, Foreign, TypeId};

    pub(super) fn is_plain(_: TypeId) -> bool {
        false
    }

    pub(super) fn bytes_of(_: &dyn Any) -> Option<&[u8]> {
        None
    }

    pub(super) fn value_of<T: 'static>(_: Foreign<'_>) -> Option<T> {
        None
    }
}

#[cfg(feature = "bytes")]
mod more {
    use super::{Any, Foreign, TypeId, into};
    use bytes::Bytes;

    pub(super) fn is_plain(this: TypeId) -> bool {
        this == TypeId::of::<Bytes>()
    }

    pub(super) fn bytes_of(value: &dyn Any) -> Option<&[u8]> {
        value.downcast_ref::<Bytes>().map(AsRef::as_ref)
    }

    pub(super) fn value_of<T: 'static>(bytes: Foreign<'_>) -> Option<T> {
        into(Bytes::from(bytes.to_vec().ok()?))
    }
}
