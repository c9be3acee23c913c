//! Owns payloads of medium size that a program sends again and again: they are written once and kept for a while, to be
//! known again by where they lie in the program's memory and what they hold. Never believes the former alone: the memory
//! may hold something else by now.
//!
//! What is sent once is only remembered, by a sample of its bytes; what is sent a second time is written into a slab here;
//! from then on it is found. A slab is used again, the oldest first, when nobody uses anything in it.

use crate::arena::{Arena, Span};
use crate::slabs::{Placed, SLAB_BYTES};
use std::collections::{HashMap, VecDeque};

/// To look for a shorter payload takes as long as to copy it.
pub const SHORTEST: usize = 4 << 10;
/// Longer ones have segments of their own.
pub const LONGEST: usize = 64 << 10;
/// So many are remembered; then all are forgotten.
const MOST_SEEN: usize = 16 << 10;
/// Payloads begin at multiples of this.
const ALIGNMENT: u64 = 64;

/// Where a payload lies in the program's memory, and how long it is.
pub type Key = (usize, usize);

/// What is known of a payload.
#[derive(Clone, Copy, Debug)]
pub enum Sighting {
    /// Nothing, or it has changed.
    First,
    /// It was most likely sent before: worth a place here.
    Second,
    /// It was here when it was sent last, unless it has changed since. Has one user more from now on.
    Known(Placed),
}

/// The payloads that are sent again and again.
#[derive(Debug)]
pub struct Repeats {
    seen: HashMap<Key, Seen>,
    /// The oldest first; the last is being filled.
    slabs: VecDeque<Slab>,
    most_slabs: usize,
    next_serial: u64,
}

#[derive(Debug)]
struct Seen {
    sample: u64,
    /// And the serial number of the slab.
    placed: Option<(Placed, u64)>,
}

#[derive(Debug)]
struct Slab {
    segment: u32,
    serial: u64,
    address: *mut u8,
    filled: u64,
    users: u32,
}

// SAFETY: the address is only handed on, as in `Placed`.
unsafe impl Send for Slab {}

/// Some of the bytes, from everywhere in it, as one number. What has changed has most likely another.
#[must_use]
pub fn sample(bytes: &[u8]) -> u64 {
    const LOOKS: usize = 4;
    let (words, _) = bytes.as_chunks::<8>();
    let last = words.len().saturating_sub(1);
    let looked_at = (0..=LOOKS).filter_map(|look| words.get(last * look / LOOKS));
    looked_at.fold(bytes.len() as u64, |sum, word| sum.rotate_left(13).wrapping_mul(31) ^ u64::from_le_bytes(*word))
}

impl Repeats {
    /// None yet; in at most so many bytes of memory.
    #[must_use]
    pub fn new(most_bytes: u64) -> Self {
        let most_slabs = usize::try_from(most_bytes / SLAB_BYTES).unwrap_or(usize::MAX);
        Self { seen: HashMap::new(), slabs: VecDeque::new(), most_slabs, next_serial: 0 }
    }

    /// Notes that a payload is about to be sent, and tells what is known of it.
    pub fn look(&mut self, key: Key, sample: u64) -> Sighting {
        if let Some(seen) = self.seen.get_mut(&key) {
            if let Some((placed, serial)) = seen.placed
                && let Some(slab) = self.slabs.iter_mut().rfind(|slab| slab.serial == serial)
                && seen.sample == sample
            {
                slab.users += 1;
                return Sighting::Known(placed);
            }
            let is_same = seen.sample == sample;
            *seen = Seen { sample, placed: None };
            return if is_same { Sighting::Second } else { Sighting::First };
        }
        if self.seen.len() >= MOST_SEEN {
            self.seen.clear();
        }
        self.seen.insert(key, Seen { sample, placed: None });
        Sighting::First
    }

