//! Owns the command line of the simulation: many seeds in a row, or one with everything that happens in it.

use std::process::ExitCode;

use paceline_sim::{replay, run_seed};

const USAGE: &str = "usage: paceline-sim [--seeds COUNT] [--first-seed SEED] | --seed SEED";

/// After so many failing seeds the rest would tell nothing new.
const MOST_FAILURES: usize = 20;

/// What to run.
struct Options {
    first_seed: u64,
    seeds: u64,
    is_traced: bool,
}

fn main() -> ExitCode {
    let Some(options) = parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    if options.is_traced {
        return show(options.first_seed);
    }
    let mut failing = Vec::new();
    for seed in options.first_seed..options.first_seed.saturating_add(options.seeds) {
        // A panic of the core is a failure like any other; its message is printed by the panic itself.
        match std::panic::catch_unwind(|| run_seed(seed)) {
            Ok(Ok(())) => continue,
            Ok(Err(violation)) => tell(seed, &format!("{}: {}", violation.invariant, violation.what)),
            Err(_) => tell(seed, "the core panicked"),
        }
        failing.push(seed);
        if failing.len() == MOST_FAILURES {
            eprintln!("{MOST_FAILURES} seeds fail; the rest is not run");
            break;
        }
    }
    if failing.is_empty() {
        println!("{} seeds from {} hold", options.seeds, options.first_seed);
        return ExitCode::SUCCESS;
    }
    eprintln!("failing seeds: {failing:?}");
    eprintln!("hint: replay one with `make sim SEED={}`", failing[0]);
    ExitCode::FAILURE
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Options> {
    let mut options = Options { first_seed: 0, seeds: 10_000, is_traced: false };
    while let Some(name) = arguments.next() {
        let number = arguments.next()?.parse().ok()?;
        match name.as_str() {
            "--seeds" => options.seeds = number,
            "--first-seed" => options.first_seed = number,
            "--seed" => (options.first_seed, options.is_traced) = (number, true),
            _ => return None,
        }
    }
    Some(options)
}

fn show(seed: u64) -> ExitCode {
    let report = replay(seed, None);
    println!("{}", report.scenario);
    report.trace.iter().for_each(|line| println!("{line}"));
    match report.outcome {
        Ok(()) => {
            println!("seed {seed} holds");
            ExitCode::SUCCESS
        }
        Err(violation) => {
            tell(seed, &format!("{}: {}", violation.invariant, violation.what));
            ExitCode::FAILURE
        }
    }
}

fn tell(seed: u64, what: &str) {
    eprintln!("seed {seed} fails: {what}");
}
