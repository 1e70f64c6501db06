//! Both hosts, and the wire between them.

use crate::engine::Engine;
use crate::kernel::Kernel;
use ringmill::netns::Namespace;
use ringmill::relay::{Relay, RelayEnd};
use ringmill::testing;
use ringmill_core::driver::link::Link;
use ringmill_core::stack::InterfaceAddress;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

const INTERFACE: &str = "veth0";
const ENGINE: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
];
const KERNEL: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(198, 18, 0, 2)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2)),
];

/// A wire that only takes time.
pub(crate) fn clean() -> Link {
    Link {
        delay: Duration::from_millis(1),
        ..Link::default()
    }
}

/// A wire that loses, repeats, reorders, and takes its time, never the same.
pub(crate) fn bad() -> Link {
    Link {
        loss: 30_000,
        duplication: 10_000,
        reordering: 20_000,
        reordering_delay: Duration::from_millis(8),
        delay: Duration::from_millis(10),
        jitter: Duration::from_millis(5),
        ..Link::default()
    }
}

/// A wire to the other side of the world.
pub(crate) fn far() -> Link {
    Link {
        delay: Duration::from_millis(150),
        ..Link::default()
    }
}

/// The namespaces of a lab.
pub(crate) struct Lab {
    engine: Namespace,
    kernel: Namespace,
    relay: Relay,
    seed: u64,
}

impl Lab {
    /// A lab for the test of this name, with such a wire in both directions; none
    /// when the machine can't run it. `RINGMILL_SEED` replays the faults of a seed.
    pub(crate) fn open(test: &str, link: Link) -> Option<Lab> {
        if !testing::machine_can_run(test) {
            return None;
        }
        let seed = std::env::var("RINGMILL_SEED").ok();
        let seed = seed.and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
        println!("{test}: RINGMILL_SEED={seed}");
        let engine = Namespace::create(&format!("{test}-engine")).unwrap();
        let kernel = Namespace::create(&format!("{test}-kernel")).unwrap();
        let end = |namespace, addresses| RelayEnd {
            namespace,
            interface: INTERFACE,
            addresses,
            link,
        };
        let ends = (end(&engine, &ENGINE), end(&kernel, &KERNEL));
        let relay = Relay::lay(&format!("{test}-relay"), seed, &ends.0, &ends.1).unwrap();
        kernel.add_address(INTERFACE, KERNEL[0], 24).unwrap();
        kernel.add_address(INTERFACE, KERNEL[1], 64).unwrap();
        // Its frames then carry whole checksums, and the engine checks them.
        let ethtool = ["-K", INTERFACE, "tx", "off"];
        let status = kernel.command("ethtool").args(ethtool).status().unwrap();
        assert!(status.success(), "ethtool");
        // A repeated last ACK finds no connection any more and is answered by a RST.
        // That must not end TIME-WAIT (RFC 1337); the engine has it so anyway.
        let rfc_1337 = || fs::write("/proc/sys/net/ipv4/tcp_rfc1337", "1");
        kernel.within(rfc_1337).unwrap().unwrap();
        // Fast Open as client and as server.
        let fast_open = || fs::write("/proc/sys/net/ipv4/tcp_fastopen", "3");
        kernel.within(fast_open).unwrap().unwrap();
        Some(Lab {
            engine,
            kernel,
            relay,
            seed,
        })
    }

    /// The engine, started, and the kernel.
    pub(crate) fn hosts(&self) -> (Engine, Kernel<'_>) {
        let addresses = [(ENGINE[0], 24), (ENGINE[1], 64)];
        let addresses = addresses.map(|(ip, prefix_len)| InterfaceAddress { ip, prefix_len });
        let engine = Engine::start(&self.engine, INTERFACE, &addresses, self.seed);
        (engine, Kernel::listen(&self.kernel, &KERNEL))
    }

    /// Frames that the wire has lost.
    pub(crate) fn lost(&self) -> u64 {
        self.relay.lost()
    }
}
