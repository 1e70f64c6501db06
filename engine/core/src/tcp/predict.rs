//! Header prediction (V. Jacobson, 1990; RFC 7323 section 5.6): most segments are the
//! ones that were to come next, and one look at the header tells that none of the
//! checks of RFC 9293 section 3.10.7.4 has anything to say about them.
//!
//! What such a segment does is done by the same functions as for any other. Only
//! checks are left out, those that the prediction implies.

use super::input::Verdict;
use super::state::State;
use super::tcb::{Tcb, TcbFlags};
use super::{Cx, Segment, Shared};
use crate::frame::Frame;
use crate::seq::Seq;
use crate::stats::DropReason;
use crate::wire::tcp::Flags;

impl Tcb {
    /// The segment is the next one in sequence, fits the window and acknowledges
    /// nothing that is not in flight; and the connection is in the middle of its life,
    /// with nothing to repair and nothing special about it.
    #[inline]
    pub(super) fn is_predicted(&self, segment: &Segment) -> bool {
        #[cfg(test)]
        if super::lone::tests::IS_OFF.get() {
            return false;
        }
        const SPECIAL: TcbFlags = TcbFlags::ORPHAN.and(TcbFlags::ECN);
        let header = &segment.header;
        let in_flight = self.snd_nxt.bytes_since(self.snd_una);
        header.flags.without(Flags::PSH) == Flags::ACK
            && header.seq == self.rcv_nxt
            && segment.payload_len <= self.rcv_wnd()
            && header.ack.bytes_since(self.snd_una) <= in_flight
            && self.state == State::Established
            && !self.is(SPECIAL)
            && self.cold.is_none()
            && self.has_good_timestamp(segment)
    }

    /// PAWS has nothing against it (RFC 7323 section 5).
    #[inline]
    fn has_good_timestamp(&self, segment: &Segment) -> bool {
        let is_good = |value| Seq(value).follows_or_is(Seq(self.ts_recent));
        match segment.header.options.timestamps {
            Some(timestamps) => is_good(timestamps.value) || !self.is(TcbFlags::TIMESTAMPS),
            None => !self.is(TcbFlags::TIMESTAMPS),
        }
    }
}

impl Shared {
    /// A segment that was predicted: its acknowledgment, then its text.
    pub(super) fn take_predicted(
        &mut self,
        cx: &mut Cx,
        index: u32,
        tcb: &mut Tcb,
        segment: &Segment,
        frame: &mut Option<Frame>,
    ) -> Result<Verdict, DropReason> {
        self.take_ack_and_window(cx, index, tcb, segment);
        Self::keep_timestamp(cx.now, tcb, segment);
        self.receive(cx, index, tcb, segment, frame)?;
        Ok(Verdict::Stays)
    }
}
