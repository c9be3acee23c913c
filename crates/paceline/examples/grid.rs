//! Evaluate a function on a grid of parameters and print a table, in which a cell may fail without the others.
//!
//! Run it with `cargo run --release -p paceline --example grid`.

use paceline::{Pool, current_task};
use std::error::Error;
use std::time::Duration;

/// Estimates pi by throwing darts at a square. Each cell has random numbers of its own, the same in every run.
#[paceline::task]
fn estimate(darts: u32, dimensions: u32) -> f64 {
    assert!(dimensions > 1, "a circle needs two dimensions");
    let mut state = current_task().map_or(1, |task| task.seed());
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from(u32::try_from(state >> 32).unwrap_or(0)) / f64::from(u32::MAX)
    };
    let mut inside = || (0..dimensions).map(|_| random().powi(2)).sum::<f64>() < 1.0;
    let share = f64::from(u32::try_from((0..darts).filter(|_| inside()).count()).unwrap_or(0)) / f64::from(darts);
    match dimensions {
        2 => 4.0 * share,
        3 => 6.0 * share,
        _ => (32.0 * share).sqrt(),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    paceline::init();
    let pool = Pool::builder().workers(4).seed(7).timeout(Duration::from_secs(10)).build()?;
    let darts = [1_000, 10_000, 100_000, 1_000_000];
    let dimensions = [1, 2, 3, 4];

    let rows =
        dimensions.map(|dimensions| (dimensions, darts.map(|darts| pool.apply_async(estimate, (darts, dimensions)))));
    println!("{:>10} {}", "", darts.map(|darts| format!("{darts:>9}")).join(" "));
    for (dimensions, cells) in rows {
        let shown = cells.map(|cell| match cell.get() {
            Ok(pi) => format!("{pi:>9.5}"),
            Err(_) => format!("{:>9}", "-"),
        });
        println!("dimensions {dimensions} {}", shown.join(" "));
    }
    println!("\n{}", pool.report());
    Ok(())
}
