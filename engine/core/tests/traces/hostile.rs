//! Segments that lie: lengths, options, blocks and pointers made up to break the engine.
//! What comes in masses, and what wants more than its share, is in `floods` and `greedy`.

use crate::peer::{ENGINE, PEER, Peer, Seg, ip_frame, seg};
use ringmill_core::rng::Rng;
use ringmill_core::seq::Seq;
use ringmill_core::stats::DropReason;
use ringmill_core::tcp::State;
use ringmill_core::wire::checksum::Sum;
use ringmill_core::wire::tcp::Header;
use std::net::IpAddr;

fn octets(address: impl Into<IpAddr>) -> Vec<u8> {
    match address.into() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// A segment that is changed before its checksum is made.
pub(crate) fn forged(peer: &Peer, segment: &Seg, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let whole = peer.frame_of(segment);
    let plain = Header {
        source_port: 0,
        destination_port: 0,
        seq: Seq(0),
        ack: Seq(0),
        flags: segment.flags,
        window: 0,
        urgent: 0,
        options: segment.options,
    };
    let mut bytes = whole[whole.len() - plain.len() - segment.data.len()..].to_vec();
    change(&mut bytes);
    bytes[16..18].fill(0);
    let length = u16::try_from(bytes.len()).unwrap();
    let sum = Sum::default()
        .add_bytes(&octets(PEER))
        .add_bytes(&octets(ENGINE))
        .add_u16(6)
        .add_u16(length)
        .add_bytes(&bytes)
        .complement();
    bytes[16..18].copy_from_slice(&sum.to_be_bytes());
    ip_frame(PEER, ENGINE, 6, &bytes)
}

/// A segment with these bytes as its options, padded with zeros to whole words.
pub(crate) fn with_options(peer: &Peer, segment: &Seg, options: &[u8]) -> Vec<u8> {
    forged(peer, segment, |bytes| {
        let mut options = options.to_vec();
        options.resize(options.len().next_multiple_of(4), 0);
        let words = u8::try_from((20 + options.len()) / 4).unwrap();
        bytes[12] = words << 4;
        bytes.splice(20..20, options);
    })
}

pub(crate) fn arrives(peer: &mut Peer, bytes: &[u8]) {
    peer.arrives(bytes);
    peer.wait_ms(0);
}

/// Attack case 4 (CVE-2020-24341): a data offset below 5 words, or past the segment, to a
/// connection, a listener and a port where a RST would be the answer.
#[test]
fn a_data_offset_that_lies_is_dropped_without_a_word() {
    let mut peer = Peer::established();
    let before = peer.shard.gauges();
    let (connection, engine_port) = (peer.port, peer.engine_port);
    let mut count = 0;
    for (port, to) in [
        (connection, engine_port),
        (connection + 1, engine_port),
        (connection, engine_port + 1),
    ] {
        (peer.port, peer.engine_port) = (port, to);
        for offset in (0..5).chain(7..16) {
            for flags in ["A", "S", "FA", "R"] {
                let segment = seg(flags).seq(1).ack(1).data(b"data");
                let lie = forged(&peer, &segment, |bytes| bytes[12] = offset << 4);
                arrives(&mut peer, &lie);
                count += 1;
            }
        }
    }
    peer.expects_nothing();
    assert_eq!(peer.drops(), [(DropReason::HeaderLength, count)]);
    assert_eq!(peer.shard.gauges(), before);
    assert_eq!(peer.state(), Some(State::Established));
    assert_eq!(peer.engine_reads(), b"");
}

/// Attack case 5: option lengths 0 and 1 would never end (MUST-7). Attack case 6:
/// lengths past the header, although the data behind it would be the rest of a good
/// option. The segment is dropped, its data with it, by a connection and by a listener.
#[test]
fn impossible_option_lengths_cost_the_segment() {
    let mut peer = Peer::established();
    let before = peer.shard.gauges();
    let connection = peer.port;
    let lies: [&[u8]; 15] = [
        &[253, 0, 0, 0],
        &[253, 1, 0, 0],
        &[2, 0, 5, 180],
        &[2, 1, 5, 180],
        &[3, 0, 7, 0],
        &[4, 1, 0, 0],
        &[5, 0, 0, 0],
        &[8, 0, 0, 0],
        &[8, 1, 0, 0],
        &[1, 1, 1, 253],
        &[253, 5, 0, 0],
        &[1, 1, 2, 4],
        &[1, 1, 8, 10],
        &[1, 8, 10, 0],
        &[5, 255, 0, 0],
    ];
    for (n, options) in lies.into_iter().enumerate() {
        for (flags, port) in [("PA", connection), ("S", connection + 1)] {
            peer.port = port;
            let segment = seg(flags).seq(1).ack(1).data(&[5, 180, 0, 0, 0, 0, 0, 0]);
            let lie = with_options(&peer, &segment, options);
            arrives(&mut peer, &lie);
        }
        peer.expects_nothing();
        assert_eq!(
            peer.drops(),
            [(DropReason::Option, 2 * (n as u64 + 1))],
            "{options:?}"
        );
    }
    assert_eq!(peer.shard.gauges(), before);
    peer.port = connection;
    assert!(peer.engine_reads().is_empty());
}

/// Attack case 6: what follows the end of the list is not looked at (MUST-69).
#[test]
fn garbage_after_the_end_of_the_options_is_ignored() {
    let garbage: [&[u8]; 4] = [
        &[1, 0, 253, 0, 255, 255, 255, 255],
        &[0, 2, 4, 0, 8, 8, 10, 255],
        &[0, 0, 0, 0, 253, 1, 5, 255],
        &[2, 4, 5, 180, 0, 3, 0, 3],
    ];
    for options in garbage {
        let mut peer = Peer::new().listening();
        let syn = with_options(&peer, &seg("S").win(65_535), options);
        arrives(&mut peer, &syn);
        let syn_ack = peer.expects(seg("SA").ack(1));
        let taken = (syn_ack.options.window_scale, syn_ack.options.timestamps);
        assert_eq!(taken, (None, None), "{options:?}");
        let segment = seg("PA").seq(1).ack(1).data(b"data");
        let odd = with_options(&peer, &segment, options);
        arrives(&mut peer, &odd);
        assert_eq!(peer.engine_reads(), b"data");
        assert_eq!(peer.drops(), []);
    }
}

/// Attack case 8: unaligned (MUST-64), all NOP, unknown (MUST-6, MUST-68),
/// and on any segment (MUST-5).
#[test]
fn options_come_in_any_order_number_and_alignment() {
    let nops = [1; 40];
    let unknown = [253, 2].repeat(20);
    let long = [[254, 40].as_slice(), &[7; 38]].concat();
    for options in [&nops[..], &unknown, &long, &[1, 253, 3, 9, 1, 254, 2, 1]] {
        let mut peer = Peer::new().listening();
        let syn = with_options(&peer, &seg("S").win(65_535), options);
        arrives(&mut peer, &syn);
        peer.expects(seg("SA").ack(1));
        let data = seg("PA").seq(1).ack(1).data(b"data");
        let data = with_options(&peer, &data, options);
        arrives(&mut peer, &data);
        assert_eq!(peer.engine_reads(), b"data", "{options:?}");
    }
}

/// Attack case 8: every option twice, at odd places, on a SYN and on data. Of two the
/// later counts, which is as good as the earlier.
#[test]
fn of_options_that_come_twice_the_later_counts() {
    let mut peer = Peer::with(|_| ()).listening();
    let stamp = |value: u8| [8, 10, 0, 0, 0, value, 0, 0, 0, 0];
    let twice = [
        &[2, 4, 2, 0, 1, 3, 3, 9][..],
        &stamp(5),
        &[4, 2, 2, 4, 5, 180],
        &stamp(7),
        &[3, 3, 0, 4, 2, 1],
    ]
    .concat();
    assert_eq!(twice.len(), 40);
    let syn = with_options(&peer, &seg("S").win(65_535), &twice);
    arrives(&mut peer, &syn);
    let agreed = peer.expects(seg("SA").ack(1).ts(0, 0).scale(0)).options;
    assert!(agreed.sack_permitted);
    assert_eq!(agreed.timestamps.unwrap().echo, 7);
    // A SACK option twice beside two timestamps: the second block is of nothing.
    let data = seg("PA").seq(1).ack(1).data(b"data");
    let stamps = [&stamp(8)[..], &[1], &stamp(9), &[1]].concat();
    let data = with_options(&peer, &data, &stamps);
    arrives(&mut peer, &data);
    assert_eq!(peer.engine_reads(), b"data");
    peer.wait_ms(50);
    let (ack, _) = peer.takes_all().pop().unwrap();
    assert_eq!(ack.options.timestamps.unwrap().echo, 9);
    peer.engine_sends(&[b'x'; 1_448]);
    peer.expects(seg("A").seq(1).ack(5).ts(0, 0).len(1_448));
    let block = |left: u32, right: u32| {
        let iss = peer.iss.unwrap();
        [
            &[5, 10][..],
            &(iss + left).0.to_be_bytes(),
            &(iss + right).0.to_be_bytes(),
        ]
        .concat()
    };
    let twice = [&stamp(10)[..], &block(9, 3), &block(1, 1_449)].concat();
    let ack = with_options(&peer, &seg("A").seq(5).ack(1), &twice);
    arrives(&mut peer, &ack);
    let id = peer.id();
    let info = peer.sockets(|_, sockets| sockets.info(id)).unwrap();
    assert_eq!((info.unacked, info.sacked), (1, 1));
}

/// An engine that took up SACK, with four segments in flight.
fn with_sack() -> Peer {
    let mut peer = Peer::new().listening();
    let syn = with_options(&peer, &seg("S").win(65_535), &[2, 4, 5, 180, 4, 2]);
    arrives(&mut peer, &syn);
    peer.expects(seg("SA").ack(1));
    peer.sends(seg("A").seq(1).ack(1));
    peer.engine_sends(&[b'x'; 5_840]);
    assert_eq!(peer.takes_all().len(), 4);
    peer
}

/// A SACK option with these blocks, relative to our initial sequence number.
fn sack(peer: &Peer, blocks: &[(u32, u32)]) -> Vec<u8> {
    let iss = peer.iss.unwrap();
    let mut option = vec![1, 1, 5, u8::try_from(2 + 8 * blocks.len()).unwrap()];
    for (left, right) in blocks {
        option.extend((iss + *left).0.to_be_bytes());
        option.extend((iss + *right).0.to_be_bytes());
    }
    option
}

/// Attack case 7: blocks of odd lengths, more than fit, backwards, empty, of what
/// was never sent, and of what is long acknowledged. None of them counts. (One below
/// SND.UNA may report a duplicate, RFC 2883, and never a delivery.)
#[test]
fn sack_blocks_that_can_not_be_are_ignored() {
    let below = u32::MAX - 5_000;
    let impossible = [
        (2_921, 1_461),
        (1_461, 1_461),
        (5_841, 7_301),
        (1_461, 5_842),
        (1 << 20, 1 << 21),
        (below, below + 100),
        (0x8000_0000, 0x8000_0001),
    ];
    for block in impossible {
        let mut peer = with_sack();
        for n in 0..3 {
            let option = sack(&peer, &[block]);
            let ack = with_options(&peer, &seg("A").seq(1).ack(1).win(65_000 + n), &option);
            arrives(&mut peer, &ack);
        }
        peer.expects_nothing();
        nothing_is_scored(&mut peer, 4);
        all_arrives_in_the_end(peer, 1, 5_841);
    }
    // Below SND.UNA, of what was there.
    for block in [(1, 1_461), (1, 2_921), (1_000, 2_920), (1, 5_841)] {
        let mut peer = with_sack();
        peer.sends(seg("A").seq(1).ack(2_921));
        for _ in 0..5 {
            let option = sack(&peer, &[block]);
            let ack = with_options(&peer, &seg("A").seq(1).ack(2_921), &option);
            arrives(&mut peer, &ack);
        }
        peer.expects_nothing();
        nothing_is_scored(&mut peer, 2);
        all_arrives_in_the_end(peer, 2_921, 5_841);
    }
    // Of good blocks, but not of whole ones, or of five, which no header has room for.
    for length in [2_u8, 3, 9, 11, 17, 19, 25, 27, 33, 35, 42] {
        let mut peer = with_sack();
        let good = [
            (1_461, 2_921),
            (2_921, 4_381),
            (4_381, 5_841),
            (2_921, 4_381),
        ];
        let mut option = sack(&peer, &good)[2..].to_vec();
        option[1] = length;
        option.resize(40, 1);
        option[usize::from(length).min(36)..].fill(1);
        for n in 0..4 {
            let segment = seg("A").seq(1).ack(1).win(65_000 + n);
            let lie = with_options(&peer, &segment, &option);
            arrives(&mut peer, &lie);
        }
        peer.expects_nothing();
        nothing_is_scored(&mut peer, 4);
        let is_dropped = peer.dropped(DropReason::Option) == 4;
        assert_eq!(is_dropped, length == 42);
        all_arrives_in_the_end(peer, 1, 5_841);
    }
}

/// So many segments are in flight, and none is held to be delivered or lost.
#[track_caller]
fn nothing_is_scored(peer: &mut Peer, segments: u32) {
    let id = peer.id();
    let info = peer.sockets(|_, sockets| sockets.info(id)).unwrap();
    assert_eq!((info.unacked, info.sacked, info.lost), (segments, 0, 0));
}

/// Nothing that was in flight has been forgotten: the peer, which has received
/// what is before `acked`, gets all before `end`.
pub(crate) fn all_arrives_in_the_end(mut peer: Peer, mut acked: u32, end: u32) {
    let iss = peer.iss.unwrap();
    for _ in 0..300 {
        peer.wait_ms(100);
        for (header, data) in peer.takes_all() {
            let seq = header.seq.bytes_since(iss);
            if seq <= acked {
                acked = acked.max(seq + u32::try_from(data.len()).unwrap());
            }
            peer.sends(seg("A").seq(1).ack(acked));
        }
        if acked == end {
            break;
        }
    }
    assert_eq!(acked, end, "everything was sent again");
    assert_eq!(peer.stats().tcp.bytes_acked, u64::from(end) - 1);
}

/// Attack case 41: overlaps of other content. The bytes that came first stay,
/// whatever comes later; a naive model keeps the same stream.
#[test]
fn of_overlapping_segments_the_first_wins() {
    for seed in 0..200 {
        let mut rng = Rng::from_seed(seed);
        let mut pick = |below: u64| usize::try_from(rng.below(below)).unwrap();
        let mut peer = Peer::established();
        let mut model = [None; 120];
        let mut read = Vec::new();
        for n in 0..60_u8 {
            let (at, len) = (pick(100), 1 + pick(20));
            let segment = seg("A").ack(1).data(&vec![n; len]);
            peer.sends(segment.seq(1 + u32::try_from(at).unwrap()));
            // What is kept of a segment is its part up to the next thing kept.
            let open = (at..at + len).find(|&at| model[at].is_none());
            for slot in model[open.unwrap_or(at)..at + len].iter_mut() {
                if open.is_none() || slot.is_some() {
                    break;
                }
                *slot = Some(n);
            }
            read.extend(peer.engine_reads());
        }
        let expected: Vec<u8> = model.iter().map_while(|slot| *slot).collect();
        assert_eq!(read, expected, "seed {seed}");
    }
}

/// Attack case 48 (CVE-2019-12255, CVE-2020-17437): urgent pointers at 0, past the
/// data, backwards and far away, with and without data. It all stays in line.
#[test]
fn urgent_pointers_to_nowhere_change_no_byte() {
    for pointer in [0_u16, 1, 2, 3, 4, 5, 100, 0x7fff, 0x8000, 0xffff] {
        let mut peer = Peer::established();
        for (seq, data) in [(1, &b"one"[..]), (4, b""), (4, b"two"), (1, b"one")] {
            let urgent = forged(&peer, &seg("UPA").seq(seq).ack(1).data(data), |bytes| {
                bytes[18..20].copy_from_slice(&pointer.to_be_bytes());
            });
            arrives(&mut peer, &urgent);
        }
        assert_eq!(peer.engine_reads(), b"onetwo", "pointer {pointer}");
        peer.sends(seg("FA").seq(7).ack(1));
        assert_eq!(peer.state(), Some(State::CloseWait));
        peer.engine_closes();
        peer.takes_all();
        peer.sends(seg("A").seq(8).ack(2));
        peer.ends_clean();
    }
}
