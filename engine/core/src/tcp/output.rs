//! Segments that leave: what may be sent now, as one header and a stretch of the
//! send queue: what was lost first, then probes, then what is new.
//!
//! Nothing is built here. A [`Plan`] is made when the next hop is known and a
//! frame is at hand, and applied to the connection as it leaves, so a segment
//! that can't leave yet was never made.

use super::chunks::{Chunks, List, Place};
use super::ecn::codepoint;
use super::input::micros;
use super::reset::header;
use super::state::State;
use super::tcb::{Tcb, TcbFlags, Timer};
use super::transitions::Event;
use super::{Cx, Reply, Shared, Tcp};
use crate::address::Address;
use crate::flow::FlowKey;
use crate::frame::FramePool;
use crate::seq::Seq;
use crate::time::Instant;
use crate::wire::ip::Service;
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
    /// A SYN, with ACK or not. Its data is the start of the send queue.
    Syn,
    /// Data or FIN at SND.NXT.
    New,
    /// The segment of this name in the scoreboard again.
    Again(u64),
    /// A window probe.
    Probe,
    /// A window probe without data.
    EmptyProbe,
    /// Nothing but the acknowledgment.
    Ack,
}

/// Data that a segment is to carry.
pub(crate) struct Payload<'a> {
    chunks: &'a Chunks,
    queue: List,
    place: Place,
    len: usize,
}

impl Payload<'_> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Writes the data; this is the one copy on its way out.
    pub(crate) fn write(&self, into: &mut [u8]) {
        self.chunks.copy(self.queue, self.place, into);
    }
}

/// What turns segments into frames.
pub(crate) trait Emitter {
    /// False when there is no frame or no room for it now.
    fn emit(
        &mut self,
        pool: &mut FramePool,
        key: FlowKey,
        service: Service,
        header: &Header,
        payload: &Payload,
    ) -> bool;
}

/// Segments that one connection may send before the next has its turn.
const TURN: usize = 16;

impl Tcp {
    /// Reads what the first so many of those that wait for output will need, as
    /// [`touch`](Tcp::touch) does for what has arrived.
    pub(crate) fn touch_output(&self, count: usize) {
        if self.shared.has_many_flows() {
            for &index in self.shared.output.iter().take(count) {
                self.touch_connection(index);
            }
        }
    }

