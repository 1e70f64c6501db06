//! What Linux's write takes: its send buffer is no amount of data but the memory of the
//! packets that the data is in (tcp_sendmsg, sk_stream_memory_free).
//!
//! ```text
//!           | packet | packet | packet | last packet .... |
//!        SND.UNA            SND.NXT                     its goal
//! ```
//!
//! The last packet is always filled up to its goal, which is half of the largest window
//! that the peer had. Another one is begun while the packets' memory is below SO_SNDBUF
//! and less than TCP_NOTSENT_LOWAT waits to be sent. An application that waits for room
//! is woken later: when a third of the buffer is free, and half of that much waits.
//!
//! The engine's SO_SNDBUF is an amount of data. Before each piece of a write it is made as
//! large as what is queued and the piece, or as what is queued: so it is the engine that
//! takes and refuses, and that counts how long the buffer held the sender up.
//!
//! Left out: packets that pacing divides further, and memory of pages that are half full.

use ringmill_core::sockets::Info;
use ringmill_core::time::{Duration, Instant};
use std::collections::VecDeque;

/// Memory of a packet besides its data: SKB_TRUESIZE of the 704 bytes of its head.
const HEAD: u32 = 704 + SK_BUFF + SHARED_INFO;
/// sizeof(struct sk_buff) and sizeof(struct skb_shared_info), in cache lines.
const SK_BUFF: u32 = 256;
const SHARED_INFO: u32 = 320;
/// MAX_TCP_HEADER
const HEADERS: u32 = 320;
/// The largest packet for the device: sk_gso_max_size, less the headers.
const OFFLOADED_MAX: u32 = 65_536 - HEADERS - 1;
/// TCP_MSS_DEFAULT: half of a window that is no larger is not worth a packet.
const SMALL_WINDOW: u32 = 536;
/// TCP_INIT_CWND
const INITIAL_WINDOW: u32 = 10;
/// tcp_tso_win_divisor
const TSO_WIN_DIVISOR: u32 = 3;

/// How large send buffers are (tcp_wmem and tcp_notsent_lowat).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) default: u32,
    pub(crate) max: u32,
    pub(crate) notsent_lowat: u32,
}

impl Limits {
    /// What scripts set before anything else.
    pub(crate) const DEFAULT: Limits = Limits {
        default: 256 << 10,
        max: 4 << 20,
        notsent_lowat: u32::MAX,
    };
}

/// What was set of a send buffer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BufferOptions {
    /// SO_SNDBUF, doubled.
    pub(crate) size: Option<u32>,
    /// TCP_NOTSENT_LOWAT
    pub(crate) notsent_lowat: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Packet {
    len: u32,
    sent: Option<Instant>,
    /// The packet behind it was one with it.
    is_cut: bool,
}

/// The send buffer of one connection.
#[derive(Debug)]
pub(crate) struct SendBuffer {
    limits: Limits,
    options: BufferOptions,
    /// sk_sndbuf, as far as it has grown.
    size: u32,
    packets: VecDeque<Packet>,
    /// max_window
    window_max: u32,
    /// Bytes written since the last push.
    unpushed: u32,
    /// SOCK_NOSPACE: the application waits for room.
    is_wanted: bool,
    seen: Seen,
}

/// The connection, when the engine last came to rest.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    now: Instant,
    mss: u32,
    unsent: u32,
    window: u32,
    srtt: Duration,
    /// In segments.
    cwnd: u32,
    in_flight: u32,
}

impl SendBuffer {
    pub(crate) fn new(limits: Limits, options: BufferOptions) -> SendBuffer {
        SendBuffer {
            limits,
            options,
            size: limits.default,
            packets: VecDeque::new(),
            window_max: 0,
            unpushed: 0,
            is_wanted: false,
            seen: Seen::default(),
        }
    }

    pub(crate) fn set_options(&mut self, options: BufferOptions) {
        self.options = options;
    }

    /// The engine is at rest, with `queued` bytes not acknowledged.
    pub(crate) fn note(&mut self, now: Instant, info: &Info, queued: u32) {
        let left = (info.sacked + info.lost).saturating_sub(info.retransmitted);
        self.seen = Seen {
            now,
            mss: u32::from(info.mss),
            unsent: info.unsent.min(queued),
            window: info.snd_wnd,
            srtt: info.srtt.unwrap_or_default(),
            cwnd: info.cwnd,
            in_flight: info.unacked.saturating_sub(left),
        };
        self.window_max = self.window_max.max(info.snd_wnd);
        let held: u32 = self.packets.iter().map(|packet| packet.len).sum();
        self.add(queued.saturating_sub(held)); // What went with the SYN.
        self.drop_acknowledged(held.saturating_sub(queued));
        self.cut_at_snd_nxt();
    }

    fn drop_acknowledged(&mut self, mut acked: u32) {
        while let Some(first) = self.packets.front_mut().filter(|_| acked > 0) {
            let part = first.len.min(acked);
            first.len -= part;
            acked -= part;
            if first.len == 0 {
                self.packets.pop_front();
            }
        }
    }

