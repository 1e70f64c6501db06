//! The raw limits of AF_XDP: frames through our driver, without TCP.
//!
//! ```text
//! core a: ping --> veth0 ======== veth0 --> pong :core b
//!              <--                      <--
//! ```
//!
//! Nothing that the engine does over this driver on this machine can be faster.

use super::port::{Net, Port, SERVER};
use super::{cpu, runner};
use crate::figures::{Samples, Series};
use crate::reach::Effort;
use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;
use ringmill::{Steering, XdpDriver, XdpMode, affinity};
use ringmill_core::driver::{Driver as _, DriverDrops};
use ringmill_core::frame::{Batch, FramePool, HEADROOM};
use ringmill_core::time::Instant;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// Round trips with a batch in flight.
pub const LIMIT: Series = Series::new("raw AF_XDP ping-pong, 64 in flight", "round trips/s");
/// The median round trip with one in flight.
pub const ONE: Series = Series::new("raw AF_XDP ping-pong, 1 in flight, p50", "us");
/// Full frames one way.
pub const FRAMES: Series = Series::new("raw AF_XDP, 1,514 bytes, one way", "frames/s");

/// Bytes of a frame: the smallest that Ethernet has, without its checksum.
const SMALL: usize = 60;
/// Bytes of the largest, of MTU 1,500.
const LARGE: usize = 1_514;
/// Frames that may be under way one way: no ring runs over.
const UNDER_WAY: u64 = 512;

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub struct PingPong {
    /// Frames under way at a time, at most a batch.
    pub in_flight: usize,
    /// For how long.
    pub duration: Duration,
    /// How frames pass the kernel.
    pub way: Way,
}

/// How frames pass the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// Where they are steered.
    pub mode: XdpMode,
    /// Who looks for frames does the device's receive work.
    pub busy_poll: bool,
}

impl Way {
    const NATIVE: Way = Way {
        mode: XdpMode::Native,
        busy_poll: false,
    };
}

/// What a ping-pong tells.
#[derive(Clone, Copy, Debug)]
pub struct RoundTrips {
    /// How many a second.
    pub rate: f64,
    /// The median time between two arrivals, in microseconds: with one in flight
    /// that of a round trip.
    pub p50_us: f64,
}

pub(super) fn limits(effort: &Effort, samples: &mut Samples) -> anyhow::Result<()> {
    let run = |in_flight| {
        ping_pong(PingPong {
            in_flight,
            duration: effort.veth_length,
            way: Way::NATIVE,
        })
    };
    samples.add(LIMIT, run(Batch::CAPACITY)?.rate);
    samples.add(ONE, run(1)?.p50_us);
    Ok(())
}

/// A ping-pong over a veth pair made for it, a core an end.
///
/// # Errors
/// When the machine can't: no root, no AF_XDP, fewer than two cores. When a
/// frame got lost, since the rate then means nothing.
pub fn ping_pong(ping_pong: PingPong) -> anyhow::Result<RoundTrips> {
    ensure!(
        (1..=Batch::CAPACITY).contains(&ping_pong.in_flight),
        "1 to {} frames can be in flight",
        Batch::CAPACITY
    );
    let stop = AtomicBool::new(false);
    let pong = |end: &mut End| {
        while !stop.load(Ordering::Relaxed) {
            end.bounce();
        }
    };
    let ping = |end: &mut End| {
        let told = end.serve_and_time(ping_pong);
        stop.store(true, Ordering::Relaxed);
        told
    };
    between(ping_pong.way, ping, pong)
}

pub(super) fn one_way(effort: &Effort, samples: &mut Samples) -> anyhow::Result<()> {
    let (stop, received) = (AtomicBool::new(false), AtomicU64::new(0));
    let receive = |end: &mut End| {
        while !stop.load(Ordering::Relaxed) {
            received.fetch_add(end.swallow(), Ordering::Relaxed);
        }
    };
    let send = |end: &mut End| {
        let start = std::time::Instant::now();
        let mut sent = 0;
        while start.elapsed() < effort.veth_length {
            // Batches that are full: a call into the kernel costs as much as many frames.
            if sent - received.load(Ordering::Relaxed) <= UNDER_WAY - Batch::CAPACITY as u64 {
                sent += end.send();
            }
        }
        let rate = received.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64();
        while received.load(Ordering::Relaxed) < sent && start.elapsed() < 2 * effort.veth_length {
            end.transmit();
        }
        stop.store(true, Ordering::Relaxed);
        rate
    };
    samples.add(FRAMES, between(Way::NATIVE, send, receive)?);
    Ok(())
}

/// A ping-pong of which one core does both ends: nanoseconds of it for a round trip.
/// Nobody waits, so this moves least where others use the machine too.
///
/// # Errors
/// As for [`ping_pong`].
pub fn on_one_core(ping_pong: PingPong) -> anyhow::Result<f64> {
    let [core, _] = runner::cores()?;
    let on_thread = || {
        ensure!(affinity::pin_thread(core), "core {core} can't be used");
        let net = Net::create()?;
        let [mut here, mut there] = ends(&net, ping_pong.way)?;
        here.fill(ping_pong.in_flight, SMALL);
        let (start, before) = (std::time::Instant::now(), cpu::of_thread()?);
        let mut round_trips = 0_u64;
        while start.elapsed() < ping_pong.duration {
            for _ in 0..256 {
                there.bounce();
                round_trips += here.bounce();
            }
        }
        let seconds = cpu::of_thread()? - before;
        here.close()?;
        there.close()?;
        Ok(seconds * 1e9 / round_trips as f64)
    };
    let joined = thread::scope(|scope| scope.spawn(on_thread).join());
    joined.ok().context("the thread panicked")?
}

