//! Loss recovery: what acknowledgments say of what was sent, and how much may be
//! sent while what was lost is repaired.
//!
//! ```text
//! acknowledgment -> scoreboard (flight) -> RACK (rack), or three duplicates -> lost
//!        |                                                                     |
//!        |  in the right measure: PRR                                          v
//!        +-> cwnd (congestion) <------------------------ Open -> Recovery -> Open
//! timeout ----> everything is lost, cwnd is one segment     \--> Loss ------/
//! ```
//!
//! RFC 2018, RFC 2883 and RFC 8985 where the peer acknowledges selectively;
//! RFC 6582 where it does not. RFC 9937 while in Recovery; RFC 3522 and RFC 4015,
//! and RFC 3708, take back what was not needed.

use super::cold::Cold;
use super::congestion::{Acked, Algorithm};
use super::flight::Delivered;
use super::input::micros;
use super::prr::Prr;
use super::rack::{DUP_THRESH, Moment};
use super::tail_probe::Probe;
use super::tcb::{Tcb, TcbFlags, Timer};
use super::undo::Undo;
use super::{Cx, Segment, Shared};
use crate::seq::Seq;
use crate::time::Instant;
use crate::wire::tcp::SackBlock;

/// Where the repair of losses stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Nothing is known to be lost.
    #[default]
    Open,
    /// Until `recover` is acknowledged losses are repaired as they are found.
    Recovery,
    /// The same after a timeout, in slow start.
    Loss,
}

/// The state of the repair.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Recovery {
    pub(crate) mode: Mode,
    /// SND.NXT when the last repair began (RFC 6582 section 3.2).
    recover: Option<Seq>,
    /// Duplicate acknowledgments of a peer without SACK.
    pub(crate) duplicates: u32,
    /// More of them than this tell nothing: the segments that were in flight when the
    /// first came since SND.UNA advanced. Not those that duplicates let out, or a peer
    /// that invents some has no end of them (RFC 5681 section 3.2).
    duplicates_max: u32,
    pub(crate) prr: Prr,
    pub(crate) undo: Option<Undo>,
    pub(crate) probe: Option<Probe>,
    /// SND.NXT at the last reduction for a mark.
    reduced: Option<Seq>,
    /// Bytes in flight at most in this window, and where it ends.
    used: u32,
    used_until: Option<Seq>,
    /// RACK waits for this many microseconds more to call the next segment lost.
    pub(crate) reorder_wait_us: Option<u32>,
    /// When the retransmission timer was started, in microseconds modulo 2^32, which
    /// goes on while another runs in its place.
    pub(crate) rto_from_us: u32,
}

impl Cold {
    /// Bytes held to be in the network. Each duplicate acknowledgment of a peer
    /// without SACK is a segment that has left it (RFC 5681 section 3.2; RFC 3042).
    pub(crate) fn pipe(&self, mss: u16) -> u32 {
        let left = self.recovery.duplicates.saturating_mul(u32::from(mss));
        self.flight.pipe().saturating_sub(left)
    }

    /// The window may grow by what an acknowledgment delivers: by what is in order (RFC
    /// 5681 section 3.1), and where the network is known to reorder by all, or most of
    /// what such a path carries would never count. As Linux (tcp_may_raise_cwnd).
    fn is_progress(&self, ack: &Ack, mss: u32) -> bool {
        let is_reordering = self.rack.reordered > DUP_THRESH * mss;
        ack.acked > 0 || (is_reordering && ack.delivered.bytes > 0)
    }
}

/// An acknowledgment as recovery sees it.
pub(crate) struct Ack {
    /// Bytes that SND.UNA advanced by.
    pub(crate) acked: u32,
    pub(crate) is_duplicate: bool,
    pub(crate) delivered: Delivered,
    /// What the peer reports to have received twice.
    pub(crate) duplicate: Option<SackBlock>,
    /// It echoes a timestamp from before the first retransmission.
    pub(crate) is_from_before: bool,
    /// The round trip of the segment sent last of those that it delivers.
    rtt_us: Option<u32>,
}

