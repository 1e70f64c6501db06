//! The peer: builds segments by hand, reads what the engine sends, and keeps time.

use crate::FAMILY;
use ringmill_core::app::App;
use ringmill_core::driver::memory::MemoryDriver;
use ringmill_core::frame::{Frame, FramePool};
use ringmill_core::seq::Seq;
use ringmill_core::shard::Shard;
use ringmill_core::sockets::{Closed, ConnectionId, ListenerId, SocketOptions, Sockets};
use ringmill_core::stack::Config;
use ringmill_core::stats::{DropReason, Stats};
use ringmill_core::tcp::State;
use ringmill_core::time::{Duration, Instant};
use ringmill_core::wire::checksum::Sum;
use ringmill_core::wire::ethernet::{
    self, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, MacAddress,
};
use ringmill_core::wire::fast_open::FastOpenCookie;
use ringmill_core::wire::icmpv6::{self, Message};
use ringmill_core::wire::tcp::{Flags, Header, Options, SackBlock, SackBlocks, Timestamps};
use ringmill_core::wire::{ChecksumPolicy, arp, ip, ipv4, ipv6, ndp};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What the engine and the peer speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// An address of the test network in this family.
pub(crate) const fn host(last: u8) -> IpAddr {
    match FAMILY {
        Family::V4 => IpAddr::V4(Ipv4Addr::new(198, 18, 0, last)),
        Family::V6 => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last as u16)),
    }
}

pub(crate) const ENGINE: IpAddr = host(1);
pub(crate) const PEER: IpAddr = host(2);
pub(crate) const ENGINE_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
pub(crate) const PEER_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);
/// What a peer takes that offers no MSS (RFC 9293 section 3.7.1, MUST-15).
pub(crate) const MSS_DEFAULT: usize = match FAMILY {
    Family::V4 => 536,
    Family::V6 => 1_220,
};
/// Bytes of an IP header.
pub(crate) const IP_LEN: usize = match FAMILY {
    Family::V4 => ipv4::HEADER_LEN,
    Family::V6 => ipv6::HEADER_LEN,
};
pub(crate) const ICMP: u8 = match FAMILY {
    Family::V4 => ipv4::PROTOCOL_ICMP,
    Family::V6 => ipv6::PROTOCOL_ICMP,
};
/// The peer's initial sequence number: near the wrap, so that every trace
/// that carries data crosses it.
const PEER_ISN: Seq = Seq(u32::MAX - 9);
pub(crate) const PORT: u16 = 80;
const FRAMES: usize = 512;
const FRAME_LEN: usize = 2_048;

/// What the application was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Accepted,
    Connected,
    Writable,
    Urgent,
    Closed(Closed),
}

/// An application that writes down what it is told, and does nothing by itself.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) told: Vec<Told>,
    pub(crate) connection: Option<ConnectionId>,
    pub(crate) listener: Option<ListenerId>,
    pub(crate) accepts: bool,
}

impl App for Script {
    fn on_acceptable(&mut self, sockets: &mut Sockets, listener: ListenerId) {
        while self.accepts
            && let Some(connection) = sockets.accept(listener)
        {
            self.connection = Some(connection);
            self.told.push(Told::Accepted);
        }
    }
    fn on_connected(&mut self, _: &mut Sockets, connection: ConnectionId) {
        self.connection = Some(connection);
        self.told.push(Told::Connected);
    }
    fn on_writable(&mut self, _: &mut Sockets, _: ConnectionId) {
        self.told.push(Told::Writable);
    }
    fn on_urgent(&mut self, _: &mut Sockets, _: ConnectionId) {
        self.told.push(Told::Urgent);
    }
    fn on_closed(&mut self, _: &mut Sockets, _: ConnectionId, _: u32, why: Closed) {
        self.told.push(Told::Closed(why));
    }
}

/// A segment, its numbers relative to both sides' initial ones.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Seg {
    pub(crate) flags: Flags,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) window: Option<u16>,
    pub(crate) options: Options,
    pub(crate) data: Vec<u8>,
}

