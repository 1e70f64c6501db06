//! Lists of all sockets, made a part at a time while connections open, close and pass
//! from record to record, against a naive look at everything in every round.

use crate::anywhere;
use crate::hosts::{CLIENT_MAC, ENDS, Host, SERVER_MAC, carry, config, responders};
use proptest::prelude::*;
use ringmill_core::app::App;
use ringmill_core::app::load::{CloseMode, Load, LoadConfig};
use ringmill_core::driver::memory::MemoryDriver;
use ringmill_core::shard::Shard;
use ringmill_core::tcp::{Listing, SocketInfo, State};
use ringmill_core::time::{Duration, Instant};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

type Addresses = (SocketAddr, Option<SocketAddr>);

fn addresses(socket: &SocketInfo) -> Addresses {
    (socket.local, socket.remote)
}

/// A list that is being made, and what it must have in the end.
struct Watched {
    listing: Listing,
    all_along: HashSet<Addresses>,
    seen: HashSet<Addresses>,
    parts: usize,
}

/// Every socket, as many as the records say: those that are only still read have none.
fn look<A: App>(shard: &Shard<MemoryDriver, A>, now: Instant) -> HashMap<Addresses, SocketInfo> {
    let sockets = shard.sockets(now);
    let count = sockets.len();
    let by_addresses: HashMap<_, _> = sockets.into_iter().map(|s| (addresses(&s), s)).collect();
    assert_eq!(by_addresses.len(), count, "one is there twice");
    let gauges = shard.gauges();
    let in_records = gauges.states.iter().sum::<usize>() - gauges.of(State::Closed);
    assert_eq!(count, in_records);
    by_addresses
}

impl Watched {
    fn begin(sockets: &HashMap<Addresses, SocketInfo>) -> Watched {
        Watched {
            listing: Listing::new(false),
            all_along: sockets.keys().copied().collect(),
            seen: HashSet::new(),
            parts: 0,
        }
    }

    /// Makes another part where that is due: true when the list is whole.
    fn go_on<A: App>(
        &mut self,
        shard: &Shard<MemoryDriver, A>,
        now: Instant,
        is_due: bool,
    ) -> bool {
        let sockets = look(shard, now);
        self.all_along
            .retain(|addresses| sockets.contains_key(addresses));
        if !is_due {
            return false;
        }
        shard.list(now, &mut self.listing);
        self.parts += 1;
        for socket in self.listing.drain() {
            assert_eq!(
                sockets.get(&addresses(&socket)),
                Some(&socket),
                "it is not as it is"
            );
            assert!(
                self.seen.insert(addresses(&socket)),
                "{socket:?} is listed twice"
            );
        }
        if self.listing.is_whole() {
            let mut missed = self.all_along.difference(&self.seen);
            assert_eq!(missed.next(), None, "after {} parts", self.parts);
        }
        self.listing.is_whole()
    }
}

/// Goes on with the list of each shard, or begins another: how many parts the longest
/// of those had that are whole now.
fn list_all<A: App>(host: &Host<A>, lists: &mut Vec<Watched>, now: Instant, is_due: bool) -> usize {
    if lists.is_empty() {
        let begin = |shard| Watched::begin(&look(shard, now));
        lists.extend(host.shards.iter().map(begin));
    }
    let mut longest = 0;
    for (shard, list) in host.shards.iter().zip(lists) {
        if list.go_on(shard, now, is_due) {
            longest = longest.max(list.parts);
            *list = Watched::begin(&look(shard, now));
        }
    }
    longest
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn no_socket_is_missed_and_none_is_listed_twice(
        seed: u64,
        close in prop::sample::select(vec![CloseMode::Fin, CloseMode::Server, CloseMode::Rst]),
        connections in 80usize..250,
        loss in 0u64..4,
        pause in 1usize..4,
        msl in prop::sample::select(vec![1u64, 30_000]),
    ) {
        let [server, client] = ENDS[0];
        let mut configs = [config(SERVER_MAC, server), config(CLIENT_MAC, client)];
        for config in &mut configs {
            config.tcp.msl = Duration::from_millis(msl);
        }
        let load = |_| Load::new(LoadConfig {
            target: (server, 80).into(),
            host: "host".to_owned(),
            path: "/".to_owned(),
            connections,
            close,
        });
        let mut server = Host::new(&configs[0], responders(2));
        let mut client = Host::new(&configs[1], (0..2).map(load));
        let mut now = Instant::ZERO;
        for shard in &mut server.shards {
            shard.with_app(now, |http, sockets| http.start(sockets).unwrap());
        }
        let mut wire = anywhere(seed, loss);
        let (mut of_server, mut of_client) = (Vec::new(), Vec::new());
        let mut longest = 0;
        for round in 0..200 {
            client.step(now);
            server.step(now);
            carry(&mut client, &mut server, &mut wire);
            let is_due = round % pause == 0;
            longest = longest.max(list_all(&server, &mut of_server, now, is_due));
            longest = longest.max(list_all(&client, &mut of_client, now, is_due));
            now += Duration::from_millis(2);
        }
        let is_long = longest > 4 || close == CloseMode::Rst;
        prop_assert!(is_long, "no list took long enough for anything to happen");
    }
}
