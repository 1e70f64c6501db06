//! TCP Fast Open (RFC 7413), as a server and as a client.

use crate::peer::{PEER, PORT, Peer, Told, quoted, seg};
use ringmill_core::sockets::{Closed, OptionError, SocketOption, SocketOptions};
use ringmill_core::stats::DropReason;
use ringmill_core::tcp::{Info, State};
use ringmill_core::time::Duration;
use ringmill_core::wire::tcp::Header;

const HOUR: Duration = Duration::from_secs(3_600);

fn info(peer: &mut Peer) -> Info {
    let id = peer.id();
    peer.sockets(|_, sockets| sockets.info(id).unwrap())
}

fn cookie_of(header: &Header) -> Vec<u8> {
    header.options.fast_open.unwrap().as_slice().to_vec()
}

/// A server on which at most so many handshakes may be incomplete.
fn server(limit: u16) -> Peer {
    let options = SocketOptions::default()
        .with(SocketOption::FastOpen(limit))
        .unwrap();
    Peer::new().listening_with(options)
}

/// The peer asks for a cookie from another port and is given one; the handshake is
/// an ordinary one, and is broken off.
fn given_cookie(peer: &mut Peer) -> Vec<u8> {
    peer.port += 1;
    peer.sends(seg("S").mss(1_460).cookie(&[]).data(b"too early"));
    let cookie = cookie_of(&peer.expects(seg("SA").ack(1)));
    assert_eq!(cookie.len(), 8);
    peer.sends(seg("R").seq(1));
    assert!(peer.told().is_empty());
    peer.port += 1;
    cookie
}

/// A server that has accepted a request from the peer's SYN.
fn early() -> (Peer, Vec<u8>) {
    let mut peer = server(2);
    let cookie = given_cookie(&mut peer);
    peer.sends(seg("S").mss(1_460).cookie(&cookie).data(b"GET"));
    let syn_ack = peer.expects(seg("SA").ack(4));
    assert_eq!(syn_ack.options.fast_open, None, "it has one");
    assert_eq!(peer.state(), Some(State::SynReceived));
    assert_eq!(peer.told(), [Told::Accepted]);
    (peer, cookie)
}

/// Section 4.2.2: what came with the SYN is read, and answered, before the
/// handshake is complete.
#[test]
fn a_request_in_the_syn_is_answered_within_one_round_trip() {
    let (mut peer, _) = early();
    assert_eq!(peer.engine_reads(), b"GET");
    peer.engine_sends(&[b'x'; 2_920]);
    peer.expects(seg("A").seq(1).ack(4).len(1_460));
    peer.expects(seg("A").seq(1_461).ack(4).len(1_460));
    assert_eq!(peer.state(), Some(State::SynReceived));
    peer.sends(seg("A").seq(4).ack(2_921));
    assert_eq!(peer.state(), Some(State::Established));
    assert_eq!(peer.told(), [Told::Accepted], "it did not connect");
    let info = info(&mut peer);
    assert!(info.syn_data && info.unacked == 0 && info.srtt.is_some());
    peer.sends(seg("PA").seq(4).ack(2_921).data(b"more"));
    assert_eq!(peer.engine_reads(), b"more");
    peer.engine_closes();
    peer.expects(seg("FA").seq(2_921).ack(8));
    peer.sends(seg("FA").seq(8).ack(2_922));
    peer.expects(seg("A").seq(2_922).ack(9));
    let tcp = peer.stats().tcp;
    assert_eq!((tcp.fast_open_passive, tcp.bytes_acked), (1, 2_920));
    assert_eq!(tcp.established, 1);
    peer.ends_clean();
}

/// It is off until TCP_FASTOPEN is set: then no cookie is given, and data in a SYN
/// comes again behind the handshake.
#[test]
fn without_the_option_a_listener_gives_no_cookie_and_takes_no_data() {
    let mut peer = Peer::new().listening();
    peer.sends(seg("S").cookie(&[]));
    let syn_ack = peer.expects(seg("SA").ack(1));
    assert_eq!(syn_ack.options.fast_open, None);
    peer.port += 1;
    peer.sends(seg("S").cookie(b"somebody").data(b"GET"));
    let syn_ack = peer.expects(seg("SA").ack(1));
    assert_eq!(syn_ack.options.fast_open, None);
    assert!(peer.told().is_empty());
    peer.sends(seg("PA").seq(1).ack(1).data(b"GET"));
    assert_eq!(peer.engine_reads(), b"GET");
}

