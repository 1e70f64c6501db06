//! A bad wire between two interfaces: real frames over the simulator's wire.
//!
//! ```text
//!    a's namespace         a namespace of the relay's own          b's namespace
//!   +-------------+     +----------------------------------+      +-------------+
//!   |  interface ====== left  -->  SimWire (a thread) --> right ====== interface |
//!   +-------------+     |       <--  loss, delay ...  <--  |      +-------------+
//!                       +----------------------------------+
//! ```
//!
//! The kernel's netem delays and reorders too, where there is one; here the very
//! wire of the simulator does, and counts what it loses. It carries what steering
//! takes: ARP, neighbor discovery, ICMP and TCP for the addresses of its two ends,
//! in whole packets, no VLAN. A seed draws the same faults again, but what they
//! hit depends on when frames come, which a real machine does not repeat.

use crate::clock::Clock;
use crate::error::XdpError;
use crate::interface::Interface;
use crate::netns::{Namespace, NetnsError, VethPair};
use crate::steer::{Owned, Steering, XdpMode};
use crate::xdp::{XdpConfig, XdpDriver};
use ringmill_core::driver::Driver as _;
use ringmill_core::driver::link::Link;
use ringmill_core::driver::memory::MemoryDriver;
use ringmill_core::driver::sim::SimWire;
use ringmill_core::frame::{Batch, FramePool};
use ringmill_core::time::{Duration, Instant};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

const LEFT: &str = "left";
const RIGHT: &str = "right";
const MTU: u32 = 1_500;
/// The relay sleeps this long at most when no frame moves.
const NAP: Duration = Duration::from_micros(50);

/// Why there is no relay.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// No namespace or veth.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// No port onto one of its veths.
    #[error(transparent)]
    Xdp(#[from] XdpError),
}

/// One end of a relayed wire: an interface that the relay makes.
#[derive(Clone, Copy, Debug)]
pub struct RelayEnd<'a> {
    /// Where it is.
    pub namespace: &'a Namespace,
    /// What it is called.
    pub interface: &'a str,
    /// The addresses that live at this end, the kernel's or the engine's.
    pub addresses: &'a [IpAddr],
    /// How bad the wire is for what this end sends.
    pub link: Link,
}

/// A relayed wire, until this is dropped.
#[derive(Debug)]
pub struct Relay {
    stop: Arc<AtomicBool>,
    lost: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
    /// Goes last: with it go both veths.
    _namespace: Namespace,
}

impl Relay {
    /// Lays a wire between `a` and `b`, whose faults are drawn from `seed`. The
    /// relay's namespace is called `ringmill-<process>-<name>`.
    pub fn lay(
        name: &str,
        seed: u64,
        a: &RelayEnd<'_>,
        b: &RelayEnd<'_>,
    ) -> Result<Relay, RelayError> {
        let namespace = Namespace::create(name)?;
        let open = |near: &RelayEnd<'_>, far: &RelayEnd<'_>, interface: &str| {
            let outside = (near.namespace, near.interface);
            VethPair::create(outside, (&namespace, interface), 1, MTU)?;
            Ok::<_, RelayError>(namespace.within(|| Port::open(interface, far.addresses))??)
        };
        let (left, right) = (open(a, b, LEFT)?, open(b, a, RIGHT)?);
        let wire = SimWire::new(seed, a.link, b.link);
        let stop = Arc::new(AtomicBool::new(false));
        let lost = Arc::new(AtomicU64::new(0));
        let line = Line {
            left,
            right,
            wire,
            clock: Clock::start(),
        };
        let thread = {
            let (stop, lost) = (stop.clone(), lost.clone());
            thread::spawn(move || line.carry_until(&stop, &lost))
        };
        Ok(Relay {
            stop,
            lost,
            thread: Some(thread),
            _namespace: namespace,
        })
    }

    /// Frames that the wire has lost, in both directions.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A panic of the thread was printed when it happened.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A port onto one veth, and the simulated wire's end behind it.
struct Port {
    driver: XdpDriver,
    pool: FramePool,
    steering: Steering,
    end: MemoryDriver,
    received: Batch,
    /// What found no room to leave comes first the next time.
    leaving: Batch,
}

impl Port {
    /// Opens `interface` for all that goes to `addresses`, which are beyond.
    fn open(interface: &str, addresses: &[IpAddr]) -> Result<Port, XdpError> {
        let owned: Vec<Owned> = addresses.iter().copied().map(Owned::Address).collect();
        let interface = Interface::find_up(interface)?;
        let mut steering = Steering::attach(&interface, XdpMode::Auto, None, &owned)?;
        let (driver, pool) = XdpDriver::open(&XdpConfig::new(&interface.name))?;
        steering.deliver_to(&driver)?;
        Ok(Port {
            driver,
            pool,
            steering,
            end: MemoryDriver::new(),
            received: Batch::new(),
            leaving: Batch::new(),
        })
    }

    /// From the veth to the wire; whether there was anything.
    fn take_in(&mut self, now: Instant) -> bool {
        self.driver.rx(now, &mut self.pool, &mut self.received);
        let moved = !self.received.is_empty();
        self.end.tx(now, &mut self.pool, &mut self.received);
        moved
    }

    /// From the wire to the veth; whether there was anything.
    fn put_out(&mut self, now: Instant) -> bool {
        self.end.rx(now, &mut self.pool, &mut self.leaving);
        let moved = !self.leaving.is_empty();
        self.driver.tx(now, &mut self.pool, &mut self.leaving);
        moved
    }

    /// All frames that the wire had of this port are home, or the memory of the
    /// port stays mapped, which is all that there is to do about it.
    fn close(mut self) {
        drop(self.steering);
        let nothing = &mut Batch::new();
        self.end.tx(Instant::ZERO, &mut self.pool, nothing);
        let _ = self.driver.close(self.pool);
    }
}

/// Both ports and the wire between them, on the relay's thread.
struct Line {
    left: Port,
    right: Port,
    wire: SimWire,
    clock: Clock,
}

impl Line {
    fn carry_until(mut self, stop: &AtomicBool, lost: &AtomicU64) {
        while !stop.load(Ordering::Relaxed) {
            let now = self.clock.now();
            if !self.carry(now) {
                let next = self.wire.next_arrival().unwrap_or(Instant::FAR_FUTURE);
                thread::sleep(next.since(self.clock.now()).min(NAP));
            }
            lost.store(self.wire.lost(), Ordering::Relaxed);
        }
        self.carry(self.clock.now());
        self.left.close();
        self.right.close();
    }

    /// One round; whether anything moved.
    fn carry(&mut self, now: Instant) -> bool {
        let Line {
            left, right, wire, ..
        } = self;
        let came = [left.take_in(now), right.take_in(now)];
        wire.carry(now, &mut left.end, &mut right.end);
        let left_for = [left.put_out(now), right.put_out(now)];
        came.contains(&true) || left_for.contains(&true)
    }
}
