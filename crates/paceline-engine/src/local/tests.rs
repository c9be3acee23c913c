use super::*;
use crate::history::Fate;
use crate::pending::Stream;
use paceline_core::Sizing;

type TestJob = Arc<Job<&'static str>>;

fn job(name: &'static str) -> TestJob {
    Job::new(name, 1, Sizing::Fixed(1), None)
}

fn many(items: u32, sizing: Sizing) -> TestJob {
    Job::new("many", items, sizing, None)
}

/// A pool with some jobs in it, none of whose threads has come yet.
fn pool_with(jobs: &[(&TestJob, i16)]) -> Local<&'static str> {
    let pool = Local::new(2);
    for (job, priority) in jobs {
        pool.submit(job, *priority).unwrap();
    }
    pool
}

fn take(pool: &Local<&'static str>) -> Option<(&'static str, Range<u32>)> {
    let bed = Bed::of_this_thread();
    match pool.next(&bed) {
        Next::Run(chunk) => Some((chunk.job.payload(), chunk.items)),
        _ => None,
    }
}

fn names(pool: &Local<&'static str>) -> Vec<&'static str> {
    std::iter::from_fn(|| take(pool)).map(|(name, _)| name).collect()
}

/// Works for the pool in a thread of the test's, as one of the pool's own would.
fn serve(pool: &Local<&'static str>) {
    let bed = Bed::of_this_thread();
    loop {
        match pool.next(&bed) {
            Next::Run(chunk) => {
                if chunk.job.note_outcomes(chunk.items.end - chunk.items.start, 1_000) {
                    pool.complete(&chunk.job);
                }
            }
            Next::Rest => pool.rest(&bed),
            Next::Leave => return pool.leave(None),
        }
    }
}

#[test]
fn higher_priorities_begin_first_and_equal_ones_in_order() {
    let [low, plain, high, next, last] = ["low", "plain", "high", "next", "last"].map(job);
    let pool = pool_with(&[(&low, -1), (&plain, 0), (&high, 5), (&next, 0), (&last, -1)]);
    assert_eq!(names(&pool), ["high", "plain", "next", "low", "last"]);
}

#[test]
fn cancelled_jobs_are_passed_over_whatever_waits_behind_them() {
    let [first, second, low] = ["first", "second", "low"].map(job);
    let pool = pool_with(&[(&first, 0), (&second, 0), (&low, -1)]);
    assert!(pool.cancel(&first).is_some());
    assert!(pool.cancel(&first).is_none());
    assert!(pool.cancel(&second).is_some());
    assert_eq!(names(&pool), ["low"]);
    assert_eq!(first.stage(), Stage::Cancelled);
    assert!(low.is_running());
    assert!(pool.cancel(&low).is_none());
}

#[test]
fn chunks_of_a_fixed_size_cover_every_item_once() {
    let seven = many(7, Sizing::Fixed(3));
    let pool = pool_with(&[(&seven, 0)]);
    let chunks: Vec<_> = std::iter::from_fn(|| take(&pool)).map(|(_, items)| items).collect();
    assert_eq!(chunks, [0..3, 3..6, 6..7]);
}

#[test]
fn measured_chunks_grow_while_items_are_quick_and_leave_some_for_the_others() {
    let thousand = many(1_000, Sizing::Measured);
    let pool = pool_with(&[(&thousand, 0)]);
    let mut next = 0;
    let mut longest = 0;
    while let Some((_, items)) = take(&pool) {
        assert_eq!(items.start, next);
        let count = items.end - items.start;
        assert!(count <= (1_000 - next).div_ceil(4), "{count} of {}", 1_000 - next);
        longest = longest.max(count);
        next = items.end;
        assert_eq!(thousand.note_outcomes(count, 100 * u64::from(count)), next == 1_000);
    }
    assert_eq!(next, 1_000);
    assert!(longest > 50, "{longest}");
}

#[test]
fn measured_chunks_of_slow_items_stay_single() {
    let ten = many(10, Sizing::Measured);
    let pool = pool_with(&[(&ten, 0)]);
    let mut chunks = 0;
    while let Some((_, items)) = take(&pool) {
        assert_eq!(items.end - items.start, 1);
        ten.note_outcomes(1, 1_000_000);
        chunks += 1;
    }
    assert_eq!(chunks, 10);
}

#[test]
fn chunks_end_no_smaller_than_they_are_worth_handing_out() {
    let pace = Pace { chunk_ns: 1_000_000, growth: 8, least_ns: 10_000 };
    let pool: Local<&'static str> = Local::at_pace(2, pace);
    let thousand = many(1_000, Sizing::Measured);
    pool.submit(&thousand, 0).unwrap();
    let mut chunks = Vec::new();
    while let Some((_, items)) = take(&pool) {
        let count = items.end - items.start;
        chunks.push(count);
        thousand.note_outcomes(count, 100 * u64::from(count));
    }
    assert_eq!(chunks.iter().sum::<u32>(), 1_000);
    // Each is at most eight times the one before, and all but the first ones and the last have 10 µs of work.
    assert_eq!(chunks[..3], [1, 8, 64]);
    assert!(chunks[3..chunks.len() - 1].iter().all(|count| *count >= 100), "{chunks:?}");
}

#[test]
fn single_calls_travel_together_where_many_wait() {
    let jobs: Vec<_> = (0..20).map(|_| job("one")).collect();
    let pool: Local<&'static str> = Local::new(2);
    for job in &jobs {
        pool.submit(job, 0).unwrap();
    }
    assert!(pool.cancel(&jobs[2]).is_some());
    assert_eq!(take(&pool), Some(("one", 0..1)));
    // No more than leave some for the other, and what was cancelled is none of them.
    assert_eq!(pool.take_singles(100).len(), 4);
    assert_eq!(pool.take_singles(2).len(), 2);
    let map = many(3, Sizing::Fixed(1));
    let last: Local<&'static str> = Local::new(1);
    for job in [&map, &job("after"), &job("last")] {
        last.submit(job, 0).unwrap();
    }
    assert!(last.take_singles(100).is_empty());
}

#[test]
fn work_done_elsewhere_is_told_by_its_host() {
    let map = many(4, Sizing::Fixed(4));
    let pool = pool_with(&[(&map, 0)]);
    let host: Arc<str> = "far".into();
    let book = pool.open_book(&host, 7);
    let failed = Failed { lost: 1, ..Failed::default() };
    let carried = Carried { items: 1..4, function: "f", attempt: 1, failed, began_ns: 5, ended_ns: 15, busy_ns: 10 };
    book.note_carried(&map, &carried);
    let (accounts, history) = pool.history();
    assert_eq!((&*accounts.workers[0].host, accounts.workers[0].pid), ("far", 7));
    assert_eq!(accounts.workers[0].items, vec![1..4; 1]);
    let told: Vec<_> =
        history.stretches().iter().map(|one| (one.first_item, one.items, one.fate, one.attempt)).collect();
    assert_eq!(told, [(1, 3, Fate::Lost, 1)]);
}

#[test]
fn abandoned_job_ends_as_cancelled_and_only_once() {
    let one = job("one");
    let pool = pool_with(&[(&one, 0)]);
    take(&pool);
    assert!(pool.abandon(&one).is_some());
    assert!(pool.abandon(&one).is_none());
    assert_eq!(one.stage(), Stage::Abandoned);
}

#[test]
fn threads_are_wanted_one_by_one_and_for_a_map_together() {
    let pool: Local<&'static str> = Local::new(3);
    assert_eq!(pool.submit(&job("one"), 0).unwrap(), 0..1);
    assert_eq!(pool.submit(&many(2, Sizing::Fixed(1)), 0).unwrap(), 1..3);
    assert!(pool.submit(&job("two"), 0).unwrap().is_empty());
}

#[test]
fn idle_threads_are_called_before_more_are_wanted() {
    let pool = Arc::new(Local::new(2));
    let first = job("first");
    assert_eq!(pool.submit(&first, 0).unwrap(), 0..1);
    let thread = std::thread::spawn({
        let pool = Arc::clone(&pool);
        move || serve(&pool)
    });
    assert_eq!(pool.wait(&first, None, u64::MAX), Waited::Done);
    while pool.idle_threads() == 0 {
        std::thread::yield_now();
    }
    let second = job("second");
    assert!(pool.submit(&second, 0).unwrap().is_empty());
    assert_eq!(pool.wait(&second, None, u64::MAX), Waited::Done);
    assert_eq!(second.stage(), Stage::Complete);
    pool.close(false);
    assert!(pool.join(Duration::from_secs(20)));
    thread.join().unwrap();
}

#[test]
fn closed_pool_does_what_it_has_and_takes_no_more() {
    let pool = Arc::new(Local::new(2));
    let jobs: Vec<_> = (0..100).map(|_| job("one")).collect();
    let wanted: usize = jobs.iter().map(|job| pool.submit(job, 0).unwrap().len()).sum();
    pool.close(false);
    assert_eq!(pool.submit(&job("late"), 0), Err(Refusal::Closed));
    assert!(!pool.join(Duration::ZERO));
    std::thread::scope(|scope| {
        for _ in 0..wanted {
            scope.spawn(|| serve(&pool));
        }
    });
    assert!(pool.join(Duration::ZERO));
    assert!(jobs.iter().all(|job| job.stage() == Stage::Complete));
}

#[test]
fn closing_with_cancellation_keeps_what_has_begun() {
    let map = many(4, Sizing::Fixed(2));
    let waiting = job("waiting");
    let pool = pool_with(&[(&map, 0), (&waiting, 0)]);
    assert_eq!(take(&pool), Some(("many", 0..2)));
    let ended = pool.close(true);
    assert_eq!(ended.len(), 1);
    assert_eq!(waiting.stage(), Stage::Cancelled);
    assert_eq!(take(&pool), Some(("many", 2..4)));
}

#[test]
fn terminated_pool_gives_up_what_has_items_left_to_begin() {
    let (running, map, waiting) = (job("running"), many(4, Sizing::Fixed(2)), job("waiting"));
    let pool = pool_with(&[(&running, 1), (&map, 0), (&waiting, 0)]);
    take(&pool);
    take(&pool);
    assert_eq!(pool.terminate().len(), 2);
    assert!(running.is_running());
    assert_eq!(map.stage(), Stage::Abandoned);
    assert_eq!(waiting.stage(), Stage::Abandoned);
    // What was running of the map changes nothing any more.
    map.note_outcomes(2, 1);
    assert!(pool.complete(&map).is_none());
    assert_eq!(map.stage(), Stage::Abandoned);
    pool.complete(&running);
    assert_eq!(running.stage(), Stage::Complete);
}

#[test]
fn broken_pool_ends_every_wait_and_says_so() {
    let waiting = job("waiting");
    let pool = pool_with(&[(&waiting, 0)]);
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| pool.wait(&waiting, None, u64::MAX));
        assert_eq!(pool.break_down().len(), 1);
        assert_eq!(waits.join().unwrap(), Waited::Done);
    });
    assert_eq!(waiting.stage(), Stage::Broken);
    assert_eq!(pool.submit(&job("late"), 0), Err(Refusal::Broken));
    pool.terminate();
    assert_eq!(pool.submit(&job("later"), 0), Err(Refusal::Broken));
}

