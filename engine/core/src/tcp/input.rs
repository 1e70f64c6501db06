//! Segments that arrive (RFC 9293 section 3.10.7, with RFC 5961 and RFC 7323).
//!
//! Section 3.10.7.4 checks a segment in eight steps. Here each step is a
//! function of its name, in the same order, and the first that is not content
//! ends the segment.

use super::rtt;
use super::state::State;
use super::tcb::{Events, Minutes, Tcb, TcbFlags, Timer};
use super::transitions::{Action, Event};
use super::{Closed, Cx, Flow, Shared, Tcp};
use crate::flow::FlowKey;
use crate::frame::Frame;
use crate::seq::Seq;
use crate::stats::DropReason;
use crate::time::Instant;
use crate::wire::tcp::{Flags, Header};

/// A segment without its data, which is the window of the frame beside it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Segment {
    /// The flow as this side names it.
    pub(crate) key: FlowKey,
    pub(crate) header: Header,
    pub(crate) payload_len: u32,
    /// The ECN field of the IP header (RFC 3168 section 5): 3 is CE.
    pub(crate) ecn: u8,
}

impl Segment {
    /// SEG.LEN: data, SYN and FIN (RFC 9293 section 3.3.1).
    pub(crate) fn len(&self) -> u32 {
        let flags = self.header.flags;
        self.payload_len
            + u32::from(flags.contains(Flags::SYN))
            + u32::from(flags.contains(Flags::FIN))
    }
}

/// What becomes of a connection after a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Stays,
    TimeWait,
    Ends(Closed),
    /// It ends, and the peer is told by a RST.
    Aborts(DropReason),
}

impl Verdict {
    /// What an action that the table asks for means to the record.
    fn of(action: Action) -> Verdict {
        match action {
            Action::StartTimeWait => Verdict::TimeWait,
            Action::End(why) => Verdict::Ends(why),
            _ => Verdict::Stays,
        }
    }
}

/// While probes of a closed window are answered their interval doubles only this
/// often, which leaves room for the ones that are not answered to be counted.
pub(crate) const ANSWERED_BACKOFF: u8 = 9;

/// Between the RST that ends a peer's old connection and the SYN again.
const SYN_AFTER_RESET_US: u64 = 2_000;

/// A step's answer: go on to the next step, or be done with the segment.
type Step<T = ()> = Result<T, DropReason>;

impl Tcp {
    /// Processes one segment of a flow that has this record, or none. Its frame is
    /// taken where it is kept.
    pub(crate) fn input(
        &mut self,
        cx: &mut Cx,
        flow: Option<Flow>,
        segment: &Segment,
        frame: &mut Option<Frame>,
    ) {
        self.shared.stats.segments_in += 1;
        // The ACK that completes a handshake may carry data and FIN.
        let connection = match flow {
            Some(Flow::Connection(index)) => Ok(Some(index)),
            Some(Flow::HalfOpen(index)) => self.input_half_open(cx, index, segment),
            Some(Flow::TimeWait(index)) => self
                .input_time_wait(cx, index, segment, frame)
                .map(|()| None),
            None => self.input_no_connection(cx, segment, frame),
        };
        let outcome = connection.and_then(|connection| match connection {
            Some(index) => self.input_connection(cx, index, segment, frame),
            None => Ok(()),
        });
        if let Err(reason) = outcome {
            self.shared.drops.count(reason);
        }
    }

