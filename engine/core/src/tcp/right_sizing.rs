//! A receive buffer that grows with the path: dynamic right-sizing (W. Feng, M. Fisk
//! et al., 2002), as Linux's tcp_moderate_rcvbuf and FreeBSD's recvbuf_auto have it.
//!
//! A sender fills a path only where the window has room for what the path carries
//! in a round trip (RFC 7323 section 1.1). Nobody tells the receiver how much that
//! is, but it sees what its application takes in one. Where that is more than half of
//! the buffer, the buffer becomes four times as much: what is told now is filled in
//! the next round trip and measured in the one after, by when a sender in slow
//! start has doubled twice. Whose application lags behind gains nothing, for it is
//! not the window that it waits for.
//!
//! SO_RCVBUF turns it off. Nothing is ever taken back (RFC 9293 section 3.8.6,
//! SHLD-14).

use super::Shared;
use super::input::micros;
use super::tcb::{Tcb, TcbFlags};
use crate::seq::Seq;
use crate::time::Instant;
use crate::wire::tcp::Timestamps;

/// A measurement begins where RCV.NXT passes a multiple of this, 32 KiB: bulk data
/// does so all the time, and small requests hardly ever, so that they cost nothing.
const BEGIN_SHIFT: u32 = 15;

/// What is measured of a connection that receives in bulk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RightSizing {
    /// The receive buffer.
    pub(crate) limit: u32,
    /// With timestamps what the last segment echoed says of the round trip; else the
    /// least time that a window of data has taken.
    round_trip_us: Option<u32>,
    /// RCV.NXT and RCV.NXT+RCV.WND when the measurement began, and when that was.
    from: Seq,
    edge: Seq,
    began_us: u32,
}

impl Shared {
    /// What a receive buffer can become now, as far as the window field can tell it.
    /// While received frames fill half of their budget nothing grows.
    fn may_grow_to(&self, tcb: &Tcb) -> u32 {
        if 2 * self.chunks.frames_held() > self.config.max_held_frames {
            return 0;
        }
        let most = u32::from(u16::MAX) << tcb.rcv_scale();
        self.receive_buffer_max(&tcb.settings).min(most)
    }

    /// Data has come in order, from `seq` to RCV.NXT, in a segment with these
    /// timestamps.
    pub(crate) fn measure(
        &mut self,
        now: Instant,
        tcb: &mut Tcb,
        seq: Seq,
        timestamps: Option<Timestamps>,
    ) {
        let is_measured = tcb.cold().is_some_and(|cold| cold.right_sizing.is_some());
        if !is_measured {
            let is_bulk = (seq.0 ^ tcb.rcv_nxt.0) >> BEGIN_SHIFT != 0;
            if !is_bulk || self.may_grow_to(tcb) <= self.receive_limit(tcb) {
                return;
            }
            let limit = self.receive_limit(tcb);
            let begun = RightSizing::begin(limit, None, now, tcb);
            self.warm(tcb).right_sizing = Some(begun);
        }
        let Some(timestamps) = timestamps.filter(|_| tcb.is(TcbFlags::TIMESTAMPS)) else {
            return;
        };
        let ticks = self.timestamp(now).wrapping_sub(timestamps.echo);
        let mut round_trip_us = ticks.clamp(1, 1 << 20) * 1_000;
        if ticks <= 1
            && let Some(srtt) = tcb.rtt.smoothed()
        {
            // A tick is long on a local link.
            let srtt_us = u32::try_from(srtt.as_micros()).unwrap_or(u32::MAX);
            round_trip_us = round_trip_us.min(srtt_us);
        }
        if let Some(measured) = &mut self.warm(tcb).right_sizing {
            measured.round_trip_us = Some(round_trip_us);
        }
    }

    /// The application has read. The measurement is over once a round trip has passed
    /// and nothing is left to read.
    pub(crate) fn right_size(&mut self, now: Instant, tcb: &mut Tcb) {
        let Some(mut measured) = tcb.cold().and_then(|cold| cold.right_sizing) else {
            return;
        };
        if tcb.receive_queued > 0 {
            return;
        }
        let took_us = micros(now).wrapping_sub(measured.began_us).max(1);
        if !tcb.is(TcbFlags::TIMESTAMPS) && tcb.rcv_nxt.follows(measured.edge) {
            // Who sends past the edge has heard of a later one.
            let least = measured.round_trip_us.map_or(took_us, |us| us.min(took_us));
            measured.round_trip_us = Some(least);
        }
        let Some(round_trip_us) = measured.round_trip_us.filter(|us| *us <= took_us) else {
            return;
        };
        let read = u64::from(tcb.rcv_nxt.bytes_since(measured.from));
        let in_round_trip = read * u64::from(round_trip_us) / u64::from(took_us);
        let mut limit = measured.limit;
        if 2 * in_round_trip > u64::from(limit) {
            let most = self.may_grow_to(tcb);
            let wanted = u32::try_from(4 * in_round_trip).unwrap_or(most);
            limit = limit.max(wanted.min(most));
        }
        // Where nothing has grown nothing is kept.
        let has_grown = limit > self.config.receive_buffer;
        let next = RightSizing::begin(limit, measured.round_trip_us, now, tcb);
        self.warm(tcb).right_sizing = has_grown.then_some(next);
    }
}

impl RightSizing {
    fn begin(limit: u32, round_trip_us: Option<u32>, now: Instant, tcb: &Tcb) -> RightSizing {
        RightSizing {
            limit,
            round_trip_us,
            from: tcb.rcv_nxt,
            edge: tcb.rcv_edge,
            began_us: micros(now),
        }
    }
}