impl std::fmt::Debug for Seg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let start = String::from_utf8_lossy(&self.data[..self.data.len().min(16)]);
        write!(
            f,
            "{:?} seq {} ack {} win {:?} ",
            self.flags, self.seq, self.ack, self.window
        )?;
        write!(f, "{} bytes {start:?} {:?}", self.data.len(), self.options)
    }
}

/// The blocks, `by` further on.
fn moved(blocks: &SackBlocks, by: u32) -> SackBlocks {
    let mut moved = SackBlocks::default();
    for block in blocks.as_slice() {
        moved.push(SackBlock {
            left: block.left + by,
            right: block.right + by,
        });
    }
    moved
}

/// A segment with these flags, as letters: "S", "SA", "A", "FA", "R", "PA" ...
pub(crate) fn seg(letters: &str) -> Seg {
    let flags = letters.chars().fold(Flags(0), |flags, letter| {
        flags
            | match letter {
                'F' => Flags::FIN,
                'S' => Flags::SYN,
                'R' => Flags::RST,
                'P' => Flags::PSH,
                'A' => Flags::ACK,
                'U' => Flags::URG,
                'E' => Flags::ECE,
                'C' => Flags::CWR,
                _ => panic!("no flag {letter}"),
            }
    });
    Seg {
        flags,
        seq: 0,
        ack: 0,
        window: None,
        options: Options::default(),
        data: Vec::new(),
    }
}

impl Seg {
    pub(crate) fn seq(self, seq: u32) -> Seg {
        Seg { seq, ..self }
    }
    pub(crate) fn ack(self, ack: u32) -> Seg {
        Seg { ack, ..self }
    }
    pub(crate) fn win(self, window: u16) -> Seg {
        Seg {
            window: Some(window),
            ..self
        }
    }
    pub(crate) fn mss(mut self, mss: u16) -> Seg {
        self.options.mss = Some(mss);
        self
    }
    pub(crate) fn scale(mut self, shift: u8) -> Seg {
        self.options.window_scale = Some(shift);
        self
    }
    pub(crate) fn ts(mut self, value: u32, echo: u32) -> Seg {
        self.options.timestamps = Some(Timestamps { value, echo });
        self
    }
    /// The Fast Open option: a cookie, or a request where it is empty.
    pub(crate) fn cookie(mut self, cookie: &[u8]) -> Seg {
        self.options.fast_open = FastOpenCookie::new(cookie);
        self
    }
    pub(crate) fn sack_ok(mut self) -> Seg {
        self.options.sack_permitted = true;
        self
    }
    /// Blocks, their numbers relative to the initial one of who sent the data.
    pub(crate) fn sack(mut self, blocks: &[(u32, u32)]) -> Seg {
        for &(left, right) in blocks {
            self.options.sack.push(SackBlock {
                left: Seq(left),
                right: Seq(right),
            });
        }
        self
    }
    pub(crate) fn data(self, bytes: &[u8]) -> Seg {
        Seg {
            data: bytes.to_vec(),
            ..self
        }
    }
    pub(crate) fn len(self, len: usize) -> Seg {
        Seg {
            data: vec![b'x'; len],
            ..self
        }
    }
}

/// The peer, and the engine under test.
pub(crate) struct Peer {
    pub(crate) shard: Shard<MemoryDriver, Script>,
    pub(crate) now: Instant,
    pub(crate) port: u16,
    pub(crate) engine_port: u16,
    /// The engine's initial sequence number, once it has shown one.
    pub(crate) iss: Option<Seq>,
    sent: VecDeque<(Header, Vec<u8>)>,
    /// What the engine has paid for frames that arrived.
    spare: Vec<Frame>,
    /// The ECN field of each segment that came, in order.
    pub(crate) codepoints: Vec<u8>,
    /// Its whole type of service (traffic class) and its time to live.
    pub(crate) services: Vec<(u8, u8)>,
    /// Whole frames without TCP: answers to ARP, solicitations and echo requests.
    others: Vec<Vec<u8>>,
    /// The probes for neighbours that came.
    pub(crate) asked: usize,
    /// The peer answers them.
    pub(crate) answers_neighbors: bool,
}