    fn input_connection(
        &mut self,
        cx: &mut Cx,
        index: u32,
        segment: &Segment,
        frame: &mut Option<Frame>,
    ) -> Step {
        let Some(tcb) = self.connections.get_mut(index) else {
            return Ok(());
        };
        let shared = &mut self.shared;
        let verdict = match tcb.state {
            State::SynSent => shared.syn_sent(cx, index, tcb, segment, frame),
            _ => shared.synchronized(cx, index, tcb, segment, frame),
        };
        match verdict {
            Ok(Verdict::Stays) | Err(_) => {
                shared.cool(tcb);
                if tcb.has_unsent() {
                    shared.queue_output(index, tcb);
                }
                // Output does that for those that it looks at.
                if !tcb.is(TcbFlags::OUTPUT_QUEUED) {
                    shared.schedule(cx.now, index, tcb);
                }
            }
            Ok(Verdict::TimeWait) => self.enter_time_wait(cx, index),
            Ok(Verdict::Ends(Closed::Normally)) => self.end_normally(cx, index),
            Ok(Verdict::Ends(why)) => self.finish(cx, index, why),
            Ok(Verdict::Aborts(reason)) => {
                if tcb.on(Event::TextAfterClose) == Action::SendReset {
                    shared.reset_text(cx.now, tcb, segment);
                }
                self.finish(cx, index, Closed::Aborted);
                return Err(reason);
            }
        }
        verdict.map(|_| ())
    }
}

impl Shared {
    /// SYN-SENT (RFC 9293 section 3.10.7.3).
    fn syn_sent(
        &mut self,
        cx: &mut Cx,
        index: u32,
        tcb: &mut Tcb,
        segment: &Segment,
        frame: &mut Option<Frame>,
    ) -> Step<Verdict> {
        let Header {
            flags,
            seq,
            ack,
            window,
            options,
            ..
        } = segment.header;
        let has_ack = flags.contains(Flags::ACK);
        if has_ack && !tcb.is_syn_acked(ack) {
            if !flags.contains(Flags::RST) {
                self.send_reset(tcb.key, ack, None);
                if tcb.backoff == 0 {
                    // The peer still has an old connection of this flow, which the
                    // RST ends: the SYN follows at once rather than in a second.
                    // As Linux does it (tcp_rcv_synsent_state_process).
                    tcb.arm(Timer::Retransmit, cx.now, SYN_AFTER_RESET_US);
                }
            }
            return Err(DropReason::BadAck);
        }
        if flags.contains(Flags::RST) {
            let event = if has_ack {
                Event::Reset
            } else {
                Event::ResetElsewhere
            };
            let end = tcb.ends_on(event).ok_or(DropReason::BadReset)?;
            return Ok(Verdict::Ends(end));
        }
        if !flags.contains(Flags::SYN) {
            return Err(DropReason::NoAck);
        }
        self.take_syn(cx.now, tcb, seq, &options, window);
        if !has_ack {
            // Simultaneous open (section 3.5, figure 7; MUST-10).
            tcb.on(Event::Syn);
            tcb.set(TcbFlags::SYN_DUE);
            if self.accepts_ecn(flags) {
                tcb.set(TcbFlags::ECN);
            }
            self.queue_output(index, tcb);
            return Ok(Verdict::Stays);
        }
        self.take_ecn_answer(tcb, flags);
        self.take_fast_open_answer(cx.now, tcb, &options, ack);
        self.establish(cx.now, tcb, Event::SynAck, options.timestamps);
        self.take_ack_of_syn_data(cx, index, tcb, ack);
        self.notify(index, tcb, Events::CONNECTED);
        // Data and FIN beside the SYN start one number after it, and one ACK is for all.
        let rest = Segment {
            header: Header {
                seq: seq + 1,
                ..segment.header
            },
            ..*segment
        };
        let rcv_nxt = tcb.rcv_nxt;
        let received = self.receive(cx, index, tcb, &rest, frame);
        let is_acknowledged = tcb.rcv_nxt != rcv_nxt && tcb.last_ack_sent == tcb.rcv_nxt;
        if !is_acknowledged {
            self.acknowledge(cx, index, tcb);
        }
        Ok(if received? {
            Verdict::of(tcb.on(Event::Fin))
        } else {
            Verdict::Stays
        })
    }

