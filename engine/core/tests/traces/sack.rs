//! Selective acknowledgments both ways (RFC 2018, RFC 2883), and what is made of
//! them: RACK and tail loss probes (RFC 8985), proportional rate reduction
//! (RFC 9937), responses taken back (RFC 4015, RFC 3708).
//!
//! The engine's segments are 1,460 bytes, numbered n = 0, 1, .. from sequence
//! number 1 on.

use crate::peer::{Peer, Seg, seg};
use ringmill_core::sockets::{Repair, SocketOptions};
use ringmill_core::stats::DropReason;

const MSS: u32 = 1_460;

/// Where segment `n` starts.
fn at(n: u32) -> u32 {
    1 + n * MSS
}

fn segment(n: u32) -> Seg {
    seg("A").seq(at(n)).ack(1).len(MSS as usize)
}

/// An acknowledgment of everything before segment `n`, and of ranges of segments.
fn ack(n: u32, ranges: &[(u32, u32)]) -> Seg {
    let blocks: Vec<_> = ranges.iter().map(|&(l, r)| (at(l), at(r))).collect();
    seg("A").seq(1).ack(at(n)).sack(&blocks)
}

/// An engine that has sent its initial window of ten segments, with a round trip
/// of 100 ms behind it, and more queued.
fn ten_in_flight(queued: usize) -> Peer {
    let mut peer = Peer::new().listening();
    peer.sends(seg("S").win(65_535).mss(1_460).scale(7).sack_ok());
    peer.expects(seg("SA").ack(1));
    peer.wait_ms(100);
    peer.sends(seg("A").seq(1).ack(1).win(65_535));
    peer.engine_sends(&vec![b'x'; queued]);
    for n in 0..10 {
        peer.expects(segment(n));
    }
    peer.expects_nothing();
    peer.wait_ms(100);
    peer
}

/// RFC 2018 section 4: the block that changed last comes first; RFC 2883 section
/// 4: a duplicate before it, once.
#[test]
fn data_past_a_gap_is_reported_the_latest_first_and_duplicates_once() {
    let mut peer = Peer::new().listening().handshake_sack();
    peer.sends(seg("A").seq(11).ack(1).len(10));
    peer.expects(seg("A").seq(1).ack(1).sack(&[(11, 21)]));
    peer.sends(seg("A").seq(31).ack(1).len(10));
    peer.expects(seg("A").seq(1).ack(1).sack(&[(31, 41), (11, 21)]));
    peer.sends(seg("A").seq(21).ack(1).len(5));
    peer.expects(seg("A").seq(1).ack(1).sack(&[(11, 26), (31, 41)]));
    peer.sends(seg("A").seq(31).ack(1).len(10));
    peer.expects(seg("A").seq(1).ack(1).sack(&[(31, 41), (11, 26), (31, 41)]));
    peer.sends(seg("A").seq(1).ack(1).len(10));
    peer.expects(seg("A").seq(1).ack(26).sack(&[(31, 41)]));
    peer.sends(seg("A").seq(1).ack(1).len(10));
    peer.expects(seg("A").seq(1).ack(26).sack(&[(1, 11), (31, 41)]));
    peer.sends(seg("A").seq(26).ack(1).len(5));
    peer.expects(seg("A").seq(1).ack(41));
    assert_eq!(peer.engine_reads().len(), 40);
}

/// RFC 2018 section 3: with timestamps there is room for three blocks.
#[test]
fn beside_timestamps_there_are_three_blocks() {
    let mut peer = Peer::with(|_| {}).listening();
    peer.sends(seg("S").win(65_535).mss(1_460).sack_ok().ts(1, 0));
    peer.iss = Some(peer.takes_all()[0].0.seq);
    peer.sends(seg("A").seq(1).ack(1).ts(1, 0));
    for n in 1..=5 {
        peer.sends(seg("A").seq(n * 20).ack(1).len(10).ts(1, 0));
    }
    let (last, _) = peer.takes_all().pop().unwrap();
    assert_eq!(last.options.sack.as_slice().len(), 3);
}

/// A peer that did not permit it gets none.
#[test]
fn without_permission_nothing_is_reported() {
    let mut peer = Peer::established();
    peer.sends(seg("A").seq(11).ack(1).len(10));
    peer.expects(seg("A").seq(1).ack(1));
}

