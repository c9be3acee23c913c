//! A worker writes wherever it can, as native code does that runs wild: the parent survives, and every wait ends. So with
//! a worker that says what it may not say.

use crate::pool::{DEADLINE, Pool};
use paceline_engine::{Outcome, PartContent, Sizing};
use paceline_ipc::SLOTS;

/// Many jobs, between them some that scribble; what became of each is whatever it is, but each ends, and the pool too.
fn survive(memory: &str, places: u32, seeds: std::ops::Range<u32>) -> (usize, usize) {
    let (mut right, mut wrong) = (0, 0);
    for seed in seeds {
        let pool = Pool::open(2);
        pool.await_workers(2);
        let items: Vec<_> = (0..40).map(|number| format!("echo {number}")).collect();
        let jobs: Vec<_> = (0..120)
            .filter_map(|number| {
                match number % 40 {
                    7 => pool.try_submit(&format!("scribble {memory} {places} {seed}{number}")),
                    9 => pool.try_submit("big 100000"),
                    11 => Ok(pool.submit_many(&items, Sizing::Fixed(9))),
                    _ => pool.try_submit(&format!("echo {number}")),
                }
                .ok()
            })
            .collect();
        for job in &jobs {
            pool.wait(job);
            let has_answer = match job.take_outcome() {
                Some(Outcome::Complete(parts)) => parts.as_slice().iter().all(|part| match &part.content {
                    PartContent::Answer(answer) => {
                        // Read as a whole, whatever is there.
                        let each = answer.records().map(|(_, bytes)| bytes.foreign().to_vec().is_ok());
                        each.filter(|read| *read).count() == part.count as usize
                    }
                    PartContent::Lost(_) => false,
                }),
                _ => false,
            };
            *(if has_answer { &mut right } else { &mut wrong }) += 1;
        }
        pool.engine.close(false);
        if !pool.engine.join(DEADLINE) {
            pool.engine.terminate();
            assert!(pool.engine.join(DEADLINE), "seed {seed}");
            panic!("the pool does not end, with seed {seed}");
        }
    }
    (right, wrong)
}

#[test]
fn scribbles_on_state_words_lose_the_tasks_they_hit() {
    let (right, wrong) = survive("words", 300, 0..6);
    assert!(right > 0 && wrong > 0, "{right} were answered, {wrong} not");
}

#[test]
fn slots_that_were_written_over_are_missed_by_no_job_that_fills_the_table() {
    let pool = Pool::open(2);
    pool.await_workers(2);
    for seed in 0..3 {
        // Its own slot is among them, and is given up.
        pool.wait(&pool.submit(&format!("scribble words 8000 {seed}")));
        let numbers: Vec<_> = (0..3 * SLOTS).map(|number| number.to_string()).collect();
        let items: Vec<_> = numbers.iter().map(|number| format!("echo {number}")).collect();
        let answers = pool.answers(&pool.submit_many(&items, Sizing::Fixed(1)));
        assert!(answers.into_iter().map(Result::unwrap).eq(numbers), "after {seed}");
    }
    pool.finish();
}

#[test]
fn scribbles_on_heads_bits_and_sleepers_are_mended() {
    let (right, _) = survive("hints", 300, 0..6);
    assert!(right > 0);
}

#[test]
fn scribbles_all_over_the_table_end_every_wait() {
    survive("table", 20_000, 0..6);
}

#[test]
fn scribbles_on_a_workers_own_arena_end_every_wait() {
    survive("arena", 20_000, 0..6);
}

#[test]
fn worker_that_says_what_it_may_not_say_is_ended_and_replaced() {
    let pool = Pool::open(1);
    assert_eq!(pool.run("echo begun"), "begun");
    // It is ready once more; it failed to start after all; it says what nobody knows; it never stops.
    for message in ["1 1", "2 1", "77 1", "0 20000"] {
        let pid = pool.await_workers(1)[0];
        assert_eq!(pool.death(&format!("babble {message}; hang")).pid, pid, "{message}");
        assert_eq!(pool.run("echo alive"), "alive", "{message}");
    }
    pool.finish();
}