impl Shared {
    /// Takes an acceptable acknowledgment: the queue, the scoreboard, the
    /// congestion window and the retransmission timer.
    pub(crate) fn take_ack(&mut self, cx: &mut Cx, index: u32, tcb: &mut Tcb, segment: &Segment) {
        let ack = segment.header.ack;
        let is_duplicate = self.is_duplicate(tcb, segment);
        self.stats.duplicate_acks += u64::from(is_duplicate);
        if tcb.is(TcbFlags::LONE) && !tcb.is_plain_ack_of_lone(segment) {
            self.warm(tcb);
        }
        let acked = if ack.follows(tcb.snd_una) {
            self.advance(cx, index, tcb, ack)
        } else {
            0
        };
        if tcb.is(TcbFlags::LONE) {
            tcb.deliver_lone(cx.now);
            self.arm_for_flight(cx.now, tcb);
        }
        if tcb.cold.is_none() {
            return;
        }
        let ack = self.score(cx.now, tcb, segment, acked, is_duplicate);
        self.sample_rtt(cx.now, tcb, segment, &ack);
        self.recover(cx.now, tcb, &ack);
        if acked > 0 || ack.delivered.bytes > 0 {
            tcb.unset(TcbFlags::TAIL_PROBE_DUE);
            // A window that stays closed is probed when it was going to be.
            if acked > 0 && tcb.timer != Timer::Persist {
                self.restart_timer(cx.now, tcb);
            } else {
                self.arm_for_flight(cx.now, tcb);
            }
        }
        if tcb.has_unsent() || tcb.cold().is_some_and(|cold| cold.flight.lost() > 0) {
            self.queue_output(index, tcb);
        } else {
            self.account(cx.now, tcb);
        }
    }

    /// RFC 5681 section 2: the five marks of a duplicate acknowledgment.
    fn is_duplicate(&self, tcb: &Tcb, segment: &Segment) -> bool {
        let header = &segment.header;
        segment.len() == 0
            && header.ack == tcb.snd_una
            && u32::from(header.window) << tcb.snd_scale() == tcb.snd_wnd
            && tcb.has_unacknowledged()
    }

    /// Tells the scoreboard what arrived.
    fn score(
        &mut self,
        now: Instant,
        tcb: &mut Tcb,
        segment: &Segment,
        acked: u32,
        is_duplicate: bool,
    ) -> Ack {
        let (una, nxt, mss) = (tcb.snd_una, tcb.snd_nxt, u32::from(tcb.mss));
        let has_sack = tcb.is(TcbFlags::SACK);
        let echo = segment
            .header
            .options
            .timestamps
            .filter(|_| tcb.is(TcbFlags::TIMESTAMPS))
            .map(|timestamps| timestamps.echo);
        let cold = self.warm(tcb);
        let mut delivered = Delivered::default();
        cold.flight.acknowledge(una, &mut delivered);
        let mut duplicate = None;
        if has_sack {
            let blocks = segment.header.options.sack;
            duplicate = duplicate_of(blocks.as_slice(), segment.header.ack);
            // Attack case 7: what can't be is as if it were not there.
            let is_sane = |block: &SackBlock| {
                block.left.precedes(block.right)
                    && block.left.follows_or_is(una)
                    && block.right.precedes_or_is(nxt)
                    && duplicate != Some(*block)
            };
            // In the order of the data: what is new in one report shows no reordering.
            let mut after = una;
            let next = |after: Seq| {
                let later = blocks.as_slice().iter().filter(|block| is_sane(block));
                let later = later.filter(|block| block.right.follows(after));
                later
                    .min_by_key(|block| block.right.bytes_since(una))
                    .copied()
            };
            while let Some(block) = next(after) {
                cold.flight.sack(block, &mut delivered);
                after = block.right;
            }
        } else if acked > 0 {
            // RFC 9937 section 5: what the duplicates said has been counted already.
            let segments = acked.div_ceil(mss).saturating_sub(1);
            let counted = cold.recovery.duplicates.min(segments);
            cold.recovery.duplicates -= counted;
            cold.recovery.duplicates_max = 0;
            delivered.bytes = delivered.bytes.saturating_sub(counted * mss).max(1);
            if una == nxt {
                cold.recovery.duplicates = 0;
            }
        } else if is_duplicate && cold.recovery.count_duplicate(cold.flight.segments()) {
            delivered.bytes = mss;
        }
        let now_us = micros(now);
        let is_from_before = match (cold.recovery.undo, echo) {
            (
                Some(Undo {
                    stamp: Some(stamp), ..
                }),
                Some(echo),
            ) => Seq(echo).precedes(Seq(stamp)),
            _ => false,
        };
        cold.rack.on_delivered(now_us, &delivered, is_from_before);
        if duplicate.is_some() {
            cold.rack.on_duplicate(una, nxt);
            self.stats.duplicates_reported += 1;
        }
        Ack {
            acked,
            is_duplicate,
            rtt_us: delivered.sample_us.map(|us| now_us.wrapping_sub(us)),
            delivered,
            duplicate,
            is_from_before,
        }
    }

