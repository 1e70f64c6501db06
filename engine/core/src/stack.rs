//! One shard's host: Ethernet, IPv4 and IPv6 around TCP.
//!
//! The stack owns addresses of its own and answers ARP, neighbour solicitations
//! and echo requests for them (RFC 1122, RFC 8504). It forwards nothing and
//! refuses fragments.

mod build;
mod demux;
mod icmp;
mod ip;
mod link;

use crate::app::App;
use crate::flow::FlowReader;
use crate::frame::{Batch, Frame, FramePool};
use crate::locals::Locals;
use crate::neighbor::{self, NeighborCache, Resolution};
use crate::rng::Rng;
use crate::rss::RssShare;
use crate::siblings::{News, Siblings};
use crate::sockets::Sockets;
use crate::stats::{DropReason, Drops, LinkStats, Stats};
use crate::tcp::{Broken, Cx, Events, Gauges, Listing, SocketInfo, Tcp, TcpConfig};
use crate::time::Instant;
use crate::wire::ChecksumPolicy;
use crate::wire::ethernet::{self, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, MacAddress};
use build::{Envelope, Port};
use demux::Arrivals;
use std::collections::VecDeque;
use std::net::IpAddr;

pub use crate::locals::{Gateways, InterfaceAddress};

/// Who the stack is, and how large it may grow.
#[derive(Clone, Debug)]
pub struct Config {
    /// The interface's Ethernet address.
    pub mac: MacAddress,
    /// The VLAN that the engine is on, 1 to 4094: frames of all others are dropped,
    /// and all that leave are tagged (IEEE 802.1Q). None: frames have no tag.
    pub vlan: Option<u16>,
    /// Largest IP packet, in bytes.
    pub mtu: u16,
    /// The stack's own addresses, of one family or both, and their networks.
    pub addresses: Vec<InterfaceAddress>,
    /// Where everything goes that is in none of these networks.
    pub gateways: Gateways,
    /// What TCP checksums are accepted.
    pub checksum: ChecksumPolicy,
    /// This shard's part of a device that says how it spreads flows over queues.
    pub rss: Option<RssShare>,
    /// All randomness comes from here.
    pub seed: u64,
    /// TCP.
    pub tcp: TcpConfig,
}

impl Config {
    /// A stack with one address and the defaults.
    pub fn new(mac: MacAddress, address: impl Into<IpAddr>, prefix_len: u8) -> Config {
        let ip = address.into();
        Config {
            mac,
            vlan: None,
            mtu: 1_500,
            addresses: vec![InterfaceAddress { ip, prefix_len }],
            gateways: Gateways::default(),
            checksum: ChecksumPolicy::Full,
            rss: None,
            seed: 0,
            tcp: TcpConfig::default(),
        }
    }
}

/// What one step takes of siblings: as much as of its own queue.
const STRAY_BUDGET: usize = Batch::CAPACITY;
/// Work that one step does for timers, so that a step stays short.
const EXPIRE_BUDGET: usize = 256;

/// One shard's host.
pub(crate) struct Stack {
    config: Config,
    locals: Locals,
    neighbors: NeighborCache,
    tcp: Tcp,
    /// Segments of the batch that is being processed; empty between batches.
    arrivals: Arrivals,
    /// Connections that wait for their next hop to be resolved.
    unresolved: Vec<u32>,
    outbox: VecDeque<Frame>,
    link: LinkStats,
    drops: Drops,
}

impl Stack {
    pub(crate) fn new(config: Config, now: Instant) -> Stack {
        let mut rng = Rng::from_seed(config.seed);
        let mut tcp = Tcp::new(config.tcp.clone(), config.mtu, now, &mut rng);
        if let Some(share) = config.rss.clone() {
            let locals = config.addresses.iter().map(|address| address.ip);
            tcp.shared.ports.only_answered(share, locals.collect());
        }
        Stack {
            tcp,
            locals: Locals::new(&config.addresses, config.gateways),
            neighbors: NeighborCache::new(neighbor::Config::default()),
            arrivals: Arrivals::default(),
            unresolved: Vec::new(),
            outbox: VecDeque::new(),
            link: LinkStats::default(),
            drops: Drops::default(),
            config,
        }
    }

