//! Listening: the SYN queue of half-open records and the accept queue of
//! completed connections (RFC 9293 sections 3.10.7.2 and 3.10.7.4, SYN-RECEIVED).
//!
//! ```text
//! SYN --> SYN queue --(ACK of our SYN)--> accept queue --(accept)--> application
//!         64 B each, bounded              connections, bounded by the backlog
//!         full: the SYN is ignored        full: the ACK is ignored, the SYN-ACK
//!                                         comes again
//! ```
//!
//! A passive open has no control block before its handshake is complete, so a
//! flood of SYNs costs bounded, small memory.

use super::connect::Opening;
use super::input::{is_acceptable, micros};
use super::reset::header;
use super::state::State;
use super::tcb::TcbFlags;
use super::transitions::{Action, Event};
use super::{ConnectionId, Cx, Flow, Segment, SocketOptions, Tcp};
use crate::flow::FlowKey;
use crate::seq::Seq;
use crate::slab::Slab;
use crate::stats::DropReason;
use crate::time::{Duration, Instant};
use crate::wheel::Wheel;
use crate::wire::tcp::{Flags, Header, Options, Timestamps};
use std::collections::VecDeque;
use std::net::IpAddr;

/// A listening socket, as applications name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerId(pub(crate) u16);

/// Why a listen was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListenError {
    /// EADDRINUSE: the address and port are listened on already.
    #[error("port {port} is in use (EADDRINUSE)")]
    AddressInUse {
        /// The port that was asked for.
        port: u16,
    },
    /// EADDRNOTAVAIL: the address is none of this stack's.
    #[error("{address} is no local address (EADDRNOTAVAIL)")]
    AddressNotAvailable {
        /// The address that was asked for.
        address: IpAddr,
    },
}

#[derive(Debug)]
pub(crate) struct Listener {
    /// Index of the one local address, as in a flow's key.
    local: Option<u16>,
    port: u16,
    backlog: usize,
    options: SocketOptions,
    accept_queue: VecDeque<ConnectionId>,
}

/// A passive open between its SYN and the ACK of ours.
#[derive(Debug)]
pub(crate) struct HalfOpen {
    pub(crate) key: FlowKey,
    irs: Seq,
    iss: Seq,
    /// TSval of the SYN, when it had one and we use timestamps.
    ts_recent: Option<u32>,
    sent_us: u32,
    window: u16,
    mss: Option<u16>,
    window_scale: Option<u8>,
    sack_permitted: bool,
    ecn: bool,
    listener: ListenerId,
    retransmits: u8,
}

const _: () = assert!(size_of::<Option<HalfOpen>>() <= 64);

/// The half-open records of all listeners of a shard.
#[derive(Debug)]
pub(crate) struct SynQueue {
    records: Slab<HalfOpen>,
    wheel: Wheel,
}

impl SynQueue {
    pub(crate) fn new(limit: usize, now: Instant) -> SynQueue {
        SynQueue {
            records: Slab::new(limit),
            wheel: Wheel::new(Duration::from_millis(16), now),
        }
    }

    pub(crate) fn get(&self, index: u32) -> Option<&HalfOpen> {
        self.records.get(index)
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    pub(crate) fn timers(&self) -> usize {
        self.wheel.len()
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.wheel.next_deadline()
    }
}

impl Tcp {
    /// Passive OPEN (RFC 9293 section 3.10.1) on one local address, or on all.
    pub(crate) fn listen(
        &mut self,
        local: Option<u16>,
        port: u16,
        backlog: usize,
        options: SocketOptions,
    ) -> Result<ListenerId, ListenError> {
        let taken = self.listeners.iter().flatten().any(|listener| {
            listener.port == port
                && (listener.local.is_none() || local.is_none() || listener.local == local)
        });
        let id = u16::try_from(self.listeners.len()).map(ListenerId);
        let (false, Ok(id)) = (taken, id) else {
            return Err(ListenError::AddressInUse { port });
        };
        let accept_queue = VecDeque::with_capacity(backlog);
        self.listeners.push(Some(Listener {
            local,
            port,
            backlog,
            options,
            accept_queue,
        }));
        Ok(id)
    }

    /// Stops listening. What is half open or waits to be accepted is reset.
    pub(crate) fn close_listener(&mut self, cx: &mut Cx, id: ListenerId) {
        let Some(listener) = self
            .listeners
            .get_mut(usize::from(id.0))
            .and_then(Option::take)
        else {
            return;
        };
        for waiting in listener.accept_queue {
            if self.connection(waiting).is_some() {
                self.abort(cx, waiting.index);
            }
        }
        let half_open: Vec<u32> = self
            .half_open
            .records
            .iter()
            .filter(|(_, r)| r.listener == id)
            .map(|(i, _)| i)
            .collect();
        for index in half_open {
            if let Some(record) = self.forget_half_open(index) {
                self.shared
                    .send_reset(record.key, record.iss + 1, Some(record.irs + 1));
            }
        }
    }

