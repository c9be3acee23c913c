//! Mistakes made on purpose are seen, each by the invariant that is there for it: the proof that the invariants would
//! see a mistake of the core.

use paceline_sim::{SABOTAGES, run_sabotaged};

/// Within how many seeds a mistake has to be seen.
const SEEDS: u64 = 2_000;

#[test]
fn every_mistake_is_seen_by_its_invariant() {
    // Distorted events may also run into the core's own assertions; those panics are not what is looked for here.
    std::panic::set_hook(Box::new(|_| {}));
    let mut unseen = Vec::new();
    for sabotage in SABOTAGES {
        let mut other = Vec::new();
        let is_seen = (0..SEEDS).any(|seed| match std::panic::catch_unwind(|| run_sabotaged(seed, sabotage.mistake)) {
            Ok(Err(violation)) if violation.invariant == sabotage.seen_by => true,
            Ok(Err(violation)) => {
                other.push(violation.invariant);
                false
            }
            Err(_) => {
                other.push("a panic");
                false
            }
            Ok(Ok(())) => false,
        });
        if !is_seen {
            other.sort_unstable();
            other.dedup();
            unseen.push(format!("{:?} is not seen by {}, but by {other:?}", sabotage.mistake, sabotage.seen_by));
        }
    }
    drop(std::panic::take_hook());
    assert!(unseen.is_empty(), "{}", unseen.join("\n"));
}
