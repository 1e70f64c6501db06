//! The engine's parts, and two engines back to back, in memory.

// A measurement that can't go on ends.
#![allow(clippy::unwrap_used)]

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringmill_bench::memory::{SERVER, Wire};
use ringmill_core::app::App;
use ringmill_core::app::http::{Http, HttpConfig};
use ringmill_core::app::load::{CloseMode, Load, LoadConfig};
use ringmill_core::flow::{FlowHasher, FlowKey, FlowTable};
use ringmill_core::rng::Rng;
use ringmill_core::seq::Seq;
use ringmill_core::sockets::{ConnectionId, ListenerId, SocketOptions, Sockets};
use ringmill_core::time::{Duration, Instant};
use ringmill_core::wheel::Wheel;
use ringmill_core::wire::checksum::Sum;
use ringmill_core::wire::tcp::{Flags, Header, Options, Timestamps};
use ringmill_core::wire::{ChecksumPolicy, ipv4};
use std::hint::black_box;
use std::net::Ipv4Addr;

const A: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const B: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);

fn checksum(c: &mut Criterion) {
    let mut group = c.benchmark_group("checksum");
    for len in [20usize, 64, 1_460] {
        let bytes = vec![0xa5; len];
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::from_parameter(len), |b| {
            b.iter(|| Sum::default().add_bytes(black_box(&bytes)).fold())
        });
    }
    group.finish();
}

fn parse(c: &mut Criterion) {
    let mut group = c.benchmark_group("parse");
    for len in [0usize, 64, 1_448] {
        let header = Header {
            source_port: 1_024,
            destination_port: 80,
            seq: Seq(1),
            ack: Seq(2),
            flags: Flags::ACK,
            window: 1_000,
            urgent: 0,
            options: Options {
                timestamps: Some(Timestamps { value: 3, echo: 4 }),
                ..Options::default()
            },
        };
        let mut packet = vec![0; ipv4::HEADER_LEN + header.len() + len];
        header.emit(&mut packet[ipv4::HEADER_LEN..], A, B);
        let ip = ipv4::Header {
            source: A,
            destination: B,
            protocol: 6,
            ttl: 64,
            tos: 0,
            payload_len: packet.len() - ipv4::HEADER_LEN,
        };
        ip.emit(&mut packet);
        for (name, policy) in [
            ("full", ChecksumPolicy::Full),
            ("partial", ChecksumPolicy::AcceptPartial),
        ] {
            group.bench_function(BenchmarkId::new(name, len), |b| {
                b.iter(|| {
                    let (ip, segment) = ipv4::Header::parse(black_box(&packet)).unwrap();
                    let parsed = Header::parse(segment, ip.source, ip.destination, policy)
                        .map(|(tcp, data)| (tcp.seq, data.len()));
                    parsed.is_ok()
                });
            });
        }
    }
    group.finish();
}