    /// Takes a round trip: of a segment that was sent once (Karn's algorithm,
    /// RFC 6298 section 3, MUST-18), or by its timestamp (RFC 7323 section 4).
    fn sample_rtt(&mut self, now: Instant, tcb: &mut Tcb, segment: &Segment, ack: &Ack) {
        let echo = segment
            .header
            .options
            .timestamps
            .filter(|timestamps| tcb.is(TcbFlags::TIMESTAMPS) && timestamps.echo != 0);
        let by_echo = || {
            let ticks = self.timestamp(now).wrapping_sub(echo?.echo);
            (ack.acked > 0 && ticks < 1 << 22).then(|| ticks * 1_000)
        };
        if let Some(rtt_us) = ack.rtt_us.or_else(by_echo) {
            tcb.rtt.sample(rtt_us);
            tcb.backoff = 0;
        } else if ack.acked > 0 {
            // RFC 6298 section 5: backed off until there is a new sample.
            tcb.backoff = tcb.backoff.min(super::input::ANSWERED_BACKOFF);
        }
    }

    /// The congestion window after an acknowledgment, and whether repair begins
    /// or is over.
    fn recover(&mut self, now: Instant, tcb: &mut Tcb, ack: &Ack) {
        self.take_back(tcb, ack);
        self.end_recovery(tcb);
        let is_more_lost = self.detect_loss(now, tcb, ack);
        // SafeACK (RFC 9937 section 6).
        let is_safe = ack.acked > 0 && !is_more_lost;
        let (una, nxt, mss) = (tcb.snd_una, tcb.snd_nxt, u32::from(tcb.mss));
        let srtt = tcb.rtt.smoothed().unwrap_or_default();
        let algorithm = self.congestion(tcb);
        let Some(cold) = tcb.cold.as_deref_mut() else {
            return;
        };
        let ssthresh = cold.growth.ssthresh;
        let used = cold.recovery.used(una);
        let was_used = tcb.congestion.was_used(ssthresh, used, mss);
        if cold.recovery.mode == Mode::Recovery {
            let pipe = cold.pipe(tcb.mss);
            let extra = if is_safe { mss } else { 0 };
            let delivered = ack.delivered.bytes;
            tcb.congestion.cwnd = cold
                .recovery
                .prr
                .cwnd(pipe, ssthresh, delivered, extra, mss);
        } else if was_used && cold.is_progress(ack, mss) {
            let acked = Acked {
                now,
                bytes: ack.delivered.bytes,
                una,
                nxt,
                rtt_us: ack.rtt_us,
                srtt,
                mss,
                limit: self.config.slow_start_limit,
            };
            tcb.congestion.on_ack(algorithm, &mut cold.growth, &acked);
        }
        self.judge_probe(tcb, ack);
    }

    fn end_recovery(&mut self, tcb: &mut Tcb) {
        let Some(cold) = tcb.cold.as_deref_mut() else {
            return;
        };
        let recovery = &mut cold.recovery;
        let is_over = recovery
            .recover
            .is_some_and(|recover| tcb.snd_una.follows_or_is(recover));
        if recovery.mode == Mode::Open || !is_over {
            return;
        }
        if recovery.mode == Mode::Recovery {
            // RFC 9937 section 6, at the end of recovery.
            tcb.congestion.cwnd = cold.growth.ssthresh;
        }
        recovery.mode = Mode::Open;
        recovery.duplicates = 0;
        cold.rack.on_recovered();
        if let Some(undo) = &mut recovery.undo {
            undo.until = Some(tcb.snd_nxt);
        }
    }

