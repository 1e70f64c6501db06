//! What comes in masses: segments for nobody, single bytes, reports and flows made up to
//! cost memory or time. All of it is bounded, and the next connection is served.

use crate::peer::{ENGINE, PEER, Peer, frame, ip_frame, seg};
use ringmill_core::flow::{FlowHasher, FlowKey};
use ringmill_core::frame::Batch;
use ringmill_core::rng::Rng;
use ringmill_core::seq::Seq;
use ringmill_core::sockets::SocketOptions;
use ringmill_core::stats::DropReason;
use ringmill_core::tcp::State;
use ringmill_core::time::Duration;
use ringmill_core::wire::tcp::{Flags, Header, Options};

/// Attack case 35: floods of ACK, RST and UDP on the queue, for nobody and beside the live
/// connection's numbers. They make nothing, are answered as far as the limit goes, and
/// the connection's data waits for the batches before it and for no more.
#[test]
fn floods_take_nothing_from_a_live_connection() {
    const LIMIT: u32 = 1_000;
    let mut peer = Peer::with(|config| {
        config.tcp.timestamps = false;
        config.tcp.stray_resets_per_second = LIMIT;
    })
    .listening()
    .handshake();
    let live = peer.port;
    let stray = |port, flags| Header {
        source_port: port,
        destination_port: 9,
        seq: Seq(1),
        ack: Seq(1),
        flags,
        window: 1,
        urgent: 0,
        options: Options::default(),
    };
    for round in 0..100_u16 {
        let before = peer.shard.gauges();
        for n in 0..100 {
            let port = round * 100 + n;
            for flags in [Flags::ACK, Flags::RST] {
                peer.arrives(&frame(PEER, ENGINE, &stray(port, flags), b""));
            }
            peer.arrives(&ip_frame(PEER, ENGINE, 17, &[0; 8]));
            peer.sends_without_pause(seg("R").seq(100_000));
        }
        let at = 1 + u32::from(round);
        peer.sends_without_pause(seg("PA").seq(at).ack(1).data(b"x"));
        let id = peer.id();
        let mut steps = 0;
        let mut waits = true;
        while waits {
            peer.shard.step(peer.now);
            steps += 1;
            waits = peer
                .shard
                .with_app(peer.now, |_, sockets| sockets.receive(id).is_err());
        }
        assert_eq!(steps, 401_usize.div_ceil(Batch::CAPACITY));
        peer.wait_ms(0);
        assert_eq!(peer.engine_reads(), b"x");
        peer.wait_ms(50);
        assert_eq!(peer.shard.gauges(), before);
        peer.now = peer.now - Duration::from_millis(50);
    }
    let sent = peer.takes_all();
    let (resets, acks): (Vec<_>, Vec<_>) =
        sent.iter().partition(|(h, _)| h.flags.contains(Flags::RST));
    assert!(acks.iter().all(|(h, _)| h.destination_port == live));
    assert!(resets.iter().all(|(h, _)| h.destination_port != live));
    let resets = resets.len() as u64;
    assert!((u64::from(LIMIT) / 2..=u64::from(LIMIT)).contains(&resets));
    assert_eq!(
        peer.drops(),
        [
            (DropReason::Protocol, 10_000),
            (DropReason::OutOfWindow, 10_000),
            (DropReason::NoListener, 10_000 + resets),
            (DropReason::ResetLimited, 10_000 - resets),
        ],
        "no RST for a RST"
    );
    assert_eq!(peer.state(), Some(State::Established));
    assert_eq!(peer.shard.frames_missing(), 0);
}

