//! Handshakes that a peer opens: from its SYN over the half-open record to the accept
//! queue (RFC 9293 section 3.10.7.4, SYN-RECEIVED). Past the bound of records cookies
//! carry the handshake (RFC 4987, stateless.rs).

use super::connect::Opening;
use super::cookie::Extras;
use super::input::{is_acceptable, micros};
use super::options::{AcceptOverflow, SynCookies};
use super::reset::header;
use super::state::State;
use super::syn_queue::{HalfOpen, Syn};
use super::tcb::TcbFlags;
use super::transitions::Event;
use super::{ConnectionId, Cx, Flow, ListenerId, Segment, Shared, Tcb, Tcp};
use crate::frame::{Batch, Frame};
use crate::seq::Seq;
use crate::stats::DropReason;
use crate::time::{Duration, Instant};
use crate::wire::tcp::{Flags, Header, Options, Timestamps};

/// SYN-ACKs are sent again where fewer replies than these wait. A flood's records are
/// due as densely as its SYNs came, and must neither hold up the answers to new ones
/// nor take the whole batch from connections.
const REPLIES_FIRST: usize = Batch::CAPACITY / 2;

impl Tcp {
    /// A SYN for a listener (RFC 9293 section 3.10.7.2): a connection at once (RFC
    /// 7413), a record, a cookie or nothing.
    pub(super) fn receive_syn(
        &mut self,
        cx: &mut Cx,
        id: ListenerId,
        segment: &Segment,
        frame: &mut Option<Frame>,
    ) -> Result<(), DropReason> {
        let listener = self.listener(id).ok_or(DropReason::NoListener)?;
        if listener.is_full() {
            // It could not be accepted; by the time that the SYN comes again it may.
            return Err(DropReason::AcceptQueueFull);
        }
        if self.accept_early(cx, id, segment, frame) {
            return Ok(());
        }
        let listener = self.listener(id).ok_or(DropReason::NoListener)?;
        let config = &self.shared.config;
        let is_full = listener.half_open >= config.syn_backlog || self.half_open.is_full();
        match config.syn_cookies {
            SynCookies::Always => self.answer_by_cookie(cx, id, segment),
            SynCookies::OnOverflow if is_full => self.answer_by_cookie(cx, id, segment),
            _ if is_full => Err(DropReason::SynQueueFull),
            _ => self.open_half(cx, id, segment),
        }
    }

    fn open_half(
        &mut self,
        cx: &mut Cx,
        id: ListenerId,
        segment: &Segment,
    ) -> Result<(), DropReason> {
        let (key, header) = (segment.key, &segment.header);
        let at = usize::from(id.0);
        let Some(Some(listener)) = self.listeners.get_mut(at) else {
            return Err(DropReason::NoListener);
        };
        let options = &header.options;
        let timestamps = options.timestamps.filter(|_| self.shared.config.timestamps);
        let syn = Syn {
            irs: header.seq,
            iss: self.shared.iss.iss(cx.now, &key),
            ts_recent: timestamps.map(|timestamps| timestamps.value),
            window: header.window,
            mss: self.shared.offered_mss(&key, options.mss),
            extras: Extras {
                window_scale: options.window_scale,
                sack_permitted: options.sack_permitted,
                ecn: self.shared.accepts_ecn(header.flags),
            },
        };
        let settings = self.shared.settings.share(&listener.settings);
        let mut record = HalfOpen::new(cx.now, key, id, settings, syn);
        if self.shared.owes_cookie(cx.now, &listener.settings, segment) {
            record.owe_cookie();
        }
        let due = cx.now + self.shared.config.rto.initial;
        let index = match self.half_open.insert(record, due) {
            Ok(index) => index,
            Err(record) => {
                self.shared.settings.release(record.settings);
                return Err(DropReason::SynQueueFull);
            }
        };
        listener.half_open += 1;
        let hash = self.shared.hasher.hash(&key);
        self.shared
            .table
            .insert(hash, Flow::HalfOpen(index).value());
        self.shared.stats.passive_opens += 1;
        self.send_syn_ack(cx.now, index);
        Ok(())
    }

    fn send_syn_ack(&mut self, now: Instant, index: u32) {
        let Some(record) = self.half_open.get_mut(index) else {
            return;
        };
        // Once: something on the way may have dropped it for that (RFC 7413 section
        // 4.2.2).
        let owes_cookie = record.take_owed_cookie();
        let offer = self.shared.syn_options(now, &record.key, &record.settings);
        let extras = record.extras();
        let options = Options {
            mss: offer.mss,
            window_scale: extras.window_scale.and(offer.window_scale),
            timestamps: record
                .ts_recent()
                .map(|echo| self.shared.timestamps(now, echo)),
            sack_permitted: extras.sack_permitted && offer.sack_permitted,
            fast_open: owes_cookie.then(|| self.shared.fast_open.issuer.bake(now, &record.key)),
            order: offer.order,
            ..Options::default()
        };
        let ecn = if extras.ecn { Flags::ECE } else { Flags(0) };
        let syn_ack = header(
            record.key,
            Flags::SYN | Flags::ACK | ecn,
            record.iss,
            record.irs + 1,
            self.shared.syn_window(&record.settings),
            options,
        );
        let service = self.shared.service_of(&record.settings);
        self.shared.reply_as(record.key, service, syn_ack);
    }