/// RFC 8985 section 6: three segments delivered above a hole, no reordering ever
/// seen: the hole is lost, at once and alone. RFC 3042: the first two let new
/// segments go. RFC 6937: one goes for every one that arrives, at first.
#[test]
fn a_hole_is_filled_at_once_and_only_the_hole() {
    let mut peer = ten_in_flight(30_000);
    peer.sends(ack(0, &[(1, 2)]));
    peer.expects(segment(10));
    peer.sends(ack(0, &[(1, 3)]));
    peer.expects(segment(11));
    peer.sends(ack(0, &[(1, 4)]));
    peer.expects(segment(0));
    peer.expects_nothing();
    peer.sends(ack(12, &[]));
    let tcp = peer.stats().tcp;
    assert_eq!(
        (tcp.fast_retransmits, tcp.retransmits, tcp.rto_expired),
        (1, 1, 0)
    );
}

/// RFC 8985 section 6.2, step 2, takes the round trip of the segment that was sent last.
/// Where that is a retransmission, and what was acknowledged with it took longer, the
/// path has become longer: what is still out has as long a time, as with Linux.
#[test]
fn a_quick_retransmission_makes_no_older_segment_lost() {
    let mut peer = ten_in_flight(12 * MSS as usize);
    peer.sends(ack(0, &[(1, 3)]));
    peer.expects(segment(10));
    peer.expects(segment(11));
    peer.wait_ms(10);
    peer.sends(ack(0, &[(1, 4)]));
    peer.expects(segment(0));
    // That arrives after 110 ms, and those before 10 after 220.
    peer.wait_ms(110);
    peer.sends(ack(10, &[]));
    peer.expects_nothing();
    peer.wait_ms(95);
    peer.expects_nothing();
    // No longer than that, either: 220 ms after it was sent.
    peer.wait_ms(10);
    peer.expects(segment(10));
    assert_eq!(peer.stats().tcp.rto_expired, 0);
}

/// Many holes are repaired in one round trip, not in one each.
#[test]
fn holes_are_filled_in_one_round_trip() {
    let mut peer = ten_in_flight(14_600);
    peer.sends(ack(0, &[(1, 2), (3, 4), (5, 6)]));
    peer.sends(ack(0, &[(9, 10), (7, 8), (5, 6), (3, 4)]));
    let lost: Vec<u32> = peer
        .takes_all()
        .iter()
        .map(|(header, _)| header.seq.bytes_since(peer.iss.unwrap()))
        .collect();
    assert_eq!(lost, [0, 2, 4, 6, 8].map(at));
    peer.sends(ack(10, &[]));
    assert_eq!(peer.stats().tcp.bytes_acked, 14_600);
    assert_eq!(peer.stats().tcp.rto_expired, 0);
}

/// RFC 8985 section 6.2: once reordering has been seen, a hole has a quarter of a
/// round trip to fill by itself; then it is lost, by the clock.
#[test]
fn where_packets_are_reordered_a_hole_is_given_time() {
    let mut peer = ten_in_flight(14_600);
    // Segment 0 comes after 1: reordering.
    peer.sends(ack(0, &[(1, 2)]));
    peer.sends(ack(2, &[]));
    peer.sends(ack(2, &[(3, 7)]));
    peer.expects_nothing();
    peer.wait_ms(23);
    peer.expects_nothing();
    peer.wait_ms(5);
    peer.expects(segment(2));
    assert_eq!(peer.stats().tcp.rto_expired, 0);
}

/// Attack case 7: blocks that can't be are ignored, and those beside them count.
#[test]
fn impossible_blocks_are_ignored() {
    let mut peer = ten_in_flight(14_600);
    let sacked = [
        (at(3), at(3)),
        (at(4), at(2)),
        (at(9), at(12)),
        (0u32.wrapping_sub(5), 1),
    ];
    for block in sacked {
        peer.sends(seg("A").seq(1).ack(1).sack(&[(at(1), at(2)), block]));
    }
    peer.expects_nothing();
    peer.sends(ack(0, &[(1, 2), (3, 4), (5, 6)]));
    assert_eq!(peer.stats().tcp.fast_retransmits, 1);
    assert_eq!(peer.dropped(DropReason::BadAck), 0);
}

/// RFC 8985 section 7: the last segments are lost and nothing says so. After two
/// round trips the last one goes again; that it arrives shows the rest missing.
#[test]
fn a_lost_tail_is_probed_for_and_repaired_without_a_timeout() {
    let mut peer = ten_in_flight(14_600);
    peer.sends(ack(7, &[]));
    peer.expects_nothing();
    peer.wait_ms(190);
    peer.expects_nothing();
    peer.wait_ms(20);
    peer.expects(segment(9));
    peer.expects_nothing();
    peer.wait_ms(100);
    peer.sends(ack(7, &[(9, 10)]));
    peer.wait_ms(30);
    peer.expects(segment(7));
    peer.wait_ms(100);
    peer.sends(ack(8, &[(9, 10)]));
    peer.expects(segment(8));
    peer.wait_ms(100);
    peer.sends(ack(10, &[]));
    let tcp = peer.stats().tcp;
    assert_eq!(
        (tcp.tail_probes, tcp.rto_expired, tcp.retransmits),
        (1, 0, 3)
    );
}

