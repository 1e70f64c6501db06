//! Data: acknowledgment, windows, Nagle, reassembly (RFC 9293 section 3.8).

use crate::peer::{Peer, Told, seg};
use ringmill_core::sockets::{SocketError, SocketOptions};
use ringmill_core::stats::DropReason;
use ringmill_core::tcp::State;
use ringmill_core::time::Duration;

/// RFC 9293 section 3.8.6.3: a single segment may wait, 40 ms here; the second
/// full-sized one is acknowledged at once.
/// MUST-40: less than 0.5 s. SHLD-18, SHLD-19.
#[test]
fn acknowledgments_wait_for_company_but_not_long() {
    let mut peer = Peer::established();
    peer.sends(seg("A").seq(1).ack(1).len(1_460));
    peer.expects_nothing();
    peer.wait_ms(39);
    peer.expects_nothing();
    peer.wait_ms(2);
    peer.expects(seg("A").seq(1).ack(1_461));
    peer.sends(seg("A").seq(1_461).ack(1).len(1_460));
    peer.expects_nothing();
    peer.sends(seg("A").seq(2_921).ack(1).len(1_460));
    peer.expects(seg("A").seq(1).ack(4_381));
}

/// RFC 9293 section 3.10.7.4 (MUST-58, MUST-59): one ACK for all of a batch.
#[test]
fn a_batch_is_acknowledged_once() {
    let mut peer = Peer::established();
    for n in 0..8 {
        peer.sends_without_pause(seg("A").seq(1 + n * 1_000).ack(1).len(1_000));
    }
    peer.sends(seg("PA").seq(8_001).ack(1).len(1_000));
    peer.expects(seg("A").seq(1).ack(9_001));
    peer.expects_nothing();
    assert_eq!(peer.engine_reads().len(), 9_000);
}

/// RFC 9293 section 3.7.4 (SHLD-7, MUST-17).
#[test]
fn nagle_holds_a_small_segment_while_one_is_out_and_nodelay_does_not() {
    let mut peer = Peer::established();
    peer.engine_sends(b"one");
    peer.expects(seg("A").seq(1).ack(1).data(b"one"));
    peer.engine_sends(b"two");
    peer.engine_sends(b"three");
    peer.expects_nothing();
    peer.sends(seg("A").seq(1).ack(4));
    peer.expects(seg("A").seq(4).ack(1).data(b"twothree"));

    let mut peer = Peer::new();
    peer.sockets(|_, sockets| {
        sockets
            .listen(
                None,
                80,
                2,
                SocketOptions {
                    nodelay: true,
                    ..SocketOptions::default()
                },
            )
            .unwrap()
    });
    let mut peer = peer.handshake();
    peer.engine_sends(b"one");
    peer.expects(seg("A").seq(1).ack(1).data(b"one"));
    peer.engine_sends(b"two");
    peer.expects(seg("A").seq(4).ack(1).data(b"two"));
}

/// RFC 9293 section 3.8.6.1 (MUST-35, MUST-36, MUST-37, SHLD-29, SHLD-30): a closed window is
/// probed at growing intervals for as long as the probes are answered.
/// MUST-36 and MUST-37. Attack case 36: it goes on while probes are answered.
#[test]
fn a_closed_window_is_probed_and_the_connection_stays_open() {
    let mut peer = Peer::established();
    peer.sends(seg("A").seq(1).ack(1).win(0));
    peer.engine_sends(b"waiting");
    peer.expects_nothing();
    let mut waited = Vec::new();
    let mut last = peer.now;
    while waited.len() < 30 {
        peer.wait_ms(100);
        if let Some((probe, data)) = peer.takes_all().first() {
            assert_eq!((probe.seq, data.len()), (peer.iss.unwrap() + 1, 1));
            waited.push(peer.now.since(last).as_millis());
            last = peer.now;
            peer.sends(seg("A").seq(1).ack(1).win(0));
        }
    }
    assert!(
        waited.is_sorted() && waited[0] <= 300 && waited[29] >= 60_000,
        "{waited:?}"
    );
    peer.sends(seg("A").seq(1).ack(1).win(100));
    peer.expects(seg("A").seq(1).ack(1).data(b"waiting"));
    assert_eq!(peer.state(), Some(State::Established));
}

/// Attack case 36: it ends when they are not.
#[test]
fn probes_that_nobody_answers_end_the_connection() {
    let mut peer = Peer::established();
    peer.sends(seg("A").seq(1).ack(1).win(0));
    peer.engine_sends(b"waiting");
    peer.wait_ms(3_600_000);
    assert_eq!(peer.stats().tcp.timeouts, 1);
    peer.takes_all();
    peer.ends_clean();
}

