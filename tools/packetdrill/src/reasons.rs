//! Why scripts do not pass that will not, or not soon: where an RFC decides against
//! them, or where they ask for what the engine or its host here has not.

/// The beginning of a script's path, and the reason; the first that fits counts.
const REASONS: &[(&str, &str)] = &[
    // What a RFC decides.
    (
        "fast_retransmit/fr-4pkt-fack-last-mss",
        "asks for a reordering timer later than RFC 8985's; fails on Linux 6.18 too",
    ),
    (
        "ts_recent/invalid_ack",
        "asks for silence where RFC 9293 section 3.10.7.4 has an ACK; fails on Linux 6.18 too",
    ),
    ("cubic/cubic-bulk-166k", HYSTART),
    ("cubic/cubic-hystart-delay-rtt-jumps-upward", HYSTART),
    (
        "cubic/cubic-rto-ss-ca-cwnd-bump",
        "asks for W_est of RFC 9438 section 4.3 in whole numbers, as Linux has it: by that the window grows an acknowledgment later",
    ),
    (
        "user_timeout/user-timeout-probe",
        "asks for a user timeout that counts from Linux's first probe; RFC 9293 section 3.9.1.1 has it from the send",
    ),
    (
        "cwnd_moderation/cwnd-moderation-ecn",
        "asks for PRR after a mark, where RFC 3168 section 6.1.2 lowers the window at once",
    ),
    (
        "fastopen/client/cookie-req-timeout",
        "asks a server at once again that did not answer, which RFC 7413 section 4.1.3.1 leaves alone",
    ),
    (
        "fastopen/server/opt34/reset-after-accept",
        "reads after a RST what came before it, which RFC 9293 section 3.10.7.4 flushes",
    ),
    (
        "fastopen/server/opt34/icmp-before-accept",
        "a soft error ends a connection, which RFC 9293 section 3.9.2.2 forbids (MUST-56)",
    ),
    ("fastopen/server/opt34/pure-syn-data", WITHOUT_TIMESTAMPS),
    ("fastopen/server/pure-syn-data", WITHOUT_TIMESTAMPS),
    // What the engine has not.
    (
        "slow_start/slow-start-fq",
        "asks for pacing, which the engine has not",
    ),
    (
        "mtu_probe/",
        "a search for the path's MTU from the start on; the engine searches once a path swallows segments",
    ),
    ("fastopen/client/fallback-exp-opt", EXPERIMENTAL),
    ("fastopen/client/cookie-less", WITHOUT_COOKIES),
    ("fastopen/server/basic-cookie-not-reqd", WITHOUT_COOKIES),
    (
        "fastopen/server/opt34/basic-cookie-not-reqd",
        WITHOUT_COOKIES,
    ),
    ("fastopen/client/nonblocking-sendto-empty-buf", NO_DATA),
    ("fastopen/server/opt34/basic-zero-payload", NO_DATA),
    (
        "fastopen/server/opt34/simple",
        "the cookie of a key that the script sets",
    ),
    (
        "fastopen/server/opt34/reset-",
        "what was reset before it was accepted is not accepted",
    ),
    (
        "fastopen/client/syn-data-icmp",
        "a SYN that was too large for the path goes again by its timer, not at once",
    ),
    (
        "fastopen/client/valid-cookie-format",
        "keeps the MSS of a SYN-ACK whose cookie is not valid",
    ),
    (
        "fastopen/client/nonblocking-sendto-over-mss",
        "what the SYN-ACK did not take is new to the engine, so Nagle's algorithm holds what follows it",
    ),
    (
        "fastopen/client/syn-data-timeout",
        "the engine does not count what was delivered",
    ),
    (
        "fastopen/client/blocking-",
        "asks for an ACK that is delayed at the start of a connection",
    ),
    ("zerocopy/", "SO_ZEROCOPY"),
    ("syscall_bad_arg/sendmsg-empty-iov", "SO_ZEROCOPY"),
    ("inq/", "TCP_INQ"),
    ("timestamping/", "SO_TIMESTAMPING"),
    ("splice/", "the engine has no pages that splice could move"),
    (
        "sendfile/",
        "packetdrill asks libc for sendfile, not the table",
    ),
    // What this way of running them has not.
    (
        "gro/",
        "one packet of ten segments, as a device's offload makes it",
    ),
    ("fastopen/client/nonblocking-connect-bypass-errno", MIDDLE),
    ("fastopen/client/nonblocking-sendto", MIDDLE),
    ("fastopen/client/syn-data-mss", MIDDLE),
    ("fastopen/client/synack-data", MIDDLE),
    (
        "fastopen/server/client-ack-dropped",
        "PSH as Linux's pacing of offloaded packets has it",
    ),
    ("fastopen/server/opt34/", ""),
    ("fastopen/server/", EXPERIMENTAL),
];

const HYSTART: &str =
    "asks for HyStart; the engine's slow start ends by RFC 9406 (HyStart++), more gently";
const WITHOUT_TIMESTAMPS: &str =
    "a segment without the timestamps that were agreed on, which RFC 7323 section 3.2 drops";
const EXPERIMENTAL: &str = "the option's experimental form; the engine has that of RFC 7413";
const WITHOUT_COOKIES: &str = "Fast Open without cookies";
const NO_DATA: &str = "a SYN with a cookie and no data is an ordinary one to the engine";
const MIDDLE: &str = "a setting that changes in the middle of the script";

/// Why the script of this name does not pass, where that is known.
pub(crate) fn of(name: &str) -> Option<&'static str> {
    let found = REASONS.iter().find(|(start, _)| name.starts_with(start));
    found
        .map(|(_, reason)| *reason)
        .filter(|reason| !reason.is_empty())
}
