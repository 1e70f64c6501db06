//! Closing and resetting (RFC 9293 section 3.6, RFC 5961, RFC 1337, RFC 6191).

use crate::peer::{PEER, PORT, Peer, Seg, Told, seg};
use ringmill_core::sockets::{Closed, SocketError, SocketOptions};
use ringmill_core::stats::DropReason;
use ringmill_core::tcp::State;
use ringmill_core::time::Duration;
use ringmill_core::wire::tcp::Flags;

/// RFC 9293 section 3.6, figure 12.
/// MUST-13: TIME-WAIT lasts 2 MSL.
#[test]
fn the_active_closer_goes_through_fin_wait_to_time_wait() {
    let mut peer = Peer::established();
    peer.engine_closes();
    peer.expects(seg("FA").seq(1).ack(1));
    assert_eq!(peer.shard.gauges().of(State::FinWait1), 1);
    peer.sends(seg("A").seq(1).ack(2));
    assert_eq!(peer.shard.gauges().of(State::FinWait2), 1);
    peer.sends(seg("FA").seq(1).ack(2));
    peer.expects(seg("A").seq(2).ack(2));
    assert_eq!(peer.shard.gauges().of(State::TimeWait), 1);
    peer.wait(Duration::from_secs(59));
    assert_eq!(peer.shard.gauges().of(State::TimeWait), 1, "2 MSL");
    peer.wait(Duration::from_secs(2));
    assert_eq!(peer.shard.gauges().of(State::TimeWait), 0);
    assert_eq!(peer.stats().tcp.time_wait_expired, 1);
    peer.ends_clean();
}

/// FIN and ACK of ours in one: FIN-WAIT-1 goes straight to TIME-WAIT.
#[test]
fn a_fin_that_acknowledges_ours_ends_it_in_three() {
    let mut peer = Peer::established();
    peer.engine_closes();
    peer.expects(seg("FA").seq(1).ack(1));
    peer.sends(seg("FA").seq(1).ack(2));
    peer.expects(seg("A").seq(2).ack(2));
    assert_eq!(peer.shard.gauges().of(State::TimeWait), 1);
    peer.ends_clean();
}

#[test]
fn the_passive_closer_goes_through_close_wait_to_last_ack() {
    let mut peer = Peer::established();
    peer.sends(seg("FA").seq(1).ack(1));
    peer.expects(seg("A").seq(1).ack(2));
    assert_eq!(peer.state(), Some(State::CloseWait));
    peer.engine_closes();
    peer.expects(seg("FA").seq(1).ack(2));
    assert_eq!(peer.shard.gauges().of(State::LastAck), 1);
    peer.sends(seg("A").seq(2).ack(2));
    peer.ends_clean();
}

/// RFC 9293 section 3.6, figure 13.
#[test]
fn simultaneous_close() {
    let mut peer = Peer::established();
    peer.engine_closes();
    peer.expects(seg("FA").seq(1).ack(1));
    peer.sends(seg("FA").seq(1).ack(1));
    peer.expects(seg("A").seq(2).ack(2));
    assert_eq!(peer.shard.gauges().of(State::Closing), 1);
    peer.sends(seg("A").seq(2).ack(2));
    assert_eq!(peer.shard.gauges().of(State::TimeWait), 1);
    peer.ends_clean();
}

#[test]
fn after_a_half_close_the_other_side_still_sends() {
    let mut peer = Peer::established();
    let id = peer.id();
    peer.sockets(|_, sockets| sockets.shutdown(id).unwrap());
    peer.expects(seg("FA").seq(1).ack(1));
    peer.sends(seg("A").seq(1).ack(2));
    peer.sends(seg("PA").seq(1).ack(2).data(b"still here"));
    assert_eq!(peer.engine_reads(), b"still here");
    peer.sends(seg("FA").seq(11).ack(2));
    peer.expects(seg("A").seq(2).ack(12));
    assert_eq!(peer.state(), Some(State::Closed), "held to be read");
    assert_eq!(peer.shard.gauges().of(State::TimeWait), 1);
    assert_eq!(
        peer.sockets(|_, sockets| sockets.receive(id).map(<[u8]>::len)),
        Ok(0),
        "end of the stream"
    );
    peer.engine_closes();
    peer.ends_clean();
}

/// Both sides have closed; what was received and not read is still there.
#[test]
fn a_connection_that_is_over_can_be_read_to_its_end() {
    let mut peer = Peer::established();
    let id = peer.id();
    peer.sends(seg("PFA").seq(1).ack(1).data(b"last words"));
    peer.expects(seg("A").seq(1).ack(12));
    peer.sockets(|_, sockets| sockets.shutdown(id).unwrap());
    peer.expects(seg("FA").seq(1).ack(12));
    peer.sends(seg("A").seq(12).ack(2));
    assert_eq!(peer.state(), Some(State::Closed));
    assert_eq!(peer.engine_reads(), b"last words");
    peer.engine_closes();
    peer.ends_clean();
}