/// What a flood has left half open is due again as densely as its SYNs came. Those
/// SYN-ACKs wait until a step can send them: none is lost at a full queue, and a SYN
/// that comes meanwhile is answered before them.
#[test]
fn syn_acks_that_are_due_by_the_thousand_hold_no_answer_up() {
    const RECORDS: u16 = 8_000;
    let mut peer = Peer::with(|config| {
        config.tcp.timestamps = false;
        config.tcp.max_half_open = 8_192;
        config.tcp.syn_backlog = 8_192;
    })
    .listening()
    .handshake();
    for n in 0..RECORDS {
        peer.port = 10_000 + n;
        peer.sends_without_pause(seg("S"));
    }
    peer.wait_ms(0);
    assert_eq!(peer.takes_all().len(), usize::from(RECORDS));
    // All of them are due, and the engine is at it.
    peer.now += Duration::from_millis(1_100);
    peer.shard.step(peer.now);
    peer.port = 9_999;
    peer.sends(seg("S"));
    peer.wait_ms(0);
    let sent = peer.takes_all();
    let answer = sent.iter().position(|(h, _)| h.destination_port == 9_999);
    assert!(answer.unwrap() < Batch::CAPACITY, "{answer:?} came before");
    assert_eq!(sent.len(), usize::from(RECORDS) + 1);
    assert_eq!(peer.stats().tcp.syn_ack_retransmits, u64::from(RECORDS));
    assert_eq!(peer.dropped(DropReason::ReplyQueueFull), 0);
}

/// Attack case 37: one byte a segment, from a peer that never stops and a reader that
/// never reads: a connection keeps what its buffer holds, whatever the frames around it
/// take, and says nothing of the room that a few bytes leave (MUST-39).
#[test]
fn single_bytes_are_kept_within_the_buffer_of_their_connection() {
    let mut peer = Peer::with(|config| {
        config.tcp.timestamps = false;
        config.tcp.receive_buffer = 4_000;
    })
    .listening()
    .handshake();
    for n in 0..4_500 {
        peer.sends(seg("PA").seq(1 + n).ack(1).data(b"x"));
    }
    peer.wait_ms(50);
    let gauges = peer.shard.gauges();
    assert!(
        gauges.chunks <= 4_000 && gauges.held_frames == 64,
        "{gauges:?}"
    );
    let (full, _) = peer.takes_all().pop().unwrap();
    assert_eq!((Peer::relative(full.ack), full.window), (4_001, 0));
    assert_eq!(peer.dropped(DropReason::OutOfWindow), 499);
    let id = peer.id();
    for _ in 0..1_459 {
        peer.sockets(|_, sockets| sockets.consume(id, 1));
    }
    peer.expects_nothing();
    // One that probes meanwhile hears that it is closed: the room is no segment yet.
    peer.sends(seg("A").seq(4_001).ack(1).data(b"x"));
    peer.expects(seg("A").seq(1).ack(4_001).win(0));
    assert_eq!(peer.engine_reads().len(), 4_000 - 1_459);
    peer.expects(seg("A").seq(1).ack(4_001).win(4_000));
    peer.sends(seg("R").seq(4_001));
    peer.ends_clean();
}

/// Attack case 37: a peer that opens its window by one byte at a time gets a byte when a
/// probe is due, and not one for each of its segments (MUST-38).
#[test]
fn windows_of_single_bytes_get_few_single_bytes() {
    let mut peer = Peer::established();
    peer.sends(seg("A").seq(1).ack(1).win(1));
    peer.engine_sends(&[b'x'; 1_000]);
    let (mut segments, mut acked) = (0, 1);
    for _ in 0..6_000 {
        peer.wait_ms(10);
        for (_, data) in peer.takes_all() {
            assert!(data.len() <= 1);
            segments += 1;
            acked = acked.max(1 + u32::try_from(peer.stats().tcp.bytes_acked).unwrap() + 1);
        }
        peer.sends(seg("A").seq(1).ack(acked).win(1));
    }
    // A minute of at most five probes a second.
    assert!((10..=300).contains(&segments), "{segments}");
    assert!(peer.shard.gauges().chunks <= 1);
    assert_eq!(peer.state(), Some(State::Established));
}

