//! Receiving data: trimming to the window, the receive queue, reassembly, and
//! the window that is offered (RFC 9293 sections 3.8.6 and 3.10.7.4, seventh).
//!
//! Received bytes stay in the frames that they came in. Where segments overlap,
//! the bytes that came first stay: what was kept is never rewritten.

use super::sack::Report;
use super::tcb::{Events, Millis, Tcb, TcbFlags};
use super::{Chunks, Content, Cx, Segment, Shared};
use crate::frame::Frame;
use crate::seq::Seq;
use crate::stats::DropReason;
use crate::wire::tcp::Flags;

/// Chunks past a gap that are looked at to find a segment's place. They are
/// walked one by one, so this bounds the time (CVE-2018-5390); a segment that
/// lies behind the last one, or the one before it, needs no walk.
const WALK_MAX: usize = 512;
/// Chunks past a gap that a connection may always keep; with large buffers it is
/// what full-sized segments fill of them.
const REASSEMBLY_MIN: u32 = 512;

impl Shared {
    /// The segment text and FIN of a segment whose sequence number is acceptable.
    /// True when the peer's FIN has now been received in order.
    pub(crate) fn receive(
        &mut self,
        cx: &mut Cx,
        index: u32,
        tcb: &mut Tcb,
        segment: &Segment,
        frame: &mut Option<Frame>,
    ) -> Result<bool, DropReason> {
        let seq = segment.header.seq;
        let fin = segment.header.flags.contains(Flags::FIN);
        if segment.payload_len == 0 && !fin {
            return Ok(false);
        }
        let Some(frame) = frame.take() else {
            return Ok(false);
        };
        let is_plain = seq == tcb.rcv_nxt && segment.payload_len <= tcb.rcv_wnd();
        let in_order = if is_plain {
            Some((frame, fin))
        } else {
            self.trim(cx, index, tcb, (seq, frame, fin))?
        };
        let Some((frame, fin)) = in_order else {
            return Ok(false);
        };
        let from = tcb.rcv_nxt;
        let fin = self.receive_in_order(cx, index, tcb, frame, fin);
        self.measure(cx.now, tcb, from, segment.header.options.timestamps);
        Ok(fin)
    }

    /// Cuts off what lies outside the window or was received before: the rest, if it is
    /// in order. What is not is kept for later.
    fn trim(
        &mut self,
        cx: &mut Cx,
        index: u32,
        tcb: &mut Tcb,
        (mut seq, mut frame, mut fin): (Seq, Frame, bool),
    ) -> Result<Option<(Frame, bool)>, DropReason> {
        let room = tcb.rcv_edge.bytes_since(seq.max(tcb.rcv_nxt)) as usize;
        let old = if seq.precedes(tcb.rcv_nxt) {
            tcb.rcv_nxt.bytes_since(seq) as usize
        } else {
            0
        };
        let is_all_old = old > 0 && old >= frame.len() + usize::from(fin);
        if is_all_old {
            let end = seq + u32::try_from(frame.len()).unwrap_or(0);
            cx.pool.free(frame);
            self.report_duplicate(tcb, seq, end);
            self.acknowledge(cx, index, tcb);
            return Err(DropReason::Duplicate);
        }
        let old_len = old.min(frame.len());
        frame.narrow(old_len, frame.len() - old_len);
        seq += u32::try_from(old).unwrap_or(0);
        if frame.len() > room {
            frame.truncate(room);
            fin = false;
        }
        if frame.is_empty() && !fin {
            // A probe of a closed window: only the answer matters.
            cx.pool.free(frame);
            self.acknowledge(cx, index, tcb);
            return Ok(None);
        }
        if seq == tcb.rcv_nxt {
            return Ok(Some((frame, fin)));
        }
        // RFC 9293 section 3.10.7.4, MAY-13.
        // RFC 5681 section 3.2: a segment out of order is acknowledged at once.
        self.acknowledge(cx, index, tcb);
        self.reassemble(cx, tcb, seq, frame, fin)?;
        Ok(None)
    }