    /// Processes a batch of received frames: each is parsed, and what it has for TCP
    /// waits for the others.
    pub(crate) fn input(&mut self, now: Instant, pool: &mut FramePool, batch: &mut Batch) {
        let mut cx = Cx { now, pool };
        for frame in batch.drain(Batch::CAPACITY) {
            self.link.rx_frames += 1;
            self.link.rx_bytes += frame.len() as u64;
            if let Err((reason, frame)) = self.input_frame(&mut cx, frame) {
                self.drops.count(reason);
                cx.pool.free(frame);
            }
        }
        self.input_segments(&mut cx);
    }

    fn input_frame(&mut self, cx: &mut Cx, mut frame: Frame) -> Input {
        let (header, payload) = match ethernet::Header::parse(frame.data()) {
            Ok(parsed) => parsed,
            Err(malformed) => return Err((malformed.into(), frame)),
        };
        let to_group = header.destination.is_multicast();
        if header.destination != self.config.mac && !to_group {
            return Err((DropReason::NotForUs, frame));
        }
        if header.vlan != self.config.vlan {
            return Err((DropReason::Vlan, frame));
        }
        let (offset, len) = (offset_in(frame.data(), payload), payload.len());
        frame.narrow(offset, len);
        match header.ethertype {
            ETHERTYPE_ARP => self.input_arp(cx, frame),
            ETHERTYPE_IPV4 => self.input_ipv4(cx, to_group, frame),
            ETHERTYPE_IPV6 => self.input_ipv6(cx, to_group, frame),
            _ => Err((DropReason::Protocol, frame)),
        }
    }

    /// Processes what siblings handed over: how many segments.
    pub(crate) fn input_strays(&mut self, now: Instant, pool: &mut FramePool) -> usize {
        let mut cx = Cx { now, pool };
        for _ in 0..STRAY_BUDGET {
            match self.tcp.siblings.next_news() {
                Some(News::Neighbor(ip, word)) => self.learn(&cx, ip, word),
                Some(News::Quoted(error, quote)) => {
                    if !self.input_quote(&mut cx, error, &quote) {
                        self.drops.count(DropReason::Icmp);
                    }
                }
                None => break,
            }
        }
        self.tcp.input_strays(&mut cx, STRAY_BUDGET)
    }

    /// Does what is due by the clock.
    pub(crate) fn expire(&mut self, now: Instant, pool: &mut FramePool) {
        let mut cx = Cx { now, pool };
        self.tcp.expire(&mut cx, EXPIRE_BUDGET);
        for remote in self.tcp.shared.silent.drain(..) {
            self.neighbors.doubt(now, self.locals.next_hop(remote));
        }
        self.tcp.expire_half_open(now, EXPIRE_BUDGET);
        self.tcp.reap_time_wait(now);
        while let Some(probe) = self.neighbors.poll_probe(now) {
            self.probe(&mut cx, probe);
        }
        for frame in self.neighbors.take_failed_frames() {
            self.drops.count(DropReason::NextHopUnreachable);
            cx.pool.free(frame);
        }
        // Those whose hop has failed meanwhile must hear of it.
        if self.neighbors.take_failed() {
            for index in self.unresolved.drain(..) {
                self.tcp.requeue_output(index);
            }
        }
    }

    /// Tells the application what happened.
    pub(crate) fn call<A: App>(&mut self, now: Instant, pool: &mut FramePool, app: &mut A) {
        self.with_sockets(now, pool, |sockets| {
            while let Some(listener) = sockets.tcp.shared.acceptable.pop_front() {
                app.on_acceptable(sockets, listener);
            }
            while let Some((connection, events)) = sockets.tcp.poll_ready() {
                if events.contains(Events::CONNECTED) {
                    app.on_connected(sockets, connection);
                }
                if events.contains(Events::WRITABLE) {
                    app.on_writable(sockets, connection);
                }
                if events.contains(Events::URGENT) {
                    app.on_urgent(sockets, connection);
                }
                if events.contains(Events::READABLE) {
                    app.on_readable(sockets, connection);
                }
            }
            while let Some(event) = sockets.tcp.shared.closed.pop_front() {
                app.on_closed(sockets, event.id, event.token, event.why);
            }
            app.poll(sockets);
        });
    }

    pub(crate) fn with_sockets<T>(
        &mut self,
        now: Instant,
        pool: &mut FramePool,
        call: impl FnOnce(&mut Sockets) -> T,
    ) -> T {
        let Stack { tcp, locals, .. } = self;
        call(&mut Sockets::new(tcp, locals, now, pool))
    }

