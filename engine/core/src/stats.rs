//! What the engine counts: plain numbers, written by one shard.
//!
//! Every packet that is not used has a [`DropReason`]; nothing is dropped in
//! silence. The TCP counters follow the TCP MIB (RFC 4022) where it has one.

use crate::wire::Malformed;

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $label:literal,)+) => {
        /// Why a packet was not used.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum DropReason { $($(#[doc = $doc])+ $name,)+ }

        impl DropReason {
            /// Every reason, in the order of their counters.
            pub const ALL: &[DropReason] = &[$(DropReason::$name),+];

            /// The name used in reports.
            pub const fn label(self) -> &'static str {
                match self { $(DropReason::$name => $label,)+ }
            }
        }
    };
}

drop_reasons! {
    /// A header says more than the frame holds.
    Truncated = "truncated",
    /// The IP version is not the one that the Ethernet type promised.
    Version = "version",
    /// A header length below its minimum or past its packet.
    HeaderLength = "header_length",
    /// The IP total length is shorter than the headers or longer than the frame.
    TotalLength = "total_length",
    /// A checksum does not hold.
    Checksum = "checksum",
    /// An IP fragment: the engine sends none and refuses them.
    Fragment = "fragment",
    /// Too many IPv6 extension headers, or one out of place.
    Extension = "extension",
    /// An IPv4 source route option or an IPv6 routing header (RFC 7126, RFC 5095).
    SourceRoute = "source_route",
    /// An option with an impossible length (RFC 9293 section 3.1, MUST-7), or one of
    /// IPv6 that must not be passed over.
    Option = "option",
    /// ARP for other than IPv4 over Ethernet.
    Hardware = "hardware",
    /// Of another VLAN than the engine's.
    Vlan = "vlan",
    /// Neither ARP nor IP, or neither ICMP nor TCP.
    Protocol = "protocol",
    /// Not addressed to this engine.
    NotForUs = "not_for_us",
    /// A source address that no packet can come from (RFC 1122 section 3.2.1.3;
    /// RFC 9293 section 3.9.2.3), or the packet's own destination.
    BadSource = "bad_source",
    /// ICMP that asks nothing of the engine, or that matches no connection.
    Icmp = "icmp",
    /// Outside the receive window (RFC 9293 section 3.10.7.4, first check).
    OutOfWindow = "out_of_window",
    /// Older than the latest timestamp seen (RFC 7323 section 5, PAWS).
    Paws = "paws",
    /// An acknowledgment of what was never sent, or of the distant past.
    BadAck = "bad_ack",
    /// A segment without ACK where one is required.
    NoAck = "no_ack",
    /// A RST that does not fit the connection's sequence numbers.
    BadReset = "bad_reset",
    /// A SYN on a synchronized connection (RFC 5961 section 4).
    BadSyn = "bad_syn",
    /// For no connection and no listener; answered by RST where RFC 9293
    /// section 3.10.7.1 asks for one.
    NoListener = "no_listener",
    /// All of the segment's data was received before.
    Duplicate = "duplicate",
    /// Out of order, and the bounded reassembly queue has no place for it.
    ReassemblyFull = "reassembly_full",
    /// Data after the application closed (RFC 9293 section 3.6.1, SHLD-3).
    DataAfterClose = "data_after_close",
    /// For no connection, and the RSTs of this second are used up.
    ResetLimited = "reset_limited",
    /// An ACK that brings back no cookie of ours, where one might come, or that came
    /// before the first segment.
    BadCookie = "bad_cookie",
    /// The listener's SYN queue is full.
    SynQueueFull = "syn_queue_full",
    /// The listener's accept queue is full.
    AcceptQueueFull = "accept_queue_full",
    /// No record is left for another connection.
    TooManyConnections = "too_many_connections",
    /// A reply for which no frame or no place in the bounded queue was left.
    ReplyQueueFull = "reply_queue_full",
    /// For a flow of another shard, or of interest to it, while its queue was full.
    StrayQueueFull = "stray_queue_full",
    /// A reply whose next hop does not answer.
    NextHopUnreachable = "next_hop_unreachable",
}

impl From<Malformed> for DropReason {
    fn from(malformed: Malformed) -> DropReason {
        match malformed {
            Malformed::Truncated => DropReason::Truncated,
            Malformed::Version => DropReason::Version,
            Malformed::HeaderLength => DropReason::HeaderLength,
            Malformed::TotalLength => DropReason::TotalLength,
            Malformed::Checksum => DropReason::Checksum,
            Malformed::Fragment => DropReason::Fragment,
            Malformed::Extension => DropReason::Extension,
            Malformed::SourceRoute => DropReason::SourceRoute,
            Malformed::Option => DropReason::Option,
            Malformed::Hardware => DropReason::Hardware,
        }
    }
}

/// Dropped packets by reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drops([u64; DropReason::ALL.len()]);

impl Default for Drops {
    fn default() -> Drops {
        Drops([0; DropReason::ALL.len()])
    }
}

impl Drops {
    /// Counts one.
    pub fn count(&mut self, reason: DropReason) {
        self.0[reason as usize] += 1;
    }

    /// Adds another's counts.
    pub fn add(&mut self, other: &Drops) {
        for (sum, count) in self.0.iter_mut().zip(other.0) {
            *sum += count;
        }
    }

    /// How many were dropped for `reason`.
    pub fn of(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// How many were dropped in all.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The reasons that occurred, with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL
            .iter()
            .map(|&reason| (reason, self.of(reason)))
            .filter(|&(_, count)| count > 0)
    }
}

