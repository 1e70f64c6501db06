//! Sequence numbers go round every 4 GiB: they wrap within anything, and a duplicate from
//! the round before has the numbers of today (PAWS, RFC 7323 section 5).

use crate::peer::{Peer, Told, seg};
use ringmill_core::seq::Seq;
use ringmill_core::sockets::Closed;
use ringmill_core::stats::DropReason;
use ringmill_core::tcp::State;
use ringmill_core::time::Duration;

/// An engine whose next initial sequence number towards this peer is `before` the
/// wrap: it waits for its clock of 4 us (RFC 6528). The round trip is 100 ms.
fn about_to_wrap(before: u32) -> Peer {
    let mut probe = Peer::new().listening();
    probe.sends(seg("S"));
    probe.expects(seg("SA").ack(1));
    let ticks = 0_u32
        .wrapping_sub(before)
        .wrapping_sub(probe.iss.unwrap().0);
    let mut peer = Peer::new().listening();
    peer.wait(Duration::from_micros(u64::from(ticks) * 4));
    peer.sends(seg("S").win(65_535).mss(1_460).scale(7).sack_ok());
    peer.expects(seg("SA").ack(1));
    assert_eq!(peer.iss, Some(Seq(0_u32.wrapping_sub(before))));
    peer.wait_ms(100);
    peer.sends(seg("A").seq(1).ack(1).win(65_535));
    peer
}

/// Bytes that can be told from each other.
fn distinct(len: usize) -> Vec<u8> {
    (0..251).cycle().take(len).collect()
}

/// Attack case 49: our numbers wrap within SYN, data, what is reported of it, what is
/// sent again, the window's edge and the FIN. Every byte is sent where it belongs.
#[test]
fn our_sequence_numbers_wrap_anywhere() {
    let edges = [
        1, 1_461, 2_921, 4_381, 5_841, 7_301, 8_761, 10_221, 10_245, 12_301,
    ];
    let near = |edge: u32| [edge - 1, edge, edge + 1, edge + 700];
    for before in edges.into_iter().flat_map(near) {
        let mut peer = about_to_wrap(before);
        let data = distinct(12_300);
        let piece = |from: u32, to: u32| data[from as usize - 1..to as usize - 1].to_vec();
        let segment = |from: u32| seg("A").seq(from).ack(1).data(&piece(from, from + 1_460));
        peer.engine_sends(&data[..7_300]);
        for from in [1, 1_461, 2_921, 4_381, 5_841] {
            peer.expects(segment(from));
        }
        // The first and the third are lost.
        peer.wait_ms(100);
        peer.sends(seg("A").seq(1).ack(1).sack(&[(1_461, 2_921)]));
        peer.sends(
            seg("A")
                .seq(1)
                .ack(1)
                .sack(&[(4_381, 5_841), (1_461, 2_921)]),
        );
        peer.sends(
            seg("A")
                .seq(1)
                .ack(1)
                .sack(&[(4_381, 7_301), (1_461, 2_921)]),
        );
        peer.expects(segment(1));
        peer.expects_nothing();
        let partial = seg("A").seq(1).ack(2_921).sack(&[(4_381, 7_301)]);
        peer.sends(partial);
        peer.expects(segment(2_921));
        peer.expects_nothing();
        // A window of 2,944 bytes, which is two segments and a rest that waits.
        peer.sends(seg("A").seq(1).ack(7_301).win(23));
        peer.engine_sends(&data[7_300..]);
        peer.expects(segment(7_301));
        peer.expects(segment(8_761));
        peer.expects_nothing();
        peer.sends(seg("A").seq(1).ack(10_221).win(65_535));
        peer.expects(segment(10_221));
        peer.expects(seg("A").seq(11_681).ack(1).data(&piece(11_681, 12_301)));
        peer.engine_closes();
        peer.expects(seg("FA").seq(12_301).ack(1));
        peer.sends(seg("FA").seq(1).ack(12_302));
        peer.expects(seg("A").seq(12_302).ack(2));
        assert_eq!(peer.stats().tcp.bytes_acked, 12_300, "{before}");
        assert_eq!(peer.stats().tcp.retransmits, 2, "{before}");
        peer.ends_clean();
    }
}

/// Attack case 49: the peer's numbers wrap ten after its first, in every trace; here at
/// every place of a segment, of a gap and of what is reported past it, and of the FIN.
#[test]
fn the_peers_sequence_numbers_wrap_anywhere() {
    let data = distinct(30);
    let at = |n: usize| 1 + u32::try_from(n).unwrap();
    for (first, next) in (1..=12).flat_map(|first| (first + 1..=14).map(move |next| (first, next)))
    {
        for last in next + 1..=16 {
            let mut peer = Peer::new().listening().handshake_sack();
            let piece =
                |from: usize, to: usize| seg("PA").seq(at(from)).ack(1).data(&data[from..to]);
            peer.sends(piece(next, last));
            peer.expects(seg("A").seq(1).ack(1).sack(&[(at(next), at(last))]));
            peer.sends(piece(first, next));
            peer.expects(seg("A").seq(1).ack(1).sack(&[(at(first), at(last))]));
            peer.sends(seg("FA").seq(at(last)).ack(1));
            peer.expects(seg("A").seq(1).ack(1).sack(&[(at(first), at(last))]));
            peer.sends(piece(0, first));
            peer.expects(seg("A").seq(1).ack(at(last) + 1));
            assert_eq!(peer.engine_reads(), data[..last], "{first} {next} {last}");
            assert_eq!(peer.state(), Some(State::CloseWait));
        }
    }
    // The window reaches over the wrap: its last byte, and the one behind it.
    let mut peer = Peer::new().listening().handshake_sack();
    peer.sends(seg("A").seq(65_535).ack(1).data(b"z"));
    peer.expects(seg("A").seq(1).ack(1).sack(&[(65_535, 65_536)]));
    peer.sends(seg("A").seq(65_536).ack(1).data(b"z"));
    peer.expects(seg("A").seq(1).ack(1).sack(&[(65_535, 65_536)]));
    assert_eq!(peer.drops(), [(DropReason::OutOfWindow, 1)]);
}

