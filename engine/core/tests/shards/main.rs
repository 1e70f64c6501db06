//! Hosts of several shards in memory, on wires that deliver frames to any shard:
//! whatever arrives at the wrong one gets to its owner, and nothing is lost.

// A test that can't go on ends.
#![allow(clippy::unwrap_used)]

mod hosts;
mod listing;

use hosts::{CLIENT_MAC, ENDS, Host, SERVER_MAC, STEP, Wire, carry, config, load, responders};
use ringmill_core::app::App;
use ringmill_core::app::http::Http;
use ringmill_core::app::load::{CloseMode, Load};
use ringmill_core::driver::memory::MemoryDriver;
use ringmill_core::frame::FramePool;
use ringmill_core::rng::Rng;
use ringmill_core::rss::{Rss, RssShare};
use ringmill_core::shard::{self, Shard};
use ringmill_core::sockets::{Closed, ConnectionId, SocketOptions, Sockets};
use ringmill_core::stats::{DropReason, Stats};
use ringmill_core::tcp::{State, SynCookies};
use ringmill_core::time::{Duration, Instant};
use ringmill_core::wire::checksum::Sum;
use ringmill_core::wire::ethernet::{self, ETHERTYPE_ARP, ETHERTYPE_IPV4};
use ringmill_core::wire::{ip, ipv4, ipv6};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// By chance, each frame for itself, so that they overtake each other; so many in a
/// hundred are lost.
fn anywhere(seed: u64, loss: u64) -> impl FnMut(usize, usize, &[u8]) -> Option<usize> {
    let mut rng = Rng::from_seed(seed);
    move |count, _, _| {
        let shard = usize::try_from(rng.below(count as u64)).unwrap();
        (rng.below(100) >= loss).then_some(shard)
    }
}

/// As a kernel's sockets do on a veth: a flow stays on one queue, whosever it is,
/// and its SYN goes to another.
fn by_flow(count: usize, _: usize, bytes: &[u8]) -> Option<usize> {
    let ip_len = match bytes[12..14] {
        [0x08, 0x00] => ipv4::HEADER_LEN,
        [0x86, 0xdd] => ipv6::HEADER_LEN,
        _ => return Some(0),
    };
    let tcp = &bytes[ethernet::HEADER_LEN + ip_len..];
    let is_syn = tcp[13] & 0x12 == 0x02;
    let flow: usize = tcp[..4].iter().map(|&byte| usize::from(byte)).sum();
    Some((flow + usize::from(is_syn)) % count)
}

/// Loads over a wire, and checks that every request was answered: the hosts.
fn load_whole(
    [server, client]: [IpAddr; 2],
    shards: usize,
    (close, cookies): (CloseMode, SynCookies),
    wire: Wire,
) -> (Host<Load>, Host<Http>) {
    let mut server = config(SERVER_MAC, server);
    server.tcp.syn_cookies = cookies;
    let client = config(CLIENT_MAC, client);
    let (client, server) = load(&client, &server, shards, close, (wire, STEP));
    assert_answered(&client, &server);
    client.assert_in_time();
    server.assert_in_time();
    (client, server)
}

fn assert_answered(client: &Host<Load>, server: &Host<Http>) {
    client.assert_whole();
    server.assert_whole();
    for shard in &client.shards {
        let stats = shard.app().stats();
        assert!(stats.responses() > 8, "{stats:?}");
        assert_eq!((stats.errors.total(), stats.unanswered), (0, 0));
        assert_eq!(stats.requests, stats.responses());
    }
    assert_eq!(
        client.sum(|stats| stats.tcp.established),
        server.sum(|stats| stats.tcp.established)
    );
}

const WAYS: [(CloseMode, SynCookies); 4] = [
    (CloseMode::KeepAlive, SynCookies::OnOverflow),
    (CloseMode::Fin, SynCookies::OnOverflow),
    (CloseMode::Server, SynCookies::OnOverflow),
    (CloseMode::Fin, SynCookies::Always),
];

/// The share of a host's segments that were handed over.
fn assert_strays<A: App>(host: &Host<A>, way: (CloseMode, SynCookies)) {
    let strays = host.sum(|stats| stats.tcp.strays_in);
    let received = host.sum(|stats| stats.tcp.segments_in);
    assert!(strays * 4 > received, "{strays} of {received}, {way:?}");
    assert!(strays < received, "{strays} of {received}, {way:?}");
}

#[test]
fn flows_that_come_to_any_shard_get_to_their_owner_and_nothing_is_lost() {
    for (ends, shards) in [(ENDS[0], 2), (ENDS[1], 2), (ENDS[0], 4)] {
        for way in WAYS {
            let (client, server) = load_whole(ends, shards, way, &mut by_flow);
            assert_strays(&client, way);
            // Where a cookie opens a connection, it is where the rest comes too.
            if way.1 != SynCookies::Always {
                assert_strays(&server, way);
            }
            for sum in [client.sum(lost), server.sum(lost)] {
                assert_eq!(sum, 0, "{shards} shards, {way:?}");
            }
        }
    }
}