/// The whole window is lost. Its first segment alone would have been waited for
/// longer than a timeout takes (RFC 8985 section 7.2); the last one is not.
#[test]
fn a_lost_window_is_probed_for_from_its_last_segment_on() {
    let mut peer = ten_in_flight(14_600);
    peer.wait_ms(90);
    peer.expects_nothing();
    peer.wait_ms(20);
    peer.expects(segment(9));
    assert_eq!(peer.stats().tcp.rto_expired, 0);
}

/// A connection with a round trip of 100 ms and selective acknowledgments, whose
/// application asks for small segments.
fn quick() -> Peer {
    let mut peer = Peer::new().listening_with(SocketOptions {
        nodelay: true,
        ..SocketOptions::default()
    });
    peer.sends(seg("S").win(65_535).mss(1_460).scale(7).sack_ok());
    peer.expects(seg("SA").ack(1));
    peer.wait_ms(100);
    peer.sends(seg("A").seq(1).ack(1).win(65_535));
    peer
}

/// RFC 8985 section 7.2: where the timeout would come first, the probe takes its
/// place. RFC 6298: the timeout comes after it, the first that doubles the next.
#[test]
fn a_probe_comes_no_later_than_the_timeout() {
    let mut peer = quick();
    peer.engine_sends(b"x");
    peer.expects(seg("A").seq(1).ack(1).data(b"x"));
    // The round trip, and four times half of it.
    let times = [300, 300, 600];
    for time in times {
        peer.wait_ms(time - 5);
        peer.expects_nothing();
        peer.wait_ms(5);
        peer.expects(seg("A").seq(1).ack(1).data(b"x"));
    }
    let tcp = peer.stats().tcp;
    assert_eq!((tcp.tail_probes, tcp.rto_expired), (1, 2));
}

/// Each new segment puts the probe off, but not past the timeout of the first (RFC
/// 6298 (5.1): the timer runs on).
#[test]
fn new_segments_do_not_put_the_probe_off_for_ever() {
    let mut peer = quick();
    for n in 1..=4 {
        peer.engine_sends(b"x");
        peer.expects(seg("A").seq(n).ack(1).data(b"x"));
        peer.wait_ms(70);
    }
    peer.expects_nothing();
    peer.wait_ms(20);
    peer.expects(seg("A").seq(4).ack(1).data(b"x"));
    assert_eq!(peer.stats().tcp.tail_probes, 1);
}

/// On a path without delay a probe still gives the peer time to run.
#[test]
fn a_probe_waits_for_a_peer_that_is_busy() {
    let mut peer = Peer::new().listening().handshake_sack();
    peer.engine_sends(&[b'x'; 2_920]);
    assert_eq!(peer.takes_all().len(), 2);
    peer.wait_ms(9);
    peer.expects_nothing();
    peer.wait_ms(2);
    peer.expects(segment(1));
    assert_eq!(peer.stats().tcp.tail_probes, 1);
}

/// RFC 9937 section 6: while acknowledgments show more loss, one segment goes for
/// each that was delivered; the extra one is for those that show progress alone.
#[test]
fn repair_goes_faster_only_while_nothing_more_is_lost() {
    let mut peer = ten_in_flight(14_600);
    peer.sends(ack(0, &[(1, 2)]));
    peer.sends(ack(0, &[(1, 3)]));
    peer.expects_nothing();
    peer.sends(ack(0, &[(8, 9), (1, 3)]));
    peer.expects(segment(0));
    peer.expects_nothing();
    peer.sends(ack(3, &[(8, 9)]));
    peer.expects(segment(3));
    peer.expects(segment(4));
}

/// RFC 2883 and RFC 3708: the peer reports that what was sent again had arrived;
/// the congestion window is as before.
#[test]
fn a_retransmission_that_was_not_needed_is_taken_back() {
    let mut peer = ten_in_flight(60_000);
    peer.sends(ack(0, &[(1, 5)]));
    peer.takes_all();
    assert_eq!(peer.stats().tcp.fast_retransmits, 1);
    // It was only late, and both arrive.
    peer.sends(ack(5, &[]));
    peer.takes_all();
    peer.sends(ack(5, &[(0, 1)]));
    assert_eq!(peer.stats().tcp.spurious, 1);
}

