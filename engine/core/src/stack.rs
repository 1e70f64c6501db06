//! One shard's IP host: Ethernet, ARP, IPv4 and ICMP around TCP.
//!
//! The stack owns addresses of its own and answers ARP and echo requests for
//! them (RFC 826, RFC 1122). It forwards nothing and refuses fragments.

mod build;

use crate::address::Address;
use crate::app::App;
use crate::flow::FlowKey;
use crate::frame::{Batch, Frame, FramePool, HEADROOM};
use crate::locals::Locals;
use crate::neighbor::{self, NeighborCache, Resolution};
use crate::rng::Rng;
use crate::sockets::{Closed, Sockets};
use crate::stats::{DropReason, Drops, LinkStats, Stats};
use crate::tcp::{Cx, Events, Gauges, Segment, Tcp, TcpConfig};
use crate::time::Instant;
use crate::wire::ethernet::{self, ETHERTYPE_ARP, ETHERTYPE_IPV4, MacAddress};
use crate::wire::icmpv4::{self, Message};
use crate::wire::ip::{self, PROTOCOL_TCP};
use crate::wire::tcp::Header as TcpHeader;
use crate::wire::{ChecksumPolicy, arp, ipv4};
use build::{Envelope, Port, ethertype};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};

pub use crate::locals::{Gateways, InterfaceAddress};

/// Who the stack is, and how large it may grow.
#[derive(Clone, Debug)]
pub struct Config {
    /// The interface's Ethernet address.
    pub mac: MacAddress,
    /// Largest IP packet, in bytes.
    pub mtu: u16,
    /// The stack's own addresses, of one family or both, and their networks.
    pub addresses: Vec<InterfaceAddress>,
    /// Where everything goes that is in none of these networks.
    pub gateways: Gateways,
    /// What TCP checksums are accepted.
    pub checksum: ChecksumPolicy,
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
            mtu: 1_500,
            addresses: vec![InterfaceAddress { ip, prefix_len }],
            gateways: Gateways::default(),
            checksum: ChecksumPolicy::Full,
            seed: 0,
            tcp: TcpConfig::default(),
        }
    }
}

/// Frames that may wait to be sent besides TCP's own: ARP and ICMP.
const OUTBOX_MAX: usize = 256;
/// Work that one step does for timers, so that a step stays short.
const EXPIRE_BUDGET: usize = 256;

/// One shard's host.
pub(crate) struct Stack {
    config: Config,
    locals: Locals,
    neighbors: NeighborCache,
    tcp: Tcp,
    /// Connections that wait for their next hop to be resolved.
    unresolved: Vec<u32>,
    outbox: VecDeque<Frame>,
    link: LinkStats,
    drops: Drops,
}

impl Stack {
    pub(crate) fn new(config: Config, now: Instant) -> Stack {
        let mut rng = Rng::from_seed(config.seed);
        Stack {
            tcp: Tcp::new(config.tcp.clone(), config.mtu, now, &mut rng),
            locals: Locals::new(&config.addresses, config.gateways),
            neighbors: NeighborCache::new(neighbor::Config::default()),
            unresolved: Vec::new(),
            outbox: VecDeque::new(),
            link: LinkStats::default(),
            drops: Drops::default(),
            config,
        }
    }

