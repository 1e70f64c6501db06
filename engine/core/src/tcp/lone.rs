//! A lone segment: one that is all there is in flight, sent once.
//!
//! It is what a request and its response are, and a connection needs no scoreboard
//! for it: SND.UNA and SND.NXT are its ends, and the hot part keeps when it was sent.
//!
//! ```text
//! first segment --> lone --(all of it acknowledged)--> nothing in flight
//!                    |
//!                    |  a second segment, a timer, an acknowledgment that says more
//!                    v
//!                 cold part, with a record of it in the scoreboard
//! ```
//!
//! Whoever asks for the cold part ([`Shared::warm`]) gets one in which the segment is,
//! as if it had always been there.

use super::Segment;
#[cfg(test)]
pub(super) mod tests;

use super::Shared;
use super::cold::Cold;
use super::input::micros;
use super::tcb::{Tcb, TcbFlags};
use crate::seq::Seq;
use crate::time::Instant;

/// A lone segment, on its way into a cold part.
pub(super) struct Lone {
    seq: Seq,
    end: Seq,
    sent_us: u32,
    /// It was not full, and its data ended here.
    small: Option<Seq>,
}

impl Tcb {
    /// The lone segment, if there is one; it is none any more.
    #[inline]
    pub(super) fn take_lone(&mut self) -> Option<Lone> {
        if !self.is(TcbFlags::LONE) {
            return None;
        }
        let lone = Lone {
            seq: self.snd_una,
            end: self.snd_nxt,
            sent_us: self.sent_us,
            small: self.small_lone(),
        };
        self.unset(TcbFlags::LONE);
        Some(lone)
    }

    /// A segment at SND.NXT leaves that is all there will be in flight. False when it
    /// has to be in a cold part.
    pub(super) fn send_lone(&mut self, now: Instant) -> bool {
        #[cfg(test)]
        if tests::IS_OFF.get() {
            return false;
        }
        let is_lone =
            self.cold.is_none() && !self.has_unacknowledged() && !self.timer.is_of_flight();
        if is_lone {
            self.set(TcbFlags::LONE);
            self.sent_us = micros(now);
        }
        is_lone
    }

    /// Where the data of the lone segment ends, if it is less than a full one.
    pub(super) fn small_lone(&self) -> Option<Seq> {
        let end = self.snd_nxt.min(self.data_end());
        let is_small = self.is(TcbFlags::LONE)
            && self.state.is_synchronized()
            && end.follows(self.snd_una)
            && end.bytes_since(self.snd_una) < u32::from(self.mss);
        is_small.then_some(end)
    }

    /// An acknowledgment is of the whole lone segment and says no more, and the window
    /// stays as it is, for it was not in use.
    pub(super) fn is_plain_ack_of_lone(&self, segment: &Segment) -> bool {
        let used = self.snd_nxt.bytes_since(self.snd_una);
        segment.header.ack == self.snd_nxt
            && segment.header.options.sack.is_empty()
            // Without a cold part slow start never ended.
            && !self
                .congestion
                .was_used(u32::MAX, used, u32::from(self.mss))
    }

    /// The lone segment has arrived. It was sent once, so that is a round trip (RFC 6298
    /// section 3).
    pub(super) fn deliver_lone(&mut self, now: Instant) {
        self.unset(TcbFlags::LONE);
        self.rtt.sample(micros(now).wrapping_sub(self.sent_us));
        self.backoff = 0;
    }

    /// Segments in flight, delivered ones above a gap included.
    pub(super) fn segments_in_flight(&self) -> usize {
        match self.cold() {
            Some(cold) => cold.flight.segments(),
            None => usize::from(self.is(TcbFlags::LONE)),
        }
    }
}

impl Cold {
    /// The segment that was lone is in the scoreboard.
    pub(super) fn take_over(&mut self, lone: &Lone) {
        self.flight.push(lone.seq, lone.end, lone.sent_us);
        self.recovery.note_used(lone.seq, lone.end);
        self.recovery.rto_from_us = lone.sent_us;
        self.small = lone.small;
    }
}

impl Shared {
    /// Puts a lone segment into the scoreboard.
    pub(super) fn warm_lone(&mut self, tcb: &mut Tcb) {
        if tcb.is(TcbFlags::LONE) {
            self.warm(tcb);
        }
    }
}
