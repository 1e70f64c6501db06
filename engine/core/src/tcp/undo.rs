//! Taking back a response to losses that were none: a timeout that came too early,
//! or reordering (RFC 4015), seen by timestamps (RFC 3522) or by duplicates that
//! the peer reports (RFC 3708).

use super::Shared;
use super::recovery::{Ack, Mode};
use super::tcb::Tcb;
use crate::seq::Seq;

/// What a congestion response was, so that it can be taken back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Undo {
    /// cwnd and ssthresh before it.
    pub(crate) before: (u32, u32),
    /// SND.UNA then: nothing before it was sent again.
    from: Seq,
    /// The timestamp of the first retransmission (RFC 3522 section 3.2).
    pub(crate) stamp: Option<u32>,
    /// Retransmissions that no duplicate was reported for.
    pub(crate) repeated: u32,
    /// Once repair is over: what is acknowledged past this can't tell any more.
    pub(crate) until: Option<Seq>,
}

impl Undo {
    pub(crate) fn new(before: (u32, u32), from: Seq) -> Undo {
        Undo {
            before,
            from,
            stamp: None,
            repeated: 0,
            until: None,
        }
    }
}

impl Shared {
    /// What was taken for lost was only late: the response to it is taken back.
    pub(crate) fn take_back(&mut self, tcb: &mut Tcb, ack: &Ack) {
        let Some(cold) = tcb.cold.as_deref_mut() else {
            return;
        };
        let Some(undo) = &mut cold.recovery.undo else {
            return;
        };
        if undo.until.is_some_and(|until| tcb.snd_una.follows(until)) {
            cold.recovery.undo = None;
            return;
        }
        // A duplicate of what was never sent again is none of ours, or a lie.
        let is_ours = ack
            .duplicate
            .is_some_and(|block| block.right.follows(undo.from));
        if is_ours {
            undo.repeated = undo.repeated.saturating_sub(1);
        }
        // RFC 3522 section 3.2, step 5; RFC 3708 section 3.
        let by_stamp = ack.acked > 0 && ack.is_from_before;
        let by_duplicates = is_ours && undo.repeated == 0 && undo.stamp.is_some();
        if !(by_stamp || by_duplicates) {
            return;
        }
        let (cwnd, ssthresh) = undo.before;
        // RFC 4015 section 3.2.
        tcb.congestion.cwnd = tcb.congestion.cwnd.max(cwnd);
        cold.growth.ssthresh = ssthresh;
        cold.flight.forgive();
        cold.recovery.undo = None;
        cold.recovery.mode = Mode::Open;
        cold.recovery.duplicates = 0;
        tcb.backoff = 0;
        self.stats.spurious += 1;
    }
}
