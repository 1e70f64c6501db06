//! Segments that leave: what may be sent now, as one header and a stretch of the
//! send queue.
//!
//! Nothing is built here. A [`Plan`] is made when the next hop is known and a
//! frame is at hand, and applied to the connection as it leaves, so a segment
//! that can't leave yet was never made.

use super::chunks::{Chunks, List};
use super::input::micros;
use super::reset::header;
use super::state::State;
use super::tcb::{Tcb, TcbFlags, Timer};
use super::transitions::Event;
use super::{Closed, Cx, Flow, Shared, Tcp};
use crate::flow::FlowKey;
use crate::frame::FramePool;
use crate::seq::Seq;
use crate::time::Instant;
use crate::wire::tcp::{Flags, Header};

/// One segment of a connection, decided and not yet built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plan {
    seq: Seq,
    flags: Flags,
    /// Bytes of the send queue, from `seq` on.
    len: u32,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A SYN, alone or with ACK.
    Syn,
    /// Data or FIN at `snd_nxt`, for the first time or again.
    Next,
    /// The segment at SND.UNA again, while `snd_nxt` stays (fast retransmission).
    Again,
    /// A window probe.
    Probe,
    /// Nothing but the acknowledgment.
    Ack,
}

/// Data that a segment is to carry.
pub(crate) struct Payload<'a> {
    chunks: &'a Chunks,
    queue: List,
    skip: u64,
    len: usize,
}

impl Payload<'_> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Writes the data; this is the one copy on its way out.
    pub(crate) fn write(&self, into: &mut [u8]) {
        self.chunks.copy(self.queue, self.skip, into);
    }
}

/// What turns segments into frames.
pub(crate) trait Emitter {
    /// False when there is no frame or no room for it now.
    fn emit(
        &mut self,
        pool: &mut FramePool,
        key: FlowKey,
        header: &Header,
        payload: &Payload,
    ) -> bool;
}

/// Segments that one connection may send before the next has its turn.
const TURN: usize = 16;

impl Tcp {
    /// The next connection that may have something to send, and to whom.
    pub(crate) fn poll_output(&mut self) -> Option<(u32, FlowKey)> {
        while let Some(index) = self.shared.output.pop_front() {
            if let Some(tcb) = self.connections.get_mut(index) {
                tcb.unset(TcbFlags::OUTPUT_QUEUED);
                return Some((index, tcb.key));
            }
        }
        None
    }

    /// Puts a connection back that could not send for want of frames or of a
    /// next hop.
    pub(crate) fn requeue_output(&mut self, index: u32) {
        if let Some(tcb) = self.connections.get_mut(index) {
            self.shared.queue_output(index, tcb);
        }
    }

    /// Sends what a connection may send now, a turn's worth.
    pub(crate) fn send_segments(&mut self, cx: &mut Cx, index: u32, emitter: &mut impl Emitter) {
        let Some(tcb) = self.connections.get_mut(index) else {
            return;
        };
        let shared = &mut self.shared;
        for _ in 0..TURN {
            let Some(plan) = shared.plan(tcb) else {
                shared.await_window(cx.now, tcb);
                shared.schedule(cx.now, index, tcb);
                return;
            };
            let header = shared.header_of(cx.now, tcb, &plan);
            let payload = Payload {
                chunks: &shared.chunks,
                queue: tcb.send_queue,
                skip: u64::from(plan.seq.bytes_since(tcb.snd_una)),
                len: plan.len as usize,
            };
            if !emitter.emit(cx.pool, tcb.key, &header, &payload) {
                break;
            }
            shared.sent(cx.now, tcb, &plan);
        }
        shared.schedule(cx.now, index, tcb);
        shared.queue_output(index, tcb);
    }

    /// The next segment that belongs to no connection.
    pub(crate) fn poll_reply(&mut self) -> Option<(FlowKey, Header)> {
        self.shared.replies.pop_front()
    }

    /// The next hop towards a connection's peer does not answer. One that is
    /// still opening ends; an open one goes on trying until its timer gives up
    /// (RFC 9293 section 3.9.2.2: a soft error).
    pub(crate) fn next_hop_failed(&mut self, cx: &mut Cx, index: u32) {
        let Some(tcb) = self.connections.get_mut(index) else {
            return;
        };
        if let Some(why) = tcb.ends_on(Event::Unreachable) {
            return self.finish(cx, index, why);
        }
        if tcb.timer == Timer::Idle && (tcb.has_unsent() || tcb.has_unacknowledged()) {
            let rto = tcb.rtt.rto(self.shared.config.rto, tcb.backoff);
            tcb.arm(Timer::Retransmit, cx.now, rto);
        }
        self.shared.schedule(cx.now, index, tcb);
    }

