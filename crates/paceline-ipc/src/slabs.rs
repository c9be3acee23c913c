//! Owns the sharing of segments by payloads that are too large for a slot and too small for a segment of their own: a
//! segment costs a page, a mapping and an entry in the directory, and a hundred thousand may wait at once. Never knows
//! what they mean.

use crate::arena::{AllocateError, Arena, Span};
use std::collections::HashMap;

/// A payload of at least this many bytes gets a segment of its own.
const OWN_SEGMENT_FROM: u64 = 64 << 10;
/// The size of a segment that is shared.
pub(crate) const SLAB_BYTES: u64 = 1 << 20;
/// Payloads begin at multiples of this.
const ALIGNMENT: u64 = 16;

/// A place for a payload, to be filled by the arena's owner. Plain data: freeing it is the holder's to do.
#[derive(Clone, Copy, Debug)]
pub struct Placed {
    /// Where it lies, for readers.
    pub span: Span,
    /// Where it is mapped in the owner's process, valid until it is freed.
    pub address: *mut u8,
}

// SAFETY: it is an address and some numbers; whoever writes through it answers for the synchronisation.
unsafe impl Send for Placed {}

/// Which segments of an arena are shared, and by how many. Begins to fill one, and goes on to the next when it is full;
/// each is freed with its last payload.
#[derive(Debug, Default)]
pub struct Slabs {
    filling: Option<Filling>,
    payloads: HashMap<u32, u32>,
}

#[derive(Debug)]
struct Filling {
    segment: u32,
    address: *mut u8,
    used: u64,
}

// SAFETY: the address is only handed on, as in `Placed`.
unsafe impl Send for Filling {}

impl Slabs {
    /// A place for `length` bytes.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn place(&mut self, arena: &mut Arena, length: u64) -> Result<Placed, AllocateError> {
        if length >= OWN_SEGMENT_FROM {
            let allocation = arena.allocate(length)?;
            let span = Span { segment: allocation.segment, length, ..Span::default() };
            return Ok(Placed { span, address: allocation.address });
        }
        let room = length.next_multiple_of(ALIGNMENT);
        let filling = match &mut self.filling {
            Some(filling) if filling.used + room <= SLAB_BYTES => filling,
            // The one before is freed with its last payload; it has some, or there would have been room.
            filling => {
                let allocation = arena.allocate(SLAB_BYTES)?;
                filling.insert(Filling { segment: allocation.segment, address: allocation.address, used: 0 })
            }
        };
        let offset = filling.used;
        filling.used += room;
        *self.payloads.entry(filling.segment).or_default() += 1;
        #[expect(clippy::cast_possible_truncation, reason = "a slab is small")]
        // SAFETY: the offset lies inside the slab, which stays mapped while it is in use.
        let address = unsafe { filling.address.add(offset as usize) };
        Ok(Placed { span: Span { segment: filling.segment, offset, length, ..Span::default() }, address })
    }

    /// Frees a place.
    pub fn release(&mut self, arena: &mut Arena, span: Span) {
        let Some(payloads) = self.payloads.get_mut(&span.segment) else { return arena.release(span.segment) };
        *payloads -= 1;
        if *payloads > 0 {
            return;
        }
        match &mut self.filling {
            Some(filling) if filling.segment == span.segment => filling.used = 0,
            _ => {
                self.payloads.remove(&span.segment);
                arena.release(span.segment);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn places_in_use_never_overlap_and_all_are_freed(
            steps in proptest::collection::vec((0u64..100_000, any::<proptest::sample::Index>(), 0u32..3), 1..400),
        ) {
            let (mut arena, mut slabs) = (Arena::create("test").unwrap(), Slabs::default());
            let mut live: Vec<(Placed, u8)> = Vec::new();
            let holds = |(placed, mark): &(Placed, u8)| {
                let length = usize::try_from(placed.span.length).unwrap();
                // SAFETY: the place is in use, and as long as its span says.
                let bytes = unsafe { std::slice::from_raw_parts(placed.address, length) };
                bytes.iter().all(|byte| byte == mark)
            };
            for (number, (length, which, action)) in steps.into_iter().enumerate() {
                if action == 0 && !live.is_empty() {
                    let one = live.swap_remove(which.index(live.len()));
                    prop_assert!(holds(&one));
                    slabs.release(&mut arena, one.0.span);
                } else {
                    let placed = slabs.place(&mut arena, length).unwrap();
                    let mark = u8::try_from(number % 251).unwrap();
                    // SAFETY: the place is ours, and as long as was asked for.
                    unsafe { placed.address.write_bytes(mark, usize::try_from(length).unwrap()) };
                    live.push((placed, mark));
                }
            }
            for one in live {
                prop_assert!(holds(&one));
                slabs.release(&mut arena, one.0.span);
            }
            prop_assert!(slabs.payloads.len() <= 1 && slabs.payloads.values().all(|count| *count == 0));
        }
    }
}
