//! Owns how values become bytes for another process, and bytes values again. Never knows what they are for.
//!
//! A value is in postcard's format, unless it is a plain vector (`plain.rs`): its length and its elements as they lie in
//! memory, left out of the other bytes and copied once. Both sides are the same program, so that they agree on which is
//! which by the type alone.

use crate::plain;
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

    /// Adds bytes that live as long as this.
    pub(crate) fn push(&mut self, run: &'a [u8]) {
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
    pub(crate) fn take(&mut self, length: usize) -> Option<Foreign<'a>> {
        let (taken, rest) = self.rest.split_at(length)?;
        self.rest = rest;
        self.own = self.own.and_then(|own| own.get(length..));
        Some(taken)
    }

    /// The bytes behind the next length, to be read by themselves.
    pub(crate) fn take_counted(&mut self) -> Option<Self> {
        let length = usize::try_from(u64::from_le_bytes(self.take(LENGTH)?.array()?)).ok()?;
        let own = self.own.and_then(|own| own.get(..length));
        Some(Self { rest: self.take(length)?, own })
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
        let (value, length) = parsed.map_err(|error| error.to_string())?;
        self.take(length);
        Ok(value)
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
    if let Some(run) = plain::bytes_of(value) {
        to.bytes.extend_from_slice(&(run.len() as u64).to_le_bytes());
        to.push(run);
        return Ok(());
    }
    postcard::serialize_with_flavor(value, ToVec(to.bytes)).map_err(|error| error.to_string())
}

/// Reads a value.
pub(crate) fn decode<T: DeserializeOwned + 'static>(from: &mut Reader<'_>) -> Result<T, Refusal> {
    if plain::is_plain::<T>() {
        let run = from.take_counted().and_then(|run| plain::value_of(run.rest));
        return run.ok_or_else(|| "the bytes of a vector are cut short".to_owned());
    }
    from.parse()
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
