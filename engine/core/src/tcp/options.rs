//! What can be set, for a whole shard's TCP and for one socket.

use super::congestion::Algorithm;
use super::connect::MSS_FLOOR;
use super::ecn::Ecn;
use super::rtt::RtoBounds;
use crate::ports::PortRange;
use crate::time::Duration;
use crate::wire::ip::Service;
use crate::wire::tcp::OptionOrder;
use std::ops::RangeInclusive;

/// Options of one socket, inherited from a listener by what it accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SocketOptions {
    /// TCP_NODELAY: Nagle's algorithm is off (RFC 9293 section 3.7.4, MUST-17).
    pub nodelay: bool,
    /// TCP_CORK: only full segments leave, until it is taken off, the sending side
    /// is closed, or the data has waited for a retransmission timeout.
    pub cork: bool,
    /// TCP_QUICKACK: acknowledgments are not delayed. It stays as it is set.
    pub quickack: bool,
    /// SO_REUSEADDR: listens where connections of an earlier listener still are.
    pub reuse_address: bool,
    /// SO_KEEPALIVE (RFC 9293 section 3.8.4, MUST-24 and MAY-5), off (MUST-25).
    pub keepalive: bool,
    /// TCP_KEEPIDLE: silence before the first probe (MUST-27); 2 h (MUST-28).
    pub keep_idle: Duration,
    /// TCP_KEEPINTVL: between probes; 75 s.
    pub keep_interval: Duration,
    /// TCP_KEEPCNT: probes without an answer that end the connection; 9.
    pub keep_count: u8,
    /// TCP_USER_TIMEOUT: how long data may wait to be acknowledged, or to be sent
    /// while the window is closed (RFC 5482; R2 of RFC 9293 section 3.8.3, MUST-21).
    /// None is the shard's count of retransmissions.
    pub user_timeout: Option<Duration>,
    /// SO_LINGER: at a close, how long what was sent may take to be delivered before
    /// a RST ends it; zero is a RST at once. None is as long as it takes.
    pub linger: Option<Duration>,
    /// TCP_LINGER2: how long FIN-WAIT-2 lasts after a close; none is the shard's
    /// [`fin_wait_2`](TcpConfig::fin_wait_2).
    pub linger2: Option<Duration>,
    /// TCP_DEFER_ACCEPT: a connection without data is not accepted for so long;
    /// zero is off.
    pub defer_accept: Duration,
    /// TCP_FASTOPEN of a listener (RFC 7413): a SYN that brings data and a good cookie
    /// is accepted before its handshake is complete, and so many may wait for its end
    /// at a time. 0 is off. The data of a SYN may come twice.
    pub fast_open: u16,
    /// TCP_FASTOPEN_CONNECT: where the server gave a cookie before, the SYN waits for
    /// what is sent first, and takes along what fits. The server may get it twice.
    pub fast_open_connect: bool,
    /// TCP_SYNCNT: SYN retransmissions; none is the shard's
    /// [`syn_retransmits_max`](TcpConfig::syn_retransmits_max).
    pub syn_count: Option<u8>,
    /// TCP_MAXSEG: the MSS that a SYN offers, and a bound on what is sent (RFC
    /// 9293 section 3.7.1). None is what the MTU allows.
    pub max_segment: Option<u16>,
    /// TCP_CONGESTION; none is the shard's [`congestion`](TcpConfig::congestion).
    pub congestion: Option<Algorithm>,
    /// TCP_NOTSENT_LOWAT: no more is queued while this much waits to be sent.
    pub notsent_lowat: Option<u32>,
    /// SO_SNDBUF in bytes, for data that is not a reference; none is the shard's
    /// [`send_buffer`](TcpConfig::send_buffer).
    pub send_buffer: Option<u32>,
    /// SO_RCVBUF in bytes, the largest window that is offered. The window scale is
    /// of the SYN: a buffer that is set later does not pass what it can tell. None
    /// is the shard's [`receive_buffer`](TcpConfig::receive_buffer), which grows; one
    /// that is set does not.
    pub receive_buffer: Option<u32>,
    /// IP_TTL, the hop limit on IPv6 (RFC 9293 section 3.9.2, MUST-49).
    pub ttl: u8,
    /// IP_TOS, the traffic class on IPv6 (RFC 9293 section 3.9.1.9, MUST-48). It
    /// may change at any time (SHLD-21).
    pub tos: u8,
}

