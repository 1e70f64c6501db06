//! What a SYN of the engine has said of its window holds, whatever becomes of the
//! options that it was made by: the peer reads every later window by that scale (RFC
//! 7323 section 2.2).

use crate::peer::{Peer, seg};
use ringmill_core::sockets::{SocketOption, SocketOptions};
use ringmill_core::tcp::SynCookies;

/// A receive buffer when the SYN leaves and its scale, the buffer that is set before the
/// handshake is complete, and the window that four bytes leave of the first.
const CASES: [(u32, u8, u32, u16); 2] = [
    (65_535, 0, 1 << 20, 65_531),
    (1 << 20, 5, 65_535, 1 << (20 - 5)),
];

fn buffer(bytes: u32) -> SocketOptions {
    SocketOptions::default()
        .with(SocketOption::ReceiveBuffer(bytes))
        .unwrap()
}

fn server(cookies: SynCookies, bytes: u32) -> Peer {
    Peer::with(|config| config.tcp.syn_cookies = cookies).listening_with(buffer(bytes))
}

fn set_on_listener(peer: &mut Peer, option: SocketOption) {
    peer.sockets(|app, sockets| {
        let listener = app.listener.unwrap();
        sockets.set_listener_option(listener, option).unwrap();
    });
}

/// The window that the engine tells when four bytes have come, unread.
fn told_window(peer: &mut Peer) -> u16 {
    peer.wait_ms(50);
    peer.takes_all().pop().unwrap().0.window
}

/// A connection has the options of its listener from when its SYN came; with a cookie
/// nothing is kept of the SYN, so the cookie tells which they were.
#[test]
fn a_listeners_new_buffer_is_not_for_handshakes_under_way() {
    for cookies in [SynCookies::Never, SynCookies::Always] {
        for (first, scale, then, window) in CASES {
            let mut peer = server(cookies, first);
            peer.sends(seg("S").mss(1_460).scale(7).ts(1, 0));
            let syn_ack = peer.expects(seg("SA").ack(1).scale(scale).ts(0, 0));
            set_on_listener(&mut peer, SocketOption::ReceiveBuffer(then));
            // It says nothing of the window.
            set_on_listener(&mut peer, SocketOption::NoDelay(true));
            let echo = syn_ack.options.timestamps.unwrap().value;
            peer.sends(seg("A").seq(1).ack(1).ts(2, echo).len(4));
            let case = format!("{cookies:?} {first} {then}");
            assert_eq!(told_window(&mut peer), window, "{case}");
            let id = peer.id();
            let info = peer.sockets(|_, sockets| sockets.info(id)).unwrap();
            assert_eq!(info.scales, (7, scale), "{case}");
        }
    }
}

/// The options before are known as long as a cookie is good that they made; what was
/// set twice since is not.
#[test]
fn a_cookie_outlives_one_change_of_the_window() {
    let mut peer = server(SynCookies::Always, 65_535);
    for (changes, is_opened) in [(0, true), (1, true), (2, false)] {
        (peer.port, peer.iss) = (peer.port + 1, None);
        peer.sends(seg("S").mss(1_460).scale(7).ts(1, 0));
        let syn_ack = peer.expects(seg("SA").ack(1).ts(0, 0));
        for n in 1..=changes {
            let bytes = (n * 1_000_000) << changes;
            set_on_listener(&mut peer, SocketOption::ReceiveBuffer(bytes));
        }
        let echo = syn_ack.options.timestamps.unwrap().value;
        let before = peer.told().len();
        peer.sends(seg("A").seq(1).ack(1).ts(2, echo).len(4));
        assert_eq!(peer.told().len() > before, is_opened, "{changes} changes");
    }
}

/// SO_RCVBUF of a connection that is opening.
#[test]
fn a_connections_new_buffer_changes_no_scale_that_was_offered() {
    for (first, scale, then, _) in CASES {
        let mut peer = Peer::new().connecting_with(buffer(first));
        peer.expects(seg("S").scale(scale));
        let id = peer.id();
        let option = SocketOption::ReceiveBuffer(then);
        peer.sockets(|_, sockets| sockets.set_option(id, option))
            .unwrap();
        // The SYN again is the same.
        peer.wait_ms(1_100);
        peer.expects(seg("S").scale(scale));
        peer.sends(seg("SA").ack(1).scale(7).win(1_000));
        peer.expects(seg("A").seq(1).ack(1));
        peer.sends(seg("A").seq(1).ack(1).len(4));
        let window = u32::from(told_window(&mut peer)) << scale;
        assert!(
            (65_531..65_531 + (1 << scale)).contains(&window),
            "{window}"
        );
    }
}

/// The same of one that was accepted with its SYN (RFC 7413), whose SYN-ACK goes again.
#[test]
fn an_early_connections_new_buffer_changes_no_scale_that_was_offered() {
    for (first, scale, then, _) in CASES {
        let options = buffer(first).with(SocketOption::FastOpen(1)).unwrap();
        let mut peer = Peer::new().listening_with(options);
        peer.sends(seg("S").mss(1_460).cookie(&[]));
        let syn_ack = peer.expects(seg("SA").ack(1));
        let cookie = syn_ack.options.fast_open.unwrap();
        peer.sends(seg("R").seq(1));
        (peer.port, peer.iss) = (peer.port + 1, None);
        let syn = seg("S").mss(1_460).scale(7).cookie(cookie.as_slice());
        peer.sends(syn.data(b"data"));
        peer.expects(seg("SA").ack(5).scale(scale));
        let id = peer.id();
        let option = SocketOption::ReceiveBuffer(then);
        peer.sockets(|_, sockets| sockets.set_option(id, option))
            .unwrap();
        peer.wait_ms(1_100);
        peer.expects(seg("SA").ack(5).scale(scale));
    }
}