/// A connection of the least MSS that has hundreds of segments in flight, and how many.
fn hundreds_in_flight() -> (Peer, u32) {
    let mut peer = Peer::with(|config| {
        config.tcp.timestamps = false;
        config.tcp.send_buffer = 1 << 20;
    })
    .listening();
    peer.sends(seg("S").win(65_535).mss(48).scale(7).sack_ok());
    assert!(peer.expects(seg("SA").ack(1)).options.sack_permitted);
    peer.sends(seg("A").seq(1).ack(1).win(65_535));
    for _ in 0..15 {
        peer.engine_sends(&[b'x'; 60_000]);
    }
    let mut acked = 1;
    loop {
        let flight = u32::try_from(peer.takes_all().len()).unwrap();
        if flight >= 600 {
            peer.expects_nothing();
            peer.sends(seg("A").seq(1).ack(acked));
            return (peer, flight);
        }
        for _ in 0..flight {
            acked += 88;
            peer.sends_without_pause(seg("A").seq(1).ack(acked));
        }
        peer.wait_ms(1);
    }
}

/// Attack case 39 (CVE-2019-11477, CVE-2019-11478): segments as small as a peer can make
/// them, hundreds in flight, and every other one reported, then thousands of reports of
/// other single bytes. Nothing is cut or copied, no count overflows, each report lets go
/// what it delivers, and all of the data arrives. (What a report costs: `flight`.)
#[test]
fn sacks_of_alternating_holes_are_survived() {
    let mut rng = Rng::from_seed(39);
    let mut pick = |below: u32| u32::try_from(rng.below(u64::from(below))).unwrap();
    let (mut peer, flight) = hundreds_in_flight();
    let before = peer.shard.gauges();
    let una = 1 + u32::try_from(peer.stats().tcp.bytes_acked).unwrap();
    let at = |n: u32| una + 88 * n;
    let odd: Vec<u32> = (0..flight / 2).map(|n| 2 * n + 1).collect();
    for four in odd.chunks(4) {
        let blocks: Vec<_> = four.iter().map(|&n| (at(n), at(n + 1))).collect();
        peer.sends(seg("A").seq(1).ack(una).sack(&blocks));
        assert!(
            peer.takes_all().len() <= 8,
            "what was delivered, and no more"
        );
    }
    let id = peer.id();
    let info = peer.sockets(|_, sockets| sockets.info(id)).unwrap();
    assert_eq!(info.sacked, flight / 2);
    for _ in 0..5_000 {
        let blocks: Vec<_> = (0..4)
            .map(|_| {
                let left = una + pick(88 * flight - 4);
                (left, left + 1 + pick(3))
            })
            .collect();
        peer.sends(seg("A").seq(1).ack(una).sack(&blocks));
        assert!(peer.takes_all().len() <= 1);
    }
    let info = peer.sockets(|_, sockets| sockets.info(id)).unwrap();
    assert_eq!(info.sacked, flight / 2, "a part of a segment is none");
    assert_eq!(peer.shard.gauges().chunks, before.chunks);
    assert_eq!(peer.shard.check(peer.now), Ok(()));
    let end = una + info.unacked * 88;
    peer.sends(seg("A").seq(1).ack(end));
    peer.takes_all();
    assert_eq!(peer.stats().tcp.bytes_acked, u64::from(end) - 1);
    peer.sends(seg("R").seq(1));
    peer.ends_clean();
}