/// RFC 9293 section 3.8.6 (MUST-34): the window shrinks below what is in flight.
/// Attack case 47.
#[test]
fn a_window_that_shrinks_stops_new_data_only() {
    let mut peer = Peer::established();
    peer.engine_sends(&[b'x'; 4_380]);
    for seq in [1, 1_461, 2_921] {
        peer.expects(seg("A").seq(seq).ack(1).len(1_460));
    }
    peer.sends(seg("A").seq(1).ack(1_461).win(1_000));
    peer.engine_sends(&[b'x'; 100]);
    peer.expects_nothing();
    peer.sends(seg("A").seq(1).ack(4_381).win(1_000));
    peer.expects(seg("A").seq(4_381).ack(1).len(100));
}

/// RFC 9293 section 3.8.6.2.2 (MUST-39): the window opens in steps worth a segment.
/// MAY-8: until then it stays closed.
#[test]
fn the_receiver_opens_its_window_in_steps_that_are_worth_it() {
    let mut peer = Peer::with(|config| {
        config.tcp.timestamps = false;
        config.tcp.receive_buffer = 8_000;
    })
    .listening()
    .handshake();
    for n in 0..8 {
        peer.sends(seg("A").seq(1 + n * 1_000).ack(1).len(1_000));
    }
    peer.wait_ms(50);
    let last = peer.takes_all().pop().unwrap().0;
    assert_eq!((last.window, Peer::relative(last.ack)), (0, 8_001), "full");
    // Data into a full buffer is a probe: it is answered and not taken.
    peer.sends(seg("A").seq(8_001).ack(1).len(1));
    peer.expects(seg("A").seq(1).ack(8_001).win(0));
    let id = peer.id();
    peer.sockets(|_, sockets| sockets.consume(id, 500));
    peer.expects_nothing();
    peer.sockets(|_, sockets| sockets.consume(id, 3_000));
    peer.expects(seg("A").seq(1).ack(8_001).win(3_500));
}

/// RFC 9293 section 3.8.6.2.1 (MUST-38): no dribble into a dribbling window.
#[test]
fn the_sender_does_not_fill_small_openings() {
    let mut peer = Peer::established();
    peer.sends(seg("A").seq(1).ack(1).win(2_960));
    // 40 bytes of window are left for the 80 that wait.
    peer.engine_sends(&[b'x'; 3_000]);
    peer.expects(seg("A").seq(1).ack(1).len(1_460));
    peer.expects(seg("A").seq(1_461).ack(1).len(1_460));
    peer.expects_nothing();
}

/// Out of order, overlapping and repeated: the first copy of a byte is kept, and
/// every such segment is acknowledged at once (RFC 5681 section 3.2).
/// SHLD-31: they are held. MAY-13.
#[test]
fn segments_out_of_order_are_put_together() {
    let mut peer = Peer::established();
    peer.sends(seg("A").seq(5).ack(1).data(b"EFGH"));
    peer.expects(seg("A").seq(1).ack(1));
    peer.sends(seg("A").seq(13).ack(1).data(b"MNOP"));
    peer.expects(seg("A").seq(1).ack(1));
    peer.sends(seg("A").seq(3).ack(1).data(b"CDefghIJ"));
    peer.expects(seg("A").seq(1).ack(1));
    peer.sends(seg("A").seq(7).ack(1).data(b"ghIJKLm"));
    peer.expects(seg("A").seq(1).ack(1));
    peer.sends(seg("A").seq(1).ack(1).data(b"ABc"));
    let acks = peer.takes_all().len();
    assert_eq!(peer.engine_reads(), b"ABCDEFGHIJKLMNOP");
    assert_eq!(acks, 1, "the gap is filled: acknowledged at once");
}

/// A FIN past a gap waits for the gap.
#[test]
fn a_fin_out_of_order_counts_when_its_turn_comes() {
    let mut peer = Peer::established();
    peer.sends(seg("FA").seq(6).ack(1));
    peer.expects(seg("A").seq(1).ack(1));
    assert_eq!(peer.state(), Some(State::Established));
    peer.sends(seg("A").seq(1).ack(1).data(b"hello"));
    peer.expects(seg("A").seq(1).ack(7));
    assert_eq!(peer.state(), Some(State::CloseWait));
}

/// CVE-2018-5390: thousands of one-byte segments with gaps between them.
#[test]
fn reassembly_is_bounded_and_keeps_no_frame_hostage() {
    let mut peer = Peer::established();
    for n in 0..5_000 {
        peer.sends_without_pause(seg("A").seq(3 + 2 * n).ack(1).data(b"x"));
    }
    peer.sends(seg("A").seq(1).ack(1).data(b"a"));
    assert!(
        peer.shard.gauges().chunks <= 513,
        "{:?}",
        peer.shard.gauges()
    );
    assert_eq!(peer.shard.gauges().held_frames, 64);
    assert!(peer.dropped(DropReason::ReassemblyFull) > 4_000);
    peer.sends(seg("R").seq(2));
    peer.takes_all();
    peer.ends_clean();
}

