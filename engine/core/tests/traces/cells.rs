//! Every cell of the state machine: each state, reached by real segments, meets
//! segments with every sensible set of flags, before, at the edges of, in and
//! after the window, with ACKs below, at, within and above what is in flight; and
//! every call and every timeout.
//!
//! What must come of a segment is computed by `model`, a second reading of the RFC.

mod model;

use crate::peer::{Peer, Seg, Told, port_unreachable, seg};
use model::{Arriving, Connection, Outcome, Reply};
use ringmill_core::seq::Seq;
use ringmill_core::sockets::{Closed, SocketError};
use ringmill_core::tcp::State;
use ringmill_core::time::Duration;
use ringmill_core::wire::tcp::Flags;

/// A way to a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    to: State,
    /// This side opened.
    active: bool,
    /// The application has let go.
    orphan: bool,
}

const fn way(to: State) -> Way {
    Way {
        to,
        active: false,
        orphan: false,
    }
}

const fn orphan(to: State) -> Way {
    Way {
        to,
        active: false,
        orphan: true,
    }
}

const WAYS: &[Way] = &[
    way(State::Closed),
    way(State::Listen),
    Way {
        to: State::SynSent,
        active: true,
        orphan: false,
    },
    way(State::SynReceived),
    Way {
        to: State::SynReceived,
        active: true,
        orphan: false,
    },
    way(State::Established),
    way(State::FinWait1),
    orphan(State::FinWait1),
    way(State::FinWait2),
    orphan(State::FinWait2),
    way(State::CloseWait),
    way(State::Closing),
    orphan(State::Closing),
    way(State::LastAck),
    orphan(State::LastAck),
    way(State::TimeWait),
    orphan(State::TimeWait),
];

/// Walks the way by real segments: the peer, and what the model is to know.
fn reach(way: Way) -> (Peer, Connection) {
    let mut peer = Peer::with(|config| {
        config.tcp.timestamps = false;
        // An answer that may wait comes before anything is sent again.
        config.tcp.delayed_ack = Duration::from_millis(1);
    });
    let has_listener = !way.active && way.to != State::Closed;
    if has_listener {
        peer = peer.listening();
    }
    let mut connection = Connection {
        state: way.to,
        rest: State::Closed,
        snd_una: 0,
        snd_nxt: 1,
        snd_wnd_max: 65_535,
        rcv_nxt: 1,
        rcv_wnd: 65_535,
        orphan: way.orphan,
    };
    match way.to {
        State::Closed | State::Listen => peer.iss = Some(Seq(0)),
        State::SynSent | State::SynReceived if way.active => {
            peer = peer.connecting();
            peer.expects(seg("S"));
            if way.to == State::SynReceived {
                peer.sends(seg("S"));
                peer.expects(seg("SA").ack(1));
            }
        }
        State::SynReceived => {
            peer.sends(seg("S").mss(1_460));
            peer.expects(seg("SA").ack(1));
        }
        _ => {
            peer = peer.handshake();
            (connection.snd_una, connection.snd_nxt) = (1, 6);
            walk_on(&mut peer, &mut connection, way);
        }
    }
    if matches!(way.to, State::Listen | State::TimeWait)
        || (way.to == State::SynReceived && !way.active)
    {
        connection.rest = State::Listen;
    }
    peer.wait_ms(2);
    peer.takes_all();
    (peer, connection)
}

/// From ESTABLISHED on, with five octets in flight.
fn walk_on(peer: &mut Peer, connection: &mut Connection, way: Way) {
    let passive = matches!(way.to, State::CloseWait | State::LastAck);
    if passive {
        peer.sends(seg("FA").seq(1).ack(1));
        peer.expects(seg("A").seq(1).ack(2));
        connection.rcv_nxt = 2;
    }
    peer.engine_sends(b"hello");
    peer.expects(seg("A").seq(1).ack(connection.rcv_nxt).data(b"hello"));
    if matches!(way.to, State::Established | State::CloseWait) {
        connection.rcv_wnd = 65_536 - connection.rcv_nxt;
        return;
    }
    let id = peer.id();
    peer.sockets(|_, sockets| {
        if way.orphan {
            sockets.close(id);
        } else {
            sockets.shutdown(id).unwrap();
        }
    });
    peer.expects(seg("FA").seq(6).ack(connection.rcv_nxt));
    connection.snd_nxt = 7;
    if matches!(way.to, State::FinWait2 | State::TimeWait) {
        peer.sends(seg("A").seq(1).ack(7));
        connection.snd_una = 7;
    }
    if matches!(way.to, State::Closing | State::TimeWait) {
        peer.sends(seg("FA").seq(1).ack(connection.snd_una));
        peer.expects(seg("A").seq(7).ack(2));
        connection.rcv_nxt = 2;
    }
    connection.rcv_wnd = 65_536 - connection.rcv_nxt;
}