    fn receive_in_order(
        &mut self,
        cx: &mut Cx,
        index: u32,
        tcb: &mut Tcb,
        frame: Frame,
        fin: bool,
    ) -> bool {
        if !tcb.is(TcbFlags::ACK_DELAYED) {
            tcb.ack_at = Millis::in_us(cx.now, self.delayed_ack_us);
        }
        let fills_gap = tcb.has_reassembly();
        let (mut frame, mut fin) = (frame, fin);
        if fills_gap && let Some(front) = self.chunks.front(tcb.reassembly()) {
            // What was kept from there on came first, and stays.
            let room = front.seq.bytes_since(tcb.rcv_nxt) as usize;
            fin &= frame.len() <= room;
            frame.truncate(room);
        }
        self.append(cx, tcb, frame);
        if fills_gap {
            fin |= self.join(cx, tcb);
        }
        self.notify(index, tcb, Events::READABLE);
        if fin {
            tcb.rcv_nxt += 1;
            // The edge never lies behind RCV.NXT, and a FIN needs no room.
            tcb.rcv_edge = tcb.rcv_edge.max(tcb.rcv_nxt);
            tcb.set(TcbFlags::FIN_RECEIVED);
            if let Some(cold) = tcb.cold.as_deref_mut() {
                self.chunks.clear(&mut cold.reassembly, cx.pool);
                cold.reassembly_len = 0;
                cold.report = Report::default();
            }
        }
        if fin || fills_gap {
            self.acknowledge(cx, index, tcb);
        } else {
            self.acknowledge_later(cx, index, tcb);
        }
        fin
    }

    /// Moves what is kept past the gap that has been filled behind the rest. True
    /// when the peer's FIN was behind it.
    fn join(&mut self, cx: &mut Cx, tcb: &mut Tcb) -> bool {
        let mut fin = false;
        while let Some(front) = self.chunks.front(tcb.reassembly()) {
            if front.seq.follows(tcb.rcv_nxt) {
                break;
            }
            let (end, chunk_fin) = (front.end(), front.fin);
            let Some(cold) = tcb.cold.as_deref_mut() else {
                break;
            };
            let Some(chunk) = self.chunks.pop_front(&mut cold.reassembly) else {
                break;
            };
            cold.reassembly_len -= 1;
            cold.reassembly_hint = None;
            let Content::Frame(mut frame) = chunk.content else {
                break;
            };
            let old = tcb.rcv_nxt.bytes_since(chunk.seq) as usize;
            if end.precedes(tcb.rcv_nxt) {
                cx.pool.free(frame);
                continue;
            }
            frame.narrow(old, frame.len() - old);
            self.append(cx, tcb, frame);
            fin |= chunk_fin;
        }
        if let Some(cold) = tcb.cold.as_deref_mut() {
            cold.report.advance(tcb.rcv_nxt);
        }
        fin
    }

    /// Data came that had been received before (RFC 2883).
    pub(crate) fn report_duplicate(&mut self, tcb: &mut Tcb, seq: Seq, end: Seq) {
        if tcb.is(TcbFlags::SACK) && end.follows(seq) {
            self.warm(tcb).report.add_duplicate(seq, end);
        }
    }

    /// Delayed ACK (RFC 9293 section 3.8.6.3; RFC 5681 section 4.2): at once for
    /// the second full-sized segment, else soon.
    /// SHLD-18 and SHLD-19.
    fn acknowledge_later(&mut self, cx: &Cx, index: u32, tcb: &mut Tcb) {
        let unacknowledged = tcb.rcv_nxt.bytes_since(tcb.last_ack_sent);
        let cold = tcb.cold.as_deref_mut();
        let is_early = cold.is_some_and(|cold| {
            let is_early = cold.quick_acks > 0;
            cold.quick_acks = cold.quick_acks.saturating_sub(1);
            is_early
        });
        if is_early || self.options(tcb).quickack || unacknowledged >= 2 * u32::from(tcb.mss) {
            self.acknowledge(cx, index, tcb);
        } else {
            tcb.set(TcbFlags::ACK_DELAYED);
        }
    }