/// EPIPE where only the sending side is closed, ENOTCONN where both are, EBADF once
/// the handle was given back.
#[test]
fn a_call_on_what_is_closed_says_how_far_it_is() {
    let mut peer = Peer::established();
    let id = peer.id();
    let calls = |peer: &mut Peer| {
        peer.sockets(|_, sockets| {
            [
                sockets.send(id, b"x").map(|_| ()),
                sockets.receive(id).map(|_| ()),
                sockets.shutdown(id),
                sockets.shutdown_receive(id),
            ]
        })
    };
    peer.sockets(|_, sockets| sockets.shutdown(id).unwrap());
    peer.expects(seg("FA").seq(1).ack(1));
    let pipe = Err(SocketError::BrokenPipe);
    assert_eq!(
        calls(&mut peer),
        [pipe, Err(SocketError::WouldBlock), Ok(()), Ok(())]
    );
    peer.sends(seg("FA").seq(1).ack(2));
    peer.expects(seg("A").seq(2).ack(2));
    assert_eq!(peer.state(), Some(State::Closed));
    let gone = Err(SocketError::NotConnected);
    assert_eq!(calls(&mut peer), [pipe, Ok(()), gone, gone]);
    peer.engine_closes();
    assert_eq!(calls(&mut peer), [Err(SocketError::BadDescriptor); 4]);
    peer.ends_clean();
}

/// RFC 9293 sections 3.10.2 and 3.10.3: before the handshake is complete what is sent
/// is queued, and there is nothing to receive.
#[test]
fn a_call_while_a_connect_is_in_progress_is_not_refused() {
    let mut peer = Peer::new().connecting();
    peer.expects(seg("S"));
    let id = peer.id();
    peer.engine_sends(b"early");
    let received = peer.sockets(|_, sockets| sockets.receive(id).map(<[u8]>::len));
    assert_eq!(received, Err(SocketError::WouldBlock));
    peer.sends(seg("SA").ack(1).mss(1_460));
    peer.expects(seg("PA").seq(1).ack(1).data(b"early"));
}

/// Packet economy: the FIN rides on the last data, the ACK on the FIN.
#[test]
fn request_response_and_close_take_six_segments() {
    let mut peer = Peer::new().listening();
    peer.sends(seg("S").mss(1_460));
    peer.expects(seg("SA").ack(1));
    peer.sends(seg("PA").seq(1).ack(1).data(b"request"));
    assert_eq!(peer.engine_reads(), b"request");
    let id = peer.id();
    peer.sockets(|_, sockets| {
        sockets.send(id, b"response").unwrap();
        sockets.close(id);
    });
    peer.expects(seg("FPA").seq(1).ack(8).data(b"response"));
    peer.sends(seg("FA").seq(8).ack(10));
    peer.expects(seg("A").seq(10).ack(9));
    peer.ends_clean();
}

/// The same without packet economy: each acknowledgment is a segment of its own.
#[test]
fn without_packet_economy_acknowledgments_travel_alone() {
    let mut peer = Peer::with(|config| {
        config.tcp.timestamps = false;
        config.tcp.packet_economy = false;
    })
    .listening()
    .handshake();
    peer.sends(seg("PFA").seq(1).ack(1).data(b"request"));
    peer.expects(seg("A").seq(1).ack(9));
    assert_eq!(peer.engine_reads(), b"request");
    peer.engine_sends(b"response");
    peer.expects(seg("PA").seq(1).ack(9).data(b"response"));
    peer.engine_closes();
    peer.expects(seg("FA").seq(9).ack(9));
    peer.sends(seg("A").seq(9).ack(10));
    peer.ends_clean();
}

/// The same at the other end: one is for a SYN-ACK and what came with it.
#[test]
fn without_packet_economy_a_syn_ack_with_data_is_acknowledged_once() {
    for (flags, ack) in [("SA", 6), ("SFA", 7)] {
        let mut peer = Peer::with(|config| {
            config.tcp.timestamps = false;
            config.tcp.packet_economy = false;
        })
        .connecting();
        peer.expects(seg("S"));
        peer.sends(seg(flags).ack(1).mss(1_460).data(b"hello"));
        peer.expects(seg("A").seq(1).ack(ack));
        peer.wait_ms(100);
        peer.expects_nothing();
        assert_eq!(peer.engine_reads(), b"hello");
    }
}