    /// Finds out what is lost, and begins to repair it: is there more of it?
    fn detect_loss(&mut self, now: Instant, tcb: &mut Tcb, ack: &Ack) -> bool {
        let has_sack = tcb.is(TcbFlags::SACK);
        let moment = moment(now, tcb);
        let Some(cold) = tcb.cold.as_deref_mut() else {
            return false;
        };
        let lost_before = cold.flight.lost();
        if has_sack {
            let wait_us = cold.rack.detect_loss(&mut cold.flight, moment);
            cold.recovery.reorder_wait_us = wait_us;
        } else if cold.recovery.mode == Mode::Recovery {
            if ack.acked > 0 {
                // A partial acknowledgment (RFC 6582 section 3.2, step 3).
                cold.flight.mark_front_lost();
            }
        } else if cold.recovery.duplicates >= 3 && ack.is_duplicate {
            // RFC 6582 section 3.2, step 2: not for duplicates that retransmissions
            // after a timeout have called.
            let is_new = cold
                .recovery
                .recover
                .is_none_or(|recover| tcb.snd_una.follows(recover));
            if is_new && cold.recovery.mode == Mode::Open {
                cold.flight.mark_front_lost();
            }
        }
        let lost = cold.flight.lost().saturating_sub(lost_before);
        let mode = cold.recovery.mode;
        let is_probe = self.judge_size(now, tcb, lost);
        if lost > 0 && mode == Mode::Open && !is_probe {
            self.enter_recovery(tcb);
        }
        lost > 0
    }

    /// What a congestion leaves a share of.
    pub(crate) fn congested(&self, tcb: &Tcb) -> u32 {
        let is_cubic = self.congestion(tcb) == Algorithm::Cubic;
        if is_cubic && self.config.cubic_from_cwnd {
            tcb.congestion.cwnd
        } else {
            tcb.snd_nxt.bytes_since(tcb.snd_una)
        }
    }

    /// RFC 5681 section 3.2, RFC 6675 section 5, RFC 9937 section 6.
    fn enter_recovery(&mut self, tcb: &mut Tcb) {
        let algorithm = self.congestion(tcb);
        let congested = self.congested(tcb);
        let nxt = tcb.snd_nxt;
        let Some(cold) = tcb.cold.as_deref_mut() else {
            return;
        };
        let before = (tcb.congestion.cwnd, cold.growth.ssthresh);
        let out = nxt.bytes_since(tcb.snd_una);
        // A mark in the same window has lowered it (RFC 3168 section 6.1.2).
        if !cold.recovery.is_reduced(tcb.snd_una) {
            tcb.congestion
                .on_congestion(algorithm, &mut cold.growth, congested, tcb.mss);
        }
        cold.recovery = Recovery {
            mode: Mode::Recovery,
            recover: Some(nxt),
            prr: Prr::new(out),
            undo: Some(Undo::new(before, tcb.snd_una)),
            probe: None,
            ..cold.recovery
        };
        self.stats.fast_retransmits += 1;
    }

    /// RACK's timer: what had to be waited for may be lost by now.
    pub(crate) fn reorder_timeout(&mut self, now: Instant, tcb: &mut Tcb) {
        let nothing = Ack {
            acked: 0,
            is_duplicate: false,
            delivered: Delivered::default(),
            duplicate: None,
            is_from_before: false,
            rtt_us: None,
        };
        self.detect_loss(now, tcb, &nothing);
        let mss = u32::from(tcb.mss);
        let Some(cold) = tcb.cold.as_deref_mut() else {
            return;
        };
        if cold.recovery.mode == Mode::Recovery {
            let pipe = cold.pipe(tcb.mss);
            tcb.congestion.cwnd = cold
                .recovery
                .prr
                .cwnd(pipe, cold.growth.ssthresh, 0, 0, mss);
        }
        self.arm_for_flight(now, tcb);
    }

    /// The retransmission timer expired over data: all of it is to be sent again,
    /// from one segment on (RFC 5681 section 3.1, RFC 6582 section 4).
    pub(crate) fn lose_all(&mut self, now: Instant, tcb: &mut Tcb) {
        let algorithm = self.congestion(tcb);
        let congested = self.congested(tcb);
        let has_sack = tcb.is(TcbFlags::SACK);
        let moment = moment(now, tcb);
        let nxt = tcb.snd_nxt;
        let Some(cold) = tcb.cold.as_deref_mut() else {
            return;
        };
        let recent_us = if has_sack {
            cold.rack.allowance_us(&cold.flight, moment)
        } else {
            0
        };
        if tcb.backoff == 1 {
            // Only the first timeout of a segment lowers ssthresh (RFC 5681, eq. 4).
            let before = (tcb.congestion.cwnd, cold.growth.ssthresh);
            if !cold.recovery.is_reduced(tcb.snd_una) {
                tcb.congestion
                    .on_congestion(algorithm, &mut cold.growth, congested, tcb.mss);
            }
            cold.recovery
                .undo
                .get_or_insert(Undo::new(before, tcb.snd_una));
        }
        tcb.congestion.on_timeout(tcb.mss);
        cold.recovery = Recovery {
            mode: Mode::Loss,
            recover: Some(nxt),
            duplicates: 0,
            probe: None,
            reorder_wait_us: None,
            ..cold.recovery
        };
        cold.flight.mark_all_lost(moment.now_us, recent_us);
        cold.forget_probe(tcb.mss);
    }

