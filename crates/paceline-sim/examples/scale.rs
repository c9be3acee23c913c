//! Answers one question: how much of a cluster's time is spent in tasks, if one driver, or several, hand them out in
//! chunks? Plays the hand-over in virtual time, chunk by chunk, and prints a row of tab-separated values for each row of
//! the same kind that it reads from standard input.
//!
//! A row is: what handing one chunk over costs its driver, with all that is done in turn on the way (ns); the time from
//! there to a host and back (ns); what one task more in a chunk costs the driver (ns); drivers; hosts; workers of each
//! host; tasks; seconds of each task; tasks of each chunk; chunks that a host has at a time. It is followed by: the time of
//! the run (s), the share of the workers' time that was spent in tasks, the share of the drivers' time that they were
//! busy.
//!
//! The model: a driver is one server with a queue. A chunk passes it twice, when it is handed over and when its results
//! come back; the cost is split evenly between the two. A host splits its chunk among its workers, who take tasks in
//! turn; it begins with a chunk when one of its workers has nothing else to do. Tasks of one chunk take times that are
//! exponentially distributed about the given mean, so that a host's last worker is late as it is in life. The last chunks
//! of all are as large as the others: what makes the end even is left out, so the figures are a little too low.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{BufRead, stdin};

/// Beyond these, a run is cut short: it is the same from its middle on.
const MOST_CHUNKS: u64 = 20_000;
/// Of more tasks than these, the sum of their times is drawn instead of each.
const MOST_DRAWN: u64 = 64;

#[derive(Clone, Copy, Debug)]
struct Case {
    chunk_ns: f64,
    way_ns: f64,
    task_cost_ns: f64,
    drivers: usize,
    hosts: usize,
    workers: usize,
    tasks: u64,
    task_ns: f64,
    chunk: u64,
    ahead: usize,
}

#[derive(Clone, Copy, Debug)]
struct Outcome {
    seconds: f64,
    in_tasks: f64,
    of_drivers: f64,
}

/// A generator of pseudo-random numbers, the same each time.
struct Chance(u64);

impl Chance {
    /// Between 0 and 1, neither of them.
    #[expect(clippy::cast_precision_loss, reason = "53 bits")]
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    fn exponential(&mut self) -> f64 {
        -self.share().ln()
    }

    /// Normal with mean 0 and variance 1, by Box and Muller ("A Note on the Generation of Random Normal Deviates", 1958).
    fn normal(&mut self) -> f64 {
        (-2.0 * self.share().ln()).sqrt() * (std::f64::consts::TAU * self.share()).cos()
    }

    /// The sum of so many times with a mean of 1.
    #[expect(clippy::cast_precision_loss, reason = "a chunk has fewer than 2^52 tasks")]
    fn sum(&mut self, count: u64) -> f64 {
        if count <= MOST_DRAWN {
            (0..count).map(|_| self.exponential()).sum()
        } else {
            (count as f64 + (count as f64).sqrt() * self.normal()).max(0.0)
        }
    }
}

/// Times in nanoseconds as they are ordered in the agenda; fractions do not matter.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "virtual times are positive and short")]
fn whole(ns: f64) -> u64 {
    ns as u64
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// A chunk of so many tasks arrives at a host.
    Arrives(usize, u64),
    /// A worker of a host has done so many tasks of the chunk with this number there.
    Ends(usize, usize, u64),
    /// The results of a chunk are back at the driver.
    Back(usize, u64),
}

/// A chunk that a host has.
struct Chunk {
    tasks: u64,
    to_begin: u64,
    to_end: u64,
}

struct Host {
    idle: usize,
    chunks: Vec<Chunk>,
    /// The first of them of which something is left to begin.
    oldest: usize,
}

struct World {
    case: Case,
    chance: Chance,
    agenda: BinaryHeap<Reverse<(u64, Step)>>,
    hosts: Vec<Host>,
    /// When each driver has done all that it was asked for so far, and how long it was busy.
    free_at: Vec<f64>,
    busy: f64,
    /// For each driver: the tasks that it has not handed over yet.
    left: Vec<u64>,
    in_tasks: f64,
}

impl World {
    fn new(case: Case, tasks: u64) -> Self {
        // Each driver has its part of the tasks, as large as its part of the hosts.
        let share = |driver: usize| (case.hosts - driver).div_ceil(case.drivers) as u64 * tasks / case.hosts as u64;
        Self {
            case,
            chance: Chance(1),
            agenda: BinaryHeap::new(),
            hosts: (0..case.hosts).map(|_| Host { idle: case.workers, chunks: Vec::new(), oldest: 0 }).collect(),
            free_at: vec![0.0; case.drivers],
            busy: 0.0,
            left: (0..case.drivers).map(share).collect(),
            in_tasks: 0.0,
        }
    }