    /// Processes a batch of received frames.
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
    }

    fn input_frame(&mut self, cx: &mut Cx, frame: Frame) -> Result<(), (DropReason, Frame)> {
        let (header, _) = match ethernet::Header::parse(frame.data()) {
            Ok(parsed) => parsed,
            Err(malformed) => return Err((malformed.into(), frame)),
        };
        if header.destination != self.config.mac && !header.destination.is_multicast() {
            return Err((DropReason::NotForUs, frame));
        }
        match header.ethertype {
            ETHERTYPE_ARP => self.input_arp(cx, frame),
            ETHERTYPE_IPV4 => self.input_ipv4(cx, frame),
            _ => Err((DropReason::Protocol, frame)),
        }
    }

    /// RFC 826, the packet reception algorithm.
    fn input_arp(&mut self, cx: &mut Cx, mut frame: Frame) -> Result<(), (DropReason, Frame)> {
        let packet = match arp::Packet::parse(&frame.data()[ethernet::HEADER_LEN..]) {
            Ok(packet) => packet,
            Err(malformed) => return Err((malformed.into(), frame)),
        };
        let is_for_us = self.locals.find(packet.target_ip.into()).is_some();
        let sender = Address::from(packet.sender_ip);
        if sender.is_host() && !packet.sender_mac.is_multicast() {
            let resolved = self
                .neighbors
                .learn(cx.now, sender, packet.sender_mac, is_for_us);
            if resolved {
                self.resolved(sender);
            }
        }
        if !is_for_us {
            return Err((DropReason::NotForUs, frame));
        }
        if packet.operation == arp::Operation::Request {
            let reply = arp::Packet {
                operation: arp::Operation::Reply,
                sender_mac: self.config.mac,
                sender_ip: packet.target_ip,
                target_mac: packet.sender_mac,
                target_ip: packet.sender_ip,
            };
            frame.truncate(ethernet::HEADER_LEN + arp::LEN);
            self.write_arp(&mut frame, packet.sender_mac, &reply);
            return self.send_later(frame);
        }
        cx.pool.free(frame);
        Ok(())
    }

    fn write_arp(&self, frame: &mut Frame, destination: MacAddress, packet: &arp::Packet) {
        let header = ethernet::Header {
            destination,
            source: self.config.mac,
            ethertype: ETHERTYPE_ARP,
        };
        header.emit(frame.data_mut());
        packet.emit(&mut frame.data_mut()[ethernet::HEADER_LEN..]);
    }

    /// A next hop is known now: what waited for it goes out.
    fn resolved(&mut self, ip: Address) {
        for index in self.unresolved.drain(..) {
            self.tcp.requeue_output(index);
        }
        for (frame, mac) in self.neighbors.take_pending(ip) {
            let mut frame = frame;
            frame.data_mut()[..6].copy_from_slice(&mac.0);
            self.outbox.push_back(frame);
        }
    }

    fn input_ipv4(&mut self, cx: &mut Cx, mut frame: Frame) -> Result<(), (DropReason, Frame)> {
        let packet = &frame.data()[ethernet::HEADER_LEN..];
        let (header, payload) = match ipv4::Header::parse(packet) {
            Ok(parsed) => parsed,
            Err(malformed) => return Err((malformed.into(), frame)),
        };
        let start = frame.head() + offset_in(frame.data(), payload);
        let len = payload.len();
        let Some(local) = self.locals.find(header.destination.into()) else {
            return Err((DropReason::NotForUs, frame));
        };
        // RFC 1122 section 3.2.1.3; RFC 9293 section 3.9.2.3 (MUST-63), and LAND.
        let source = Address::from(header.source);
        if !source.is_host() || header.source == header.destination {
            return Err((DropReason::BadSource, frame));
        }
        match header.protocol {
            PROTOCOL_TCP => {
                frame.set_window(start, len);
                let ip = Received {
                    source,
                    local,
                    tos: header.tos,
                };
                self.input_tcp(cx, &ip, frame)
            }
            ipv4::PROTOCOL_ICMP => self.input_icmp(cx, &header, start, len, frame),
            _ => Err((DropReason::Protocol, frame)),
        }
    }

    fn input_tcp(
        &mut self,
        cx: &mut Cx,
        ip: &Received,
        mut frame: Frame,
    ) -> Result<(), (DropReason, Frame)> {
        let parsed = TcpHeader::parse(
            frame.data(),
            ip.source.ip(),
            self.locals.ip(ip.local),
            self.config.checksum,
        );
        let (header, payload) = match parsed {
            Ok(parsed) => parsed,
            Err(malformed) => return Err((malformed.into(), frame)),
        };
        let (start, len) = (
            frame.head() + offset_in(frame.data(), payload),
            payload.len(),
        );
        let key = FlowKey {
            remote: ip.source,
            local: ip.local,
            local_port: header.destination_port,
            remote_port: header.source_port,
        };
        let segment = Segment {
            key,
            header,
            payload_len: u32::try_from(len).unwrap_or(0),
            ecn: ip.tos & 3,
        };
        frame.set_window(start, len);
        self.tcp.input(cx, &segment, frame);
        Ok(())
    }

    fn input_icmp(
        &mut self,
        cx: &mut Cx,
        ip: &ipv4::Header,
        start: usize,
        len: usize,
        mut frame: Frame,
    ) -> Result<(), (DropReason, Frame)> {
        let at = start - frame.head();
        let message = match Message::parse(&frame.data()[at..at + len]) {
            Ok(message) => message,
            Err(malformed) => return Err((malformed.into(), frame)),
        };
        match message {
            Message::EchoRequest => {
                icmpv4::make_echo_reply(&mut frame.data_mut()[at..at + len]);
                // The reply has no IP options: the header moves up to the message.
                frame.set_window(start - ipv4::HEADER_LEN - ethernet::HEADER_LEN, 0);
                frame.set_window(frame.head(), ethernet::HEADER_LEN + ipv4::HEADER_LEN + len);
                self.write_ipv4(&mut frame, ip.destination, ip.source, ipv4::PROTOCOL_ICMP);
                self.send_to(cx, ip.source.into(), frame)
            }
            Message::Unreachable { code, original } => {
                let known = self.input_unreachable(cx, code, icmpv4::embedded_tcp(original));
                cx.pool.free(frame);
                if !known {
                    self.drops.count(DropReason::Icmp);
                }
                Ok(())
            }
            _ => Err((DropReason::Icmp, frame)),
        }
    }

    /// RFC 1122 section 4.2.3.9: hard for a connection that is opening, soft else.
    fn input_unreachable(
        &mut self,
        cx: &mut Cx,
        code: u8,
        embedded: Option<icmpv4::Embedded>,
    ) -> bool {
        let Some(embedded) = embedded else {
            return false;
        };
        let Some(local) = self.locals.find(embedded.source.into()) else {
            return false;
        };
        let key = FlowKey {
            remote: embedded.destination.into(),
            local,
            local_port: embedded.source_port,
            remote_port: embedded.destination_port,
        };
        const PROTOCOL_UNREACHABLE: u8 = 2;
        const PORT_UNREACHABLE: u8 = 3;
        let why = match code {
            PROTOCOL_UNREACHABLE | PORT_UNREACHABLE => Closed::Refused,
            _ => Closed::Unreachable,
        };
        self.tcp.unreachable(cx, &key, embedded.seq, why)
    }

    fn write_ipv4(&self, frame: &mut Frame, source: Ipv4Addr, destination: Ipv4Addr, protocol: u8) {
        let payload_len = frame.len() - ethernet::HEADER_LEN - ipv4::HEADER_LEN;
        let header = ipv4::Header {
            source,
            destination,
            protocol,
            ttl: ip::TIME_TO_LIVE,
            tos: 0,
            payload_len,
        };
        header.emit(&mut frame.data_mut()[ethernet::HEADER_LEN..]);
    }

    /// Sends a finished IP packet once its next hop is known; the frame comes
    /// back where that is hopeless.
    fn send_to(
        &mut self,
        cx: &mut Cx,
        remote: Address,
        mut frame: Frame,
    ) -> Result<(), (DropReason, Frame)> {
        let hop = self.locals.next_hop(remote);
        let mut header = ethernet::Header {
            destination: MacAddress::BROADCAST,
            source: self.config.mac,
            ethertype: ethertype(remote.ip()),
        };
        match self.neighbors.lookup(cx.now, hop) {
            Resolution::Reachable(mac) => {
                header.destination = mac;
                header.emit(frame.data_mut());
                self.send_later(frame)
            }
            Resolution::Pending => {
                header.emit(frame.data_mut());
                self.neighbors
                    .hold(hop, frame)
                    .map_err(|frame| (DropReason::ReplyQueueFull, frame))
            }
            Resolution::Failed => Err((DropReason::NextHopUnreachable, frame)),
        }
    }

    fn send_later(&mut self, frame: Frame) -> Result<(), (DropReason, Frame)> {
        if self.outbox.len() >= OUTBOX_MAX {
            return Err((DropReason::ReplyQueueFull, frame));
        }
        self.outbox.push_back(frame);
        Ok(())
    }

    /// Does what is due by the clock.
    pub(crate) fn expire(&mut self, now: Instant, pool: &mut FramePool) {
        let mut cx = Cx { now, pool };
        self.tcp.expire(&mut cx, EXPIRE_BUDGET);
        self.tcp.expire_half_open(now, EXPIRE_BUDGET);
        self.tcp.reap_time_wait(now, EXPIRE_BUDGET);
        while let Some(hop) = self.neighbors.poll_probe(now) {
            self.probe(&mut cx, hop);
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

    fn probe(&mut self, cx: &mut Cx, target: Address) {
        let sender = self.locals.towards(target).map(Address::ip);
        let (IpAddr::V4(target_ip), Some(IpAddr::V4(sender_ip))) = (target.ip(), sender) else {
            return;
        };
        let Some(mut frame) = cx.pool.alloc() else {
            return;
        };
        frame.set_window(HEADROOM, ethernet::HEADER_LEN + arp::LEN);
        let request = arp::Packet {
            operation: arp::Operation::Request,
            sender_mac: self.config.mac,
            sender_ip,
            target_mac: MacAddress([0; 6]),
            target_ip,
        };
        self.write_arp(&mut frame, MacAddress::BROADCAST, &request);
        self.outbox.push_back(frame);
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
        while batch.room() > 0 && cx.pool.available() > 0 {
            let Some((index, key)) = self.tcp.poll_output() else {
                return;
            };
            match self
                .neighbors
                .lookup(cx.now, self.locals.next_hop(key.remote))
            {
                Resolution::Reachable(mac) => {
                    let mut port = Port {
                        config: &self.config,
                        locals: &self.locals,
                        mac,
                        batch,
                    };
                    self.tcp.send_segments(cx, index, &mut port);
                }
                Resolution::Pending => self.unresolved.push(index),
                Resolution::Failed => self.tcp.next_hop_failed(cx, index),
            }
        }
    }

    pub(crate) fn has_work(&self) -> bool {
        self.tcp.has_work() || !self.outbox.is_empty()
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

    pub(crate) fn gauges(&self) -> Gauges {
        self.tcp.gauges()
    }

    pub(crate) fn frames_held(&self) -> usize {
        self.outbox.len() + self.neighbors.frames_held() + self.tcp.shared.chunks.frames_held()
    }

    pub(crate) fn abandon_time_wait(&mut self) -> usize {
        self.tcp.abandon_time_wait()
    }
}

/// What a packet's IP header says that TCP needs.
struct Received {
    source: Address,
    /// Index of the local address that it was for.
    local: u16,
    tos: u8,
}

/// Where `part`, a slice of `whole`, starts in it.
fn offset_in(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr().addr() - whole.as_ptr().addr()
}
