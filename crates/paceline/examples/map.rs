//! Map a function over many items of unequal length, with chunks of several sizes, and see how the load was spread.
//!
//! Run it with `cargo run --release -p paceline --example map`.

use paceline::Pool;
use std::error::Error;
use std::time::Instant;

/// How many steps of Collatz's sequence lead from a number to one, for all numbers up to a bound.
#[paceline::task]
fn longest_way(bound: u64) -> u64 {
    let steps = |start: u64| {
        std::iter::successors(Some(start), |number| match number {
            1 => None,
            even if even % 2 == 0 => Some(even / 2),
            odd => Some(3 * odd + 1),
        })
        .count() as u64
    };
    (1..=bound).map(steps).max().unwrap_or(0)
}

fn main() -> Result<(), Box<dyn Error>> {
    paceline::init();
    let bounds: Vec<u64> = (0..400).map(|number| (number * 7_919) % 3_000).collect();

    for chunk_size in [None, Some(1), Some(50), Some(200)] {
        let pool = Pool::builder().workers(4).build()?;
        let began = Instant::now();
        let sized = chunk_size.map_or_else(|| pool.clone(), |items| pool.with_chunk_size(items));
        let longest = sized.map(longest_way, bounds.iter().copied())?;
        let size = chunk_size.map_or_else(|| "by measured time".to_owned(), |items| format!("of {items}"));
        println!("chunks {size}: {:.3} s, longest way {:?}", began.elapsed().as_secs_f64(), longest.iter().max());
        println!("{}\n", pool.report());
    }
    Ok(())
}
