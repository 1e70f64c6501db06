//! A wire in memory: two engines back to back on one thread.
//!
//! [`carry`] moves frames from one port to the other without copying them. A
//! frame that arrives changes pools, so the receiving side pays for it with a
//! free frame of its own, which goes home as the completion of the sent one:
//!
//! ```text
//!  A: tx() --frame--> carry --> B: rx()
//!  A: tx() <--frame-- carry <-- B: rx()   a free frame of B's pool in exchange
//! ```

use super::{Driver, DriverDrops};
use crate::frame::{Batch, Frame, FramePool};
use crate::time::Instant;
use std::collections::VecDeque;

/// One end of a wire in memory.
#[derive(Debug, Default)]
pub struct MemoryDriver {
    arrived: VecDeque<Frame>,
    sent: VecDeque<Frame>,
    /// Paid for frames that were taken out of `arrived`.
    payment: Vec<Frame>,
    completed: Vec<Frame>,
    /// Frames of this end's pool that were sent and have not come home.
    outstanding: usize,
    drops: DriverDrops,
}

impl MemoryDriver {
    /// A port that nothing has reached yet.
    pub fn new() -> MemoryDriver {
        MemoryDriver::default()
    }

    /// Takes the next frame that this end sent, as a wire does.
    pub fn take_sent(&mut self) -> Option<Frame> {
        self.sent.pop_front()
    }

    /// A sent frame comes home, or another in its place.
    pub fn complete(&mut self, frame: Frame) {
        self.completed.push(frame);
    }

    /// A frame of the other end arrives.
    pub fn arrive(&mut self, frame: Frame) {
        self.arrived.push_back(frame);
    }

    /// Nothing has arrived that was not received, and nothing was sent that was
    /// not taken.
    pub fn is_idle(&self) -> bool {
        self.arrived.is_empty() && self.sent.is_empty()
    }
}

/// Moves everything that either end has sent to the other.
pub fn carry(a: &mut MemoryDriver, b: &mut MemoryDriver) {
    b.arrived.append(&mut a.sent);
    a.arrived.append(&mut b.sent);
    a.completed.append(&mut b.payment);
    b.completed.append(&mut a.payment);
}

impl Driver for MemoryDriver {
    fn rx(&mut self, _now: Instant, pool: &mut FramePool, batch: &mut Batch) {
        while batch.room() > 0 {
            let Some(frame) = self.arrived.pop_front() else {
                return;
            };
            if frame.is_copied() {
                // Of no pool: nobody is owed one for it.
                batch.push(frame);
                continue;
            }
            match pool.alloc() {
                Some(free) => {
                    self.payment.push(free);
                    batch.push(frame);
                }
                None => {
                    // As with an empty fill ring: the frame is lost and goes home.
                    self.payment.push(frame);
                    self.drops.rx_no_frame += 1;
                }
            }
        }
    }

    fn tx(&mut self, _now: Instant, pool: &mut FramePool, batch: &mut Batch) {
        self.outstanding += batch.len();
        self.sent.extend(batch.drain(Batch::CAPACITY));
        self.outstanding -= self.completed.len();
        for frame in self.completed.drain(..) {
            pool.free(frame);
        }
    }

    fn held(&self) -> usize {
        // What has arrived is the other end's, until it is paid for.
        self.outstanding
    }

    fn drops(&self) -> DriverDrops {
        self.drops
    }
}
