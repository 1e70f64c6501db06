//! That a segment is lone, or was predicted, must not show: here the same conversations
//! are held by connections that put every segment into a scoreboard and check every one
//! in full, and every frame of both ends must be the same, and leave at the same time.

use crate::app::App;
use crate::driver::link::Link;
use crate::driver::memory::MemoryDriver;
use crate::driver::sim::SimWire;
use crate::driver::{Driver, DriverDrops};
use crate::frame::{Batch, FramePool};
use crate::rng::Rng;
use crate::shard::Shard;
use crate::sockets::{ConnectionId, ListenerId, SocketOptions, Sockets};
use crate::stack::Config;
use crate::stats::TcpStats;
use crate::time::{Duration, Instant};
use crate::wire::ethernet::MacAddress;
use std::cell::Cell;
use std::net::Ipv4Addr;

thread_local! {
    /// No segment is lone on this thread, and none is predicted.
    pub(in crate::tcp) static IS_OFF: Cell<bool> = const { Cell::new(false) };
}

const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
const TURNS: usize = 12;

/// Both sides of a conversation: each answers what it has read with as much as its
/// script says, until nobody has any more to say.
struct Talker {
    script: Vec<usize>,
    said: usize,
}

impl Talker {
    /// Some of what is said is a segment, some more or less.
    fn new(rng: &mut Rng) -> Talker {
        let len = |rng: &mut Rng| match rng.below(3) {
            0 => 1 + rng.below(200),
            1 => 1_448,
            _ => 1 + rng.below(6_000),
        };
        let script = (0..TURNS).map(|_| usize::try_from(len(rng)).unwrap());
        Talker {
            script: script.collect(),
            said: 0,
        }
    }

    fn speak(&mut self, sockets: &mut Sockets, connection: ConnectionId) {
        match self.script.get(self.said) {
            // A refusal is as good an outcome as any, if it is the same in both runs.
            Some(&len) => drop(sockets.send(connection, &vec![7; len])),
            None => sockets.close(connection),
        }
        self.said += 1;
    }
}

impl App for Talker {
    fn on_acceptable(&mut self, sockets: &mut Sockets, listener: ListenerId) {
        sockets.accept(listener);
    }

    fn on_connected(&mut self, sockets: &mut Sockets, connection: ConnectionId) {
        self.speak(sockets, connection);
    }

    fn on_readable(&mut self, sockets: &mut Sockets, connection: ConnectionId) {
        while let Ok(bytes) = sockets.receive(connection) {
            let len = bytes.len();
            if len == 0 {
                return sockets.close(connection);
            }
            sockets.consume(connection, len);
        }
        self.speak(sockets, connection);
    }
}

/// A port that writes down what leaves, and when.
struct Port {
    wire: MemoryDriver,
    left: Vec<(Instant, Vec<u8>)>,
}

impl Driver for Port {
    fn rx(&mut self, now: Instant, pool: &mut FramePool, batch: &mut Batch) {
        self.wire.rx(now, pool, batch);
    }

    fn tx(&mut self, now: Instant, pool: &mut FramePool, batch: &mut Batch) {
        for frame in batch.iter() {
            self.left.push((now, frame.data().to_vec()));
        }
        self.wire.tx(now, pool, batch);
    }

    fn held(&self) -> usize {
        self.wire.held()
    }

    fn drops(&self) -> DriverDrops {
        self.wire.drops()
    }
}

fn end(address: Ipv4Addr, rng: &mut Rng) -> Shard<Port, Talker> {
    let mac = MacAddress([2, 0, 0, 0, 0, address.octets()[3]]);
    let mut config = Config::new(mac, address, 24);
    config.seed = rng.next_u64();
    let port = Port {
        wire: MemoryDriver::new(),
        left: Vec::new(),
    };
    let pool = FramePool::on_heap(256, 2_048);
    Shard::new(config, Instant::ZERO, port, pool, Talker::new(rng))
}

fn link(rng: &mut Rng) -> Link {
    let mut up_to = |most: u64| u32::try_from(rng.below(most)).unwrap();
    Link {
        loss: up_to(4) * 20_000,
        reordering: up_to(2) * 50_000,
        reordering_delay: Duration::from_micros(up_to(20_000).into()),
        delay: Duration::from_micros(up_to(30_000).into()),
        jitter: Duration::from_micros(up_to(3_000).into()),
        ..Link::default()
    }
}

/// One conversation over a wire that is as bad as the seed says.
struct Conversation {
    client: Shard<Port, Talker>,
    server: Shard<Port, Talker>,
}

impl Conversation {
    fn held(seed: u64, is_off: bool) -> Conversation {
        IS_OFF.set(is_off);
        let mut rng = Rng::from_seed(seed);
        let mut client = end(CLIENT, &mut rng);
        let mut server = end(SERVER, &mut rng);
        let mut wire = SimWire::new(seed, link(&mut rng), link(&mut rng));
        let options = SocketOptions::default();
        let mut now = Instant::ZERO;
        server.with_app(now, |_, sockets| {
            sockets.listen(None, 7, 16, options).unwrap()
        });
        client.with_app(now, |_, sockets| {
            sockets.connect((SERVER, 7).into(), 1, options).unwrap()
        });
        loop {
            let moved = client.step(now) | server.step(now);
            let (a, b) = (client.driver_mut(), server.driver_mut());
            wire.carry(now, &mut a.wire, &mut b.wire);
            if moved || !(a.wire.is_idle() && b.wire.is_idle()) {
                now += Duration::from_micros(1);
                continue;
            }
            let deadlines = [
                client.next_deadline(),
                server.next_deadline(),
                wire.next_arrival(),
            ];
            match deadlines.into_iter().flatten().min() {
                Some(deadline) => now = (now + Duration::from_nanos(1)).max(deadline),
                None => return Conversation { client, server },
            }
        }
    }

    fn said(&self) -> usize {
        self.client.app().said + self.server.app().said
    }

    fn stats(&self) -> [TcpStats; 2] {
        [self.client.stats().tcp, self.server.stats().tcp]
    }
}

#[test]
fn that_a_segment_is_lone_or_predicted_does_not_show_on_the_wire() {
    let (mut said, mut retransmits) = (0, 0);
    for seed in 0..400 {
        let (with, without) = (
            Conversation::held(seed, false),
            Conversation::held(seed, true),
        );
        for (with, without) in [
            (&with.client, &without.client),
            (&with.server, &without.server),
        ] {
            let (with, without) = (&with.driver().left, &without.driver().left);
            let differing = with.iter().zip(without).position(|(a, b)| a != b);
            assert_eq!(
                differing, None,
                "the first frame that differs in seed {seed}"
            );
            assert_eq!(with.len(), without.len(), "frames of seed {seed}");
        }
        assert_eq!(with.stats(), without.stats(), "seed {seed}");
        said += with.said();
        retransmits += with.stats().iter().map(|tcp| tcp.retransmits).sum::<u64>();
    }
    assert!(
        said > 400 * TURNS && retransmits > 400,
        "{said}, {retransmits}"
    );
}
