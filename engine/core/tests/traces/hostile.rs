//! Segments that lie: lengths, options, pointers and acknowledgments made up to
//! break the engine or to take more than their share.

use crate::peer::{ENGINE, PEER, Peer, Seg, Told, frame, ip_frame, seg};
use ringmill_core::rng::Rng;
use ringmill_core::seq::Seq;
use ringmill_core::sockets::{Closed, SocketOptions};
use ringmill_core::stats::DropReason;
use ringmill_core::tcp::State;
use ringmill_core::time::Duration;
use ringmill_core::wire::checksum::Sum;
use ringmill_core::wire::tcp::{Flags, Header, Options};
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

fn arrives(peer: &mut Peer, bytes: &[u8]) {
    peer.arrives(bytes);
    peer.wait_ms(0);
}

/// attack case 4: a data offset below 5 words, or past the segment.
#[test]
fn a_data_offset_that_lies_is_dropped_without_a_word() {
    let mut peer = Peer::established();
    for (n, offset) in [0_u8, 1, 4, 6, 15].into_iter().enumerate() {
        let lie = forged(&peer, &seg("A").seq(1).ack(1), |bytes| {
            bytes[12] = offset << 4;
        });
        arrives(&mut peer, &lie);
        peer.expects_nothing();
        assert_eq!(peer.dropped(DropReason::HeaderLength), n as u64 + 1);
    }
    assert_eq!(peer.state(), Some(State::Established));
}

/// attack case 5: option lengths 0 and 1 would never end (MUST-7); attack case 6:
/// lengths past the header. The segment is dropped, its data with it.
#[test]
fn impossible_option_lengths_cost_the_segment() {
    let mut peer = Peer::established();
    let lies: [&[u8]; 8] = [
        &[253, 0, 0, 0],
        &[253, 1, 0, 0],
        &[2, 0, 5, 180],
        &[8, 1, 0, 0],
        &[1, 1, 1, 253],
        &[253, 5, 0, 0],
        &[1, 8, 10, 0],
        &[5, 255, 0, 0],
    ];
    for (n, options) in lies.into_iter().enumerate() {
        let lie = with_options(&peer, &seg("PA").seq(1).ack(1).data(b"x"), options);
        arrives(&mut peer, &lie);
        peer.expects_nothing();
        assert_eq!(
            peer.dropped(DropReason::Option),
            n as u64 + 1,
            "{options:?}"
        );
    }
    assert!(peer.engine_reads().is_empty());
}

/// attack case 6: what follows the end of the list is not looked at (MUST-69).
#[test]
fn garbage_after_the_end_of_the_options_is_ignored() {
    let mut peer = Peer::established();
    let segment = seg("PA").seq(1).ack(1).data(b"data");
    let odd = with_options(&peer, &segment, &[1, 0, 253, 0, 255, 255, 255, 255]);
    arrives(&mut peer, &odd);
    assert_eq!(peer.engine_reads(), b"data");
}

/// attack case 8: twice, unaligned (MUST-64), all NOP, unknown (MUST-6, MUST-68),
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
    // Of two the later counts, which is as good as the earlier.
    let mut peer = Peer::new().listening();
    let twice = [2, 4, 2, 0, 1, 3, 3, 9, 2, 4, 5, 180, 3, 3, 0, 1];
    let syn = with_options(&peer, &seg("S").win(65_535), &twice);
    arrives(&mut peer, &syn);
    peer.expects(seg("SA").ack(1));
    peer.sends(seg("A").seq(1).ack(1));
    peer.engine_sends(&[b'x'; 1_460]);
    peer.expects(seg("A").seq(1).ack(1).len(1_460));
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

/// attack case 7: blocks of odd lengths, more than fit, backwards, empty, of what
/// was never sent, and of what is long acknowledged. None of them counts.
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
        all_arrives_in_the_end(peer, 1, 5_841);
    }
    for length in [3_u8, 9, 11, 17, 42] {
        let mut peer = with_sack();
        let mut option = vec![5; 40];
        option[1] = length;
        let lie = with_options(&peer, &seg("A").seq(1).ack(1).win(65_000), &option);
        arrives(&mut peer, &lie);
        peer.expects_nothing();
        all_arrives_in_the_end(peer, 1, 5_841);
    }
}

