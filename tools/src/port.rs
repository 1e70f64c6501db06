//! From the arguments to a shard on an interface, and back.

use crate::cli::{Checksum, Congestion, Mode, NetworkArguments, OutputArguments};
use crate::engine::{Control, Ended, Run, Snapshot, Workload};
use crate::exit::Failure;
use anyhow::{Context as _, bail};
use ringmill::clock::Clock;
use ringmill::{Interface, Owned, Steering, XdpConfig, XdpDriver, XdpMode, affinity};
use ringmill_core::driver::capture::Capture;
use ringmill_core::frame::FramePool;
use ringmill_core::ports::PortRange;
use ringmill_core::shard::Shard;
use ringmill_core::sockets::Sockets;
use ringmill_core::stack::{Config, Gateways, InterfaceAddress};
use ringmill_core::tcp::{Algorithm, Ecn};
use ringmill_core::time::Duration;
use ringmill_core::wire::ChecksumPolicy;
use ringmill_core::wire::ethernet::MacAddress;
use std::fs::File;
use std::io::BufWriter;
use std::net::IpAddr;
use std::path::Path;

/// RFC 8200, 5.
const IPV6_MTU_MIN: u32 = 1_280;

/// An interface that is open for the engine.
pub(crate) struct Port {
    pub(crate) interface: Interface,
    pub(crate) description: String,
    pub(crate) config: Config,
    driver: XdpDriver,
    pool: FramePool,
    steering: Steering,
}

impl Port {
    /// Opens `interface` in the calling thread's network namespace.
    pub(crate) fn open(
        interface: &str,
        network: &NetworkArguments,
        ports: PortRange,
    ) -> anyhow::Result<Port> {
        let interface = Interface::find_up(interface)?;
        let config = stack_config(&interface, network, ports)?;
        let mode = match network.mode {
            Mode::Auto => XdpMode::Auto,
            Mode::Zerocopy => XdpMode::Native,
            Mode::Copy => XdpMode::Auto,
            Mode::Skb => XdpMode::Skb,
        };
        let owned: Vec<Owned> = config
            .addresses
            .iter()
            .map(|own| Owned::Address(own.ip))
            .collect();
        let mut steering = Steering::attach(&interface, mode, network.vlan, &owned)?;
        let mut xdp = XdpConfig::new(&interface.name);
        xdp.zero_copy = matches!(network.mode, Mode::Auto | Mode::Zerocopy)
            && steering.mode() == XdpMode::Native;
        let (driver, pool) = XdpDriver::open(&xdp)?;
        steering.deliver_to(&driver)?;
        let checksum = match config.checksum {
            ChecksumPolicy::Full => "full checksums",
            ChecksumPolicy::AcceptPartial => "partial checksums accepted",
        };
        let description = format!("{}, {} XDP, {checksum}", driver.describe(), steering.mode());
        if network.mode == Mode::Zerocopy && !driver.is_zero_copy() {
            return Err(Failure::environment(format!(
                "{} can't do zero copy: use --mode copy, or auto",
                interface.name
            )));
        }
        Ok(Port {
            interface,
            description,
            config,
            driver,
            pool,
            steering,
        })
    }

    /// Runs an application on the port to its end. `begin` is its first call.
    pub(crate) fn run<A: Workload>(
        self,
        app: A,
        job: &Job,
        begin: impl FnOnce(&mut A, &mut Sockets) -> anyhow::Result<()>,
        tell: impl FnMut(Snapshot),
    ) -> anyhow::Result<Ended> {
        let Port {
            config,
            driver,
            pool,
            steering,
            ..
        } = self;
        let (driver, pool, ended) = match &job.pcap {
            None => job.run_over(config, driver, pool, app, begin, tell)?,
            Some(path) => {
                let file = create(path)?;
                let capture =
                    Capture::new(driver, BufWriter::new(file), job.clock.wall_clock_offset())
                        .with_context(|| format!("can't write {}", path.display()))?;
                let (capture, pool, ended) =
                    job.run_over(config, capture, pool, app, begin, tell)?;
                let (driver, written) = capture.finish();
                written
                    .map_err(anyhow::Error::from)
                    .and_then(|writer| {
                        Ok(writer.into_inner().map_err(|error| error.into_error())?)
                    })
                    .with_context(|| format!("the capture in {} is not whole", path.display()))?;
                (driver, pool, ended)
            }
        };
        // Nothing is steered to sockets that are about to go.
        drop(steering);
        driver.close(pool)?;
        Ok(ended)
    }
}

