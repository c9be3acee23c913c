//! Owns what the system tells of a process's threads: for how long each ran on a CPU, and for how long it could have, but
//! had to wait for one. Never decides what follows from that.
//!
//! Nobody has to measure anything for it: the system counts. Whoever asks reads one small file for each thread. Of a thread
//! that has ended nothing is left to read, so a worker that leaves tells its own, if it has others than those that each
//! worker has.

use paceline_ipc::message::{MOST_THREADS, ThreadTime};
use std::cmp::Reverse;
use std::fs;
use std::os::linux::fs::MetadataExt;
use std::path::Path;

/// A thread that ran for less was not at work.
const LEAST_NS: u64 = 1_000_000;

/// The times of the main thread of a process, and of the others that were at work, those that wanted a CPU for longest
/// first; none where the system does not count them.
pub(crate) fn of_process(pid: i32) -> Vec<ThreadTime> {
    let folder = format!("/proc/{pid}/task");
    let Some(main) = of_thread(&Path::new(&folder).join(pid.to_string())) else { return Vec::new() };
    let Ok(threads) = fs::read_dir(&folder) else { return Vec::new() };
    // Any of them may end meanwhile.
    let others = threads.flatten().filter(|thread| thread.file_name().to_str() != Some(&*pid.to_string()));
    let mut told: Vec<_> = others.filter_map(|thread| of_thread(&thread.path())).collect();
    told.retain(|thread| thread.ran_ns >= LEAST_NS);
    told.sort_by_key(|thread| Reverse(thread.ran_ns.saturating_add(thread.waited_ns)));
    told.truncate(MOST_THREADS - 1);
    told.insert(0, main);
    told
}

/// The same of the process that asks, if it has more threads than so many.
pub(crate) fn own_if_more_than(threads: u64) -> Vec<ThreadTime> {
    // A folder has as many links as it has folders in it, and two; to look at that costs a microsecond.
    let has_more = fs::metadata("/proc/self/task").is_ok_and(|folder| folder.st_nlink() > threads + 2);
    if has_more { of_process(std::process::id().cast_signed()) } else { Vec::new() }
}

fn of_thread(folder: &Path) -> Option<ThreadTime> {
    let (ran_ns, waited_ns) = times(&fs::read_to_string(folder.join("schedstat")).ok()?)?;
    let name = fs::read(folder.join("comm")).ok()?;
    Some(ThreadTime { ran_ns, waited_ns, name: String::from_utf8_lossy(name.trim_ascii_end()).into_owned() })
}

/// How long it ran, and how long it waited.
fn times(text: &str) -> Option<(u64, u64)> {
    let mut numbers = text.split_ascii_whitespace().map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn threads_that_are_at_work_are_told_with_their_times_and_names() {
        let (working, at_work) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name("at work".into()).spawn(move || {
            let folder = fs::read_link("/proc/thread-self").unwrap();
            let of_this = || times(&fs::read_to_string(format!("/proc/{}/schedstat", folder.display())).ok()?);
            // Where the system counts nothing there is nothing to see.
            while of_this().is_some_and(|(ran_ns, _)| ran_ns > 0 && ran_ns < 2 * LEAST_NS) {}
            working.send(of_this()).unwrap();
            let _ = ended.recv();
        });
        if let Some((ran_ns, waited_ns)) = at_work.recv().unwrap().filter(|(ran_ns, _)| *ran_ns > 0) {
            let told = of_process(std::process::id().cast_signed());
            let told = told.iter().find(|told| told.name == "at work").unwrap();
            assert!(told.ran_ns >= ran_ns && told.waited_ns >= waited_ns, "{told:?}");
            assert!(own_if_more_than(1).iter().any(|told| told.name == "at work"));
        }
        assert_eq!(own_if_more_than(1 << 20), []);
        drop(end);
        thread.unwrap().join().unwrap();
        assert_eq!(of_process(-1), []);
    }

    #[test]
    fn what_the_system_writes_is_read() {
        assert_eq!(times("881148 17 1\n"), Some((881_148, 17)));
        assert_eq!(times("881148\n"), None);
        assert_eq!(times("none of ours"), None);
    }
}