/// RFC 7323 section 5: an older timestamp is answered and dropped; without one a
/// segment of a connection that negotiated them is dropped (section 3.2).
#[test]
fn old_timestamps_and_missing_ones_are_refused() {
    let mut peer = Peer::with(|_| ()).listening();
    peer.sends(seg("S").mss(1_460).ts(1_000, 0));
    peer.expects(seg("SA").ack(1).ts(0, 0));
    peer.sends(seg("A").seq(1).ack(1).ts(1_001, 0));
    peer.sends(seg("A").seq(1).ack(1).ts(999, 0).data(b"old"));
    peer.expects(seg("A").seq(1).ack(1).ts(0, 0));
    peer.sends(seg("A").seq(1).ack(1).data(b"bare"));
    peer.expects_nothing();
    assert_eq!(peer.dropped(DropReason::Paws), 2);
    // A timestamp from beyond the left edge is not taken over (section 4.3).
    peer.sends(seg("A").seq(100).ack(1).ts(9_000, 0).data(b"ahead"));
    let ack = peer.takes_all().pop().unwrap().0;
    assert_eq!(ack.options.timestamps.unwrap().echo, 1_001);
    peer.sends(seg("A").seq(1).ack(1).ts(1_002, 0).data(b"new"));
    peer.wait_ms(50);
    let ack = peer.takes_all().pop().unwrap().0;
    assert_eq!(ack.options.timestamps.unwrap().echo, 1_002);
}

#[test]
fn a_full_send_buffer_would_block_and_says_when_it_no_longer_does() {
    let mut peer = Peer::with(|config| {
        config.tcp.timestamps = false;
        config.tcp.send_buffer = 10_000;
    })
    .listening()
    .handshake();
    let id = peer.id();
    assert_eq!(
        peer.sockets(|_, sockets| sockets.send(id, &[b'x'; 20_000])),
        Ok(10_000)
    );
    assert_eq!(
        peer.sockets(|_, sockets| sockets.send(id, b"x")),
        Err(SocketError::WouldBlock)
    );
    // Six full segments and the rest.
    assert_eq!(peer.takes_all().len(), 7);
    peer.sends(seg("A").seq(1).ack(8_761));
    assert_eq!(peer.sockets(|_, sockets| sockets.send(id, b"x")), Ok(1));
}

/// An application that fills the send buffer is called again when a good part of it is
/// free; but where all that it holds is in flight, when a segment's worth is: what is
/// acknowledged last in a round trip is not to lie idle for the next.
#[test]
fn a_send_buffer_that_is_all_in_flight_is_filled_a_segment_at_a_time() {
    let mut peer = Peer::with(|config| {
        config.tcp.timestamps = false;
        config.tcp.send_buffer = 44 * 1_460;
    })
    .listening()
    .handshake();
    let id = peer.id();
    let fill = |peer: &mut Peer| {
        peer.sockets(|app, sockets| {
            app.told.clear();
            while sockets.send(id, &[b'x'; 1_460]).is_ok() {}
        });
    };
    fill(&mut peer);
    // In slow start most of it waits: a sixteenth is three segments.
    assert_eq!(peer.takes_all().len(), 10);
    peer.sends(seg("A").seq(1).ack(2_921));
    assert_eq!(peer.told(), []);
    peer.sends(seg("A").seq(1).ack(5_841));
    assert_eq!(peer.told(), [Told::Writable]);
    fill(&mut peer);
    let mut acked = 5_841;
    while acked < 60_000 {
        acked += 2_920;
        peer.sends(seg("A").seq(1).ack(acked));
        fill(&mut peer);
    }
    peer.takes_all();
    // Now the congestion window is past what the buffer holds.
    peer.sends(seg("A").seq(1).ack(acked + 1_459));
    assert_eq!(peer.told(), []);
    peer.sends(seg("A").seq(1).ack(acked + 1_460));
    assert_eq!(peer.told(), [Told::Writable]);
    fill(&mut peer);
    peer.expects(seg("A").seq(acked + 44 * 1_460).ack(1).len(1_460));
}

/// A new connection's first segments can be acknowledged at once, as Linux does it
/// for the peer's slow start; those after them wait for a second one.
#[test]
fn the_first_acknowledgments_can_be_quick() {
    let mut peer = Peer::with(|config| {
        config.tcp.timestamps = false;
        config.tcp.quick_acks = 2;
    })
    .listening()
    .handshake();
    peer.sends(seg("A").seq(1).ack(1).data(b"a"));
    peer.expects(seg("A").seq(1).ack(2));
    peer.sends(seg("A").seq(2).ack(1).data(b"b"));
    peer.expects(seg("A").seq(1).ack(3));
    peer.sends(seg("A").seq(3).ack(1).data(b"c"));
    peer.expects_nothing();
    peer.wait_ms(50);
    peer.expects(seg("A").seq(1).ack(4));
}

