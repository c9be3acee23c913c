//! Inputs that are read lazily, and outcomes that come one by one.

use crate::pools::{on_every_backend, processes, threads};
use crate::tasks::{await_file, fussy, sleep, square};
use std::cell::Cell;

#[test]
fn endless_input_is_read_no_further_than_keeps_workers_busy() {
    on_every_backend(
        |builder| builder,
        |pool| {
            for chunk_size in [1, 10] {
                let pool = pool.with_chunk_size(chunk_size);
                let read = Cell::new(0);
                let endless = (0..).inspect(|_| read.set(read.get() + 1));
                let mut outcomes = pool.imap(square, endless);
                assert_eq!(read.get(), 0, "nothing is read before something is asked for");
                for (number, outcome) in (0..50).zip(&mut outcomes) {
                    assert_eq!(outcome, Ok(number * number));
                    let ahead = read.get() - number - 1;
                    assert!(ahead <= 4 * 2 * i64::from(chunk_size) + i64::from(chunk_size), "{ahead} items ahead");
                }
            }
        },
    );
}

#[test]
fn one_failure_among_outcomes_does_not_end_them_and_names_its_item() {
    on_every_backend(
        |builder| builder.chunk_size(4),
        |pool| {
            let outcomes: Vec<_> = pool.imap(fussy, 0..30).collect();
            assert_eq!(outcomes.len(), 30);
            let error = outcomes[13].as_ref().unwrap_err().to_string();
            assert!(error.starts_with("item 13 of `"), "{error}");
            assert_eq!(pool.imap_unordered(fussy, 0..30).filter(Result::is_err).count(), 1);
        },
    );
}

#[test]
fn unordered_outcomes_come_as_they_end() {
    let pool = processes();
    let outcomes: Vec<_> = pool.imap_unordered(sleep, [500, 1, 2, 3]).map(Result::unwrap).collect();
    assert_eq!(outcomes.last(), Some(&500));
    let outcomes: Vec<_> = pool.imap(sleep, [100, 1, 2, 3]).map(Result::unwrap).collect();
    assert_eq!(outcomes, [100, 1, 2, 3]);
}

#[test]
fn iterator_needs_no_pool_to_be_kept_and_ends_for_good() {
    let mut outcomes = processes().imap(square, 1..3);
    assert_eq!([outcomes.next(), outcomes.next(), outcomes.next()], [Some(Ok(1)), Some(Ok(4)), None]);
    assert_eq!(outcomes.next(), None);
}

#[test]
fn dropped_iterator_cancels_what_no_worker_has_begun() {
    let folder = tempfile::tempdir().unwrap();
    for (name, pool) in [("processes", processes()), ("threads", threads())] {
        let gate = folder.path().join(name).to_string_lossy().into_owned();
        let mut outcomes =
            pool.imap(await_file, std::iter::once("/".to_owned()).chain(std::iter::repeat(gate.clone())));
        assert_eq!(outcomes.next(), Some(Ok(())));
        drop(outcomes);
        std::fs::write(gate, "").unwrap();
        pool.join();
        // Beside the first, those that both workers had begun.
        assert!(pool.report().tasks() <= 3, "{}", pool.report());
    }
}