/// What looks like a loss, or like a segment of nobody.
fn lost(stats: &Stats) -> u64 {
    let tcp = &stats.tcp;
    let strangers = stats.drops.of(DropReason::NoListener) + tcp.cookies_failed;
    tcp.retransmits + tcp.resets_out + strangers
}

/// Frames that overtake each other may look like a loss for a moment, and a last
/// ACK like a stranger's; but all is delivered, and no timer has to make it good.
#[test]
fn frames_that_come_to_any_shard_get_to_their_owner() {
    for (ends, shards) in [(ENDS[0], 2), (ENDS[1], 4)] {
        for way in WAYS {
            let (client, server) = load_whole(ends, shards, way, &mut anywhere(7, 0));
            assert_strays(&client, way);
            assert_strays(&server, way);
        }
    }
}

/// Losses are made good by the shard whose they are, wherever what tells of them
/// arrives. `RINGMILL_SEEDS=1000` hunts for longer.
#[test]
fn every_request_is_answered_over_every_bad_wire() {
    let seeds = std::env::var("RINGMILL_SEEDS");
    let seeds = seeds.ok().and_then(|count| count.parse().ok());
    for seed in 0..seeds.unwrap_or(24) {
        println!("seed {seed}");
        let [server, client] = ENDS[usize::try_from(seed % 2).unwrap()];
        let shards = [2, 3, 4][usize::try_from(seed % 3).unwrap()];
        let (close, cookies) = WAYS[usize::try_from(seed / 2 % 4).unwrap()];
        let mut server = config(SERVER_MAC, server);
        server.tcp.syn_cookies = cookies;
        let client = config(CLIENT_MAC, client);
        let mut wire = anywhere(seed, 1 + seed % 4);
        let step = Duration::from_millis(10);
        let (client, server) = load(&client, &server, shards, close, (&mut wire, step));
        assert_answered(&client, &server);
        assert_strays(&client, (close, cookies));
    }
}

/// A device that spreads flows over four queues.
fn rss() -> Arc<Rss> {
    let key: Vec<u8> = (0..40)
        .map(|byte: u8| byte.wrapping_mul(91) ^ 0x5a)
        .collect();
    Arc::new(Rss::new(&key, (0..128).map(|entry| entry % 4).collect()).unwrap())
}

/// What a device with RSS does with a frame.
fn by_rss(rss: &Rss, bytes: &[u8]) -> Option<usize> {
    if bytes[12..14] == ETHERTYPE_ARP.to_be_bytes() {
        return Some(0);
    }
    let (ip, _) = ipv4::Header::parse(&bytes[ethernet::HEADER_LEN..]).unwrap();
    let port_at = ethernet::HEADER_LEN + ipv4::HEADER_LEN;
    let port = |at| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let source = SocketAddr::new(ip.source.into(), port(port_at));
    let destination = SocketAddr::new(ip.destination.into(), port(port_at + 2));
    usize::try_from(rss.queue(source, destination)).ok()
}

/// Ports are chosen so that the device brings the answers, and the device brings
/// all of a flow to the shard that its SYN came to.
#[test]
fn where_the_devices_hash_is_known_nothing_is_handed_over() {
    let device = rss();
    let mut wire = |_: usize, _: usize, bytes: &[u8]| by_rss(&device, bytes);
    let mut client = config(CLIENT_MAC, ENDS[0][1]);
    for knows in [true, false] {
        client.rss = knows.then(|| RssShare {
            rss: rss(),
            queues: Vec::new(),
        });
        let server = config(SERVER_MAC, ENDS[0][0]);
        let (client, server) = load(&client, &server, 4, CloseMode::Fin, (&mut wire, STEP));
        assert_answered(&client, &server);
        assert_eq!(server.sum(|stats| stats.tcp.strays_out), 0);
        assert_eq!(client.sum(|stats| stats.tcp.strays_out) == 0, knows);
    }
}

/// A device that keeps a flow's frames on one queue: nothing has to be handed over.
#[test]
fn where_each_frame_arrives_at_its_shard_nothing_is_handed_over() {
    let (client, server) = load_whole(ENDS[0], 2, WAYS[1], &mut |_, from, _| Some(from));
    assert_eq!(client.sum(|stats| stats.tcp.strays_out), 0);
    assert_eq!(server.sum(|stats| stats.tcp.strays_out), 0);
}

/// Everything arrives at shard 0, as on a device with one queue, also the answer to
/// what each of the others asked of its neighbours.
#[test]
fn a_neighbours_word_that_comes_to_one_shard_reaches_all() {
    for ends in ENDS {
        load_whole(ends, 4, WAYS[1], &mut |_, _, _| Some(0));
    }
}

/// Connects once, and writes down how it ends.
#[derive(Default)]
struct Once(Option<Closed>);

impl App for Once {
    fn on_closed(&mut self, _: &mut Sockets, _: ConnectionId, _: u32, why: Closed) {
        self.0 = Some(why);
    }
}