    /// An ICMP error says that a host or port can't be reached. Only a SYN that
    /// is under way is ended by it (RFC 5927 section 5.2; RFC 9293 MUST-56).
    pub(crate) fn unreachable(
        &mut self,
        cx: &mut Cx,
        key: &FlowKey,
        seq: Seq,
        why: Closed,
    ) -> bool {
        let Some(Flow::Connection(index)) = self.lookup(key) else {
            return false;
        };
        let Some(tcb) = self.connections.get_mut(index) else {
            return false;
        };
        // RFC 5927 section 4.1: the quoted segment must be one in flight.
        let is_ours = seq.follows_or_is(tcb.snd_una) && seq.precedes(tcb.snd_max);
        if !is_ours || tcb.ends_on(Event::Unreachable).is_none() {
            return false;
        }
        self.finish(cx, index, why);
        true
    }
}

impl Shared {
    /// What to send next; none when nothing may leave.
    fn plan(&self, tcb: &Tcb) -> Option<Plan> {
        if matches!(tcb.state, State::SynSent | State::SynReceived) {
            return self.plan_syn(tcb);
        }
        if tcb.is(TcbFlags::RESEND_ONE) && tcb.has_unacknowledged() {
            let len = tcb.send_queued.min(u32::from(tcb.mss));
            return Some(self.plan_data(tcb, tcb.snd_una, len, Kind::Again));
        }
        if tcb.is(TcbFlags::PROBE_DUE) {
            let usable = tcb.snd_wnd.clamp(1, u32::from(tcb.mss));
            return Some(self.plan_data(
                tcb,
                tcb.snd_una,
                tcb.send_queued.min(usable),
                Kind::Probe,
            ));
        }
        self.plan_next(tcb).or_else(|| {
            let ack = Plan {
                seq: tcb.snd_max,
                flags: Flags::ACK,
                len: 0,
                kind: Kind::Ack,
            };
            tcb.is(TcbFlags::ACK_NOW).then_some(ack)
        })
    }

    fn plan_syn(&self, tcb: &Tcb) -> Option<Plan> {
        let flags = if tcb.state == State::SynSent {
            Flags::SYN
        } else {
            Flags::SYN | Flags::ACK
        };
        if tcb.is(TcbFlags::SYN_DUE) {
            return Some(Plan {
                seq: tcb.snd_una,
                flags,
                len: 0,
                kind: Kind::Syn,
            });
        }
        let ack = Plan {
            seq: tcb.snd_max,
            flags: Flags::ACK,
            len: 0,
            kind: Kind::Ack,
        };
        (tcb.state == State::SynReceived && tcb.is(TcbFlags::ACK_NOW)).then_some(ack)
    }

    /// Data and FIN at `snd_nxt`, as far as both windows, Nagle's algorithm and
    /// silly window avoidance allow (RFC 9293 sections 3.7.4 and 3.8.6.2.1).
    fn plan_next(&self, tcb: &Tcb) -> Option<Plan> {
        if !tcb.has_unsent() {
            return None;
        }
        let unsent = tcb.data_end().bytes_since(tcb.snd_nxt);
        let window = tcb.snd_wnd.min(tcb.congestion.cwnd());
        let usable = window.saturating_sub(tcb.in_flight());
        let mss = u32::from(tcb.mss);
        let len = unsent.min(usable).min(mss);
        if unsent == 0 {
            return Some(self.plan_data(tcb, tcb.snd_nxt, 0, Kind::Next));
        }
        let is_last = len == unsent;
        let is_again = tcb.snd_nxt.precedes(tcb.snd_max);
        let may_be_small = tcb.is(TcbFlags::NODELAY)
            || tcb.in_flight() == 0
            || tcb.is(TcbFlags::FIN_QUEUED)
            || is_again;
        let half_window = (u32::from(tcb.snd_wnd_max) << tcb.snd_scale()) / 2;
        let is_worth_it = len == mss || (is_last && may_be_small) || len >= half_window.max(1);
        (len > 0 && is_worth_it).then(|| self.plan_data(tcb, tcb.snd_nxt, len, Kind::Next))
    }