impl Peer {
    /// An engine without timestamps (they would blur the traces), listening.
    pub(crate) fn new() -> Peer {
        Peer::with(|config| config.tcp.timestamps = false)
    }

    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Peer {
        let mut config = Config::new(
            ENGINE_MAC,
            ENGINE,
            if FAMILY == Family::V4 { 24 } else { 64 },
        );
        // The same segments fit for both.
        config.mtu = 1_480 + u16::try_from(IP_LEN).unwrap();
        config.tcp.max_connections = 64;
        config.tcp.max_half_open = 4;
        config.tcp.max_time_wait = 64;
        config.tcp.max_held_frames = 64;
        config.tcp.receive_buffer = 65_535;
        config.tcp.receive_buffer_max = 0;
        change(&mut config);
        let pool = FramePool::on_heap(FRAMES, FRAME_LEN);
        let now = Instant::from_millis(1_000);
        let script = Script {
            accepts: true,
            ..Script::default()
        };
        let shard = Shard::new(config, now, MemoryDriver::new(), pool, script);
        Peer {
            shard,
            now,
            port: 4_000,
            engine_port: PORT,
            iss: None,
            sent: VecDeque::new(),
            spare: Vec::new(),
            codepoints: Vec::new(),
            services: Vec::new(),
            others: Vec::new(),
            asked: 0,
            answers_neighbors: true,
        }
    }

    /// A number of the peer's, counted from its initial one.
    pub(crate) fn relative(number: Seq) -> u32 {
        number.bytes_since(PEER_ISN)
    }

    pub(crate) fn listening(self) -> Peer {
        self.listening_with(SocketOptions::default())
    }

    /// The same with these options.
    pub(crate) fn listening_with(mut self, options: SocketOptions) -> Peer {
        self.sockets(|app, sockets| {
            app.listener = Some(sockets.listen(None, PORT, 2, options).unwrap());
        });
        self
    }

    /// The engine connects to us; its SYN is the next thing to expect.
    pub(crate) fn connecting(self) -> Peer {
        self.connecting_with(SocketOptions::default())
    }

    /// The same with these options.
    pub(crate) fn connecting_with(mut self, options: SocketOptions) -> Peer {
        self.port = PORT;
        let id =
            self.sockets(|_, sockets| sockets.connect((PEER, PORT).into(), 7, options).unwrap());
        self.shard
            .with_app(self.now, |app, _| app.connection = Some(id));
        self.settle();
        self
    }

    /// A listening engine with one connection, established by hand.
    pub(crate) fn established() -> Peer {
        Peer::new().listening().handshake()
    }

    pub(crate) fn handshake(mut self) -> Peer {
        self.sends(seg("S").win(65_535).mss(1_460));
        self.expects(seg("SA").ack(1));
        self.sends(seg("A").seq(1).ack(1).win(65_535));
        self.expects_nothing();
        assert_eq!(self.state(), Some(State::Established));
        self
    }

    /// The same with selective acknowledgments.
    pub(crate) fn handshake_sack(mut self) -> Peer {
        self.sends(seg("S").win(65_535).mss(1_460).scale(7).sack_ok());
        assert!(self.expects(seg("SA").ack(1)).options.sack_permitted);
        self.sends(seg("A").seq(1).ack(1).win(65_535));
        assert_eq!(self.state(), Some(State::Established));
        self
    }

    /// The same with timestamps where the engine offers them.
    pub(crate) fn handshake_any(mut self) -> Peer {
        self.sends(seg("S").win(65_535).mss(1_460).ts(1, 0));
        self.iss = Some(self.takes_all()[0].0.seq);
        self.sends(seg("A").seq(1).ack(1).win(65_535).ts(1, 0));
        assert_eq!(self.state(), Some(State::Established));
        self
    }

    /// A SYN-ACK of a new incarnation, which acknowledges `ack`.
    #[track_caller]
    pub(crate) fn expects_syn_ack_of(&mut self, ack: u32) {
        let (header, _) = self.takes_all().pop().unwrap();
        assert_eq!(header.flags, Flags::SYN | Flags::ACK);
        assert_eq!(header.ack.bytes_since(PEER_ISN), ack);
    }

