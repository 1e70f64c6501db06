//! What passes the observer and what does not, segment by segment.

use super::*;
use ringmill_core::wire::tcp::Options;

const MSS: u16 = 1_000;
const WINDOW: u16 = 3_000;

fn flow(from_client: bool) -> Flow {
    let address = |text: &str| text.parse().unwrap();
    let up = Flow {
        from: address("198.18.0.1:1024"),
        to: address("198.18.0.2:7"),
    };
    if from_client { up } else { up.back() }
}

/// Both sides number from 0.
fn segment(from_client: bool, flags: Flags, seq: u32, ack: u32, data: &[u8]) -> Seen<'_> {
    let flow = flow(from_client);
    let is_syn = flags.contains(Flags::SYN);
    Seen {
        flow,
        header: Header {
            source_port: flow.from.port(),
            destination_port: flow.to.port(),
            seq: Seq(seq),
            ack: Seq(ack),
            flags,
            window: WINDOW,
            urgent: 0,
            options: Options {
                mss: is_syn.then_some(MSS),
                ..Options::default()
            },
        },
        options_len: 4 * usize::from(is_syn),
        data,
    }
}

/// An observer that has seen a handshake, and 2,000 bytes of the client of
/// which the server has acknowledged 1,000.
fn observer() -> Observer {
    let mut observer = Observer::default();
    let data = [b'x'; 1_000];
    for seen in [
        segment(true, Flags::SYN, 0, 0, &[]),
        segment(false, Flags::SYN | Flags::ACK, 0, 1, &[]),
        segment(true, Flags::ACK, 1, 1, &data),
        segment(true, Flags::ACK, 1_001, 1, &data),
        segment(false, Flags::ACK, 1, 1_001, &[]),
    ] {
        observer.sent(&seen).unwrap();
        observer.delivered(&seen);
    }
    observer
}

/// Seed 955139: a client aborted, its RST was lost, and its port was used again at
/// once.
#[test]
fn an_answer_to_the_syn_before_is_of_the_connection_before() {
    let mut observer = Observer::default();
    let answer = Flags::SYN | Flags::ACK;
    for seen in [
        segment(true, Flags::SYN, 5_000, 0, &[]),
        segment(true, Flags::RST, 5_001, 0, &[]),
        segment(true, Flags::SYN, 100, 0, &[]),
        segment(false, answer, 0, 5_001, &[]),
    ] {
        observer.sent(&seen).unwrap();
    }
    for ack in [102, 5_002] {
        let wrong = segment(false, answer, 0, ack, &[]);
        assert!(observer.sent(&wrong).is_err(), "{ack}");
    }
    observer
        .sent(&segment(false, answer, 0, 5_001, &[]))
        .unwrap();
}

#[test]
fn what_a_sender_may_send_passes() {
    let data = [b'x'; 1_000];
    for seen in [
        segment(true, Flags::ACK, 2_001, 1, &data),
        // A retransmission, of other boundaries, with new data behind.
        segment(true, Flags::ACK, 1_501, 1, &data),
        // A FIN takes no room.
        segment(true, Flags::ACK | Flags::FIN, 2_001, 1, &data),
        // A keep-alive.
        segment(true, Flags::ACK, 1_000, 1, &[]),
        segment(true, Flags::RST, 77, 0, &[]),
    ] {
        assert_eq!(observer().sent(&seen), Ok(()), "{seen}");
    }
}

#[test]
fn what_a_sender_may_not_send_is_caught() {
    let (data, other) = ([b'x'; 1_001], [b'y'; 1_000]);
    let data = &data[..];
    let mut shrunk = segment(false, Flags::ACK, 1, 1_001, &[]);
    shrunk.header.window = WINDOW - 1;
    for (says, seen) in [
        ("MSS is", segment(true, Flags::ACK, 2_001, 1, data)),
        ("gap", segment(true, Flags::ACK, 2_002, 1, &data[..1_000])),
        ("other data", segment(true, Flags::ACK, 1_001, 1, &other)),
        ("sent was", segment(true, Flags::ACK, 2_001, 2, &[])),
        ("acknowledged", segment(false, Flags::ACK, 1, 1_000, &[])),
        ("offered up to", shrunk),
    ] {
        let wrong = observer().sent(&seen).unwrap_err();
        assert!(wrong.contains(says), "{wrong}");
    }
}