    /// A segment for a half-open record: SYN-RECEIVED after a passive open.
    pub(crate) fn input_half_open(
        &mut self,
        cx: &mut Cx,
        index: u32,
        segment: &Segment,
    ) -> Result<Option<u32>, DropReason> {
        let Some(record) = self.half_open.get(index) else {
            return Ok(None);
        };
        let Header {
            flags, seq, ack, ..
        } = segment.header;
        let rcv_nxt = record.irs + 1;
        let is_request = !flags.contains(Flags::ACK) && !flags.contains(Flags::RST);
        if flags.contains(Flags::SYN) && is_request && seq == record.irs {
            // The SYN again: our SYN-ACK was lost, or is slow.
            self.shared.stats.syn_ack_retransmits += 1;
            self.send_syn_ack(cx.now, index);
            return Err(DropReason::Duplicate);
        }
        let window = u32::from(self.shared.syn_window(&record.settings));
        if flags.contains(Flags::RST) {
            // RFC 9293 section 3.10.7.4, second check, with RFC 5961 section 3.2.
            if seq != rcv_nxt {
                return Err(DropReason::BadReset);
            }
            self.fail_half_open(index);
            return Ok(None);
        }
        if !is_acceptable(segment, rcv_nxt, window) || flags.contains(Flags::SYN) {
            self.send_syn_ack(cx.now, index);
            return Err(DropReason::OutOfWindow);
        }
        if !flags.contains(Flags::ACK) {
            return Err(DropReason::NoAck);
        }
        if ack != record.iss + 1 {
            let id = record.listener;
            return self.complete_by_cookie(cx, id, index, segment).map(Some);
        }
        if record.ts_recent().is_some() && segment.header.options.timestamps.is_none() {
            return Err(DropReason::Paws); // RFC 7323 section 3.2
        }
        let is_bare = segment.len() == 0;
        if is_bare && self.defers(cx.now, index) {
            return Ok(None);
        }
        self.complete(cx, index, segment.header.options.timestamps)
            .map(Some)
    }

    /// TCP_DEFER_ACCEPT: a handshake that brings no data does not wake the
    /// application yet. The record stays, and its SYN-ACK is sent again when the
    /// time is over: what answers that is accepted as it is.
    fn defers(&mut self, now: Instant, index: u32) -> bool {
        let Some(record) = self.half_open.get(index) else {
            return false;
        };
        let options = self.shared.settings.get(&record.settings);
        let waited = u64::from(micros(now).wrapping_sub(record.sent_us));
        let left = options
            .defer_accept
            .saturating_sub(Duration::from_micros(waited));
        if left.is_zero() {
            return false;
        }
        self.half_open.schedule(index, now + left);
        true
    }

    /// The handshake is complete: the record becomes a connection in the accept
    /// queue of its listener, with the options that its SYN-ACK was made by.
    fn complete(
        &mut self,
        cx: &mut Cx,
        index: u32,
        echoed: Option<Timestamps>,
    ) -> Result<u32, DropReason> {
        let Some(record) = self.half_open.get(index) else {
            return Err(DropReason::NoListener);
        };
        let (key, ack) = (record.key, record.iss + 1);
        if let Err(reason) = self.may_admit(record.listener) {
            if self.shared.config.accept_overflow == AcceptOverflow::Reset {
                self.fail_half_open(index);
                self.shared.send_reset(key, ack, None);
            }
            return Err(reason);
        }
        let flow = Flow::HalfOpen(index);
        let record = self.take_half_open(index);
        let record = record.ok_or(DropReason::NoListener)?;
        let (retransmits, sent_us) = (record.retransmits, record.sent_us);
        let index = self.admit(cx, record, Some(flow))?;
        if let Some(tcb) = self.connections.get_mut(index) {
            if retransmits == 0 {
                tcb.rtt.sample(micros(cx.now).wrapping_sub(sent_us));
            } else {
                // Karn: a SYN-ACK sent twice is no sample (RFC 6298 section 3).
                self.shared
                    .open_after_timeout(cx.now, tcb, retransmits, echoed);
            }
        }
        Ok(index)
    }

    /// There is room for one more connection to be accepted.
    pub(super) fn may_admit(&self, id: ListenerId) -> Result<(), DropReason> {
        let listener = self.listener(id).ok_or(DropReason::NoListener)?;
        if listener.is_full() {
            return Err(DropReason::AcceptQueueFull);
        }
        if self.connections.is_full() {
            return Err(DropReason::TooManyConnections);
        }
        Ok(())
    }

