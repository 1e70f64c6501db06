//! A receive buffer that grows with the path (tcp/right_sizing.rs): the window that
//! is offered tells how far.

use crate::peer::{Peer, seg};
use ringmill_core::sockets::{SocketOption, SocketOptions};
use ringmill_core::stack::Config;
use ringmill_core::wire::tcp::{Flags, Header};

const FIRST: u32 = 64 << 10;
const MOST: u32 = 1 << 20;

fn growing(timestamps: bool) -> impl Fn(&mut Config) {
    move |config| {
        config.tcp.timestamps = timestamps;
        config.tcp.receive_buffer = FIRST;
        config.tcp.receive_buffer_max = MOST;
    }
}

/// A peer 100 ms away that sends in bulk.
struct Bulk {
    peer: Peer,
    /// Its next sequence number.
    at: u32,
    /// The engine's last timestamp, if it sends any.
    echo: Option<u32>,
    reads: bool,
    scale: u8,
    /// The right edge of the last window, and how large that was.
    edge: u32,
    window: u32,
}

impl Bulk {
    fn new(config: impl Fn(&mut Config), options: SocketOptions) -> Bulk {
        let peer = Peer::with(config).listening_with(options);
        Bulk::open(peer, Some(7))
    }

    fn open(mut peer: Peer, scale: Option<u8>) -> Bulk {
        let mut syn = seg("S").mss(1_460).ts(1, 0);
        syn.options.window_scale = scale;
        peer.sends(syn);
        let (syn_ack, _) = peer.takes_all().pop().unwrap();
        assert_eq!(syn_ack.flags, Flags::SYN | Flags::ACK);
        peer.iss = Some(syn_ack.seq);
        let mut bulk = Bulk {
            peer,
            at: 1,
            echo: syn_ack.options.timestamps.map(|own| own.value),
            reads: true,
            scale: syn_ack.options.window_scale.unwrap_or(0),
            edge: 0,
            window: 0,
        };
        bulk.peer.wait_ms(100);
        bulk.sends(0);
        bulk
    }

    fn sends(&mut self, len: usize) {
        let mut segment = seg("A").seq(self.at).ack(1).len(len);
        if let Some(echo) = self.echo {
            segment = segment.ts(1, echo);
        }
        self.peer.sends(segment);
        self.at += u32::try_from(len).unwrap();
    }

    /// Full segments of `len` bytes in all arrive at once, two by two, so that none
    /// waits for its acknowledgment; what they are answered is heard a round trip later.
    /// How many bytes they have.
    fn flight(&mut self, len: u32) -> u32 {
        let segment = if self.echo.is_some() { 1_448 } else { 1_460 };
        let pairs = len / segment / 2;
        for _ in 0..2 * pairs {
            self.sends(segment as usize);
            if self.reads {
                self.peer.engine_reads();
            }
        }
        self.peer.wait_ms(100);
        for (ack, _) in self.peer.takes_all() {
            self.echo = ack.options.timestamps.map(|own| own.value);
            self.window = u32::from(ack.window) << self.scale;
            let edge = Peer::relative(ack.ack) + self.window;
            assert!(edge + (1 << self.scale) > self.edge, "it never shrinks");
            self.edge = edge;
        }
        2 * pairs * segment
    }

    /// What the engine has for the connection.
    fn buffer(&mut self) -> u32 {
        let id = self.peer.id();
        let info = self.peer.sockets(|_, sockets| sockets.info(id));
        info.unwrap().receive_buffer
    }
}

/// But for a segment or two that were not worth telling of.
fn is_about(window: u32, expected: u32) -> bool {
    window.abs_diff(expected) <= 3_000
}

/// RFC 7323 section 1.1: who fills the window in a round trip, and finds it read, is
/// soon offered four times as much, and in the end the most, which the scale of the
/// SYN has room for.
#[test]
fn the_window_grows_while_a_fast_reader_empties_it() {
    for timestamps in [true, false] {
        let mut bulk = Bulk::new(growing(timestamps), SocketOptions::default());
        let first = bulk.flight(FIRST);
        assert!(is_about(bulk.window, FIRST), "{}", bulk.window);
        // Measured over the round trip in which that was read, and told at once.
        let second = bulk.flight(bulk.window);
        assert!(is_about(bulk.window, 4 * first), "{}", bulk.window);
        // It is filled and read; and the measurement of that is yet to come.
        let third = bulk.flight(bulk.window);
        assert!(third > 3 * second && is_about(bulk.window, 4 * first));
        bulk.flight(bulk.window);
        assert!(is_about(bulk.window, 4 * third), "{}", bulk.window);
        for _ in 0..5 {
            bulk.flight(bulk.window);
        }
        assert!(is_about(bulk.window, MOST), "{}", bulk.window);
        assert_eq!(bulk.buffer(), MOST);
    }
}

/// A window is not grown for who does not read what came: it closes.
#[test]
fn the_window_does_not_grow_for_a_slow_reader() {
    for timestamps in [true, false] {
        let mut bulk = Bulk::new(growing(timestamps), SocketOptions::default());
        bulk.reads = false;
        bulk.flight(FIRST);
        assert!(bulk.window < 3_000, "{}", bulk.window);
        let id = bulk.peer.id();
        let mut half: u32 = 30_000;
        for _ in 0..50 {
            bulk.peer
                .sockets(|_, sockets| sockets.consume(id, half as usize));
            half = bulk.flight(half);
            assert_eq!(bulk.buffer(), FIRST);
        }
    }
}