#[test]
fn a_syn_may_be_answered_twice_and_the_peer_takes_either() {
    for chosen in [0, 700] {
        let mut observer = Observer::default();
        for seen in [
            segment(true, Flags::SYN, 0, 0, &[]),
            segment(false, Flags::SYN | Flags::ACK, 0, 1, &[]),
            segment(false, Flags::SYN | Flags::ACK, 700, 1, &[]),
            segment(true, Flags::ACK, 1, chosen + 1, b"x"),
            segment(false, Flags::SYN | Flags::ACK, 700 - chosen, 1, &[]),
        ] {
            assert_eq!(observer.sent(&seen), Ok(()), "{seen}");
            observer.delivered(&seen);
        }
        let answer = segment(false, Flags::ACK, chosen + 1, 2, b"y");
        assert_eq!(observer.sent(&answer), Ok(()));
        let other = segment(true, Flags::ACK, 2, 700 - chosen + 1, &[]);
        assert!(observer.sent(&other).is_err());
    }
}

#[test]
fn only_an_old_first_segment_lets_a_connection_begin_again() {
    let (mut observer, data) = (observer(), [b'x'; 1_000]);
    let first = segment(true, Flags::ACK, 1, 1, &data);
    let later = segment(true, Flags::ACK, 501, 1, &data);
    let again = segment(false, Flags::ACK, 1, 501, &[]);
    observer.may_open_again(&later);
    observer.may_open_again(&first);
    assert!(observer.sent(&again).is_err(), "it has come once");
    observer.may_open_again(&first);
    assert_eq!(observer.sent(&again), Ok(()));

    let syn_ack = segment(false, Flags::SYN | Flags::ACK, 0, 1, &[]);
    let mut observer = self::observer();
    observer.may_open_again(&first);
    assert!(observer.sent(&syn_ack).is_err());
    observer.may_open_again(&segment(true, Flags::SYN, 0, 0, &[]));
    assert_eq!(observer.sent(&syn_ack), Ok(()));
}

/// An answer to a forged SYN says nothing of the connection in whose name it came.
#[test]
fn what_a_forged_syn_opens_is_no_connection() {
    let mut observer = observer();
    let syn_ack = segment(false, Flags::SYN | Flags::ACK, 7_000, 40_001, &[]);
    assert!(observer.sent(&syn_ack).is_err());
    let mut observer = self::observer();
    observer.forged(&segment(true, Flags::SYN, 40_000, 0, &[]));
    assert_eq!(observer.sent(&syn_ack), Ok(()));
    observer.delivered(&syn_ack);
    let data = segment(true, Flags::ACK, 2_001, 1, &[b'x'; 1_000]);
    assert_eq!(observer.sent(&data), Ok(()));
}

#[test]
fn only_a_probe_passes_the_edge_of_the_window() {
    let mut observer = observer();
    let data = [b'x'; 1_000];
    // The window's edge is at 4,001.
    for seq in [2_001, 3_001] {
        let seen = segment(true, Flags::ACK, seq, 1, &data);
        assert_eq!(observer.sent(&seen), Ok(()));
    }
    let past = segment(true, Flags::ACK, 4_001, 1, b"xx");
    assert!(observer.sent(&past).unwrap_err().contains("offered was"));
    let mut closes = segment(false, Flags::ACK, 1, 4_001, &[]);
    closes.header.window = 0;
    observer.sent(&closes).unwrap();
    observer.delivered(&closes);
    let probe = segment(true, Flags::ACK, 4_001, 1, b"x");
    assert_eq!(observer.sent(&probe), Ok(()));
}

fn with_cookie<'a>(mut seen: Seen<'a>, cookie: &[u8]) -> Seen<'a> {
    seen.header.options.fast_open = FastOpenCookie::new(cookie);
    seen
}

/// One that has seen the server give a cookie.
fn observer_of_cookie() -> Observer {
    let mut observer = Observer::default();
    for seen in [
        with_cookie(segment(true, Flags::SYN, 0, 0, &[]), b""),
        with_cookie(
            segment(false, Flags::SYN | Flags::ACK, 0, 1, &[]),
            b"biscuits",
        ),
    ] {
        observer.sent(&seen).unwrap();
        observer.delivered(&seen);
    }
    observer
}

