//! The transmission control block: one connection in two cache lines.
//!
//! ```text
//! send     1          2          3          4
//!     ----------|----------|----------|----------   RFC 9293 section 3.3.1
//!            SND.UNA    SND.NXT    SND.UNA+SND.WND
//!
//! receive      1          2          3
//!          ----------|----------|----------
//!                 RCV.NXT    rcv_edge = RCV.NXT+RCV.WND
//! ```
//!
//! What is needed only while data is in flight or out of order is in the cold
//! part ([`Cold`]).

use super::chunks::List;
use super::cold::Cold;
use super::congestion::Congestion;
use super::connect::Opening;
use super::reset::Challenges;
use super::rtt::{RttEstimator, micros};
use super::settings::SettingsId;
use super::state::State;
use crate::flow::FlowKey;
use crate::seq::Seq;
use crate::time::{Duration, Instant};

macro_rules! flags {
    ($($(#[doc = $doc:literal])+ $name:ident = $bit:expr;)+) => {
        impl TcbFlags { $($(#[doc = $doc])+ pub(crate) const $name: TcbFlags = TcbFlags(u32::to_le_bytes(1 << $bit));)+ }
    };
}

/// Facts about a connection, a bit each. They are kept in bytes, for a bit is set in
/// its byte: a wider word with that byte in it would be waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TcbFlags([u8; 4]);

impl TcbFlags {
    /// These and those: [`Tcb::is`] then asks for any of them.
    pub(crate) const fn and(self, other: TcbFlags) -> TcbFlags {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        TcbFlags([a | e, b | f, c | g, d | h])
    }
}

flags! {
    /// An ACK is due now.
    ACK_NOW = 0;
    /// An ACK is due at `ack_at`.
    ACK_DELAYED = 1;
    /// The SYN (or SYN-ACK) is to be sent.
    SYN_DUE = 2;
    /// The application closed the sending side: a FIN follows the queued data.
    FIN_QUEUED = 3;
    /// A tail loss probe is to be sent (RFC 8985 section 7).
    TAIL_PROBE_DUE = 4;
    /// A window probe is to be sent.
    PROBE_DUE = 5;
    /// More is to follow what was queued last (MSG_MORE): it waits for a full segment.
    MORE = 6;
    /// Timestamps were negotiated (RFC 7323 section 3.2).
    TIMESTAMPS = 7;
    /// The last that was queued was not pushed (MSG_MORE).
    UNPUSHED = 8;
    /// What is queued may leave in a small segment, whatever else holds it.
    FLUSH = 9;
    /// Records end in the send queue (MSG_EOR).
    RECORDS = 10;
    /// The application closed the connection: nobody reads, nobody is told.
    ORPHAN = 11;
    /// This side opened: the local port came from the allocator.
    ACTIVE = 12;
    /// In the output queue.
    OUTPUT_QUEUED = 13;
    /// In the ready queue.
    READY_QUEUED = 14;
    /// The peer's FIN has been received in order.
    FIN_RECEIVED = 15;
    /// The handshake was completed.
    ESTABLISHED = 16;
    /// Selective acknowledgments were negotiated (RFC 2018 section 2).
    SACK = 17;
    /// ECN was negotiated (RFC 3168 section 6.1.1).
    ECN = 18;
    /// Acknowledgments echo that congestion was experienced.
    ECE_DUE = 19;
    /// The next new data says that the window was reduced.
    CWR_DUE = 20;
    /// What is in flight is one segment, of which the hot part knows all that there is.
    LONE = 21;
    /// Closed with SO_LINGER: the application waits to be told.
    LINGERS = 24;
    /// The application closed the receiving side (SHUT_RD).
    READ_CLOSED = 25;
    /// The data of the SYN was taken, ours or the peer's (RFC 7413).
    SYN_DATA = 26;
}

/// What the application is to be told, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Events(u8);

impl Events {
    pub(crate) const CONNECTED: Events = Events(1);
    pub(crate) const READABLE: Events = Events(2);
    pub(crate) const WRITABLE: Events = Events(4);
    /// Not news: the application was told EAGAIN and waits for room.
    pub(crate) const WANTS_WRITABLE: Events = Events(8);
    pub(crate) const URGENT: Events = Events(16);

    pub(crate) fn contains(self, event: Events) -> bool {
        self.0 & event.0 != 0
    }

    pub(crate) fn add(&mut self, event: Events) {
        self.0 |= event.0;
    }

    pub(crate) fn remove(&mut self, event: Events) {
        self.0 &= !event.0;
    }

    /// Takes the news.
    pub(crate) fn take(&mut self) -> Events {
        let news = Events(self.0 & !Events::WANTS_WRITABLE.0);
        self.remove(news);
        news
    }
}

/// What the connection's timer is armed for. At most one of these runs at a
/// time; the delayed ACK has a deadline of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Timer {
    Idle,
    /// RFC 6298 section 5, SYN and FIN included.
    Retransmit,
    /// A segment is lost unless it is delivered by then (RFC 8985 section 6).
    Reorder,
    /// A tail loss probe (RFC 8985 section 7).
    Probe,
    /// RFC 9293 section 3.8.6.1: the window is closed or too small to use, or the next
    /// hop is silent. What is in flight, if anything, is a probe.
    Persist,
    /// An orphan in FIN-WAIT-2 whose peer may never close.
    FinWait2,
}

impl Timer {
    /// It is armed for what is in flight.
    pub(crate) fn is_of_flight(self) -> bool {
        matches!(self, Timer::Retransmit | Timer::Reorder | Timer::Probe)
    }
}

/// Milliseconds of the engine's time line, modulo 2^32 (49 days): deadlines are
/// never that far away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Millis(pub(crate) u32);

impl Millis {
    #[expect(clippy::cast_possible_truncation, reason = "modulo 2^32 by definition")]
    pub(crate) fn at(now: Instant) -> Millis {
        Millis(now.as_millis() as u32)
    }

    /// The first whole millisecond not before `now + length`.
    pub(crate) fn in_time(now: Instant, length: Duration) -> Millis {
        Millis::in_us(now, micros(length))
    }

    /// The same for a length in microseconds.
    #[inline]
    pub(crate) fn in_us(now: Instant, length_us: u64) -> Millis {
        let nanos = length_us.saturating_mul(1_000).saturating_add(999_999);
        Millis::at(Instant::from_nanos(now.as_nanos().saturating_add(nanos)))
    }

    pub(crate) fn is_reached(self, now: Instant) -> bool {
        self.until(now) == 0
    }

    /// How long ago this deadline was set, which was `length` away then.
    pub(crate) fn since(self, now: Instant, length: Duration) -> Duration {
        let length_ms = u32::try_from(length.as_millis()).unwrap_or(u32::MAX);
        let set_ms = self.0.wrapping_sub(length_ms);
        let since_ms = Millis::at(now).0.wrapping_sub(set_ms);
        // It was rounded up.
        let is_ahead = since_ms == u32::MAX;
        Duration::from_millis(if is_ahead { 0 } else { since_ms.into() })
    }

    /// Milliseconds from `now` to this deadline; 0 when it has passed.
    pub(crate) fn until(self, now: Instant) -> u32 {
        self.after(Millis::at(now))
    }

    fn after(self, now: Millis) -> u32 {
        let left = self.0.wrapping_sub(now.0);
        if left > u32::MAX / 2 { 0 } else { left }
    }

    /// The instant of a deadline.
    pub(crate) fn instant(self, now: Instant) -> Instant {
        Instant::from_millis(now.as_millis() + u64::from(self.until(now)))
    }
}

/// Minutes of the engine's time line, modulo 2^16 (45 days): what the 24 days of
/// RFC 7323 section 5.5 need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Minutes(u16);

impl Minutes {
    #[expect(clippy::cast_possible_truncation, reason = "modulo 2^16 by definition")]
    pub(crate) fn at(now: Instant) -> Minutes {
        Minutes((now.as_millis() / 60_000) as u16)
    }

    pub(crate) fn days_until(self, now: Instant) -> u16 {
        Minutes::at(now).0.wrapping_sub(self.0) / (24 * 60)
    }
}

/// One connection.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Tcb {
    pub(crate) key: FlowKey,
    /// The set of socket options that it has.
    pub(crate) settings: SettingsId,
    /// Tells a handle of an earlier connection at the same index from this one.
    pub(crate) generation: u32,
    /// The application's own word.
    pub(crate) token: u32,

    pub(crate) cold: Option<Box<Cold>>,

    pub(crate) snd_una: Seq,
    pub(crate) snd_nxt: Seq,
    pub(crate) snd_wnd: u32,
    /// SND.WL1. SND.WL2 is not kept: it never passes SND.UNA, and an
    /// acknowledgment below SND.UNA does not reach the window update, so the
    /// RFC's test of it always holds.
    pub(crate) snd_wl1: Seq,

    pub(crate) rcv_nxt: Seq,
    pub(crate) rcv_edge: Seq,
    /// Last.ACK.sent (RFC 7323 section 4.3).
    pub(crate) last_ack_sent: Seq,
    pub(crate) ts_recent: u32,

    pub(crate) congestion: Congestion,
    /// When the lone segment was sent, in microseconds modulo 2^32 ([`TcbFlags::LONE`]).
    pub(crate) sent_us: u32,
    pub(crate) rtt: RttEstimator,

    pub(crate) timer_at: Millis,
    /// When the ACK of what came last is due, delayed or not.
    pub(crate) ack_at: Millis,

    /// Data from SND.UNA on: sent and not acknowledged, then not yet sent.
    pub(crate) send_queue: List,
    pub(crate) send_queued: u32,
    /// Data in order that the application has not consumed.
    pub(crate) receive_queue: List,
    pub(crate) receive_queued: u32,

    /// When `ts_recent` was taken.
    pub(crate) ts_recent_at: Minutes,
    pub(crate) mss: u16,
    /// Max(SND.WND) (RFC 9293 section 3.8.6.2.1), as far as 16 bits tell: only
    /// peers with windows below two segments make it matter.
    pub(crate) snd_wnd_max: u16,
    pub(crate) flags: TcbFlags,
    pub(crate) state: State,
    pub(crate) timer: Timer,
    pub(crate) events: Events,
    /// Snd.Wind.Shift in the lower half, Rcv.Wind.Shift in the upper (RFC 7323
    /// section 2.3): each is at most 14.
    scales: u8,
    pub(crate) backoff: u8,
    pub(crate) challenges: Challenges,
}

// Two cache lines, and the slab's `Option` costs nothing on top.
const _: () = assert!(size_of::<Option<Tcb>>() == 128);

impl Tcb {
    /// A block in the state of `opening`, with nothing of the peer in it.
    pub(crate) fn new(opening: Opening, generation: u32, mss: u16, initial_window: u32) -> Tcb {
        let iss = opening.iss;
        Tcb {
            key: opening.key,
            settings: opening.settings,
            generation,
            token: 0,
            cold: None,
            snd_una: iss,
            snd_nxt: iss,
            snd_wnd: 0,
            snd_wl1: Seq(0),
            rcv_nxt: Seq(0),
            rcv_edge: Seq(0),
            last_ack_sent: Seq(0),
            ts_recent: 0,
            congestion: Congestion::new(initial_window),
            sent_us: 0,
            rtt: RttEstimator::default(),
            timer_at: Millis(0),
            ack_at: Millis(0),
            send_queue: List::EMPTY,
            send_queued: 0,
            receive_queue: List::EMPTY,
            receive_queued: 0,
            ts_recent_at: Minutes(0),
            mss,
            snd_wnd_max: 0,
            flags: opening.flags,
            state: opening.state,
            timer: Timer::Idle,
            events: Events::default(),
            scales: 0,
            backoff: 0,
            challenges: Challenges::default(),
        }
    }

    #[inline]
    pub(crate) fn is(&self, flag: TcbFlags) -> bool {
        let ([a, b, c, d], [e, f, g, h]) = (self.flags.0, flag.0);
        a & e != 0 || b & f != 0 || c & g != 0 || d & h != 0
    }

    #[inline]
    pub(crate) fn set(&mut self, flag: TcbFlags) {
        for (byte, bits) in self.flags.0.iter_mut().zip(flag.0) {
            *byte |= bits;
        }
    }

    #[inline]
    pub(crate) fn unset(&mut self, flag: TcbFlags) {
        for (byte, bits) in self.flags.0.iter_mut().zip(flag.0) {
            *byte &= !bits;
        }
    }

    /// RCV.WND: what the peer was last told, less what came since.
    /// All windows are kept in 32 bits (RFC 9293 section 3.1, REC-1).
    pub(crate) fn rcv_wnd(&self) -> u32 {
        self.rcv_edge.bytes_since(self.rcv_nxt)
    }

    /// The sequence number after the queued data: that of the FIN, if one is queued.
    pub(crate) fn data_end(&self) -> Seq {
        self.snd_una + self.send_queued
    }

    /// Bytes held to be in the network.
    pub(crate) fn pipe(&self) -> u32 {
        match self.cold() {
            Some(cold) => cold.pipe(self.mss),
            None if self.is(TcbFlags::LONE) => self.snd_nxt.bytes_since(self.snd_una),
            None => 0,
        }
    }

    /// Something sent is not acknowledged.
    pub(crate) fn has_unacknowledged(&self) -> bool {
        self.snd_una != self.snd_nxt
    }

    /// Data that has not been sent.
    pub(crate) fn unsent(&self) -> u32 {
        let unsent = self.data_end().distance_from(self.snd_nxt);
        u32::try_from(unsent).unwrap_or(0)
    }

    /// Something is queued that has not been sent.
    pub(crate) fn has_unsent(&self) -> bool {
        self.snd_nxt.precedes(self.data_end())
            || (self.is(TcbFlags::FIN_QUEUED) && self.snd_nxt == self.data_end())
    }

    pub(crate) fn set_scales(&mut self, snd: u8, rcv: u8) {
        self.scales = snd | rcv << 4;
    }

    pub(crate) fn snd_scale(&self) -> u8 {
        self.scales & 0xf
    }

    pub(crate) fn rcv_scale(&self) -> u8 {
        self.scales >> 4
    }

    pub(crate) fn arm(&mut self, timer: Timer, now: Instant, length_us: u64) {
        self.timer = timer;
        self.timer_at = Millis::in_us(now, length_us);
    }

    /// Nothing is waited for from now on; `timer_at` keeps since when. A probe that has
    /// not left yet is as late as its timer.
    pub(crate) fn disarm(&mut self, now: Instant) {
        self.unset(TcbFlags::PROBE_DUE);
        self.timer = Timer::Idle;
        self.timer_at = Millis::at(now);
    }

    /// Nothing has been waited for since longer than `length`.
    pub(crate) fn is_idle_for(&self, now: Instant, length_us: u64) -> bool {
        let idle_ms = Millis::at(now).0.wrapping_sub(self.timer_at.0);
        self.timer == Timer::Idle && u64::from(idle_ms) * 1_000 > length_us
    }

    /// The earliest deadline; `now` when it has passed.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Millis> {
        let now = Millis::at(now);
        let mut wait_ms = u32::MAX;
        if self.timer != Timer::Idle {
            wait_ms = self.timer_at.after(now);
        }
        if self.is(TcbFlags::ACK_DELAYED) {
            wait_ms = wait_ms.min(self.ack_at.after(now));
        }
        if let Some(at) = self.cold().and_then(|cold| cold.watch.deadline()) {
            wait_ms = wait_ms.min(at.after(now));
        }
        (wait_ms < u32::MAX).then(|| Millis(now.0.wrapping_add(wait_ms)))
    }
}
