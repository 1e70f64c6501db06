//! Why a port onto an interface can't be opened, each with its remedy.

use std::io;

/// What kind of reason it is. Programs act on this; people read the message.
/// All kinds mean that the machine, as it is, can't do what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Category {
    /// What was named is not there, or not up.
    Missing,
    /// The process may not do it.
    Privilege,
    /// Another program has it.
    Busy,
    /// The kernel or the device can't do it.
    Unsupported,
    /// A limit is in the way: memory, MTU, table sizes.
    Limit,
    /// The kernel refused for a reason that is not known here.
    Unexpected,
}

/// Why an interface can't be used.
#[derive(Debug, thiserror::Error)]
pub enum XdpError {
    /// No interface of this name in the thread's network namespace.
    #[error("no interface {0} in this network namespace: `ip link` lists what there is")]
    UnknownInterface(String),
    /// The interface is administratively down.
    #[error("interface {0} is down: `ip link set {0} up`")]
    InterfaceDown(String),
    /// The interface has no such receive queue.
    #[error(
        "interface {interface} has no receive queue {queue}, only {count}: `ethtool -L` changes it"
    )]
    NoSuchQueue {
        /// The interface.
        interface: String,
        /// The queue that was asked for.
        queue: u32,
        /// How many there are, from 0.
        count: u32,
    },
    /// A capability is missing.
    #[error("{operation} needs {capability}: run as root, or give the program that capability")]
    Privilege {
        /// What was refused.
        operation: &'static str,
        /// The name of the capability.
        capability: &'static str,
    },
    /// Another AF_XDP socket is bound to the queue.
    #[error(
        "queue {queue} of {interface} is taken by another program (EBUSY): end that one, or use another queue"
    )]
    QueueTaken {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
    },
    /// Another XDP program is attached.
    #[error(
        "{0} has an XDP program of another owner (EBUSY): `ip link set {0} xdp off` detaches it"
    )]
    ProgramTaken(String),
    /// Frames of this MTU do not fit.
    #[error(
        "MTU {mtu} of {interface} is too large for {what}, which works up to {largest}: `ip link set {interface} mtu {largest}`"
    )]
    MtuTooLarge {
        /// The interface.
        interface: String,
        /// Its MTU.
        mtu: u32,
        /// The largest MTU that works.
        largest: u32,
        /// What it is too large for.
        what: &'static str,
    },
    /// VLAN tags are gone before a program sees the frame.
    #[error(
        "{0} takes VLAN tags out of frames before they can be steered: `ethtool -K {0} rxvlan off`"
    )]
    VlanTagsTaken(String),
    /// The device has no native XDP.
    #[error("{interface} (driver {driver}) has no native XDP: use skb mode")]
    NoNativeXdp {
        /// The interface.
        interface: String,
        /// The driver's name.
        driver: String,
    },
    /// The kernel was built without AF_XDP, or is too old.
    #[error("this kernel has no AF_XDP sockets: use Linux 5.10 or later with CONFIG_XDP_SOCKETS")]
    NoAfXdp,
    /// The kernel can't attach XDP by link, so nothing would undo it at our death.
    #[error("this kernel can't attach XDP by link: use Linux 5.10 or later")]
    NoBpfLink,
    /// The UMEM is larger than the memory that may be locked.
    #[error(
        "the limit of locked memory is below {kib} KiB: `ulimit -l unlimited`, or fewer frames"
    )]
    LockedMemory {
        /// Size of the UMEM.
        kib: u64,
    },
    /// More port ranges of one address than the program's map holds.
    #[error("{address} has more than {most} port ranges: join some")]
    TooManyRanges {
        /// The address.
        address: std::net::IpAddr,
        /// How many it may have.
        most: usize,
    },
    /// A parameter is not one that AF_XDP has.
    #[error("{0}")]
    Invalid(String),
    /// The kernel refused for another reason.
    #[error("{operation} failed on {interface}: {source}")]
    Kernel {
        /// What was refused.
        operation: &'static str,
        /// The interface.
        interface: String,
        /// What the kernel said.
        source: io::Error,
    },
}

