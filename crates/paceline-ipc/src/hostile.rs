//! Owns attacks: each function does to arbitrary bytes all that the parent does to what a worker has written, and checks
//! what must hold whatever they are. The crate's tests run them with random bytes, the fuzzers in `fuzz/` with chosen
//! ones. Never part of what users get.

use crate::arena::{Arena, ArenaReader, Span};
use crate::body::{Body, INLINE_BYTES, Left};
use crate::foreign::Foreign;
use crate::memory::MemoryFile;
use crate::message::{FromForkServer, FromWorker, ToForkServer};
use crate::record::{Content, Records};
use crate::table::{Claim, Feeder, Place, Table};
use std::collections::BTreeMap;
use std::os::fd::AsFd;

/// Takes values off the front of an input; zeros when there is none left.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    fn byte(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut value = [0; N];
        let length = N.min(self.0.len());
        value[..length].copy_from_slice(&self.0[..length]);
        self.0 = &self.0[length..];
        value
    }

    fn short(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    fn word(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    /// Often small, or a power of two, or nearly one; sometimes anything.
    fn long(&mut self) -> u64 {
        match self.byte() {
            kind @ 0..=127 => u64::from(kind),
            kind @ 128..=191 => (1u64 << (kind & 63)).wrapping_add_signed(i64::from(self.byte().cast_signed())),
            _ => u64::from_le_bytes(self.array()),
        }
    }

    fn span(&mut self) -> Span {
        Span { segment: self.word() % 40, reserved: 0, offset: self.long(), length: self.long() }
    }
}

const SLOTS: usize = 128;
const SEATS: usize = 64;
/// Large enough for what can go wrong, small enough to be made anew each time.
type Small = Table<Body, SLOTS, 2, SEATS, 1>;

/// The parent's side, with what it must find true: each publication ends once.
struct Parent {
    table: Box<Small>,
    feeder: Feeder,
    out: BTreeMap<u64, Place>,
    claims: Vec<Claim>,
    given_up: usize,
}

impl Parent {
    #[expect(clippy::cast_ptr_alignment, reason = "the layout asks for the table's alignment")]
    fn new() -> Self {
        let layout = std::alloc::Layout::new::<Small>();
        // SAFETY: all zero is an empty table, and the layout is a table's.
        let table = unsafe { Box::from_raw(std::alloc::alloc_zeroed(layout).cast::<Small>()) };
        Self { table, feeder: Feeder::new(SLOTS), out: BTreeMap::new(), claims: Vec::new(), given_up: 0 }
    }

    fn end(out: &mut BTreeMap<u64, Place>, place: Place) {
        assert_eq!(out.remove(&place.ticket), Some(place), "it was published, and has not ended before");
    }

    fn look_at(body: *const Body) {
        // SAFETY: the body is part of the table.
        let left = unsafe { Left::new(body) };
        let (span, _) = left.answer();
        let bytes = left.inline_bytes(span);
        assert!(bytes.len() <= INLINE_BYTES);
        let bytes = bytes.to_vec().expect("there is memory");
        walk(&bytes);
        std::hint::black_box((left.marks().began_ns(), left.marks().ended_ns(), left.most_running()));
    }

    fn scribble(&mut self, at: usize, bytes: &[u8]) {
        let image: *mut u8 = (&raw mut *self.table).cast();
        for (number, byte) in bytes.iter().enumerate() {
            // SAFETY: the place lies inside the table, which is nothing but atomics and bodies, for which any bytes are
            // valid; nobody else has it.
            unsafe { image.add((at + number) % size_of::<Small>()).write(*byte) };
        }
    }

    fn act(&mut self, script: &mut Script<'_>) {
        let Self { table, feeder, out, claims, .. } = self;
        match script.byte() % 12 {
            0 | 1 => {
                // SAFETY: nobody else has the table.
                let fill = |body: *mut Body| unsafe { (*body).marks.reset() };
                if let Some(place) = table.publish(feeder, fill) {
                    assert_eq!(out.insert(place.ticket, place), None);
                }
            }
            2 => claims.extend(table.claim(script.short() % 64)),
            3 => drop(claims.pop().map(|claim| table.finish(claim))),
            4 => table.drain(feeder, |place, _, body| {
                Self::look_at(body);
                Self::end(out, place);
            }),
            5 => {
                let ended = std::cell::RefCell::new(out);
                let take = |place, _, body| {
                    Self::look_at(body);
                    Self::end(&mut ended.borrow_mut(), place);
                };
                table.reclaim(feeder, script.short() % 64, take, take);
            }
            6 => {
                let chosen = usize::from(script.byte()) % out.len().max(1);
                if let Some(place) = out.values().nth(chosen).copied()
                    && table.withdraw(feeder, place)
                {
                    Self::end(out, place);
                }
            }
            7 => self.audit(script.long()),
            8 => {
                std::hint::black_box((table.has_ready(), table.ready_hint(), table.has_finished(), table.spoken()));
                table.wake_worker();
                table.idle.wake_all_workers();
                table.idle.wake_parent_after_death();
                table.idle.dismiss(script.short() % 64);
                table.idle.set_interest(script.word(), || table.concerns_driver());
            }
            9 => {
                let place = Place { slot: script.word() % 200, ticket: script.long() };
                for place in out.values().copied().chain([place]) {
                    std::hint::black_box((table.look(place), table.begin_watch(0)));
                }
                table.end_watch(0);
            }
            10 => {
                // The words at the beginning, and the state words.
                let at = match script.byte() % 8 {
                    line @ 0..=3 => usize::from(line) * 64 + usize::from(script.byte() % 2) * 8,
                    _ => size_of::<Small>() - (usize::from(script.byte()) % SLOTS + 1) * 512,
                };
                let value = script.long();
                self.scribble(at, &value.to_le_bytes());
            }
            _ => {
                let at = script.word() as usize % size_of::<Small>();
                let value: [u8; 8] = script.array();
                let length = usize::from(script.byte() % 8) + 1;
                self.scribble(at, &value[..length]);
            }
        }
        assert_eq!(self.feeder.used(), self.out.len() + self.given_up, "each slot is free, out, or given up");
    }

    fn audit(&mut self, seated: u64) {
        let Self { table, feeder, out, given_up, .. } = self;
        let ended = std::cell::RefCell::new(out);
        table.audit(
            feeder,
            |worker| worker < 64 && seated & (1 << worker) != 0,
            |place, _, body| {
                Self::look_at(body);
                Self::end(&mut ended.borrow_mut(), place);
            },
            |place| {
                *given_up += 1;
                Self::end(&mut ended.borrow_mut(), place);
            },
        );
    }
}

/// Parent and workers use a table on which somebody scribbles.
///
/// # Panics
/// If something does not hold that must; that is what it is for.
pub fn table(input: &[u8]) {
    let (mut parent, mut script) = (Parent::new(), Script(input));
    while !script.is_over() {
        parent.act(&mut script);
    }
    // After an audit, whatever is left waits for workers, and is found by them.
    parent.audit(0);
    let Parent { table, feeder, out, given_up, .. } = &mut parent;
    assert!(out.is_empty() || table.has_ready());
    while let Some(claim) = table.claim(0) {
        // A free slot may look ready; whoever claims it is not listened to.
        out.remove(&claim.place.ticket);
        assert!(table.finish(claim));
    }
    assert!(out.is_empty(), "nothing is lost");
    table.drain(feeder, |_, _, _| {});
    assert_eq!((feeder.used(), feeder.usable()), (*given_up, SLOTS - *given_up));
}

fn walk(bytes: &[u8]) {
    let mut records = Records::new(Foreign::own(bytes));
    let mut before = records.remaining();
    while let Some((kind, content)) = records.next() {
        assert!(kind < 128 && records.remaining() < before);
        before = records.remaining();
        if let Content::Here(content) = content {
            assert!(content.len() <= bytes.len());
            std::hint::black_box(content.to_vec().is_ok());
        }
    }
}

/// The records of an answer.
pub fn records(input: &[u8]) {
    walk(input);
}

/// Control messages, from everybody.
///
/// # Panics
/// If something does not hold that must; that is what it is for.
pub fn messages(input: &[u8]) {
    if let Ok(message) = FromWorker::decode(input) {
        assert_eq!(FromWorker::decode(&message.encode()), Ok(message));
    }
    if let Ok(message) = FromForkServer::decode(input) {
        if let FromForkServer::Forked { pid, .. } = message {
            assert!(pid > 1, "it stands for one process");
        }
        assert!(FromForkServer::decode(&message.encode()).is_ok());
    }
    if let Ok(message) = ToForkServer::decode(input) {
        assert_eq!(ToForkServer::decode(&message.encode()), Ok(message));
    }
}

/// A reader of an arena whose directory somebody scribbles on, and an owner who has lent it.
///
/// # Panics
/// If something does not hold that must; that is what it is for.
pub fn arena(input: &[u8]) {
    let mut script = Script(input);
    let mut arena = Arena::create_lent("hostile", 1 << 20).expect("there is memory");
    let file = arena.file().as_fd().try_clone_to_owned().expect("there are descriptors");
    let reader = ArenaReader::new(MemoryFile::from_descriptor(file).expect("it is a file")).expect("it can be mapped");
    let directory = arena.file().map(0, 1 << 16).expect("it can be mapped");
    let mut owned = Vec::new();
    while !script.is_over() {
        match script.byte() % 8 {
            0 => {
                let length = script.long() % (4 << 20);
                if let Ok(allocation) = arena.allocate(length) {
                    assert!(allocation.capacity >= length);
                    owned.push(allocation.segment);
                    // SAFETY: the segment is mapped, and as large as it says.
                    unsafe {
                        allocation.address.write(1);
                        allocation.address.add(usize::try_from(allocation.capacity).unwrap_or(1) - 1).write(1);
                    }
                }
            }
            1 => drop(owned.pop().map(|segment| arena.release(segment))),
            2 => reader.release(script.word() % 40),
            3 | 4 => {
                let at = usize::from(script.short()) & 0xfff8;
                // SAFETY: the place lies inside the mapping, of atomics for which any bytes are valid.
                unsafe { directory.address().add(at).cast::<[u8; 8]>().write_volatile(script.long().to_le_bytes()) };
            }
            5 => {
                // The beginning: what the first segments say of themselves.
                let at = usize::from(script.byte()) % 64 * 8;
                // SAFETY: as above.
                unsafe { directory.address().add(at).cast::<[u8; 8]>().write_volatile(script.long().to_le_bytes()) };
            }
            _ => {
                if let Ok(view) = reader.view(script.span()) {
                    let bytes = view.foreign();
                    if bytes.len() <= 1 << 20 {
                        std::hint::black_box(bytes.to_vec().is_ok());
                    } else {
                        let last = bytes.split_at(bytes.len() - 1).and_then(|(_, last)| last.array::<1>());
                        std::hint::black_box((bytes.array::<1>(), last));
                    }
                }
            }
        }
    }
}

/// Attacks with random inputs of random lengths, the same in each run: a hash of a counter. Small numbers and line ends
/// are likelier than others, so that records and lines are likelier too.
pub fn with_random_inputs(runs: u64, longest: u64, attack: impl Fn(&[u8])) {
    let mut state = 0u64;
    let mut random = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    for _ in 0..runs {
        let length = random() % longest;
        let mut byte = || match random().to_le_bytes() {
            [0..=99, byte, ..] => byte % 12,
            [100..=119, ..] => b'\n',
            [_, byte, ..] => byte,
        };
        let input: Vec<u8> = (0..length).map(|_| byte()).collect();
        attack(&input);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_with_scribbles_loses_nothing_and_ends_nothing_twice() {
        with_random_inputs(1_500, 1_500, table);
    }

    #[test]
    fn records_of_any_bytes_end() {
        with_random_inputs(20_000, 400, records);
    }

    #[test]
    fn messages_of_any_bytes_are_read_or_refused() {
        with_random_inputs(20_000, 40, messages);
    }

    #[test]
    fn arena_with_a_scribbled_directory_reads_and_writes_nothing_outside() {
        with_random_inputs(300, 300, arena);
    }
}
