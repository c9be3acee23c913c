//! Owns how much memory a process has: what it alone has touched, as the system counts it. Never decides how much is
//! too much.

use rustix::param::page_size;

/// The bytes of memory that this process has for itself; none if the system does not tell, or the process is gone.
///
/// Pages of files and of shared memory do not count: the table and the arenas belong to the pool.
pub(crate) fn of_process(pid: i32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let mut pages = text.split_ascii_whitespace().skip(1).map(|field| field.parse::<u64>().ok());
    let (resident, shared) = (pages.next()??, pages.next()??);
    Some(resident.saturating_sub(shared) * page_size() as u64)
}

/// Weighs one process again and again, against a limit.
///
/// A process that was forked has pages in common with the one it was forked from, until either writes to them. They are
/// no burden, and the quick count does not tell them apart; so what seems too much is counted exactly, which takes longer,
/// and what was found to be in common is taken off from then on.
#[derive(Debug, Default)]
pub(crate) struct Scale {
    in_common: u64,
}

impl Scale {
    /// The bytes that this process has for itself, if they are more than the limit.
    pub(crate) fn over(&mut self, pid: i32, limit: u64) -> Option<u64> {
        let touched = of_process(pid)?;
        if touched.saturating_sub(self.in_common) <= limit {
            return None;
        }
        let own = exactly(pid).map_or(touched, |exact| exact.min(touched));
        self.in_common = touched - own;
        (own > limit).then_some(own)
    }
}

/// The bytes of the pages that no other process has; none if the system does not tell.
fn exactly(pid: i32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let private = text.lines().filter(|line| line.starts_with("Private_"));
    let kilobytes = private.filter_map(|line| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok());
    Some(kilobytes.sum::<u64>() << 10)
}

/// How many pages this process has had to be given, or to take over, since it began.
#[must_use]
pub fn page_faults() -> u64 {
    // SAFETY: zeros are a valid value of the structure, and the call fills it in.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    usage.ru_minflt.cast_unsigned().saturating_add(usage.ru_majflt.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::process::{Command, Stdio};

    #[test]
    fn touched_memory_is_counted() {
        let us = std::process::id().cast_signed();
        let before = of_process(us).unwrap();
        let touched = vec![1_u8; 64 << 20];
        let after = of_process(us).unwrap();
        assert!(after >= before + (60 << 20), "{before} {after} {}", touched.len());
        let mut scale = Scale::default();
        assert!(scale.over(us, 50 << 20).is_some_and(|own| own >= 60 << 20));
        assert_eq!(scale.over(us, 1 << 40), None);
        assert_eq!(of_process(-1), None);
    }

    #[test]
    fn process_that_is_killed_has_no_memory_by_the_time_its_files_are_closed() {
        for _ in 0..20 {
            let mut child = Command::new("sleep").arg("60").stdout(Stdio::piped()).spawn().unwrap();
            let pid = child.id().cast_signed();
            assert!(of_process(pid).is_some_and(|bytes| bytes > 0));
            child.kill().unwrap();
            child.stdout.take().unwrap().read_to_end(&mut Vec::new()).unwrap();
            assert!(matches!(of_process(pid), None | Some(0)));
            child.wait().unwrap();
        }
    }
}