impl XdpError {
    /// The kind of reason.
    pub fn category(&self) -> Category {
        match self {
            XdpError::UnknownInterface(_)
            | XdpError::InterfaceDown(_)
            | XdpError::NoSuchQueue { .. } => Category::Missing,
            XdpError::Privilege { .. } => Category::Privilege,
            XdpError::QueueTaken { .. } | XdpError::ProgramTaken(_) => Category::Busy,
            XdpError::VlanTagsTaken(_)
            | XdpError::NoNativeXdp { .. }
            | XdpError::NoAfXdp
            | XdpError::NoBpfLink => Category::Unsupported,
            XdpError::MtuTooLarge { .. }
            | XdpError::LockedMemory { .. }
            | XdpError::TooManyRanges { .. }
            | XdpError::Invalid(_) => Category::Limit,
            XdpError::Kernel { .. } => Category::Unexpected,
        }
    }

    /// The refusal of `operation` on `interface`. When the kernel says EPERM, the
    /// first of the capabilities that it needs and the thread lacks is named.
    pub(crate) fn refused(operation: Operation, interface: &str, source: io::Error) -> XdpError {
        if matches!(source.raw_os_error(), Some(libc::EPERM | libc::EACCES)) {
            let held = effective_capabilities();
            let lacking = operation
                .capabilities
                .iter()
                .find(|(number, _)| held >> number & 1 == 0);
            if let Some((_, capability)) = lacking {
                return XdpError::Privilege {
                    operation: operation.name,
                    capability,
                };
            }
        }
        XdpError::Kernel {
            operation: operation.name,
            interface: interface.to_owned(),
            source,
        }
    }
}

/// What is asked of the kernel, with the capabilities (number in
/// linux/capability.h, name) that it takes.
#[derive(Clone, Copy)]
pub(crate) struct Operation {
    name: &'static str,
    capabilities: &'static [(u32, &'static str)],
}

impl Operation {
    pub(crate) const LOOK_UP: Operation = Operation {
        name: "looking up the interface",
        capabilities: &[],
    };
    pub(crate) const JOIN: Operation = Operation {
        name: "joining the multicast groups of neighbor discovery",
        capabilities: &[],
    };
    pub(crate) const SOCKET: Operation = Operation {
        name: "opening an AF_XDP socket",
        capabilities: &[(13, "CAP_NET_RAW"), (12, "CAP_NET_ADMIN")],
    };
    pub(crate) const BUSY_POLL: Operation = Operation {
        name: "turning on busy polling (Linux 5.11)",
        capabilities: &[(12, "CAP_NET_ADMIN")],
    };
    pub(crate) const LOAD: Operation = Operation {
        name: "loading the XDP program",
        capabilities: &[(39, "CAP_BPF"), (12, "CAP_NET_ADMIN")],
    };
    pub(crate) const ATTACH: Operation = Operation {
        name: "attaching the XDP program",
        capabilities: &[(12, "CAP_NET_ADMIN")],
    };
    pub(crate) const MAP: Operation = Operation {
        name: "filling the maps of the XDP program",
        capabilities: &[(39, "CAP_BPF")],
    };
}

/// The calling thread's effective capabilities as a bit set; none when /proc
/// can't be read, since then nothing can be told.
fn effective_capabilities() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let field = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    field.map_or(0, |hex| u64::from_str_radix(hex.trim(), 16).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_that_no_capability_would_lift_says_what_the_kernel_said() {
        let refusal = io::Error::from_raw_os_error(libc::EPERM);
        let error = XdpError::refused(Operation::LOOK_UP, "veth0", refusal);
        assert_eq!(error.category(), Category::Unexpected);
        assert!(error.to_string().contains("not permitted"), "{error}");
    }

    #[test]
    fn messages_are_one_line() {
        let error = XdpError::MtuTooLarge {
            interface: "veth0".to_owned(),
            mtu: 9_000,
            largest: 3_506,
            what: "native XDP",
        };
        assert_eq!(
            error.to_string(),
            "MTU 9000 of veth0 is too large for native XDP, which works up to 3506: \
             `ip link set veth0 mtu 3506`"
        );
        assert_eq!(error.category(), Category::Limit);
    }
}