    pub(crate) fn close_all_listeners(&mut self, cx: &mut Cx) {
        for id in (0..self.listeners.len()).filter_map(|at| u16::try_from(at).ok()) {
            self.close_listener(cx, ListenerId(id));
        }
    }

    /// The head of the accept queue.
    pub(crate) fn accept(&mut self, id: ListenerId) -> Option<ConnectionId> {
        let listener = self.listeners.get_mut(usize::from(id.0))?.as_mut()?;
        while let Some(waiting) = listener.accept_queue.pop_front() {
            // One that was reset while it waited is skipped, as ECONNABORTED.
            let alive = self
                .connections
                .get(waiting.index)
                .is_some_and(|tcb| tcb.generation == waiting.generation);
            if alive {
                return Some(waiting);
            }
        }
        None
    }

    pub(crate) fn listener_for(&self, key: &FlowKey) -> Option<ListenerId> {
        let at = self.listeners.iter().position(|listener| {
            listener.as_ref().is_some_and(|l| {
                l.port == key.local_port && l.local.is_none_or(|local| local == key.local)
            })
        })?;
        u16::try_from(at).ok().map(ListenerId)
    }

    /// A segment for no record: CLOSED (RFC 9293 section 3.10.7.1) or LISTEN
    /// (section 3.10.7.2).
    pub(crate) fn input_no_connection(
        &mut self,
        cx: &mut Cx,
        segment: &Segment,
    ) -> Result<(), DropReason> {
        let flags = segment.header.flags;
        let listener = self.listener_for(&segment.key);
        let (event, reason) = match flags {
            _ if flags.contains(Flags::RST) => (Event::Reset, DropReason::BadReset),
            _ if flags.contains(Flags::ACK) => (Event::BadAck, DropReason::NoListener),
            // A FIN beside the SYN is no connection request of any stack's.
            _ if flags.contains(Flags::SYN) && !flags.contains(Flags::FIN) => {
                (Event::Syn, DropReason::NoListener)
            }
            _ => (Event::NoAck, DropReason::NoAck),
        };
        let state = listener.map_or(State::Closed, |_| State::Listen);
        match (state.on(event).action, listener) {
            (Action::SendSynAck, Some(listener)) => self.open_half(cx, listener, segment),
            (Action::SendReset, _) => {
                self.shared.reset_stray(segment);
                Err(DropReason::NoListener)
            }
            (_, Some(_)) => Err(reason),
            (_, None) => Err(DropReason::NoListener),
        }
    }

    fn open_half(
        &mut self,
        cx: &mut Cx,
        listener: ListenerId,
        segment: &Segment,
    ) -> Result<(), DropReason> {
        let (key, header) = (segment.key, &segment.header);
        let record = HalfOpen {
            key,
            irs: header.seq,
            iss: self.shared.iss.iss(cx.now, &key),
            ts_recent: header
                .options
                .timestamps
                .filter(|_| self.shared.config.timestamps)
                .map(|t| t.value),
            sent_us: micros(cx.now),
            window: header.window,
            mss: header.options.mss,
            window_scale: header.options.window_scale,
            sack_permitted: header.options.sack_permitted,
            ecn: self.shared.accepts_ecn(header.flags),
            listener,
            retransmits: 0,
        };
        let Ok(index) = self.half_open.records.insert(record) else {
            return Err(DropReason::SynQueueFull);
        };
        let hash = self.shared.hasher.hash(&key);
        self.shared
            .table
            .insert(hash, Flow::HalfOpen(index).value());
        self.half_open
            .wheel
            .schedule(index, cx.now + self.shared.config.rto.initial);
        self.shared.stats.passive_opens += 1;
        self.send_syn_ack(cx.now, index);
        Ok(())
    }

    fn send_syn_ack(&mut self, now: Instant, index: u32) {
        let Some(record) = self.half_open.records.get(index) else {
            return;
        };
        let offer = self.shared.syn_options(now, &record.key);
        let options = Options {
            mss: offer.mss,
            window_scale: record.window_scale.and(offer.window_scale),
            timestamps: record
                .ts_recent
                .map(|echo| self.shared.timestamps(now, echo)),
            sack_permitted: record.sack_permitted && offer.sack_permitted,
            ..Options::default()
        };
        let ecn = if record.ecn { Flags::ECE } else { Flags(0) };
        let syn_ack = header(
            record.key,
            Flags::SYN | Flags::ACK | ecn,
            record.iss,
            record.irs + 1,
            self.shared.syn_window(),
            options,
        );
        self.shared.reply(record.key, syn_ack);
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
        if flags.contains(Flags::RST) {
            // RFC 9293 section 3.10.7.4, second check, with RFC 5961 section 3.2.
            if seq != rcv_nxt {
                return Err(DropReason::BadReset);
            }
            self.forget_half_open(index);
            self.shared.stats.attempt_fails += 1;
            return Ok(None);
        }
        let window = u32::from(self.shared.syn_window());
        if !is_acceptable(segment, rcv_nxt, window) || flags.contains(Flags::SYN) {
            self.send_syn_ack(cx.now, index);
            return Err(DropReason::OutOfWindow);
        }
        if !flags.contains(Flags::ACK) {
            return Err(DropReason::NoAck);
        }
        if ack != record.iss + 1 {
            self.shared.send_reset(segment.key, ack, None);
            return Err(DropReason::BadAck);
        }
        if record.ts_recent.is_some() && segment.header.options.timestamps.is_none() {
            return Err(DropReason::Paws); // RFC 7323 section 3.2
        }
        self.complete(cx, index, segment.header.options.timestamps)
            .map(Some)
    }