/// How to run an application, whatever it runs on.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) clock: Clock,
    pub(crate) control: Control,
    pub(crate) duration: Option<Duration>,
    pub(crate) core: Option<usize>,
    /// Cores that the process may use: asked for before a thread is pinned to one.
    pub(crate) cores: usize,
    pub(crate) pcap: Option<std::path::PathBuf>,
}

impl Job {
    pub(crate) fn new(
        duration: Option<Duration>,
        core: Option<usize>,
        output: &OutputArguments,
    ) -> anyhow::Result<Job> {
        let control = Control::default();
        control.on_signals()?;
        Ok(Job {
            clock: Clock::start(),
            control,
            duration,
            core,
            cores: affinity::cores().len(),
            pcap: output.pcap.clone(),
        })
    }

    /// Runs an application over any driver to its end.
    pub(crate) fn run_over<D: ringmill_core::driver::Driver, A: Workload>(
        &self,
        config: Config,
        driver: D,
        pool: FramePool,
        app: A,
        begin: impl FnOnce(&mut A, &mut Sockets) -> anyhow::Result<()>,
        tell: impl FnMut(Snapshot),
    ) -> anyhow::Result<(D, FramePool, Ended)> {
        if let Some(core) = self.core
            && !affinity::pin_thread(core)
        {
            return Err(Failure::usage(format!(
                "this process may not run on core {core}"
            )));
        }
        let now = self.clock.now();
        let mut shard = Shard::new(config, now, driver, pool, app);
        shard.with_app(now, begin)?;
        let run = Run {
            shard: &mut shard,
            clock: self.clock,
            control: self.control.clone(),
            duration: self.duration,
        };
        let ended = run.until_end(tell);
        let (driver, pool, _) = shard.into_parts();
        Ok((driver, pool, ended))
    }
}

fn stack_config(
    interface: &Interface,
    network: &NetworkArguments,
    ports: PortRange,
) -> anyhow::Result<Config> {
    let Some(first) = network.addresses.first() else {
        bail!("no address");
    };
    let mut config = Config::new(MacAddress(interface.mac), first.first, first.prefix_len);
    config.addresses = network
        .addresses
        .iter()
        .flat_map(|range| {
            range.iter().map(|ip| InterfaceAddress {
                ip,
                prefix_len: range.prefix_len,
            })
        })
        .collect();
    config.gateways = gateways(&network.gateways)?;
    config.vlan = network.vlan;
    let has_ipv6 = config.addresses.iter().any(|own| own.ip.is_ipv6());
    if has_ipv6 && interface.mtu < IPV6_MTU_MIN {
        return Err(Failure::environment(format!(
            "MTU {mtu} of {name} is below what IPv6 needs: `ip link set {name} mtu {IPV6_MTU_MIN}`",
            mtu = interface.mtu,
            name = interface.name
        )));
    }
    config.mtu = u16::try_from(interface.mtu.min(1_500)).unwrap_or(1_500);
    config.seed = match network.seed {
        Some(seed) => seed,
        None => getrandom::u64()
            .map_err(|error| Failure::environment(format!("no entropy: {error}")))?,
    };
    config.checksum = match network.checksum {
        Some(Checksum::Full) => ChecksumPolicy::Full,
        Some(Checksum::Partial) => ChecksumPolicy::AcceptPartial,
        None if interface.is_veth => ChecksumPolicy::AcceptPartial,
        None => ChecksumPolicy::Full,
    };
    config.tcp = network.profile.config();
    config.tcp.msl = network.time_wait / 2;
    config.tcp.ports = ports;
    match network.congestion {
        Some(Congestion::Newreno) => config.tcp.congestion = Algorithm::NewReno,
        Some(Congestion::Cubic) => config.tcp.congestion = Algorithm::Cubic,
        None => {}
    }
    if network.ecn {
        config.tcp.ecn = Ecn::Active;
    }
    Ok(config)
}

/// One gateway a version of IP.
fn gateways(given: &[IpAddr]) -> anyhow::Result<Gateways> {
    let mut gateways = Gateways::default();
    for gateway in given {
        let is_second = match *gateway {
            IpAddr::V4(ip) => gateways.v4.replace(ip).is_some(),
            IpAddr::V6(ip) => gateways.v6.replace(ip).is_some(),
        };
        if is_second {
            return Err(Failure::usage(
                "there is one --gateway for IPv4 and one for IPv6: leave one out",
            ));
        }
    }
    Ok(gateways)
}

/// Creates a file for output; refused before the run rather than after it.
pub(crate) fn create(path: &Path) -> anyhow::Result<File> {
    File::create(path)
        .map_err(|error| Failure::usage(format!("can't write {}: {error}", path.display())))
}
