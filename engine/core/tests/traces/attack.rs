//! Bad input: spoofed, malformed, and simply wrong.

use crate::FAMILY;
use crate::peer::{Family, IP_LEN, Peer, seg};
use ringmill_core::rng::Rng;
use ringmill_core::stats::DropReason;
use ringmill_core::tcp::State;
use ringmill_core::wire::checksum::Sum;

/// No flags, all flags, and pairs that make no sense, to a listener and to a
/// connection: no state is made or lost.
/// Attack case 17; in every state in `cells`.
#[test]
fn senseless_flags_make_and_break_nothing() {
    let combinations = ["", "FPU", "SF", "SR", "F", "U", "SFRPAU", "P"];
    let mut peer = Peer::new().listening();
    for flags in combinations {
        peer.sends(seg(flags));
    }
    assert_eq!(peer.shard.gauges().of(State::SynReceived), 0);
    peer.takes_all();
    peer.ends_clean();

    let mut peer = Peer::established();
    for flags in combinations
        .into_iter()
        .filter(|flags| !flags.contains('R'))
    {
        peer.sends(seg(flags).seq(1).ack(1));
    }
    assert_eq!(peer.state(), Some(State::Established));
}

/// RFC 5961 section 5.2: what was never sent can't be acknowledged, nor what is
/// further back than the largest window, whatever else the segment holds.
/// RFC 9293 section 3.10.7.4, MAY-12. Attack case 21.
#[test]
fn acknowledgments_of_the_future_and_of_the_distant_past_are_challenged() {
    let mut peer = Peer::established();
    peer.engine_sends(b"x");
    peer.expects(seg("A").seq(1).ack(1).data(b"x"));
    // SND.UNA is 1, SND.NXT 2, MAX.SND.WND 65,535.
    let oldest = 1_u32.wrapping_sub(65_535);
    let wrong = [3, 1_000_000, 1 << 31, oldest - 1, oldest - 40_000];
    for (n, ack) in (1..).zip(wrong) {
        for flags in ["PA", "FA"] {
            peer.sends(seg(flags).seq(1).ack(ack).win(9).data(b"evil"));
            peer.expects(seg("A").seq(2).ack(1));
        }
        assert_eq!(peer.drops(), [(DropReason::BadAck, 2 * n)]);
    }
    assert_eq!(peer.stats().tcp.bytes_acked, 0);
    assert_eq!(peer.stats().tcp.challenge_acks, 10);
    assert_eq!(peer.engine_reads(), b"");
    let id = peer.id();
    let info = peer.sockets(|_, sockets| sockets.info(id)).unwrap();
    assert_eq!((info.state, info.snd_wnd), (State::Established, 65_535));
    // The oldest that may be is only old.
    peer.sends(seg("PA").seq(1).ack(oldest).win(9).data(b"old"));
    assert_eq!(peer.engine_reads(), b"old");
    assert_eq!(peer.stats().tcp.bytes_acked, 0);
    peer.sends(seg("A").seq(4).ack(2));
    assert_eq!(peer.stats().tcp.bytes_acked, 1);
}

/// Every frame that can arrive is survived: random bytes, and real segments of a
/// live connection with some bytes changed and the checksums mended, so that they
/// get past the first door. Nothing panics, nothing leaks.
#[test]
fn a_hundred_thousand_mutated_frames_are_survived() {
    let mut rng = Rng::from_seed(20);
    for round in 0..20 {
        let mut peer = Peer::with(|config| config.tcp.timestamps = round % 2 == 0)
            .listening()
            .handshake_any();
        peer.engine_sends(&[b'x'; 3_000]);
        for _ in 0..5_000 {
            let flags =
                ["S", "A", "PA", "FA", "RA", "SA", ""][usize::try_from(rng.below(7)).unwrap()];
            let near = |rng: &mut Rng| u32::try_from(rng.below(200)).unwrap();
            let mut segment = seg(flags)
                .seq(near(&mut rng))
                .ack(near(&mut rng))
                .len(usize::try_from(rng.below(90)).unwrap());
            if rng.chance(500_000) {
                segment = segment.ts(near(&mut rng), 0);
            }
            let mut bytes = peer.frame_of(&segment);
            for _ in 0..rng.below(4) {
                let at = usize::try_from(rng.below(bytes.len() as u64)).unwrap();
                bytes[at] = u8::try_from(rng.below(256)).unwrap();
            }
            if rng.chance(800_000) {
                mend_checksums(&mut bytes);
            }
            bytes.truncate(bytes.len() - usize::try_from(rng.below(3)).unwrap());
            peer.arrives(&bytes);
            if rng.chance(100_000) {
                peer.wait_ms(rng.below(300));
            }
        }
        peer.wait_ms(0);
        peer.sockets(|_, sockets| {
            sockets.close_all_listeners();
            sockets.abort_all();
        });
        peer.wait_ms(200_000);
        peer.takes_all();
        assert_eq!(peer.shard.frames_missing(), 0, "round {round}");
        peer.ends_clean();
    }
}

fn mend_checksums(bytes: &mut [u8]) {
    let Some(ip) = bytes.get_mut(14..).filter(|ip| ip.len() >= IP_LEN + 20) else {
        return;
    };
    if FAMILY == Family::V4 {
        ip[10..12].fill(0);
        let sum = Sum::default().add_bytes(&ip[..IP_LEN]).complement();
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    // The addresses are the last bytes of either header.
    let addresses = IP_LEN - if FAMILY == Family::V4 { 8 } else { 32 };
    let (header, segment) = ip.split_at_mut(IP_LEN);
    segment[16..18].fill(0);
    let pseudo = Sum::default()
        .add_bytes(&header[addresses..])
        .add_u16(6)
        .add_u16(u16::try_from(segment.len()).unwrap());
    let sum = pseudo.add_bytes(segment).complement();
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
}

/// A guess that hits the window but acknowledges what was never sent changes
/// nothing: neither the stream nor the timestamp that PAWS judges by.
#[test]
fn a_segment_with_an_impossible_ack_leaves_no_timestamp_behind() {
    let mut peer = Peer::with(|_| ()).listening().handshake_any();
    let forged = seg("FA").seq(1).ack(9_999).win(65_535).ts(200_000, 0);
    peer.sends(forged);
    assert_eq!(peer.dropped(DropReason::BadAck), 1);
    peer.takes_all();
    peer.sends(seg("A").seq(1).ack(1).win(65_535).ts(2, 0).data(b"real"));
    assert_eq!(peer.dropped(DropReason::Paws), 0);
    assert_eq!(peer.engine_reads(), b"real");
}
