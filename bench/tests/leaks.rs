//! A million connections are aborted, by either end and in every state that one can
//! be in, and nothing is left of them.

// A test that can't go on ends.
#![allow(clippy::unwrap_used)]

use ringmill_bench::memory::{Ports, SERVER, Wire};
use ringmill_core::app::App;
use ringmill_core::driver::memory::carry;
use ringmill_core::rng::Rng;
use ringmill_core::sockets::{ConnectionId, ListenerId, SocketOptions, Sockets};
use ringmill_core::tcp::State;
use ringmill_core::time::{Duration, Instant};

const CONNECTIONS: usize = 1_000_000;
/// Opened in one step.
const OPENS: usize = 32;

/// Does with each connection what chance says: at either end.
struct Whim {
    rng: Rng,
    ports: Option<Ports>,
    opened: usize,
    /// Open, and not acted on yet.
    young: Vec<ConnectionId>,
}

impl Whim {
    fn new(seed: u64, ports: Option<Ports>) -> Whim {
        Whim {
            rng: Rng::from_seed(seed),
            ports,
            opened: 0,
            young: Vec::new(),
        }
    }

    fn act(&mut self, sockets: &mut Sockets, connection: ConnectionId) {
        // Each may be refused: the connection may have been closed already.
        match self.rng.below(6) {
            0 => {
                let _ = sockets.send(connection, b"some bytes");
            }
            1 => {
                let _ = sockets.shutdown(connection);
            }
            2 => sockets.close(connection),
            3 => {
                let _ = sockets.send(connection, b"the last bytes");
                let _ = sockets.shutdown(connection);
            }
            4 => sockets.abort(connection),
            _ => {}
        }
    }
}

impl App for Whim {
    fn on_acceptable(&mut self, sockets: &mut Sockets, listener: ListenerId) {
        while let Some(connection) = sockets.accept(listener) {
            self.act(sockets, connection);
        }
    }

    fn on_connected(&mut self, _: &mut Sockets, connection: ConnectionId) {
        self.young.push(connection);
    }

    fn on_readable(&mut self, sockets: &mut Sockets, connection: ConnectionId) {
        // Unread data makes a close a reset: sometimes it stays.
        if self.rng.chance(900_000) {
            let len = sockets.receive(connection).map_or(0, <[u8]>::len);
            sockets.consume(connection, len);
        }
        self.act(sockets, connection);
    }

    fn poll(&mut self, sockets: &mut Sockets) {
        let Some(ports) = self.ports else { return };
        // Half of them now, so that a FIN may cross the other end's.
        let young = std::mem::take(&mut self.young);
        for connection in young {
            if self.rng.chance(500_000) {
                self.act(sockets, connection);
            } else {
                self.young.push(connection);
            }
        }
        for _ in 0..OPENS.min(CONNECTIONS - self.opened) {
            let port = ports.of(self.opened);
            let options = SocketOptions::default();
            sockets.connect((SERVER, port).into(), 0, options).unwrap();
            self.opened += 1;
        }
    }
}

/// States in which something is held.
fn states(wire: &Wire<Whim, Whim>) -> impl Iterator<Item = State> {
    let ends = [wire.client.gauges(), wire.server.gauges()];
    let is_held = move |state: &State| ends.iter().any(|gauges| gauges.of(*state) > 0);
    State::ALL.into_iter().filter(is_held)
}

#[test]
fn nothing_is_left_of_a_million_aborted_connections() {
    let ports = Ports::for_connections(CONNECTIONS);
    let (client, server) = (Whim::new(1, Some(ports)), Whim::new(2, None));
    let mut wire = Wire::with_config(client, server, |config| {
        config.tcp.msl = Duration::from_millis(1);
    });
    wire.server(|_, sockets| {
        let options = SocketOptions::default();
        for port in ports {
            sockets.listen(None, port, 4_096, options).unwrap();
        }
    });
    let mut now = Instant::ZERO;
    let mut step = |wire: &mut Wire<Whim, Whim>, length| {
        now += length;
        // At once, so that what they send can cross.
        wire.client.step(now);
        wire.server.step(now);
        carry(wire.client.driver_mut(), wire.server.driver_mut());
        now
    };
    let mut rng = Rng::from_seed(3);
    let mut seen = Vec::new();
    while wire.client.app().opened < CONNECTIONS {
        let mut now = Instant::ZERO;
        for _ in 0..=rng.below(12) {
            now = step(&mut wire, Duration::from_micros(20));
        }
        seen.extend(
            states(&wire)
                .filter(|state| !seen.contains(state))
                .collect::<Vec<_>>(),
        );
        // Which is never the one of both: the other one has to get over it.
        if rng.chance(500_000) {
            wire.client.with_app(now, |_, sockets| sockets.abort_all());
        } else {
            wire.server.with_app(now, |_, sockets| sockets.abort_all());
        }
    }
    let never: Vec<_> = State::ALL
        .iter()
        .filter(|state| !seen.contains(state))
        .collect();
    assert!(never.is_empty(), "none was in {never:?}");
    // What is under way ends, and what is waited for is given up.
    for _ in 0..200 {
        let now = step(&mut wire, Duration::from_secs(1));
        for _ in 0..200 {
            step(&mut wire, Duration::from_micros(20));
        }
        wire.client.with_app(now, |_, sockets| sockets.abort_all());
        wire.server.with_app(now, |_, sockets| sockets.abort_all());
    }
    for (gauges, missing) in [
        (wire.client.gauges(), wire.client.frames_missing()),
        (wire.server.gauges(), wire.server.frames_missing()),
    ] {
        assert_eq!((gauges.live(), gauges.of(State::TimeWait)), (0, 0));
        let held = (
            gauges.chunks,
            gauges.held_frames,
            gauges.timers,
            gauges.ports,
        );
        assert_eq!(held, (0, 0, 0, 0), "queue elements, frames, timers, ports");
        assert_eq!(missing, 0, "frames");
    }
}
