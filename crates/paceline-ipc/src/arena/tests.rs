//! The tests of the arena, from both sides.

use super::*;
use proptest::prelude::*;
use std::os::fd::AsFd;

fn pair() -> (Arena, ArenaReader) {
    let arena = Arena::create("test").unwrap();
    let file = MemoryFile::from_descriptor(arena.file().as_fd().try_clone_to_owned().unwrap()).unwrap();
    (arena, ArenaReader::new(file).unwrap())
}

fn fill(allocation: Allocation, bytes: &[u8]) -> Span {
    assert!(bytes.len() as u64 <= allocation.capacity);
    // SAFETY: the allocation is mapped and large enough.
    unsafe { allocation.address.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    Span { segment: allocation.segment, length: bytes.len() as u64, ..Span::default() }
}

#[test]
fn a_freed_segment_is_used_again() {
    let (mut arena, reader) = pair();
    let first = arena.allocate(10_000).unwrap();
    let second = arena.allocate(10_000).unwrap();
    assert_ne!(first.segment, second.segment);
    reader.release(first.segment);
    assert_eq!(arena.allocate(10_100).unwrap().segment, first.segment);
    arena.release(second.segment);
    assert_eq!(arena.allocate(9_900).unwrap().segment, second.segment);
}

#[test]
fn a_span_outside_its_segment_is_refused() {
    let (mut arena, reader) = pair();
    let span = fill(arena.allocate(5).unwrap(), b"hello");
    assert_eq!(reader.view(span).unwrap().bytes(), b"hello");
    for bad in [
        Span { segment: 1, ..span },
        Span { segment: u32::MAX, ..span },
        Span { offset: 4092, ..span },
        Span { offset: u64::MAX, ..span },
        Span { length: u64::MAX, ..span },
    ] {
        assert!(reader.view(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_long_span_over_a_hole_is_refused_and_fills_nothing() {
    let (mut arena, reader) = pair();
    let segment = arena.allocate(5).unwrap().segment;
    let entry = reader.shared.entry(segment).unwrap();
    entry.capacity.store(1 << 40, Ordering::Relaxed);
    assert!(reader.view(Span { segment, length: 1 << 30, ..Span::default() }).is_err());
    assert!(reader.shared.file.backed_bytes() < 1 << 20);
}

#[test]
fn a_segment_that_is_held_is_freed_by_the_last_release() {
    let (mut arena, reader) = pair();
    let first = arena.allocate(10_000).unwrap().segment;
    reader.hold(first);
    reader.hold(first);
    reader.release(first);
    reader.release(first);
    let second = arena.allocate(10_000).unwrap().segment;
    assert_ne!(second, first);
    reader.release(second);
    reader.release(first);
    assert_eq!(reader.any_held.load(Ordering::Relaxed), 0);
    let mut both = [arena.allocate(10_000).unwrap().segment, arena.allocate(10_000).unwrap().segment];
    both.sort_unstable();
    assert_eq!(both, [first, second]);
}

#[test]
fn own_copies_are_changed_for_oneself_and_outlive_the_segment_when_detached() {
    let mut arena = Arena::create_lent("test", WARM_LIMIT).unwrap();
    let reader = ArenaReader::read_only(arena.file().try_clone().unwrap()).unwrap();
    let bytes: Vec<u8> = (0..20_000u32).map(|number| number.to_le_bytes()[0]).collect();
    let span = fill(arena.allocate(20_000).unwrap(), &bytes);
    let part = Span { offset: 5_000, length: 10_000, ..span };
    let (one, two) = (reader.own_copy(part).unwrap(), reader.own_copy(part).unwrap());
    // SAFETY: the address is the first of ten thousand bytes that are this test's own.
    unsafe { one.address().write_bytes(0, 10) };
    // SAFETY: as long as the copy lives, and nobody writes to it meanwhile.
    let seen = |copy: &OwnCopy| unsafe { std::slice::from_raw_parts(copy.address(), copy.length()).to_vec() };
    assert_eq!(seen(&two), bytes[5_000..15_000]);
    two.detach();
    arena.release(span.segment);
    let again = arena.allocate(20_000).unwrap();
    assert_eq!(again.segment, span.segment);
    fill(again, &vec![9; 20_000]);
    assert_eq!(seen(&two), bytes[5_000..15_000]);
    assert!(reader.own_copy(Span { offset: 30_000, ..part }).is_err());
    assert!(reader.own_copy(Span { length: u64::MAX, ..part }).is_err());
}

#[test]
fn segments_of_a_lent_arena_are_freed_by_their_owner_alone() {
    let mut arena = Arena::create_lent("test", WARM_LIMIT).unwrap();
    let reader = ArenaReader::new(arena.file().try_clone().unwrap()).unwrap();
    let first = arena.allocate(10_000).unwrap();
    reader.release(first.segment);
    assert_ne!(arena.allocate(10_000).unwrap().segment, first.segment);
    reader.shared.entry(first.segment).unwrap().offset.store(0, Ordering::Relaxed);
    arena.release(first.segment);
    let again = arena.allocate(10_000).unwrap();
    assert_eq!((again.segment, again.address), (first.segment, first.address));
}

#[test]
fn a_huge_segment_gives_its_memory_back() {
    let (mut arena, reader) = pair();
    let huge = arena.allocate(WARM_LIMIT + 1).unwrap();
    arena.release(huge.segment);
    let blocks = rustix::fs::fstat(arena.file()).unwrap().st_blocks;
    assert!(blocks * 512 < 1 << 20, "{blocks} blocks are still held");
    assert_eq!(reader.view(Span { segment: huge.segment, length: 1, ..Span::default() }).unwrap().bytes(), [0]);
}

#[test]
fn arena_that_has_cooled_holds_no_memory_but_what_is_in_use() {
    let (mut arena, reader) = pair();
    let used = arena.allocate(1 << 20).unwrap();
    let freed: Vec<_> = (0..4).map(|_| arena.allocate(1 << 20).unwrap().segment).collect();
    reader.release(freed[0]);
    reader.release(freed[1]);
    arena.release(freed[2]);
    arena.release(freed[3]);
    arena.cool();
    assert_eq!(arena.resident_bytes(), used.capacity);
    assert!(arena.file().backed_bytes() < 2 << 20);
    assert_eq!(reader.shared.header().freed_bytes.load(Ordering::Relaxed), 0);
    arena.cool();
    for _ in 0..4 {
        let again = arena.allocate(1 << 20).unwrap();
        assert!(freed.contains(&again.segment));
        fill(again, &vec![7; 1 << 20]);
    }
    assert_eq!(arena.resident_bytes(), 5 * used.capacity);
}

#[test]
fn twenty_thousand_payloads_are_in_flight_at_once() {
    let (mut arena, reader) = pair();
    let segments: Vec<_> = (0..20_000).map(|_| arena.allocate(1).unwrap().segment).collect();
    for segment in &segments {
        reader.release(*segment);
    }
    assert!(segments.contains(&arena.allocate(1).unwrap().segment));
}

#[test]
fn readers_leave_no_more_than_so_much_memory_in_free_segments() {
    let (mut arena, reader) = pair();
    let large: Vec<_> = (0..20).map(|_| arena.allocate(32 << 20).unwrap().segment).collect();
    for segment in &large {
        reader.release(*segment);
    }
    let held = rustix::fs::fstat(arena.file()).unwrap().st_blocks.unsigned_abs() * 512;
    assert!(held <= WARM_LIMIT + (1 << 20), "{held} bytes are still held");
    for round in 0..3 {
        let again: Vec<_> = large.iter().map(|_| arena.allocate(32 << 20).unwrap()).collect();
        for allocation in &again {
            assert!(large.contains(&allocation.segment), "round {round}");
            fill(*allocation, &[7; 8_192]);
        }
        for allocation in again {
            reader.release(allocation.segment);
        }
    }
}

proptest! {
    #[test]
    fn a_class_fits_and_wastes_at_most_a_quarter(length in 1u64..(1 << 40)) {
        let class = class_of(length);
        prop_assert!(class >= length && class.is_multiple_of(PAGE));
        prop_assert!(class <= (length + length / 4).max(PAGE) + PAGE);
    }

    #[test]
    fn payloads_in_flight_never_overlap(sizes in proptest::collection::vec((1u64..50_000, any::<bool>()), 1..60)) {
        let (mut arena, reader) = pair();
        let mut live: Vec<(Span, u8)> = Vec::new();
        for (number, (size, by_reader)) in sizes.into_iter().enumerate() {
            let mark = u8::try_from(number).unwrap();
            let bytes = vec![mark; usize::try_from(size).unwrap()];
            live.push((fill(arena.allocate(size).unwrap(), &bytes), mark));
            if live.len() > 5 {
                let (span, mark) = live.remove(number % 5);
                prop_assert!(reader.view(span).unwrap().bytes().iter().all(|byte| *byte == mark));
                if by_reader { reader.release(span.segment) } else { arena.release(span.segment) }
            }
        }
        for (span, mark) in live {
            prop_assert!(reader.view(span).unwrap().bytes().iter().all(|byte| *byte == mark));
        }
    }
}
