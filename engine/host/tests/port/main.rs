//! Ports on real veth pairs: frames, steering and refusals.
//!
//! Every test has namespaces of its own. `near` is where the port under test is,
//! `far` the other end of the wire:
//!
//! ```text
//! near: veth0 ============ veth0 :far
//! ```

// A test that can't go on ends.
#![allow(clippy::unwrap_used)]

mod frames;
mod namespaces;
mod packets;
mod refusals;
mod steering;

use ringmill::netns::{Namespace, VethPair};
use ringmill::{Interface, Owned, Steering, XdpConfig, XdpDriver, XdpMode, testing};
use ringmill_core::driver::{Driver, DriverDrops};
use ringmill_core::frame::{Batch, FramePool, HEADROOM};
use ringmill_core::time::Instant;
use std::time::Duration;

pub(crate) const NAME: &str = "veth0";

/// Two namespaces and the wire between them.
pub(crate) struct Wire {
    pub(crate) near: Namespace,
    pub(crate) far: Namespace,
}

impl Wire {
    /// A wire for the test of this name; none when the machine can't run it.
    pub(crate) fn lay(test: &str, queues: u32, mtu: u32) -> Option<Wire> {
        if !testing::machine_can_run(test) {
            return None;
        }
        let near = Namespace::create(&format!("{test}-near")).unwrap();
        let far = Namespace::create(&format!("{test}-far")).unwrap();
        VethPair::create((&near, NAME), (&far, NAME), queues, mtu).unwrap();
        Some(Wire { near, far })
    }
}

/// A driver with its pool, and the program that steers to it.
pub(crate) struct Port {
    pub(crate) driver: XdpDriver,
    pub(crate) pool: FramePool,
    pub(crate) steering: Steering,
}

impl Port {
    pub(crate) fn open(namespace: &Namespace, owned: &[Owned]) -> Port {
        Port::open_queues(namespace, owned, &[])
    }

    pub(crate) fn open_queues(namespace: &Namespace, owned: &[Owned], queues: &[u32]) -> Port {
        Port::open_as(namespace, owned, queues, XdpMode::Auto, None)
    }

    pub(crate) fn open_as(
        namespace: &Namespace,
        owned: &[Owned],
        queues: &[u32],
        mode: XdpMode,
        vlan: Option<u16>,
    ) -> Port {
        let config = XdpConfig {
            queues: queues.to_vec(),
            ..XdpConfig::new(NAME)
        };
        Port::open_with(namespace, owned, &config, mode, vlan)
    }

    pub(crate) fn open_with(
        namespace: &Namespace,
        owned: &[Owned],
        config: &XdpConfig,
        mode: XdpMode,
        vlan: Option<u16>,
    ) -> Port {
        let (driver, pool, steering) = namespace
            .within(|| {
                let interface = Interface::find(NAME).unwrap();
                let mut steering = Steering::attach(&interface, mode, vlan, owned).unwrap();
                let (driver, pool) = XdpDriver::open(config).unwrap();
                steering.deliver_to(&driver).unwrap();
                (driver, pool, steering)
            })
            .unwrap();
        Port {
            driver,
            pool,
            steering,
        }
    }

    /// Sends one packet, from where the driver need not move it.
    pub(crate) fn send(&mut self, packet: &[u8]) {
        let mut frame = self.pool.alloc().unwrap();
        frame.set_window(HEADROOM, packet.len());
        frame.data_mut().copy_from_slice(packet);
        let mut batch = Batch::new();
        batch.push(frame);
        self.driver.tx(Instant::ZERO, &mut self.pool, &mut batch);
        assert!(batch.is_empty(), "there was room to send");
    }

    /// The next `count` packets; fewer if they don't come within two seconds.
    pub(crate) fn receive(&mut self, count: usize) -> Vec<Vec<u8>> {
        let deadline = std::time::Instant::now() + Duration::from_secs(2);
        let mut packets = Vec::new();
        let mut batch = Batch::new();
        while packets.len() < count && std::time::Instant::now() < deadline {
            self.driver.rx(Instant::ZERO, &mut self.pool, &mut batch);
            for frame in batch.drain(Batch::CAPACITY) {
                packets.push(frame.data().to_vec());
                self.pool.free(frame);
            }
            std::thread::yield_now();
        }
        packets
    }

    /// Closes the port: no frame is lost or dropped, and queue and memory are free.
    pub(crate) fn close(self) {
        assert_eq!(self.driver.drops(), DriverDrops::default());
        let home = self.pool.available() + self.driver.held();
        assert_eq!(home, self.pool.total(), "a frame is missing");
        self.driver.close(self.pool).unwrap();
    }
}
