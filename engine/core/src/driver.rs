//! Drivers: where frames come from and go to.
//!
//! A driver knows frames and nothing else. It never looks into a packet, but to have
//! one of several buffers cut (see [`crate::wire::joined`]), and it is given the
//! shard's pool at each call, so that every free frame has one home. The AF_XDP driver
//! is in the `ringmill` crate; the ones here need no machine: [`memory`] (two engines
//! back to back), [`sim`] (a seeded bad wire in virtual time, of two [`link`]s) and
//! [`capture`] (writes what passes any of them as pcapng).

pub mod capture;
pub mod link;
pub mod memory;
pub mod sim;

use crate::frame::{Batch, FramePool};
use crate::time::Instant;

/// One port onto a wire, owned by one shard.
pub trait Driver {
    /// Moves received frames into `batch`, up to its room, and hands free frames
    /// of `pool` to whatever receives the next ones. `now` stamps what a capture
    /// writes and releases what a simulated wire delays.
    fn rx(&mut self, now: Instant, pool: &mut FramePool, batch: &mut Batch);

    /// Takes frames off the front of `batch` to send them; those that find no
    /// room now stay in it, in front of what the caller adds for the next call.
    /// Frames whose sending is complete go back to `pool`.
    /// Called every step, with an empty batch too, so that completions return.
    fn tx(&mut self, now: Instant, pool: &mut FramePool, batch: &mut Batch);

    /// When the driver will next have something to receive, if it knows: a
    /// simulated wire does, a real one can't.
    fn next_arrival(&self) -> Option<Instant> {
        None
    }

    /// Frames of the shard's pool that the driver holds in its rings.
    fn held(&self) -> usize;

    /// What the driver lost or could not do since it was made.
    fn drops(&self) -> DriverDrops;
}

/// Frames that a driver lost, each with its reason; counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DriverDrops {
    /// Arrived while the receive ring was full.
    pub rx_ring_full: u64,
    /// Arrived while no free frame was waiting for it.
    pub rx_no_frame: u64,
    /// Arrived and was refused by the kernel or the driver (too large, for example).
    pub rx_invalid: u64,
    /// Refused by the kernel when it was to be sent.
    pub tx_invalid: u64,
}

impl DriverDrops {
    /// Adds what another driver lost.
    pub fn add(&mut self, other: &DriverDrops) {
        self.rx_ring_full += other.rx_ring_full;
        self.rx_no_frame += other.rx_no_frame;
        self.rx_invalid += other.rx_invalid;
        self.tx_invalid += other.tx_invalid;
    }

    /// All frames lost.
    pub fn total(&self) -> u64 {
        self.rx_ring_full + self.rx_no_frame + self.rx_invalid + self.tx_invalid
    }
}