#[test]
fn what_is_hung_on_a_job_is_given_back_at_its_end_or_at_once() {
    let one = job("one");
    let pool = pool_with(&[(&one, 0)]);
    one.attach(Box::new(1)).unwrap();
    take(&pool);
    let given = pool.complete(&one).unwrap().downcast::<i32>().unwrap();
    assert_eq!(*given, 1);
    assert!(one.attach(Box::new(2)).is_err());
}

#[test]
fn stream_shows_ends_in_their_order_and_wakes_who_waits_for_it() {
    let stream = Stream::new();
    let jobs: Vec<_> =
        (0..3).map(|number| Job::new("one", 1, Sizing::Fixed(1), Some((Arc::clone(&stream), number)))).collect();
    let pool = pool_with(&[(&jobs[0], 0), (&jobs[1], 0), (&jobs[2], 0)]);
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| pool.wait(&stream, None, u64::MAX));
        assert!(pool.cancel(&jobs[2]).is_some());
        assert_eq!(waits.join().unwrap(), Waited::Done);
    });
    take(&pool);
    pool.complete(&jobs[0]);
    assert_eq!([stream.pop(), stream.pop(), stream.pop()], [Some(2), Some(0), None]);
    assert_eq!(stream.outstanding(), 1);
}

#[test]
fn waits_end_at_their_deadline_and_with_their_slice() {
    let one = job("one");
    let pool = pool_with(&[(&one, 0)]);
    assert_eq!(pool.wait(&one, Some(now_ns() + 1_000_000), u64::MAX), Waited::TimedOut);
    assert_eq!(pool.wait(&one, None, 1_000_000), Waited::Interrupted);
    assert!(pool.followers.is_empty());
}