    /// All other states of a control block (RFC 9293 section 3.10.7.4).
    fn synchronized(
        &mut self,
        cx: &mut Cx,
        index: u32,
        tcb: &mut Tcb,
        segment: &Segment,
        frame: &mut Option<Frame>,
    ) -> Step<Verdict> {
        if tcb.is_predicted(segment) {
            return self.take_predicted(cx, index, tcb, segment, frame);
        }
        if self.is_early_syn_again(index, tcb, &segment.header) {
            return Err(DropReason::Duplicate);
        }
        self.check_sequence(cx, index, tcb, segment)?;
        tcb.heard();
        if segment.header.flags.contains(Flags::RST) {
            return self.check_reset(cx, tcb, segment);
        }
        self.check_syn(cx, tcb, segment)?;
        self.check_ack(cx, index, tcb, segment)?;
        Self::keep_timestamp(cx.now, tcb, segment);
        let verdict = self.after_ack(cx, index, tcb);
        if verdict != Verdict::Stays {
            return Ok(verdict);
        }
        self.check_urgent(index, tcb, segment);
        self.process_text(cx, index, tcb, segment, frame)
    }

    /// First: the sequence number, and before it PAWS (RFC 7323 section 5.3).
    fn check_sequence(
        &mut self,
        cx: &mut Cx,
        index: u32,
        tcb: &mut Tcb,
        segment: &Segment,
    ) -> Step {
        let Header {
            flags,
            seq,
            options,
            ..
        } = segment.header;
        let is_reset = flags.contains(Flags::RST);
        if tcb.is(TcbFlags::TIMESTAMPS) && !is_reset {
            // Once negotiated, timestamps are on every segment (section 3.2).
            let Some(timestamps) = options.timestamps else {
                return Err(DropReason::Paws);
            };
            let is_old = Seq(timestamps.value).precedes(Seq(tcb.ts_recent));
            if is_old && tcb.ts_recent_at.days_until(cx.now) < 24 {
                self.acknowledge(cx, index, tcb);
                return Err(DropReason::Paws);
            }
        }
        if !is_acceptable(segment, tcb.rcv_nxt, tcb.rcv_wnd()) {
            let end = seq + segment.payload_len;
            if end.precedes_or_is(tcb.rcv_nxt) {
                self.report_duplicate(tcb, seq, end);
            }
            if !is_reset {
                self.acknowledge(cx, index, tcb);
            }
            return Err(DropReason::OutOfWindow);
        }
        Ok(())
    }

    /// TS.Recent, from the segment that holds Last.ACK.sent (RFC 7323 section 4.3),
    /// and only once its ACK field was found good: who guesses a sequence number
    /// in the window can't have the peer's own segments refused by PAWS.
    pub(super) fn keep_timestamp(now: Instant, tcb: &mut Tcb, segment: &Segment) {
        if let Some(timestamps) = segment.header.options.timestamps
            && tcb.is(TcbFlags::TIMESTAMPS)
            && segment.header.seq.precedes_or_is(tcb.last_ack_sent)
            && Seq(timestamps.value).follows_or_is(Seq(tcb.ts_recent))
        {
            tcb.ts_recent = timestamps.value;
            tcb.ts_recent_at = Minutes::at(now);
        }
    }

    /// Second: RST, which must hit RCV.NXT exactly (RFC 5961 section 3.2).
    /// Data beside it is no matter (RFC 9293 section 3.5.3, SHLD-2).
    fn check_reset(&mut self, cx: &mut Cx, tcb: &mut Tcb, segment: &Segment) -> Step<Verdict> {
        if segment.header.seq != tcb.rcv_nxt {
            self.challenge(cx, tcb);
            return Err(DropReason::BadReset);
        }
        // Where only the ACK of a FIN is missing a RST is an end like any other, unless
        // there is something that has not even been sent.
        let has_unsent = tcb.has_unsent();
        let end = tcb.ends_on(Event::Reset).ok_or(DropReason::BadReset)?;
        Ok(Verdict::Ends(if has_unsent { Closed::Reset } else { end }))
    }