    /// `len` bytes at `seq`, with the FIN if it comes right after them and PSH if
    /// nothing is queued behind them (MUST-61).
    fn plan_data(&self, tcb: &Tcb, seq: Seq, len: u32, kind: Kind) -> Plan {
        let reaches_end = seq + len == tcb.data_end();
        let mut flags = Flags::ACK;
        if reaches_end && len > 0 {
            flags = flags | Flags::PSH;
        }
        if reaches_end && tcb.is(TcbFlags::FIN_QUEUED) {
            flags = flags | Flags::FIN;
        }
        Plan {
            seq,
            flags,
            len,
            kind,
        }
    }

    fn header_of(&self, now: Instant, tcb: &mut Tcb, plan: &Plan) -> Header {
        if plan.kind != Kind::Syn {
            let window = self.advertise(tcb);
            return header(
                tcb.key,
                plan.flags,
                plan.seq,
                tcb.rcv_nxt,
                window,
                self.options_of(now, tcb),
            );
        }
        let mut options = self.syn_options(now);
        if tcb.state == State::SynReceived {
            // A SYN-ACK takes up only what the peer's SYN offered.
            options.window_scale = options.window_scale.filter(|_| tcb.rcv_scale() > 0);
            options.sack_permitted = tcb.is(TcbFlags::SACK);
            options.timestamps = tcb
                .is(TcbFlags::TIMESTAMPS)
                .then(|| self.timestamps(now, tcb.ts_recent));
        }
        let ack = if tcb.state == State::SynReceived {
            tcb.rcv_nxt
        } else {
            Seq(0)
        };
        header(
            tcb.key,
            plan.flags,
            plan.seq,
            ack,
            self.syn_window(),
            options,
        )
    }

    /// The planned segment has left.
    fn sent(&mut self, now: Instant, tcb: &mut Tcb, plan: &Plan) {
        self.stats.segments_out += 1;
        if plan.flags.contains(Flags::ACK) {
            tcb.unset(TcbFlags::ACK_NOW);
            tcb.unset(TcbFlags::ACK_DELAYED);
        }
        let is_control = plan.flags.contains(Flags::SYN) || plan.flags.contains(Flags::FIN);
        let end = plan.seq + plan.len + u32::from(is_control);
        match plan.kind {
            Kind::Syn => tcb.unset(TcbFlags::SYN_DUE),
            Kind::Again => tcb.unset(TcbFlags::RESEND_ONE),
            Kind::Probe => {
                tcb.unset(TcbFlags::PROBE_DUE);
                self.stats.window_probes += 1;
            }
            Kind::Next | Kind::Ack => {}
        }
        if end == plan.seq {
            return;
        }
        if matches!(plan.kind, Kind::Syn | Kind::Next) {
            tcb.snd_nxt = end;
        }
        self.count_sent(now, tcb, plan.seq, end, plan.len);
        tcb.snd_max = tcb.snd_max.max(end);
        // RFC 6298 (5.1); a probe has its own timer.
        if plan.kind != Kind::Probe && tcb.timer != Timer::Retransmit {
            let rto = tcb.rtt.rto(self.config.rto, tcb.backoff);
            tcb.arm(Timer::Retransmit, now, rto);
        }
    }

    /// Counts new and repeated bytes, and times one new segment a round trip.
    fn count_sent(&mut self, now: Instant, tcb: &mut Tcb, seq: Seq, end: Seq, len: u32) {
        if seq.precedes(tcb.snd_max) {
            self.stats.retransmits += 1;
            // Karn's algorithm (RFC 6298 section 3).
            tcb.unset(TcbFlags::RTT_TIMED);
            let new = end.distance_from(tcb.snd_max).max(0).unsigned_abs();
            self.stats.bytes_sent += u64::from(new.min(len));
            return;
        }
        self.stats.bytes_sent += u64::from(len);
        if !tcb.is(TcbFlags::RTT_TIMED) {
            tcb.set(TcbFlags::RTT_TIMED);
            tcb.rtt_seq = seq;
            tcb.rtt_start_us = micros(now);
        }
    }

    /// Data waits, nothing is in flight and nothing may be sent: only a probe can
    /// find out that the window has opened (RFC 9293 section 3.8.6.1), or it is
    /// time to send less than would be worth it (section 3.8.6.2.1, override).
    fn await_window(&mut self, now: Instant, tcb: &mut Tcb) {
        if tcb.state.is_synchronized() && tcb.has_unsent() && tcb.timer == Timer::Idle {
            let rto = tcb.rtt.rto(self.config.rto, tcb.backoff);
            tcb.arm(Timer::Persist, now, rto);
        }
    }
}