    /// The path takes no larger segments than `mss`. What was sent larger goes again
    /// at once, and is no sign of congestion (RFC 1191 section 6.4, RFC 8201
    /// section 5.4).
    pub(crate) fn narrow(&mut self, index: u32, tcb: &mut Tcb, mss: u16) {
        if mss >= tcb.mss {
            return;
        }
        self.warm_lone(tcb);
        tcb.mss = mss;
        if let Some(cold) = tcb.cold.as_deref_mut() {
            cold.flight.cut(u32::from(mss));
        }
        self.queue_output(index, tcb);
    }

    /// A segment of the scoreboard was sent again, or a new one was sent.
    pub(crate) fn note_sent(&self, now: Instant, tcb: &mut Tcb, len: u32, is_again: bool) {
        let stamp = self.timestamp(now);
        let (una, nxt) = (tcb.snd_una, tcb.snd_nxt);
        let Some(cold) = tcb.cold.as_deref_mut() else {
            return;
        };
        cold.recovery.prr.note_sent(len);
        if is_again && let Some(undo) = &mut cold.recovery.undo {
            undo.stamp.get_or_insert(stamp);
            undo.repeated += 1;
        }
        cold.recovery.note_used(una, nxt);
    }
}

impl Recovery {
    /// A mark may lower the window: no loss does already, and the last mark was a
    /// round trip ago (RFC 3168 section 6.1.2).
    pub(crate) fn may_reduce(&mut self, una: Seq, nxt: Seq) -> bool {
        let is_new = self
            .reduced
            .is_none_or(|reduced| una.follows_or_is(reduced));
        let may = is_new && self.mode == Mode::Open;
        if may {
            self.reduced = Some(nxt);
        }
        may
    }

    /// One more duplicate came while so many segments are in flight; false if it is one
    /// too many.
    fn count_duplicate(&mut self, segments: usize) -> bool {
        if self.duplicates_max == 0 {
            self.duplicates_max = u32::try_from(segments).unwrap_or(u32::MAX);
        }
        let counts = self.duplicates < self.duplicates_max;
        self.duplicates += u32::from(counts);
        counts
    }

    /// No loss is being repaired.
    pub(crate) fn is_open(&self) -> bool {
        self.mode == Mode::Open
    }

    /// What becomes of a tail loss probe is not known yet.
    pub(crate) fn is_waiting(&self) -> bool {
        self.probe.is_some()
    }

    /// Bytes in flight at most in this window, which may be over.
    fn used(&mut self, una: Seq) -> u32 {
        if self
            .used_until
            .is_some_and(|until| una.follows_or_is(until))
        {
            self.used_until = None;
        }
        self.used
    }

    /// So much is in flight now.
    pub(crate) fn note_used(&mut self, una: Seq, nxt: Seq) {
        if self.used_until.is_none_or(|until| una.follows_or_is(until)) {
            self.used_until = Some(nxt);
            self.used = 0;
        }
        self.used = self.used.max(nxt.bytes_since(una));
    }

    /// What was in flight at the last reduction for a mark is still there.
    pub(crate) fn is_reduced(&self, una: Seq) -> bool {
        self.reduced.is_some_and(|reduced| una.precedes(reduced))
    }
}

/// The block that reports a duplicate (RFC 2883 section 4): data below the
/// acknowledgment, or within the block behind it.
fn duplicate_of(blocks: &[SackBlock], ack: Seq) -> Option<SackBlock> {
    let (first, rest) = blocks.split_first()?;
    let is_below = first.right.precedes_or_is(ack) && first.left.precedes(first.right);
    let is_within = rest.first().is_some_and(|second| {
        first.left.follows_or_is(second.left) && first.right.precedes_or_is(second.right)
    });
    (is_below || is_within).then_some(*first)
}

fn moment(now: Instant, tcb: &Tcb) -> Moment {
    Moment {
        now_us: micros(now),
        srtt_us: tcb.rtt.smoothed_us().unwrap_or(0),
        in_recovery: tcb
            .cold()
            .is_some_and(|cold| cold.recovery.mode != Mode::Open),
    }
}