impl Once {
    fn connect(&mut self, sockets: &mut Sockets) {
        let target = SocketAddr::new(ENDS[0][0], 80);
        let options = SocketOptions::default();
        sockets.connect(target, 0, options).unwrap();
    }
}

/// Who repeats a segment to another queue faster than its owner looks fills what may
/// wait, and no more; the connection goes on.
#[test]
fn a_full_queue_of_strays_drops_and_counts() {
    const WAITING: u64 = 2_048;
    let [server, client] = ENDS[0];
    let mut server = Host::new(&config(SERVER_MAC, server), responders(2));
    let mut client = Host::new(&config(CLIENT_MAC, client), [Once::default()]);
    let now = Instant::ZERO;
    for shard in &mut server.shards {
        shard.with_app(now, |http, sockets| http.start(sockets).unwrap());
    }
    client.shards[0].with_app(now, Once::connect);
    let mut last = Vec::new();
    let mut wire = |count: usize, _: usize, bytes: &[u8]| {
        if count == 2 {
            last = bytes.to_vec();
        }
        Some(count - 1)
    };
    for _ in 0..12 {
        client.step(now);
        server.step(now);
        carry(&mut client, &mut server, &mut wire);
    }
    let established = |host: &Host<Http>| host.shards[1].gauges().of(State::Established);
    assert_eq!(established(&server), 1);
    for _ in 0..WAITING + 100 {
        server.arrive(0, &last);
        server.shards[0].step(now);
    }
    let stats = server.shards[0].stats();
    assert_eq!(stats.tcp.strays_out, WAITING);
    assert_eq!(stats.drops.of(DropReason::StrayQueueFull), 100);
    while server.step(now) {}
    assert_eq!(server.shards[1].stats().tcp.strays_in, WAITING);
    assert_eq!(established(&server), 1);
}

/// An ICMP error that quotes what another shard has sent: the port is unreachable.
fn port_unreachable(syn: &[u8]) -> Vec<u8> {
    let quoted = &syn[ethernet::HEADER_LEN..][..ipv4::HEADER_LEN + 8];
    let mut message = [&[3, 3, 0, 0, 0, 0, 0, 0][..], quoted].concat();
    let sum = Sum::default().add_bytes(&message).complement();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let headers = ethernet::HEADER_LEN + ipv4::HEADER_LEN;
    let mut packet = vec![0; headers];
    ethernet::Header {
        destination: CLIENT_MAC,
        source: SERVER_MAC,
        vlan: None,
        ethertype: ETHERTYPE_IPV4,
    }
    .emit(&mut packet);
    let [server, client] = ENDS[0];
    ip::Header {
        source: server,
        destination: client,
        protocol: ipv4::PROTOCOL_ICMP,
        service: ip::Service::default(),
        payload_len: message.len(),
    }
    .emit(&mut packet[ethernet::HEADER_LEN..]);
    packet.extend(message);
    packet
}

/// RFC 5927: whether it fits is for the owner to say.
#[test]
fn an_icmp_error_gets_to_the_shard_whose_segment_it_quotes() {
    let [server, client] = ENDS[0];
    let mut host = Host::new(
        &config(CLIENT_MAC, client),
        [Once::default(), Once::default()],
    );
    let mut peer = Host::new(&config(SERVER_MAC, server), responders(1));
    let now = Instant::ZERO;
    host.shards[1].with_app(now, Once::connect);
    // The neighbour is found; its RST is not delivered.
    let mut syn = Vec::new();
    for _ in 0..4 {
        host.step(now);
        for (_, bytes) in host.take_sent() {
            if bytes[12..14] == ETHERTYPE_IPV4.to_be_bytes() {
                syn = bytes;
            } else {
                peer.arrive(0, &bytes);
            }
        }
        peer.step(now);
        for (_, bytes) in peer.take_sent() {
            host.arrive(0, &bytes);
        }
    }
    let mut forged = syn.clone();
    let seq_at = ethernet::HEADER_LEN + ipv4::HEADER_LEN + 4;
    forged[seq_at] ^= 0x80;
    for (quoted, end) in [(&forged, None), (&syn, Some(Closed::Refused))] {
        host.arrive(0, &port_unreachable(quoted));
        host.step(now);
        assert_eq!(host.shards[1].app().0, end);
        let dropped = |shard: usize| host.shards[shard].stats().drops.of(DropReason::Icmp);
        assert_eq!(
            (dropped(0), dropped(1)),
            (0, 1),
            "the forged one, by its owner"
        );
    }
    assert_eq!(host.shards[1].gauges().of(State::SynSent), 0);
}

#[test]
#[should_panic(expected = "one seed")]
fn shards_that_name_flows_differently_are_no_siblings() {
    let shard = |seed| {
        let mut config = config(SERVER_MAC, ENDS[0][0]);
        config.seed = seed;
        let pool = FramePool::on_heap(1, 2_048);
        Shard::new(
            config,
            Instant::ZERO,
            MemoryDriver::new(),
            pool,
            Once::default(),
        )
    };
    shard::join(&mut [shard(1), shard(2)]);
}
