//! Two engines back to back in memory, in virtual time, over good and bad wires.

// A test that can't go on ends.
#![allow(clippy::unwrap_used)]

use ringmill_core::app::App;
use ringmill_core::app::echo::Echo;
use ringmill_core::driver::link::Link;
use ringmill_core::driver::memory::{MemoryDriver, carry};
use ringmill_core::driver::sim::SimWire;
use ringmill_core::frame::FramePool;
use ringmill_core::rng::Rng;
use ringmill_core::shard::Shard;
use ringmill_core::sockets::{Closed, ConnectionId, SocketOptions, Sockets};
use ringmill_core::stack::Config;
use ringmill_core::tcp::State;
use ringmill_core::time::{Duration, Instant};
use ringmill_core::wire::ethernet::MacAddress;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Server and client, on both families.
const ENDS: [[IpAddr; 2]; 2] = [
    [
        IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1)),
        IpAddr::V4(Ipv4Addr::new(198, 18, 0, 2)),
    ],
    [
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2)),
    ],
];

/// Sends a pattern, checks that it comes back, and closes.
#[derive(Default)]
struct EchoClient {
    to_send: usize,
    sent: usize,
    received: usize,
    closed: Option<Closed>,
}

fn pattern(at: usize) -> u8 {
    u8::try_from(at * 31 % 251).unwrap()
}

impl EchoClient {
    fn pump(&mut self, sockets: &mut Sockets, connection: ConnectionId) {
        while self.sent < self.to_send {
            let end = self.to_send.min(self.sent + 5_000);
            let bytes: Vec<u8> = (self.sent..end).map(pattern).collect();
            match sockets.send(connection, &bytes) {
                Ok(count) => self.sent += count,
                Err(_) => return,
            }
        }
    }
}

impl App for EchoClient {
    fn on_connected(&mut self, sockets: &mut Sockets, connection: ConnectionId) {
        self.pump(sockets, connection);
    }

    fn on_writable(&mut self, sockets: &mut Sockets, connection: ConnectionId) {
        self.pump(sockets, connection);
    }

    fn on_readable(&mut self, sockets: &mut Sockets, connection: ConnectionId) {
        while let Ok(bytes) = sockets.receive(connection) {
            let expected = (self.received..).map(pattern);
            assert!(
                bytes
                    .iter()
                    .copied()
                    .zip(expected)
                    .all(|(got, sent)| got == sent)
            );
            let count = bytes.len();
            assert!(count > 0, "the server closed first");
            self.received += count;
            sockets.consume(connection, count);
            if self.received == self.to_send {
                sockets.close(connection);
                return;
            }
        }
    }

    fn on_closed(&mut self, _: &mut Sockets, _: ConnectionId, _: u32, why: Closed) {
        self.closed = Some(why);
    }
}

fn shard<A: App>(station: u8, address: IpAddr, app: A) -> Shard<MemoryDriver, A> {
    let prefix_len = if address.is_ipv4() { 24 } else { 64 };
    let mut config = Config::new(MacAddress([2, 0, 0, 0, 0, station]), address, prefix_len);
    config.seed = 7;
    Shard::new(
        config,
        Instant::ZERO,
        MemoryDriver::new(),
        FramePool::on_heap(4_096, 2_048),
        app,
    )
}

struct Pair {
    client: Shard<MemoryDriver, EchoClient>,
    server: Shard<MemoryDriver, Echo>,
    now: Instant,
}

impl Pair {
    /// A client that is about to send `to_send` bytes to an echo server.
    fn echoing([server, client]: [IpAddr; 2], to_send: usize) -> Pair {
        let target = (server, 7).into();
        let mut server = shard(1, server, Echo);
        let mut client = shard(
            2,
            client,
            EchoClient {
                to_send,
                ..EchoClient::default()
            },
        );
        let now = Instant::ZERO;
        let options = SocketOptions::default();
        server.with_app(now, |_, sockets| {
            sockets.listen(None, 7, 16, options).unwrap()
        });
        client.with_app(now, |_, sockets| {
            sockets.connect(target, 1, options).unwrap()
        });
        Pair {
            client,
            server,
            now,
        }
    }

    /// Steps both until nothing will ever happen again. `carry` is the wire, which
    /// tells when its next frame arrives.
    fn run(
        &mut self,
        mut carry: impl FnMut(Instant, &mut MemoryDriver, &mut MemoryDriver) -> Option<Instant>,
    ) {
        for _ in 0..2_000_000 {
            let moved = self.client.step(self.now) | self.server.step(self.now);
            let arrival = carry(self.now, self.client.driver_mut(), self.server.driver_mut());
            if moved || !self.client.driver().is_idle() || !self.server.driver().is_idle() {
                self.now += Duration::from_micros(1);
                continue;
            }
            let deadlines = [
                self.client.next_deadline(),
                self.server.next_deadline(),
                arrival,
            ];
            match deadlines.into_iter().flatten().min() {
                Some(deadline) => self.now = (self.now + Duration::from_nanos(1)).max(deadline),
                None => return,
            }
        }
        panic!(
            "it never ends: {:?} {:?}",
            self.client.gauges(),
            self.server.gauges()
        );
    }

