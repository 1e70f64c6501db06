//! The engine behind packetdrill's interface for stacks in user space.
//!
//! packetdrill loads this library (`--so_filename`), calls
//! [`packetdrill_interface_init`] once a script, and then makes every system
//! call, injects every packet and reads every clock through the table of
//! functions that this fills in. Time is virtual: it passes when packetdrill
//! sleeps or waits for a packet, and a script of an hour takes no time.
//!
//! ```text
//! calls (C)        host                   world                    core
//! socket call ---> lock, block, wake ---> descriptors -> Sockets -> Shard::step
//! netdev_send ---> virtual time      ---> port: bare IP  <-> frames
//! ```
//!
//! Nothing of packetdrill is in here: [`interface`] declares its table anew.
//! `unsafe` is in [`calls`], where C's pointers become slices, and in the
//! modules under it; everything behind them is safe Rust.

pub mod calls;
mod descriptors;
mod errno;
mod flags;
mod host;
mod info;
pub mod interface;
mod offload;
mod options;
mod port;
mod readiness;
mod send_buffer;
mod sending;
mod world;

pub use calls::packetdrill_interface_init;
