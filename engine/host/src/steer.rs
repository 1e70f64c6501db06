//! Steering: what of an interface's traffic is the engine's.
//!
//! Loads the XDP program of `ringmill-bpf`, tells it what the engine owns and
//! which sockets there are, and attaches it by link, so that it is gone with the
//! process, however that ends. Everything else stays the kernel's, ssh included.

use crate::error::{Operation, XdpError};
use crate::interface::{Groups, Interface};
use crate::xdp::XdpDriver;
use aya::maps::{HashMap, Map, MapData, MapError, PerCpuArray, XskMap};
use aya::programs::links::FdLink;
use aya::programs::{ProgramError, Xdp, xdp};
use aya::{Ebpf, EbpfLoader};
use ringmill_bpf::{NO_PORTS, OwnedPorts, RANGES, Verdict, WHOLE_ADDRESS};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr};

/// The largest MTU that a veth takes with native XDP on a kernel that has no frames of
/// several buffers (before 5.18): a page less headroom, Ethernet header and the
/// kernel's bookkeeping (drivers/net/veth.c, veth_xdp_set).
pub const VETH_NATIVE_MTU_MAX: u32 = 3_506;

/// Something that the engine owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owned {
    /// An address of its own: the engine answers ARP, ND and ICMP and takes all
    /// TCP. The kernel must not have it too.
    Address(IpAddr),
    /// TCP ports of an address that stays the kernel's, both ends included.
    /// ARP, ND, ICMP, fragments without a TCP header and what hides it behind a
    /// long chain of extension headers go to the kernel.
    Ports {
        /// The kernel's address.
        address: IpAddr,
        /// The lowest port.
        first: u16,
        /// The highest port.
        last: u16,
    },
}

/// Where in the kernel the program runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XdpMode {
    /// Native where the driver can do it, else skb.
    #[default]
    Auto,
    /// In the driver, before the kernel makes a packet of the frame.
    Native,
    /// In the generic receive path; works on every device.
    Skb,
}

impl fmt::Display for XdpMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            XdpMode::Auto => "auto",
            XdpMode::Native => "native",
            XdpMode::Skb => "skb",
        })
    }
}

/// Frames by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// Given to the engine.
    pub taken: u64,
    /// Left to the kernel.
    pub passed: u64,
    /// The engine's, but on a queue without a socket; left to the kernel.
    pub undeliverable: u64,
}

/// The program, attached to one interface until this is dropped.
pub struct Steering {
    interface: String,
    mode: XdpMode,
    sockets: XskMap<MapData>,
    verdict_counts: PerCpuArray<MapData, u64>,
    _link: FdLink,
    _program: Ebpf,
    _groups: Groups,
}

impl Steering {
    /// Attaches the program to `interface`, an interface of the calling thread's
    /// network namespace. All that is owned is in one VLAN, or untagged. The
    /// kernel gets everything until sockets are there (see
    /// [`deliver_to`](Steering::deliver_to)).
    pub fn attach(
        interface: &Interface,
        mode: XdpMode,
        vlan: Option<u16>,
        owned: &[Owned],
    ) -> Result<Steering, XdpError> {
        if vlan.is_some() && interface.takes_vlan_tags && !interface.is_veth {
            return Err(XdpError::VlanTagsTaken(interface.name.clone()));
        }
        let groups = Groups::of_neighbors(interface.index, &own_ipv6(owned))
            .map_err(|reason| XdpError::refused(Operation::JOIN, &interface.name, reason))?;
        let by_address = ports_by_address(owned)?;
        let name = interface.name.as_str();
        let not_loaded = |error| refused(Operation::LOAD, name, error);
        let not_filled = |error| refused(Operation::MAP, name, error);

        let (mut program, steer) = load(name, vlan)?;
        let mut owned: HashMap<MapData, [u8; 16], OwnedPorts> =
            map(&mut program, ringmill_bpf::OWNED, HashMap::try_from).map_err(not_loaded)?;
        let sockets =
            map(&mut program, ringmill_bpf::SOCKETS, XskMap::try_from).map_err(not_loaded)?;
        let verdict_counts = map(
            &mut program,
            ringmill_bpf::VERDICT_COUNTS,
            PerCpuArray::try_from,
        )
        .map_err(not_loaded)?;
        for (address, ports) in by_address {
            owned.insert(address, ports, 0).map_err(not_filled)?;
        }
        let steer =
            steer_of(&mut program, steer).map_err(|error| attach_error(interface, error))?;
        let (mode, link) = attach(steer, interface, mode)?;
        Ok(Steering {
            interface: name.to_owned(),
            mode,
            sockets,
            verdict_counts,
            _link: link,
            _program: program,
            _groups: groups,
        })
    }