    /// Fourth: SYN on a connection that has one (RFC 5961 section 4.2).
    fn check_syn(&mut self, cx: &mut Cx, tcb: &mut Tcb, segment: &Segment) -> Step {
        if segment.header.flags.contains(Flags::SYN) {
            self.challenge(cx, tcb);
            return Err(DropReason::BadSyn);
        }
        Ok(())
    }

    /// Fifth: the ACK field.
    fn check_ack(&mut self, cx: &mut Cx, index: u32, tcb: &mut Tcb, segment: &Segment) -> Step {
        let Header {
            flags,
            ack,
            options,
            ..
        } = segment.header;
        if !flags.contains(Flags::ACK) {
            return Err(DropReason::NoAck);
        }
        if tcb.state == State::SynReceived {
            if !tcb.is_syn_acked(ack) {
                self.send_reset(tcb.key, ack, None);
                return Err(DropReason::BadAck);
            }
            self.establish(cx.now, tcb, Event::AckOfSyn, options.timestamps);
            if tcb.is(TcbFlags::ACTIVE) {
                self.take_ack_of_syn_data(cx, index, tcb, ack);
                self.notify(index, tcb, Events::CONNECTED);
            }
        }
        // RFC 9293 section 3.10.7.4, MAY-12.
        // RFC 5961 section 5.2: SND.UNA - MAX.SND.WND =< SEG.ACK =< SND.NXT.
        let oldest = tcb
            .snd_una
            .back(u32::from(tcb.snd_wnd_max) << tcb.snd_scale());
        if ack.follows(tcb.snd_nxt) || ack.precedes(oldest) {
            self.challenge(cx, tcb);
            return Err(DropReason::BadAck);
        }
        self.take_echo(tcb, segment);
        self.take_ack_and_window(cx, index, tcb, segment);
        Ok(())
    }

    /// An acceptable ACK field, and the window beside it.
    pub(super) fn take_ack_and_window(
        &mut self,
        cx: &mut Cx,
        index: u32,
        tcb: &mut Tcb,
        segment: &Segment,
    ) {
        let Header {
            seq, ack, window, ..
        } = segment.header;
        // RFC 9293 asks for the order of SEG.SEQ alone (SND.WL1). A segment that is
        // sent again has an old one, and the window from its time: with the
        // acknowledgment of that time, which is the newest where it advances
        // SND.UNA. Else the old window would move on with SND.UNA, past the edge
        // that the peer offers. As Linux does it (tcp_may_update_window).
        let is_newest = ack.follows(tcb.snd_una) || tcb.snd_wl1.precedes_or_is(seq);
        self.take_ack(cx, index, tcb, segment);
        let window = u32::from(window) << tcb.snd_scale();
        if ack.follows_or_is(tcb.snd_una) && is_newest {
            self.update_window(cx, index, tcb, seq, window);
        }
    }

    /// SND.UNA advances to `ack`: by how many bytes.
    #[inline]
    pub(crate) fn advance(&mut self, cx: &mut Cx, index: u32, tcb: &mut Tcb, ack: Seq) -> u32 {
        let acked = ack.bytes_since(tcb.snd_una);
        let data = acked.min(tcb.send_queued);
        self.chunks
            .skip(&mut tcb.send_queue, u64::from(data), cx.pool);
        if acked > data {
            // Past the data lies only our FIN.
            tcb.unset(TcbFlags::FIN_QUEUED);
        }
        tcb.send_queued -= data;
        if tcb.send_queued == 0 {
            tcb.forget_endings();
        }
        tcb.unset(TcbFlags::MORE);
        tcb.snd_una = ack;
        tcb.forget_place();
        tcb.forget_urgent();
        self.stats.bytes_acked += u64::from(data);
        tcb.restart_watch();
        self.wake_writer(index, tcb);
        acked
    }