    /// The next connection that may have something to send, and to whom.
    pub(crate) fn poll_output(&mut self) -> Option<(u32, Address)> {
        while let Some(index) = self.shared.output.pop_front() {
            if let Some(tcb) = self.connections.get_mut(index) {
                tcb.unset(TcbFlags::OUTPUT_QUEUED);
                return Some((index, tcb.key.remote));
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

    /// Sees to the deadlines of a connection that output could not look at.
    pub(crate) fn schedule(&mut self, now: Instant, index: u32) {
        if let Some(tcb) = self.connections.get_mut(index) {
            self.shared.schedule(now, index, tcb);
        }
    }

    /// Sends what a connection may send now, a turn's worth.
    pub(crate) fn send_segments(&mut self, cx: &mut Cx, index: u32, emitter: &mut impl Emitter) {
        let Some(tcb) = self.connections.get_mut(index) else {
            return;
        };
        let shared = &mut self.shared;
        for _ in 0..TURN {
            let Some(plan) = shared.plan(cx.now, tcb) else {
                shared.await_room(cx.now, tcb);
                shared.wake_writer(index, tcb);
                shared.account(cx.now, tcb);
                shared.schedule(cx.now, index, tcb);
                return;
            };
            let mut header = Header::default();
            shared.fill_header(cx.now, tcb, &plan, &mut header);
            let (codepoint, flags) = shared.ecn_of(tcb, &plan);
            header.flags = header.flags | flags;
            let payload = Payload {
                chunks: &shared.chunks,
                queue: tcb.send_queue,
                place: tcb.place_of(plan.seq),
                len: plan.len as usize,
            };
            let mut service = shared.service(tcb);
            service.tos |= codepoint;
            if !emitter.emit(cx.pool, tcb.key, service, &header, &payload) {
                break;
            }
            shared.sent(cx.now, tcb, &plan);
        }
        shared.schedule(cx.now, index, tcb);
        shared.queue_output(index, tcb);
    }

    /// The next segment that belongs to no connection.
    pub(crate) fn poll_reply(&mut self) -> Option<Reply> {
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
        self.shared.await_room(cx.now, tcb);
        self.shared.schedule(cx.now, index, tcb);
    }
}

impl Tcb {
    /// Where in the send queue the byte with this sequence number is.
    #[inline]
    pub(super) fn place_of(&self, seq: Seq) -> Place {
        match self.cold().and_then(|cold| cold.next_chunk) {
            Some((chunk, start)) if start.precedes_or_is(seq) => {
                Place::from_chunk(chunk, seq.bytes_since(start).into())
            }
            _ => Place::from_head(seq.bytes_since(self.snd_una).into()),
        }
    }

    /// A chunk that SND.UNA has passed the start of may be gone.
    pub(super) fn forget_place(&mut self) {
        let una = self.snd_una;
        if let Some(cold) = self.cold.as_deref_mut() {
            cold.next_chunk = cold
                .next_chunk
                .filter(|(_, start)| start.follows_or_is(una));
        }
    }

    /// There may be something to send: data, a FIN or a SYN, an acknowledgment, a probe,
    /// or what was lost.
    fn has_output(&self) -> bool {
        const DUE: TcbFlags = TcbFlags::ACK_NOW
            .and(TcbFlags::SYN_DUE)
            .and(TcbFlags::TAIL_PROBE_DUE)
            .and(TcbFlags::PROBE_DUE);
        self.is(DUE) || self.has_unsent() || self.cold().is_some_and(|cold| cold.flight.lost() > 0)
    }
}

impl Shared {
    /// What to send next; none when nothing may leave.
    #[inline(always)]
    fn plan(&self, now: Instant, tcb: &mut Tcb) -> Option<Plan> {
        if !tcb.has_output() {
            return None;
        }
        if matches!(tcb.state, State::SynSent | State::SynReceived) {
            return self.plan_opening(now, tcb);
        }
        if tcb.is(TcbFlags::PROBE_DUE) {
            return Some(self.plan_window_probe(tcb));
        }
        self.plan_repair(tcb)
            .or_else(|| self.plan_new(now, tcb))
            .or_else(|| self.plan_ack(tcb))
    }

    /// What is sent before new data: a report, and what was lost or may have been.
    #[inline(always)]
    fn plan_repair(&self, tcb: &mut Tcb) -> Option<Plan> {
        let cold = tcb.cold()?;
        // A report leaves alone: beside a full segment of data it has no room.
        if !cold.report.is_empty() && tcb.is(TcbFlags::ACK_NOW) {
            return self.plan_ack(tcb);
        }
        self.plan_again(tcb).or_else(|| self.plan_tail_probe(tcb))
    }

    /// What asks a peer for its window: what the window has room for, or where it is
    /// closed an octet, or nothing, below what the peer awaits.
    fn plan_window_probe(&self, tcb: &Tcb) -> Plan {
        if tcb.snd_wnd == 0 && !self.config.zero_window_probe_data {
            return Plan {
                seq: tcb.snd_una.back(1),
                flags: Flags::ACK,
                len: 0,
                kind: Kind::EmptyProbe,
            };
        }
        let usable = tcb.snd_wnd.clamp(1, u32::from(tcb.mss));
        let len = self.within_record(tcb, tcb.snd_una, tcb.send_queued.min(usable));
        self.plan_data(tcb, tcb.snd_una, len, Kind::Probe)
    }

    fn plan_ack(&self, tcb: &Tcb) -> Option<Plan> {
        let ack = Plan {
            seq: tcb.snd_nxt,
            flags: Flags::ACK,
            len: 0,
            kind: Kind::Ack,
        };
        tcb.is(TcbFlags::ACK_NOW).then_some(ack)
    }

    /// What was lost, as far as the congestion window allows, and what of it the
    /// peer's window still holds (RFC 9293 section 3.8.6, SHLD-16).
    fn plan_again(&self, tcb: &mut Tcb) -> Option<Plan> {
        let mss = tcb.mss;
        let cold = tcb.cold.as_deref_mut()?;
        let (name, sent) = cold.flight.next_lost()?;
        let pipe = cold.pipe(mss);
        // With nothing in flight one segment may always leave: a full one with a FIN
        // is larger than the loss window, which is one MSS (RFC 5681 section 3.1).
        let is_held = pipe > 0 && tcb.congestion.cwnd().saturating_sub(pipe) < sent.len();
        let window_end = tcb.snd_una + tcb.snd_wnd;
        if is_held || sent.seq.follows_or_is(window_end) {
            return None;
        }
        Some(self.plan_segment(tcb, sent.seq, sent.end.min(window_end), Kind::Again(name)))
    }

    /// One segment, new if there is one and the peer has room, or else the last
    /// again, whatever the congestion window (RFC 8985 section 7.3).
    fn plan_tail_probe(&self, tcb: &Tcb) -> Option<Plan> {
        if !tcb.is(TcbFlags::TAIL_PROBE_DUE) {
            return None;
        }
        let window_end = tcb.snd_una + tcb.snd_wnd;
        let end = (tcb.snd_nxt + u32::from(tcb.mss)).min(tcb.data_end());
        if end.follows(tcb.snd_nxt) && end.precedes_or_is(window_end) {
            let len = self.within_record(tcb, tcb.snd_nxt, end.bytes_since(tcb.snd_nxt));
            return Some(self.plan_data(tcb, tcb.snd_nxt, len, Kind::New));
        }
        let (name, sent) = tcb.cold()?.flight.back()?;
        Some(self.plan_segment(tcb, sent.seq, sent.end, Kind::Again(name)))
    }

    /// The SYN, with what it takes along, or the SYN-ACK; behind that, what answers the
    /// data of an early connection (RFC 7413 section 4.2.2), but for its FIN.
    fn plan_opening(&self, now: Instant, tcb: &mut Tcb) -> Option<Plan> {
        if tcb.awaits_data() {
            return None;
        }
        let plan = self.plan_syn(tcb);
        if plan.is_none() && tcb.is_early() && tcb.unsent() > 0 {
            return self.plan_new(now, tcb);
        }
        plan
    }

    fn plan_syn(&self, tcb: &Tcb) -> Option<Plan> {
        let flags = if tcb.state == State::SynSent {
            Flags::SYN
        } else {
            Flags::SYN | Flags::ACK
        };
        if tcb.is(TcbFlags::SYN_DUE) {
            return Some(Plan {
                seq: if tcb.is_early() {
                    tcb.snd_una.back(1)
                } else {
                    tcb.snd_una
                },
                flags,
                len: tcb.with_syn().0,
                kind: Kind::Syn,
            });
        }
        self.plan_ack(tcb)
            .filter(|_| tcb.state == State::SynReceived)
    }

    /// Data and FIN at SND.NXT, as far as both windows, Nagle's algorithm and
    /// silly window avoidance allow (RFC 9293 sections 3.7.4 and 3.8.6.2.1).
    /// What waits is gathered into full segments (SHLD-28, MAY-16) of one record, and goes
    /// out as soon as nothing is in flight (MUST-60). Silly windows are MUST-38; past a
    /// window that shrank nothing new is sent (SHLD-15).
    #[inline(always)]
    fn plan_new(&self, now: Instant, tcb: &mut Tcb) -> Option<Plan> {
        if !tcb.has_unsent() {
            return None;
        }
        let unsent = tcb.data_end().bytes_since(tcb.snd_nxt);
        if unsent == 0 {
            return Some(self.plan_data(tcb, tcb.snd_nxt, 0, Kind::New));
        }
        let is_first = !tcb.has_unacknowledged();
        if is_first && self.config.restart_after_idle && self.is_idle(now, tcb) {
            tcb.congestion.on_idle(self.initial_window(tcb.mss));
        }
        // What a peer that shrinks its window leaves may be less than nothing
        // (section 3.8.6, MUST-34).
        let window = (tcb.snd_una + tcb.snd_wnd).distance_from(tcb.snd_nxt);
        let window = u32::try_from(window).unwrap_or(0);
        let usable = window.min(tcb.congestion.cwnd().saturating_sub(tcb.pipe()));
        let mss = u32::from(tcb.mss);
        let probe = tcb
            .cold
            .as_deref_mut()
            .and_then(|cold| Self::probe_size(now, cold, mss, unsent));
        let has_records = tcb.is(TcbFlags::RECORDS);
        if let Some(size) = probe.filter(|size| *size <= usable && !has_records) {
            return Some(self.plan_data(tcb, tcb.snd_nxt, size, Kind::New));
        }
        let most = unsent.min(mss);
        let part = self.within_record(tcb, tcb.snd_nxt, most);
        let len = part.min(usable);
        let half_window = (u32::from(tcb.snd_wnd_max) << tcb.snd_scale()) / 2;
        let is_worth_it = len == mss
            // A record that others follow.
            || (len == part && part < most)
            || (len == unsent && self.may_be_small(tcb))
            || (len >= half_window.max(1) && len == window);
        (len > 0 && is_worth_it).then(|| self.plan_data(tcb, tcb.snd_nxt, len, Kind::New))
    }

    /// Nothing has been waited for since longer than a retransmission timeout
    /// (RFC 5681 section 4.1).
    fn is_idle(&self, now: Instant, tcb: &Tcb) -> bool {
        tcb.is_idle_for(now, self.rto.min_us) && tcb.is_idle_for(now, tcb.rtt.rto_us(&self.rto, 0))
    }

    /// The sequence numbers from `seq` to `end`, which were sent before. A FIN is
    /// among them when they go past the data.
    fn plan_segment(&self, tcb: &Tcb, seq: Seq, end: Seq, kind: Kind) -> Plan {
        let data_end = end.min(tcb.data_end());
        let len = data_end.bytes_since(seq);
        let plan = self.plan_data(tcb, seq, len, kind);
        if end.follows(data_end) {
            plan
        } else {
            Plan {
                flags: plan.flags.without(Flags::FIN),
                ..plan
            }
        }
    }

    /// `len` bytes at `seq`, with the FIN if it comes right after them, and PSH on the
    /// last of several that were pushed, alone (SHLD-27).
    #[inline(always)]
    fn plan_data(&self, tcb: &Tcb, seq: Seq, len: u32, kind: Kind) -> Plan {
        let reaches_end = seq + len == tcb.data_end();
        let mut flags = Flags::ACK;
        if self.is_pushed(tcb, seq, len, kind == Kind::Probe) {
            flags = flags | Flags::PSH;
        }
        if reaches_end && tcb.is(TcbFlags::FIN_QUEUED) && tcb.state.is_synchronized() {
            flags = flags | Flags::FIN;
        }
        Plan {
            seq,
            flags,
            len,
            kind,
        }
    }

    /// The header of a planned segment, from a blank one: it is too large to be moved
    /// for nothing.
    #[inline]
    fn fill_header(&self, now: Instant, tcb: &mut Tcb, plan: &Plan, header: &mut Header) {
        if plan.kind == Kind::Syn {
            *header = self.header_of_syn(now, tcb, plan);
            return;
        }
        header.source_port = tcb.key.local_port;
        header.destination_port = tcb.key.remote_port;
        header.seq = plan.seq;
        header.ack = tcb.rcv_nxt;
        header.flags = plan.flags;
        header.window = self.advertise(tcb);
        if tcb.is(TcbFlags::TIMESTAMPS) {
            header.options.timestamps = Some(self.timestamps(now, tcb.ts_recent));
        }
        if plan.kind == Kind::Ack {
            header.options.sack = Self::report(tcb);
        }
        tcb.mark_segment(header);
    }

    fn header_of_syn(&self, now: Instant, tcb: &mut Tcb, plan: &Plan) -> Header {
        let mut options = self.syn_options(now, &tcb.key, &tcb.settings);
        options.fast_open = tcb.with_syn().1;
        options.window_scale = options.window_scale.map(|_| tcb.rcv_scale());
        if tcb.state == State::SynReceived {
            // A SYN-ACK takes up only what the peer's SYN offered.
            let is_scaled = tcb.rcv_scale() > 0 || tcb.snd_scale() > 0;
            options.window_scale = options.window_scale.filter(|_| is_scaled);
            options.sack_permitted = tcb.is(TcbFlags::SACK);
            options.timestamps = tcb
                .is(TcbFlags::TIMESTAMPS)
                .then(|| self.timestamps(now, tcb.ts_recent));
        }
        let (ack, window) = if tcb.state == State::SynReceived {
            (tcb.rcv_nxt, self.advertise_unscaled(tcb))
        } else {
            (Seq(0), self.syn_window(&tcb.settings))
        };
        header(tcb.key, plan.flags, plan.seq, ack, window, options)
    }

    /// The ECN codepoint of a segment and the flags that it has besides.
    fn ecn_of(&self, tcb: &Tcb, plan: &Plan) -> (u8, Flags) {
        if plan.kind == Kind::Syn {
            let is_answer = plan.flags.contains(Flags::ACK);
            return (codepoint::NOT_ECT, self.ecn_of_syn(tcb, is_answer));
        }
        tcb.ecn_of(plan.kind == Kind::New && plan.len > 0)
    }

    /// The planned segment has left.
    #[inline(always)]
    fn sent(&mut self, now: Instant, tcb: &mut Tcb, plan: &Plan) {
        self.stats.segments_out += 1;
        // An empty probe is dropped before its ACK field is read.
        if plan.flags.contains(Flags::ACK) && plan.kind != Kind::EmptyProbe {
            tcb.unset(TcbFlags::ACK_NOW);
            tcb.unset(TcbFlags::ACK_DELAYED);
        }
        let end = match plan.kind {
            // Its data is not sent before the SYN-ACK says so.
            Kind::Syn => plan.seq + 1,
            _ => plan.seq + plan.len + u32::from(plan.flags.contains(Flags::FIN)),
        };
        match plan.kind {
            Kind::Syn => {
                tcb.unset(TcbFlags::SYN_DUE);
                Self::note_syn_data(tcb, plan.len);
            }
            Kind::Probe | Kind::EmptyProbe => {
                tcb.unset(TcbFlags::PROBE_DUE);
                self.stats.window_probes += 1;
            }
            Kind::New | Kind::Again(_) | Kind::Ack => {}
        }
        if end == plan.seq {
            return;
        }
        if plan.kind == Kind::Syn && tcb.is_early() {
            // Its SYN-ACK is not in the scoreboard.
            return self.arm_retransmit(now, tcb);
        }
        self.record(now, tcb, plan, end);
        if plan.kind == Kind::New {
            if plan.len > 0 {
                tcb.unset(TcbFlags::CWR_DUE);
            }
            if plan.len > 0 && plan.len < u32::from(tcb.mss) {
                tcb.note_small(plan.seq + plan.len);
            }
            Self::note_size(tcb, plan.seq, plan.len);
        }
        if tcb.is(TcbFlags::TAIL_PROBE_DUE) && plan.kind != Kind::Probe {
            tcb.unset(TcbFlags::TAIL_PROBE_DUE);
            self.note_probe(tcb, matches!(plan.kind, Kind::Again(_)));
            return;
        }
        match plan.kind {
            // It has its own timer.
            Kind::Probe => {}
            _ if !tcb.timer.is_of_flight() => self.restart_timer(now, tcb),
            Kind::New => self.note_departure(now, tcb, false),
            Kind::Again(_) => self.note_departure(now, tcb, true),
            Kind::Syn | Kind::Ack | Kind::EmptyProbe => {}
        }
    }

    /// Puts what has left into the scoreboard.
    fn record(&mut self, now: Instant, tcb: &mut Tcb, plan: &Plan, end: Seq) {
        let now_us = micros(now);
        let (seq, nxt) = (plan.seq, tcb.snd_nxt);
        let is_new = matches!(plan.kind, Kind::New | Kind::Syn) && seq == nxt;
        if is_new && tcb.send_lone(now) {
            tcb.snd_nxt = end;
            self.stats.bytes_sent += u64::from(if plan.kind == Kind::Syn { 0 } else { plan.len });
            return;
        }
        let flight = &mut self.warm(tcb).flight;
        let is_again = seq.precedes(nxt);
        if is_again {
            match plan.kind {
                Kind::Again(name) => flight.sent_again(name, now_us),
                _ => flight.sent_again_to(end, now_us),
            }
            self.stats.retransmits += 1;
        }
        let new_from = seq.max(nxt);
        if end.follows(new_from) {
            flight.push(new_from, end, now_us);
            tcb.snd_nxt = end;
            // The queue begins behind a SYN.
            let data = if plan.kind == Kind::Syn {
                0
            } else {
                self.note_place(tcb);
                plan.len
            };
            self.stats.bytes_sent += u64::from(data.min(end.bytes_since(new_from)));
        }
        self.note_sent(now, tcb, end.bytes_since(seq), is_again);
    }

    /// Remembers the chunk that SND.NXT is in. Not on the way of a lone segment.
    #[inline(never)]
    fn note_place(&self, tcb: &mut Tcb) {
        let place = self
            .chunks
            .find(tcb.send_queue, tcb.place_of(tcb.snd_nxt))
            .and_then(|(chunk, skip)| Some((chunk, tcb.snd_nxt.back(u32::try_from(skip).ok()?))));
        if let Some(cold) = tcb.cold.as_deref_mut() {
            cold.next_chunk = place;
        }
    }

    /// Data waits, nothing is in flight and nothing may be sent: only a probe can
    /// find out that the window has opened (RFC 9293 section 3.8.6.1) or that the next
    /// hop is back, or it is time to send less than would be worth it (section
    /// 3.8.6.2.1, override).
    fn await_room(&mut self, now: Instant, tcb: &mut Tcb) {
        if tcb.state.is_synchronized() && tcb.has_unsent() && tcb.timer == Timer::Idle {
            tcb.arm(Timer::Persist, now, self.rto_us(tcb));
        }
    }
}
