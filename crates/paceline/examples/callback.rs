//! Have results handed to a function as they come, while the program does something else.
//!
//! Run it with `cargo run -p paceline --example callback`.

use paceline::Pool;
use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[paceline::task]
fn wait(milliseconds: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(milliseconds));
    milliseconds
}

fn main() -> Result<(), Box<dyn Error>> {
    paceline::init();
    let pool = Pool::builder().workers(3).build()?;
    let done = Arc::<Mutex<Vec<u64>>>::default();

    for milliseconds in [120, 40, 80] {
        let done = Arc::clone(&done);
        pool.apply_async(wait, (milliseconds,)).callback(move |result| match result {
            Ok(milliseconds) => {
                println!("waited for {milliseconds} ms");
                done.lock().unwrap().push(milliseconds);
            }
            Err(error) => println!("{error}"),
        });
    }
    println!("everything is submitted");

    // Waits for the calls and for their callbacks.
    pool.join();
    println!("all: {:?}", done.lock().unwrap());
    Ok(())
}