#[test]
fn a_syn_brings_data_with_a_cookie_that_was_given() {
    let syn = |data| segment(true, Flags::SYN, 5_000, 0, data);
    let mut observer = observer_of_cookie();
    for (says, seen) in [
        ("without a cookie", syn(b"GET")),
        ("not given", with_cookie(syn(b"GET"), b"crackers")),
    ] {
        let wrong = observer.sent(&seen).unwrap_err();
        assert!(wrong.contains(says), "{wrong}");
    }
    let seen = with_cookie(syn(b"GET"), b"biscuits");
    assert_eq!(observer.sent(&seen), Ok(()));
    // Again with neither, and the data behind the handshake is the same.
    assert_eq!(observer.sent(&syn(b"")), Ok(()));
    let syn_ack = segment(false, Flags::SYN | Flags::ACK, 9_000, 5_001, &[]);
    assert_eq!(observer.sent(&syn_ack), Ok(()));
    observer.delivered(&syn_ack);
    let same = segment(true, Flags::ACK, 5_001, 9_001, b"GET");
    assert_eq!(observer.sent(&same), Ok(()));
    let other = segment(true, Flags::ACK, 5_001, 9_001, b"PUT");
    assert!(observer.sent(&other).unwrap_err().contains("other data"));
}

/// It may answer at once, within the window of the SYN, and be forgotten for
/// another answer that the client goes by.
#[test]
fn what_a_syn_brings_is_acknowledged_and_answered_before_the_handshake() {
    let syn_ack = |seq, ack| segment(false, Flags::SYN | Flags::ACK, seq, ack, &[]);
    let early = || {
        let mut observer = observer_of_cookie();
        let syn = segment(true, Flags::SYN, 5_000, 0, b"GET");
        observer.sent(&with_cookie(syn, b"biscuits")).unwrap();
        observer.sent(&syn_ack(9_000, 5_004)).unwrap();
        observer
    };
    let data = [b'x'; 1_000];
    for seq in [9_001, 10_001, 11_001] {
        let answer = segment(false, Flags::ACK, seq, 5_004, &data);
        let mut observer = early();
        let sent: Vec<_> = (9_001..=seq)
            .step_by(1_000)
            .map(|seq| observer.sent(&segment(false, Flags::ACK, seq, 5_004, &data)))
            .collect();
        assert_eq!(sent.last(), Some(&Ok(())), "{answer}");
    }
    let mut observer = early();
    let past = segment(false, Flags::ACK, 12_001, 5_004, b"xx");
    assert!(observer.sent(&past).unwrap_err().contains("offered was"));
    let unsent = early().sent(&syn_ack(9_000, 5_005));
    assert!(unsent.unwrap_err().contains("sent was"));
    // The client has gone on without.
    let mut observer = early();
    observer.sent(&syn_ack(20_000, 5_001)).unwrap();
    observer.delivered(&syn_ack(20_000, 5_001));
    let chooses = segment(true, Flags::ACK, 5_001, 20_001, b"GET");
    assert_eq!(observer.sent(&chooses), Ok(()));
    observer.delivered(&chooses);
    let answer = segment(false, Flags::ACK, 20_001, 5_004, b"x");
    assert_eq!(observer.sent(&answer), Ok(()));
    let other = segment(true, Flags::ACK, 5_004, 9_001, &[]);
    assert!(observer.sent(&other).is_err());
}

#[test]
fn both_ends_may_open_a_connection() {
    let mut observer = Observer::default();
    for seen in [
        segment(true, Flags::SYN, 0, 0, &[]),
        segment(false, Flags::SYN, 500, 0, &[]),
        segment(true, Flags::SYN | Flags::ACK, 0, 501, &[]),
        segment(false, Flags::SYN | Flags::ACK, 500, 1, &[]),
        segment(true, Flags::ACK, 1, 501, b"x"),
        segment(false, Flags::ACK, 501, 2, b"y"),
    ] {
        assert_eq!(observer.sent(&seen), Ok(()), "{seen}");
        observer.delivered(&seen);
    }
    let unsent = segment(false, Flags::ACK, 502, 3, &[]);
    assert!(observer.sent(&unsent).is_err());
}
