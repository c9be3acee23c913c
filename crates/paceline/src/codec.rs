//! Owns how values become bytes for another process, and bytes values again. Never knows what they are for.
//!
//! A value is in postcard's format, unless it is a plain vector (`plain.rs`): its length and its elements as they lie in
//! memory, left out of the other bytes and copied once. Both sides are the same program, so that they agree on which is
//! which by the type alone.

use crate::plain::{self, Plain};
use crate::whole::Whole;
use paceline_engine::{Foreign, Input};
use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a value could not be made of bytes, or bytes of a value, in words.
pub(crate) type Refusal = String;

/// A run of at least this length is copied by whoever sends it, and not before.
const LEFT_OUT_FROM: usize = 16 << 10;

/// Bytes being gathered, with runs that stay where they are until they are sent.
#[derive(Debug)]
pub struct Gather<'a> {
    pub(crate) bytes: &'a mut Vec<u8>,
    /// Each with the number of bytes that come before it and are of no run.
    pub(crate) runs: Vec<(usize, &'a [u8])>,
    run_bytes: usize,
}

impl<'a> Gather<'a> {
    /// Nothing yet, in memory that is used again.
    pub(crate) fn new(bytes: &'a mut Vec<u8>) -> Self {
        bytes.clear();
        Self { bytes, runs: Vec::new(), run_bytes: 0 }
    }

    /// How many bytes there are, with those of runs.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() + self.run_bytes
    }

    /// Adds a number.
    pub(crate) fn push_number(&mut self, number: usize) {
        self.bytes.extend_from_slice(&(number as u64).to_le_bytes());
    }

    /// Adds bytes that live as long as this, behind their number.
    pub(crate) fn push_run(&mut self, run: &'a [u8]) {
        self.push_number(run.len());
        self.push(run);
    }

    fn push(&mut self, run: &'a [u8]) {
        if run.len() < LEFT_OUT_FROM {
            self.bytes.extend_from_slice(run);
        } else {
            self.runs.push((self.bytes.len(), run));
            self.run_bytes += run.len();
        }
    }

    /// Adds what `add` does, behind its length.
    pub(crate) fn push_counted(&mut self, add: impl FnOnce(&mut Self) -> Result<(), Refusal>) -> Result<(), Refusal> {
        let (place, before) = (self.bytes.len(), self.len());
        self.bytes.extend_from_slice(&[0; LENGTH]);
        add(self)?;
        let length = (self.len() - before - LENGTH) as u64;
        self.bytes[place..place + LENGTH].copy_from_slice(&length.to_le_bytes());
        Ok(())
    }

    /// The same as the input of a job.
    pub(crate) fn input(&self) -> Input<'_> {
        Input { bytes: self.bytes, runs: self.runs.clone(), buffers: Vec::new(), shares: Vec::new() }
    }

    /// All of it, in order.
    pub(crate) fn parts(&self) -> Vec<&[u8]> {
        let (mut parts, mut begin) = (Vec::with_capacity(2 * self.runs.len() + 1), 0);
        for (end, run) in &self.runs {
            parts.extend([&self.bytes[begin..*end], run]);
            begin = *end;
        }
        parts.push(&self.bytes[begin..]);
        parts
    }
}

/// What is wrong when bytes are left.
const UNEVEN: &str = "`Serialize` writes more of it than `Deserialize` reads";

/// The bytes of a length.
const LENGTH: usize = 8;

/// Bytes being read: of this process, or such as another one can still write.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: Foreign<'a>,
    /// Where nobody else can write, the same bytes.
    own: Option<&'a [u8]>,
}

impl<'a> Reader<'a> {
    pub(crate) fn own(bytes: &'a [u8]) -> Self {
        Self { rest: Foreign::own(bytes), own: Some(bytes) }
    }

    pub(crate) fn foreign(bytes: Foreign<'a>) -> Self {
        Self { rest: bytes, own: None }
    }