/// Attack case 40 (CVE-2018-5390): thousands of single bytes with gaps between them, in
/// the order of their numbers, backwards, and in none. No more are kept than the bound
/// has, in no more frames of the pool; the rest is counted and comes again.
#[test]
fn single_bytes_out_of_order_are_bounded() {
    const KEPT: usize = 512;
    let mut rng = Rng::from_seed(40);
    let ahead: Vec<u32> = (0..8_000).map(|n| 3 + 2 * n).collect();
    let backwards = ahead.iter().rev().copied().collect();
    let mut mixed = ahead.clone();
    for n in 0..mixed.len() {
        mixed.swap(n, usize::try_from(rng.below(8_000)).unwrap());
    }
    for numbers in [ahead, backwards, mixed] {
        let mut peer = Peer::new().listening().handshake_sack();
        for seq in &numbers {
            peer.sends_without_pause(seg("A").seq(*seq).ack(1).data(b"x"));
        }
        peer.wait_ms(0);
        for (ack, data) in peer.takes_all() {
            assert_eq!((Peer::relative(ack.ack), data.len()), (1, 0));
        }
        let gauges = peer.shard.gauges();
        assert_eq!(gauges.chunks, KEPT);
        assert_eq!(gauges.held_frames, 64);
        assert_eq!(
            peer.drops(),
            [(DropReason::ReassemblyFull, (8_000 - KEPT) as u64)]
        );
        // What is sent again from the first gap on makes it whole.
        let (mut at, end) = (1, 16_002);
        let mut read = 0;
        while at < end {
            let len = usize::try_from(end - at).unwrap().min(1_000);
            peer.sends(seg("A").seq(at).ack(1).len(len));
            read += peer.engine_reads().len();
            peer.wait_ms(50);
            at = Peer::relative(peer.takes_all().pop().unwrap().0.ack);
        }
        assert_eq!(read, 16_001);
        assert_eq!(peer.shard.gauges().chunks, 0);
        peer.sends(seg("R").seq(16_002));
        peer.ends_clean();
    }
}

/// Attack case 42: who picks 4-tuples can't pick where they land. Tuples that all
/// meet in one engine are spread by the next, whose key is another. (How far a lookup
/// goes then: `flow/table`.)
#[test]
fn flows_that_collide_for_one_key_do_not_for_another() {
    let (known, secret) = (FlowHasher::new([1; 16]), FlowHasher::new([2; 16]));
    let chosen: Vec<FlowKey> = (1..60_000)
        .map(|remote_port| FlowKey {
            local: 0,
            remote: PEER.into(),
            local_port: 80,
            remote_port,
        })
        .filter(|key| known.hash(key) % 256 == 0)
        .collect();
    assert!(chosen.len() > 150);
    let mut buckets = [0; 256];
    for key in &chosen {
        buckets[usize::try_from(secret.hash(key) % 256).unwrap()] += 1;
    }
    let fullest = buckets.into_iter().max().unwrap();
    assert!(fullest < chosen.len() / 8, "{fullest} of {}", chosen.len());
}

/// Attack case 43: a million connections (a tenth of that where nothing is optimized),
/// opened by both sides, brought to every state with data on the way both ways, and
/// aborted there by one side or the other, held by an application or let go. No record,
/// queue, frame, timer or port is left.
#[test]
fn churn_with_aborts_in_every_state_leaks_nothing() {
    const ROUNDS: u32 = if cfg!(debug_assertions) {
        100_000
    } else {
        1_000_000
    };
    let mut rng = Rng::from_seed(43);
    let mut peer = Peer::new().listening();
    let states = &State::ALL[1..10];
    let mut reached = vec![0_u32; states.len()];
    for round in 0..ROUNDS {
        let pick = usize::try_from(rng.below(states.len() as u64)).unwrap();
        let end = match rng.below(3) {
            0 => AbortedBy::Peer,
            1 => AbortedBy::Engine,
            _ => AbortedBy::PeerOfAnOrphan,
        };
        let was_reached = churn_once(&mut peer, round, states[pick], end);
        reached[pick] += u32::from(was_reached);
        if round.is_multiple_of(50) {
            peer.wait(Duration::from_secs(61));
            assert_eq!(peer.shard.frames_missing(), 0);
        }
        peer.takes_all();
    }
    peer.wait(Duration::from_secs(400));
    peer.takes_all();
    // SYN-SENT is for the half of them that the engine opens.
    let least = ROUNDS / 20;
    assert!(reached.iter().all(|count| *count > least), "{reached:?}");
    peer.sockets(|_, sockets| sockets.close_all_listeners());
    peer.ends_clean();
}