macro_rules! counters {
    ($(#[doc = $outer:literal])+ $name:ident { $($(#[doc = $doc:literal])+ $field:ident,)+ }) => {
        $(#[doc = $outer])+
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name { $($(#[doc = $doc])+ pub $field: u64,)+ }

        impl $name {
            /// Every counter with its name, in the order of declaration.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($field), self.$field)),+].into_iter()
            }

            /// Adds another's counts.
            pub fn add(&mut self, other: &$name) {
                $(self.$field += other.$field;)+
            }
        }
    };
}

counters! {
    /// Frames and bytes that passed the shard's driver.
    LinkStats {
        /// Frames received.
        rx_frames,
        /// Bytes received, Ethernet header included, frame check sequence not.
        rx_bytes,
        /// Frames sent.
        tx_frames,
        /// Bytes sent, counted as above.
        tx_bytes,
    }
}

counters! {
    /// What TCP did. Names as in RFC 4022 where it has the counter.
    TcpStats {
        /// Connections that went from CLOSED to SYN-SENT (tcpActiveOpens).
        active_opens,
        /// Connections that went from LISTEN to SYN-RECEIVED (tcpPassiveOpens).
        passive_opens,
        /// Connections that reached ESTABLISHED.
        established,
        /// Connections that failed before ESTABLISHED (tcpAttemptFails).
        attempt_fails,
        /// Connections that left ESTABLISHED or a later state in any way.
        closed,
        /// Connections of `closed` that a RST of the peer ended.
        resets_received,
        /// Connections of `closed` that this side aborted.
        aborts,
        /// Connections of `closed` that gave up retransmitting (RFC 9293 section 3.8.3, R2).
        timeouts,
        /// Segments received, those in error included (tcpInSegs); one that was
        /// handed over counts where it went.
        segments_in,
        /// Segments of flows of other shards, handed over to them.
        strays_out,
        /// Segments that other shards handed over.
        strays_in,
        /// Segments sent, retransmitted ones included (tcpOutSegs).
        segments_out,
        /// Segments sent again (tcpRetransSegs).
        retransmits,
        /// Retransmission timeouts (RFC 6298 section 5).
        rto_expired,
        /// Fast retransmissions (RFC 5681 section 3.2).
        fast_retransmits,
        /// Tail loss probes (RFC 8985 section 7).
        tail_probes,
        /// Responses to losses that were none, and were taken back (RFC 4015).
        spurious,
        /// Data segments that came marked as having met congestion (RFC 3168).
        ce_received,
        /// Reductions of the congestion window for such marks.
        ece_received,
        /// Paths found to swallow large segments (RFC 4821 section 7.7).
        black_holes,
        /// Duplicates that peers reported (RFC 2883).
        duplicates_reported,
        /// SYN-ACKs sent again.
        syn_ack_retransmits,
        /// RST segments sent (tcpOutRsts).
        resets_out,
        /// Challenge ACKs sent (RFC 5961).
        challenge_acks,
        /// Challenge ACKs not sent because their connection had sent its share.
        challenge_acks_limited,
        /// SYNs answered by a cookie (RFC 4987).
        cookies_sent,
        /// Cookies that came back and opened a connection, if there was room for it.
        cookies_received,
        /// ACKs whose cookie was forged, altered or too old, or came early.
        cookies_failed,
        /// SYNs whose data the peer took (RFC 7413).
        fast_open_active,
        /// SYNs with data that the peer did not take, or did not answer in time.
        fast_open_active_fail,
        /// Connections accepted early, with the data of their SYN.
        fast_open_passive,
        /// SYNs with data and a cookie that is none of ours, or too old.
        fast_open_passive_fail,
        /// SYNs with data and a good cookie, of which too many were pending.
        fast_open_overflow,
        /// Keep-alive probes sent (RFC 9293 section 3.8.4).
        keepalive_probes,
        /// Data bytes received after SHUT_RD, and thrown away.
        bytes_discarded,
        /// Zero-window probes sent (RFC 9293 section 3.8.6.1).
        window_probes,
        /// Acknowledgments without news that count towards fast retransmission.
        duplicate_acks,
        /// Segments that arrived out of order and were kept.
        out_of_order,
        /// Received segments whose data was copied out of its frame to free the frame.
        copied_out,
        /// Data bytes sent for the first time.
        bytes_sent,
        /// Data bytes that the peer acknowledged.
        bytes_acked,
        /// Data bytes received in order, each once.
        bytes_received,
        /// Connects refused because every local port was taken (EADDRNOTAVAIL).
        ports_exhausted,
        /// TIME-WAIT records that ended by their 2 MSL.
        time_wait_expired,
        /// TIME-WAIT records that gave way to a new SYN (RFC 9293 MAY-2, RFC 6191).
        time_wait_reused,
        /// TIME-WAIT records refused for lack of room; the connection just ended.
        time_wait_overflow,
    }
}

/// Everything that one shard counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Frames and bytes.
    pub link: LinkStats,
    /// TCP.
    pub tcp: TcpStats,
    /// Packets not used, by reason.
    pub drops: Drops,
}

impl Stats {
    /// Adds another shard's counts.
    pub fn add(&mut self, other: &Stats) {
        self.link.add(&other.link);
        self.tcp.add(&other.tcp);
        self.drops.add(&other.drops);
    }
}
