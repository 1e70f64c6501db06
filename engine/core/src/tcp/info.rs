//! What can be asked of a connection (TCP_INFO).

use super::held_up::HeldUp;
use super::rack::DUP_THRESH;
use super::recovery::Mode;
use super::state::State;
use super::tcb::{Tcb, TcbFlags};
use super::{Shared, Tcp};
use crate::tcp::ConnectionId;
use crate::time::{Duration, Instant};

/// Where the answer to losses and marks stands (Linux's tcpi_ca_state).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// All is well.
    Open,
    /// Something arrived out of order; it is not known that anything is lost.
    Disorder,
    /// The congestion window is smaller since a mark (RFC 3168 section 6.1.2).
    Reduced,
    /// Losses are repaired.
    Recovery,
    /// The same after a timeout.
    Loss,
}

/// A connection at one instant. Segments are counted in whole ones: what is left
/// over counts as one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// The state.
    pub state: State,
    /// The answer to losses and marks.
    pub repair: Repair,
    /// Doublings of the timeout so far.
    pub backoff: u8,
    /// Keep-alive probes that were not answered.
    pub probes: u8,
    /// Timestamps were negotiated (RFC 7323).
    pub timestamps: bool,
    /// Selective acknowledgments were negotiated (RFC 2018).
    pub sack: bool,
    /// The data of a SYN was taken, this side's or the peer's (RFC 7413).
    pub syn_data: bool,
    /// Snd.Wind.Shift and Rcv.Wind.Shift (RFC 7323 section 2.3); both are zero where
    /// windows are not scaled.
    pub scales: (u8, u8),
    /// The retransmission timeout (RFC 6298).
    pub rto: Duration,
    /// SRTT, once there is a sample.
    pub srtt: Option<Duration>,
    /// RTTVAR.
    pub rttvar: Duration,
    /// Bytes of data in a full segment.
    pub mss: u16,
    /// The MSS that this side offers.
    pub advertised_mss: u16,
    /// Segments in flight, delivered ones above a gap included.
    pub unacked: u32,
    /// Segments of these that the peer has reported.
    pub sacked: u32,
    /// Segments of these that are lost, sent again or not.
    pub lost: u32,
    /// Segments of these that were sent again.
    pub retransmitted: u32,
    /// Over how many segments the network reorders, as far as was seen; at least three,
    /// which is taken for none (RFC 8985's DupThresh).
    pub reordering: u32,
    /// How often that was seen since losses were last forgotten.
    pub reorderings: u32,
    /// Since data came last in order, or the connection opened; what came while an
    /// acknowledgment was delayed does not count.
    pub since_received: Duration,
    /// The slow start threshold in segments; none before the first congestion.
    pub ssthresh: Option<u32>,
    /// The congestion window in segments.
    pub cwnd: u32,
    /// Bytes that are queued and were not sent.
    pub unsent: u32,
    /// SND.WND in bytes.
    pub snd_wnd: u32,
    /// RCV.WND in bytes.
    pub rcv_wnd: u32,
    /// The receive buffer in bytes, as it was set or has grown.
    pub receive_buffer: u32,
    /// How long there was data to send, and what held it up.
    pub held_up: HeldUp,
}

impl Tcp {
    /// A connection as it stands.
    pub(crate) fn info(&self, now: Instant, id: ConnectionId) -> Option<Info> {
        let tcb = self.connection(id)?;
        Some(self.shared.info(now, tcb))
    }
}

impl Shared {
    pub(super) fn info(&self, now: Instant, tcb: &Tcb) -> Info {
        let mss = u32::from(tcb.mss.max(1));
        let congestion = &tcb.congestion;
        let flight = tcb.cold().map(|cold| &cold.flight);
        let ssthresh = tcb.cold().map_or(u32::MAX, |cold| cold.growth.ssthresh);
        let rack = tcb.cold().map(|cold| cold.rack).unwrap_or_default();
        let segments = |bytes: u32| bytes.div_ceil(mss);
        let count = |flight: usize| u32::try_from(flight).unwrap_or(u32::MAX);
        Info {
            state: tcb.state,
            repair: repair(tcb),
            backoff: tcb.backoff,
            probes: tcb.watch().probes(),
            timestamps: tcb.is(TcbFlags::TIMESTAMPS),
            sack: tcb.is(TcbFlags::SACK),
            syn_data: tcb.is(TcbFlags::SYN_DATA),
            scales: (tcb.snd_scale(), tcb.rcv_scale()),
            rto: Duration::from_micros(self.rto_us(tcb)),
            srtt: tcb.rtt.smoothed(),
            rttvar: tcb.rtt.variation(),
            mss: tcb.mss,
            advertised_mss: self
                .options(tcb)
                .max_segment
                .map_or(self.mss(&tcb.key), |mss| mss.min(self.mss(&tcb.key))),
            unacked: count(tcb.segments_in_flight()),
            sacked: flight.map_or(0, |flight| flight.sacked_segments()),
            lost: flight.map_or(0, |flight| segments(flight.lost() + flight.again())),
            retransmitted: flight.map_or(0, |flight| segments(flight.again())),
            reordering: segments(rack.reordered).max(DUP_THRESH),
            reorderings: rack.reorderings,
            since_received: tcb.ack_at.since(now, self.config.delayed_ack),
            ssthresh: (ssthresh < u32::MAX / 2).then(|| ssthresh / mss),
            cwnd: congestion.cwnd() / mss,
            unsent: tcb
                .data_end()
                .distance_from(tcb.snd_nxt)
                .max(0)
                .unsigned_abs(),
            snd_wnd: tcb.snd_wnd,
            rcv_wnd: tcb.rcv_wnd(),
            receive_buffer: self.receive_limit(tcb),
            held_up: tcb
                .cold()
                .map_or(HeldUp::default(), |cold| cold.account.times(now)),
        }
    }
}

fn repair(tcb: &Tcb) -> Repair {
    let Some(cold) = tcb.cold() else {
        return Repair::Open;
    };
    match cold.recovery.mode {
        Mode::Recovery => Repair::Recovery,
        Mode::Loss => Repair::Loss,
        Mode::Open if cold.recovery.is_reduced(tcb.snd_una) => Repair::Reduced,
        Mode::Open if cold.flight.sacked() > 0 || cold.recovery.duplicates > 0 => Repair::Disorder,
        Mode::Open => Repair::Open,
    }
}