    /// The next bytes.
    fn take(&mut self, length: usize) -> Option<Foreign<'a>> {
        let (taken, rest) = self.rest.split_at(length)?;
        self.rest = rest;
        self.own = self.own.and_then(|own| own.get(length..));
        Some(taken)
    }

    /// What is left.
    pub(crate) fn rest(&self) -> Foreign<'a> {
        self.rest
    }

    /// The next number.
    pub(crate) fn take_number(&mut self) -> Option<usize> {
        usize::try_from(u64::from_le_bytes(self.take(LENGTH)?.array()?)).ok()
    }

    /// The bytes behind the next length, to be read by themselves.
    pub(crate) fn take_counted(&mut self) -> Option<Self> {
        let length = self.take_number()?;
        let own = self.own.and_then(|own| own.get(..length));
        Some(Self { rest: self.take(length)?, own })
    }

    /// A value that is all there is.
    ///
    /// # Errors
    /// When its bytes are not its own, or more are left: its two sides do not agree, and it would be another value.
    pub(crate) fn whole<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Refusal>) -> Result<T, Refusal> {
        let value = read(self)?;
        if self.rest.is_empty() { Ok(value) } else { Err(UNEVEN.to_owned()) }
    }

    /// A value in postcard's format.
    pub(crate) fn parse<T: DeserializeOwned>(&mut self) -> Result<T, Refusal> {
        let parsed = if let Some(own) = self.own {
            postcard::take_from_bytes(own).map(|(value, rest)| (value, own.len() - rest.len()))
        } else {
            // What may change meanwhile is read from a copy.
            let copy = self.rest.to_vec().map_err(|error| error.to_string())?;
            postcard::take_from_bytes(&copy).map(|(value, rest)| (value, copy.len() - rest.len()))
        };
        let (value, length) = parsed.map_err(refusal)?;
        self.take(length);
        Ok(value)
    }
}

/// What postcard says, and where it is too short, what is behind it.
fn refusal(error: postcard::Error) -> Refusal {
    match error {
        // What was said is lost.
        postcard::Error::SerdeSerCustom => {
            "`Serialize` refuses it, or leaves out a field of it (`#[serde(skip_serializing_if)]`), which would not be \
             missed where it is read"
                .to_owned()
        }
        postcard::Error::WontImplement | postcard::Error::NotYetImplemented => {
            "its type can be read only where values say what they are, as in JSON (`#[serde(untagged)]`, \
             `#[serde(flatten)]`, `serde_json::Value`)"
                .to_owned()
        }
        postcard::Error::DeserializeUnexpectedEnd => {
            "`Deserialize` reads more of it than `Serialize` has written".to_owned()
        }
        error => error.to_string(),
    }
}

/// Writes to the end of a vector.
struct ToVec<'a>(&'a mut Vec<u8>);

impl Flavor for ToVec<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Adds a value.
pub(crate) fn encode<'a, T: Serialize + 'static>(value: &'a T, to: &mut Gather<'a>) -> Result<(), Refusal> {
    if plain::encode(value, to) {
        return Ok(());
    }
    postcard::serialize_with_flavor(&Whole(value), ToVec(to.bytes)).map_err(refusal)
}

/// Reads a value.
pub(crate) fn decode<T: DeserializeOwned + 'static>(from: &mut Reader<'_>) -> Result<T, Refusal> {
    match plain::decode(from) {
        Plain::Value(value) => Ok(value),
        Plain::Damaged => Err("the bytes of a vector or an array are not what they should be".to_owned()),
        Plain::Other => from.parse(),
    }
}

/// Arguments that can go to another process: a tuple of values that `serde` can take apart and put together.
pub trait Arguments: Sized + Send + 'static {
    /// Adds them.
    ///
    /// # Errors
    /// When a value refuses to be taken apart.
    fn encode<'a>(&'a self, to: &mut Gather<'a>) -> Result<(), Refusal>;

    /// Reads them.
    ///
    /// # Errors
    /// When these are not their bytes.
    fn decode(from: &mut Reader<'_>) -> Result<Self, Refusal>;
}

impl Arguments for () {
    fn encode<'a>(&'a self, _: &mut Gather<'a>) -> Result<(), Refusal> {
        Ok(())
    }

    fn decode(_: &mut Reader<'_>) -> Result<Self, Refusal> {
        Ok(())
    }
}