/// Sections 4.1.2 and 4.2.2: forged, or another's: the SYN alone is acknowledged,
/// with a cookie that is good.
#[test]
fn a_bad_cookie_is_an_ordinary_handshake_and_a_new_cookie() {
    let mut peer = server(2);
    let cookie = given_cookie(&mut peer);
    peer.sends(seg("S").cookie(b"forged!!").data(b"GET"));
    assert_eq!(cookie_of(&peer.expects(seg("SA").ack(1))), cookie);
    assert!(peer.told().is_empty());
    assert_eq!(peer.stats().tcp.fast_open_passive_fail, 1);
    peer.sends(seg("PA").seq(1).ack(1).data(b"GET"));
    assert_eq!(peer.told(), [Told::Accepted]);
    assert_eq!(peer.engine_reads(), b"GET");
    assert!(!info(&mut peer).syn_data);
}

/// Section 4.1.2: keys change; a cookie of the hour before is good, and replaced.
#[test]
fn cookies_expire() {
    let mut peer = server(2);
    let cookie = given_cookie(&mut peer);
    peer.wait(HOUR);
    peer.sends(seg("S").cookie(&cookie).data(b"GET"));
    let newer = cookie_of(&peer.expects(seg("SA").ack(4)));
    assert_ne!(newer, cookie);
    peer.sends(seg("R").seq(4));
    peer.wait(HOUR);
    peer.sends(seg("S").cookie(&cookie).data(b"GET"));
    peer.expects(seg("SA").ack(1));
    peer.port += 1;
    peer.sends(seg("S").cookie(&newer).data(b"GET"));
    peer.expects(seg("SA").ack(4));
}

/// Section 5.1: past the limit handshakes are ordinary ones. A RST does not make
/// room for another before a minute has passed; an ACK does at once.
#[test]
fn only_so_many_may_be_pending() {
    let mut peer = server(1);
    let cookie = given_cookie(&mut peer);
    let opens = |peer: &mut Peer| {
        peer.port += 1;
        peer.sends(seg("S").cookie(&cookie).data(b"GET"));
        let (header, _) = peer.takes_all().remove(0);
        peer.iss = Some(header.seq);
        Peer::relative(header.ack) == 4
    };
    assert!(opens(&mut peer));
    let (port, iss) = (peer.port, peer.iss);
    assert!(!opens(&mut peer));
    assert_eq!(peer.stats().tcp.fast_open_overflow, 1);
    (peer.port, peer.iss) = (port, iss);
    peer.sends(seg("A").seq(4).ack(1));
    peer.port += 1;
    assert!(opens(&mut peer), "the first is complete");
    // The host in whose name it was sent knows nothing of it.
    peer.sends(seg("R").seq(4));
    assert_eq!(peer.told().last(), Some(&Told::Closed(Closed::Reset)));
    assert!(!opens(&mut peer));
    peer.wait(Duration::from_secs(59));
    assert!(!opens(&mut peer));
    peer.wait(Duration::from_secs(2));
    peer.takes_all();
    assert!(opens(&mut peer));
}

/// RFC 7413 section 4.2.2: the SYN-ACK comes again without a cookie, and a SYN that
/// comes again is answered by it. What was sent early waits for its ACK.
#[test]
fn the_syn_ack_of_an_early_connection_comes_again() {
    let (mut peer, cookie) = early();
    peer.engine_sends(b"answer");
    peer.expects(seg("A").seq(1).ack(4).data(b"answer"));
    peer.wait_ms(1_001);
    peer.expects(seg("SA").ack(4));
    // The client has fallen back, and so has a duplicate of its first SYN.
    peer.sends(seg("S").mss(1_460));
    peer.expects(seg("SA").ack(4));
    peer.sends(seg("S").cookie(&cookie).data(b"GET"));
    peer.expects(seg("SA").ack(4));
    assert_eq!(peer.dropped(DropReason::Duplicate), 2);
    peer.sends(seg("A").seq(4).ack(1));
    assert_eq!(peer.state(), Some(State::Established));
    assert_eq!(peer.engine_reads(), b"GET", "once");
    peer.wait_ms(3_001);
    let again = peer.takes_all();
    assert_eq!(again.last().unwrap().1, b"answer");
}

