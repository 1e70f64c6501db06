//! The Ringmill engine: a TCP/IP stack as a deterministic library.
//!
//! Nothing in here reads a clock, draws entropy, opens a file or a socket,
//! starts a thread or looks at the environment. Time, the random seed and the
//! frames come in as arguments, so one seed replays a run exactly. The crate
//! that touches the machine is `ringmill` (engine/host).
//!
//! The way of a frame, which is also the order of [`shard::Shard::step`]:
//!
//! ```text
//! Driver::rx -> wire -> flow lookup -> tcp input -> App -> tcp output -> wire -> Driver::tx
//! ```
#![deny(unsafe_code)]

pub mod address;
pub mod app;
pub mod driver;
pub mod flow;
pub mod frame;
mod locals;
pub mod neighbor;
mod path;
pub mod ports;
pub mod rng;
pub mod rss;
pub mod seq;
pub mod shard;
mod siblings;
mod slab;
pub mod sockets;
pub mod stack;
pub mod stats;
pub mod tcp;
pub mod time;
pub mod wheel;
pub mod wire;