    /// No packet is sent in part.
    fn cut_at_snd_nxt(&mut self) {
        let mut unsent = self.seen.unsent;
        for index in (0..self.packets.len()).rev() {
            let packet = &mut self.packets[index];
            let rest = packet.len.min(unsent);
            unsent -= rest;
            if rest == packet.len {
                continue;
            }
            packet.sent.get_or_insert(self.seen.now);
            if rest > 0 {
                packet.len -= rest;
                packet.is_cut = true;
                self.packets.insert(index + 1, Packet::new(rest));
            }
        }
    }

    fn add(&mut self, len: u32) {
        if len > 0 {
            self.packets.push_back(Packet::new(len));
        }
    }

    /// sk_wmem_queued
    fn memory(&self) -> u32 {
        self.packets.iter().map(|packet| packet.len + HEAD).sum()
    }

    fn limit(&self) -> u32 {
        self.options.size.unwrap_or(self.size)
    }

    fn notsent_lowat(&self) -> u32 {
        let own = self.options.notsent_lowat;
        own.unwrap_or(self.limits.notsent_lowat)
    }

    /// How long a packet becomes (tcp_xmit_size_goal, tcp_bound_to_half_wnd).
    fn goal(&self) -> u32 {
        let mss = self.seen.mss.max(1);
        let most = if self.window_max > SMALL_WINDOW {
            self.window_max / 2
        } else {
            self.window_max
        };
        (OFFLOADED_MAX.min(most) / mss * mss).max(mss)
    }

    /// How much of a write is taken next; nothing when there is no room. One that waits
    /// goes on when it would be woken.
    pub(crate) fn room(&self, is_waiting: bool) -> u32 {
        let last = self.packets.back().filter(|packet| packet.sent.is_none());
        let len = last.map_or(0, |packet| packet.len);
        let may_begin = self.memory() < self.limit() && self.seen.unsent < self.notsent_lowat();
        if is_waiting && !self.is_writable() {
            0
        } else if (1..self.goal()).contains(&len) {
            self.goal() - len
        } else if may_begin {
            self.goal()
        } else {
            0
        }
    }

    /// What is taken next is pushed, though the write goes on: it fills a packet, and half
    /// of a window was written since the last push (forced_push).
    pub(crate) fn is_pushed(&self) -> bool {
        self.unpushed + self.room(false) > self.window_max / 2
    }

    /// So much of a write was taken.
    pub(crate) fn take(&mut self, len: u32, is_pushed: bool) {
        let goal = self.goal();
        match self.packets.back_mut() {
            Some(last) if last.sent.is_none() && last.len < goal => last.len += len,
            _ => self.add(len),
        }
        self.unpushed = if is_pushed { 0 } else { self.unpushed + len };
    }

    /// No more is taken of a write: what was taken is pushed.
    pub(crate) fn refuse(&mut self) {
        self.unpushed = 0;
        self.want();
    }

    /// The application waits for room.
    pub(crate) fn want(&mut self) {
        self.is_wanted = true;
    }

    /// POLLOUT (sk_stream_is_writeable, tcp_stream_memory_free).
    pub(crate) fn is_writable(&self) -> bool {
        let memory = u64::from(self.memory());
        memory + memory / 2 <= u64::from(self.limit())
            && u64::from(self.seen.unsent) * 2 < u64::from(self.notsent_lowat())
    }

    /// A segment has arrived: is there room, as the application waits for it
    /// (tcp_new_space)? A buffer whose size was not set grows with the congestion
    /// window, where that is not full.
    pub(crate) fn is_woken(&mut self) -> bool {
        if !self.is_wanted {
            return false;
        }
        if self.seen.in_flight - self.held_back() < self.seen.cwnd {
            self.grow();
        }
        self.is_wanted = !self.is_writable();
        !self.is_wanted
    }

    /// tcp_sndbuf_expand: twice the congestion window in the worst memory of packets.
    fn grow(&mut self) {
        let packet = (self.seen.mss + HEADERS + SHARED_INFO).next_power_of_two() + SK_BUFF;
        let window = self.seen.cwnd.max(INITIAL_WINDOW);
        let size = packet.saturating_mul(2 * window).min(self.limits.max);
        self.size = self.size.max(size);
    }

    /// Segments in flight that Linux would have held back, for the end of the congestion
    /// window cut a packet and most of a round trip is over (tcp_tso_should_defer).
    fn held_back(&self) -> u32 {
        let now = self.seen.now;
        let mut sent = self.packets.iter().rev().filter(|p| p.sent.is_some());
        let (Some(last), Some(before)) = (sent.next(), sent.next()) else {
            return 0;
        };
        let oldest = self.packets.front().and_then(|packet| packet.sent);
        let window = self.seen.window.min(self.seen.cwnd * self.seen.mss);
        let is_held_back = last.is_cut
            && (last.sent, before.sent) == (Some(now), Some(now))
            && last.len < window / TSO_WIN_DIVISOR
            && oldest.is_some_and(|oldest| now.since(oldest) >= self.seen.srtt / 2);
        let segments = last.len.div_ceil(self.seen.mss.max(1));
        segments.min(self.seen.in_flight) * u32::from(is_held_back)
    }
}

impl Packet {
    fn new(len: u32) -> Packet {
        Packet {
            len,
            sent: None,
            is_cut: false,
        }
    }
}