/// The state of the one connection that there is, whatever record holds it.
fn state_of(peer: &mut Peer, rest: State) -> State {
    let gauges = peer.shard.gauges();
    let held = State::ALL
        .into_iter()
        .find(|&state| !matches!(state, State::Listen | State::Closed) && gauges.of(state) > 0);
    held.unwrap_or(rest)
}

/// Everything is let go of, and nothing is left.
fn ends_without_a_leak(mut peer: Peer, case: &str) {
    peer.sockets(|_, sockets| {
        sockets.close_all_listeners();
        sockets.abort_all();
    });
    peer.wait(Duration::from_secs(70));
    let gauges = peer.shard.gauges();
    assert_eq!(
        (gauges.live(), gauges.of(State::TimeWait), gauges.chunks),
        (0, 0, 0),
        "{case}"
    );
    assert_eq!((gauges.timers, gauges.ports), (0, 0), "{case}");
    assert_eq!(peer.shard.frames_missing(), 0, "{case}");
}

const FLAGS: &[&str] = &[
    "", "A", "PA", "UA", "S", "SA", "F", "FA", "R", "RA", "SF", "SFA", "SR", "SRA", "FRA", "FPU",
    "SFRPAU",
];

/// The distances from `from` that matter to something `len` long: before it, at
/// its edges, within it and after it.
fn around(from: u32, len: u32) -> Vec<u32> {
    [
        0_u32.wrapping_sub(100_000),
        u32::MAX,
        0,
        len / 2,
        len.wrapping_sub(1),
        len,
        len + 1,
    ]
    .map(|distance| from.wrapping_add(distance))
    .to_vec()
}

/// What the engine did about the segment.
fn observe(peer: &mut Peer, connection: &Connection) -> Outcome {
    let iss = peer.iss.unwrap();
    let replies: Vec<Reply> = peer
        .takes_all()
        .into_iter()
        // SYN-SENT goes on asking.
        .filter(|(header, _)| header.flags != Flags::SYN)
        .map(|(header, _)| {
            let (seq, ack) = (header.seq.bytes_since(iss), Peer::relative(header.ack));
            match header.flags {
                flags if flags == Flags::RST => Reply::Rst(seq),
                flags if flags.contains(Flags::RST) => Reply::RstAck(seq, ack),
                flags if flags.contains(Flags::SYN) => Reply::SynAck(ack),
                _ => Reply::Ack(seq, ack),
            }
        })
        .collect();
    assert!(replies.len() <= 1, "one segment, one answer: {replies:?}");
    let delivered = match peer.shard.app().connection {
        Some(_) => u32::try_from(peer.engine_reads().len()).unwrap(),
        None => 0,
    };
    let closed = peer.told().iter().find_map(|told| match told {
        Told::Closed(why) => Some(*why),
        _ => None,
    });
    Outcome {
        state: state_of(peer, connection.rest),
        reply: replies.first().copied().unwrap_or(Reply::Nothing),
        delivered,
        closed,
    }
}

/// One segment on one connection: what came of it instead of what should have.
fn check(way: Way, flags: &str, seq: u32, ack: u32, text: u32) -> Option<String> {
    let (mut peer, connection) = reach(way);
    let segment = Seg {
        seq,
        ack,
        ..seg(flags).len(text as usize)
    };
    let arriving = Arriving {
        syn: flags.contains('S'),
        fin: flags.contains('F'),
        rst: flags.contains('R'),
        has_ack: flags.contains('A'),
        seq,
        ack,
        text,
    };
    let case = format!("{segment:?} meets {connection:?}");
    peer.sends(segment);
    peer.wait_ms(2);
    let expected = connection.take(&arriving);
    let came = observe(&mut peer, &connection);
    ends_without_a_leak(peer, &case);
    (came != expected).then(|| format!("{case}:\n  {came:?}\n  instead of {expected:?}"))
}