impl Default for SocketOptions {
    fn default() -> SocketOptions {
        let Service { ttl, tos } = Service::default();
        SocketOptions {
            nodelay: false,
            cork: false,
            quickack: false,
            reuse_address: false,
            keepalive: false,
            keep_idle: Duration::from_secs(2 * 60 * 60),
            keep_interval: Duration::from_secs(75),
            keep_count: 9,
            user_timeout: None,
            linger: None,
            linger2: None,
            defer_accept: Duration::ZERO,
            fast_open: 0,
            fast_open_connect: false,
            syn_count: None,
            max_segment: None,
            congestion: None,
            notsent_lowat: None,
            send_buffer: None,
            receive_buffer: None,
            ttl,
            tos,
        }
    }
}

/// One option and its value, as setsockopt takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketOption {
    /// TCP_NODELAY.
    NoDelay(bool),
    /// TCP_CORK.
    Cork(bool),
    /// TCP_QUICKACK.
    QuickAck(bool),
    /// SO_REUSEADDR.
    ReuseAddress(bool),
    /// SO_KEEPALIVE.
    KeepAlive(bool),
    /// TCP_KEEPIDLE, 1 to 32,767 s.
    KeepIdle(Duration),
    /// TCP_KEEPINTVL, 1 to 32,767 s.
    KeepInterval(Duration),
    /// TCP_KEEPCNT, 1 to 127.
    KeepCount(u8),
    /// TCP_USER_TIMEOUT; zero is none.
    UserTimeout(Duration),
    /// SO_LINGER.
    Linger(Option<Duration>),
    /// TCP_LINGER2; zero is none.
    Linger2(Duration),
    /// TCP_DEFER_ACCEPT, of a listener.
    DeferAccept(Duration),
    /// TCP_FASTOPEN, of a listener: at most so many that are not complete; 0 is off.
    FastOpen(u16),
    /// TCP_FASTOPEN_CONNECT, before the connect.
    FastOpenConnect(bool),
    /// TCP_SYNCNT, 1 to 127.
    SynCount(u8),
    /// TCP_MAXSEG, 88 to 32,767.
    MaxSegment(u16),
    /// TCP_CONGESTION.
    Congestion(Algorithm),
    /// TCP_NOTSENT_LOWAT; zero is none.
    NotSentLowat(u32),
    /// SO_SNDBUF. Less than 2,048 and more than 1 GiB are taken as these.
    SendBuffer(u32),
    /// SO_RCVBUF, within the same bounds.
    ReceiveBuffer(u32),
    /// IP_TTL, 1 to 255.
    Ttl(u8),
    /// IP_TOS. The two bits of ECN are not the application's.
    Tos(u8),
}

/// Why an option was not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// EBADF: no such connection or listener.
    #[error("no such socket (EBADF)")]
    BadDescriptor,
    /// EINVAL: no value of this option, or it is too late for it.
    #[error("no value of this option, or too late for it (EINVAL)")]
    Invalid,
    /// ENOBUFS: the shard has no room for another set of options.
    #[error("no room for another set of options (ENOBUFS)")]
    NoBuffers,
}

/// What TCP_KEEPIDLE and TCP_KEEPINTVL may be.
const KEEP_SECONDS: RangeInclusive<u64> = 1..=32_767;
/// RFC 3168 section 5: they are TCP's.
const ECN_BITS: u8 = 3;
/// The least that SO_SNDBUF and SO_RCVBUF can be; Linux has about as much.
const BUFFER_MIN: u32 = 2_048;
/// The most: what a scaled window can offer (RFC 7323 section 2.2).
const BUFFER_MAX: u32 = 1 << 30;

impl SocketOptions {
    /// These options with one of them set.
    pub fn with(mut self, option: SocketOption) -> Result<SocketOptions, OptionError> {
        let invalid = Err(OptionError::Invalid);
        let positive = |length: Duration| Some(length).filter(|length| !length.is_zero());
        let buffer = |bytes: u32| Some(bytes.clamp(BUFFER_MIN, BUFFER_MAX));
        match option {
            SocketOption::NoDelay(on) => self.nodelay = on,
            SocketOption::Cork(on) => self.cork = on,
            SocketOption::QuickAck(on) => self.quickack = on,
            SocketOption::ReuseAddress(on) => self.reuse_address = on,
            SocketOption::KeepAlive(on) => self.keepalive = on,
            SocketOption::KeepIdle(length) | SocketOption::KeepInterval(length)
                if !KEEP_SECONDS.contains(&length.as_secs()) =>
            {
                return invalid;
            }
            SocketOption::KeepIdle(length) => self.keep_idle = length,
            SocketOption::KeepInterval(length) => self.keep_interval = length,
            SocketOption::KeepCount(0 | 128..) | SocketOption::SynCount(0 | 128..) => {
                return invalid;
            }
            SocketOption::KeepCount(count) => self.keep_count = count,
            SocketOption::SynCount(count) => self.syn_count = Some(count),
            SocketOption::UserTimeout(length) => self.user_timeout = positive(length),
            SocketOption::Linger(length) => self.linger = length,
            SocketOption::Linger2(length) => self.linger2 = positive(length),
            SocketOption::DeferAccept(length) => self.defer_accept = length,
            SocketOption::FastOpen(limit) => self.fast_open = limit,
            SocketOption::FastOpenConnect(on) => self.fast_open_connect = on,
            SocketOption::MaxSegment(mss @ MSS_FLOOR..=0x7fff) => self.max_segment = Some(mss),
            SocketOption::MaxSegment(_) | SocketOption::Ttl(0) => return invalid,
            SocketOption::Congestion(algorithm) => self.congestion = Some(algorithm),
            SocketOption::NotSentLowat(bytes) => {
                self.notsent_lowat = Some(bytes).filter(|&bytes| bytes > 0);
            }
            SocketOption::SendBuffer(bytes) => self.send_buffer = buffer(bytes),
            SocketOption::ReceiveBuffer(bytes) => self.receive_buffer = buffer(bytes),
            SocketOption::Ttl(ttl) => self.ttl = ttl,
            SocketOption::Tos(tos) => self.tos = tos & !ECN_BITS,
        }
        Ok(self)
    }
}