macro_rules! tuples {
    ($(($($type:ident $name:ident),*))*) => {$(
        impl<$($type: Serialize + DeserializeOwned + Send + 'static),*> Arguments for ($($type,)*) {
            fn encode<'a>(&'a self, to: &mut Gather<'a>) -> Result<(), Refusal> {
                let ($($name,)*) = self;
                $(encode($name, to)?;)*
                Ok(())
            }

            fn decode(from: &mut Reader<'_>) -> Result<Self, Refusal> {
                Ok(($(decode::<$type>(from)?,)*))
            }
        }
    )*};
}

tuples! {
    (A a)
    (A a, B b)
    (A a, B b, C c)
    (A a, B b, C c, D d)
    (A a, B b, C c, D d, E e)
    (A a, B b, C c, D d, E e, F f)
    (A a, B b, C c, D d, E e, F f, G g)
    (A a, B b, C c, D d, E e, F f, G g, H h)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// What comes out of a value's bytes, as they come from this process and as they come from another one.
    fn there_and_back<T: Serialize + DeserializeOwned + Send + 'static>(value: T) -> [T; 2] {
        let mut scratch = vec![1, 2, 3];
        let arguments = (7_u8, value, "end".to_owned());
        let mut gather = Gather::new(&mut scratch);
        arguments.encode(&mut gather).unwrap();
        let bytes = gather.parts().concat();
        assert_eq!(bytes.len(), gather.len());
        [Reader::own(&bytes), Reader::foreign(Foreign::own(&bytes))].map(|mut reader| {
            let (before, value, after) = <(u8, T, String)>::decode(&mut reader).unwrap();
            assert_eq!((before, after.as_str(), reader.rest().len()), (7, "end", 0));
            value
        })
    }

    #[test]
    fn values_come_out_as_they_went_in() {
        assert!(there_and_back(HashMap::from([(1, Some("a".to_owned()))])).iter().all(|map| map.len() == 1));
        for length in [0, 3, LEFT_OUT_FROM / 8 - 1, LEFT_OUT_FROM / 8, 100_000] {
            let numbers: Vec<u64> = (0..length as u64).collect();
            assert!(there_and_back(numbers.clone()).iter().all(|back| *back == numbers));
        }
    }

    #[test]
    fn damaged_bytes_are_refused_and_never_read_past_their_end() {
        let mut scratch = Vec::new();
        let arguments = (vec![1.0_f64; 5], "text".to_owned());
        let mut gather = Gather::new(&mut scratch);
        arguments.encode(&mut gather).unwrap();
        let bytes = gather.parts().concat();
        for length in 0..bytes.len() {
            for mut reader in [Reader::own(&bytes[..length]), Reader::foreign(Foreign::own(&bytes[..length]))] {
                assert!(<(Vec<f64>, String)>::decode(&mut reader).is_err(), "{length}");
            }
        }
        let mut far = bytes.clone();
        far[..LENGTH].fill(0xff);
        assert!(<(Vec<f64>, String)>::decode(&mut Reader::own(&far)).is_err());
        let mut odd = bytes;
        odd[0] -= 1;
        assert!(<(Vec<f64>, String)>::decode(&mut Reader::own(&odd)).is_err());
    }

    #[cfg(feature = "bytes")]
    #[test]
    fn bytes_come_out_as_they_went_in() {
        let bytes = bytes::Bytes::from(vec![5; 40_000]);
        assert!(there_and_back(bytes.clone()).iter().all(|back| *back == bytes));
    }

    #[cfg(feature = "ndarray")]
    #[test]
    fn arrays_come_out_as_they_went_in_whatever_their_layout() {
        use ndarray::{Array, Array2};
        let array = Array2::from_shape_fn((70, 50), |(row, column)| (row * 100 + column) as u64);
        assert!(there_and_back(array.clone()).iter().all(|back| *back == array));
        let turned = array.reversed_axes();
        assert!(there_and_back(turned.clone()).iter().all(|back| *back == turned));
        assert!(there_and_back(turned.clone().into_dyn()).iter().all(|back| *back == turned.clone().into_dyn()));
        let empty = Array::<i32, _>::zeros((0, 3));
        assert!(there_and_back(empty.clone()).iter().all(|back| back.dim() == (0, 3)));
        // Others travel as serde has them.
        let words = Array2::from_elem((2, 2), "word".to_owned());
        assert!(there_and_back(words.clone()).iter().all(|back| *back == words));
    }
}
