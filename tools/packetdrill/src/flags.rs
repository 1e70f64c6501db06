//! `--so_flags`: what a script's engine is, as `name=value` with commas between.
//!
//! | name | value |
//! |---|---|
//! | `local` | the engine's own address, as in `--local_ip` |
//! | `device_refuses` | a file: while it is there the device takes nothing that is to leave |
//! | `profile` | `linux` (default), `freebsd` or `ringmill`; it comes first |
//! | `tcp_min_tso_segs` | segments that make one offloaded packet (see the offload module) |
//! | `tcp_tso_win_divisor` | taken and without effect: the engine does not defer segments to fill such a packet |
//! | `tcp_early_retrans` | taken and without effect: tail loss probes are always on |
//! | `tcp_fastopen` | Linux's bits: 1 clients, 2 servers, 0x400 all listeners; those that do without cookies are refused |
//! | `tcp_fastopen_key` | taken and without effect: the engine's cookies are its own |
//! | `tcp_fastopen_blackhole_timeout_sec` | taken and without effect: the engine keeps away from a server, and not from all |
//! | `tcp_...` | any other: a setting of Linux by its sysctl name, as far as the engine has it |

use crate::offload::Offload;
use crate::port;
use crate::send_buffer::Limits;
use ringmill_core::stack::Config;
use ringmill_core::tcp::{Algorithm, Ecn, Profile};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

/// A flag that can't be taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FlagError {
    #[error("{0:?} is not name=value")]
    Form(String),
    #[error("{0} can't be {1:?}")]
    Value(String, String),
    #[error("no such flag: {0}")]
    Unknown(String),
}

/// The engine that a script asks for.
pub(crate) struct Settings {
    pub(crate) config: Config,
    pub(crate) tso_segs: usize,
    pub(crate) fast_open: FastOpen,
    pub(crate) send_buffer: Limits,
    /// While this file is there the device takes nothing.
    pub(crate) device_refuses: Option<PathBuf>,
}

/// What of Fast Open is on (Linux's tcp_fastopen).
#[derive(Clone, Copy, Debug)]
pub(crate) struct FastOpen {
    pub(crate) client: bool,
    /// A listener has it without asking for it.
    pub(crate) listeners: bool,
}

impl FastOpen {
    /// What scripts set before anything else.
    const DEFAULT: FastOpen = FastOpen {
        client: true,
        listeners: true,
    };

    fn parse(value: &str) -> Option<FastOpen> {
        const CLIENT: u32 = 1;
        const SERVER: u32 = 2;
        const WITHOUT_COOKIES: u32 = 0x4 | 0x200;
        const LISTENERS: u32 = 0x400;
        let bits = match value.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16).ok()?,
            None => value.parse().ok()?,
        };
        (bits & WITHOUT_COOKIES == 0).then_some(FastOpen {
            client: bits & CLIENT != 0,
            listeners: bits & (SERVER | LISTENERS) == SERVER | LISTENERS,
        })
    }
}

/// Where packetdrill's scripts stand if nothing else is said.
const LOCAL: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 1);

impl Settings {
    pub(crate) fn parse(flags: &str) -> Result<Settings, FlagError> {
        let mut settings = Settings {
            config: Config::new(port::ENGINE, LOCAL, 0),
            tso_segs: 2,
            fast_open: FastOpen::DEFAULT,
            send_buffer: Limits::DEFAULT,
            device_refuses: None,
        };
        // Every script is to be the same run.
        settings.config.seed = 1;
        settings.take_on(Profile::Linux);
        for flag in flags.split(',').filter(|flag| !flag.is_empty()) {
            let (name, value) = flag
                .split_once('=')
                .ok_or_else(|| FlagError::Form(flag.to_owned()))?;
            settings.set(name.trim(), value.trim())?;
        }
        Ok(settings)
    }

    /// The constants of `profile`, with what packetdrill's scripts for Linux set
    /// before anything else.
    fn take_on(&mut self, profile: Profile) {
        self.config.tcp = profile.config();
        if profile == Profile::Linux {
            self.config.tcp.restart_after_idle = false;
            self.config.tcp.ecn = Ecn::Off;
        }
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), FlagError> {
        let bad = || FlagError::Value(name.to_owned(), value.to_owned());
        let tcp = &mut self.config.tcp;
        match name {
            "profile" => {
                let named = |profile: &&Profile| profile.name() == value;
                let profile = Profile::ALL.iter().find(named).ok_or_else(bad)?;
                self.take_on(*profile);
                return Ok(());
            }
            "local" => {
                let ip: IpAddr = value.parse().map_err(|_| bad())?;
                self.config.addresses[0].ip = ip;
                // So that segments are as long in both families, as packetdrill has it.
                self.config.mtu = if ip.is_ipv6() { 1_520 } else { 1_500 };
            }
            "device_refuses" => self.device_refuses = Some(value.into()),
            "tcp_min_tso_segs" => self.tso_segs = value.parse().map_err(|_| bad())?,
            "tcp_tso_win_divisor"
            | "tcp_early_retrans"
            | "tcp_fastopen_key"
            | "tcp_fastopen_blackhole_timeout_sec" => {}
            "tcp_fastopen" => self.fast_open = FastOpen::parse(value).ok_or_else(bad)?,
            "tcp_congestion_control" => {
                let named = |algorithm: &Algorithm| algorithm.name() == value;
                tcp.congestion = [Algorithm::Cubic, Algorithm::NewReno]
                    .into_iter()
                    .find(named)
                    .ok_or_else(bad)?;
            }
            "tcp_ecn" => {
                tcp.ecn = match value {
                    "0" => Ecn::Off,
                    "1" => Ecn::Active,
                    "2" => Ecn::Passive,
                    _ => return Err(bad()),
                };
            }
            "tcp_mtu_probing" => tcp.mtu_probing = value != "0",
            "tcp_slow_start_after_idle" => tcp.restart_after_idle = value != "0",
            "tcp_wmem" => {
                let mut sizes = value.split_whitespace().skip(1).map(str::parse);
                let mut size = || sizes.next().and_then(Result::ok).ok_or_else(bad);
                (self.send_buffer.default, self.send_buffer.max) = (size()?, size()?);
            }
            "tcp_notsent_lowat" => {
                self.send_buffer.notsent_lowat = value.parse().map_err(|_| bad())?;
            }
            "tcp_sack" => tcp.sack = value != "0",
            "tcp_timestamps" => tcp.timestamps = value != "0",
            "tcp_window_scaling" => tcp.window_scaling = value != "0",
            _ => return Err(FlagError::Unknown(name.to_owned())),
        }
        Ok(())
    }

    pub(crate) fn offload(&self) -> Offload {
        Offload::new(self.tso_segs)
    }
}