/// Nor for who sends less than half of it in a round trip.
#[test]
fn the_window_stays_where_it_is_not_used() {
    let mut bulk = Bulk::new(growing(true), SocketOptions::default());
    for _ in 0..50 {
        bulk.flight(FIRST / 2 - 2_000);
        assert!(is_about(bulk.window, FIRST), "{}", bulk.window);
    }
    assert_eq!(bulk.buffer(), FIRST);
}

/// Bytes that came in a longer time are no more in a round trip.
#[test]
fn a_pause_of_the_sender_does_not_count() {
    let mut bulk = Bulk::new(growing(true), SocketOptions::default());
    for _ in 0..20 {
        bulk.flight(FIRST / 4);
        bulk.peer.wait_ms(1_000);
    }
    assert_eq!(bulk.buffer(), FIRST);
}

/// SO_RCVBUF turns growth off, as on Linux, before the SYN or while it is on.
#[test]
fn a_buffer_that_was_set_stays() {
    let options = SocketOptions {
        receive_buffer: Some(FIRST),
        ..SocketOptions::default()
    };
    let mut bulk = Bulk::new(growing(true), options);
    assert_eq!(bulk.scale, 1, "no more than that needs");
    for _ in 0..10 {
        bulk.flight(FIRST);
    }
    assert_eq!(bulk.buffer(), FIRST);
    let mut bulk = Bulk::new(growing(true), SocketOptions::default());
    for _ in 0..3 {
        bulk.flight(bulk.window.max(FIRST));
    }
    assert!(bulk.buffer() > 2 * FIRST);
    let (id, set) = (bulk.peer.id(), SocketOption::ReceiveBuffer(100_000));
    bulk.peer
        .sockets(|_, sockets| sockets.set_option(id, set))
        .unwrap();
    // The larger window was offered, and is taken back by what fills it alone.
    for _ in 0..10 {
        bulk.flight(bulk.window);
        assert_eq!(bulk.buffer(), 100_000);
    }
    assert!(is_about(bulk.window, 100_000), "{}", bulk.window);
}

/// RFC 7323 section 2.2: without window scaling there is no larger window to offer.
#[test]
fn growth_ends_where_the_window_field_does() {
    let small = |config: &mut Config| {
        config.tcp.receive_buffer = 16 << 10;
        config.tcp.receive_buffer_max = MOST;
    };
    let mut bulk = Bulk::open(Peer::with(small).listening(), None);
    for _ in 0..20 {
        bulk.flight(bulk.window.max(16 << 10));
    }
    assert!(is_about(bulk.window, 65_535), "{}", bulk.window);
    assert_eq!(bulk.buffer(), 65_535);
}

/// While others' unread frames fill half of what the shard may hold, nobody's buffer
/// grows.
#[test]
fn nothing_grows_where_frames_are_scarce() {
    let mut bulk = Bulk::new(growing(true), SocketOptions::default());
    let lazy = bulk.peer.id();
    for _ in 0..33 {
        let segment = seg("A").seq(bulk.at).ack(1).len(100).ts(1, 0);
        bulk.peer.sends_without_pause(segment);
        bulk.at += 100;
    }
    bulk.flight(0);
    let mut peer = bulk.peer;
    assert_eq!(peer.shard.gauges().held_frames, 33);
    (peer.port, peer.iss) = (4_001, None);
    let mut bulk = Bulk::open(peer, Some(7));
    for _ in 0..5 {
        bulk.flight(FIRST);
    }
    assert_eq!(bulk.buffer(), FIRST);
    bulk.peer
        .sockets(|_, sockets| sockets.consume(lazy, usize::MAX));
    bulk.peer.takes_all();
    for _ in 0..3 {
        bulk.flight(FIRST);
    }
    assert!(bulk.buffer() > FIRST);
}

/// SO_RCVBUF made smaller on an open connection: what was offered stays (RFC 9293 section
/// 3.8.6, SHLD-14), what comes within it is kept, and nothing more is offered than the new
/// buffer holds.
#[test]
fn a_smaller_receive_buffer_pulls_no_window_back() {
    const LEN: u32 = 1_000;
    let mut peer = Peer::with(|config| {
        config.tcp.receive_buffer = 16_000;
        config.tcp.timestamps = false;
    })
    .listening()
    .handshake();
    let id = peer.id();
    peer.sockets(|_, sockets| sockets.set_option(id, SocketOption::ReceiveBuffer(4_000)))
        .unwrap();
    let edge = |header: &Header| Peer::relative(header.ack) + u32::from(header.window);
    for n in 0..16 {
        peer.sends(seg("A").seq(1 + n * LEN).ack(1).len(LEN as usize));
        peer.wait_ms(50);
        let (ack, _) = peer.takes_all().pop().unwrap();
        assert_eq!(edge(&ack), 16_001, "after segment {n}");
        assert_eq!(peer.shard.check(peer.now), Ok(()));
    }
    assert_eq!(peer.engine_reads().len(), 16_000);
    let (ack, _) = peer.takes_all().pop().unwrap();
    assert_eq!(edge(&ack), 20_001);
    assert_eq!(peer.shard.check(peer.now), Ok(()));
}
