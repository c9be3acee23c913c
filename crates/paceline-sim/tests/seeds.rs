//! Ten thousand seeds hold. The binary runs more.

use paceline_sim::run_seed;

const SEEDS: u64 = 10_000;

fn run(seeds: impl Iterator<Item = u64>) {
    for seed in seeds {
        let what = match std::panic::catch_unwind(|| run_seed(seed)) {
            Ok(Ok(())) => continue,
            Ok(Err(violation)) => format!("{}: {}", violation.invariant, violation.what),
            Err(_) => "the core panicked".to_owned(),
        };
        panic!("seed {seed} fails: {what}\nhint: replay it with `cargo run -p paceline-sim -- --seed {seed}`");
    }
}

#[test]
fn every_invariant_holds_for_the_even_half_of_ten_thousand_seeds() {
    run((0..SEEDS).step_by(2));
}

#[test]
fn every_invariant_holds_for_the_odd_half_of_ten_thousand_seeds() {
    run((1..SEEDS).step_by(2));
}

#[test]
fn same_seed_gives_the_same_run() {
    for seed in 0..20 {
        assert_eq!(paceline_sim::replay(seed, None).trace, paceline_sim::replay(seed, None).trace);
    }
}