    /// The mode that was chosen: native or skb.
    pub fn mode(&self) -> XdpMode {
        self.mode
    }

    /// Gives what is owned and arrives on the queues of `driver` to `driver`.
    /// Ends by itself when the driver is closed.
    pub fn deliver_to(&mut self, driver: &XdpDriver) -> Result<(), XdpError> {
        for (queue, socket) in driver.sockets() {
            self.sockets
                .set(queue, socket, 0)
                .map_err(|error| refused(Operation::MAP, &self.interface, error))?;
        }
        Ok(())
    }

    /// What became of all frames since the program was attached.
    pub fn verdicts(&self) -> Result<Verdicts, XdpError> {
        let sum = |verdict: Verdict| {
            let counts = self.verdict_counts.get(&(verdict as u32), 0);
            counts
                .map(|by_cpu| by_cpu.iter().sum())
                .map_err(|error| refused(Operation::MAP, &self.interface, error))
        };
        Ok(Verdicts {
            taken: sum(Verdict::Taken)?,
            passed: sum(Verdict::Passed)?,
            undeliverable: sum(Verdict::Undeliverable)?,
        })
    }
}

impl fmt::Debug for Steering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Steering({} on {})", self.mode, self.interface)
    }
}

/// The object, and the name of the program in it that the kernel took.
fn load(interface: &str, vlan: Option<u16>) -> Result<(Ebpf, &'static str), XdpError> {
    let mut program = EbpfLoader::new()
        .btf(None)
        .override_global(ringmill_bpf::VLAN, &vlan.unwrap_or(0), true)
        .load(ringmill_bpf::STEER)
        .map_err(|error| refused(Operation::LOAD, interface, error))?;
    let mut load = |name| steer_of(&mut program, name).and_then(Xdp::load);
    // A kernel before 5.18 refuses the first.
    let name = match load(ringmill_bpf::PROGRAM_FRAGS) {
        Ok(()) => ringmill_bpf::PROGRAM_FRAGS,
        Err(_) => {
            load(ringmill_bpf::PROGRAM)
                .map_err(|error| refused(Operation::LOAD, interface, error))?;
            ringmill_bpf::PROGRAM
        }
    };
    Ok((program, name))
}

fn steer_of<'a>(program: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp, ProgramError> {
    let steer = program.program_mut(name);
    steer.ok_or(ProgramError::NotLoaded)?.try_into()
}

/// Takes the map of this name out of the program, which must be loaded by then:
/// loading refers to all of its maps.
fn map<M>(
    program: &mut Ebpf,
    name: &str,
    open: impl FnOnce(Map) -> Result<M, MapError>,
) -> Result<M, MapError> {
    let missing = || MapError::InvalidName {
        name: name.to_owned(),
    };
    open(program.take_map(name).ok_or_else(missing)?)
}

/// IPv6 addresses that the engine answers neighbor solicitations for.
fn own_ipv6(owned: &[Owned]) -> Vec<Ipv6Addr> {
    let own = owned.iter().filter_map(|item| match item {
        Owned::Address(IpAddr::V6(address)) => Some(*address),
        _ => None,
    });
    own.collect()
}

fn ports_by_address(owned: &[Owned]) -> Result<BTreeMap<[u8; 16], OwnedPorts>, XdpError> {
    let mut by_address = BTreeMap::new();
    for item in owned {
        let (address, range) = match *item {
            Owned::Address(address) => (address, WHOLE_ADDRESS),
            // Port 0 is no port; without it no range looks like a whole address.
            Owned::Ports {
                address,
                first,
                last,
            } => (address, [first.max(1), last]),
        };
        let ports = by_address
            .entry(map_key(address))
            .or_insert([NO_PORTS; RANGES]);
        let slot = match range {
            WHOLE_ADDRESS => Some(&mut ports[0]),
            _ => ports.iter_mut().find(|slot| **slot == NO_PORTS),
        };
        *slot.ok_or(XdpError::TooManyRanges {
            address,
            most: RANGES,
        })? = range;
    }
    Ok(by_address)
}

