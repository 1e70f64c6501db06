//! Hosts of several shards, the wires between them, and what runs on them.

use ringmill_core::app::App;
use ringmill_core::app::http::{Http, HttpConfig};
use ringmill_core::app::load::{CloseMode, Load, LoadConfig};
use ringmill_core::driver::memory::MemoryDriver;
use ringmill_core::frame::{Frame, FramePool};
use ringmill_core::ports::PortRange;
use ringmill_core::shard::{self, Shard};
use ringmill_core::stack::Config;
use ringmill_core::stats::{DropReason, Stats};
use ringmill_core::time::{Duration, Instant};
use ringmill_core::wire::ethernet::MacAddress;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Server and client, on both families.
pub(crate) const ENDS: [[IpAddr; 2]; 2] = [
    [
        IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1)),
        IpAddr::V4(Ipv4Addr::new(198, 18, 0, 2)),
    ],
    [
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2)),
    ],
];
pub(crate) const SERVER_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
pub(crate) const CLIENT_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);

pub(crate) fn config(mac: MacAddress, address: IpAddr) -> Config {
    let prefix_len = if address.is_ipv4() { 24 } else { 64 };
    let mut config = Config::new(mac, address, prefix_len);
    config.seed = mac.0[5].into();
    config
}

/// The shards of one host, one for each application.
pub(crate) struct Host<A> {
    pub(crate) shards: Vec<Shard<MemoryDriver, A>>,
}

impl<A: App> Host<A> {
    pub(crate) fn new(config: &Config, apps: impl IntoIterator<Item = A>) -> Host<A> {
        let apps: Vec<A> = apps.into_iter().collect();
        let blocks = PortRange::default().split(apps.len()).unwrap();
        let shard = |((queue, app), ports)| {
            let mut config = config.clone();
            match &mut config.rss {
                Some(share) => share.queues = vec![queue],
                None => config.tcp.ports = ports,
            }
            let pool = FramePool::on_heap(4_096, 2_048);
            Shard::new(config, Instant::ZERO, MemoryDriver::new(), pool, app)
        };
        let mut shards: Vec<_> = (0..).zip(apps).zip(blocks).map(shard).collect();
        shard::join(&mut shards);
        Host { shards }
    }

    pub(crate) fn step(&mut self, now: Instant) -> bool {
        let steps = self.shards.iter_mut().map(|shard| shard.step(now));
        steps.fold(false, |any, moved| any | moved)
    }

    /// Takes what all shards have sent, each frame with the shard that sent it.
    pub(crate) fn take_sent(&mut self) -> Vec<(usize, Vec<u8>)> {
        let mut sent = Vec::new();
        for (number, shard) in self.shards.iter_mut().enumerate() {
            let driver = shard.driver_mut();
            while let Some(frame) = driver.take_sent() {
                sent.push((number, frame.data().to_vec()));
                driver.complete(frame);
            }
        }
        sent
    }

    pub(crate) fn arrive(&mut self, at: usize, bytes: &[u8]) {
        let driver = self.shards[at].driver_mut();
        driver.arrive(Frame::copied(bytes));
    }

    pub(crate) fn check(&self, now: Instant) {
        for shard in &self.shards {
            shard.check(now).unwrap();
        }
    }

    pub(crate) fn sum(&self, count: impl Fn(&Stats) -> u64) -> u64 {
        self.shards.iter().map(|shard| count(&shard.stats())).sum()
    }

    /// No timer had to make a loss good.
    pub(crate) fn assert_in_time(&self) {
        for shard in &self.shards {
            let tcp = shard.stats().tcp;
            let late = tcp.rto_expired + tcp.tail_probes + tcp.syn_ack_retransmits;
            assert_eq!(late, 0, "{tcp:?}");
        }
    }

