//! Calls that linger: many at a time in one worker, each answered when it ends.

use crate::pool::{Choice, Gate, Pool, eventually, item, kill};
use crate::worker_program::{LINGERS, MOST_LINGERING, begun};
use paceline_engine::{Function, Pending, Sizing, Terms};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A folder of its own for the files that calls wait for.
struct Files(PathBuf);

impl Files {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("paceline-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn path(&self, number: usize) -> String {
        self.0.join(number.to_string()).to_str().unwrap().to_owned()
    }

    fn make(&self, number: usize) {
        std::fs::write(Path::new(&self.path(number)), "").unwrap();
    }

    /// Waits until a worker is at the call that waits for a file.
    fn await_begun(&self, number: usize) {
        eventually("the call has begun", || Path::new(&begun(&self.path(number))).exists());
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn linger(pool: &Pool, lingers: &Arc<Function>, path: &str) -> Arc<Pending> {
    let pending = Pending::new(None);
    pool.engine.submit(lingers, &item(path.as_bytes()), Terms::default(), &pending).unwrap();
    pending
}

#[test]
fn calls_that_linger_are_answered_as_they_end_and_others_run_beside_them() {
    let files = Files::new("lingering");
    let pool = Pool::open(1);
    let pid = pool.run("pid");
    let lingers = pool.engine.register(LINGERS, "work").unwrap();
    let calls: Vec<_> = (0..=MOST_LINGERING).map(|number| linger(&pool, &lingers, &files.path(number))).collect();
    // The last has no room until another has ended.
    files.make(2);
    assert_eq!(pool.answer(&calls[2]), format!("{pid} {}", files.path(2)));
    files.make(MOST_LINGERING);
    assert_eq!(pool.answer(&calls[MOST_LINGERING]), format!("{pid} {}", files.path(MOST_LINGERING)));
    assert_eq!(pool.run("echo beside"), "beside", "noticed while the worker waits for files");
    for number in [3, 1, 0] {
        assert!(!calls[number].is_done());
        files.make(number);
        assert_eq!(pool.answer(&calls[number]), format!("{pid} {}", files.path(number)));
    }
    assert_eq!(pool.run("pid"), pid, "it is back to calls that return at once");
    pool.finish();
}

#[test]
fn worker_retires_when_the_last_of_its_calls_has_ended() {
    let files = Files::new("retiring");
    let pool = Pool::with(Choice { workers: 1, chunks_per_worker: 3, ..Choice::default() });
    let lingers = pool.engine.register(LINGERS, "work").unwrap();
    let first = pool.await_workers(1);
    let calls: Vec<_> = (0..4).map(|number| linger(&pool, &lingers, &files.path(number))).collect();
    files.make(3);
    files.make(1);
    assert_eq!(pool.answer(&calls[1]), format!("{} {}", first[0], files.path(1)));
    assert_eq!(pool.engine.pids(), first, "two are not done");
    files.make(0);
    files.make(2);
    let last = pool.answer(&calls[3]);
    assert!(!last.starts_with(&format!("{} ", first[0])), "the fourth is another worker's: {last}");
    pool.finish();
}

#[test]
fn worker_with_too_much_memory_takes_no_more_while_its_calls_go_on() {
    let files = Files::new("outgrown");
    let pool = Pool::with(Choice { setup: "retire 100", ..Choice::default() });
    let lingers = pool.engine.register(LINGERS, "work").unwrap();
    let pid = pool.run("pid");
    let calls = [0, 1].map(|number| linger(&pool, &lingers, &files.path(number)));
    // It is some milliseconds before there is another look.
    assert_eq!(pool.run("sleep 20; eat 150; pid"), pid);
    std::thread::sleep(Duration::from_secs(1));
    let late = linger(&pool, &lingers, &files.path(2));
    files.make(2);
    files.make(1);
    assert_eq!(pool.answer(&calls[1]), format!("{pid} {}", files.path(1)));
    std::thread::sleep(Duration::from_millis(50));
    assert!(!late.is_done(), "it waits for another worker");
    files.make(0);
    assert_eq!(pool.answer(&calls[0]), format!("{pid} {}", files.path(0)));
    let answer = pool.answer(&late);
    assert!(!answer.starts_with(&format!("{pid} ")), "{answer}");
    pool.finish();
}

#[test]
fn worker_with_room_takes_what_a_busy_one_was_woken_for() {
    let files = Files::new("busy");
    let pool = Pool::open(2);
    let lingers = pool.engine.register(LINGERS, "work").unwrap();
    pool.await_workers(2);
    let calls: Vec<_> = (0..MOST_LINGERING - 1).map(|number| linger(&pool, &lingers, &files.path(number))).collect();
    for _ in 0..5 {
        // Whoever takes it is busy, with calls under way or without; the other is there for the next.
        let gate = Gate::new();
        let busy = pool.begin(Terms::default(), &gate.step());
        assert_eq!(pool.run("echo other"), "other");
        gate.open();
        pool.wait(&busy);
    }
    (0..MOST_LINGERING - 1).for_each(|number| files.make(number));
    for call in &calls {
        pool.wait(call);
    }
    pool.finish();
}

#[test]
fn worker_that_dies_with_many_calls_loses_each_of_them_and_no_other() {
    let files = Files::new("dying");
    let pool = Pool::open(1);
    let pid: i32 = pool.run("pid").parse().unwrap();
    let lingers = pool.engine.register(LINGERS, "work").unwrap();
    let (mut input, mut ends) = (Vec::new(), Vec::new());
    for number in 0..3 {
        input.extend(item(files.path(number).as_bytes()));
        ends.push(input.len() as u64);
    }
    let submit_map = |retries| {
        let pending = Pending::new(None);
        let terms = Terms { retries, ..Terms::default() };
        pool.engine.submit_many(&lingers, &input, ends.clone(), Sizing::Fixed(3), terms, &pending).unwrap();
        pending
    };
    let maps = [submit_map(0), submit_map(1)];
    let lost = linger(&pool, &lingers, &files.path(0));
    assert_eq!(pool.run("echo all have begun"), "all have begun");
    let waiting: Vec<_> = (0..20).map(|_| pool.submit("sleep 1; echo late")).collect();
    kill(pid, 9);
    assert!(pool.answers(&lost)[0].as_ref().is_err_and(|death| death.signal == Some(9)));
    let answers = pool.answers(&maps[0]);
    assert!(answers.len() == 3 && answers.iter().all(Result::is_err), "all three ran side by side: {answers:?}");
    (0..3).for_each(|number| files.make(number));
    let answers = pool.answers(&maps[1]);
    assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|answer| !answer.starts_with(&pid.to_string()))));
    // The first of them may have been running, beside those that lingered.
    let lost = waiting.iter().filter(|job| pool.answers(job)[0].as_deref() != Ok("late")).count();
    assert!(lost <= 1, "{lost} calls were lost that had not begun");
    pool.finish();
}

#[test]
fn worker_that_is_killed_loses_the_calls_it_had_under_way_and_no_other() {
    let files = Files::new("killed");
    let pool = Pool::open(1);
    let lingers = pool.engine.register(LINGERS, "work").unwrap();
    let pid = pool.run("pid").parse().unwrap();
    let calls: Vec<_> = (0..=MOST_LINGERING).map(|number| linger(&pool, &lingers, &files.path(number))).collect();
    (0..MOST_LINGERING).for_each(|number| files.await_begun(number));
    // When this one has ended, the last is under way, or about to be.
    files.make(0);
    pool.wait(&calls[0]);
    kill(pid, libc::SIGKILL);
    let others = pool.submit("echo others");
    for call in &calls[1..MOST_LINGERING] {
        let death = pool.answers(call).pop().unwrap().unwrap_err();
        assert_eq!(death.pid, pid);
    }
    files.make(MOST_LINGERING);
    pool.wait(&calls[MOST_LINGERING]);
    assert_eq!(pool.answer(&others), "others");
    pool.finish();
}
