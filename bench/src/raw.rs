//! The raw limit of AF_XDP: ping-pong through our driver, without TCP.
//!
//! ```text
//! core a: ping --> veth0 ======== veth0 --> pong :core b
//!              <--                      <--
//! ```
//!
//! Nothing that the engine does over this driver on this machine can be faster.

use anyhow::{Context as _, ensure};
use ringmill::netns::{self, Namespace, VethPair};
use ringmill::{Interface, Owned, Steering, XdpConfig, XdpDriver, XdpMode, affinity};
use ringmill_core::driver::{Driver as _, DriverDrops};
use ringmill_core::frame::{Batch, FramePool, HEADROOM};
use ringmill_core::time::Instant;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Both ends own it, so that a frame is bounced without a change.
const OWNED: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// Bytes of a frame: the smallest that Ethernet has, without its checksum.
const FRAME: usize = 60;

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub struct PingPong {
    /// Frames under way at a time, at most a batch.
    pub in_flight: usize,
    /// For how long.
    pub duration: Duration,
    /// Where in the kernel frames are steered.
    pub mode: XdpMode,
}

/// Round trips a second over a veth pair made for it, a core an end.
///
/// # Errors
/// When the machine can't: no root, no AF_XDP, fewer than two cores. When a
/// frame got lost, since the rate then means nothing.
pub fn run(ping_pong: PingPong) -> anyhow::Result<f64> {
    ensure!(
        (1..=Batch::CAPACITY).contains(&ping_pong.in_flight),
        "1 to {} frames can be in flight",
        Batch::CAPACITY
    );
    let [ping_core, pong_core, ..] = affinity::cores()[..] else {
        anyhow::bail!("a ping-pong needs two cores");
    };
    netns::sweep();
    let (near, far) = (Namespace::create("ping")?, Namespace::create("pong")?);
    VethPair::create((&near, "veth0"), (&far, "veth0"), 1, 1_500)?;
    let mut ping = End::open(&near, ping_pong.mode)?;
    let mut pong = End::open(&far, ping_pong.mode)?;

    let stop = AtomicBool::new(false);
    let rate = thread::scope(|scope| {
        let ponging = scope.spawn(|| {
            let is_pinned = affinity::pin_thread(pong_core);
            while !stop.load(Ordering::Relaxed) {
                pong.bounce();
            }
            is_pinned
        });
        let pinging = scope.spawn(|| {
            let is_pinned = affinity::pin_thread(ping_core);
            let rate = is_pinned.then(|| ping.serve_and_count(ping_pong));
            stop.store(true, Ordering::Relaxed);
            rate
        });
        let rate = pinging.join().ok().flatten();
        rate.filter(|_| ponging.join().unwrap_or(false))
    });
    ping.close()?;
    pong.close()?;
    rate.context("the cores can't be used")
}

/// One end of the wire.
struct End {
    driver: XdpDriver,
    pool: FramePool,
    batch: Batch,
    _steering: Steering,
}

impl End {
    fn open(namespace: &Namespace, mode: XdpMode) -> anyhow::Result<End> {
        namespace.within(|| {
            let interface = Interface::find("veth0")?;
            let owned = [Owned::Address(IpAddr::V4(OWNED))];
            let mut steering = Steering::attach(&interface, mode, None, &owned)?;
            let (driver, pool) = XdpDriver::open(&XdpConfig::new("veth0"))?;
            steering.deliver_to(&driver)?;
            Ok(End {
                driver,
                pool,
                batch: Batch::new(),
                _steering: steering,
            })
        })?
    }

    /// Sends `in_flight` frames and bounces what comes back; round trips a second.
    fn serve_and_count(&mut self, ping_pong: PingPong) -> f64 {
        for mut frame in (0..ping_pong.in_flight).filter_map(|_| self.pool.alloc()) {
            frame.set_window(HEADROOM, FRAME);
            frame.data_mut().copy_from_slice(&packet());
            self.batch.push(frame);
        }
        let start = std::time::Instant::now();
        let mut round_trips = 0_u64;
        while start.elapsed() < ping_pong.duration {
            // The clock costs as much as an empty poll: look at it now and then.
            for _ in 0..256 {
                round_trips += self.bounce();
            }
        }
        round_trips as f64 / start.elapsed().as_secs_f64()
    }

    /// Sends back what came; how many frames came.
    fn bounce(&mut self) -> u64 {
        self.driver
            .tx(Instant::ZERO, &mut self.pool, &mut self.batch);
        let unsent = self.batch.len();
        self.driver
            .rx(Instant::ZERO, &mut self.pool, &mut self.batch);
        (self.batch.len() - unsent) as u64
    }

    fn close(mut self) -> anyhow::Result<()> {
        for frame in self.batch.drain(Batch::CAPACITY) {
            self.pool.free(frame);
        }
        let drops = self.driver.drops();
        ensure!(
            drops == DriverDrops::default(),
            "frames were lost: {drops:?}"
        );
        Ok(self.driver.close(self.pool)?)
    }
}

/// TCP to the owned address, as far as steering reads it.
fn packet() -> [u8; FRAME] {
    let mut packet = [0; FRAME];
    packet[12..14].copy_from_slice(&[0x08, 0x00]);
    packet[14] = 0x45;
    packet[14 + 9] = 6;
    packet[14 + 16..14 + 20].copy_from_slice(&OWNED.octets());
    packet
}
