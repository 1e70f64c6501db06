//! Two ends of some TCP and a link between them, in virtual time.

use ringmill_core::driver::link::{Link, Pipe};
use ringmill_core::rng::Rng;
use ringmill_core::time::{Duration, Instant};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A host that either sends for ever over all connections, or receives.
pub(crate) trait End {
    /// A frame arrives.
    fn arrive(&mut self, frame: Vec<u8>);
    /// Does all that can be done now, and hands over what it sends.
    fn run(&mut self, now: Instant, send: &mut dyn FnMut(Vec<u8>));
    /// When there is something to do, if nothing arrives.
    fn next_deadline(&mut self, now: Instant) -> Option<Instant>;
    /// Bytes that each connection's application has received.
    fn received(&self) -> &[u64];
}

/// When a measurement ends: whichever comes first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) bytes: u64,
    pub(crate) time: Duration,
}

/// What came over.
#[derive(Clone, Debug)]
pub(crate) struct Delivered {
    /// Bytes of each connection.
    pub(crate) bytes: Vec<u64>,
    /// Bytes of all frames that arrived, headers included.
    pub(crate) wire_bytes: u64,
    /// From the first byte's arrival on.
    pub(crate) time: Duration,
}

impl Delivered {
    fn of(received: &[u64], wire_bytes: u64, time: Duration) -> Delivered {
        Delivered {
            bytes: received.to_vec(),
            wire_bytes,
            time,
        }
    }

    /// Bits a second of payload.
    pub(crate) fn goodput(&self) -> f64 {
        let bytes: u64 = self.bytes.iter().sum();
        bytes as f64 * 8.0 / self.time.as_secs_f64().max(1e-9)
    }
}

/// A frame on its way: to the receiver, or back.
type InFlight = Reverse<(Instant, u64, bool, Vec<u8>)>;

/// Runs both ends, with `link` in either direction.
pub(crate) fn run(
    sender: &mut impl End,
    receiver: &mut impl End,
    link: Link,
    seed: u64,
    limits: Limits,
) -> Delivered {
    let mut rng = Rng::from_seed(seed);
    let (mut there, mut back) = (Pipe::new(link), Pipe::new(link));
    let mut in_flight: BinaryHeap<InFlight> = BinaryHeap::new();
    let (mut now, mut serial, mut wire_bytes) = (Instant::ZERO, 0, 0);
    let mut began = None;
    loop {
        while in_flight.peek().is_some_and(|Reverse(next)| next.0 <= now) {
            let Some(Reverse((_, _, is_there, frame))) = in_flight.pop() else {
                break;
            };
            if is_there {
                wire_bytes += frame.len() as u64;
                receiver.arrive(frame);
            } else {
                sender.arrive(frame);
            }
        }
        let mut enter = |pipe: &mut Pipe, is_there, mut frame: Vec<u8>| {
            if let Some(arrival) = pipe.enter(now, &mut frame, &mut rng) {
                serial += 1;
                in_flight.push(Reverse((arrival.at, serial, is_there, frame)));
            }
        };
        sender.run(now, &mut |frame| enter(&mut there, true, frame));
        receiver.run(now, &mut |frame| enter(&mut back, false, frame));
        let total: u64 = receiver.received().iter().sum();
        if began.is_none() && total > 0 {
            began = Some(now);
        }
        let time = now.since(began.unwrap_or(Instant::ZERO));
        if total >= limits.bytes || time >= limits.time {
            return Delivered::of(receiver.received(), wire_bytes, time);
        }
        let arrival = in_flight.peek().map(|Reverse(next)| next.0);
        let deadlines = [
            sender.next_deadline(now),
            receiver.next_deadline(now),
            arrival,
        ];
        match deadlines.into_iter().flatten().min() {
            Some(next) => now = next.max(now + Duration::from_micros(1)),
            // Both have given up.
            None => return Delivered::of(receiver.received(), wire_bytes, limits.time),
        }
    }
}