    /// Calls the application's side, and lets the engine act on it.
    pub(crate) fn sockets<T>(&mut self, call: impl FnOnce(&mut Script, &mut Sockets) -> T) -> T {
        let result = self.shard.with_app(self.now, call);
        self.settle();
        result
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.shard.app().connection.unwrap()
    }

    pub(crate) fn state(&mut self) -> Option<State> {
        let id = self.shard.app().connection?;
        self.shard
            .with_app(self.now, |_, sockets| sockets.state(id))
    }

    pub(crate) fn engine_sends(&mut self, bytes: &[u8]) {
        let id = self.id();
        assert_eq!(
            self.sockets(|_, sockets| sockets.send(id, bytes)),
            Ok(bytes.len())
        );
    }

    pub(crate) fn engine_closes(&mut self) {
        let id = self.id();
        self.sockets(|_, sockets| sockets.close(id));
    }

    pub(crate) fn engine_aborts(&mut self) {
        let id = self.id();
        self.sockets(|_, sockets| sockets.abort(id));
    }

    /// Everything that has been received and not read.
    pub(crate) fn engine_reads(&mut self) -> Vec<u8> {
        let id = self.id();
        self.sockets(|_, sockets| {
            let mut all = Vec::new();
            while let Ok(bytes @ [_, ..]) = sockets.receive(id) {
                all.extend(bytes);
                let len = bytes.len();
                sockets.consume(id, len);
            }
            all
        })
    }

    pub(crate) fn told(&self) -> &[Told] {
        &self.shard.app().told
    }

    pub(crate) fn stats(&self) -> Stats {
        self.shard.stats()
    }

    pub(crate) fn dropped(&self, reason: DropReason) -> u64 {
        self.stats().drops.of(reason)
    }

    /// A segment of the peer arrives.
    pub(crate) fn sends(&mut self, segment: Seg) {
        self.sends_without_pause(segment);
        self.settle();
    }

    /// The same, with more to come in the same batch.
    pub(crate) fn sends_without_pause(&mut self, segment: Seg) {
        let frame = self.frame_of(&segment);
        self.arrives(&frame);
    }

    /// Any frame arrives: in one that the engine may keep, and has to account for.
    pub(crate) fn arrives(&mut self, bytes: &[u8]) {
        let spare = self.spare.pop();
        let mut frame = spare
            .filter(|frame| frame.capacity() >= bytes.len())
            .or_else(|| FramePool::on_heap(1, bytes.len().max(FRAME_LEN)).alloc())
            .unwrap();
        frame.set_window(0, bytes.len());
        frame.data_mut().copy_from_slice(bytes);
        self.shard.driver_mut().arrive(frame);
    }

    pub(crate) fn frame_of(&self, segment: &Seg) -> Vec<u8> {
        let header = Header {
            source_port: self.port,
            destination_port: self.engine_port,
            seq: PEER_ISN + segment.seq,
            ack: self.iss.unwrap_or(Seq(0)) + segment.ack,
            flags: segment.flags,
            window: segment.window.unwrap_or(65_535),
            urgent: 0,
            options: Options {
                sack: moved(&segment.options.sack, self.iss.unwrap_or(Seq(0)).0),
                ..segment.options
            },
        };
        frame(PEER, ENGINE, &header, &segment.data)
    }

    /// The next segment from the engine must be this. Windows and options count
    /// only where the expectation names them.
    #[track_caller]
    pub(crate) fn expects(&mut self, expected: Seg) -> Header {
        let Some((header, data)) = self.sent.pop_front() else {
            panic!("nothing came, not {expected:?}")
        };
        if header.flags.contains(Flags::SYN) {
            self.iss = Some(header.seq);
            self.engine_port = header.source_port;
        }
        let has_ack = header.flags.contains(Flags::ACK);
        let came = Seg {
            flags: header.flags,
            seq: self
                .iss
                .map_or(header.seq.0, |iss| header.seq.bytes_since(iss)),
            ack: if has_ack {
                header.ack.bytes_since(PEER_ISN)
            } else {
                0
            },
            window: expected.window.map(|_| header.window),
            options: Options {
                mss: expected.options.mss.and(header.options.mss),
                window_scale: expected
                    .options
                    .window_scale
                    .and(header.options.window_scale),
                sack: moved(&header.options.sack, PEER_ISN.0.wrapping_neg()),
                ..expected.options
            },
            data,
        };
        // PSH is told apart only where a trace is about it.
        let ignore_push = Flags(expected.flags.0 | (came.flags.0 & Flags::PSH.0));
        assert_eq!(
            came,
            Seg {
                flags: ignore_push,
                ..expected
            }
        );
        header
    }