/// A connection with timestamps, the peer's at 1,000.
fn stamped() -> Peer {
    let mut peer = Peer::with(|_| ()).listening();
    peer.sends(seg("S").mss(1_460).ts(1_000, 0));
    peer.expects(seg("SA").ack(1).ts(0, 0));
    peer.sends(seg("A").seq(1).ack(1).ts(1_000, 0));
    peer
}

/// Attack case 31: an old duplicate of 4 GiB ago has the numbers of today and the
/// timestamp of then. It is dropped, whatever it is, and answered by an ACK.
#[test]
fn duplicates_from_the_last_round_of_sequence_numbers_are_dropped() {
    let mut peer = stamped();
    peer.engine_sends(b"x");
    peer.expects(seg("A").seq(1).ack(1).ts(0, 0).data(b"x"));
    for (n, flags) in (1..).zip(["PA", "FA", "A", "S", "SA"]) {
        for stamp in [999, 1, 1_001_u32.wrapping_sub(1 << 31)] {
            peer.sends(seg(flags).seq(1).ack(2).ts(stamp, 0).data(b"old"));
            let ack = peer.expects(seg("A").seq(2).ack(1).ts(0, 0));
            assert_eq!(ack.options.timestamps.unwrap().echo, 1_000);
        }
        assert_eq!(peer.drops(), [(DropReason::Paws, 3 * n)]);
    }
    assert_eq!(peer.stats().tcp.bytes_acked, 0);
    assert!(peer.engine_reads().is_empty());
    assert_eq!(peer.state(), Some(State::Established));
    // The real ones go on.
    peer.sends(seg("PA").seq(1).ack(2).ts(1_000, 0).data(b"new"));
    assert_eq!(peer.engine_reads(), b"new");
}

/// Attack case 31: PAWS does not hold for a RST, whose timestamp may be anything
/// (RFC 7323 section 5.2), or which has none.
#[test]
fn a_reset_needs_no_young_timestamp() {
    for reset in [
        seg("R").seq(1),
        seg("R").seq(1).ts(3, 0),
        seg("RA").seq(1).ack(1).ts(999, 0),
    ] {
        let mut peer = stamped();
        peer.sends(reset);
        assert_eq!(peer.told(), [Told::Accepted, Told::Closed(Closed::Reset)]);
        peer.ends_clean();
    }
}

/// Attack case 31: a segment outside of the window leaves no timestamp behind, or the
/// next real one would be older than it.
#[test]
fn a_segment_out_of_the_window_leaves_no_timestamp_behind() {
    let mut peer = stamped();
    let ahead = [65_536, 70_000, 1 << 30, 1 << 31, 0_u32.wrapping_sub(70_000)];
    for (n, seq) in (1..).zip(ahead) {
        peer.sends(seg("PA").seq(seq).ack(1).ts(500_000, 0).data(b"x"));
        let ack = peer.expects(seg("A").seq(1).ack(1).ts(0, 0));
        assert_eq!(ack.options.timestamps.unwrap().echo, 1_000);
        assert_eq!(peer.dropped(DropReason::OutOfWindow), n);
    }
    peer.sends(seg("PA").seq(1).ack(1).ts(1_000, 0).data(b"real"));
    assert_eq!(peer.dropped(DropReason::Paws), 0);
    assert_eq!(peer.engine_reads(), b"real");
}

/// Attack case 32: without the timestamps that were agreed on nothing but a RST counts,
/// and nothing is answered (RFC 7323 section 3.2).
#[test]
fn a_segment_without_its_timestamps_is_dropped() {
    let mut peer = stamped();
    peer.engine_sends(b"x");
    peer.expects(seg("A").seq(1).ack(1).ts(0, 0).data(b"x"));
    for (n, flags) in (1..).zip(["A", "PA", "FA", "S", "SA", "UA", "FPUA"]) {
        for len in [0, 4] {
            peer.sends(seg(flags).seq(1).ack(2).len(len));
        }
        peer.expects_nothing();
        assert_eq!(peer.drops(), [(DropReason::Paws, 2 * n)]);
    }
    assert_eq!(peer.stats().tcp.bytes_acked, 0);
    assert!(peer.engine_reads().is_empty());
    assert_eq!(peer.state(), Some(State::Established));
    peer.sends(seg("R").seq(1));
    assert_eq!(peer.told().last(), Some(&Told::Closed(Closed::Reset)));
    peer.ends_clean();
}
