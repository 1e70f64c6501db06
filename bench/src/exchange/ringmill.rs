//! The engine at both ends.

use super::{Cost, Ends, REQUEST, RESPONSE, window};
use crate::memory::{Ports, SERVER, Wire};
use ringmill_core::app::App;
use ringmill_core::rng::Rng;
use ringmill_core::sockets::{ConnectionId, ListenerId, SocketOptions, Sockets, SourceId};
use std::time::Instant;

/// Two engines, back to back.
pub struct Ringmill(Wire<Requester, Responder>);

impl Ringmill {
    /// Opens `connections`.
    ///
    /// # Panics
    /// When a connection is refused: there is nothing to measure then.
    pub fn open(connections: usize) -> Ringmill {
        let ports = Ports::for_connections(connections);
        let requester = Requester {
            ports,
            wanted: connections,
            opened: 0,
            connections: Vec::with_capacity(connections),
            request: None,
            under_way: 0,
            answered: 0,
            rng: Rng::from_seed(1),
        };
        let mut wire = Wire::new(connections, requester, Responder::default());
        wire.server(|responder, sockets| {
            responder.response = Some(sockets.register(vec![b'r'; RESPONSE].into()));
            for port in ports {
                sockets
                    .listen(None, port, 4_096, SocketOptions::default())
                    .expect("nobody else listens");
            }
        });
        while wire.client.app().connections.len() < connections {
            wire.turn();
        }
        // The last handshakes are complete at the server too.
        for _ in 0..8 {
            wire.turn();
        }
        Ringmill(wire)
    }

    /// Both shards, to be looked at.
    pub fn wire(&self) -> &Wire<Requester, Responder> {
        &self.0
    }
}

impl Ends for Ringmill {
    fn run(&mut self, exchanges: u64) -> Cost {
        let wire = &mut self.0;
        let answered = wire.client.app().answered;
        let segments = wire.segments();
        let start = Instant::now();
        while wire.client.app().answered < answered + exchanges {
            wire.turn();
        }
        Cost {
            elapsed: start.elapsed(),
            exchanges: wire.client.app().answered - answered,
            segments: wire.segments() - segments,
        }
    }
}

/// Opens connections, then asks over those that it picks.
#[derive(Debug)]
pub struct Requester {
    ports: Ports,
    wanted: usize,
    opened: usize,
    connections: Vec<ConnectionId>,
    request: Option<SourceId>,
    under_way: usize,
    answered: u64,
    rng: Rng,
}

/// Connections opened in one step.
const OPENS: usize = 64;
/// Tokens of connections.
const FREE: u32 = 0;
const ASKED: u32 = 1;

impl Requester {
    fn open_more(&mut self, sockets: &mut Sockets) {
        for _ in 0..OPENS.min(self.wanted - self.opened) {
            let port = self.ports.of(self.opened);
            sockets
                .connect((SERVER, port).into(), FREE, SocketOptions::default())
                .expect("there are ports for all");
            self.opened += 1;
        }
    }

    fn ask(&mut self, sockets: &mut Sockets, request: SourceId) {
        let at = self.rng.below(self.connections.len() as u64);
        let connection = self.connections[usize::try_from(at).unwrap_or(0)];
        if sockets.token(connection) == FREE
            && sockets.set_token(connection, ASKED).is_ok()
            && sockets
                .send_from(connection, request, 0, REQUEST as u64)
                .is_ok()
        {
            self.under_way += 1;
        }
    }
}

impl App for Requester {
    fn on_connected(&mut self, _: &mut Sockets, connection: ConnectionId) {
        self.connections.push(connection);
    }

    fn on_readable(&mut self, sockets: &mut Sockets, connection: ConnectionId) {
        let len = sockets.receive(connection).map_or(0, <[u8]>::len);
        assert_eq!(len, RESPONSE, "a response is one segment");
        sockets.consume(connection, len);
        sockets
            .set_token(connection, FREE)
            .expect("it has just been read");
        self.under_way -= 1;
        self.answered += 1;
    }

    fn poll(&mut self, sockets: &mut Sockets) {
        let request = *self
            .request
            .get_or_insert_with(|| sockets.register(vec![b'q'; REQUEST].into()));
        self.open_more(sockets);
        if self.connections.len() == self.wanted {
            while self.under_way < window(self.wanted) {
                self.ask(sockets, request);
            }
        }
    }
}

/// Answers each request.
#[derive(Debug, Default)]
pub struct Responder {
    response: Option<SourceId>,
}

impl App for Responder {
    fn on_acceptable(&mut self, sockets: &mut Sockets, listener: ListenerId) {
        while sockets.accept(listener).is_some() {}
    }

    fn on_readable(&mut self, sockets: &mut Sockets, connection: ConnectionId) {
        let len = sockets.receive(connection).map_or(0, <[u8]>::len);
        assert_eq!(len, REQUEST, "a request is one segment");
        sockets.consume(connection, len);
        let response = self.response.expect("registered at the start");
        sockets
            .send_from(connection, response, 0, RESPONSE as u64)
            .expect("the queue is empty");
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
}
