//! TCP_INFO in the layout of Linux (`struct tcp_info` of its user interface).
//!
//! What the engine does not keep is zero.

use ringmill_core::sockets::{Info, Repair};
use ringmill_core::tcp::State;
use std::time::Duration;

/// Bytes that Linux has by now, and some for what it adds.
const LEN: usize = 512;
/// Where tcpi_busy_time, tcpi_rwnd_limited and tcpi_sndbuf_limited are.
const BUSY_AT: usize = 168;
/// Where tcpi_reord_seen is.
const REORD_SEEN_AT: usize = 220;
/// Linux's slow start threshold before there is one.
const INFINITE: u32 = 0x7fff_ffff;
/// TCPI_OPT_TIMESTAMPS, TCPI_OPT_SACK, TCPI_OPT_WSCALE and TCPI_OPT_SYN_DATA.
const OPTIONS: [u8; 4] = [1, 2, 4, 32];

/// The bytes of `struct tcp_info`.
pub(crate) fn encode(info: &Info) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(LEN);
    let (snd_scale, rcv_scale) = info.scales;
    let has = [info.timestamps, info.sack, rcv_scale > 0, info.syn_data];
    let options: u8 = OPTIONS
        .iter()
        .zip(has)
        .map(|(bit, on)| bit * u8::from(on))
        .sum();
    let (state, repair) = (state(info.state), repair(info.repair));
    // tcpi_probes is not told apart from tcpi_backoff.
    bytes.extend([state, repair, info.backoff, 0, info.backoff, options]);
    bytes.extend([snd_scale | rcv_scale << 4, 0]);
    let mss = u32::from(info.mss);
    let words = [
        micros(info.rto),
        0,
        mss,
        mss,
        info.unacked,
        info.sacked,
        info.lost,
        info.retransmitted,
        0,
        // tcpi_last_data_sent, tcpi_last_ack_sent
        0,
        0,
        u32::try_from(info.since_received.as_millis()).unwrap_or(u32::MAX),
        // tcpi_last_ack_recv
        0,
        u32::from(info.advertised_mss) + 40,
        info.rcv_wnd,
        micros(info.srtt.unwrap_or_default()),
        micros(info.rttvar),
        info.ssthresh.unwrap_or(INFINITE),
        info.cwnd,
        u32::from(info.advertised_mss),
        info.reordering,
    ];
    for word in words {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.resize(LEN, 0);
    let held_up = info.held_up;
    let times = [held_up.busy, held_up.window, held_up.buffer];
    for (place, time) in bytes[BUSY_AT..].chunks_exact_mut(8).zip(times) {
        place.copy_from_slice(&u64::from(micros(time)).to_ne_bytes());
    }
    bytes[REORD_SEEN_AT..][..4].copy_from_slice(&info.reorderings.to_ne_bytes());
    bytes
}

/// The same of a socket whose connection is over, or has not begun.
pub(crate) fn closed() -> Vec<u8> {
    let mut bytes = vec![0; LEN];
    bytes[0] = state(State::Closed);
    bytes
}

fn micros(length: Duration) -> u32 {
    u32::try_from(length.as_micros()).unwrap_or(u32::MAX)
}

fn state(state: State) -> u8 {
    match state {
        State::Established => 1,
        State::SynSent => 2,
        State::SynReceived => 3,
        State::FinWait1 => 4,
        State::FinWait2 => 5,
        State::TimeWait => 6,
        State::Closed => 7,
        State::CloseWait => 8,
        State::LastAck => 9,
        State::Listen => 10,
        State::Closing => 11,
    }
}

fn repair(repair: Repair) -> u8 {
    match repair {
        Repair::Open => 0,
        Repair::Disorder => 1,
        Repair::Reduced => 2,
        Repair::Recovery => 3,
        Repair::Loss => 4,
    }
}