/// Nothing that was in flight has been forgotten: the peer, which has received
/// what is before `acked`, gets all before `end`.
fn all_arrives_in_the_end(mut peer: Peer, mut acked: u32, end: u32) {
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

/// attack case 39 (CVE-2019-11477, CVE-2019-11478): thousands of ACKs, each with
/// other holes. The engine stays whole, and the data arrives.
#[test]
fn sacks_of_alternating_holes_are_survived() {
    let mut rng = Rng::from_seed(39);
    let mut pick = |below: u64| u32::try_from(rng.below(below)).unwrap();
    let mut peer = with_sack();
    for _ in 0..5_000 {
        let blocks: Vec<(u32, u32)> = (0..4)
            .map(|_| {
                let left = 1 + pick(5_838);
                (left, left + 1 + pick(2))
            })
            .collect();
        let option = sack(&peer, &blocks);
        let ack = with_options(&peer, &seg("A").seq(1).ack(1), &option[2..]);
        peer.arrives(&ack);
        if pick(16) == 0 {
            peer.wait_ms(1);
        }
    }
    peer.wait_ms(0);
    assert!(peer.shard.gauges().chunks <= 4);
    assert!(peer.stats().tcp.retransmits < 5_000);
    all_arrives_in_the_end(peer, 1, 5_841);
}

/// attack case 31: PAWS does not hold for a RST, whose timestamp may be anything
/// (RFC 7323 section 5.2).
#[test]
fn a_reset_needs_no_young_timestamp() {
    let mut peer = Peer::with(|_| ()).listening();
    peer.sends(seg("S").mss(1_460).ts(1_000, 0));
    peer.expects(seg("SA").ack(1).ts(0, 0));
    peer.sends(seg("A").seq(1).ack(1).ts(1_000, 0));
    peer.sends(seg("R").seq(1).ts(3, 0));
    assert_eq!(peer.told(), [Told::Accepted, Told::Closed(Closed::Reset)]);
    peer.ends_clean();
}

/// attack case 31: an old duplicate of 4 GiB ago has the numbers of today and the
/// timestamp of then; it does not even move ts_recent.
/// attack case 32: without the option that was agreed on nothing but a RST counts.
#[test]
fn duplicates_from_the_last_round_of_sequence_numbers_are_dropped() {
    let mut peer = Peer::with(|_| ()).listening();
    peer.sends(seg("S").mss(1_460).ts(1_000, 0));
    peer.expects(seg("SA").ack(1).ts(0, 0));
    peer.sends(seg("A").seq(1).ack(1).ts(1_000, 0));
    peer.sends(seg("PA").seq(1).ack(1).ts(999, 0).data(b"old"));
    let ack = peer.takes_all().pop().unwrap().0;
    assert_eq!(ack.options.timestamps.unwrap().echo, 1_000);
    peer.sends(seg("PA").seq(1).ack(1).data(b"bare"));
    peer.expects_nothing();
    assert_eq!(peer.dropped(DropReason::Paws), 2);
    peer.sends(seg("PA").seq(1).ack(1).ts(1_001, 0).data(b"new"));
    assert_eq!(peer.engine_reads(), b"new");
    peer.sends(seg("R").seq(4));
    assert_eq!(peer.told().last(), Some(&Told::Closed(Closed::Reset)));
}

/// attack case 35: floods of ACK and RST for nobody, and of UDP. They cost no
/// memory, and the connection beside them is served in the same step.
#[test]
fn floods_take_nothing_from_a_live_connection() {
    let mut peer = Peer::established();
    let before = peer.shard.gauges();
    let stray = |port, flags| Header {
        source_port: port,
        destination_port: 9,
        seq: Seq(1),
        ack: Seq(1),
        flags,
        window: 1,
        urgent: 0,
        options: Options::default(),
    };
    for round in 0..100 {
        for n in 0..100 {
            let port = round * 100 + n;
            for flags in [Flags::ACK, Flags::RST] {
                peer.arrives(&frame(PEER, ENGINE, &stray(port, flags), b""));
            }
            peer.arrives(&ip_frame(PEER, ENGINE, 17, &[0; 8]));
        }
        let at = 1 + u32::from(round);
        peer.sends_without_pause(seg("PA").seq(at).ack(1).data(b"x"));
        peer.wait_ms(0);
        assert_eq!(peer.engine_reads(), b"x");
    }
    peer.wait_ms(50);
    let resets = peer.takes_all();
    let of = |flag| {
        resets
            .iter()
            .filter(|(h, _)| h.flags.contains(flag))
            .count()
    };
    assert!(of(Flags::RST) <= 10_000, "none for a RST");
    let after = peer.shard.gauges();
    assert_eq!((after.states, after.chunks), (before.states, before.chunks));
    assert_eq!(peer.shard.frames_missing(), 0);
}

/// attack case 37: one byte a segment, one byte of window. The receiver's window
/// does not dribble (MUST-39), the sender does not fill one byte at a time
/// (MUST-38), and a connection's queue stays within its buffer.
#[test]
fn single_bytes_get_no_single_bytes_back() {
    let mut peer = Peer::with(|config| {
        config.tcp.timestamps = false;
        config.tcp.receive_buffer = 4_000;
    })
    .listening()
    .handshake();
    for n in 0..4_500 {
        peer.sends_without_pause(seg("PA").seq(1 + n).ack(1).data(b"x"));
    }
    peer.wait_ms(50);
    assert!(peer.shard.gauges().chunks <= 4_000);
    assert!(peer.shard.gauges().held_frames <= 64);
    let id = peer.id();
    peer.takes_all();
    peer.sockets(|_, sockets| sockets.consume(id, 1));
    peer.expects_nothing();
    assert_eq!(peer.engine_reads().len(), 3_999);
    peer.takes_all();

    let mut peer = Peer::established();
    peer.sends(seg("A").seq(1).ack(1).win(1));
    peer.engine_sends(&[b'x'; 1_000]);
    let mut sent = 0;
    for _ in 0..20 {
        peer.wait_ms(10);
        sent += peer.takes_all().len();
    }
    assert!(sent <= 1, "one byte may probe, {sent} segments came");
}

/// attack case 40 (CVE-2018-5390): thousands of single bytes with gaps between
/// them, backwards, which is the order that a walk likes least.
#[test]
fn single_bytes_out_of_order_are_bounded() {
    let mut peer = Peer::established();
    for n in (0..8_000).rev() {
        peer.sends_without_pause(seg("A").seq(3 + 2 * n).ack(1).data(b"x"));
    }
    peer.wait_ms(0);
    peer.takes_all();
    let gauges = peer.shard.gauges();
    assert!(
        gauges.chunks <= 1_100 && gauges.held_frames <= 64,
        "{gauges:?}"
    );
    peer.sends(seg("R").seq(1));
    peer.ends_clean();
}

/// attack case 41: overlaps of other content. The bytes that came first stay,
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

/// attack case 42: who picks 4-tuples can't pick where they land. Tuples that all
/// meet in one engine are spread by the next, whose key is another.
#[test]
fn flows_that_collide_for_one_key_do_not_for_another() {
    use ringmill_core::flow::{FlowHasher, FlowKey};
    let (known, secret) = (FlowHasher::new([1; 16]), FlowHasher::new([2; 16]));
    let chosen: Vec<FlowKey> = (1..60_000)
        .map(|remote_port| FlowKey {
            local: 0,
            remote: PEER.into(),
            local_port: 80,
            remote_port,
        })
        .filter(|key| known.hash(key) % 256 == 0)
        .collect();
    assert!(chosen.len() > 150);
    let mut buckets = [0; 256];
    for key in &chosen {
        buckets[usize::try_from(secret.hash(key) % 256).unwrap()] += 1;
    }
    let fullest = buckets.into_iter().max().unwrap();
    assert!(fullest < chosen.len() / 8, "{fullest} of {}", chosen.len());
}

/// attack case 46 (Savage 1999): an ACK of what was not sent yet earns nothing,
/// ACKs of single bytes earn no more than one of all (RFC 3465), and duplicates
/// without end do not inflate the window without bound.
#[test]
fn acknowledgments_can_not_be_made_to_pay() {
    let flight_after = |acks: &dyn Fn(&mut Peer)| {
        let mut peer = Peer::established();
        peer.engine_sends(&[b'x'; 60_000]);
        assert_eq!(peer.takes_all().len(), 10);
        acks(&mut peer);
        peer.takes_all().len()
    };
    let optimistic = flight_after(&|peer| {
        for n in 1..100 {
            peer.sends(seg("A").seq(1).ack(14_601 + n));
        }
        let answers = peer.takes_all();
        assert!(answers.iter().all(|(_, data)| data.is_empty()), "ACKs only");
    });
    assert_eq!(optimistic, 0);
    let whole = flight_after(&|peer| peer.sends(seg("A").seq(1).ack(1_461)));
    let split = flight_after(&|peer| {
        for n in 1..=1_460 {
            peer.sends(seg("A").seq(1).ack(1 + n));
        }
    });
    assert!(whole <= 3 && split <= whole + 1, "{split} for {whole}");
    let duplicates = flight_after(&|peer| {
        for _ in 0..1_000 {
            peer.sends(seg("A").seq(1).ack(1));
        }
    });
    assert!(duplicates <= 45, "within the peer's window: {duplicates}");
}

/// attack case 47: the window closes over data in flight, and opens again.
#[test]
fn a_window_that_closes_over_data_in_flight_is_waited_for() {
    let mut peer = Peer::established();
    peer.engine_sends(&[b'x'; 7_300]);
    assert_eq!(peer.takes_all().len(), 5);
    peer.sends(seg("A").seq(1).ack(1_461).win(0));
    peer.wait_ms(10_000);
    // It asks, by one byte or by what was in flight, and does not give up.
    assert!((1..20).contains(&peer.takes_all().len()));
    assert_eq!(peer.state(), Some(State::Established));
    peer.sends(seg("A").seq(1).ack(1_461).win(65_535));
    all_arrives_in_the_end(peer, 1_461, 7_301);
}

/// attack case 47: a scale of 15 and of 255 is one of 14 (RFC 7323 section 2.3),
/// and on any segment but a SYN it is nothing.
#[test]
fn window_scales_that_can_not_be_are_bounded() {
    for shift in [15, 255] {
        let mut peer = Peer::with(|config| {
            config.tcp.timestamps = false;
            config.tcp.receive_buffer = 1 << 20;
        })
        .listening();
        let syn = with_options(&peer, &seg("S").win(100), &[2, 4, 5, 180, 3, 3, shift]);
        arrives(&mut peer, &syn);
        peer.expects(seg("SA").ack(1));
        // 16,384 bytes: more than the congestion window lets out at first.
        peer.sends(seg("A").seq(1).ack(1).win(1));
        peer.engine_sends(&[b'x'; 30_000]);
        assert_eq!(peer.takes_all().len(), 10);
        peer.sends(seg("A").seq(1).ack(14_601).win(1));
        let more: usize = peer.takes_all().iter().map(|(_, data)| data.len()).sum();
        assert!(more > 0 && more <= 16_384, "{more}");
    }
    let mut peer = Peer::established();
    let late = with_options(&peer, &seg("A").seq(1).ack(1).win(2_000), &[3, 3, 14]);
    arrives(&mut peer, &late);
    peer.engine_sends(&[b'x'; 4_000]);
    peer.expects(seg("A").seq(1).ack(1).len(1_460));
    peer.expects_nothing();
}

/// attack case 48 (CVE-2019-12255, CVE-2020-17437): urgent pointers at 0, past the
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

/// An engine whose next initial sequence number towards this peer is `before` the
/// wrap: it waits for its clock of 4 us (RFC 6528).
fn about_to_wrap(before: u32) -> Peer {
    let mut probe = Peer::new().listening();
    probe.sends(seg("S"));
    probe.expects(seg("SA").ack(1));
    let ticks = 0_u32
        .wrapping_sub(before)
        .wrapping_sub(probe.iss.unwrap().0);
    let mut peer = Peer::new().listening();
    peer.wait(Duration::from_micros(u64::from(ticks) * 4));
    let peer = peer.handshake();
    assert_eq!(peer.iss, Some(Seq(0_u32.wrapping_sub(before))));
    peer
}

/// attack case 49: our numbers wrap within SYN, data, SACK, FIN and window. (The
/// peer's wrap in every trace, ten bytes after its SYN.)
#[test]
fn sequence_numbers_wrap_anywhere() {
    for before in [1, 2, 5, 1_461, 1_462, 2_000, 2_921, 2_922, 2_923, 60_000] {
        let mut peer = about_to_wrap(before);
        peer.engine_sends(&[b'x'; 2_920]);
        peer.expects(seg("A").seq(1).ack(1).len(1_460));
        peer.expects(seg("A").seq(1_461).ack(1).len(1_460));
        // The first is lost, and comes again.
        peer.sends(seg("A").seq(1).ack(1));
        peer.wait_ms(1_000);
        assert!(!peer.takes_all().is_empty());
        peer.sends(seg("A").seq(1).ack(1_461));
        peer.sends(seg("A").seq(1).ack(2_921));
        peer.wait_ms(10);
        peer.takes_all();
        peer.engine_closes();
        peer.expects(seg("FA").seq(2_921).ack(1));
        peer.sends(seg("FA").seq(1).ack(2_922));
        peer.expects(seg("A").seq(2_922).ack(2));
        assert_eq!(peer.stats().tcp.bytes_acked, 2_920);
        peer.ends_clean();
    }
}

/// attack case 50: ECN marks that nobody agreed on, on SYN, on data, in storms.
/// They change neither state nor window.
#[test]
fn marks_that_were_not_agreed_on_are_nothing() {
    let mut peer = Peer::new().listening();
    let mark = |segment: Seg, bits: Flags| Seg {
        flags: segment.flags | bits,
        ..segment
    };
    // CWR alone asks for nothing.
    peer.sends(mark(seg("S").win(65_535).mss(1_460), Flags::CWR));
    let syn_ack = peer.expects(seg("SA").ack(1));
    assert!(!syn_ack.flags.contains(Flags::ECE));
    peer.sends(seg("A").seq(1).ack(1).win(65_535));
    peer.engine_sends(&[b'x'; 60_000]);
    assert_eq!(peer.takes_all().len(), 10);
    for n in 0..10_u32 {
        let bits = [Flags::ECE, Flags::CWR, Flags::ECE | Flags::CWR][n as usize % 3];
        peer.sends(mark(seg("A").seq(1).ack(1 + (n + 1) * 1_460), bits));
    }
    assert_eq!(peer.takes_all().len(), 20, "slow start goes on");
    assert_eq!(peer.state(), Some(State::Established));
}

/// attack case 43: connections that are opened both ways and aborted in every
/// state, over and over; no record, frame, timer or port is left. A longer hunt:
/// `RINGMILL_CHURN=1000000`.
#[test]
fn churn_with_aborts_in_every_state_leaks_nothing() {
    let rounds = std::env::var("RINGMILL_CHURN")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(100_000_u32);
    let mut rng = Rng::from_seed(43);
    let mut peer = Peer::new().listening();
    for round in 0..rounds {
        churn_once(&mut peer, round, rng.below(9));
        if round.is_multiple_of(50) {
            peer.wait(Duration::from_secs(61));
        }
        peer.takes_all();
    }
    peer.wait(Duration::from_secs(400));
    peer.takes_all();
    let tcp = peer.stats().tcp;
    let third = u64::from(rounds) / 3;
    assert!(tcp.passive_opens > third && tcp.aborts > third, "{tcp:?}");
    let gauges = peer.shard.gauges();
    assert_eq!(
        (gauges.live(), gauges.of(State::TimeWait), gauges.chunks),
        (0, 0, 0),
        "{gauges:?}"
    );
    assert_eq!((gauges.timers, gauges.ports), (0, 0));
    assert_eq!(peer.shard.frames_missing(), 0);
}

/// One connection, which goes `far` and is then aborted, by either side.
fn churn_once(peer: &mut Peer, round: u32, far: u64) {
    peer.iss = None;
    if round.is_multiple_of(5) {
        peer.port = 80;
        let target = (PEER, 80).into();
        let Ok(id) = peer.sockets(|_, s| s.connect(target, 0, SocketOptions::default())) else {
            return;
        };
        peer.wait_ms(0);
        peer.expects(seg("S"));
        if far > 4 {
            peer.sends(seg("SA").ack(1));
        }
        peer.sockets(|_, sockets| sockets.abort(id));
        return;
    }
    peer.engine_port = 80;
    peer.port = 1_024 + u16::try_from(round % 60_000).unwrap();
    peer.sends(seg("S"));
    let came = peer.takes_all();
    let Some((header, _)) = came.first().filter(|(h, _)| h.flags.contains(Flags::SYN)) else {
        return;
    };
    peer.iss = Some(header.seq);
    if far == 0 {
        return peer.sends(seg("R").seq(1));
    }
    peer.sends(seg("A").seq(1).ack(1));
    if far > 1 {
        peer.engine_sends(b"data");
        peer.sends(seg("PA").seq(3).ack(1).data(b"ahead"));
    }
    match far {
        2 => peer.sends(seg("FA").seq(1).ack(5)),
        3 => {
            let id = peer.id();
            peer.sockets(|_, sockets| sockets.shutdown(id).unwrap());
        }
        4 => {
            let id = peer.id();
            peer.sockets(|_, sockets| sockets.shutdown(id).unwrap());
            peer.sends(seg("FA").seq(1).ack(5));
        }
        5 => return peer.sends(seg("R").seq(1)),
        6 => return peer.engine_closes(),
        _ => {}
    }
    let id = peer.id();
    peer.sockets(|_, sockets| sockets.abort(id));
}
