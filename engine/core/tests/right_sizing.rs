//! A receive buffer grows with the path in both families, whatever the path, and with
//! timestamps as without: two engines over links that seeds draw.

// A test that can't go on ends.
#![allow(clippy::unwrap_used)]

use ringmill_core::app::App;
use ringmill_core::driver::link::Link;
use ringmill_core::driver::memory::MemoryDriver;
use ringmill_core::driver::sim::SimWire;
use ringmill_core::frame::FramePool;
use ringmill_core::rng::Rng;
use ringmill_core::shard::Shard;
use ringmill_core::sockets::{ConnectionId, ListenerId, SocketOptions, Sockets};
use ringmill_core::stack::Config;
use ringmill_core::time::{Duration, Instant};
use ringmill_core::wire::ethernet::MacAddress;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const FIRST: u32 = 32 << 10;
const MOST: u32 = 4 << 20;
const PORT: u16 = 9;

/// Sends without an end, or receives: at once, or so many bytes at a time.
#[derive(Default)]
struct Bulk {
    connection: Option<ConnectionId>,
    /// Bytes in a call every 10 ms; none reads what has come at once.
    pace: Option<usize>,
    next_read: Instant,
    received: u64,
}

impl Bulk {
    fn read(&mut self, sockets: &mut Sockets, most: usize) {
        let Some(connection) = self.connection else {
            return;
        };
        let mut left = most;
        while left > 0
            && let Ok(bytes @ [_, ..]) = sockets.receive(connection)
        {
            let count = bytes.len().min(left);
            sockets.consume(connection, count);
            self.received += count as u64;
            left -= count;
        }
    }
}

impl App for Bulk {
    fn on_acceptable(&mut self, sockets: &mut Sockets, listener: ListenerId) {
        self.connection = self.connection.or(sockets.accept(listener));
    }

    fn on_connected(&mut self, sockets: &mut Sockets, connection: ConnectionId) {
        while sockets.send(connection, &[0; 65_000]).is_ok() {}
    }

    fn on_writable(&mut self, sockets: &mut Sockets, connection: ConnectionId) {
        self.on_connected(sockets, connection);
    }

    fn on_readable(&mut self, sockets: &mut Sockets, _: ConnectionId) {
        if self.pace.is_none() {
            self.read(sockets, usize::MAX);
        }
    }

    fn poll(&mut self, sockets: &mut Sockets) {
        if let Some(pace) = self.pace
            && sockets.now() >= self.next_read
        {
            self.next_read = sockets.now() + Duration::from_millis(10);
            self.read(sockets, pace);
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.pace.map(|_| self.next_read)
    }
}

fn shard(station: u8, is_v6: bool, timestamps: bool) -> Shard<MemoryDriver, Bulk> {
    let (address, prefix_len) = address(station, is_v6);
    let mut config = Config::new(MacAddress([2, 0, 0, 0, 0, station]), address, prefix_len);
    config.tcp.timestamps = timestamps;
    config.tcp.receive_buffer = FIRST;
    config.tcp.receive_buffer_max = MOST;
    config.tcp.send_buffer = MOST;
    let pool = FramePool::on_heap(4_096, 2_048);
    let driver = MemoryDriver::new();
    Shard::new(config, Instant::ZERO, driver, pool, Bulk::default())
}

fn address(station: u8, is_v6: bool) -> (IpAddr, u8) {
    if is_v6 {
        let last = u16::from(station);
        (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).into(), 64)
    } else {
        (Ipv4Addr::new(198, 18, 0, station).into(), 24)
    }
}

struct Path {
    round_trip: Duration,
    /// In bytes a second.
    rate: u64,
}

impl Path {
    fn draw(rng: &mut Rng) -> Path {
        Path {
            round_trip: Duration::from_millis(5 + rng.below(96)),
            rate: 1_250_000 * (1 + rng.below(16)),
        }
    }

    /// What it carries in a round trip.
    fn product(&self) -> u64 {
        self.rate * u64::try_from(self.round_trip.as_millis()).unwrap() / 1_000
    }
}

/// What became of a transfer.
struct Outcome {
    /// The receive buffer at its end.
    buffer: u32,
    /// Bytes a second over its last ten round trips.
    rate: u64,
}

/// Fifty round trips and a second of a transfer over `path`.
fn transfer(seed: u64, path: &Path, pace: Option<usize>) -> Outcome {
    let (is_v6, timestamps) = (seed % 2 == 1, seed / 2 % 2 == 1);
    let link = Link {
        delay: path.round_trip / 2,
        bandwidth: path.rate * 8,
        // Nothing is lost.
        queue: 0,
        ..Link::default()
    };
    let mut wire = SimWire::new(seed, link, link);
    let [mut sender, mut receiver] = [1, 2].map(|station| shard(station, is_v6, timestamps));
    receiver.with_app(Instant::ZERO, |app, sockets| {
        app.pace = pace;
        let options = SocketOptions::default();
        sockets.listen(None, PORT, 1, options).unwrap();
    });
    sender.with_app(Instant::ZERO, |_, sockets| {
        let remote = (address(2, is_v6).0, PORT).into();
        sockets
            .connect(remote, 0, SocketOptions::default())
            .unwrap();
    });
    let measured = path.round_trip * 10;
    let end = Instant::ZERO + Duration::from_secs(1) + path.round_trip * 50;
    let mut now = Instant::ZERO;
    let mut before = 0;
    while now < end {
        wire.carry(now, sender.driver_mut(), receiver.driver_mut());
        while sender.step(now) | receiver.step(now) {
            wire.carry(now, sender.driver_mut(), receiver.driver_mut());
        }
        if now + measured <= end {
            before = receiver.app().received;
        }
        let next = [
            sender.next_deadline(),
            receiver.next_deadline(),
            wire.next_arrival(),
        ];
        let next = next.into_iter().flatten().min().unwrap();
        now = next.max(now + Duration::from_micros(1));
    }
    let received = receiver.app().received - before;
    let info = receiver.with_app(now, |app, sockets| sockets.info(app.connection.unwrap()));
    Outcome {
        buffer: info.unwrap().receive_buffer,
        rate: received * 1_000 / u64::try_from(measured.as_millis()).unwrap(),
    }
}

#[test]
fn a_fast_reader_gets_the_path_filled_and_a_slow_one_no_more_room() {
    let mut grown = 0;
    for seed in 0..12 {
        let path = Path::draw(&mut Rng::from_seed(seed));
        let fast = transfer(seed, &path, None);
        // Headers are 4 % of it.
        assert!(
            fast.rate * 10 > path.rate * 9,
            "seed {seed}: {} of {} B/s, {} bytes of buffer",
            fast.rate,
            path.rate,
            fast.buffer
        );
        grown += u32::from(path.product() > u64::from(2 * FIRST));
        // Half of what one buffer in each round trip would be.
        let pace = u64::from(FIRST / 2) * 10 / u64::try_from(path.round_trip.as_millis()).unwrap();
        let pace = pace.min(path.rate / 200);
        let slow = transfer(seed, &path, Some(usize::try_from(pace).unwrap()));
        assert_eq!(slow.buffer, FIRST, "seed {seed}: {pace} bytes in 10 ms");
    }
    assert!(
        grown > 6,
        "the first buffer fills few of these paths: {grown}"
    );
}