    /// Fills the batch with what may leave now.
    pub(crate) fn output(&mut self, now: Instant, pool: &mut FramePool, batch: &mut Batch) {
        let before = batch.len();
        let mut cx = Cx { now, pool };
        self.output_replies(&mut cx, batch.room());
        while batch.room() > 0 {
            let Some(frame) = self.outbox.pop_front() else {
                break;
            };
            batch.push(frame);
        }
        self.output_connections(&mut cx, batch);
        for frame in batch.iter().skip(before) {
            self.link.tx_frames += 1;
            self.link.tx_bytes += frame.len() as u64;
        }
    }

    fn output_replies(&mut self, cx: &mut Cx, room: usize) {
        while self.outbox.len() < room && cx.pool.available() > 0 {
            let Some(reply) = self.tcp.poll_reply() else {
                return;
            };
            let Some(mut frame) = cx.pool.alloc() else {
                return;
            };
            let envelope = Envelope {
                source_mac: self.config.mac,
                destination_mac: MacAddress::BROADCAST,
                vlan: self.config.vlan,
                source: self.locals.ip(reply.key.local),
                destination: reply.key.remote.ip(),
                service: reply.service,
            };
            envelope.build(&mut frame, &reply.header, None);
            self.tcp.shared.stats.segments_out += 1;
            if let Err((reason, frame)) = self.send_to(cx, reply.key.remote, frame) {
                self.drops.count(reason);
                cx.pool.free(frame);
            }
        }
    }

    fn output_connections(&mut self, cx: &mut Cx, batch: &mut Batch) {
        self.tcp.touch_output(batch.room());
        while batch.room() > 0 && cx.pool.available() > 0 {
            let Some((index, remote)) = self.tcp.poll_output() else {
                return;
            };
            let hop = self.locals.next_hop(remote);
            match self.neighbors.lookup(cx.now, hop) {
                Resolution::Reachable(mac) => {
                    let mut port = Port {
                        config: &self.config,
                        locals: &self.locals,
                        mac,
                        batch,
                    };
                    self.tcp.send_segments(cx, index, &mut port);
                }
                Resolution::Pending => {
                    self.tcp.schedule(cx.now, index);
                    self.unresolved.push(index);
                }
                Resolution::Failed => self.tcp.next_hop_failed(cx, index),
            }
        }
    }

    pub(crate) fn has_work(&self) -> bool {
        self.tcp.has_work() || !self.outbox.is_empty() || self.tcp.siblings.has_mail()
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        [self.tcp.next_deadline(), self.neighbors.next_deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut drops = self.drops;
        drops.add(&self.tcp.shared.drops);
        Stats {
            link: self.link,
            tcp: self.tcp.shared.stats,
            drops,
        }
    }

    pub(crate) fn check(&self, now: Instant) -> Result<(), Broken> {
        self.tcp.check(now, &self.unresolved)
    }

    pub(crate) fn sockets(&self, now: Instant) -> Vec<SocketInfo> {
        self.tcp.sockets(now, &self.locals)
    }

    pub(crate) fn list(&self, now: Instant, listing: &mut Listing) {
        self.tcp.list(now, &self.locals, listing);
    }

    pub(crate) fn gauges(&self) -> Gauges {
        self.tcp.gauges()
    }

    pub(crate) fn frames_held(&self) -> usize {
        self.outbox.len() + self.neighbors.frames_held() + self.tcp.shared.chunks.frames_held()
    }

    /// What siblings see of the flows here.
    pub(crate) fn flows(&self) -> FlowReader {
        self.tcp.flows()
    }

    /// From now on this is one shard of several.
    pub(crate) fn join(&mut self, siblings: Siblings) {
        self.tcp.siblings = siblings;
    }

    /// The other can be a sibling: a flow's key and hash are the same there.
    pub(crate) fn may_join(&self, other: &Stack) -> bool {
        let (own, other) = (&self.config, &other.config);
        (own.seed, own.mac, own.vlan, &own.addresses)
            == (other.seed, other.mac, other.vlan, &other.addresses)
    }

    pub(crate) fn abandon_time_wait(&mut self) -> usize {
        self.tcp.abandon_time_wait()
    }
}

/// What becomes of a frame that arrived: it is used, or comes back with the
/// reason why it is not.
type Input = Result<(), (DropReason, Frame)>;

/// Where `part`, a slice of `whole`, starts in it.
#[inline]
fn offset_in(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr().addr() - whole.as_ptr().addr()
}