/// RFC 9293 section 3.10.7.4, TIME-WAIT: a repeated FIN is acknowledged and
/// restarts 2 MSL. RFC 1337: a RST does nothing.
/// Attack case 30.
#[test]
fn time_wait_answers_a_repeated_fin_and_ignores_resets() {
    let mut peer = Peer::established();
    peer.engine_closes();
    peer.expects(seg("FA").seq(1).ack(1));
    peer.sends(seg("FA").seq(1).ack(2));
    peer.expects(seg("A").seq(2).ack(2));
    peer.wait(Duration::from_secs(50));
    peer.sends(seg("FA").seq(1).ack(2));
    peer.expects(seg("A").seq(2).ack(2));
    peer.sends(seg("R").seq(2));
    peer.wait(Duration::from_secs(50));
    assert_eq!(
        peer.shard.gauges().of(State::TimeWait),
        1,
        "restarted, and not killed"
    );
    peer.wait(Duration::from_secs(11));
    assert_eq!(peer.shard.gauges().of(State::TimeWait), 0);
    peer.ends_clean();
}

/// RFC 9293 section 3.6.1 (MAY-2): a SYN past all that was received opens anew;
/// an old one does not.
#[test]
fn time_wait_gives_way_to_a_new_syn_and_not_to_an_old_one() {
    let mut peer = Peer::established();
    peer.engine_closes();
    peer.expects(seg("FA").seq(1).ack(1));
    peer.sends(seg("FA").seq(1).ack(2));
    peer.expects(seg("A").seq(2).ack(2));
    peer.sends(seg("S").seq(0));
    peer.expects(seg("A").seq(2).ack(2));
    peer.sends(seg("S").seq(100_000));
    peer.expects_syn_ack_of(100_001);
    assert_eq!(peer.stats().tcp.time_wait_reused, 1);
}

/// RFC 6191: with timestamps, a later one opens anew whatever the sequence number.
/// RFC 9293 section 3.6.1, SHLD-4. Attack case 30: what is old does not.
#[test]
fn time_wait_gives_way_to_a_later_timestamp() {
    let mut peer = Peer::with(|_| ()).listening();
    peer.sends(seg("S").ts(100, 0));
    peer.expects(seg("SA").ack(1).ts(0, 0));
    peer.sends(seg("A").seq(1).ack(1).ts(100, 0));
    peer.engine_closes();
    peer.expects(seg("FA").seq(1).ack(1).ts(0, 0));
    peer.sends(seg("FA").seq(1).ack(2).ts(101, 0));
    peer.expects(seg("A").seq(2).ack(2).ts(0, 0));
    peer.sends(seg("S").seq(0).ts(99, 0));
    peer.expects(seg("A").seq(2).ack(2).ts(0, 0));
    peer.sends(seg("S").seq(0).ts(102, 0));
    peer.expects_syn_ack_of(1);
}

/// RFC 6191 from this side: with `time_wait_reuse` a connect takes its own port out
/// of TIME-WAIT after a second, where timestamps tell the incarnations apart, and
/// begins past all that the old one sent.
#[test]
fn a_connect_takes_its_port_out_of_time_wait() {
    for (reuse, stamped) in [(true, true), (false, true), (true, false)] {
        let mut peer = Peer::with(|config| {
            config.tcp.time_wait_reuse = reuse;
            config.tcp.timestamps = stamped;
            (config.tcp.ports.first, config.tcp.ports.last) = (7_000, 7_000);
        })
        .connecting();
        let stamp = |segment: Seg| if stamped { segment.ts(1, 0) } else { segment };
        peer.expects(stamp(seg("S")));
        peer.sends(stamp(seg("SA").seq(0).ack(1).win(65_535)));
        peer.expects(stamp(seg("A").seq(1).ack(1)));
        peer.engine_closes();
        peer.expects(stamp(seg("FA").seq(1).ack(1)));
        peer.sends(stamp(seg("FA").seq(1).ack(2)));
        let fin = peer.expects(stamp(seg("A").seq(2).ack(2)));
        let connect = |peer: &mut Peer| {
            let options = SocketOptions::default();
            peer.sockets(|_, sockets| sockets.connect((PEER, PORT).into(), 0, options).is_ok())
        };
        assert!(!connect(&mut peer), "at once");
        peer.wait(Duration::from_millis(1_300));
        assert_eq!(connect(&mut peer), reuse && stamped, "{reuse} {stamped}");
        let Some((syn, _)) = peer.takes_all().pop() else {
            continue;
        };
        assert_eq!(syn.source_port, 7_000);
        assert!(syn.seq.follows_or_is(fin.seq), "past the old connection");
        assert_eq!(peer.stats().tcp.time_wait_reused, 1);
    }
}