/// IPv4 addresses are keys in their IPv4-mapped form (RFC 4291, 2.5.5.2).
fn map_key(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

fn attach(
    program: &mut Xdp,
    interface: &Interface,
    mode: XdpMode,
) -> Result<(XdpMode, FdLink), XdpError> {
    match mode {
        XdpMode::Native | XdpMode::Skb => Ok((mode, attach_as(program, interface, mode)?)),
        XdpMode::Auto => match attach_as(program, interface, XdpMode::Native) {
            Ok(link) => Ok((XdpMode::Native, link)),
            Err(XdpError::NoNativeXdp { .. } | XdpError::MtuTooLarge { .. }) => {
                let link = attach_as(program, interface, XdpMode::Skb)?;
                Ok((XdpMode::Skb, link))
            }
            Err(reason) => Err(reason),
        },
    }
}

fn attach_as(program: &mut Xdp, interface: &Interface, mode: XdpMode) -> Result<FdLink, XdpError> {
    let flag = match mode {
        XdpMode::Skb => xdp::XdpMode::Skb,
        XdpMode::Native | XdpMode::Auto => xdp::XdpMode::Driver,
    };
    let id = match program.attach_to_if_index(interface.index, flag) {
        Ok(id) => id,
        Err(error) => return Err(attach_error(interface, error)),
    };
    // Where it can't attach by link, aya attaches for good, so that a killed
    // process leaves its program behind. Dropping that link detaches it now.
    let link = program
        .take_link(id)
        .map_err(|error| attach_error(interface, error))?;
    FdLink::try_from(link).map_err(|_| XdpError::NoBpfLink)
}

fn attach_error(interface: &Interface, error: ProgramError) -> XdpError {
    let name = interface.name.clone();
    match errno(&error) {
        // Netlink says EEXIST or EBUSY, links say EBUSY.
        Some(libc::EBUSY | libc::EEXIST) => XdpError::ProgramTaken(name),
        Some(libc::EOPNOTSUPP) => XdpError::NoNativeXdp {
            interface: name,
            driver: interface.driver.clone(),
        },
        Some(libc::ERANGE) if interface.is_veth => XdpError::MtuTooLarge {
            interface: name,
            mtu: interface.mtu,
            largest: VETH_NATIVE_MTU_MAX,
            what: "native XDP on it and its peer",
        },
        _ => refused(Operation::ATTACH, &interface.name, error),
    }
}

fn refused(
    operation: Operation,
    interface: &str,
    error: impl Error + Send + Sync + 'static,
) -> XdpError {
    let source = match errno(&error) {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::other(error),
    };
    XdpError::refused(operation, interface, source)
}

/// The first error number in the chain of reasons.
fn errno(error: &(dyn Error + 'static)) -> Option<i32> {
    let mut next = Some(error);
    while let Some(reason) = next {
        if let Some(reason) = reason.downcast_ref::<io::Error>() {
            return reason.raw_os_error();
        }
        next = reason.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 18, 0, 1));

    fn ports(first: u16, last: u16) -> Owned {
        Owned::Ports {
            address: ADDRESS,
            first,
            last,
        }
    }

    #[test]
    fn ranges_of_one_address_share_its_entry_and_port_zero_is_left_out() {
        let filled = ports_by_address(&[ports(80, 80), ports(0, u16::MAX)]).unwrap();
        let key = map_key(ADDRESS);
        assert_eq!(key[10..], [0xff, 0xff, 198, 18, 0, 1]);
        assert_eq!(filled[&key], [[80, 80], [1, u16::MAX], NO_PORTS, NO_PORTS]);
    }

    #[test]
    fn an_address_swallows_its_ranges() {
        for owned in [
            [ports(80, 80), Owned::Address(ADDRESS)],
            [Owned::Address(ADDRESS), ports(80, 80)],
        ] {
            let filled = ports_by_address(&owned).unwrap();
            assert_eq!(filled[&map_key(ADDRESS)][0], WHOLE_ADDRESS);
        }
    }

    #[test]
    fn one_range_too_many_is_refused() {
        let error = ports_by_address(&[ports(1, 2); RANGES + 1]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "198.18.0.1 has more than 4 port ranges: join some"
        );
    }
}
