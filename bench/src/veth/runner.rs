//! Engines on ports, each stepped by a thread of its own on a core of its own.

use super::port::Port;
use crate::flood::Flood;
use anyhow::{Context as _, ensure};
use ringmill::clock::Clock;
use ringmill::pace::Pace;
use ringmill::{Steering, XdpDriver, affinity};
use ringmill_core::app::App;
use ringmill_core::driver::Driver;
use ringmill_core::frame::FramePool;
use ringmill_core::shard::Shard;
use ringmill_core::sockets::Sockets;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// A driver over AF_XDP, with or without something around it.
pub trait OverXdp: Driver {
    /// The AF_XDP driver itself.
    fn into_xdp(self, pool: &mut FramePool) -> XdpDriver;
}

impl OverXdp for XdpDriver {
    fn into_xdp(self, _: &mut FramePool) -> XdpDriver {
        self
    }
}

impl OverXdp for Flood<XdpDriver> {
    fn into_xdp(self, pool: &mut FramePool) -> XdpDriver {
        self.into_inner(pool)
    }
}

/// A shard, its port and its thread's pace.
pub struct Runner<D, A> {
    /// The shard.
    pub shard: Shard<D, A>,
    clock: Clock,
    pace: Pace,
    steering: Steering,
}

/// The cores of the client and of the server.
///
/// # Errors
/// When this process has fewer than two.
pub fn cores() -> anyhow::Result<[usize; 2]> {
    let cores = affinity::cores();
    let two = cores.first_chunk::<2>();
    two.copied().context("two cores are needed")
}

impl<D: OverXdp, A: App> Runner<D, A> {
    fn start(
        port: Port,
        wrap: impl FnOnce(XdpDriver) -> D,
        app: A,
        core: usize,
    ) -> anyhow::Result<Runner<D, A>> {
        ensure!(affinity::pin_thread(core), "core {core} can't be used");
        let clock = Clock::start();
        let driver = wrap(port.driver);
        Ok(Runner {
            shard: Shard::new(port.config, clock.now(), driver, port.pool, app),
            clock,
            pace: Pace::new(clock),
            steering: port.steering,
        })
    }

    /// Steps for so long; seconds that it took.
    pub fn run_for(&mut self, length: Duration) -> f64 {
        let start = self.clock.now();
        while self.clock.now().since(start) < length {
            self.pace.step(&mut self.shard);
        }
        self.clock.now().since(start).as_secs_f64()
    }

    /// Calls the application.
    pub fn with_app<T>(&mut self, call: impl FnOnce(&mut A, &mut Sockets) -> T) -> T {
        self.shard.with_app(self.clock.now(), call)
    }

    /// Resets what is open, lets that leave, and gives the port back.
    fn close(mut self) -> anyhow::Result<()> {
        self.with_app(|_, sockets| {
            sockets.close_all_listeners();
            sockets.abort_all();
        });
        let mut left = 1_000;
        while self.shard.has_work() || left > 0 {
            self.shard.step(self.clock.now());
            left -= i32::from(left > 0);
        }
        let missing = self.shard.frames_missing();
        ensure!(missing == 0, "{missing} frames are missing");
        let (driver, mut pool, _) = self.shard.into_parts();
        drop(self.steering);
        Ok(driver.into_xdp(&mut pool).close(pool)?)
    }
}

/// A client on a thread of its own: what `measure` makes of it.
///
/// # Errors
/// When `measure` fails, or something is missing at the end.
pub fn client<D: OverXdp, A: App + Send, T: Send>(
    port: Port,
    wrap: impl FnOnce(XdpDriver) -> D + Send,
    app: A,
    measure: impl FnOnce(&mut Runner<D, A>) -> anyhow::Result<T> + Send,
) -> anyhow::Result<T> {
    let core = cores()?[0];
    let on_thread = || {
        let mut runner = Runner::start(port, wrap, app, core)?;
        let told = measure(&mut runner)?;
        runner.close()?;
        Ok(told)
    };
    let joined = thread::scope(|scope| scope.spawn(on_thread).join());
    joined.ok().context("the client's thread panicked")?
}

/// Serves on a thread of its own while `work` goes on: what that tells.
///
/// # Errors
/// When `work` or the server fails, or something is missing at the end.
pub fn serving<A: App + Send, T>(
    port: Port,
    app: A,
    start: impl FnOnce(&mut A, &mut Sockets) -> anyhow::Result<()> + Send,
    work: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let core = cores()?[1];
    let stop = AtomicBool::new(false);
    let serve = || {
        let mut runner = Runner::start(port, |driver| driver, app, core)?;
        runner.with_app(start)?;
        while !stop.load(Ordering::Relaxed) {
            runner.pace.step(&mut runner.shard);
        }
        runner.close()
    };
    thread::scope(|scope| {
        let server = scope.spawn(serve);
        let told = work();
        stop.store(true, Ordering::Relaxed);
        let served = server.join().ok().context("the server's thread panicked")?;
        let told = told?;
        served.map(|()| told)
    })
}
