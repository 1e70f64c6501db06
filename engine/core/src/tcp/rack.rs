//! RACK: a segment is lost when one that was sent later has arrived, and the
//! time that reordering may take has passed (RFC 8985 section 6).

use super::flight::{Delivered, Flight};
use crate::seq::Seq;

/// RFC 8985 section 6.2, step 4: recoveries for which a wider window is kept.
const REO_WND_PERSIST: u8 = 16;
pub(crate) const DUP_THRESH: u32 = 3;

/// RACK.* of one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rack {
    /// The segment sent last of those delivered: RACK.xmit_ts, RACK.end_seq.
    newest: Option<(u32, Seq)>,
    rtt_us: u32,
    pub(crate) min_rtt_us: u32,
    /// How often reordering was seen, and over how many bytes at most.
    pub(crate) reorderings: u32,
    pub(crate) reordered: u32,
    reo_wnd_mult: u8,
    reo_wnd_persist: u8,
    /// RACK.dsack_round: one widening a round trip.
    dsack_round: Option<Seq>,
}

impl Default for Rack {
    fn default() -> Rack {
        Rack {
            newest: None,
            rtt_us: 0,
            min_rtt_us: u32::MAX,
            reorderings: 0,
            reordered: 0,
            reo_wnd_mult: 1,
            reo_wnd_persist: 0,
            dsack_round: None,
        }
    }
}

/// Where loss detection stands, from the connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) now_us: u32,
    pub(crate) srtt_us: u32,
    pub(crate) in_recovery: bool,
}

impl Rack {
    /// Steps 1 to 3: what an acknowledgment delivered. `is_again_too_early` tells of
    /// a retransmitted segment that it can't be the retransmission that arrived.
    pub(crate) fn on_delivered(&mut self, now_us: u32, delivered: &Delivered, is_too_early: bool) {
        if let Some(sample_us) = delivered.sample_us {
            self.min_rtt_us = self.min_rtt_us.min(now_us.wrapping_sub(sample_us).max(1));
        }
        self.reorderings = self
            .reorderings
            .saturating_add(u32::from(delivered.reordered > 0));
        self.reordered = self.reordered.max(delivered.reordered);
        let Some(newest) = delivered.newest else {
            return;
        };
        let rtt_us = now_us.wrapping_sub(newest.sent_us);
        if newest.was_repeated && (is_too_early || rtt_us < self.min_rtt_us) {
            // The original may have arrived: it tells nothing of the retransmission.
            return;
        }
        // The RFC takes the round trip of the newest. Where one acknowledgment
        // delivers a retransmission and older segments behind it, Linux waits for
        // those that are still out as long as the older ones took.
        let last_us = delivered.last_us.unwrap_or(newest.sent_us);
        self.rtt_us = now_us.wrapping_sub(last_us).max(rtt_us);
        let is_later = self.newest.is_none_or(|(sent_us, end)| {
            let (a, b) = (Seq(newest.sent_us), Seq(sent_us));
            a.follows(b) || (a == b && newest.end.follows(end))
        });
        if is_later {
            self.newest = Some((newest.sent_us, newest.end));
        }
    }

    /// Step 4: a duplicate was reported, so a retransmission was not needed, and
    /// more time for reordering would have shown it.
    pub(crate) fn on_duplicate(&mut self, una: Seq, nxt: Seq) {
        if self
            .dsack_round
            .is_some_and(|round| una.follows_or_is(round))
        {
            self.dsack_round = None;
        }
        if self.dsack_round.is_none() {
            self.dsack_round = Some(nxt);
            self.reo_wnd_mult = self.reo_wnd_mult.saturating_add(1);
            self.reo_wnd_persist = REO_WND_PERSIST;
        }
    }

    /// A recovery is over.
    pub(crate) fn on_recovered(&mut self) {
        self.reo_wnd_persist = self.reo_wnd_persist.saturating_sub(1);
        if self.reo_wnd_persist == 0 {
            self.reo_wnd_mult = 1;
        }
    }

    /// Step 4: the time that a segment may take longer than one sent after it.
    fn reo_wnd_us(&self, flight: &Flight, moment: Moment) -> u32 {
        let is_certain = moment.in_recovery || flight.sacked_segments() >= DUP_THRESH;
        if self.reorderings == 0 && is_certain {
            // As in RFC 6675: no reordering was ever seen.
            return 0;
        }
        (self.min_rtt_us / 4)
            .saturating_mul(u32::from(self.reo_wnd_mult))
            .min(moment.srtt_us)
    }

    /// How old a segment that was not delivered must be to be lost.
    pub(crate) fn allowance_us(&self, flight: &Flight, moment: Moment) -> u32 {
        self.rtt_us.saturating_add(self.reo_wnd_us(flight, moment))
    }

    /// Step 5: marks what is lost. Microseconds until more will be, if more may be.
    pub(crate) fn detect_loss(&self, flight: &mut Flight, moment: Moment) -> Option<u32> {
        let (sent_us, end) = self.newest?;
        let allowance_us = self.allowance_us(flight, moment);
        flight.detect_lost(moment.now_us, sent_us, end, allowance_us)
    }
}
