//! Answers one question: what does a job of one item cost in the core, from its submission to its end? Prints
//! nanoseconds for an empty pool, for a table that is kept full, and for a backlog of a million jobs.

use std::time::Instant;

use paceline_core::{ChunkId, Command, Config, Event, JobId, Moment, Scheduler, Sizing, Terms, Tokens};

const JOBS: u32 = 2_000_000;

/// A pool whose chunks finish in the order in which they were published, with so many jobs in it at all times.
fn nanoseconds_a_job(jobs_ahead: u32, table_slots: u32) -> f64 {
    let mut scheduler = Scheduler::new(Config {
        workers: 2,
        table_slots,
        start_timeout_ns: 0,
        is_memory_limited: false,
        tokens: Tokens::default(),
    });
    let mut commands = Vec::new();
    let mut out: std::collections::VecDeque<ChunkId> = std::collections::VecDeque::new();
    scheduler.handle(Moment(0), Event::PoolOpened, &mut commands);
    let mut free: Vec<u32> = (0..=jobs_ahead).rev().collect();
    let mut timed_from = Instant::now();
    for step in 0..JOBS + 2 * jobs_ahead {
        if step == 2 * jobs_ahead {
            timed_from = Instant::now();
        }
        let job = JobId(free.pop().expect("a number for each job that runs"));
        let submission = Event::JobSubmitted { job, items: 1, sizing: Sizing::Fixed(1), terms: Terms::default() };
        scheduler.handle(Moment(u64::from(step)), submission, &mut commands);
        take(&mut commands, &mut out, &mut free);
        if step >= jobs_ahead {
            let chunk = out.pop_front().expect("something is published");
            scheduler.handle(Moment(u64::from(step)), Event::ChunkFinished { chunk, busy_ns: 100 }, &mut commands);
            take(&mut commands, &mut out, &mut free);
        }
    }
    timed_from.elapsed().as_secs_f64() * 1e9 / f64::from(JOBS)
}

/// Reads the answer, as the engine does.
fn take(commands: &mut Vec<Command>, out: &mut std::collections::VecDeque<ChunkId>, free: &mut Vec<u32>) {
    for command in commands.drain(..) {
        match command {
            Command::Publish { chunk, .. } => out.push_back(chunk),
            Command::FinishJob { job, .. } => free.push(job.0),
            _ => {}
        }
    }
}

fn main() {
    println!("empty pool:              {:.1} ns a job", nanoseconds_a_job(0, 1_024));
    println!("table kept full:         {:.1} ns a job", nanoseconds_a_job(1_024, 1_024));
    println!("backlog of 1,000,000:    {:.1} ns a job", nanoseconds_a_job(1_000_000, 1_024));
}