    fn append(&mut self, cx: &mut Cx, tcb: &mut Tcb, frame: Frame) {
        let len = u32::try_from(frame.len()).unwrap_or(0);
        if len == 0 {
            return cx.pool.free(frame);
        }
        if tcb.is(TcbFlags::READ_CLOSED) {
            // SHUT_RD: it is taken, and nobody will ask for it.
            tcb.rcv_nxt += len;
            self.stats.bytes_discarded += u64::from(len);
            return cx.pool.free(frame);
        }
        let frame = self.keep(cx, frame);
        match self.chunks.push_back(
            &mut tcb.receive_queue,
            Content::Frame(frame),
            tcb.rcv_nxt,
            false,
        ) {
            Ok(_) => {
                tcb.rcv_nxt += len;
                tcb.receive_queued += len;
                self.stats.bytes_received += u64::from(len);
            }
            // No chunk is left: RCV.NXT stays, so the peer sends it again.
            Err(content) => self.discard(cx, content),
        }
    }

    /// A received frame as it can be kept.
    #[inline]
    fn keep(&mut self, cx: &mut Cx, frame: Frame) -> Frame {
        if self.chunks.may_keep(&frame) {
            return frame;
        }
        self.stats.copied_out += 1;
        Chunks::copy_out(frame, cx.pool)
    }

    fn discard(&mut self, cx: &mut Cx, content: Content) {
        self.drops.count(DropReason::ReassemblyFull);
        if let Content::Frame(frame) = content {
            cx.pool.free(frame);
        }
    }

    /// Keeps a segment past a gap (RFC 9293 section 3.10.7.4, SHLD-31), in order
    /// of sequence and without overlap.
    fn reassemble(
        &mut self,
        cx: &mut Cx,
        tcb: &mut Tcb,
        seq: Seq,
        mut frame: Frame,
        fin: bool,
    ) -> Result<(), DropReason> {
        let end = seq + u32::try_from(frame.len()).unwrap_or(0);
        let Some(gap) = self.find_gap(tcb, seq) else {
            cx.pool.free(frame);
            return Err(DropReason::ReassemblyFull);
        };
        let new_end = gap.end.map_or(end, |limit| limit.min(end));
        let fin = fin && new_end == end;
        if gap.start.follows(new_end) || (gap.start == new_end && !fin) {
            cx.pool.free(frame);
            self.report_duplicate(tcb, seq, end);
            return Err(DropReason::Duplicate);
        }
        let full_sized = self.receive_limit(tcb) / u32::from(tcb.mss);
        if self.warm(tcb).reassembly_len >= REASSEMBLY_MIN.max(2 * full_sized) {
            cx.pool.free(frame);
            return Err(DropReason::ReassemblyFull);
        }
        let (old, new) = (
            gap.start.bytes_since(seq) as usize,
            new_end.bytes_since(gap.start) as usize,
        );
        frame.narrow(old, new);
        let frame = self.keep(cx, frame);
        let mut list = tcb.reassembly();
        let content = Content::Frame(frame);
        let kept = self
            .chunks
            .insert_after(&mut list, gap.after, content, gap.start, fin);
        let at = match kept {
            Ok(at) => at,
            Err(content) => {
                self.discard(cx, content);
                return Ok(());
            }
        };
        let has_sack = tcb.is(TcbFlags::SACK);
        let cold = self.warm(tcb);
        cold.reassembly = list;
        cold.reassembly_len += 1;
        cold.reassembly_hint = Some(at);
        if new > 0 && has_sack {
            cold.report.add(gap.start, new_end);
        }
        self.stats.out_of_order += 1;
        Ok(())
    }

    /// The first gap at or after `seq` in what is kept; none when it would take too
    /// long to find.
    fn find_gap(&self, tcb: &Tcb, seq: Seq) -> Option<Gap> {
        let mut gap = Gap {
            after: None,
            start: seq,
            end: None,
        };
        let list = tcb.reassembly();
        // Most often the segment lies past everything: no walk then.
        if self
            .chunks
            .back(list)
            .is_some_and(|last| seq.follows_or_is(last.end()))
        {
            gap.after = list.tail();
            return Some(gap);
        }
        // Or behind the one that came before it.
        let hint = tcb
            .cold()
            .and_then(|cold| cold.reassembly_hint)
            .filter(|&hint| {
                self.chunks
                    .at(hint)
                    .is_some_and(|last| seq.follows_or_is(last.seq))
            });
        for (step, (at, chunk)) in self.chunks.walk_from(list, hint).enumerate() {
            if chunk.seq.follows(gap.start) {
                gap.end = Some(chunk.seq);
                return Some(gap);
            }
            if step == WALK_MAX {
                return None;
            }
            gap.start = gap.start.max(chunk.end());
            gap.after = Some(at);
        }
        Some(gap)
    }

