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

    /// A frame that this end has paid for one that arrived.
    pub fn take_payment(&mut self) -> Option<Frame> {
        self.payment.pop()
    }

    /// Nothing has arrived that was not received, and nothing was sent that was
    /// not taken.
    pub fn is_idle(&self) -> bool {
        self.arrived.is_empty() && self.sent.is_empty()
    }
}

/// Moves everything that either end has sent to the other.
pub fn carry(a: &mut MemoryDriver, b: &mut MemoryDriver) {
    for (from, to) in [(&mut a.sent, &mut b.arrived), (&mut b.sent, &mut a.arrived)] {
        if to.is_empty() {
            std::mem::swap(from, to);
        } else {
            to.append(from);
        }
    }
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
        // A copied frame is of no pool, so nothing of one is out with it.
        for frame in batch.drain(Batch::CAPACITY) {
            self.outstanding += usize::from(!frame.is_copied());
            self.sent.push_back(frame);
        }
        for frame in self.completed.drain(..) {
            self.outstanding -= usize::from(!frame.is_copied());
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A port, its pool, and a batch that is empty between steps.
    struct End {
        port: MemoryDriver,
        pool: FramePool,
    }

    impl End {
        fn new(frames: usize) -> End {
            End {
                port: MemoryDriver::new(),
                pool: FramePool::on_heap(frames, 64),
            }
        }

        fn send(&mut self, frame: Frame) {
            let mut batch = Batch::new();
            batch.push(frame);
            self.port.tx(Instant::ZERO, &mut self.pool, &mut batch);
        }

        /// What arrived, given back to the pool at once.
        fn receive(&mut self) -> usize {
            let mut batch = Batch::new();
            self.port.rx(Instant::ZERO, &mut self.pool, &mut batch);
            let count = batch.len();
            for frame in batch.drain(Batch::CAPACITY) {
                self.pool.free(frame);
            }
            count
        }

        fn collect_completions(&mut self) {
            self.port
                .tx(Instant::ZERO, &mut self.pool, &mut Batch::new());
        }

        fn is_whole(&self) -> bool {
            self.pool.available() + self.port.held() == self.pool.total()
        }
    }

    #[test]
    fn a_frame_that_arrives_is_paid_for_and_the_pools_stay_whole() {
        let (mut a, mut b) = (End::new(2), End::new(2));
        let frame = a.pool.alloc().unwrap();
        let address = frame_address(&frame);
        a.send(frame);
        carry(&mut a.port, &mut b.port);
        assert!(a.is_whole() && b.is_whole());

        let mut batch = Batch::new();
        b.port.rx(Instant::ZERO, &mut b.pool, &mut batch);
        let arrived = batch.drain(1).next().unwrap();
        assert_eq!(frame_address(&arrived), address, "moved, not copied");
        b.pool.free(arrived);
        carry(&mut a.port, &mut b.port);
        a.collect_completions();
        assert_eq!((a.pool.available(), b.pool.available()), (2, 2));
        assert_eq!((a.port.held(), b.port.held()), (0, 0));
    }

    #[test]
    fn an_empty_pool_loses_the_frame_and_sends_it_home() {
        let (mut a, mut b) = (End::new(1), End::new(0));
        let frame = a.pool.alloc().unwrap();
        a.send(frame);
        carry(&mut a.port, &mut b.port);
        assert_eq!(b.receive(), 0);
        assert_eq!(b.port.drops().rx_no_frame, 1);
        carry(&mut a.port, &mut b.port);
        a.collect_completions();
        assert_eq!((a.pool.available(), a.port.held()), (1, 0));
    }

    #[test]
    fn a_copied_frame_is_of_no_pool_and_is_held_by_none() {
        let (mut a, mut b) = (End::new(2), End::new(2));
        a.send(Frame::copied(b"kept elsewhere"));
        assert!(a.is_whole(), "sent: {} held", a.port.held());
        carry(&mut a.port, &mut b.port);
        assert_eq!(b.receive(), 1);
        carry(&mut a.port, &mut b.port);
        a.collect_completions();
        assert!(a.is_whole() && b.is_whole(), "{} held", a.port.held());
    }

    #[test]
    fn a_copied_frame_over_a_wire_that_completes_it_is_held_by_none() {
        let mut a = End::new(2);
        a.send(Frame::copied(b"kept elsewhere"));
        let sent = a.port.take_sent().unwrap();
        a.port.complete(sent);
        a.collect_completions();
        assert!(a.is_whole());
    }

    fn frame_address(frame: &Frame) -> *const u8 {
        frame.data().as_ptr()
    }
}