    /// The handshake is complete: the record becomes a connection in the accept
    /// queue of its listener, which it inherits its options from.
    fn complete(
        &mut self,
        cx: &mut Cx,
        index: u32,
        echoed: Option<Timestamps>,
    ) -> Result<u32, DropReason> {
        let Some(record) = self.half_open.get(index) else {
            return Err(DropReason::NoListener);
        };
        let id = record.listener;
        let listener = self
            .listeners
            .get(usize::from(id.0))
            .and_then(Option::as_ref)
            .ok_or(DropReason::NoListener)?;
        if listener.accept_queue.len() >= listener.backlog {
            return Err(DropReason::AcceptQueueFull);
        }
        if self.connections.is_full() {
            return Err(DropReason::TooManyConnections);
        }
        let opening = Opening {
            key: record.key,
            state: State::Listen,
            iss: record.iss,
            flags: if record.ecn {
                TcbFlags::ECN
            } else {
                TcbFlags::default()
            },
            options: listener.options,
        };
        let mut tcb = self.shared.make_tcb(&opening);
        tcb.on(Event::Syn);
        let syn = Options {
            mss: record.mss,
            window_scale: record.window_scale,
            timestamps: record.ts_recent.map(|value| Timestamps { value, echo: 0 }),
            sack_permitted: record.sack_permitted,
            ..Options::default()
        };
        self.shared
            .take_syn(cx.now, &mut tcb, record.irs, &syn, record.window);
        self.shared
            .establish(cx.now, &mut tcb, Event::AckOfSyn, None);
        if record.retransmits == 0 {
            tcb.rtt.sample(micros(cx.now).wrapping_sub(record.sent_us));
        } else {
            // Karn: a SYN-ACK sent twice is no sample (RFC 6298 section 3).
            self.shared
                .open_after_timeout(cx.now, &mut tcb, record.retransmits, echoed);
        }
        let generation = tcb.generation;
        let hash = self.shared.hasher.hash(&tcb.key);
        let connection = self
            .connections
            .insert(tcb)
            .map_err(|_| DropReason::TooManyConnections)?;
        self.shared.table.replace(
            hash,
            Flow::HalfOpen(index).value(),
            Flow::Connection(connection).value(),
        );
        self.half_open.wheel.cancel(index);
        self.half_open.records.remove(index);
        if let Some(listener) = self
            .listeners
            .get_mut(usize::from(id.0))
            .and_then(Option::as_mut)
        {
            if listener.accept_queue.is_empty() {
                self.shared.acceptable.push_back(id);
            }
            listener.accept_queue.push_back(ConnectionId {
                index: connection,
                generation,
            });
        }
        Ok(connection)
    }

    /// The peer's host says that it never sent the SYN, or wants no more of it:
    /// true when it speaks of our SYN-ACK.
    pub(crate) fn refuse_half_open(&mut self, index: u32, seq: Seq) -> bool {
        if self
            .half_open
            .get(index)
            .is_none_or(|record| record.iss != seq)
        {
            return false;
        }
        self.shared.stats.attempt_fails += 1;
        self.forget_half_open(index).is_some()
    }

    fn forget_half_open(&mut self, index: u32) -> Option<HalfOpen> {
        let record = self.half_open.records.remove(index)?;
        self.half_open.wheel.cancel(index);
        let hash = self.shared.hasher.hash(&record.key);
        self.shared
            .table
            .remove(hash, Flow::HalfOpen(index).value());
        Some(record)
    }

    /// SYN-ACKs that are due again, and half-open records to be given up.
    pub(crate) fn expire_half_open(&mut self, now: Instant, budget: usize) {
        for _ in 0..budget {
            let Some(index) = self.half_open.wheel.pop_expired(now) else {
                return;
            };
            let Some(record) = self.half_open.records.get_mut(index) else {
                continue;
            };
            if record.retransmits >= self.shared.config.syn_ack_retransmits_max {
                self.forget_half_open(index);
                self.shared.stats.attempt_fails += 1;
                continue;
            }
            record.retransmits += 1;
            let rto = self.shared.config.rto;
            let wait = rto
                .initial
                .saturating_mul(1 << record.retransmits.min(16))
                .min(rto.max);
            self.half_open.wheel.schedule(index, now + wait);
            self.shared.stats.syn_ack_retransmits += 1;
            self.send_syn_ack(now, index);
        }
    }
}
