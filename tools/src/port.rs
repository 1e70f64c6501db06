//! From the arguments to shards on an interface, and back.

use crate::capture;
use crate::cli::{Checksum, Congestion, Mode, NetworkArguments};
use crate::engine::{Ended, Snapshot, Workload};
use crate::exit::Failure;
use crate::job::{Job, Seat};
use anyhow::bail;
use ringmill::xdp::MTU_MAX;
use ringmill::{Interface, Owned, Steering, XdpConfig, XdpDriver, XdpMode};
use ringmill_core::ports::PortRange;
use ringmill_core::rss::{Rss, RssShare};
use ringmill_core::sockets::Sockets;
use ringmill_core::stack::{Config, Gateways, InterfaceAddress};
use ringmill_core::tcp::{Algorithm, Ecn};
use ringmill_core::wire::ChecksumPolicy;
use ringmill_core::wire::ethernet::MacAddress;
use std::fs::File;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

/// RFC 8200, 5.
const IPV6_MTU_MIN: u32 = 1_280;

/// An interface that is open for the engine.
pub(crate) struct Port {
    pub(crate) description: String,
    pub(crate) config: Config,
    /// One for each shard.
    seats: Vec<Seat<XdpDriver>>,
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
        let config = stack_config(&interface, network)?;
        let blocks = ports.split(network.shards).ok_or_else(|| {
            Failure::usage("there are fewer local ports than shards: widen --ports")
        })?;
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
        let queues = queues_by_shard(&interface, network.shards)?;
        let mut steering = Steering::attach(&interface, mode, network.vlan, &owned)?;
        let zero_copy = matches!(network.mode, Mode::Auto | Mode::Zerocopy)
            && steering.mode() == XdpMode::Native;
        let rss = known_rss(&interface, &queues);
        let mut seats = Vec::new();
        for (queues, block) in queues.into_iter().zip(blocks) {
            let mut config = config.clone();
            match rss.clone() {
                Some(rss) => {
                    let queues = queues.clone();
                    config.tcp.ports = ports;
                    config.rss = Some(RssShare { rss, queues });
                }
                None => config.tcp.ports = block,
            }
            let (driver, pool) = XdpDriver::open(&XdpConfig {
                queues,
                zero_copy,
                busy_poll: network.busy_poll,
                ..XdpConfig::new(&interface.name)
            })?;
            steering.deliver_to(&driver)?;
            seats.push(Seat {
                config,
                driver,
                pool,
            });
        }
        if network.mode == Mode::Zerocopy && !seats.iter().all(|seat| seat.driver.modes().zero_copy)
        {
            return Err(Failure::environment(format!(
                "{} can't do zero copy: use --mode copy, or auto",
                interface.name
            )));
        }
        let description = describe(&seats, &steering, config.checksum);
        Ok(Port {
            description,
            config,
            seats,
            steering,
        })
    }

    /// Runs an application on the port to its end: `app` makes one for each shard,
    /// by its number, and `begin` is its first call.
    pub(crate) fn run<A: Workload + Send>(
        self,
        app: impl FnMut(usize) -> A,
        job: &Job,
        begin: impl FnMut(&mut A, &mut Sockets) -> anyhow::Result<()>,
        tell: impl FnMut(&Snapshot),
    ) -> anyhow::Result<Ended> {
        let Port {
            seats, steering, ..
        } = self;
        let (drivers, ended) = match &job.pcap {
            None => job.run(seats, app, begin, tell)?,
            Some(path) => {
                let seats = capture::start(seats, path, job.clock)?;
                let (captures, ended) = job.run(seats, app, begin, tell)?;
                (capture::finish(captures, path)?, ended)
            }
        };
        // Nothing is steered to sockets that are about to go.
        drop(steering);
        for (driver, pool) in drivers {
            driver.close(pool)?;
        }
        Ok(ended)
    }
}

/// Each shard's queues: they take turns until none is left.
fn queues_by_shard(interface: &Interface, shards: usize) -> anyhow::Result<Vec<Vec<u32>>> {
    let Interface {
        name, rx_queues, ..
    } = interface;
    let first = (0..*rx_queues).take(shards);
    if first.len() < shards {
        let remedy = if interface.is_veth {
            format!(
                "make it with numrxqueues {shards} numtxqueues {shards}, or `ethtool -L {name} rx {shards} tx {shards}`"
            )
        } else {
            format!("`ethtool -L {name} combined {shards}`")
        };
        return Err(Failure::environment(format!(
            "{name} has too few receive queues for {shards} shards ({rx_queues}): {remedy}, or fewer --shards"
        )));
    }
    Ok(first
        .map(|first| (first..*rx_queues).step_by(shards).collect())
        .collect())
}

/// The device's way to spread flows, where it is known and of use: to choose ports
/// by, instead of in blocks.
fn known_rss(interface: &Interface, queues: &[Vec<u32>]) -> Option<Arc<Rss>> {
    let has_siblings = queues.len() > 1;
    let rss = interface.rss().filter(|_| has_siblings)?;
    // A shard that no flow comes to by itself would have no ports at all.
    let is_of_use = queues.iter().all(|queues| rss.reaches_any(queues));
    is_of_use.then(|| Arc::new(rss))
}

fn describe(seats: &[Seat<XdpDriver>], steering: &Steering, checksum: ChecksumPolicy) -> String {
    let checksum = match checksum {
        ChecksumPolicy::Full => "full checksums",
        ChecksumPolicy::AcceptPartial => "partial checksums accepted",
    };
    let port = match seats {
        [seat] => seat.driver.describe(),
        seats => describe_several(seats),
    };
    format!("{port}, {} XDP, {checksum}", steering.mode())
}

fn describe_several(seats: &[Seat<XdpDriver>]) -> String {
    let Interface { name, driver, .. } = seats[0].driver.interface();
    let queues: Vec<String> = seats
        .iter()
        .map(|seat| {
            let numbers = seat.driver.sockets().map(|(queue, _)| queue.to_string());
            numbers.collect::<Vec<_>>().join("+")
        })
        .collect();
    // A pool of huge pages may run out before the last shard.
    let mut modes: Vec<String> = seats
        .iter()
        .map(|seat| seat.driver.modes().to_string())
        .collect();
    modes.dedup();
    let ports = match seats[0].config.rss {
        Some(_) => "ports by RSS, ",
        None => "",
    };
    format!(
        "{name} ({driver}), {} shards on queues {}, {ports}{}",
        seats.len(),
        queues.join(", "),
        modes.join(" or ")
    )
}

fn stack_config(interface: &Interface, network: &NetworkArguments) -> anyhow::Result<Config> {
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
    config.mtu = u16::try_from(interface.mtu.min(MTU_MAX)).unwrap_or(u16::MAX);
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