#[test]
fn thread_that_could_not_be_started_is_not_waited_for() {
    let pool = pool_with(&[(&job("one"), 0)]);
    pool.leave(None);
    pool.terminate();
    assert!(pool.join(Duration::ZERO));
}

#[test]
fn items_are_numbered_and_accounted_for_in_the_order_of_submission() {
    let (map, one) = (many(3, Sizing::Fixed(3)), job("one"));
    let pool = pool_with(&[(&map, 0), (&one, 0)]);
    assert_eq!(map.numbers(&(1..3)), 1..3);
    assert_eq!(one.numbers(&(0..1)), 3..4);
    let book = pool.enter(77);
    let spell =
        |items, raised, began_ns, ended_ns| Spell { items, raised, function: book.number("f"), began_ns, ended_ns };
    book.note(&map, &spell(0..3, 2, 100, 110));
    book.note(&one, &spell(0..1, 0, 110, 115));
    let report = pool.report();
    assert_eq!((report.workers[0].pid, report.workers[0].busy_ns), (77, 15));
    assert_eq!(report.workers[0].items, vec![0..4; 1]);
    assert_eq!(pool.thread_ids(), [77]);
    let (_, history) = pool.history();
    let told: Vec<_> = history.stretches().iter().map(|one| (one.first_item, one.items, one.fate)).collect();
    assert_eq!(told, [(0, 3, Fate::Raised), (3, 1, Fate::Done)]);
    let (_, of_one) = pool.history_of(&one);
    assert_eq!(of_one.stretches().iter().map(|one| one.first_item).collect::<Vec<_>>(), [0]);
    assert_eq!((history.failed().raised, of_one.failed().raised), (2, 0));
}

