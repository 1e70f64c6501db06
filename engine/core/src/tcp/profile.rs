//! Profiles: constants that make the engine behave as a known stack does, under
//! one name. Tests of one stack judge its timers and its SYN to the byte.

use super::options::TcpConfig;
use super::rtt::RtoBounds;
use crate::time::Duration;
use crate::wire::tcp::OptionOrder;
use std::fmt;
use std::str::FromStr;

/// A set of constants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// This engine's own.
    #[default]
    Ringmill,
    /// Linux, with the buffers of packetdrill's scripts for it: its defaults hang on
    /// the memory of the machine.
    Linux,
    /// FreeBSD 14.
    FreeBsd,
}

impl Profile {
    /// All profiles.
    pub const ALL: &[Profile] = &[Profile::Ringmill, Profile::Linux, Profile::FreeBsd];

    /// The name that it goes by.
    pub const fn name(self) -> &'static str {
        match self {
            Profile::Ringmill => "ringmill",
            Profile::Linux => "linux",
            Profile::FreeBsd => "freebsd",
        }
    }

    /// The constants; budgets are the same in all.
    pub fn config(self) -> TcpConfig {
        let ringmill = TcpConfig::default();
        match self {
            Profile::Ringmill => ringmill,
            Profile::Linux => TcpConfig {
                // tcp_rmem, of whose default half is window, and tcp_wmem
                receive_buffer: 64 << 10,
                receive_buffer_max: 15 << 20,
                send_buffer: 4 << 20,
                // tcp_syn_retries, tcp_synack_retries, tcp_retries2
                syn_retransmits_max: 6,
                syn_ack_retransmits_max: 5,
                retransmits_max: 15,
                // TCP_INIT_CWND
                initial_window: 10,
                // TCP_DELACK_MIN; what is due does not wait for the rest of a batch
                delayed_ack: Duration::from_millis(40),
                packet_economy: false,
                // TCP_MAX_QUICKACKS, and tcp_rto_min counted on top of the round trip
                quick_acks: 16,
                rto: RtoBounds {
                    min_variation: Duration::from_millis(200),
                    ..RtoBounds::default()
                },
                // TCP_TIMEOUT_MIN
                tail_probe_min: Duration::from_millis(2),
                // tcp_xmit_probe_skb
                zero_window_probe_data: false,
                cubic_from_cwnd: true,
                slow_start_limit: u32::MAX,
                ..ringmill
            },
            Profile::FreeBsd => TcpConfig {
                option_order: OptionOrder::FreeBsd,
                // net.inet.tcp.recvspace, recvbuf_max and sendbuf_max
                receive_buffer: 64 << 10,
                receive_buffer_max: 2 << 20,
                send_buffer: 2 << 20,
                // net.inet.tcp.initcwnd_segments and delacktime
                initial_window: 10,
                delayed_ack: Duration::from_millis(40),
                packet_economy: false,
                // net.inet.tcp.rexmit_initial, rexmit_min and TCPTV_REXMTMAX
                rto: RtoBounds {
                    initial: Duration::from_secs(1),
                    min: Duration::from_millis(230),
                    min_variation: Duration::ZERO,
                    max: Duration::from_secs(64),
                },
                // TCP_MAXRXTSHIFT
                retransmits_max: 12,
                syn_retransmits_max: 12,
                syn_ack_retransmits_max: 3,
                ..ringmill
            },
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no profile of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such profile: ringmill, linux or freebsd")]
pub struct UnknownProfile;

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(name: &str) -> Result<Profile, UnknownProfile> {
        let found = Profile::ALL.iter().find(|profile| profile.name() == name);
        found.copied().ok_or(UnknownProfile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_found_by_its_name() {
        for &profile in Profile::ALL {
            assert_eq!(profile.name().parse(), Ok(profile));
        }
        assert_eq!("windows".parse::<Profile>(), Err(UnknownProfile));
    }

    /// RFC 9293 section 3.8.3: MUST-23 and SHLD-11 hold in each, at the least RTO.
    #[test]
    fn each_gives_up_no_sooner_than_it_may() {
        for &profile in Profile::ALL {
            let config = profile.config();
            let total = |first: Duration, count: u8| -> Duration {
                (0..=count)
                    .map(|n| first.saturating_mul(1 << n.min(16)).min(config.rto.max))
                    .sum()
            };
            let syn = total(config.rto.initial, config.syn_retransmits_max);
            let data = total(config.rto.min, config.retransmits_max);
            assert!(data >= Duration::from_secs(100), "{profile}: {data:?}");
            let least = if profile == Profile::Linux { 127 } else { 180 };
            assert!(syn >= Duration::from_secs(least), "{profile}: {syn:?}");
        }
    }
}
