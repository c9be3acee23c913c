//! Call a function in a worker and wait for its result, whatever becomes of the call.
//!
//! Run it with `cargo run -p paceline --example apply`.

use paceline::{Pool, TaskError};
use std::error::Error;

#[paceline::task]
fn mean(numbers: Vec<f64>) -> Result<f64, String> {
    if numbers.is_empty() {
        return Err("there is no mean of nothing".to_owned());
    }
    #[expect(clippy::cast_precision_loss, reason = "a few numbers")]
    Ok(numbers.iter().sum::<f64>() / numbers.len() as f64)
}

#[paceline::task]
fn leave() {
    eprintln!("this worker is about to abort");
    std::process::abort();
}

fn main() -> Result<(), Box<dyn Error>> {
    paceline::init();
    let pool = Pool::builder().workers(2).build()?;

    // Two layers, as of a thread that is joined: what kept the call from ending, and what the function returns.
    println!("{:?}", pool.apply(mean, (vec![1.0, 2.0, 6.0],))?);
    println!("{:?}", pool.apply(mean, (vec![],))?);

    // A crash is an error of this one call, and there is another worker at once.
    match pool.apply(leave, ()) {
        Err(TaskError::Died { task, death }) => println!("{task} was lost: {death}"),
        other => println!("unexpected: {other:?}"),
    }
    println!("{:?}", pool.apply(mean, (vec![3.0, 4.0],))?);
    Ok(())
}