    /// The window field of the next segment. It moves the offered edge only when
    /// that is worth a segment to the peer (RFC 9293 section 3.8.6.2.2, MUST-39)
    /// and never back (section 3.8.6, SHLD-14).
    /// It may stay closed for as long as nobody reads (section 3.8.6.1, MAY-8).
    pub(crate) fn advertise(&self, tcb: &mut Tcb) -> u16 {
        let limit = self.receive_limit(tcb);
        let space = tcb.space(limit);
        let edge = tcb.rcv_nxt + space;
        let worth = u32::from(tcb.mss).min(limit / 2);
        let target = if edge.distance_from(tcb.rcv_edge) >= worth.cast_signed() {
            edge
        } else {
            tcb.rcv_edge
        };
        // Rounded up, or the scale's rounding would pull the edge back. Where the
        // sum of such roundings has reached the end of the buffer, it is pulled back
        // by less than a unit (RFC 7323 section 2.4): else every small segment would
        // move the edge on, past any bound.
        let scale = tcb.rcv_scale();
        let offered = target.bytes_since(tcb.rcv_nxt);
        let rounded_up = |bytes: u32| (bytes + ((1 << scale) - 1)) >> scale;
        let most = rounded_up(space).max(offered >> scale);
        let units = rounded_up(offered).min(most);
        let field = u16::try_from(units).unwrap_or(u16::MAX);
        tcb.rcv_edge = tcb.rcv_edge.max(tcb.rcv_nxt + (u32::from(field) << scale));
        tcb.last_ack_sent = tcb.rcv_nxt;
        field
    }

    /// The window field of a SYN-ACK, which is never scaled (RFC 7323 section 2.2).
    pub(crate) fn advertise_unscaled(&self, tcb: &mut Tcb) -> u16 {
        let space = self.receive_limit(tcb).saturating_sub(tcb.receive_queued);
        let field = u16::try_from(space).unwrap_or(u16::MAX);
        tcb.rcv_edge = tcb.rcv_edge.max(tcb.rcv_nxt + u32::from(field));
        tcb.last_ack_sent = tcb.rcv_nxt;
        field
    }

    /// The application has consumed data: tell the peer when the window has
    /// opened by two segments or half the buffer, and what it had is half the buffer
    /// or less. A peer that has more is not held up, and hears with the next ACK.
    pub(crate) fn consumed(&mut self, cx: &Cx, index: u32, tcb: &mut Tcb) {
        if tcb.cold.is_some() {
            tcb.forget_urgent();
            self.right_size(cx.now, tcb);
            self.cool(tcb);
        }
        let limit = self.receive_limit(tcb);
        let gain = (tcb.rcv_nxt + tcb.space(limit)).distance_from(tcb.rcv_edge);
        let worth = (2 * u32::from(tcb.mss)).min(limit / 2);
        let is_short = tcb.rcv_wnd() <= limit / 2;
        if gain >= worth.cast_signed() && is_short && tcb.state.may_receive() {
            self.acknowledge(cx, index, tcb);
        }
    }
}

impl Tcb {
    /// What can be received now within a buffer of `limit` bytes, as far as the window
    /// field can tell it.
    pub(crate) fn space(&self, limit: u32) -> u32 {
        let most = u32::from(u16::MAX) << self.rcv_scale();
        limit.saturating_sub(self.receive_queued).min(most)
    }
}

/// A stretch of sequence numbers that nothing is kept of.
struct Gap {
    /// The chunk before it; none when it is before all.
    after: Option<u32>,
    start: Seq,
    /// Where the next chunk starts, if there is one.
    end: Option<Seq>,
}