    /// Nothing was lost between shards, and all is home.
    pub(crate) fn assert_whole(&self) {
        for shard in &self.shards {
            let (stats, gauges) = (shard.stats(), shard.gauges());
            assert_eq!(stats.drops.of(DropReason::StrayQueueFull), 0, "{stats:?}");
            let held = [gauges.live(), gauges.chunks, gauges.timers, gauges.ports];
            assert_eq!((held, shard.frames_missing()), ([0; 4], 0), "{gauges:?}");
        }
        assert_eq!(
            self.sum(|stats| stats.tcp.strays_out),
            self.sum(|stats| stats.tcp.strays_in)
        );
    }
}

/// Which of so many shards of the other host a frame arrives at, that one of this
/// host has sent; at none where it is lost.
pub(crate) type Wire<'a> = &'a mut dyn FnMut(usize, usize, &[u8]) -> Option<usize>;

/// Carries what both have sent: false when that is nothing.
pub(crate) fn carry<A: App, B: App>(
    client: &mut Host<A>,
    server: &mut Host<B>,
    wire: Wire,
) -> bool {
    let (there, back) = (client.take_sent(), server.take_sent());
    let is_nothing = there.is_empty() && back.is_empty();
    for (from, bytes) in there {
        if let Some(at) = wire(server.shards.len(), from, &bytes) {
            server.arrive(at, &bytes);
        }
    }
    for (from, bytes) in back {
        if let Some(at) = wire(client.shards.len(), from, &bytes) {
            client.arrive(at, &bytes);
        }
    }
    !is_nothing
}

/// Steps both until nothing will ever happen again.
pub(crate) fn run<A: App, B: App>(
    client: &mut Host<A>,
    server: &mut Host<B>,
    now: &mut Instant,
    wire: Wire,
) {
    for _ in 0..2_000_000 {
        let moved = client.step(*now) | server.step(*now) | carry(client, server, wire);
        let next = *now + Duration::from_micros(1);
        let clients = client.shards.iter().filter_map(Shard::next_deadline);
        let servers = server.shards.iter().filter_map(Shard::next_deadline);
        match clients.chain(servers).min() {
            _ if moved => *now = next,
            Some(deadline) => *now = next.max(deadline),
            None => return,
        }
    }
    panic!("it never ends");
}

pub(crate) fn responders(count: usize) -> impl Iterator<Item = Http> {
    let http = |_| {
        Http::new(HttpConfig {
            address: None,
            port: 80,
            backlog: 64,
            body: vec![b'x'; 5_000].into(),
            content_type: "text/plain".to_owned(),
            idle: None,
        })
    };
    (0..count).map(http)
}

pub(crate) fn generators(
    count: usize,
    server: IpAddr,
    close: CloseMode,
) -> impl Iterator<Item = Load> {
    let load = move |_| {
        Load::new(LoadConfig {
            target: SocketAddr::new(server, 80),
            host: "host".to_owned(),
            path: "/".to_owned(),
            connections: 8,
            close,
        })
    };
    (0..count).map(load)
}

/// Between two steps on a good wire.
pub(crate) const STEP: Duration = Duration::from_micros(10);

/// Loads a server of `shards` from as many for a while, and drains: the hosts.
pub(crate) fn load(
    client: &Config,
    server: &Config,
    shards: usize,
    close: CloseMode,
    (wire, step): (Wire, Duration),
) -> (Host<Load>, Host<Http>) {
    let target = server.addresses[0].ip;
    let mut server_host = Host::new(server, responders(shards));
    let mut client_host = Host::new(client, generators(shards, target, close));
    let mut now = Instant::ZERO;
    for shard in &mut server_host.shards {
        shard.with_app(now, |http, sockets| http.start(sockets).unwrap());
    }
    for _ in 0..400 {
        client_host.step(now);
        server_host.step(now);
        carry(&mut client_host, &mut server_host, wire);
        now += step;
    }
    for shard in &mut client_host.shards {
        shard.with_app(now, Load::drain);
    }
    for step in 0..20 {
        now += STEP * step;
        client_host.step(now);
        server_host.step(now);
        carry(&mut client_host, &mut server_host, wire);
        client_host.check(now);
        server_host.check(now);
    }
    run(&mut client_host, &mut server_host, &mut now, wire);
    (client_host, server_host)
}
