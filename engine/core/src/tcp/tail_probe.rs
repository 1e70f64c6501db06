//! Tail loss probes (RFC 8985 section 7): when the last segments of a flight are
//! lost, nothing is delivered above them that would tell. So after two round
//! trips without news one segment goes out, whose fate tells of the rest before
//! the retransmission timer would.

use super::Shared;
use super::cold::Cold;
use super::recovery::{Ack, Mode};
use super::tcb::{Tcb, TcbFlags};
use crate::seq::Seq;
use crate::time::Instant;

/// A tail loss probe under way (RFC 8985 section 7).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe {
    /// TLP.end_seq
    end: Seq,
    /// TLP.is_retrans
    is_again: bool,
}

impl Shared {
    /// PTO (RFC 8985 section 7.2); none while a probe is out, while losses are
    /// repaired, and for a peer without SACK.
    pub(crate) fn probe_timeout_us(&self, tcb: &Tcb) -> Option<u64> {
        let is_calm = |cold: &Cold| {
            cold.recovery.mode == Mode::Open
                && cold.recovery.probe.is_none()
                && cold.flight.sacked() == 0
        };
        let is_fit = tcb.is(TcbFlags::SACK) && tcb.backoff == 0 && tcb.cold().is_none_or(is_calm);
        let srtt_us = u64::from(tcb.rtt.smoothed_us().filter(|_| is_fit)?);
        let delayed_us = if tcb.segments_in_flight() == 1 {
            // The acknowledgment of one segment may be delayed.
            self.rto.min_us
        } else {
            0
        };
        Some((2 * srtt_us + delayed_us).max(self.tail_probe_min_us))
    }

    /// The probe timer expired: one segment shall go out, new or the last again.
    pub(crate) fn probe_timeout_expired(&mut self, now: Instant, tcb: &mut Tcb) {
        tcb.set(TcbFlags::TAIL_PROBE_DUE);
        self.arm_retransmit(now, tcb);
    }

    /// The probe has left.
    pub(crate) fn note_probe(&mut self, tcb: &mut Tcb, is_again: bool) {
        self.stats.tail_probes += 1;
        let end = tcb.snd_nxt;
        if let Some(cold) = tcb.cold.as_deref_mut() {
            cold.recovery.probe = Some(Probe { end, is_again });
        }
    }

    /// Did the probe repair a loss (RFC 8985 section 7.4)? Then there was
    /// congestion, and it is answered as any.
    pub(crate) fn judge_probe(&mut self, tcb: &mut Tcb, ack: &Ack) {
        let algorithm = self.congestion(tcb);
        let una = tcb.snd_una;
        let Some(cold) = tcb.cold.as_deref_mut() else {
            return;
        };
        let Some(probe) = cold.recovery.probe else {
            return;
        };
        if una.precedes(probe.end) {
            return;
        }
        let is_twice = ack.duplicate.is_some_and(|block| block.right == probe.end);
        let is_bare = ack.is_duplicate && ack.delivered.bytes == 0;
        if !probe.is_again || is_twice || (una == probe.end && is_bare) {
            cold.recovery.probe = None;
        } else if una.follows(probe.end) {
            // Nothing said that it arrived twice.
            cold.recovery.probe = None;
            if cold.recovery.mode == Mode::Open {
                let window = tcb.congestion.cwnd;
                tcb.congestion
                    .on_congestion(algorithm, &mut cold.growth, window, tcb.mss);
                tcb.congestion.cwnd = cold.growth.ssthresh.min(window);
            }
        }
    }
}