/// Both ends of a wire. They own the same address, so that a frame is bounced without
/// a change.
fn ends(net: &Net, way: Way) -> anyhow::Result<[End; 2]> {
    let end = |namespace| Port::open_as(namespace, SERVER, way.mode, way.busy_poll).map(End::new);
    Ok([end(&net.near)?, end(&net.far)?])
}

/// Both ends of a wire, a thread and a core each: what the first one tells.
fn between<T: Send>(
    way: Way,
    near: impl FnOnce(&mut End) -> T + Send,
    far: impl FnOnce(&mut End) + Send,
) -> anyhow::Result<T> {
    let [near_core, far_core] = runner::cores()?;
    let net = Net::create()?;
    let [mut here, mut there] = ends(&net, way)?;
    let told = thread::scope(|scope| {
        let far = scope.spawn(|| {
            let is_pinned = affinity::pin_thread(far_core);
            far(&mut there);
            is_pinned
        });
        let near = scope.spawn(|| {
            let is_pinned = affinity::pin_thread(near_core);
            Some(near(&mut here)).filter(|_| is_pinned)
        });
        let told = near.join().ok().flatten();
        told.filter(|_| far.join().unwrap_or(false))
    });
    here.close()?;
    there.close()?;
    told.context("the cores can't be used")
}

/// One end of the wire.
struct End {
    driver: XdpDriver,
    pool: FramePool,
    batch: Batch,
    _steering: Steering,
}

impl End {
    fn new(port: Port) -> End {
        End {
            driver: port.driver,
            pool: port.pool,
            batch: Batch::new(),
            _steering: port.steering,
        }
    }

    /// Sends `in_flight` frames and bounces what comes back.
    fn serve_and_time(&mut self, ping_pong: PingPong) -> RoundTrips {
        self.fill(ping_pong.in_flight, SMALL);
        let start = std::time::Instant::now();
        let mut arrived = start;
        let mut round_trips = 0_u64;
        let bounds = Histogram::<u64>::new_with_bounds(1, 1_000_000_000, 3);
        let mut times = bounds.expect("from a nanosecond to a second");
        while start.elapsed() < ping_pong.duration {
            // The clock costs as much as an empty poll: look at it now and then, and
            // when something came.
            for _ in 0..256 {
                let count = self.bounce();
                if count > 0 {
                    let now = std::time::Instant::now();
                    let nanos = now.duration_since(arrived).as_nanos();
                    times.saturating_record(u64::try_from(nanos).unwrap_or(u64::MAX));
                    arrived = now;
                }
                round_trips += count;
            }
        }
        RoundTrips {
            rate: round_trips as f64 / start.elapsed().as_secs_f64(),
            p50_us: times.value_at_quantile(0.5) as f64 / 1e3,
        }
    }

    /// Puts up to `count` frames into the batch, as far as there is room.
    fn fill(&mut self, count: usize, len: usize) {
        for _ in 0..count.min(self.batch.room()) {
            let Some(mut frame) = self.pool.alloc() else {
                return;
            };
            frame.set_window(HEADROOM, len);
            frame.data_mut()[..HEADER].copy_from_slice(&header());
            self.batch.push(frame);
        }
    }

    /// Sends back what came; how many frames came.
    fn bounce(&mut self) -> u64 {
        self.transmit();
        let unsent = self.batch.len();
        self.driver
            .rx(Instant::ZERO, &mut self.pool, &mut self.batch);
        (self.batch.len() - unsent) as u64
    }

    /// Sends a batch of large frames; how many left.
    fn send(&mut self) -> u64 {
        self.fill(Batch::CAPACITY, LARGE);
        let before = self.batch.len();
        self.transmit();
        (before - self.batch.len()) as u64
    }

    /// Takes what came; how many frames.
    fn swallow(&mut self) -> u64 {
        self.driver
            .rx(Instant::ZERO, &mut self.pool, &mut self.batch);
        let count = self.batch.len() as u64;
        self.empty();
        count
    }

    fn transmit(&mut self) {
        self.driver
            .tx(Instant::ZERO, &mut self.pool, &mut self.batch);
    }

    fn empty(&mut self) {
        for frame in self.batch.drain(Batch::CAPACITY) {
            self.pool.free(frame);
        }
    }

    fn close(mut self) -> anyhow::Result<()> {
        self.empty();
        let drops = self.driver.drops();
        ensure!(
            drops == DriverDrops::default(),
            "frames were lost: {drops:?}"
        );
        Ok(self.driver.close(self.pool)?)
    }
}

/// Bytes of Ethernet and IPv4 headers.
const HEADER: usize = 34;

/// TCP to the owned address, as far as steering reads it.
fn header() -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[12..14].copy_from_slice(&[0x08, 0x00]);
    header[14] = 0x45;
    header[14 + 9] = 6;
    header[14 + 16..14 + 20].copy_from_slice(&SERVER.octets());
    header
}
