//! What can be set, for a whole shard's TCP and for one socket.

use super::congestion::Algorithm;
use super::ecn::Ecn;
use super::rtt::RtoBounds;
use crate::ports::PortRange;
use crate::time::Duration;

/// Options of one socket, inherited from a listener by what it accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// TCP_NODELAY: Nagle's algorithm is off (RFC 9293 section 3.7.4, MUST-17).
    pub nodelay: bool,
}

/// TCP's constants and budgets for one shard.
#[derive(Clone, Debug)]
pub struct TcpConfig {
    /// Connections at a time; each takes 128 bytes when it is first used.
    pub max_connections: usize,
    /// Half-open connections at a time, over all listeners.
    pub max_half_open: usize,
    /// TIME-WAIT records at a time.
    pub max_time_wait: usize,
    /// Elements of queues at a time, over all connections.
    pub max_chunks: usize,
    /// Received frames that may wait in queues; past it bytes are copied out.
    pub max_held_frames: usize,
    /// SO_RCVBUF of every connection, in bytes: the window that it offers.
    pub receive_buffer: u32,
    /// SO_SNDBUF of every connection, in bytes, for data that is not a reference.
    pub send_buffer: u32,
    /// Local ports of connections that this side opens (RFC 6056).
    pub ports: PortRange,
    /// Offer timestamps (RFC 7323).
    pub timestamps: bool,
    /// Offer selective acknowledgments (RFC 2018).
    pub sack: bool,
    /// How congestion windows grow (TCP_CONGESTION).
    pub congestion: Algorithm,
    /// When explicit congestion notification is used (RFC 3168).
    pub ecn: Ecn,
    /// Look for the path's MTU by probing once large segments time out
    /// (RFC 8899).
    pub mtu_probing: bool,
    /// Bounds of the retransmission timeout (RFC 6298).
    pub rto: RtoBounds,
    /// A delayed ACK waits this long; less than 0.5 s (RFC 9293, MUST-40).
    pub delayed_ack: Duration,
    /// Segments of a new connection that are acknowledged without delay, so that
    /// the peer's slow start is not held up; Linux has 16.
    pub quick_acks: u8,
    /// MSL: TIME-WAIT lasts twice this (RFC 9293 section 3.4.2). 30 s as Linux
    /// has it; the RFC's own value is 2 min.
    pub msl: Duration,
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
            max_time_wait: 1 << 22,
            max_chunks: 1 << 21,
            max_held_frames: 2_048,
            receive_buffer: 256 << 10,
            send_buffer: 256 << 10,
            ports: PortRange::default(),
            timestamps: true,
            sack: true,
            congestion: Algorithm::default(),
            ecn: Ecn::default(),
            mtu_probing: true,
            rto: RtoBounds::default(),
            delayed_ack: Duration::from_millis(40),
            quick_acks: 0,
            msl: Duration::from_secs(30),
            fin_wait_2: Duration::from_secs(60),
            retransmits_max: 15,
            syn_retransmits_max: 7,
            syn_ack_retransmits_max: 5,
            packet_economy: true,
        }
    }
}

impl TcpConfig {
    /// The smallest shift that lets 16 bits hold the receive buffer (RFC 7323
    /// section 2.3).
    pub(crate) fn window_scale(&self) -> u8 {
        (0..14)
            .find(|&shift| self.receive_buffer >> shift <= 0xffff)
            .unwrap_or(14)
    }

    pub(crate) fn time_wait(&self) -> Duration {
        self.msl * 2
    }
}