/// A window that the field can't tell is not announced: reading calls for no
/// segment where the peer does not scale (RFC 7323 section 2.2).
#[test]
fn without_scaling_a_large_buffer_calls_for_no_updates() {
    let mut peer = Peer::with(|config| {
        config.tcp.timestamps = false;
        config.tcp.receive_buffer = 1 << 20;
    })
    .listening()
    .handshake();
    peer.sends(seg("A").seq(1).ack(1).data(b"read"));
    peer.wait_ms(50);
    peer.expects(seg("A").seq(1).ack(5).win(65_531));
    assert_eq!(peer.engine_reads(), b"read");
    peer.expects_nothing();
}

/// A gap is filled by a segment of an older sequence number than the last one. Its
/// window is the newest all the same, for its acknowledgment is.
#[test]
fn the_window_of_a_newer_acknowledgment_counts_on_older_data() {
    let mut peer = Peer::established();
    peer.sends(seg("A").seq(11).ack(1).win(1_460).len(10));
    peer.expects(seg("A").seq(1).ack(1));
    peer.engine_sends(&[b'x'; 2_920]);
    peer.expects(seg("A").seq(1).ack(1).len(1_460));
    peer.sends(seg("A").seq(1).ack(1_461).win(100).len(10));
    peer.expects(seg("A").seq(1_461).ack(21));
    peer.expects_nothing();
}

/// RFC 7323 section 2.4: rounding the window up to its unit, segment by segment,
/// offers no more than the buffer has.
#[test]
fn small_segments_do_not_talk_the_window_past_the_buffer() {
    let mut peer = Peer::with(|config| {
        config.tcp.timestamps = false;
        config.tcp.receive_buffer = 8 * 32_768;
    })
    .listening();
    peer.sends(seg("S").win(65_535).mss(1_460).scale(0));
    peer.expects(seg("SA").ack(1).scale(3));
    peer.sends(seg("A").seq(1).ack(1).win(65_535));
    for n in 0..800 {
        peer.sends(seg("A").seq(1 + n).ack(1).win(65_535).len(1));
        peer.wait_ms(50);
    }
    let (last, _) = peer.takes_all().pop().unwrap();
    assert_eq!(last.window, 32_768 - 800 / 8);
    // What was offered once is still taken.
    assert_eq!(peer.engine_reads().len(), 800);
}

/// An acknowledgment that is due and can't leave, because the next hop no longer
/// answers, is lost as on the wire: it is not due again and again.
#[test]
fn an_acknowledgment_that_can_t_leave_is_due_once() {
    let mut peer = Peer::established();
    peer.answers_neighbors = false;
    peer.wait_ms(31_000);
    peer.sends(seg("A").seq(1).ack(1).len(10));
    peer.wait_ms(5_000);
    peer.takes_all();
    peer.sends(seg("A").seq(11).ack(1).len(10));
    peer.now += Duration::from_millis(50);
    peer.sockets(|_, _| ());
    let next = peer.shard.next_deadline();
    assert!(next.is_none_or(|next| next > peer.now), "{next:?}");
}

/// Reading on tells the peer nothing while it has room enough (RFC 9293 section
/// 3.8.6.2.2).
#[test]
fn a_window_that_is_wide_open_is_not_told() {
    let mut peer = Peer::established();
    for n in 0..4 {
        peer.sends(seg("A").seq(1 + n * 1_460).ack(1).len(1_460));
    }
    peer.takes_all();
    assert_eq!(peer.engine_reads().len(), 5_840);
    peer.expects_nothing();
    for n in 4..30 {
        peer.sends(seg("A").seq(1 + n * 1_460).ack(1).len(1_460));
    }
    assert!(peer.takes_all().pop().unwrap().0.window < 30_000);
    peer.engine_reads();
    assert_eq!(peer.takes_all().pop().unwrap().0.window, 65_535);
}

/// What can be asked of the time (TCP_INFO).
#[test]
fn the_time_since_data_came_can_be_asked() {
    let mut peer = Peer::established();
    let since = |peer: &mut Peer| {
        let id = peer.id();
        let info = peer.sockets(|_, sockets| sockets.info(id)).unwrap();
        info.since_received.as_millis()
    };
    peer.wait_ms(1_000);
    assert_eq!(since(&mut peer), 1_000, "since the handshake");
    peer.sends(seg("A").seq(1).ack(1).data(b"x"));
    assert_eq!(since(&mut peer), 0);
    peer.wait_ms(300);
    assert_eq!(since(&mut peer), 300);
}
