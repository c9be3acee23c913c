//! Attacks on what is read of other processes: random bytes, and honest ones that somebody has changed. Whatever they are,
//! a value or a refusal comes of them, and no more memory is taken than they could fill.

use crate::codec::{Arguments, Gather, Reader};
use crate::worker::{Said, Setup};
use paceline_engine::Foreign;
use std::collections::BTreeMap;

/// `SplitMix64`, so that each failure comes again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    /// Mostly numbers that lengths are made of.
    fn byte(&mut self) -> u8 {
        match self.below(4) {
            0 => 0,
            1 => 0xff,
            2 => u8::try_from(self.below(9)).unwrap(),
            _ => self.next().to_le_bytes()[0],
        }
    }
}

type Values = (Vec<f64>, String, BTreeMap<String, Option<Vec<u16>>>, (u8, char, bool), Vec<u8>);

fn read_all(bytes: &[u8]) {
    let readers = || [Reader::own(bytes), Reader::foreign(Foreign::own(bytes))];
    for mut reader in readers() {
        let _ = Values::decode(&mut reader);
        assert!(reader.rest().len() <= bytes.len());
    }
    for mut reader in readers() {
        if Said::read(&mut reader).is_ok() {
            let _ = Values::decode(&mut reader);
        }
    }
    for mut reader in readers() {
        let _ = reader.take_counted().map(|mut item| Values::decode(&mut item));
    }
    let _ = postcard::from_bytes::<Setup>(bytes);
    #[cfg(feature = "ndarray")]
    for mut reader in readers() {
        let _ = <(ndarray::Array2<f64>, ndarray::ArrayD<u8>)>::decode(&mut reader);
    }
}

#[test]
fn random_bytes_are_values_or_refused() {
    let mut random = Random(1);
    for _ in 0..20_000 {
        let length = random.below(80);
        let bytes: Vec<u8> = (0..length).map(|_| random.byte()).collect();
        read_all(&bytes);
    }
}

#[test]
fn honest_bytes_that_were_changed_are_values_or_refused() {
    let mut random = Random(2);
    let map = BTreeMap::from([("key".to_owned(), Some(vec![1, 2, 3])), (String::new(), None)]);
    let values: Values = (vec![1.0, 2.0], "text é".to_owned(), map, (1, 'é', true), vec![1; 20]);
    let mut scratch = Vec::new();
    let mut gather = Gather::new(&mut scratch);
    values.encode(&mut gather).unwrap();
    let honest = gather.parts().concat();
    assert_eq!(Values::decode(&mut Reader::own(&honest)), Ok(values));
    for _ in 0..20_000 {
        let mut bytes = honest.clone();
        for _ in 0..=random.below(3) {
            let place = random.below(bytes.len());
            bytes[place] = random.byte();
        }
        bytes.truncate(random.below(2 * honest.len()));
        read_all(&bytes);
    }
}