    #[track_caller]
    pub(crate) fn expects_nothing(&mut self) {
        assert!(self.sent.is_empty(), "{:?}", self.sent);
    }

    /// All that came and was not expected one by one.
    pub(crate) fn takes_all(&mut self) -> Vec<(Header, Vec<u8>)> {
        self.sent.drain(..).collect()
    }

    /// Time passes; the engine wakes whenever something is due.
    pub(crate) fn wait(&mut self, length: Duration) {
        let until = self.now + length;
        while let Some(deadline) = self
            .shard
            .next_deadline()
            .filter(|deadline| *deadline <= until)
        {
            self.now = self.now.max(deadline);
            self.settle();
        }
        self.now = until;
        self.settle();
    }

    pub(crate) fn wait_ms(&mut self, millis: u64) {
        self.wait(Duration::from_millis(millis));
    }

    /// Steps until nothing moves, and takes down what was sent.
    fn settle(&mut self) {
        let mut idle = 0;
        while idle == 0 || self.shard.has_work() {
            let moved = self.shard.step(self.now);
            let driver = self.shard.driver_mut();
            self.spare
                .extend(std::iter::from_fn(|| driver.take_payment()));
            while let Some(sent) = self.shard.driver_mut().take_sent() {
                self.read(sent.data());
                self.shard.driver_mut().complete(sent);
            }
            idle = if moved { 0 } else { idle + 1 };
            assert!(idle < 1_000, "it has work that it can't do");
        }
    }

    fn read(&mut self, bytes: &[u8]) {
        let (ethernet, payload) = ethernet::Header::parse(bytes).unwrap();
        if ethernet.ethertype == ETHERTYPE_ARP {
            let packet = arp::Packet::parse(payload).unwrap();
            if packet.operation == arp::Operation::Reply {
                self.others.push(bytes.to_vec());
                return;
            }
            self.asked += 1;
            if self.answers_neighbors && PEER == packet.target_ip {
                let reply = arp::Operation::Reply;
                self.arrives(&arp_frame(reply, packet.target_ip, packet.sender_ip));
            }
            return;
        }
        let (protocol, source, destination, segment) = match FAMILY {
            Family::V4 => {
                let (ip, payload) = ipv4::Header::parse(payload).unwrap();
                (
                    ip.protocol,
                    ip.source.into(),
                    ip.destination.into(),
                    payload,
                )
            }
            Family::V6 => {
                let (ip, payload) = ipv6::Header::parse(payload).unwrap();
                (
                    ip.protocol,
                    ip.source.into(),
                    ip.destination.into(),
                    payload,
                )
            }
        };
        if protocol != ip::PROTOCOL_TCP {
            return self.read_icmp(bytes, source, destination, segment);
        }
        assert_eq!(ethernet.destination, PEER_MAC);
        assert_eq!((source, destination), (ENGINE, PEER));
        let (header, data) =
            Header::parse(segment, source, destination, ChecksumPolicy::Full).unwrap();
        self.sent.push_back((header, data.to_vec()));
        let ip = &bytes[ethernet::HEADER_LEN..];
        self.codepoints.push(match FAMILY {
            Family::V4 => ip[1] & 3,
            Family::V6 => ip[1] >> 4 & 3,
        });
        self.services.push(match FAMILY {
            Family::V4 => (ip[1], ip[8]),
            Family::V6 => (ip[0] << 4 | ip[1] >> 4, ip[7]),
        });
    }

