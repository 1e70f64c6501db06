//! A bad wire in virtual time: a [`Pipe`] each way, and all its faults drawn from
//! one seed.
//!
//! Its ports are [`MemoryDriver`]s. What one end sends is copied onto the wire,
//! comes home at once, and arrives at the other end when its time has come.

use super::link::{Link, Pipe};
use super::memory::MemoryDriver;
use crate::frame::Frame;
use crate::rng::Rng;
use crate::time::Instant;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Frames on their way, the earliest first; equal times in the order of sending.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct InFlight {
    arrival: Instant,
    serial: u64,
    to_b: bool,
    bytes: Vec<u8>,
}

/// A wire between two ports.
#[derive(Debug)]
pub struct SimWire {
    rng: Rng,
    a_to_b: Pipe,
    b_to_a: Pipe,
    in_flight: BinaryHeap<Reverse<InFlight>>,
    serial: u64,
}

impl SimWire {
    /// A wire whose faults replay exactly from `seed`.
    pub fn new(seed: u64, a_to_b: Link, b_to_a: Link) -> SimWire {
        SimWire {
            rng: Rng::from_seed(seed),
            a_to_b: Pipe::new(a_to_b),
            b_to_a: Pipe::new(b_to_a),
            in_flight: BinaryHeap::new(),
            serial: 0,
        }
    }

    /// Takes what both ends have sent, and delivers what has arrived by `now`.
    pub fn carry(&mut self, now: Instant, a: &mut MemoryDriver, b: &mut MemoryDriver) {
        for (port, to_b) in [(&mut *a, true), (&mut *b, false)] {
            while let Some(frame) = port.take_sent() {
                self.send(now, frame.data().to_vec(), to_b);
                port.complete(frame);
            }
        }
        while self.next_arrival().is_some_and(|arrival| arrival <= now) {
            let Some(Reverse(InFlight { to_b, bytes, .. })) = self.in_flight.pop() else {
                return;
            };
            let port = if to_b { &mut *b } else { &mut *a };
            port.arrive(Frame::copied(&bytes));
        }
    }

    /// When the next frame arrives.
    pub fn next_arrival(&self) -> Option<Instant> {
        self.in_flight.peek().map(|Reverse(next)| next.arrival)
    }

    /// Frames that the wire lost, in both directions.
    pub fn lost(&self) -> u64 {
        self.a_to_b.lost() + self.b_to_a.lost()
    }