#[test]
fn an_early_connection_that_nobody_acknowledges_is_given_up() {
    let (mut peer, _) = early();
    peer.engine_reads();
    peer.wait(Duration::from_secs(70));
    assert_eq!(peer.takes_all().len(), 5, "SYN-ACKs");
    assert_eq!(
        peer.told(),
        [Told::Accepted, Told::Closed(Closed::TimedOut)]
    );
    assert_eq!(peer.stats().tcp.attempt_fails, 2);
    peer.ends_clean();
}

/// RFC 9293 section 3.10.4: a FIN waits for the handshake, the answer does not.
#[test]
fn an_early_answer_may_be_the_last() {
    let (mut peer, _) = early();
    peer.engine_reads();
    peer.engine_sends(b"answer");
    peer.expects(seg("A").seq(1).ack(4).data(b"answer"));
    peer.engine_closes();
    peer.expects_nothing();
    peer.sends(seg("A").seq(4).ack(7));
    peer.expects(seg("FA").seq(7).ack(4));
    peer.sends(seg("FA").seq(4).ack(8));
    peer.expects(seg("A").seq(8).ack(5));
    peer.ends_clean();
}

#[test]
fn an_early_connection_can_be_aborted_and_its_listener_closed() {
    let (mut peer, _) = early();
    peer.engine_aborts();
    peer.expects(seg("RA").seq(1).ack(4));
    peer.sockets(|_, sockets| sockets.close_all_listeners());
    peer.ends_clean();

    let (mut peer, _) = early();
    peer.sockets(|_, sockets| sockets.close_all_listeners());
    peer.sends(seg("A").seq(4).ack(1));
    assert_eq!(peer.state(), Some(State::Established));
}

/// RFC 7323 section 2.2: the window of a SYN-ACK is not scaled, and says what is
/// left beside the data. The scale is answered even where ours is zero.
#[test]
fn the_syn_ack_offers_what_is_left_of_the_buffer() {
    let mut peer = server(2);
    let cookie = given_cookie(&mut peer);
    let syn = seg("S").mss(1_460).scale(3).cookie(&cookie);
    peer.sends(syn.win(2_920).data(b"GET"));
    peer.expects(seg("SA").ack(4).win(65_532).scale(0));
    peer.engine_sends(&[b'x'; 4 * 1_460]);
    assert_eq!(
        peer.takes_all().len(),
        2,
        "the window of a SYN is not scaled"
    );
    peer.sends(seg("A").seq(4).ack(2_921).win(365));
    assert_eq!(peer.takes_all().len(), 2);
}

fn connects() -> SocketOptions {
    SocketOptions::default()
        .with(SocketOption::FastOpenConnect(true))
        .unwrap()
}

/// A client that was given a cookie, in a connection that it has closed.
fn client() -> Peer {
    let mut peer = Peer::new().connecting_with(connects());
    let syn = peer.expects(seg("S"));
    assert!(syn.options.fast_open.unwrap().is_request());
    peer.sends(seg("SA").ack(1).mss(1_000).cookie(b"biscuits"));
    peer.expects(seg("A").seq(1).ack(1));
    peer.engine_aborts();
    peer.takes_all();
    peer
}

/// Connects, and sends in the same step.
fn sends_at_once(peer: &mut Peer, bytes: &[u8]) {
    let id = peer.sockets(|_, sockets| {
        let id = sockets.connect((PEER, PORT).into(), 7, connects()).unwrap();
        assert_eq!(sockets.send(id, bytes), Ok(bytes.len()));
        id
    });
    peer.shard
        .with_app(peer.now, |app, _| app.connection = Some(id));
}

/// Sections 4.1.3 and 4.2.2. The SYN waits for the first send.
#[test]
fn the_first_data_goes_with_the_syn() {
    let mut peer = client().connecting_with(connects());
    peer.wait(HOUR);
    peer.expects_nothing();
    peer.engine_sends(b"GET");
    let syn = peer.expects(seg("S").data(b"GET"));
    assert_eq!(cookie_of(&syn), b"biscuits");
    peer.sends(seg("SA").ack(4).mss(1_000));
    peer.expects(seg("A").seq(4).ack(1));
    assert_eq!(peer.told().last(), Some(&Told::Connected));
    let id = peer.id();
    assert_eq!(peer.sockets(|_, sockets| sockets.unacknowledged(id)), 0);
    assert!(info(&mut peer).syn_data);
    let tcp = peer.stats().tcp;
    assert_eq!((tcp.fast_open_active, tcp.fast_open_active_fail), (1, 0));
    assert_eq!(
        (tcp.bytes_sent, tcp.bytes_acked, tcp.retransmits),
        (3, 3, 0)
    );
    peer.sends(seg("PA").seq(1).ack(4).data(b"answer"));
    assert_eq!(peer.engine_reads(), b"answer");
    peer.engine_sends(b"GET");
    peer.expects(seg("A").seq(4).ack(7).data(b"GET"));
}