    /// A place for `length` bytes, to be filled by the arena's owner, with one user; none if there is no room for it.
    pub fn place(&mut self, arena: &mut Arena, length: usize) -> Option<Placed> {
        let length = length as u64;
        let room = length.next_multiple_of(ALIGNMENT);
        if room > SLAB_BYTES {
            return None;
        }
        if self.slabs.back().is_none_or(|slab| slab.filled + room > SLAB_BYTES) {
            self.begin_slab(arena)?;
        }
        let slab = self.slabs.back_mut()?;
        let offset = slab.filled;
        slab.filled += room;
        slab.users += 1;
        // SAFETY: the offset lies inside the slab, which stays mapped while it is in use.
        let address = unsafe { slab.address.add(usize::try_from(offset).ok()?) };
        Some(Placed { span: Span { segment: slab.segment, offset, length, ..Span::default() }, address })
    }

    /// Puts an empty slab behind the others.
    fn begin_slab(&mut self, arena: &mut Arena) -> Option<()> {
        let serial = self.next_serial;
        let slab = if self.slabs.len() < self.most_slabs {
            let allocation = arena.allocate(SLAB_BYTES).ok()?;
            Slab { segment: allocation.segment, serial, address: allocation.address, filled: 0, users: 0 }
        } else {
            if self.slabs.front()?.users > 0 {
                return None;
            }
            Slab { serial, filled: 0, ..self.slabs.pop_front()? }
        };
        self.next_serial += 1;
        self.slabs.push_back(slab);
        Some(())
    }

    /// Notes that a payload was written into its place, and is to be found there.
    pub fn know(&mut self, key: Key, sample: u64, placed: Placed) {
        let slab = self.slabs.iter().rfind(|slab| slab.segment == placed.span.segment);
        if let Some(slab) = slab {
            self.seen.insert(key, Seen { sample, placed: Some((placed, slab.serial)) });
        }
    }

    /// What was known holds something else now: it has a user less, and is to be written anew when it is sent next.
    pub fn differs(&mut self, key: Key, placed: &Placed) {
        self.release(placed.span);
        if let Some(seen) = self.seen.get_mut(&key) {
            seen.placed = None;
        }
    }

    /// A payload has one user less; false if it is none of these.
    pub fn release(&mut self, span: Span) -> bool {
        let slab = self.slabs.iter_mut().rfind(|slab| slab.segment == span.segment);
        if let Some(slab) = slab {
            slab.users -= 1;
            return true;
        }
        false
    }