/// Attack cases 17, 18, 19 and 20: senseless flags, closed ports, RSTs and SYNs.
#[test]
fn every_segment_in_every_state_does_what_the_rfc_says() {
    let (mut cells, mut wrong) = (0, Vec::new());
    for &way in WAYS {
        let (_, connection) = reach(way);
        let in_flight = connection.snd_nxt - connection.snd_una;
        for flags in FLAGS {
            for seq in around(connection.rcv_nxt, connection.rcv_wnd) {
                let acks = if flags.contains('A') {
                    around(connection.snd_una, in_flight)
                } else {
                    vec![0]
                };
                for ack in acks {
                    for text in [0, 3] {
                        wrong.extend(check(way, flags, seq, ack, text));
                        cells += 1;
                    }
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {cells}:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(20)].join("\n")
    );
    assert!(cells > 15_000, "{cells}");
}

/// RFC 9293 sections 3.10.2 to 3.10.5, with the sockets' names of the errors.
#[test]
fn every_call_in_every_state_does_what_the_rfc_says() {
    for &way in WAYS.iter().filter(|way| !way.orphan) {
        let (mut peer, connection) = reach(way);
        if peer.shard.app().connection.is_none() {
            continue; // No handle, no call.
        }
        let id = peer.id();
        let is_sending = matches!(
            way.to,
            State::SynSent | State::SynReceived | State::Established | State::CloseWait
        );
        let sent = peer.sockets(|_, sockets| sockets.send(id, b"x"));
        let expected = if is_sending {
            Ok(1)
        } else {
            Err(SocketError::BrokenPipe)
        };
        assert_eq!(sent, expected, "SEND in {}", way.to);
        let has_ended = matches!(
            way.to,
            State::CloseWait | State::Closing | State::LastAck | State::TimeWait
        );
        let received = peer.sockets(|_, sockets| sockets.receive(id).map(<[u8]>::len));
        let expected = if has_ended {
            Ok(0)
        } else {
            Err(SocketError::WouldBlock)
        };
        assert_eq!(received, expected, "RECEIVE in {}", way.to);
        assert_eq!(state_of(&mut peer, State::Closed), connection.state);
        for closes in [true, false] {
            check_end(way, closes);
        }
        check_abort(way);
    }
}

/// CLOSE, of the sending side alone and of the whole connection.
fn check_end(way: Way, closes: bool) {
    let (mut peer, connection) = reach(way);
    let id = peer.id();
    peer.sockets(|_, sockets| {
        if closes {
            sockets.close(id);
        } else {
            // Of TIME-WAIT nothing is left but what was received.
            let is_over = way.to == State::TimeWait;
            let expected = is_over.then_some(SocketError::NotConnected);
            assert_eq!(sockets.shutdown(id).err(), expected, "CLOSE in {}", way.to);
        }
    });
    let (next, fin) = match way.to {
        State::SynSent => (State::Closed, false),
        State::Established => (State::FinWait1, true),
        State::CloseWait => (State::LastAck, true),
        state => (state, false),
    };
    assert_eq!(
        state_of(&mut peer, State::Closed),
        next,
        "CLOSE in {}",
        way.to
    );
    if fin {
        peer.expects(seg("FA").seq(6).ack(connection.rcv_nxt));
    }
    peer.expects_nothing();
    ends_without_a_leak(peer, way.to.name());
}

fn check_abort(way: Way) {
    let (mut peer, connection) = reach(way);
    let id = peer.id();
    peer.sockets(|_, sockets| sockets.abort(id));
    if matches!(
        way.to,
        State::SynReceived
            | State::Established
            | State::FinWait1
            | State::FinWait2
            | State::CloseWait
    ) {
        peer.expects(seg("RA").seq(connection.snd_nxt).ack(connection.rcv_nxt));
    }
    peer.expects_nothing();
    let next = match way.to {
        // 2 MSL are the record's, not the application's.
        State::TimeWait => State::TimeWait,
        _ => State::Closed,
    };
    assert_eq!(
        state_of(&mut peer, State::Closed),
        next,
        "ABORT in {}",
        way.to
    );
    ends_without_a_leak(peer, way.to.name());
}

/// RFC 9293 section 3.10.8: the retransmission, FIN-WAIT-2 and time-wait timeouts.
#[test]
fn every_timeout_in_every_state_does_what_the_rfc_says() {
    for &way in WAYS {
        let (mut peer, connection) = reach(way);
        peer.wait(Duration::from_secs(3_600));
        peer.takes_all();
        let is_endless = matches!(way.to, State::Closed | State::Listen)
            || (way.to == State::FinWait2 && !way.orphan);
        let next = if is_endless { way.to } else { connection.rest };
        assert_eq!(state_of(&mut peer, connection.rest), next, "{way:?}");
        let has_given_up = !way.orphan
            && !is_endless
            && way.to != State::TimeWait
            && peer.shard.app().connection.is_some();
        let told = peer.told().contains(&Told::Closed(Closed::TimedOut));
        assert_eq!(told, has_given_up, "{way:?}");
        ends_without_a_leak(peer, way.to.name());
    }
}

/// RFC 9293 section 3.9.2.2 with RFC 5927 section 5.2: a hard ICMP error ends a
/// connection that is opening (SHLD-26), and is a soft error everywhere else.
#[test]
fn an_unreachable_port_ends_only_what_is_opening() {
    for &way in WAYS {
        let (mut peer, connection) = reach(way);
        let quoted = peer.iss.unwrap() + connection.snd_una;
        let error = port_unreachable(&peer, quoted);
        peer.arrives(&error);
        peer.wait_ms(2);
        peer.takes_all();
        let next = match way.to {
            State::SynSent | State::SynReceived => connection.rest,
            state => state,
        };
        assert_eq!(state_of(&mut peer, connection.rest), next, "{way:?}");
        ends_without_a_leak(peer, way.to.name());
    }
}

/// The table is the one place that changes a state.
#[test]
fn nothing_else_changes_a_state() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tcp");
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    let writers: Vec<String> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .filter(|path| std::fs::read_to_string(path).unwrap().contains(".state = "))
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(writers, ["transitions.rs"]);
}
