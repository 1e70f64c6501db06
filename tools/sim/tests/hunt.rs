//! A short hunt. `RINGMILL_SEEDS=1000000 cargo test --release -p ringmill-sim`
//! hunts for longer, `RINGMILL_SEED` says from which seed on.

// A test that can't go on ends.
#![allow(clippy::unwrap_used)]

use ringmill_sim::Edition;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

#[test]
fn no_seed_breaks_a_rule() {
    let first = number("RINGMILL_SEED", 0);
    let seeds = first..first + number("RINGMILL_SEEDS", 1_000);
    let threads = std::thread::available_parallelism().map_or(1, Into::into);
    let (effort, broken) = ringmill_sim::hunt(seeds, threads, 20, |found| {
        println!("seed {}: {}", found.seed, found.rule);
    });
    println!("{effort:?}");
    assert!(broken.is_empty(), "{} seeds broke a rule", broken.len());
}

/// Seeds that broke a rule once, and what they found.
const KEPT: [(Edition, u64, &str); 2] = [
    (
        Edition::First,
        287_878,
        "what waited for a silent next hop had the timer of a flight, and never left",
    ),
    (
        Edition::First,
        153_052,
        "a window opened before a probe could leave, and what left then had no timer",
    ),
];

#[test]
fn no_seed_that_was_kept_breaks_a_rule_again() {
    for (edition, seed, found) in KEPT {
        let outcome = ringmill_sim::run(seed, edition);
        if outcome.is_err() {
            // Shown with the failure.
            let _ = ringmill_sim::trace(seed, edition);
        }
        assert!(outcome.is_ok(), "{outcome:?}: {found}");
    }
}

#[test]
fn a_seed_replays_whatever_runs_beside_it() {
    let alone = ringmill_sim::hunt(100..120, 1, 1, |_| {});
    assert_eq!(alone, ringmill_sim::hunt(100..120, 7, 1, |_| {}));
    assert_ne!(alone, ringmill_sim::hunt(101..121, 1, 1, |_| {}));
}