    fn read_icmp(&mut self, bytes: &[u8], source: IpAddr, destination: IpAddr, message: &[u8]) {
        if let (IpAddr::V6(source), IpAddr::V6(destination)) = (source, destination)
            && let Message::Solicitation(asked) =
                Message::parse(message, source, destination).unwrap()
        {
            self.asked += 1;
            if self.answers_neighbors && PEER == asked.target {
                self.arrives(&advertisement(asked.target.into(), PEER_MAC, true, true));
            }
            return;
        }
        self.others.push(bytes.to_vec());
    }

    /// Answers of the engine that are not TCP, as whole frames.
    pub(crate) fn takes_others(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.others)
    }

    /// What was dropped, by reason.
    pub(crate) fn drops(&self) -> Vec<(DropReason, u64)> {
        self.stats().drops.iter().collect()
    }

    /// The end of a trace: nothing more to say, and nothing held.
    #[track_caller]
    pub(crate) fn ends_clean(mut self) {
        self.expects_nothing();
        let gauges = self.shard.gauges();
        assert_eq!(
            (gauges.live(), gauges.chunks, gauges.timers, gauges.ports),
            (0, 0, 0, 0),
            "{gauges:?}"
        );
        assert!(gauges.option_sets <= gauges.of(State::Listen), "{gauges:?}");
        assert_eq!(self.shard.frames_missing(), 0);
        assert_eq!(
            self.stats().tcp.established,
            self.stats().tcp.closed,
            "{:?}",
            self.stats().tcp
        );
    }
}

fn ethernet_frame(destination: MacAddress, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; ethernet::HEADER_LEN];
    let header = ethernet::Header {
        destination,
        source: PEER_MAC,
        vlan: None,
        ethertype,
    };
    header.emit(&mut bytes);
    bytes.extend(payload);
    bytes
}

pub(crate) fn arp_frame(
    operation: arp::Operation,
    sender_ip: Ipv4Addr,
    target_ip: Ipv4Addr,
) -> Vec<u8> {
    let packet = arp::Packet {
        operation,
        sender_mac: PEER_MAC,
        sender_ip,
        target_mac: ENGINE_MAC,
        target_ip,
    };
    let mut bytes = [0; arp::LEN];
    packet.emit(&mut bytes);
    ethernet_frame(ENGINE_MAC, ETHERTYPE_ARP, &bytes)
}

/// A neighbour that asks for the engine's address, or tells its own: an ARP request
/// or a solicitation, an ARP reply or an advertisement.
pub(crate) fn solicitation(source: IpAddr, target: IpAddr, mac: MacAddress) -> Vec<u8> {
    match (source, target) {
        (IpAddr::V4(source), IpAddr::V4(target)) => {
            arp_of(arp_frame(arp::Operation::Request, source, target), mac)
        }
        (IpAddr::V6(source), IpAddr::V6(target)) => {
            let asked = ndp::Solicitation {
                target,
                source: Some(mac),
            };
            let mut message = [0; ndp::LEN];
            asked.emit(&mut message);
            discovery(source, ndp::solicited_node(target), &mut message)
        }
        _ => panic!("two families"),
    }
}

pub(crate) fn advertisement(
    of: IpAddr,
    at: MacAddress,
    solicited: bool,
    overrides: bool,
) -> Vec<u8> {
    match (of, ENGINE) {
        (IpAddr::V4(of), IpAddr::V4(engine)) => {
            arp_of(arp_frame(arp::Operation::Reply, of, engine), at)
        }
        (IpAddr::V6(target), IpAddr::V6(engine)) => {
            let told = ndp::Advertisement {
                target,
                at: Some(at),
                solicited,
                overrides,
            };
            let mut message = [0; ndp::LEN];
            told.emit(&mut message);
            discovery(target, engine, &mut message)
        }
        _ => panic!("two families"),
    }
}

fn arp_of(mut frame: Vec<u8>, mac: MacAddress) -> Vec<u8> {
    frame[22..28].copy_from_slice(&mac.0);
    frame
}

