//! The engine and this machine's kernel as each other's peer, over good wires and
//! bad ones: every byte arrives once and in order, and every connection ends in
//! the right state on both sides.
//!
//! ```text
//! engine: veth0 (Shard) ==== relay (loss, delay, ...) ==== veth0 (sockets) :kernel
//! ```
//!
//! A conversation is written once, for two [`host::Host`]s; it runs with the
//! engine at either end, over IPv4 and IPv6.

// A test that can't go on ends.
#![allow(clippy::unwrap_used)]

mod content;
mod endings;
mod engine;
mod fast_open;
mod host;
mod kernel;
mod lab;
