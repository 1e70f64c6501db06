//! The traces of `main.rs`, on IPv6.

// A test that can't go on ends.
#![allow(clippy::unwrap_used)]

mod abuse;
mod attack;
mod cells;
mod close;
mod data;
mod ecn;
mod fast_open;
mod floods;
mod greedy;
mod held_up;
mod hostile;
mod ipv6;
mod listing;
mod loss;
mod network;
mod open;
mod options;
mod path;
mod peer;
mod push;
mod queues;
mod required;
mod right_sizing;
mod sack;
mod settings;
mod urgent;
mod window_scale;
mod wrap;

/// What the peer and the engine speak here.
const FAMILY: peer::Family = peer::Family::V6;

/// A file of traces that one of the two binaries does not know would never run on
/// its family.
#[test]
fn both_families_run_the_same_traces() {
    let modules = |text: &str| -> Vec<String> {
        let of_one_family = ["mod ipv4;", "mod ipv6;"];
        let lines = text.lines().filter(|line| line.starts_with("mod "));
        lines
            .filter(|line| !of_one_family.contains(line))
            .map(str::to_owned)
            .collect()
    };
    let here = modules(include_str!("v6.rs"));
    assert!(here.len() > 5);
    assert_eq!(modules(include_str!("main.rs")), here);
}