    /// Forgets all, and gives back the slabs in which nobody uses anything.
    pub fn forget(&mut self, arena: &mut Arena) {
        self.seen = HashMap::new();
        self.slabs.retain(|slab| {
            if slab.users == 0 {
                arena.release(slab.segment);
            }
            slab.users > 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Sends a payload as an engine does; where it was written, if it was.
    fn send(repeats: &mut Repeats, arena: &mut Arena, payload: &[u8]) -> Option<Placed> {
        let (key, sample) = ((payload.as_ptr() as usize, payload.len()), sample(payload));
        match repeats.look(key, sample) {
            Sighting::First => None,
            Sighting::Known(placed) => {
                if held(&placed) == payload {
                    return Some(placed);
                }
                repeats.differs(key, &placed);
                None
            }
            Sighting::Second => {
                let placed = repeats.place(arena, payload.len())?;
                // SAFETY: the place is ours, and as long as was asked for.
                unsafe { placed.address.copy_from_nonoverlapping(payload.as_ptr(), payload.len()) };
                repeats.know(key, sample, placed);
                Some(placed)
            }
        }
    }

    fn held(placed: &Placed) -> &[u8] {
        // SAFETY: the place is in use, and as long as its span says.
        unsafe { std::slice::from_raw_parts(placed.address, usize::try_from(placed.span.length).unwrap()) }
    }

    #[test]
    fn what_is_sent_a_third_time_is_found_where_it_was_written_the_second_time() {
        let (mut arena, mut repeats) = (Arena::create("test").unwrap(), Repeats::new(SLAB_BYTES));
        let payload = vec![7; SHORTEST];
        assert!(send(&mut repeats, &mut arena, &payload).is_none());
        let second = send(&mut repeats, &mut arena, &payload).unwrap();
        let third = send(&mut repeats, &mut arena, &payload).unwrap();
        assert_eq!(second.span, third.span);
    }

    #[test]
    fn what_changes_where_no_sample_sees_it_is_written_anew() {
        let (mut arena, mut repeats) = (Arena::create("test").unwrap(), Repeats::new(SLAB_BYTES));
        let mut payload = vec![7; SHORTEST];
        for _ in 0..3 {
            send(&mut repeats, &mut arena, &payload);
        }
        payload[100] = 8;
        assert!(send(&mut repeats, &mut arena, &payload).is_none());
        assert_eq!(send(&mut repeats, &mut arena, &payload).map(|placed| held(&placed)[100]), Some(8));
    }

    #[test]
    fn a_slab_whose_payloads_are_in_use_is_not_used_again_and_one_without_users_is() {
        let (mut arena, mut repeats) = (Arena::create("test").unwrap(), Repeats::new(SLAB_BYTES));
        let payloads: Vec<_> = (0..17u8).map(|mark| vec![mark; LONGEST]).collect();
        let mut places = Vec::new();
        for _ in 0..2 {
            places = payloads.iter().map(|payload| send(&mut repeats, &mut arena, payload)).collect();
        }
        assert!(places[..16].iter().all(Option::is_some) && places[16].is_none(), "a slab has room for sixteen");
        for placed in places.into_iter().flatten() {
            assert!(repeats.release(placed.span));
        }
        assert!(send(&mut repeats, &mut arena, &payloads[16]).is_some());
        assert!(send(&mut repeats, &mut arena, &payloads[0]).is_none_or(|placed| held(&placed)[0] == 0));
    }

    #[test]
    fn what_is_forgotten_gives_its_memory_back_when_nobody_uses_it() {
        let (mut arena, mut repeats) = (Arena::create("test").unwrap(), Repeats::new(SLAB_BYTES));
        let payload = vec![7; SHORTEST];
        send(&mut repeats, &mut arena, &payload);
        let placed = send(&mut repeats, &mut arena, &payload).unwrap();
        repeats.forget(&mut arena);
        assert_eq!((repeats.slabs.len(), held(&placed)), (1, &payload[..]));
        assert!(repeats.release(placed.span));
        repeats.forget(&mut arena);
        assert!(repeats.slabs.is_empty() && !repeats.release(placed.span));
    }

    proptest! {
        #[test]
        fn what_is_in_use_stays_as_it_was_sent_however_the_programs_memory_changes(
            steps in proptest::collection::vec((0usize..40, any::<proptest::sample::Index>(), 0u8..8), 1..600),
        ) {
            let (mut arena, mut repeats) = (Arena::create("test").unwrap(), Repeats::new(2 * SLAB_BYTES));
            let mut memory: Vec<_> = (0..40).map(|number| vec![0u8; SHORTEST + number * 1_500]).collect();
            let mut live: Vec<(Placed, Vec<u8>)> = Vec::new();
            for (number, which, action) in steps {
                match action {
                    // Somewhere, where a sample may not see it.
                    0 => {
                        let place = which.index(memory[number].len());
                        memory[number][place] = memory[number][place].wrapping_add(1);
                    }
                    1 | 2 if !live.is_empty() => {
                        let (placed, sent) = live.swap_remove(which.index(live.len()));
                        prop_assert_eq!(held(&placed), &sent[..]);
                        prop_assert!(repeats.release(placed.span));
                    }
                    3 if number == 0 => repeats.forget(&mut arena),
                    _ => {
                        if let Some(placed) = send(&mut repeats, &mut arena, &memory[number]) {
                            live.push((placed, memory[number].clone()));
                        }
                    }
                }
            }
            prop_assert!(repeats.slabs.len() <= 2);
            for (placed, sent) in &live {
                prop_assert_eq!(held(placed), &sent[..]);
            }
            prop_assert_eq!(repeats.slabs.iter().map(|slab| slab.users as usize).sum::<usize>(), live.len());
        }
    }
}