    fn assert_home(&self) {
        for (gauges, missing) in [
            (self.client.gauges(), self.client.frames_missing()),
            (self.server.gauges(), self.server.frames_missing()),
        ] {
            let held = [
                gauges.live(),
                gauges.of(State::TimeWait),
                gauges.chunks,
                gauges.timers,
                gauges.ports,
                missing,
            ];
            assert_eq!(held, [0; 6], "{gauges:?}");
        }
    }
}

#[test]
fn a_megabyte_is_echoed_and_everything_goes_home() {
    ENDS.into_iter().for_each(echo_a_megabyte);
}

fn echo_a_megabyte(ends: [IpAddr; 2]) {
    let mut pair = Pair::echoing(ends, 1 << 20);
    pair.run(|_, client, server| {
        carry(client, server);
        None
    });
    pair.assert_home();
    let (client, server) = (pair.client.stats().tcp, pair.server.stats().tcp);
    assert_eq!(pair.client.app().received, 1 << 20);
    assert!(
        pair.now >= Instant::ZERO + Duration::from_secs(60),
        "TIME-WAIT lasts 2 MSL: {:?}",
        pair.now
    );
    for end in [client, server] {
        assert_eq!(
            (end.established, end.closed, end.retransmits),
            (1, 1, 0),
            "{end:?}"
        );
    }
    assert_eq!(
        (client.bytes_acked, server.bytes_acked),
        (server.bytes_received, client.bytes_received)
    );
}

/// A connection that its buffers bound has them in flight: 16 round trips of 256
/// KiB carry 4 MiB there and back, besides slow start and the handshakes.
#[test]
fn a_round_trip_carries_what_the_buffers_hold() {
    let link = Link {
        delay: Duration::from_millis(50),
        ..Link::default()
    };
    let mut wire = SimWire::new(1, link, link);
    let mut pair = Pair::echoing(ENDS[0], 4 << 20);
    pair.run(|now, client, server| {
        wire.carry(now, client, server);
        wire.next_arrival()
    });
    pair.assert_home();
    assert_eq!(pair.client.app().received, 4 << 20);
    let time_wait = Duration::from_secs(60);
    let took = pair.now.since(Instant::ZERO) - time_wait;
    assert!(took < Duration::from_millis(3_250), "{took:?}");
}

/// How many seeds a run takes: `RINGMILL_SEEDS=100000` hunts for longer.
fn seeds() -> u64 {
    std::env::var("RINGMILL_SEEDS")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(300)
}

/// A link as bad as the seed says, but one that heals nothing and breaks nothing
/// for good: everything must get through.
fn bad_link(rng: &mut Rng) -> Link {
    let mut up_to = |most: u64| u32::try_from(rng.below(most)).unwrap();
    Link {
        loss: up_to(150_000),
        duplication: up_to(50_000),
        corruption: up_to(50_000),
        reordering: up_to(100_000),
        reordering_delay: Duration::from_micros(u64::from(up_to(20_000))),
        delay: Duration::from_micros(u64::from(up_to(50_000))),
        jitter: Duration::from_micros(u64::from(up_to(5_000))),
        bandwidth: u64::from(up_to(3)) * 20_000_000,
        queue: 20 + up_to(100) as usize,
        ..Link::default()
    }
}

#[test]
fn every_byte_gets_over_every_bad_wire() {
    for seed in 0..seeds() {
        println!("seed {seed}");
        let mut rng = Rng::from_seed(seed);
        let (there, back) = (bad_link(&mut rng), bad_link(&mut rng));
        let to_send = 1 + usize::try_from(rng.below(60_000)).unwrap();
        let mut wire = SimWire::new(seed, there, back);
        let ends = ENDS[usize::try_from(seed % 2).unwrap()];
        let mut pair = Pair::echoing(ends, to_send);
        pair.run(|now, client, server| {
            wire.carry(now, client, server);
            wire.next_arrival()
        });
        pair.assert_home();
        let script = pair.client.app();
        // Three probes for the neighbour, or all the SYNs, may be lost; after that nothing may.
        if script.closed.is_some() && pair.client.stats().tcp.established == 0 {
            continue;
        }
        assert_eq!(script.closed, None, "seed {seed}: {there:?} {back:?}");
        assert_eq!(script.received, to_send, "seed {seed}: {there:?} {back:?}");
    }
}
