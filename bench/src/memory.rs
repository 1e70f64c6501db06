//! Two engines back to back in memory, on one core.

use ringmill_core::app::App;
use ringmill_core::driver::memory::{MemoryDriver, carry};
use ringmill_core::frame::FramePool;
use ringmill_core::shard::Shard;
use ringmill_core::sockets::Sockets;
use ringmill_core::stack::Config;
use ringmill_core::time::{Duration, Instant};
use ringmill_core::wire::ethernet::MacAddress;
use std::net::Ipv4Addr;

/// Who listens.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// Who connects.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);

/// What the clock advances with each turn.
const TURN: Duration = Duration::from_micros(20);

/// The ports of a server: one takes fewer connections of one client than there
/// are ports, so more connections need more of them.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    next: u16,
    end: u16,
}

impl Ports {
    const FIRST: u16 = 80;
    const CONNECTIONS_EACH: usize = 50_000;

    /// As many as that many connections need.
    pub fn for_connections(connections: usize) -> Ports {
        let count = connections.div_ceil(Ports::CONNECTIONS_EACH);
        Ports {
            next: Ports::FIRST,
            end: Ports::FIRST + u16::try_from(count).unwrap_or(u16::MAX - Ports::FIRST),
        }
    }

    /// The port for the connection with this number: past the last the first comes
    /// again.
    pub fn of(self, number: usize) -> u16 {
        let count = usize::from(self.end - Ports::FIRST);
        let nth = number / Ports::CONNECTIONS_EACH % count;
        Ports::FIRST + u16::try_from(nth).unwrap_or(0)
    }
}

impl Iterator for Ports {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        let port = (self.next < self.end).then_some(self.next)?;
        self.next += 1;
        Some(port)
    }
}

/// Two shards and the wire between them.
pub struct Wire<C, S> {
    /// The end that connects.
    pub client: Shard<MemoryDriver, C>,
    /// The end that listens.
    pub server: Shard<MemoryDriver, S>,
    now: Instant,
}

impl<C: App, S: App> Wire<C, S> {
    /// Two ends with room for `connections`.
    pub fn new(connections: usize, client: C, server: S) -> Wire<C, S> {
        Wire::with_config(client, server, |config| {
            config.tcp.max_connections = connections + 1_024;
        })
    }

    /// Two ends whose configurations `change` has gone over.
    pub fn with_config(client: C, server: S, change: impl Fn(&mut Config)) -> Wire<C, S> {
        Wire {
            client: shard(CLIENT, client, &change),
            server: shard(SERVER, server, &change),
            now: Instant::ZERO,
        }
    }

    /// Calls the server's application.
    pub fn server<T>(&mut self, call: impl FnOnce(&mut S, &mut Sockets) -> T) -> T {
        self.server.with_app(self.now, call)
    }

    /// The time of the last turn.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// One step of each end.
    pub fn turn(&mut self) {
        self.now += TURN;
        self.client.step(self.now);
        carry(self.client.driver_mut(), self.server.driver_mut());
        self.server.step(self.now);
        carry(self.client.driver_mut(), self.server.driver_mut());
    }

    /// Segments that either end has received.
    pub fn segments(&self) -> u64 {
        let ends = [self.client.stats(), self.server.stats()];
        ends.iter().map(|stats| stats.tcp.segments_in).sum()
    }
}

fn shard<A: App>(
    address: Ipv4Addr,
    app: A,
    change: impl Fn(&mut Config),
) -> Shard<MemoryDriver, A> {
    let mut config = Config::new(mac(address), address, 24);
    change(&mut config);
    let pool = FramePool::on_heap(1_024, 2_048);
    Shard::new(config, Instant::ZERO, MemoryDriver::new(), pool, app)
}

/// The Ethernet address of an end.
pub fn mac(address: Ipv4Addr) -> MacAddress {
    MacAddress([2, 0, 0, 0, 0, address.octets()[3]])
}