/// When a SYN is answered by a cookie (Linux's tcp_syncookies 0, 1 and 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SynCookies {
    /// Never: with the SYN queue full SYNs are ignored.
    Never,
    /// When the SYN queue is full.
    OnOverflow,
    /// Always.
    Always,
}

/// What becomes of the last ACK of a handshake when the accept queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptOverflow {
    /// It is ignored, and the SYN-ACK comes again: a peer that waits gets in.
    Ignore,
    /// A RST ends it, as with Linux's tcp_abort_on_overflow.
    Reset,
}

/// TCP's constants and budgets for one shard.
#[derive(Clone, Debug)]
pub struct TcpConfig {
    /// Connections at a time; each takes 128 bytes when it is first used.
    pub max_connections: usize,
    /// Half-open connections at a time, over all listeners.
    pub max_half_open: usize,
    /// Half-open connections of one listener, as Linux's tcp_max_syn_backlog.
    pub syn_backlog: usize,
    /// When SYNs are answered by cookies instead (RFC 4987).
    pub syn_cookies: SynCookies,
    /// What becomes of a handshake whose listener has no room to accept.
    pub accept_overflow: AcceptOverflow,
    /// RSTs a second for segments that belong to no connection (RFC 9293 section
    /// 3.10.7.1); down to half of it, see the allowance drawn each second.
    pub stray_resets_per_second: u32,
    /// TIME-WAIT records at a time.
    pub max_time_wait: usize,
    /// Elements of queues at a time, over all connections.
    pub max_chunks: usize,
    /// Received frames that may wait in queues; past it bytes are copied out.
    pub max_held_frames: usize,
    /// Different sets of socket options at a time, 65,536 at most.
    pub max_option_sets: usize,
    /// SO_RCVBUF where a socket does not set it, in bytes: the window that is
    /// offered first.
    pub receive_buffer: u32,
    /// What that grows to at most where the application reads as fast as data comes,
    /// and more than half of it in a round trip (the last of Linux's tcp_rmem, FreeBSD's
    /// recvbuf_max). The window scale that is offered has room for it. With no more
    /// than `receive_buffer` nothing grows.
    pub receive_buffer_max: u32,
    /// SO_SNDBUF where a socket does not set it, in bytes, for data that is not a
    /// reference.
    pub send_buffer: u32,
    /// Local ports of connections that this side opens (RFC 6056).
    pub ports: PortRange,
    /// Offer timestamps (RFC 7323).
    pub timestamps: bool,
    /// Offer window scaling (RFC 7323); no window is larger than 65,535 bytes without.
    pub window_scaling: bool,
    /// Offer selective acknowledgments (RFC 2018).
    pub sack: bool,
    /// How congestion windows grow (TCP_CONGESTION).
    pub congestion: Algorithm,
    /// Segments of the initial congestion window, 10 (RFC 6928), which count 1,460 bytes
    /// at most, or are two. Linux has as many (TCP_INIT_CWND), and FreeBSD
    /// (net.inet.tcp.initcwnd_segments).
    pub initial_window: u32,
    /// Segments by which one acknowledgment grows the window in slow start at most:
    /// 8 where nothing paces what it lets go (L of RFC 9406 section 4.2). Linux has
    /// no such bound.
    pub slow_start_limit: u32,
    /// A connection that has sent nothing for a retransmission timeout starts from
    /// its initial window again (RFC 5681 section 4.1).
    pub restart_after_idle: bool,
    /// When explicit congestion notification is used (RFC 3168).
    pub ecn: Ecn,
    /// Look for the path's MTU by probing once large segments time out
    /// (RFC 8899).
    pub mtu_probing: bool,
    /// The order of a SYN's options.
    pub option_order: OptionOrder,
    /// Bounds of the retransmission timeout (RFC 6298).
    pub rto: RtoBounds,
    /// No tail loss probe comes sooner. RFC 8985 section 7.2 has no such bound; twice
    /// the round trip of a local link is less than a busy peer's turn of the
    /// processor, and every probe then sends again what has arrived.
    pub tail_probe_min: Duration,
    /// A probe of a closed window carries an octet of the data that waits (RFC 9293
    /// section 3.8.6.1). Without, it is empty, at SND.UNA - 1: as Linux has it, nothing
    /// has to be sent again where the window stays closed.
    pub zero_window_probe_data: bool,
    /// CUBIC lowers its window to a share of itself, which RFC 9438 section 4.6 lets
    /// who keeps a window from growing that is not in use; else to a share of what is
    /// in flight.
    pub cubic_from_cwnd: bool,
    /// A delayed ACK waits this long; less than 0.5 s (RFC 9293, MUST-40).
    pub delayed_ack: Duration,
    /// Segments of a new connection that are acknowledged without delay, so that
    /// the peer's slow start is not held up; Linux has 16.
    pub quick_acks: u8,
    /// MSL: TIME-WAIT lasts twice this (RFC 9293 section 3.4.2). 30 s as Linux
    /// has it; the RFC's own value is 2 min.
    pub msl: Duration,
    /// A connect may take a flow of this side's that has been in TIME-WAIT for a
    /// second, where timestamps tell its incarnations apart (RFC 6191 for a SYN that
    /// comes in; this is Linux's tcp_tw_reuse).
    pub time_wait_reuse: bool,
    /// An orphan waits this long in FIN-WAIT-2, as Linux's tcp_fin_timeout.
    pub fin_wait_2: Duration,
    /// R2 of established connections: retransmissions before giving up
    /// (RFC 9293 section 3.8.3). 15 take more than 100 s (SHLD-11).
    pub retransmits_max: u8,
    /// R2 of a SYN: with 7 retransmissions it is given up after 247 s, more than the
    /// 3 min of MUST-23.
    pub syn_retransmits_max: u8,
    /// SYN-ACK retransmissions before a half-open connection is forgotten.
    pub syn_ack_retransmits_max: u8,
    /// Acknowledgments ride on data and FIN, one for a batch (RFC 9293, MUST-58);
    /// off, each that is due leaves at once as a segment of its own.
    pub packet_economy: bool,
}

