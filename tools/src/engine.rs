//! The loop around `Shard::step`: until time is up or someone asks to stop, then
//! in good order to the end.

use crate::iperf3::Iperf3;
use ringmill::clock::Clock;
use ringmill::pace::Pace;
use ringmill_core::app::App;
use ringmill_core::app::echo::Echo;
use ringmill_core::app::http::{Http, HttpStats};
use ringmill_core::app::load::{Load, LoadStats};
use ringmill_core::driver::{Driver, DriverDrops};
use ringmill_core::shard::Shard;
use ringmill_core::sockets::Sockets;
use ringmill_core::stats::Stats;
use ringmill_core::tcp::Gauges;
use ringmill_core::time::{Duration, Instant};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Requests to stop: the first drains, the second aborts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Control(Arc<AtomicUsize>);

impl Control {
    /// Counts interrupts (Ctrl-C, SIGTERM) from now on.
    pub(crate) fn on_signals(&self) -> anyhow::Result<()> {
        use signal_hook::consts::{SIGINT, SIGTERM};
        let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
        let control = self.clone();
        std::thread::spawn(move || signals.forever().for_each(|_| control.stop()));
        Ok(())
    }

    pub(crate) fn stop(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stops(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// An application that a run can end.
pub(crate) trait Workload: App {
    /// Starts nothing new.
    fn drain(&mut self, sockets: &mut Sockets);
    /// Nothing of its own is under way.
    fn is_drained(&self) -> bool;
    /// Gives up what is under way.
    fn abort(&mut self, sockets: &mut Sockets);
    fn figures(&self) -> Figures;
}

/// What an application counted.
#[derive(Clone, Debug)]
pub(crate) enum Figures {
    Load(Box<LoadStats>),
    Http(HttpStats),
    Echo,
    Iperf3,
}

impl Workload for Load {
    fn drain(&mut self, sockets: &mut Sockets) {
        Load::drain(self, sockets);
    }
    fn is_drained(&self) -> bool {
        Load::is_drained(self)
    }
    fn abort(&mut self, sockets: &mut Sockets) {
        Load::abort(self, sockets);
    }
    fn figures(&self) -> Figures {
        Figures::Load(Box::new(self.stats().clone()))
    }
}

impl Workload for Http {
    fn drain(&mut self, sockets: &mut Sockets) {
        sockets.close_all_listeners();
    }
    fn is_drained(&self) -> bool {
        true
    }
    fn abort(&mut self, sockets: &mut Sockets) {
        sockets.abort_all();
    }
    fn figures(&self) -> Figures {
        Figures::Http(self.stats())
    }
}

impl Workload for Echo {
    fn drain(&mut self, sockets: &mut Sockets) {
        sockets.close_all_listeners();
    }
    fn is_drained(&self) -> bool {
        true
    }
    fn abort(&mut self, sockets: &mut Sockets) {
        sockets.abort_all();
    }
    fn figures(&self) -> Figures {
        Figures::Echo
    }
}

impl Workload for Iperf3 {
    fn drain(&mut self, sockets: &mut Sockets) {
        sockets.close_all_listeners();
    }
    fn is_drained(&self) -> bool {
        true
    }
    fn abort(&mut self, sockets: &mut Sockets) {
        sockets.abort_all();
    }
    fn figures(&self) -> Figures {
        Figures::Iperf3
    }
}

/// Everything that a shard has to tell, at one instant.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) at: Instant,
    pub(crate) stats: Stats,
    pub(crate) drops: DriverDrops,
    pub(crate) gauges: Gauges,
    pub(crate) figures: Figures,
    /// Time spent in steps that moved something.
    pub(crate) busy: Duration,
    pub(crate) frames_missing: usize,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) last: Snapshot,
    /// When no more was started.
    pub(crate) drained_at: Instant,
    /// Someone asked to stop before the time was up.
    pub(crate) interrupted: bool,
    /// Connections that had to be aborted at the end.
    pub(crate) aborted: usize,
    /// TIME-WAIT records that the end cut short.
    pub(crate) time_wait: usize,
}

impl Ended {
    /// Nothing is held that should have come home.
    pub(crate) fn leaks(&self) -> Vec<(&'static str, usize)> {
        let Snapshot {
            gauges,
            frames_missing,
            ..
        } = &self.last;
        let held = [
            ("frames", *frames_missing),
            ("connections", gauges.live()),
            ("queue elements", gauges.chunks),
            ("timers", gauges.timers),
            ("ports", gauges.ports),
        ];
        held.into_iter().filter(|&(_, count)| count > 0).collect()
    }
}

/// What connections get to end by themselves before they are aborted.
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// A shard on its way through a run.
pub(crate) struct Run<'a, D, A> {
    pub(crate) shard: &'a mut Shard<D, A>,
    pub(crate) clock: Clock,
    pub(crate) control: Control,
    /// How long to run; until stopped if none.
    pub(crate) duration: Option<Duration>,
}

impl<D: Driver, A: Workload> Run<'_, D, A> {
    /// Steps until the run is over; a snapshot a second goes to `tell`.
    pub(crate) fn until_end(mut self, mut tell: impl FnMut(Snapshot)) -> Ended {
        let start = self.clock.now();
        let end = self.duration.map(|length| start + length);
        let mut pace = Pace::new(self.clock);
        let mut next_tell = start + Duration::from_secs(1);
        loop {
            let now = pace.step(self.shard);
            if now >= next_tell {
                next_tell += Duration::from_secs(1);
                tell(self.snapshot(now, pace.busy()));
            }
            if self.control.stops() > 0 || end.is_some_and(|end| now >= end) {
                break;
            }
        }
        let interrupted = self.control.stops() > 0 && end.is_none_or(|end| self.clock.now() < end);
        self.finish(&mut pace, interrupted)
    }

    fn finish(&mut self, pace: &mut Pace, interrupted: bool) -> Ended {
        let drained_at = self.clock.now();
        let stops = self.control.stops();
        self.shard
            .with_app(drained_at, |app, sockets| app.drain(sockets));
        let mut next_look = drained_at;
        let mut aborted = 0;
        loop {
            let now = pace.step(self.shard);
            if now < next_look {
                continue;
            }
            // Counting walks over all connections: not at every step.
            next_look = now + Duration::from_millis(1);
            let live = self.shard.gauges().live();
            let is_over = self.shard.app().is_drained() && live == 0;
            if is_over && !self.shard.has_work() {
                break;
            }
            if self.control.stops() > stops || now.since(drained_at) > DRAIN_TIME {
                aborted = live;
                self.shard.with_app(now, |app, sockets| {
                    app.abort(sockets);
                    sockets.abort_all();
                });
                // The RSTs leave, and what was sent comes home.
                let until = now + Duration::from_millis(10);
                while pace.step(self.shard) < until {}
                break;
            }
        }
        let time_wait = self.shard.abandon_time_wait();
        let last = self.snapshot(self.clock.now(), pace.busy());
        Ended {
            last,
            drained_at,
            interrupted,
            aborted,
            time_wait,
        }
    }

    fn snapshot(&self, now: Instant, busy: Duration) -> Snapshot {
        Snapshot {
            at: now,
            stats: self.shard.stats(),
            drops: self.shard.driver_drops(),
            gauges: self.shard.gauges(),
            figures: self.shard.app().figures(),
            busy,
            frames_missing: self.shard.frames_missing(),
        }
    }
}
