//! All sockets with their states, queues and timers, as netstat shows a kernel's.

use crate::peer::{PEER, PORT, Peer, seg};
use ringmill_core::sockets::SocketOption;
use ringmill_core::tcp::{Listing, SocketInfo, State, TimerKind};
use ringmill_core::time::Duration;

fn find(peer: &Peer, state: State) -> Option<SocketInfo> {
    let sockets = peer.shard.sockets(peer.now);
    sockets.into_iter().find(|socket| socket.state == state)
}

fn timer(peer: &Peer, state: State) -> Option<(TimerKind, u64, u8)> {
    let timer = find(peer, state)?.timer?;
    Some((timer.kind, timer.left.as_secs(), timer.retransmits))
}

#[test]
fn a_listener_has_its_backlog_and_those_who_wait() {
    let mut peer = Peer::new().listening();
    peer.shard.with_app(peer.now, |app, _| app.accepts = false);
    peer.sends(seg("S").win(65_535).mss(1_460));
    peer.expects(seg("SA").ack(1));
    peer.sends(seg("A").seq(1).ack(1).win(65_535));
    let listener = find(&peer, State::Listen).unwrap();
    assert_eq!((listener.local.port(), listener.remote), (PORT, None));
    assert_eq!((listener.receive_queue, listener.send_queue), (1, 2));
}

#[test]
fn queues_and_timers_of_a_connection_are_told() {
    let mut peer = Peer::new().listening();
    peer.sends(seg("S").win(65_535).mss(1_460));
    peer.expects(seg("SA").ack(1));
    assert_eq!(
        timer(&peer, State::SynReceived).unwrap().0,
        TimerKind::Retransmit
    );
    peer.sends(seg("A").seq(1).ack(1).win(65_535));
    let established = find(&peer, State::Established).unwrap();
    assert_eq!(established.remote, Some((PEER, 4_000).into()));
    assert_eq!(established.timer, None);
    let id = peer.id();
    peer.sockets(|_, sockets| {
        sockets
            .set_option(id, SocketOption::KeepAlive(true))
            .unwrap()
    });
    assert_eq!(
        timer(&peer, State::Established),
        Some((TimerKind::KeepAlive, 7_200, 0))
    );
    peer.engine_sends(b"four");
    peer.expects(seg("PA").seq(1).ack(1).data(b"four"));
    peer.wait(Duration::from_secs(2));
    peer.takes_all();
    let waiting = find(&peer, State::Established).unwrap();
    assert_eq!(waiting.send_queue, 4);
    let (kind, _, retransmits) = timer(&peer, State::Established).unwrap();
    assert!(kind == TimerKind::Retransmit && retransmits > 0);
}

#[test]
fn time_wait_tells_what_is_left_of_it() {
    let mut peer = Peer::established();
    peer.engine_closes();
    peer.expects(seg("FA").seq(1).ack(1));
    peer.sends(seg("FA").seq(1).ack(2));
    peer.expects(seg("A").seq(2).ack(2));
    assert_eq!(
        timer(&peer, State::TimeWait),
        Some((TimerKind::TimeWait, 60, 0))
    );
    peer.wait(Duration::from_secs(18));
    assert_eq!(
        timer(&peer, State::TimeWait),
        Some((TimerKind::TimeWait, 42, 0))
    );
    peer.ends_clean();
}

#[test]
fn what_is_over_and_only_still_read_is_listed_as_its_time_wait_alone() {
    let mut peer = Peer::established();
    let id = peer.id();
    peer.sockets(|_, sockets| sockets.shutdown(id).unwrap());
    peer.expects(seg("FA").seq(1).ack(1));
    peer.sends(seg("FA").seq(1).ack(2).data(b"last"));
    peer.takes_all();
    let sockets = peer.shard.sockets(peer.now);
    let states: Vec<State> = sockets.iter().map(|socket| socket.state).collect();
    assert_eq!(states, [State::Listen, State::TimeWait]);
    assert_eq!(peer.engine_reads(), b"last");
}

#[test]
fn a_connection_has_what_tcp_info_says_where_that_is_asked_for() {
    let mut peer = Peer::established();
    let mut listing = Listing::new(true);
    while !listing.is_whole() {
        peer.shard.list(peer.now, &mut listing);
    }
    let id = peer.id();
    let info = peer.sockets(|_, sockets| sockets.info(id)).unwrap();
    let listed: Vec<_> = listing.drain().map(|socket| socket.info).collect();
    assert_eq!(listed, [None, Some(info)]);
}