/// Who aborts a connection that was brought to its state.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AbortedBy {
    Peer,
    Engine,
    /// The application closes, and the peer aborts.
    PeerOfAnOrphan,
}

/// One connection on its way to `state` and to its end; false if it can't get there.
fn churn_once(peer: &mut Peer, round: u32, state: State, end: AbortedBy) -> bool {
    let is_active = round.is_multiple_of(2);
    peer.iss = None;
    if is_active {
        peer.port = 80;
        let id = peer.sockets(|app, sockets| {
            let target = (PEER, 80).into();
            let id = sockets
                .connect(target, 0, SocketOptions::default())
                .unwrap();
            app.connection = Some(id);
            id
        });
        peer.wait_ms(0);
        peer.expects(seg("S"));
        match state {
            State::SynSent => {}
            State::SynReceived => {
                peer.sends(seg("S"));
                peer.expects(seg("SA").ack(1));
            }
            _ => {
                peer.sends(seg("SA").ack(1));
                peer.expects(seg("A").seq(1).ack(1));
            }
        }
        if matches!(state, State::SynSent | State::SynReceived) {
            let is_there = peer.shard.gauges().of(state) == 1;
            match (state, end) {
                (State::SynSent, AbortedBy::Peer) => peer.sends(seg("RA").ack(1)),
                (State::SynReceived, AbortedBy::Peer) => peer.sends(seg("R").seq(1)),
                _ => peer.sockets(|_, sockets| sockets.abort(id)),
            }
            return is_there;
        }
    } else {
        peer.engine_port = 80;
        peer.port = 1_024 + u16::try_from(round % 60_000).unwrap();
        peer.sends(seg("S"));
        peer.expects(seg("SA").ack(1));
        if matches!(state, State::SynSent | State::SynReceived) {
            let is_there = peer.shard.gauges().of(state) == 1;
            peer.sends(seg("R").seq(1));
            return is_there;
        }
        peer.sends(seg("A").seq(1).ack(1));
    }
    peer.engine_sends(b"data");
    peer.sends(seg("PA").seq(3).ack(1).data(b"ahead"));
    walk_on(peer, state, end == AbortedBy::PeerOfAnOrphan);
    let is_there = peer.shard.gauges().of(state) > 0;
    let rcv_nxt = match state {
        State::CloseWait | State::LastAck | State::Closing => 2,
        _ => 1,
    };
    let id = peer.id();
    match end {
        AbortedBy::Engine => peer.sockets(|_, sockets| sockets.abort(id)),
        _ => peer.sends(seg("R").seq(rcv_nxt)),
    }
    // 2 MSL are the record's, whatever the application still holds.
    peer.sockets(|_, sockets| sockets.abort(id));
    is_there
}

/// From ESTABLISHED on, with four bytes and perhaps a FIN of ours in flight.
fn walk_on(peer: &mut Peer, state: State, lets_go: bool) {
    let id = peer.id();
    if matches!(state, State::CloseWait | State::LastAck) {
        peer.sends(seg("FA").seq(1).ack(1));
    }
    if !matches!(state, State::Established | State::CloseWait) {
        peer.sockets(|_, sockets| {
            if lets_go {
                sockets.close(id);
            } else {
                sockets.shutdown(id).unwrap();
            }
        });
    }
    match state {
        State::FinWait2 => peer.sends(seg("A").seq(1).ack(6)),
        State::Closing => peer.sends(seg("FA").seq(1).ack(5)),
        State::TimeWait => peer.sends(seg("FA").seq(1).ack(6)),
        _ => {}
    }
}
