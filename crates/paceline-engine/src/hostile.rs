//! Owns attacks on what the engine does with the bytes of workers: each function does to arbitrary bytes all that the
//! parent would. The crate's tests run them with random bytes, the fuzzers in `fuzz/` with chosen ones. Never part of
//! what users get.

use crate::flight::Flight;
use crate::outcome::Answer;
use crate::output::{Voice, take_unlistened};
use crate::words::Words;
use paceline_ipc::arena::{Arena, ArenaReader, Span};
use paceline_ipc::foreign::Foreign;
use std::sync::Arc;

/// An answer with these bytes, of a worker with such an arena: inline, and in a segment.
///
/// # Panics
/// If something does not hold that must; that is what it is for.
pub fn answer(input: &[u8]) {
    let mut arena = Arena::create("hostile").expect("there is memory");
    let reader = Arc::new(ArenaReader::new(arena.file().try_clone().expect("it is a file")).expect("it can be mapped"));
    let flight = Flight::new(0);
    let (items, input) = input.split_first().unwrap_or((&0, &[]));
    let items = u32::from(*items);
    for length in [input.len() as u64, 100_000] {
        let allocation = arena.allocate(length).expect("there is memory");
        // SAFETY: the segment is mapped, and as large as was asked for.
        unsafe { allocation.address.copy_from_nonoverlapping(input.as_ptr(), input.len().min(4_096)) };
        let span = Span { segment: allocation.segment, length, ..Span::default() };
        read(&Answer::segment(span, items, (&reader, &flight)), items);
    }
    read(&Answer::inline(Foreign::own(input), items, (&reader, &flight)), items);
}

fn read(answer: &Answer, items: u32) {
    let mut count = 0;
    for (kind, bytes) in answer.records() {
        assert!(kind < 128);
        std::hint::black_box(bytes.foreign().to_vec().is_ok());
        count += 1;
    }
    assert!(count <= items, "no more outcomes than items");
}

/// A worker says this: on its streams, in pieces, and as log records. The first byte says how.
///
/// # Panics
/// If something does not hold that must; that is what it is for.
pub fn words(input: &[u8]) {
    let Some((how, said)) = input.split_first() else { return };
    let Ok((mut words, _mouth)) = Words::new(how & 1 != 0) else { return };
    let piece = usize::from(how >> 1) % 60 + 1;
    for part in said.chunks(piece) {
        for voice in [Voice::Output, Voice::Errors, Voice::Record] {
            words.hear(voice, part, 7);
        }
    }
    assert!(words.unfinished_bytes() <= 3 * input.len());
    words.end_lines(7);
    assert!(words.last_words_at_end(7).len() <= 3 * input.len(), "what is no text is replaced by signs of three bytes");
    drop(take_unlistened());
}

#[cfg(test)]
mod tests {
    use super::*;
    use paceline_ipc::hostile::with_random_inputs;

    #[test]
    fn answers_of_any_bytes_are_read_or_end_early() {
        with_random_inputs(2_000, 600, answer);
    }

    #[test]
    fn whatever_a_worker_says_is_passed_on_or_dropped() {
        with_random_inputs(3_000, 600, words);
    }
}
