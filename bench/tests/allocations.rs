//! Once it is warm a shard allocates nothing on the path of packets.
//!
//! What may allocate: growth to a number of connections, records or flows that was
//! never reached before, a destination that was never connected to, a set of options
//! that was never used, and applications that have bytes copied (`send`, where
//! `send_from` refers to them).

// A test that can't go on ends.
#![allow(clippy::unwrap_used)]

use ringmill_bench::apps::{Caller, Requester, Responder};
use ringmill_bench::memory::{Ports, SERVER, Wire};
use ringmill_core::app::App;
use ringmill_core::app::http::{Http, HttpConfig};
use ringmill_core::app::load::{CloseMode, Load, LoadConfig};
use ringmill_core::driver::memory::{MemoryDriver, carry};
use ringmill_core::frame::Frame;
use ringmill_core::stack::Config;
use ringmill_core::tcp::SynCookies;
use ringmill_core::time::Duration;

/// Steps of both ends that are not counted, and as many where few connections have to
/// grow the memory of their cold parts; then those that are counted.
const WARM_UP: usize = 60_000;
const LONG_WARM_UP: usize = 120_000;
const COUNTED: usize = 20_000;
const TURN: Duration = Duration::from_micros(20);

/// TIME-WAIT records that there are ports for: those of two ticks of their wheel.
const RECORDS: usize = 800_000;

/// What becomes of frames on the way.
#[derive(Default)]
struct Way {
    /// One of so many is lost; none if it is 0.
    loss: usize,
    /// One of so many comes after the three that were sent after it.
    delay: usize,
    carried: usize,
    late: Vec<(usize, Frame)>,
}

impl Way {
    fn carry(&mut self, from: &mut MemoryDriver, to: &mut MemoryDriver) {
        while let Some(frame) = from.take_sent() {
            self.carried += 1;
            let is_one_of = |many: usize| many > 0 && self.carried.is_multiple_of(many);
            if is_one_of(self.loss) {
                from.complete(frame);
            } else if is_one_of(self.delay) {
                self.late.push((self.carried + 3, frame));
            } else {
                to.arrive(frame);
            }
            while self.late.first().is_some_and(|(at, _)| *at <= self.carried) {
                to.arrive(self.late.remove(0).1);
            }
        }
    }
}

/// Allocations in the counted steps of both ends.
fn allocations<C: App, S: App>(wire: &mut Wire<C, S>, warm_up: usize, mut ways: [Way; 2]) -> u64 {
    let mut now = wire.now();
    let mut total = 0;
    for turn in 0..warm_up + COUNTED {
        now += TURN;
        let mut step = |is_client: bool| {
            let counted = allocation_counter::measure(|| {
                if is_client {
                    wire.client.step(now);
                } else {
                    wire.server.step(now);
                }
            });
            if turn >= warm_up {
                total += counted.count_total;
            }
            let (client, server) = (wire.client.driver_mut(), wire.server.driver_mut());
            ways[0].carry(client, server);
            ways[1].carry(server, client);
            // What was paid for frames goes home.
            carry(client, server);
        };
        step(true);
        step(false);
    }
    total
}

fn calls(change: impl Fn(&mut Config)) -> Wire<Caller, Responder> {
    let mut wire = Wire::with_config(Caller::new(RECORDS, 64), Responder::default(), |config| {
        config.tcp.msl = Duration::from_millis(1);
        change(config);
    });
    let ports = Ports::for_connections(RECORDS);
    wire.server(|responder, sockets| responder.start(sockets, ports))
        .unwrap();
    wire
}

#[test]
fn requests_and_responses() {
    let mut wire = Wire::new(1_000, Requester::new(1_000, 64), Responder::default());
    let ports = Ports::for_connections(1_000);
    wire.server(|responder, sockets| responder.start(sockets, ports))
        .unwrap();
    assert_eq!(allocations(&mut wire, WARM_UP, Default::default()), 0);
    assert!(wire.client.app().answered() > 100_000);
}

#[test]
fn connections_that_come_and_go_and_their_time_wait() {
    let mut wire = calls(|_| ());
    assert_eq!(allocations(&mut wire, WARM_UP, Default::default()), 0);
    let stats = wire.client.stats().tcp;
    assert!(stats.time_wait_expired > 100_000, "{stats:?}");
}

#[test]
fn connections_by_cookie() {
    let mut wire = calls(|config| config.tcp.syn_cookies = SynCookies::Always);
    assert_eq!(allocations(&mut wire, WARM_UP, Default::default()), 0);
    assert!(wire.server.stats().tcp.cookies_received > 100_000);
}

#[test]
fn losses_and_their_repair_and_what_comes_out_of_order() {
    let http = Http::new(HttpConfig {
        address: None,
        port: 80,
        backlog: 64,
        body: vec![b'x'; 100_000].into(),
        content_type: "text/plain".to_owned(),
        idle: None,
    });
    let load = Load::new(LoadConfig {
        target: (SERVER, 80).into(),
        host: "a".to_owned(),
        path: "/".to_owned(),
        connections: 8,
        close: CloseMode::Server,
    });
    let mut wire = Wire::with_config(load, http, |config| {
        config.tcp.msl = Duration::from_millis(1);
    });
    wire.server(Http::start).unwrap();
    let way = |loss, delay| Way {
        loss,
        delay,
        ..Way::default()
    };
    let found = allocations(&mut wire, LONG_WARM_UP, [way(211, 0), way(97, 41)]);
    let (client, server) = (wire.client.stats().tcp, wire.server.stats().tcp);
    assert!(server.retransmits > 500 && client.out_of_order > 500);
    assert!(wire.client.app().stats().responses() > 200);
    assert_eq!(found, 0, "client {client:?}, server {server:?}");
}
