//! Payloads of every size arrive whole, and their memory is used again.

use crate::pool::{DEADLINE, Pool, is_alone, item};
use paceline_engine::{Pending, Sizing, Terms};
use std::os::unix::fs::MetadataExt;

#[test]
fn inputs_and_answers_of_every_size_arrive_whole() {
    let pool = Pool::open(2);
    for length in [0, 1, 31, 32, 33, 290, 350, 355, 360, 361, 400, 4_096, 65_535, 65_536, 1 << 20, 64 << 20] {
        if length >= 300 {
            let pending = Pending::new(None);
            pool.engine.submit(&pool.function, &item(&vec![b' '; length]), Terms::default(), &pending).unwrap();
            assert_eq!(pool.answer(&pending), length.to_string());
        }
        let answer = pool.run(&format!("big {length}"));
        assert_eq!(answer.len(), length);
        assert!(answer.bytes().all(|byte| byte == b'x'));
    }
    pool.finish();
}

#[test]
fn answers_of_a_chunk_may_be_short_and_long_in_any_order() {
    let pool = Pool::open(2);
    let lengths: Vec<usize> = (0..200).map(|number| (number * 7_919) % 200_000).collect();
    let items: Vec<_> = lengths.iter().map(|length| format!("big {length}")).collect();
    for sizing in [Sizing::Fixed(1), Sizing::Fixed(50), Sizing::Measured] {
        let answers = pool.answers(&pool.submit_many(&items, sizing));
        assert!(answers.iter().zip(&lengths).all(|(answer, length)| answer.as_ref().unwrap().len() == *length));
    }
    pool.finish();
}

/// The bytes held by all memory files of this process.
fn held_bytes() -> u64 {
    let files = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(Result::ok);
    let memory = files.filter(|file| {
        std::fs::read_link(file.path()).is_ok_and(|link| link.to_string_lossy().contains("memfd:paceline"))
    });
    memory.filter_map(|file| std::fs::metadata(file.path()).ok()).map(|file| file.blocks() * 512).sum()
}

#[test]
fn memory_of_payloads_is_used_again() {
    if !is_alone("payloads::memory_of_payloads_is_used_again") {
        return;
    }
    let pool = Pool::open(2);
    let round = || {
        let jobs: Vec<_> = (0..6)
            .map(|number| {
                let pending = Pending::new(None);
                let length = (1 << 20) + number * 100_000;
                pool.engine.submit(&pool.function, &item(&vec![b' '; length]), Terms::default(), &pending).unwrap();
                (pending, pool.submit(&format!("big {length}")), pool.submit(&format!("big {}", 300 + number)))
            })
            .collect();
        for (input, long, short) in jobs {
            pool.answer(&input);
            pool.answer(&long);
            pool.answer(&short);
        }
    };
    for _ in 0..5 {
        round();
    }
    let before = held_bytes();
    for _ in 0..60 {
        round();
    }
    let after = held_bytes();
    // Which of the two workers answers how many at once is a matter of luck, and so is how much each holds.
    assert!(after <= before + (24 << 20), "{before} bytes before, {after} after");
    pool.finish();
}

#[test]
fn burst_of_answers_gives_its_memory_back() {
    if !is_alone("payloads::burst_of_answers_gives_its_memory_back") {
        return;
    }
    let pool = Pool::open(1);
    let jobs: Vec<_> = (0..20).map(|_| pool.submit("big 50000000")).collect();
    for job in &jobs {
        pool.wait(job);
    }
    assert!(held_bytes() >= 1_000_000_000);
    for job in jobs {
        drop(job.take_outcome());
    }
    let held = held_bytes();
    assert!(held < 400_000_000, "{held} bytes are still held");
    assert_eq!(pool.run("big 50000000").len(), 50_000_000);
    pool.finish();
}

#[test]
fn many_thousand_payloads_larger_than_a_slot_may_wait() {
    let pool = Pool::open(1);
    let running = pool.submit("sleep 2000");
    let input = item(&[b' '; 1_000]);
    let jobs: Vec<_> = (0..40_000)
        .map(|_| {
            let pending = Pending::new(None);
            pool.engine.submit(&pool.function, &input, Terms::default(), &pending).unwrap();
            pending
        })
        .collect();
    pool.wait(&running);
    for job in &jobs {
        assert_eq!(pool.answer(job), "1000");
    }
    let functions: Vec<_> =
        (0..40_000u32).map(|number| pool.engine.register(&number.to_le_bytes(), "work").unwrap()).collect();
    drop(functions);
    pool.finish();
}

#[test]
fn many_thousand_answers_larger_than_a_slot_may_be_kept() {
    let pool = Pool::open(1);
    let jobs: Vec<_> = (0..40_000).map(|_| pool.submit("big 1000")).collect();
    for job in &jobs {
        pool.wait(job);
    }
    pool.engine.close(false);
    assert!(pool.engine.join(DEADLINE));
    for job in &jobs {
        assert_eq!(pool.answer(job).len(), 1_000);
    }
}