fn flow_table(c: &mut Criterion) {
    let mut group = c.benchmark_group("flow_table");
    let hasher = FlowHasher::new([7; 16]);
    let key = |n: u32| FlowKey {
        remote: Ipv4Addr::from(n).into(),
        local: 0,
        local_port: 80,
        remote_port: 1_024,
    };
    for flows in [1_000u32, 100_000, 1_000_000] {
        let mut table = FlowTable::with_capacity(8);
        let hashes: Vec<u64> = (0..flows).map(|n| hasher.hash(&key(n))).collect();
        for (n, &hash) in (0..).zip(&hashes) {
            table.insert(hash, n);
        }
        let mut rng = Rng::from_seed(1);
        let mut pick = || u32::try_from(rng.below(u64::from(flows))).unwrap();
        group.bench_function(BenchmarkId::new("find", flows), |b| {
            b.iter_batched(
                &mut pick,
                |n| table.find(hashes[n as usize], |value| value == n),
                BatchSize::SmallInput,
            );
        });
        group.bench_function(BenchmarkId::new("remove_insert", flows), |b| {
            b.iter_batched(
                &mut pick,
                |n| {
                    table.remove(hashes[n as usize], n);
                    table.insert(hashes[n as usize], n);
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.bench_function("hash", |b| b.iter(|| hasher.hash(black_box(&key(1)))));
    group.finish();
}

fn wheel(c: &mut Criterion) {
    let mut group = c.benchmark_group("wheel");
    for timers in [1_000u32, 1_000_000] {
        let mut wheel = Wheel::<1>::new(Instant::ZERO, 0);
        let mut now = Instant::ZERO;
        let mut rng = Rng::from_seed(1);
        for id in 0..timers {
            wheel.schedule(id, now + Duration::from_millis(rng.below(60_000)));
        }
        group.bench_function(BenchmarkId::new("reschedule", timers), |b| {
            b.iter(|| {
                let id = u32::try_from(rng.below(u64::from(timers))).unwrap();
                wheel.schedule(id, now + Duration::from_millis(rng.below(60_000)));
            });
        });
        group.bench_function(BenchmarkId::new("expire_and_schedule", timers), |b| {
            b.iter(|| {
                let id = loop {
                    match wheel.pop_expired(now) {
                        Some(id) => break id,
                        None => now = wheel.next_deadline().unwrap().max(now),
                    }
                };
                wheel.schedule(id, now + Duration::from_millis(1 + rng.below(60_000)));
            });
        });
    }
    group.finish();
}

/// Time for one request and its response, both ends on one core.
fn exchange(c: &mut Criterion) {
    let mut group = c.benchmark_group("exchange");
    group.sample_size(20);
    for (name, close, connections) in [
        ("keep_alive", CloseMode::KeepAlive, 1),
        ("keep_alive", CloseMode::KeepAlive, 100),
        ("keep_alive", CloseMode::KeepAlive, 1_000),
        ("connect_request_close", CloseMode::Server, 100),
    ] {
        let http = HttpConfig {
            address: None,
            port: 80,
            backlog: 4_096,
            body: vec![b'x'; 64].into(),
            content_type: "text/plain".to_owned(),
            idle: None,
        };
        let load = LoadConfig {
            target: (SERVER, 80).into(),
            host: "a".to_owned(),
            path: "/".to_owned(),
            connections,
            close,
        };
        // Closed connections make room at once: what is measured is their life.
        let mut wire = Wire::with_config(Load::new(load), Http::new(http), |config| {
            config.tcp.max_connections = 1 << 17;
            config.tcp.msl = Duration::from_millis(1);
        });
        wire.server(Http::start).unwrap();
        let mut turn = || {
            wire.turn();
            wire.client.app().stats().responses()
        };
        // All connections are open before it counts.
        while turn() < 4 * connections as u64 {}
        group.bench_function(BenchmarkId::new(name, connections), |b| {
            b.iter_custom(|requests| {
                let until = turn() + requests;
                let start = std::time::Instant::now();
                while turn() < until {}
                start.elapsed()
            });
        });
    }
    group.finish();
}

/// Writes as long as there is room, and reads what comes.
#[derive(Default)]
struct Stream {
    len: usize,
    read: u64,
}

impl App for Stream {
    fn on_acceptable(&mut self, sockets: &mut Sockets, listener: ListenerId) {
        while sockets.accept(listener).is_some() {}
    }

    fn on_connected(&mut self, sockets: &mut Sockets, connection: ConnectionId) {
        self.on_writable(sockets, connection);
    }

    fn on_writable(&mut self, sockets: &mut Sockets, connection: ConnectionId) {
        while sockets.send(connection, &vec![7; self.len]).is_ok() {}
    }

    fn on_readable(&mut self, sockets: &mut Sockets, connection: ConnectionId) {
        while let Ok(bytes) = sockets.receive(connection) {
            let len = bytes.len();
            sockets.consume(connection, len);
            self.read += len as u64;
        }
    }
}

/// Bytes of a stream that is written in pieces, both ends on one core.
fn writes(c: &mut Criterion) {
    let mut group = c.benchmark_group("writes");
    group.sample_size(20);
    group.throughput(Throughput::Bytes(1));
    for len in [16, 64, 1_448] {
        let writer = Stream { len, read: 0 };
        let mut wire = Wire::with_config(writer, Stream::default(), |config| {
            config.tcp.send_buffer = 256 << 10;
        });
        let options = SocketOptions::default;
        wire.server(|_, sockets| sockets.listen(None, 80, 1, options()))
            .unwrap();
        let now = wire.now();
        wire.client
            .with_app(now, |_, sockets| {
                sockets.connect((SERVER, 80).into(), 0, options())
            })
            .unwrap();
        let mut turn = || {
            wire.turn();
            wire.server.app().read
        };
        // Slow start is over before it counts.
        while turn() < 4 << 20 {}
        group.bench_function(BenchmarkId::from_parameter(len), |b| {
            b.iter_custom(|bytes| {
                let until = turn() + bytes;
                let start = std::time::Instant::now();
                while turn() < until {}
                start.elapsed()
            });
        });
    }
    group.finish();
}

criterion_group!(
    benches, checksum, parse, flow_table, wheel, exchange, writes
);
criterion_main!(benches);