/// Section 4.2.2: as much as the server's MSS holds beside options; the rest
/// follows the handshake.
#[test]
fn what_does_not_fit_the_syn_follows_it() {
    let mut peer = client();
    // Whatever the options are: there is room for all that a header can have.
    let in_syn = 1_000 - 40;
    sends_at_once(&mut peer, &vec![b'x'; in_syn + 2_000]);
    peer.expects(seg("S").len(in_syn));
    let acked = 1 + u32::try_from(in_syn).unwrap();
    peer.sends(seg("SA").ack(acked).mss(1_000));
    peer.expects(seg("A").seq(acked).ack(1).len(1_000));
    peer.expects(seg("A").seq(acked + 1_000).ack(1).len(1_000));
    peer.sends(seg("A").seq(1).ack(acked + 2_000));
    assert_eq!(peer.stats().tcp.bytes_sent, u64::from(acked) - 1 + 2_000);
}

/// Sections 4.1.3.1 and 4.2.2: the data goes again at once, and is not tried with a
/// SYN for a while, but for a server that gives a new cookie.
#[test]
fn data_that_the_syn_ack_does_not_cover_goes_again() {
    let mut peer = client();
    sends_at_once(&mut peer, b"GET");
    peer.expects(seg("S").data(b"GET"));
    peer.sends(seg("SA").ack(1).mss(1_000).cookie(b"crackers"));
    peer.expects(seg("A").seq(1).ack(1).data(b"GET"));
    assert!(!info(&mut peer).syn_data);

    sends_at_once(&mut peer, b"GET");
    let syn = peer.expects(seg("S").data(b"GET"));
    assert_eq!(cookie_of(&syn), b"crackers");
    peer.sends(seg("SA").ack(1).mss(1_000));
    peer.expects(seg("A").seq(1).ack(1).data(b"GET"));
    assert_eq!(peer.stats().tcp.fast_open_active_fail, 2);

    sends_at_once(&mut peer, b"GET");
    assert_eq!(peer.expects(seg("S")).options.fast_open, None);
    peer.sends(seg("SA").ack(1).mss(1_000));
    peer.expects(seg("A").seq(1).ack(1).data(b"GET"));
}

/// A server may take a part.
#[test]
fn a_part_of_the_data_in_the_syn_may_be_taken() {
    let mut peer = client();
    sends_at_once(&mut peer, b"GET /");
    peer.expects(seg("S").data(b"GET /"));
    peer.sends(seg("SA").ack(3).mss(1_000));
    peer.expects(seg("A").seq(3).ack(1).data(b"T /"));
    peer.sends(seg("A").seq(1).ack(6));
    let tcp = peer.stats().tcp;
    assert_eq!((tcp.bytes_sent, tcp.bytes_acked), (5, 5));
}

/// Section 4.1.3.1: something on the way may drop such SYNs. It costs one timeout,
/// and not one for each connection.
#[test]
fn a_syn_that_is_not_answered_goes_again_without_fast_open() {
    let mut peer = client();
    sends_at_once(&mut peer, b"GET");
    peer.expects(seg("S").data(b"GET"));
    peer.wait_ms(1_001);
    assert_eq!(peer.expects(seg("S")).options.fast_open, None);
    peer.sends(seg("SA").ack(1).mss(1_000));
    peer.expects(seg("A").seq(1).ack(1).data(b"GET"));
    assert_eq!(peer.stats().tcp.fast_open_active_fail, 1);

    peer.wait(Duration::from_secs(50));
    peer.takes_all();
    sends_at_once(&mut peer, b"GET");
    assert_eq!(peer.expects(seg("S")).options.fast_open, None);
    peer.sends(seg("SA").ack(1).mss(1_000));
    peer.expects(seg("A").seq(1).ack(1).data(b"GET"));
    peer.wait(Duration::from_secs(11));
    peer.takes_all();
    sends_at_once(&mut peer, b"GET");
    peer.expects(seg("S").data(b"GET"));
}

