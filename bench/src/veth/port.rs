//! Ports of the engine at the ends of a veth pair.

use ringmill::netns::{Namespace, VethPair};
use ringmill::{Interface, Owned, Steering, XdpConfig, XdpDriver, XdpMode};
use ringmill_core::frame::FramePool;
use ringmill_core::stack::Config;
use ringmill_core::wire::ChecksumPolicy;
use ringmill_core::wire::ethernet::MacAddress;
use std::net::{IpAddr, Ipv4Addr};

pub use crate::memory::{CLIENT, SERVER};

/// What both ends of a wire are called.
const INTERFACE: &str = "veth0";

/// Two namespaces, and a veth pair between them.
#[derive(Debug)]
pub struct Net {
    /// Where the client is.
    pub near: Namespace,
    /// Where the server is.
    pub far: Namespace,
}

impl Net {
    /// A wire of MTU 1,500 with one queue.
    ///
    /// # Errors
    /// Without root or iproute2.
    pub fn create() -> anyhow::Result<Net> {
        let (near, far) = (Namespace::create("client")?, Namespace::create("server")?);
        VethPair::create((&near, INTERFACE), (&far, INTERFACE), 1, 1_500)?;
        Ok(Net { near, far })
    }

    /// The engine at the client's end.
    ///
    /// # Errors
    /// When the kernel has no AF_XDP.
    pub fn client(&self) -> anyhow::Result<Port> {
        Port::open(&self.near, CLIENT)
    }

    /// The engine at the server's end.
    ///
    /// # Errors
    /// When the kernel has no AF_XDP.
    pub fn server(&self) -> anyhow::Result<Port> {
        Port::open(&self.far, SERVER)
    }

    /// Gives the kernel the address of an end.
    ///
    /// # Errors
    /// When iproute2 refuses.
    pub fn give_kernel(&self, namespace: &Namespace, address: Ipv4Addr) -> anyhow::Result<()> {
        Ok(namespace.add_address(INTERFACE, address.into(), 24)?)
    }
}

/// An open port that no engine runs on yet.
pub struct Port {
    /// The stack's configuration, to be changed.
    pub config: Config,
    pub(super) driver: XdpDriver,
    pub(super) pool: FramePool,
    pub(super) steering: Steering,
}

impl Port {
    pub(super) fn open(namespace: &Namespace, address: Ipv4Addr) -> anyhow::Result<Port> {
        Port::open_as(namespace, address, XdpMode::Auto, false)
    }

    pub(super) fn open_as(
        namespace: &Namespace,
        address: Ipv4Addr,
        mode: XdpMode,
        busy_poll: bool,
    ) -> anyhow::Result<Port> {
        namespace.within(|| {
            let interface = Interface::find(INTERFACE)?;
            let owned = [Owned::Address(IpAddr::V4(address))];
            let mut steering = Steering::attach(&interface, mode, None, &owned)?;
            let (driver, pool) = XdpDriver::open(&XdpConfig {
                busy_poll,
                ..XdpConfig::new(INTERFACE)
            })?;
            steering.deliver_to(&driver)?;
            let mut config = Config::new(MacAddress(interface.mac), address, 24);
            // A kernel at the other end of a veth leaves checksums to a device.
            config.checksum = ChecksumPolicy::AcceptPartial;
            config.seed = u64::from(u32::from(address));
            Ok(Port {
                config,
                driver,
                pool,
                steering,
            })
        })?
    }

    /// The Ethernet address.
    pub fn mac(&self) -> MacAddress {
        self.config.mac
    }
}