/// RFC 5961 section 3.2: exactly RCV.NXT resets, elsewhere in the window is
/// challenged, outside is nothing.
/// Attack case 19, in every state in `cells`.
#[test]
fn a_reset_counts_only_at_the_exact_number() {
    let mut peer = Peer::established();
    for (n, seq) in (1..).zip([2, 3, 1_000, 65_534, 65_535]) {
        peer.sends(seg("R").seq(seq));
        peer.expects(seg("A").seq(1).ack(1));
        assert_eq!(peer.dropped(DropReason::BadReset), n);
        assert_eq!(peer.stats().tcp.challenge_acks, n);
    }
    for (n, seq) in (1..).zip([0, 65_536, 100_000, 1 << 31, u32::MAX]) {
        peer.sends(seg("R").seq(seq));
        peer.expects_nothing();
        assert_eq!(peer.dropped(DropReason::OutOfWindow), n);
    }
    assert_eq!(peer.state(), Some(State::Established));
    peer.sends(seg("R").seq(1));
    assert_eq!(peer.told(), [Told::Accepted, Told::Closed(Closed::Reset)]);
    peer.ends_clean();
}

/// RFC 5961 section 4.2.
/// Attack case 20, in every state in `cells`.
#[test]
fn a_syn_on_a_connection_is_challenged() {
    let mut peer = Peer::established();
    peer.sends(seg("PA").seq(1).ack(1).data(b"be"));
    peer.wait_ms(50);
    peer.takes_all();
    for seq in [3, 5, 65_535, 0, 1, 2, 100_000, 1 << 31] {
        for syn in [seg("S"), seg("SA").ack(1), seg("S").data(b"evil")] {
            peer.wait_ms(1_000);
            peer.sends(syn.seq(seq));
            peer.expects(seg("A").seq(1).ack(3));
            peer.expects_nothing();
        }
    }
    assert_eq!(peer.state(), Some(State::Established));
    // Unharmed: both go on where they were.
    peer.sends(seg("PA").seq(3).ack(1).data(b"fore"));
    assert_eq!(peer.engine_reads(), b"before");
    peer.engine_sends(b"after");
    peer.expects(seg("A").seq(1).ack(7).data(b"after"));
}

/// RFC 9293 section 3.6.1 (SHLD-3): data that nobody will read is answered by RST.
/// MAY-1: nothing is read after a close. Attack case 45.
#[test]
fn data_after_close_and_close_with_unread_data_reset() {
    let mut peer = Peer::established();
    peer.engine_closes();
    peer.expects(seg("FA").seq(1).ack(1));
    // It did not get the FIN, and takes only a RST with the number that it expects.
    peer.sends(seg("PA").seq(1).ack(1).data(b"too late"));
    peer.expects(seg("R").seq(1));
    assert_eq!(peer.dropped(DropReason::DataAfterClose), 1);
    peer.ends_clean();

    let mut peer = Peer::established();
    peer.sends(seg("PA").seq(1).ack(1).data(b"unread"));
    peer.engine_closes();
    peer.expects(seg("RA").seq(1).ack(7));
    peer.ends_clean();
}

/// An orphan whose peer never closes does not stay for ever.
/// Attack case 44; CLOSING and LAST-ACK are given up in `cells`.
#[test]
fn fin_wait_2_ends_by_its_timer() {
    let mut peer = Peer::established();
    peer.engine_closes();
    peer.expects(seg("FA").seq(1).ack(1));
    peer.sends(seg("A").seq(1).ack(2));
    peer.wait(Duration::from_secs(59));
    assert_eq!(peer.shard.gauges().of(State::FinWait2), 1);
    peer.wait(Duration::from_secs(2));
    peer.ends_clean();
}

#[test]
fn a_lost_fin_is_sent_again() {
    let mut peer = Peer::established();
    peer.engine_closes();
    peer.expects(seg("FA").seq(1).ack(1));
    peer.wait_ms(300);
    peer.expects(seg("FA").seq(1).ack(1));
    peer.sends(seg("FA").seq(1).ack(2));
    peer.expects(seg("A").seq(2).ack(2));
    peer.ends_clean();
}

/// RFC 7323 section 3.2: the RST of a connection with timestamps has them too.
#[test]
fn a_reset_carries_timestamps_where_they_were_negotiated() {
    let mut peer = Peer::with(|_| ()).listening().handshake_any();
    let id = peer.id();
    peer.sockets(|_, sockets| sockets.abort(id));
    let (reset, _) = peer.takes_all().pop().unwrap();
    assert!(reset.flags.contains(Flags::RST));
    assert_eq!(reset.options.timestamps.map(|t| t.echo), Some(1));
}
