//! Two engines back to back in memory, in virtual time.

use ringmill_core::app::App;
use ringmill_core::app::echo::Echo;
use ringmill_core::driver::memory::{MemoryDriver, carry};
use ringmill_core::frame::FramePool;
use ringmill_core::shard::Shard;
use ringmill_core::sockets::{Closed, ConnectionId, SocketOptions, Sockets};
use ringmill_core::stack::Config;
use ringmill_core::tcp::State;
use ringmill_core::time::{Duration, Instant};
use ringmill_core::wire::ethernet::MacAddress;
use std::net::{Ipv4Addr, SocketAddrV4};

const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);

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
        loop {
            let count = match sockets.receive(connection) {
                Ok(bytes) => {
                    for (n, &byte) in bytes.iter().enumerate() {
                        assert_eq!(byte, pattern(self.received + n));
                    }
                    bytes.len()
                }
                Err(_) => break,
            };
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

fn shard<A: App>(address: Ipv4Addr, app: A) -> Shard<MemoryDriver, A> {
    let mut config = Config::new(
        MacAddress([2, 0, 0, 0, 0, address.octets()[3]]),
        address,
        24,
    );
    config.seed = 7;
    Shard::new(
        config,
        Instant::ZERO,
        MemoryDriver::new(),
        FramePool::on_heap(4_096, 2_048),
        app,
    )
}

#[test]
fn a_megabyte_is_echoed_and_everything_goes_home() {
    let mut server = shard(SERVER, Echo);
    let mut client = shard(
        CLIENT,
        EchoClient {
            to_send: 1 << 20,
            ..EchoClient::default()
        },
    );
    let mut now = Instant::ZERO;
    server.with_app(now, |_, sockets| {
        sockets
            .listen(None, 7, 16, SocketOptions::default())
            .unwrap()
    });
    client.with_app(now, |_, sockets| {
        sockets
            .connect(SocketAddrV4::new(SERVER, 7), 1, SocketOptions::default())
            .unwrap()
    });
    for _ in 0..200_000 {
        let moved = client.step(now) | server.step(now);
        carry(client.driver_mut(), server.driver_mut());
        if moved {
            now += Duration::from_micros(1);
            continue;
        }
        match client
            .next_deadline()
            .into_iter()
            .chain(server.next_deadline())
            .min()
        {
            Some(deadline) => now = now.max(deadline),
            None => break,
        }
    }
    assert_eq!(
        client.app().received,
        1 << 20,
        "{:?} {:?}",
        client.stats(),
        server.stats()
    );
    assert!(
        now >= Instant::ZERO + Duration::from_secs(60),
        "TIME-WAIT lasts 2 MSL: {now:?}"
    );
    for (stats, gauges, missing) in [
        (client.stats(), client.gauges(), client.frames_missing()),
        (server.stats(), server.gauges(), server.frames_missing()),
    ] {
        assert_eq!(
            (
                gauges.live(),
                gauges.of(State::TimeWait),
                gauges.chunks,
                gauges.timers,
                gauges.ports,
                missing
            ),
            (0, 0, 0, 0, 0, 0),
            "{gauges:?}"
        );
        assert_eq!(stats.tcp.established, 1);
        assert_eq!(stats.tcp.closed, 1);
        assert_eq!(stats.tcp.retransmits, 0, "{stats:?}");
    }
    assert_eq!(
        client.stats().tcp.bytes_acked,
        server.stats().tcp.bytes_received
    );
    assert_eq!(
        server.stats().tcp.bytes_acked,
        client.stats().tcp.bytes_received
    );
    println!("{:?}", client.stats());
}