/// The SYN-ACK was only slow, or lost: what it acknowledges is taken all the same.
#[test]
fn a_late_syn_ack_of_the_data_is_one() {
    let mut peer = client();
    sends_at_once(&mut peer, b"GET");
    peer.expects(seg("S").data(b"GET"));
    peer.wait_ms(1_001);
    peer.expects(seg("S"));
    peer.sends(seg("SA").ack(4).mss(1_000));
    peer.expects(seg("A").seq(4).ack(1));
    assert_eq!(peer.stats().tcp.bytes_acked, 3);
    sends_at_once(&mut peer, b"GET");
    peer.expects(seg("S").data(b"GET"));
    // And what was never sent is not.
    peer.sends(seg("SA").ack(5).mss(1_000));
    peer.expects(seg("R").seq(5));
    assert_eq!(peer.state(), Some(State::SynSent));
}

/// A request that is not answered is not made again for a while; a server without
/// Fast Open is asked each time.
#[test]
fn a_request_may_stay_without_an_answer() {
    let mut peer = Peer::new().connecting_with(connects());
    assert!(peer.expects(seg("S")).options.fast_open.is_some());
    peer.sends(seg("SA").ack(1));
    peer.expects(seg("A").seq(1).ack(1));
    let mut peer = peer.connecting_with(connects());
    assert!(peer.expects(seg("S")).options.fast_open.is_some());
    peer.wait_ms(1_001);
    assert_eq!(peer.expects(seg("S")).options.fast_open, None);
    peer.sends(seg("SA").ack(1));
    peer.expects(seg("A").seq(1).ack(1));
    let mut peer = peer.connecting_with(connects());
    assert_eq!(peer.expects(seg("S")).options.fast_open, None);
}

/// Section 4.1.3.1: an ICMP error, here of a filter, is a refusal as well.
#[test]
fn an_icmp_error_ends_fast_open_for_a_while() {
    let mut peer = client();
    sends_at_once(&mut peer, b"GET");
    let syn = peer.expects(seg("S").data(b"GET"));
    let error = crate::peer::icmp_error([(3, 13), (1, 1)], 0, &quoted(&peer, syn.seq), 0);
    peer.arrives(&error);
    peer.wait_ms(0);
    assert_eq!(peer.told().last(), Some(&Told::Closed(Closed::Unreachable)));
    sends_at_once(&mut peer, b"GET");
    assert_eq!(peer.expects(seg("S")).options.fast_open, None);
}

/// What is not sent yet is given up by a close; and it is too late for the options
/// once there is a connection.
#[test]
fn a_connect_that_waits_can_be_closed() {
    let mut peer = client().connecting_with(connects());
    let id = peer.id();
    peer.sockets(|_, sockets| {
        for option in [
            SocketOption::FastOpen(1),
            SocketOption::FastOpenConnect(false),
        ] {
            let set = sockets.set_option(id, option);
            assert_eq!(set, Err(OptionError::Invalid));
        }
        // Another option does not let it go.
        sockets.set_option(id, SocketOption::NoDelay(true)).unwrap();
    });
    peer.expects_nothing();
    peer.engine_closes();
    peer.ends_clean();

    let mut peer = server(1);
    peer.sockets(|app, sockets| {
        let listener = app.listener.unwrap();
        let connect = SocketOption::FastOpenConnect(true);
        let set = sockets.set_listener_option(listener, connect);
        assert_eq!(set, Err(OptionError::Invalid));
        let off = SocketOption::FastOpen(0);
        sockets.set_listener_option(listener, off).unwrap();
    });
    peer.sends(seg("S").cookie(&[]));
    assert_eq!(peer.expects(seg("SA").ack(1)).options.fast_open, None);
}

/// RFC 9293 section 3.5, figure 7: both SYNs cross, ours with data.
#[test]
fn simultaneous_open_with_data_in_the_syn() {
    for taken in [0, 3] {
        let mut peer = client();
        sends_at_once(&mut peer, b"GET");
        peer.expects(seg("S").data(b"GET"));
        peer.sends(seg("S").mss(1_000));
        peer.expects(seg("SA").ack(1));
        peer.sends(seg("A").seq(1).ack(1 + taken));
        assert_eq!(peer.state(), Some(State::Established));
        if taken == 0 {
            peer.expects(seg("A").seq(1).ack(1).data(b"GET"));
        }
        peer.expects_nothing();
    }
}
