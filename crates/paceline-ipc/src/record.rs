//! Owns how the outcomes of a chunk's items stand one after the other: kind, length, bytes; or kind and the span of a
//! segment of its own, for a large one. Never knows what the kinds mean.

use crate::arena::Span;
use crate::foreign::Foreign;

/// An outcome of at least this many bytes gets a segment of its own.
pub const OUT_OF_LINE_FROM: usize = 64 << 10;
/// The bytes before a record that stands in line.
pub const HEADER: usize = 5;
/// The bytes of a record that stands elsewhere.
pub const ELSEWHERE: usize = 21;

const ELSEWHERE_BIT: u8 = 0x80;

/// The bytes of one outcome.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// These.
    Here(Foreign<'a>),
    /// Those in this segment of the worker's arena.
    Elsewhere(Span),
}

/// The header of a record in line. `kind` is below 128, and `length` below [`OUT_OF_LINE_FROM`].
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "longer outcomes stand elsewhere")]
pub fn header(kind: u8, length: usize) -> [u8; HEADER] {
    debug_assert!(kind < ELSEWHERE_BIT && length < OUT_OF_LINE_FROM);
    let [a, b, c, d] = (length as u32).to_le_bytes();
    [kind, a, b, c, d]
}

/// A whole record whose bytes begin a segment of their own.
#[must_use]
pub fn elsewhere(kind: u8, segment: u32, length: u64) -> [u8; ELSEWHERE] {
    debug_assert!(kind < ELSEWHERE_BIT);
    let mut record = [0; ELSEWHERE];
    record[0] = kind | ELSEWHERE_BIT;
    record[1..5].copy_from_slice(&segment.to_le_bytes());
    record[5..13].copy_from_slice(&length.to_le_bytes());
    record
}

/// Walks the records in `bytes`; ends early, rather than misread, where they are cut off.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    bytes: Foreign<'a>,
}

impl<'a> Records<'a> {
    /// The records that begin at the first byte.
    #[must_use]
    pub fn new(bytes: Foreign<'a>) -> Self {
        Self { bytes }
    }

    /// How many bytes the records not yet walked may take.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.bytes.len()
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = (u8, Content<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let [kind] = self.bytes.array()?;
        if kind & ELSEWHERE_BIT == 0 {
            let [_, length @ ..] = self.bytes.array::<HEADER>()?;
            let (_, content) = self.bytes.split_at(HEADER)?;
            let (content, rest) = content.split_at(usize::try_from(u32::from_le_bytes(length)).ok()?)?;
            self.bytes = rest;
            Some((kind, Content::Here(content)))
        } else {
            let record = self.bytes.array::<ELSEWHERE>()?;
            let segment = u32::from_le_bytes(record[1..5].try_into().ok()?);
            let length = u64::from_le_bytes(record[5..13].try_into().ok()?);
            (_, self.bytes) = self.bytes.split_at(ELSEWHERE)?;
            Some((kind & !ELSEWHERE_BIT, Content::Elsewhere(Span { segment, length, ..Span::default() })))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn records_come_back_as_written(outcomes in proptest::collection::vec(
            (0u8..128, proptest::collection::vec(any::<u8>(), 0..100), any::<Option<(u32, u64)>>()), 0..20,
        )) {
            let mut bytes = Vec::new();
            for (kind, content, place) in &outcomes {
                if let Some((segment, length)) = place {
                    bytes.extend(elsewhere(*kind, *segment, *length));
                } else {
                    bytes.extend(header(*kind, content.len()));
                    bytes.extend(content);
                }
            }
            let read: Vec<_> = Records::new(Foreign::own(&bytes)).collect();
            prop_assert_eq!(read.len(), outcomes.len());
            for ((kind, content), (written, expected, place)) in read.into_iter().zip(&outcomes) {
                prop_assert_eq!(kind, *written);
                match (content, place) {
                    (Content::Elsewhere(span), Some((segment, length))) => {
                        prop_assert_eq!(span, Span { segment: *segment, length: *length, ..Span::default() });
                    }
                    (Content::Here(bytes), None) => prop_assert_eq!(&bytes.to_vec().unwrap(), expected),
                    (other, _) => prop_assert!(false, "{:?}", other),
                }
            }
        }

        #[test]
        fn any_bytes_end_in_fewer_records_and_never_in_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Records::new(Foreign::own(&bytes)).count() <= bytes.len());
        }
    }
}