#[test]
fn jobs_are_submitted_one_after_the_other_however_coarse_the_clock() {
    let jobs: Vec<_> = (0..100).map(|_| job("one")).collect();
    pool_with(&jobs.iter().map(|job| (job, 0)).collect::<Vec<_>>());
    assert!(jobs.is_sorted_by(|one, next| one.submitted_ns() < next.submitted_ns()));
    assert!(jobs.iter().all(|job| job.submitted_ns() <= now_ns()));
}

#[test]
fn books_of_several_threads_are_told_as_one() {
    let pool: Local<&'static str> = Local::new(2);
    let jobs = ["a", "b", "c", "d"].map(job);
    for job in &jobs {
        pool.submit(job, 0).unwrap();
    }
    let books = [pool.enter(77), pool.enter(78)];
    // Each thread has met the two functions in an order of its own.
    for (place, (book, function)) in [(0, "f"), (1, "g"), (0, "g"), (1, "f")].into_iter().enumerate() {
        let ended_ns = 10 + place as u64;
        let raised = u32::from(function == "g");
        let function = books[book].number(function);
        books[book].note(&jobs[place], &Spell { items: 0..1, raised, function, began_ns: 5, ended_ns });
    }
    let (accounts, history) = pool.history();
    let told = history.stretches().iter();
    let told: Vec<_> =
        told.map(|one| (one.worker, &*history.names()[usize::from(one.function)], one.ended_ns)).collect();
    assert_eq!(told, [(0, "f", 10), (1, "g", 11), (0, "g", 12), (1, "f", 13)]);
    assert_eq!(history.failed().raised, 2);
    let each: Vec<_> = accounts.workers.iter().map(|one| (one.pid, one.busy_ns, one.items.as_slice())).collect();
    assert_eq!(each, [(77, 12, [0..1, 2..3].as_slice()), (78, 14, [1..2, 3..4].as_slice())]);
    assert_eq!(accounts.ended_items, 4);
}

#[test]
fn history_of_many_threads_is_bounded_and_whole() {
    let pool: Local<&'static str> = Local::new(1_000);
    let map = many(1_000_000, Sizing::Measured);
    pool.submit(&map, 0).unwrap();
    let book = pool.enter(77);
    for item in 0..1_000_u32 {
        let began_ns = u64::from(item) * 10;
        let items = item..item + 1;
        book.note(&map, &Spell { items, raised: 0, function: book.number("f"), began_ns, ended_ns: began_ns + 9 });
    }
    let (_, history) = pool.history();
    assert!(history.stretches().len() <= LEAST_ROOM, "{}", history.stretches().len());
    assert_eq!(history.stretches().iter().map(|one| one.items).sum::<u32>(), 1_000);
}

#[test]
fn many_threads_that_submit_and_many_that_work_lose_nothing() {
    let pool = Arc::new(Local::new(3));
    std::thread::scope(|scope| {
        let submitters: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let jobs: Vec<_> = (0..500)
                        .map(|number| if number % 7 == 0 { many(9, Sizing::Measured) } else { job("one") })
                        .collect();
                    for (number, job) in jobs.iter().enumerate() {
                        let wanted = pool.submit(job, i16::try_from(number % 3).unwrap()).unwrap();
                        for _ in wanted {
                            scope.spawn(|| serve(&pool));
                        }
                        if number % 5 == 0 {
                            let _ = pool.cancel(job);
                        }
                    }
                    for job in &jobs {
                        assert_eq!(pool.wait(job, None, u64::MAX), Waited::Done);
                    }
                })
            })
            .collect();
        for submitter in submitters {
            submitter.join().unwrap();
        }
        pool.close(false);
        assert!(pool.join(Duration::from_secs(20)));
    });
    assert_eq!(pool.unfinished.load(Ordering::Relaxed), 0);
}
