//! Owns what is told of the work that a pool has done. Only looks at what happened.

use paceline_engine::Accounts;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

/// What one worker has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerReport {
    /// Its process id, or the system's id of the thread.
    pub pid: i32,
    /// How long it was at work.
    pub busy: Duration,
    /// How many tasks have ended there.
    pub tasks: u64,
    /// Which, by their numbers in the order of submission, in the order in which they ended.
    pub numbers: Vec<Range<u64>>,
}

/// How the work of a pool was spread over its workers: of [`Pool::report`](crate::Pool::report).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// From the first submission to the last end so far; to now, while tasks are out.
    pub wall: Duration,
    /// Each worker that has run anything, also if it has been replaced since.
    pub workers: Vec<WorkerReport>,
}

/// So many numbers of tasks are printed.
const NUMBERS_SHOWN: usize = 20;

impl Report {
    pub(crate) fn of(accounts: &Accounts) -> Self {
        let workers = accounts.workers.iter().filter(|account| account.ended_items > 0).map(|account| WorkerReport {
            pid: account.pid,
            busy: Duration::from_nanos(account.busy_ns),
            tasks: account.ended_items,
            numbers: account.items.clone(),
        });
        let wall_ns = accounts.began_ns.map_or(0, |began_ns| accounts.ended_ns.saturating_sub(began_ns));
        Self { wall: Duration::from_nanos(wall_ns), workers: workers.collect() }
    }

    /// How many tasks have ended.
    #[must_use]
    pub fn tasks(&self) -> u64 {
        self.workers.iter().map(|worker| worker.tasks).sum()
    }

    /// The time at work, summed over the workers.
    #[must_use]
    pub fn work(&self) -> Duration {
        self.workers.iter().map(|worker| worker.busy).sum()
    }
}

impl WorkerReport {
    /// Some of the numbers, as a tuple of them is written.
    fn shown(&self) -> String {
        let numbers = self.numbers.iter().cloned().flatten().take(NUMBERS_SHOWN).map(|number| number.to_string());
        let shown = numbers.collect::<Vec<_>>().join(", ");
        if self.tasks > NUMBERS_SHOWN as u64 { format!("({shown}, ...)") } else { format!("({shown})") }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widest = |texts: &mut dyn Iterator<Item = String>| texts.map(|text| text.len()).max().unwrap_or(0);
        let pid_width = widest(&mut self.workers.iter().map(|worker| worker.pid.to_string()));
        let time_width = widest(&mut self.workers.iter().map(|worker| format!("{:.4}", worker.busy.as_secs_f64())));
        let count_width = widest(&mut self.workers.iter().map(|worker| worker.tasks.to_string()));
        let number_width = self.workers.len().to_string().len().max(2);
        for (number, worker) in (1..).zip(&self.workers) {
            writeln!(
                to,
                "Worker {number:>number_width$} ({:>pid_width$})    {:>time_width$.4}(s)    {:>count_width$} task(s) {}",
                worker.pid,
                worker.busy.as_secs_f64(),
                worker.tasks,
                worker.shown(),
            )?;
        }
        writeln!(to, "      Total work done (s){:13.4}", self.work().as_secs_f64())?;
        write!(to, "      Wall clock time (s){:13.4}", self.wall.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_prints_as_a_table() {
        #[expect(clippy::single_range_in_vec_init, reason = "one task, one range")]
        let first = vec![0..1];
        let worker =
            |pid, busy, tasks, numbers| WorkerReport { pid, busy: Duration::from_millis(busy), tasks, numbers };
        let workers = vec![worker(4916, 1_000, 1, first), worker(4917, 1_100, 3, vec![1..3, 9..10])];
        let report = Report { wall: Duration::from_millis(1_250), workers };
        assert_eq!(
            report.to_string(),
            "Worker  1 (4916)    1.0000(s)    1 task(s) (0)\n\
             Worker  2 (4917)    1.1000(s)    3 task(s) (1, 2, 9)\n      \
             Total work done (s)       2.1000\n      \
             Wall clock time (s)       1.2500",
        );
    }
}