    /// Makes the connection of a record for which there is room, in the place in the
    /// flow table that it had: a sibling that looks there meanwhile must not miss it.
    pub(super) fn admit(
        &mut self,
        cx: &mut Cx,
        record: HalfOpen,
        flow: Option<Flow>,
    ) -> Result<u32, DropReason> {
        let id = record.listener;
        let tcb = self.shared.tcb_of(cx.now, record);
        let (key, generation) = (tcb.key, tcb.generation);
        let hash = self.shared.hasher.hash(&key);
        let index = match self.connections.insert(tcb) {
            Ok(index) => index,
            Err(tcb) => {
                if let Some(flow) = flow {
                    self.shared.table.remove(hash, flow.value());
                }
                self.shared.settings.release(tcb.settings);
                return Err(DropReason::TooManyConnections);
            }
        };
        let (table, value) = (&mut self.shared.table, Flow::Connection(index).value());
        if let Some(flow) = flow {
            table.replace(hash, flow.value(), value);
        } else {
            table.insert(hash, value);
        }
        self.queue_accept(id, ConnectionId { index, generation });
        Ok(index)
    }

    /// The listener is gone: what is half open is reset.
    pub(super) fn reset_half_open(&mut self, id: ListenerId) {
        for index in self.half_open.of(id) {
            if let Some(record) = self.half_open.get(index) {
                let (key, seq, ack) = (record.key, record.iss + 1, record.irs + 1);
                self.shared.send_reset(key, seq, Some(ack));
                self.fail_half_open(index);
            }
        }
    }

    /// The peer's host says that it never sent the SYN, or wants no more of it:
    /// true when it speaks of our SYN-ACK.
    pub(crate) fn refuse_half_open(&mut self, index: u32, seq: Seq) -> bool {
        let is_ours = self.half_open.get(index).is_some_and(|r| r.iss == seq);
        if is_ours {
            self.fail_half_open(index);
        }
        is_ours
    }

    /// A half-open connection came to nothing (tcpAttemptFails).
    pub(super) fn fail_half_open(&mut self, index: u32) {
        let Some(record) = self.half_open.get(index) else {
            return;
        };
        let hash = self.shared.hasher.hash(&record.key);
        if let Some(flow) = self.give_up_half_open(index) {
            self.shared.table.remove(hash, flow.value());
        }
    }

    /// The same, and its flow stays in the table, for what takes its place.
    pub(super) fn give_up_half_open(&mut self, index: u32) -> Option<Flow> {
        let record = self.take_half_open(index)?;
        self.shared.settings.release(record.settings);
        self.shared.stats.attempt_fails += 1;
        Some(Flow::HalfOpen(index))
    }

    /// Takes a record, whose flow stays in the table.
    fn take_half_open(&mut self, index: u32) -> Option<HalfOpen> {
        let record = self.half_open.remove(index)?;
        if let Some(listener) = self.listener_mut(record.listener) {
            listener.half_open -= 1;
        }
        Some(record)
    }

    /// SYN-ACKs that are due again, and half-open records to be given up. What waits
    /// stays due.
    pub(crate) fn expire_half_open(&mut self, now: Instant, budget: usize) {
        for _ in 0..budget {
            if self.shared.replies.len() >= REPLIES_FIRST {
                return;
            }
            let Some(index) = self.half_open.pop_due(now) else {
                return;
            };
            let Some(record) = self.half_open.get_mut(index) else {
                continue;
            };
            if record.retransmits >= self.shared.config.syn_ack_retransmits_max {
                self.fail_half_open(index);
                continue;
            }
            record.retransmits += 1;
            let rto = self.shared.config.rto;
            let wait = rto
                .initial
                .saturating_mul(1 << record.retransmits.min(16))
                .min(rto.max);
            self.half_open.schedule(index, now + wait);
            self.shared.stats.syn_ack_retransmits += 1;
            self.send_syn_ack(now, index);
        }
    }
}

impl Shared {
    /// The connection that a half-open record becomes.
    fn tcb_of(&mut self, now: Instant, record: HalfOpen) -> Tcb {
        let (extras, ts_recent) = (record.extras(), record.ts_recent());
        let mut tcb = self.make_tcb(Opening {
            key: record.key,
            state: State::Listen,
            iss: record.iss,
            flags: if extras.ecn {
                TcbFlags::ECN
            } else {
                TcbFlags::default()
            },
            settings: record.settings,
        });
        tcb.on(Event::Syn);
        let syn = Options {
            mss: Some(record.mss.get()),
            window_scale: extras.window_scale,
            timestamps: ts_recent.map(|value| Timestamps { value, echo: 0 }),
            sack_permitted: extras.sack_permitted,
            ..Options::default()
        };
        self.take_syn(now, &mut tcb, record.irs, &syn, record.window);
        self.establish(now, &mut tcb, Event::AckOfSyn, None);
        tcb
    }
}
