//! A host's port in the simulator: it moves frames through the host's pool as a
//! ring of a real device does, so that running out of them happens here too.

use ringmill_core::driver::{Driver, DriverDrops};
use ringmill_core::frame::{Batch, Frame, FramePool, HEADROOM};
use ringmill_core::time::Instant;
use std::collections::VecDeque;

/// One port. What it sends is copied out; the frame comes home with the next call.
#[derive(Debug)]
pub(crate) struct Port {
    arrived: VecDeque<Vec<u8>>,
    sent: VecDeque<Vec<u8>>,
    /// In the transmit ring, until the next call completes them.
    ring: Vec<Frame>,
    ring_size: usize,
    drops: DriverDrops,
}

impl Port {
    /// A port whose transmit ring has room for `ring_size` frames.
    pub(crate) fn new(ring_size: usize) -> Port {
        Port {
            arrived: VecDeque::new(),
            sent: VecDeque::new(),
            ring: Vec::new(),
            ring_size,
            drops: DriverDrops::default(),
        }
    }

    pub(crate) fn arrive(&mut self, bytes: Vec<u8>) {
        self.arrived.push_back(bytes);
    }

    pub(crate) fn has_arrivals(&self) -> bool {
        !self.arrived.is_empty()
    }

    pub(crate) fn take_sent(&mut self) -> Option<Vec<u8>> {
        self.sent.pop_front()
    }
}

impl Driver for Port {
    fn rx(&mut self, _now: Instant, pool: &mut FramePool, batch: &mut Batch) {
        while batch.room() > 0 {
            let Some(bytes) = self.arrived.pop_front() else {
                return;
            };
            let Some(mut frame) = pool.alloc() else {
                self.drops.rx_no_frame += 1;
                continue;
            };
            if HEADROOM + bytes.len() > frame.capacity() {
                self.drops.rx_invalid += 1;
                pool.free(frame);
                continue;
            }
            frame.set_window(HEADROOM, bytes.len());
            frame.data_mut().copy_from_slice(&bytes);
            batch.push(frame);
        }
    }

    fn tx(&mut self, _now: Instant, pool: &mut FramePool, batch: &mut Batch) {
        for frame in self.ring.drain(..) {
            pool.free(frame);
        }
        for frame in batch.drain(self.ring_size) {
            self.sent.push_back(frame.data().to_vec());
            self.ring.push(frame);
        }
    }

    fn held(&self) -> usize {
        self.ring.len()
    }

    fn drops(&self) -> DriverDrops {
        self.drops
    }
}
