//! The engine as an end.

use super::wire::End;
use ringmill_core::app::App;
use ringmill_core::driver::memory::MemoryDriver;
use ringmill_core::frame::{Frame, FramePool};
use ringmill_core::shard::Shard;
use ringmill_core::sockets::{ConnectionId, ListenerId, SocketOptions, Sockets};
use ringmill_core::stack::Config;
use ringmill_core::tcp::Algorithm;
use ringmill_core::time::Instant;
use ringmill_core::wire::ethernet::MacAddress;
use std::net::{Ipv4Addr, SocketAddr};

const SENDER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const RECEIVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
const PORT: u16 = 9;

/// Sends without an end, or receives and forgets.
#[derive(Debug, Default)]
pub(crate) struct Bulk {
    received: Vec<u64>,
}

impl Bulk {
    fn fill(sockets: &mut Sockets, connection: ConnectionId) {
        while let Ok(1..) = sockets.send(connection, &[0; 16_384]) {}
    }
}

impl App for Bulk {
    fn on_acceptable(&mut self, sockets: &mut Sockets, listener: ListenerId) {
        while let Some(connection) = sockets.accept(listener) {
            let token = u32::try_from(self.received.len()).unwrap_or(0);
            self.received.push(0);
            let _ = sockets.set_token(connection, token);
        }
    }

    fn on_connected(&mut self, sockets: &mut Sockets, connection: ConnectionId) {
        Bulk::fill(sockets, connection);
    }

    fn on_writable(&mut self, sockets: &mut Sockets, connection: ConnectionId) {
        Bulk::fill(sockets, connection);
    }

    fn on_readable(&mut self, sockets: &mut Sockets, connection: ConnectionId) {
        let at = sockets.token(connection) as usize;
        while let Ok(bytes @ [_, ..]) = sockets.receive(connection) {
            let count = bytes.len();
            self.received[at] += count as u64;
            sockets.consume(connection, count);
        }
    }
}

/// One host.
pub(crate) struct Host(Shard<MemoryDriver, Bulk>);

/// What a host may queue: to send, and received, at first and at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buffers {
    pub(crate) send: u32,
    pub(crate) receive: u32,
    pub(crate) receive_max: u32,
}

impl Buffers {
    /// As much either way, and no more later.
    pub(crate) fn fixed(bytes: u32) -> Buffers {
        Buffers {
            send: bytes,
            receive: bytes,
            receive_max: bytes,
        }
    }
}

fn host(address: Ipv4Addr, buffers: Buffers, algorithm: Algorithm, seed: u64) -> Host {
    let mac = MacAddress([2, 0, 0, 0, 0, address.octets()[3]]);
    let mut config = Config::new(mac, address, 24);
    config.seed = seed;
    config.tcp.max_connections = 64;
    config.tcp.max_half_open = 64;
    config.tcp.max_time_wait = 64;
    config.tcp.max_chunks = 1 << 16;
    config.tcp.receive_buffer = buffers.receive;
    config.tcp.receive_buffer_max = buffers.receive_max;
    config.tcp.send_buffer = buffers.send;
    config.tcp.congestion = algorithm;
    let pool = FramePool::on_heap(1_024, 2_048);
    let port = MemoryDriver::new();
    Host(Shard::new(
        config,
        Instant::ZERO,
        port,
        pool,
        Bulk::default(),
    ))
}

/// Both ends, with `connections` between them.
pub(crate) fn ends(
    connections: usize,
    buffers: Buffers,
    algorithm: Algorithm,
    seed: u64,
) -> (Host, Host) {
    let options = SocketOptions::default();
    let mut receiver = host(RECEIVER, buffers, algorithm, seed ^ 1);
    let listens = receiver.0.with_app(Instant::ZERO, |_, sockets| {
        sockets.listen(None, PORT, 64, options)
    });
    let mut sender = host(SENDER, buffers, algorithm, seed);
    let connects = sender.0.with_app(Instant::ZERO, |_, sockets| {
        let remote = SocketAddr::new(RECEIVER.into(), PORT);
        (0..connections).all(|_| sockets.connect(remote, 0, options).is_ok())
    });
    assert!(listens.is_ok() && connects, "there is room for all");
    (sender, receiver)
}

impl End for Host {
    fn arrive(&mut self, frame: Vec<u8>) {
        self.0.driver_mut().arrive(Frame::copied(&frame));
    }

    fn run(&mut self, now: Instant, send: &mut dyn FnMut(Vec<u8>)) {
        loop {
            let moved = self.0.step(now);
            while let Some(frame) = self.0.driver_mut().take_sent() {
                send(frame.data().to_vec());
                self.0.driver_mut().complete(frame);
            }
            if !moved && !self.0.has_work() {
                return;
            }
        }
    }

    fn next_deadline(&mut self, _now: Instant) -> Option<Instant> {
        self.0.next_deadline()
    }

    fn received(&self) -> &[u64] {
        &self.0.app().received
    }
}
