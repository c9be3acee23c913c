//! Values of every size arrive whole.

use crate::pools::{on_every_backend, processes};
use crate::tasks::{doubled, repeated, reversed};

#[test]
fn vectors_of_every_size_arrive_whole() {
    on_every_backend(
        |builder| builder,
        |pool| {
            for length in [0, 1, 100, 337, 338, 400, 5_000, 16_383, 16_384, 65_536, 1 << 20, 32 << 20] {
                let bytes: Vec<u8> = (0..=250).cycle().take(length).collect();
                let mut expected = bytes.clone();
                expected.reverse();
                assert!(pool.apply(reversed, (bytes,)).unwrap() == expected, "{length}");
            }
        },
    );
}

#[test]
fn maps_of_short_and_long_vectors_keep_them_apart() {
    let pool = processes();
    let items: Vec<_> =
        (0..100_u32).map(|number| vec![f64::from(number); (number as usize * 7_919) % 30_000]).collect();
    let doubles: Vec<Vec<_>> = items.iter().map(|item| item.iter().map(|number| 2.0 * number).collect()).collect();
    for chunk_size in [1, 7, 100] {
        assert!(pool.with_chunk_size(chunk_size).map(doubled, items.clone()).unwrap() == doubles);
    }
}

#[test]
fn other_large_values_arrive_whole() {
    let pool = processes();
    let text = "é".repeat(50_000);
    let results = pool.apply(repeated, (text.clone(), 40)).unwrap();
    assert!(results.len() == 40 && results.iter().all(|result| *result == text));
}

#[test]
fn memory_budget_holds_callers_back_and_nobody_up() {
    let pool = paceline::Pool::builder().workers(2).memory_budget(4 << 20).build().unwrap();
    let results: Vec<_> = (0..50).map(|_| pool.apply_async(reversed, (vec![1; 1 << 20],))).collect();
    assert!(results.into_iter().all(|result| result.get().unwrap().len() == 1 << 20));
}

#[cfg(feature = "bytes")]
#[test]
fn bytes_arrive_whole() {
    for length in [0, 100, 20_000, 1 << 20] {
        let sent = bytes::Bytes::from(vec![7; length]);
        assert_eq!(processes().apply(same_bytes, (sent.clone(),)), Ok(sent));
    }
}

#[cfg(feature = "bytes")]
#[paceline::task]
fn same_bytes(bytes: bytes::Bytes) -> bytes::Bytes {
    bytes
}