/// RFC 3522: the acknowledgment echoes a timestamp from before the retransmission.
#[test]
fn a_timeout_that_came_too_early_is_seen_by_its_timestamps() {
    let mut peer = Peer::with(|_| {}).listening();
    peer.sends(seg("S").win(65_535).mss(1_472).sack_ok().ts(1, 0));
    peer.iss = Some(peer.takes_all()[0].0.seq);
    peer.sends(seg("A").seq(1).ack(1).ts(1, 0));
    peer.engine_sends(&[b'x'; 14_600]);
    let first = peer.takes_all();
    let echo = first[0].0.options.timestamps.unwrap().value;
    assert_eq!(first.len(), 10);
    peer.wait_ms(400);
    assert!(peer.stats().tcp.rto_expired > 0, "a delay of the path");
    peer.takes_all();
    peer.sends(seg("A").seq(1).ack(2 * 1_448 + 1).ts(2, echo));
    assert_eq!(peer.stats().tcp.spurious, 1);
    // Nothing of the rest is sent a second time.
    assert!(peer.takes_all().iter().all(|(_, data)| data.is_empty()));
}

/// RFC 2018 section 8: a peer may drop what it has reported. After a timeout all
/// of it is sent again.
#[test]
fn a_peer_that_takes_back_its_report_is_sent_everything() {
    let mut peer = ten_in_flight(14_600);
    peer.sends(ack(0, &[(1, 10)]));
    peer.expects(segment(0));
    peer.sends(ack(1, &[(1, 10)]));
    peer.takes_all();
    peer.wait_ms(2_000);
    assert!(peer.stats().tcp.rto_expired > 0);
    peer.takes_all();
    for n in 2..=10 {
        peer.sends(ack(n, &[]));
    }
    assert_eq!(peer.stats().tcp.bytes_acked, 14_600);
}

/// What can be asked of a connection while it repairs (TCP_INFO).
#[test]
fn a_repair_can_be_watched() {
    let mut peer = ten_in_flight(14_600);
    let info = |peer: &mut Peer| {
        let id = peer.id();
        peer.sockets(|_, sockets| sockets.info(id)).unwrap()
    };
    let before = info(&mut peer);
    assert_eq!((before.repair, before.unacked), (Repair::Open, 10));
    assert_eq!((before.cwnd, before.ssthresh), (10, None));
    peer.sends(ack(0, &[(1, 2)]));
    assert_eq!(info(&mut peer).repair, Repair::Disorder);
    peer.sends(ack(0, &[(1, 4)]));
    let during = info(&mut peer);
    assert_eq!(during.repair, Repair::Recovery);
    assert_eq!(
        (during.sacked, during.lost, during.retransmitted),
        (3, 1, 1)
    );
    peer.sends(ack(10, &[]));
    let after = info(&mut peer);
    assert_eq!((after.repair, after.unacked), (Repair::Open, 0));
    assert!(after.ssthresh.is_some_and(|ssthresh| ssthresh < 10));
}

/// How far the network reorders, as it was seen (TCP_INFO).
#[test]
fn reordering_is_measured() {
    let mut peer = ten_in_flight(14_600);
    let info = |peer: &mut Peer| {
        let id = peer.id();
        let info = peer.sockets(|_, sockets| sockets.info(id)).unwrap();
        (info.reordering, info.reorderings)
    };
    assert_eq!(info(&mut peer), (3, 0));
    peer.sends(ack(0, &[(8, 9)]));
    assert_eq!(info(&mut peer), (3, 0));
    peer.sends(ack(0, &[(6, 7), (8, 9)]));
    assert_eq!(info(&mut peer), (3, 1));
    peer.sends(ack(0, &[(2, 3), (6, 7), (8, 9)]));
    assert_eq!(info(&mut peer), (7, 2));
}

/// RFC 5681 section 3.1 lets the window grow by what is acknowledged in order, and what a
/// block has reported does not count again. Once reordering was seen, blocks count: all ten
/// but the first, which showed nothing yet.
#[test]
fn what_arrives_in_another_order_makes_the_window_grow() {
    let mut peer = ten_in_flight(10 * MSS as usize);
    let id = peer.id();
    let cwnd = |peer: &mut Peer| peer.sockets(|_, s| s.info(id)).unwrap().cwnd;
    peer.sends(ack(0, &[(9, 10)]));
    assert_eq!(cwnd(&mut peer), 10);
    peer.sends(ack(0, &[(3, 4), (9, 10)]));
    assert_eq!(cwnd(&mut peer), 11);
    peer.sends(ack(10, &[]));
    assert_eq!(cwnd(&mut peer), 19);
}
