//! Submit calls without waiting, look at their state while they run, and handle one that fails.
//!
//! Run it with `cargo run -p paceline --example future`.

use paceline::{AsyncResult, Pool, TaskError};
use std::error::Error;
use std::time::Duration;

#[paceline::task]
fn simulate(minutes: u64) -> String {
    assert!(minutes > 0, "the simulation has no time to run");
    std::thread::sleep(Duration::from_millis(minutes * 10));
    format!("{minutes} minutes simulated")
}

fn shown(results: &[AsyncResult<String>]) -> String {
    results.iter().map(|result| if result.ready() { "done " } else { ".... " }).collect()
}

fn main() -> Result<(), Box<dyn Error>> {
    paceline::init();
    let pool = Pool::builder().workers(2).build()?;

    let results: Vec<_> = [20, 10, 0, 30].map(|minutes| pool.apply_async(simulate, (minutes,))).into();
    while !results.iter().all(AsyncResult::ready) {
        println!("{}", shown(&results));
        results[3].wait_timeout(Duration::from_millis(100));
    }
    println!("{}\n", shown(&results));

    for result in results {
        println!("successful: {}", result.successful());
        match result.get() {
            Ok(value) => println!("    {value}"),
            Err(TaskError::Panicked { task, panic }) => println!("    {task} panicked: {panic}"),
            Err(other) => return Err(other.into()),
        }
    }
    println!("\n{}", pool.report());
    Ok(())
}
