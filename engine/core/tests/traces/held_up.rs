//! TCP_INFO's account of what holds a sender up.

use crate::peer::{Peer, seg};
use ringmill_core::sockets::{HeldUp, SocketError};
use ringmill_core::time::Duration;

const MSS: u32 = 1_460;

fn established(send_buffer: u32) -> Peer {
    let config = |config: &mut ringmill_core::stack::Config| {
        config.tcp.timestamps = false;
        config.tcp.send_buffer = send_buffer;
    };
    Peer::with(config).listening().handshake()
}

/// Milliseconds busy, held up by the window and held up by the buffer.
fn held_up(peer: &mut Peer) -> [u128; 3] {
    let id = peer.id();
    let info = peer.sockets(|_, sockets| sockets.info(id)).unwrap();
    let HeldUp {
        busy,
        window,
        buffer,
    } = info.held_up;
    [busy, window, buffer].map(|length: Duration| length.as_millis())
}

/// The peer's window counts while it is in the way, closed or too small for what waits.
#[test]
fn time_that_the_window_took_is_told_apart() {
    let mut peer = established(1 << 16);
    peer.sends(seg("A").seq(1).ack(1).win(0));
    peer.engine_sends(&[b'x'; 2 * MSS as usize]);
    peer.wait_ms(100);
    assert_eq!(held_up(&mut peer), [100, 100, 0]);
    peer.sends(seg("A").seq(1).ack(1).win(2_000));
    peer.expects(seg("A").seq(1).ack(1).len(MSS as usize));
    peer.wait_ms(50);
    assert_eq!(held_up(&mut peer), [150, 150, 0]);
    peer.sends(seg("A").seq(1).ack(1 + MSS));
    peer.expects(seg("A").seq(1 + MSS).ack(1).len(MSS as usize));
    peer.wait_ms(30);
    assert_eq!(held_up(&mut peer), [180, 150, 0]);
}

/// The send buffer counts where all that it holds was sent, the congestion window has
/// room for more and the application waits to write.
#[test]
fn time_that_the_send_buffer_took_is_told_apart() {
    let mut peer = established(4 * MSS);
    let id = peer.id();
    let written = peer.sockets(|_, sockets| {
        let bytes = [b'x'; 4 * MSS as usize];
        assert_eq!(sockets.send(id, &bytes), Ok(bytes.len()));
        sockets.send(id, b"more")
    });
    assert_eq!(written, Err(SocketError::WouldBlock));
    assert_eq!(peer.takes_all().len(), 4);
    peer.wait_ms(40);
    assert_eq!(held_up(&mut peer), [40, 0, 40]);
    // There is room, and the application writes nothing.
    peer.sends(seg("A").seq(1).ack(1 + 2 * MSS));
    peer.wait_ms(20);
    assert_eq!(held_up(&mut peer), [60, 0, 40]);
}

/// Neither is blamed for what the network takes.
#[test]
fn a_full_congestion_window_is_the_networks() {
    let mut peer = established(20 * MSS);
    let id = peer.id();
    peer.engine_sends(&[b'x'; 20 * MSS as usize]);
    let written = peer.sockets(|_, sockets| sockets.send(id, b"more"));
    assert_eq!(written, Err(SocketError::WouldBlock));
    assert_eq!(peer.takes_all().len(), 10);
    peer.wait_ms(40);
    assert_eq!(held_up(&mut peer), [40, 0, 0]);
}

/// What was delivered to its end is forgotten, so a connection that rests has nothing to
/// keep; of a lone segment nothing is counted.
#[test]
fn a_connection_that_rests_has_no_account() {
    let mut peer = established(1 << 16);
    peer.engine_sends(b"request");
    peer.expects(seg("A").seq(1).ack(1).data(b"request"));
    peer.wait_ms(20);
    assert_eq!(held_up(&mut peer), [0, 0, 0]);
    peer.sends(seg("A").seq(1).ack(8).win(0));
    peer.engine_sends(b"more");
    peer.wait_ms(30);
    assert_eq!(held_up(&mut peer), [30, 30, 0]);
    peer.sends(seg("A").seq(1).ack(8));
    peer.expects(seg("A").seq(8).ack(1).data(b"more"));
    peer.sends(seg("A").seq(1).ack(12));
    assert_eq!(held_up(&mut peer), [0, 0, 0]);
}
