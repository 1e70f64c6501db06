//! The state machine, told as packet traces: one engine, and a peer that is the
//! test. `sends` is what the peer puts on the wire, `expects` what must come next
//! from the engine; sequence numbers count from each side's initial one.

// A test that can't go on ends.
#![allow(clippy::unwrap_used)]

mod attack;
mod cells;
mod close;
mod data;
mod loss;
mod open;
mod path;
mod peer;
mod sack;