    fn update_window(&mut self, cx: &mut Cx, index: u32, tcb: &mut Tcb, seq: Seq, window: u32) {
        let opened = window > tcb.snd_wnd;
        tcb.snd_wnd = window;
        tcb.snd_wl1 = seq;
        let unscaled = u16::try_from(window >> tcb.snd_scale()).unwrap_or(u16::MAX);
        tcb.snd_wnd_max = tcb.snd_wnd_max.max(unscaled);
        if tcb.timer == Timer::Persist {
            // The peer lives: it may keep its window closed as long as it answers
            // (RFC 9293 section 3.8.6.1, MUST-37).
            tcb.backoff = tcb.backoff.min(ANSWERED_BACKOFF);
            if opened {
                if tcb.backoff > 0 && self.config.restart_after_idle {
                    // Nothing but probes left for a timeout and longer, which is idle
                    // too (RFC 5681 section 4.1).
                    tcb.congestion.on_idle(self.initial_window(tcb.mss));
                }
                tcb.disarm(cx.now);
                tcb.backoff = 0;
                if self.warm(tcb).flight.retract_probe() {
                    // The byte goes with the rest, in segments worth sending.
                    tcb.snd_nxt = tcb.snd_una;
                }
                self.restart_timer(cx.now, tcb);
            }
            self.queue_output(index, tcb);
        }
    }

    /// Fifth, at its end: what the acknowledgment of our FIN changes.
    fn after_ack(&mut self, cx: &mut Cx, index: u32, tcb: &mut Tcb) -> Verdict {
        if !tcb.state.may_see(Event::AckOfFin) || tcb.is(TcbFlags::FIN_QUEUED) {
            return Verdict::Stays;
        }
        let action = tcb.on(Event::AckOfFin);
        if tcb.state == State::FinWait2 && tcb.is(TcbFlags::ORPHAN) {
            let wait_us = rtt::micros(self.fin_wait_2(tcb));
            tcb.arm(Timer::FinWait2, cx.now, wait_us);
            self.linger_over(index, tcb);
        }
        Verdict::of(action)
    }

    /// Seventh and eighth: the segment text and the FIN.
    fn process_text(
        &mut self,
        cx: &mut Cx,
        index: u32,
        tcb: &mut Tcb,
        segment: &Segment,
        frame: &mut Option<Frame>,
    ) -> Step<Verdict> {
        if !tcb.state.may_receive() {
            // After the peer's FIN nothing follows; one sent again is answered.
            if segment.len() > 0 {
                self.acknowledge(cx, index, tcb);
            }
            return Ok(Verdict::Stays);
        }
        let end = segment.header.seq + segment.payload_len;
        if tcb.is(TcbFlags::ORPHAN) && segment.payload_len > 0 && end.follows(tcb.rcv_nxt) {
            // Nobody will ever read it (RFC 9293 section 3.6.1, SHLD-3).
            return Ok(Verdict::Aborts(DropReason::DataAfterClose));
        }
        self.take_mark(tcb, segment);
        let fin = self.receive(cx, index, tcb, segment, frame)?;
        Ok(if fin {
            Verdict::of(tcb.on(Event::Fin))
        } else {
            Verdict::Stays
        })
    }
}

#[expect(clippy::cast_possible_truncation, reason = "modulo 2^32 by definition")]
pub(crate) fn micros(now: Instant) -> u32 {
    now.as_micros() as u32
}

/// The four cases of RFC 9293 section 3.4, table 6.
pub(crate) fn is_acceptable(segment: &Segment, rcv_nxt: Seq, window: u32) -> bool {
    let (seq, len) = (segment.header.seq, segment.len());
    if window == 0 {
        // Data is cut off later; ACK, RST and URG of a segment at the edge count
        // (section 3.10.7.4, MUST-66).
        return seq == rcv_nxt;
    }
    let first_in = seq.is_in_window(rcv_nxt, window);
    let last_in = len > 0 && (seq + (len - 1)).is_in_window(rcv_nxt, window);
    // A segment larger than the window may hold all of it.
    let holds = len > 0 && seq.precedes(rcv_nxt) && (seq + len).follows(rcv_nxt + window);
    first_in || last_in || holds
}
