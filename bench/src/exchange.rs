//! Requests and responses between two ends in memory, on one core: a request of
//! 64 bytes, a response of 128, each a segment, over connections picked at random.
//!
//! The same work is given to the engine and to smoltcp, so that what a segment
//! costs can be set side by side, by the number of connections that are held.

pub mod ringmill;
pub mod smoltcp;

use std::time::Duration;

const REQUEST: usize = 64;
const RESPONSE: usize = 128;
/// Requests under way at a time: what fills one batch.
const WINDOW: usize = 64;

/// What some exchanges took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Requests that were answered.
    pub exchanges: u64,
    /// Segments that either end received, acknowledgments without data among them.
    pub segments: u64,
    /// Time of both ends together.
    pub elapsed: Duration,
}

impl Cost {
    /// Nanoseconds for one segment: sent by one end, received by the other.
    pub fn nanos_per_segment(&self) -> f64 {
        self.elapsed.as_secs_f64() * 1e9 / self.segments as f64
    }

    /// Exchanges a second.
    pub fn rate(&self) -> f64 {
        self.exchanges as f64 / self.elapsed.as_secs_f64()
    }
}

/// Two ends with open connections between them.
pub trait Ends {
    /// Runs exchanges until at least `exchanges` more are complete.
    fn run(&mut self, exchanges: u64) -> Cost;
}

/// Requests under way at a time over `connections`.
fn window(connections: usize) -> usize {
    WINDOW.min(connections.div_ceil(2))
}