    /// Has a driver do something for a chunk; when it is done with that.
    #[expect(clippy::cast_precision_loss, reason = "a chunk has fewer than 2^52 tasks")]
    fn drive(&mut self, driver: usize, now: f64, tasks: u64) -> f64 {
        let cost = 0.5 * (self.case.chunk_ns + self.case.task_cost_ns * tasks as f64);
        self.busy += cost;
        self.free_at[driver] = self.free_at[driver].max(now) + cost;
        self.free_at[driver]
    }

    /// Hosts are dealt out among the drivers in turn.
    fn driver_of(&self, host: usize) -> usize {
        host % self.case.drivers
    }

    /// Hands the next chunk over to a host, if there is one.
    fn send(&mut self, now: f64, host: usize) {
        let driver = self.driver_of(host);
        let tasks = self.case.chunk.min(self.left[driver]);
        if tasks > 0 {
            self.left[driver] -= tasks;
            let sent = self.drive(driver, now, tasks);
            self.agenda.push(Reverse((whole(sent + self.case.way_ns / 2.0), Step::Arrives(host, tasks))));
        }
    }

    /// Has idle workers of a host begin with what there is.
    fn begin(&mut self, now: f64, host: usize) {
        let workers = self.case.workers as u64;
        let Host { idle, chunks, oldest } = &mut self.hosts[host];
        while *idle > 0
            && let Some(chunk) = chunks.get_mut(*oldest)
        {
            let piece = chunk.to_begin.div_ceil(2 * workers).max(chunk.tasks / (8 * workers)).min(chunk.to_begin);
            chunk.to_begin -= piece;
            *idle -= 1;
            let took = self.chance.sum(piece) * self.case.task_ns;
            self.in_tasks += took;
            self.agenda.push(Reverse((whole(now + took), Step::Ends(host, *oldest, piece))));
            *oldest += usize::from(chunk.to_begin == 0);
        }
    }

    /// Plays until nothing is left; when that was.
    #[expect(clippy::cast_precision_loss, reason = "virtual times are far below 2^52 ns")]
    fn play(&mut self) -> f64 {
        for _ in 0..self.case.ahead {
            for host in 0..self.case.hosts {
                self.send(0.0, host);
            }
        }
        let mut end = 0.0_f64;
        while let Some(Reverse((at, step))) = self.agenda.pop() {
            let now = at as f64;
            match step {
                Step::Arrives(host, tasks) => {
                    self.hosts[host].chunks.push(Chunk { tasks, to_begin: tasks, to_end: tasks });
                    self.begin(now, host);
                }
                Step::Ends(host, number, piece) => {
                    self.hosts[host].idle += 1;
                    let chunk = &mut self.hosts[host].chunks[number];
                    chunk.to_end -= piece;
                    if chunk.to_end == 0 {
                        let back = Step::Back(host, chunk.tasks);
                        self.agenda.push(Reverse((whole(now + self.case.way_ns / 2.0), back)));
                    }
                    self.begin(now, host);
                }
                Step::Back(host, tasks) => {
                    let settled = self.drive(self.driver_of(host), now, tasks);
                    end = end.max(settled);
                    self.send(settled, host);
                }
            }
        }
        end
    }
}

#[expect(clippy::cast_precision_loss, reason = "shares of times")]
fn played(case: Case) -> Outcome {
    let tasks = case.tasks.min(MOST_CHUNKS * case.chunk);
    let mut world = World::new(case, tasks);
    let end = world.play();
    let workers = (case.hosts * case.workers) as f64;
    Outcome {
        seconds: end / 1e9 * (case.tasks as f64 / tasks as f64),
        in_tasks: world.in_tasks / (workers * end),
        of_drivers: world.busy / (case.drivers as f64 * end),
    }
}

fn case_of(line: &str) -> Option<Case> {
    let mut fields = line.split('\t');
    let mut number = || fields.next()?.trim().parse::<f64>().ok();
    let [chunk_ns, way_ns, task_cost_ns] = [number()?, number()?, number()?];
    let mut whole = || fields.next()?.trim().parse::<u64>().ok();
    let [drivers, hosts, workers, tasks] = [whole()?, whole()?, whole()?, whole()?];
    let task_ns = fields.next()?.trim().parse::<f64>().ok()? * 1e9;
    let mut whole = || fields.next()?.trim().parse::<u64>().ok();
    let [chunk, ahead] = [whole()?, whole()?];
    let size = |number: u64| usize::try_from(number).ok();
    Some(Case {
        chunk_ns,
        way_ns,
        task_cost_ns,
        drivers: size(drivers)?,
        hosts: size(hosts)?,
        workers: size(workers)?,
        tasks,
        task_ns,
        chunk,
        ahead: size(ahead)?,
    })
}

fn main() {
    for line in stdin().lock().lines() {
        let line = line.expect("standard input can be read");
        let case = case_of(&line).unwrap_or_else(|| panic!("this is no case: {line:?}"));
        let outcome = played(case);
        println!("{line}\t{:.6}\t{:.6}\t{:.6}", outcome.seconds, outcome.in_tasks, outcome.of_drivers);
    }
}
