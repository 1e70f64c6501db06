//! The engine at both ends.

use super::{Cost, Ends, window};
use crate::apps::{Requester, Responder};
use crate::memory::{Ports, Wire};
use std::time::Instant;

/// Two engines, back to back.
pub struct Ringmill(Wire<Requester, Responder>);

impl Ringmill {
    /// Opens `connections`.
    ///
    /// # Panics
    /// When a connection is refused: there is nothing to measure then.
    pub fn open(connections: usize) -> Ringmill {
        Ringmill(opened(connections, window(connections)))
    }

    /// Both shards, to be looked at.
    pub fn wire(&self) -> &Wire<Requester, Responder> {
        &self.0
    }
}

/// What the handshakes take that are under way when the last connection opens: a
/// batch a turn.
const LAST_TURNS: usize = 32;

/// Two ends with `connections` open between them, over which `window` requests are
/// under way from the next turn on.
pub(crate) fn opened(connections: usize, window: usize) -> Wire<Requester, Responder> {
    let requester = Requester::new(connections, window);
    let mut wire = Wire::new(connections, requester, Responder::default());
    wire.server(|responder, sockets| responder.start(sockets, Ports::for_connections(connections)))
        .expect("nobody else listens");
    while !wire.client.app().is_open() {
        wire.turn();
    }
    // The last ACKs of handshakes are with the server too.
    for _ in 0..LAST_TURNS {
        wire.turn();
    }
    wire
}

impl Ends for Ringmill {
    fn run(&mut self, exchanges: u64) -> Cost {
        let wire = &mut self.0;
        let answered = wire.client.app().answered();
        let segments = wire.segments();
        let start = Instant::now();
        while wire.client.app().answered() < answered + exchanges {
            wire.turn();
        }
        Cost {
            elapsed: start.elapsed(),
            exchanges: wire.client.app().answered() - answered,
            segments: wire.segments() - segments,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_answered_in_two_segments() {
        let mut ends = Ringmill::open(1_000);
        assert_eq!(ends.wire().client.gauges().live(), 1_000);
        ends.run(5_000);
        let cost = ends.run(10_000);
        let per_exchange = cost.segments as f64 / cost.exchanges as f64;
        assert!((1.99..2.1).contains(&per_exchange), "{per_exchange}");
        assert_eq!(ends.wire().client.frames_missing(), 0);
    }

    #[test]
    fn of_many_connections_those_that_wait_for_nothing_have_no_timer() {
        // Of the first the timer that their SYN had is left to fire.
        let wire = opened(3 * 4_096, 0);
        let timers = wire.client.gauges().timers;
        assert!(timers <= 4_096, "{timers} of {} wait", 3 * 4_096);
    }
}