impl Default for TcpConfig {
    fn default() -> TcpConfig {
        TcpConfig {
            max_connections: 1 << 20,
            max_half_open: 1 << 16,
            syn_backlog: 1 << 14,
            syn_cookies: SynCookies::OnOverflow,
            accept_overflow: AcceptOverflow::Ignore,
            stray_resets_per_second: 10_000,
            max_time_wait: 1 << 22,
            max_chunks: 1 << 21,
            max_held_frames: 2_048,
            max_option_sets: 1 << 12,
            receive_buffer: 256 << 10,
            // 1 Gbit/s over 100 ms and more.
            receive_buffer_max: 16_000_000,
            send_buffer: 256 << 10,
            ports: PortRange::default(),
            timestamps: true,
            window_scaling: true,
            sack: true,
            congestion: Algorithm::default(),
            initial_window: 10,
            slow_start_limit: 8,
            restart_after_idle: true,
            ecn: Ecn::default(),
            mtu_probing: true,
            option_order: OptionOrder::Linux,
            rto: RtoBounds::default(),
            tail_probe_min: Duration::from_millis(10),
            zero_window_probe_data: true,
            cubic_from_cwnd: false,
            delayed_ack: Duration::from_millis(40),
            quick_acks: 0,
            msl: Duration::from_secs(30),
            time_wait_reuse: false,
            fin_wait_2: Duration::from_secs(60),
            retransmits_max: 15,
            syn_retransmits_max: 7,
            syn_ack_retransmits_max: 5,
            packet_economy: true,
        }
    }
}

impl TcpConfig {
    pub(crate) fn time_wait(&self) -> Duration {
        self.msl * 2
    }
}

/// The smallest shift that lets 16 bits hold a receive buffer (RFC 7323 section 2.3).
pub(crate) fn window_scale(receive_buffer: u32) -> u8 {
    (0..14)
        .find(|&shift| receive_buffer >> shift <= 0xffff)
        .unwrap_or(14)
}
