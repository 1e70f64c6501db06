//! The state machine, told as packet traces: one engine, and a peer that is the
//! test. `sends` is what the peer puts on the wire, `expects` what must come next
//! from the engine; sequence numbers count from each side's initial one.
//!
//! Here all traces run on IPv4; `v6.rs` runs the same files on IPv6. The engine's
//! MTU there is 20 bytes more, as the header is, so that numbers are the same.

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
mod ipv4;
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
const FAMILY: peer::Family = peer::Family::V4;