    fn send(&mut self, now: Instant, mut bytes: Vec<u8>, to_b: bool) {
        let SimWire {
            rng,
            a_to_b,
            b_to_a,
            ..
        } = self;
        let pipe = if to_b { a_to_b } else { b_to_a };
        let Some(arrival) = pipe.enter(now, &mut bytes, rng) else {
            return;
        };
        for _ in 0..arrival.copies {
            self.serial += 1;
            self.in_flight.push(Reverse(InFlight {
                arrival: arrival.at,
                serial: self.serial,
                to_b,
                bytes: bytes.clone(),
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::Driver as _;
    use crate::frame::{Batch, FramePool};
    use crate::time::Duration;

    /// Sends `count` numbered frames a microsecond apart: what arrives, and when.
    fn sent_over(link: Link, seed: u64, count: u8) -> Vec<(u8, Instant)> {
        let (mut a, mut b) = (MemoryDriver::new(), MemoryDriver::new());
        let (mut pool_a, mut pool_b) = (FramePool::on_heap(8, 64), FramePool::on_heap(8, 64));
        let mut wire = SimWire::new(seed, link, Link::default());
        let mut arrived = Vec::new();
        let mut now = Instant::ZERO;
        for step in 0..4_000u32 {
            let mut batch = Batch::new();
            if let Ok(n) = u8::try_from(step)
                && n < count
            {
                let mut frame = pool_a.alloc().unwrap();
                frame.set_window(0, 8);
                frame.data_mut().fill(n);
                batch.push(frame);
            }
            a.tx(now, &mut pool_a, &mut batch);
            wire.carry(now, &mut a, &mut b);
            b.rx(now, &mut pool_b, &mut batch);
            for frame in batch.drain(Batch::CAPACITY) {
                arrived.push((frame.data()[0], now));
                pool_b.free(frame);
            }
            b.tx(now, &mut pool_b, &mut Batch::new());
            now += Duration::from_micros(1);
        }
        a.tx(now, &mut pool_a, &mut Batch::new());
        wire.carry(now, &mut a, &mut b);
        assert_eq!(
            (pool_a.available() + a.held(), pool_b.available() + b.held()),
            (8, 8),
            "no frame is lost"
        );
        arrived
    }

    #[test]
    fn a_perfect_wire_delays_and_keeps_the_order() {
        let link = Link {
            delay: Duration::from_micros(100),
            jitter: Duration::from_micros(50),
            ..Link::default()
        };
        let arrived = sent_over(link, 1, 100);
        assert!(arrived.iter().map(|(n, _)| *n).eq(0..100));
        assert!(
            arrived
                .iter()
                .all(|(n, at)| *at >= Instant::from_micros(u64::from(*n) + 100))
        );
    }

    #[test]
    fn a_seed_replays_and_faults_come_as_often_as_asked() {
        let link = Link {
            loss: 200_000,
            duplication: 100_000,
            ..Link::default()
        };
        let arrived = sent_over(link, 7, 200);
        assert_eq!(arrived, sent_over(link, 7, 200));
        assert_ne!(arrived, sent_over(link, 8, 200));
        assert!((150..190).contains(&arrived.len()), "{}", arrived.len());
    }

    #[test]
    fn reordered_frames_are_overtaken_and_a_full_queue_loses() {
        let link = Link {
            reordering: 100_000,
            reordering_delay: Duration::from_micros(20),
            ..Link::default()
        };
        let arrived = sent_over(link, 3, 200);
        assert!(arrived.len() == 200 && !arrived.is_sorted());
        // 8 bytes at 6.4 Mbit/s take 10 us: of ten frames that come, one leaves.
        let link = Link {
            bandwidth: 6_400_000,
            queue: 5,
            ..Link::default()
        };
        let arrived = sent_over(link, 3, 200);
        assert!((20..30).contains(&arrived.len()), "{}", arrived.len());
    }

    #[test]
    fn frames_past_the_bottleneck_take_no_room_in_its_queue() {
        // A frame comes each microsecond and takes 2 us, so at most 8 of 16
        // wait at once; all are still on the long wire behind when the last comes.
        let link = Link {
            bandwidth: 32_000_000,
            queue: 10,
            delay: Duration::from_millis(1),
            duplication: 1_000_000,
            ..Link::default()
        };
        let arrived = sent_over(link, 3, 16);
        assert!(arrived.iter().step_by(2).map(|(n, _)| *n).eq(0..16));
        assert_eq!(arrived.len(), 32, "each twice");
    }

    #[test]
    fn corruption_flips_one_bit() {
        let link = Link {
            corruption: 1_000_000,
            ..Link::default()
        };
        let (mut a, mut b) = (MemoryDriver::new(), MemoryDriver::new());
        let mut pool = FramePool::on_heap(2, 64);
        let mut frame = pool.alloc().unwrap();
        frame.set_window(0, 64);
        frame.data_mut().fill(0);
        let mut batch = Batch::new();
        batch.push(frame);
        a.tx(Instant::ZERO, &mut pool, &mut batch);
        SimWire::new(1, link, link).carry(Instant::ZERO, &mut a, &mut b);
        b.rx(Instant::ZERO, &mut pool, &mut batch);
        let ones: u32 = batch
            .iter()
            .flat_map(Frame::data)
            .map(|byte| byte.count_ones())
            .sum();
        assert_eq!(ones, 1);
    }
}