/// A message of neighbour discovery, its checksum made good.
pub(crate) fn discovery(source: Ipv6Addr, destination: Ipv6Addr, message: &mut [u8]) -> Vec<u8> {
    icmpv6::seal(message, source, destination);
    let mut bytes = ip_frame(source, destination, ipv6::PROTOCOL_ICMP, message);
    bytes[ethernet::HEADER_LEN + 7] = ndp::HOP_LIMIT;
    if destination.is_multicast() {
        bytes[..6].copy_from_slice(&ndp::multicast_mac(destination).0);
    }
    bytes
}

/// An IP frame to the engine around `payload`.
pub(crate) fn ip_frame(
    source: impl Into<IpAddr>,
    destination: impl Into<IpAddr>,
    protocol: u8,
    payload: &[u8],
) -> Vec<u8> {
    let (source, destination) = (source.into(), destination.into());
    let header = ip::Header {
        source,
        destination,
        protocol,
        service: ip::Service::default(),
        payload_len: payload.len(),
    };
    let mut packet = vec![0; ip::header_len(destination)];
    header.emit(&mut packet);
    packet.extend(payload);
    let ethertype = if destination.is_ipv4() {
        ETHERTYPE_IPV4
    } else {
        ETHERTYPE_IPV6
    };
    ethernet_frame(ENGINE_MAC, ethertype, &packet)
}

pub(crate) fn frame(
    source: impl Into<IpAddr>,
    destination: impl Into<IpAddr>,
    header: &Header,
    data: &[u8],
) -> Vec<u8> {
    let (source, destination) = (source.into(), destination.into());
    let mut segment = vec![0; header.len()];
    segment.extend(data);
    header.emit(&mut segment, source, destination);
    ip_frame(source, destination, ip::PROTOCOL_TCP, &segment)
}

/// An ICMP message to the engine in this family, its checksum made good.
pub(crate) fn icmp_frame(mut message: Vec<u8>) -> Vec<u8> {
    match (PEER, ENGINE) {
        (IpAddr::V6(peer), IpAddr::V6(engine)) => icmpv6::seal(&mut message, peer, engine),
        _ => {
            message[2..4].fill(0);
            let sum = Sum::default().add_bytes(&message).complement();
            message[2..4].copy_from_slice(&sum.to_be_bytes());
        }
    }
    ip_frame(PEER, ENGINE, ICMP, &message)
}

/// An ICMP error by type and code, on IPv4 and on IPv6, with the word behind the
/// checksum, about a segment of the engine that starts with `quoted` and had
/// `len` bytes of data.
pub(crate) fn icmp_error(kinds: [(u8, u8); 2], word: u32, quoted: &Header, len: usize) -> Vec<u8> {
    let original = frame(ENGINE, PEER, quoted, &vec![0; len]);
    icmp_error_about(kinds, word, &original)
}

/// The same, about any frame.
pub(crate) fn icmp_error_about(kinds: [(u8, u8); 2], word: u32, original: &[u8]) -> Vec<u8> {
    let (kind, code) = kinds[usize::from(FAMILY == Family::V6)];
    let quote = &original[ethernet::HEADER_LEN..][..IP_LEN + 8];
    let mut message = vec![kind, code, 0, 0];
    message.extend(word.to_be_bytes());
    message.extend(quote);
    icmp_frame(message)
}

/// A port unreachable that quotes a segment of the connection at `seq`.
pub(crate) fn port_unreachable(peer: &Peer, seq: Seq) -> Vec<u8> {
    icmp_error(PORT_UNREACHABLE, 0, &quoted(peer, seq), 0)
}

/// A header as the engine sent it towards the peer, at `seq`.
pub(crate) fn quoted(peer: &Peer, seq: Seq) -> Header {
    Header {
        source_port: peer.engine_port,
        destination_port: peer.port,
        seq,
        ack: Seq(0),
        flags: Flags::ACK,
        window: 1_000,
        urgent: 0,
        options: Options::default(),
    }
}

/// Type and code on IPv4 and on IPv6.
pub(crate) const PORT_UNREACHABLE: [(u8, u8); 2] = [(3, 3), (1, 4)];
