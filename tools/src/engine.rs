//! The loop around `Shard::step`: until time is up or someone asks to stop, then
//! in good order to the end.

use crate::iperf3::Iperf3;
use crate::ss::Inquiries;
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

impl Figures {
    fn add(&mut self, other: &Figures) {
        match (self, other) {
            (Figures::Load(sum), Figures::Load(part)) => sum.add(part),
            (Figures::Http(sum), Figures::Http(part)) => sum.add(part),
            // All shards run the same application.
            _ => {}
        }
    }
}

/// Everything that a shard has to tell, or all of them together, at one instant.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) at: Instant,
    pub(crate) stats: Stats,
    pub(crate) drops: DriverDrops,
    pub(crate) gauges: Gauges,
    pub(crate) figures: Figures,
    /// What each shard did of it.
    pub(crate) shares: Vec<Share>,
    pub(crate) frames_missing: usize,
}

/// One shard's part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    /// Time spent in steps that moved something.
    pub(crate) busy: Duration,
    pub(crate) stats: Stats,
}

impl Snapshot {
    pub(crate) fn add(&mut self, other: &Snapshot) {
        self.at = self.at.max(other.at);
        self.stats.add(&other.stats);
        self.drops.add(&other.drops);
        self.gauges.add(&other.gauges);
        self.figures.add(&other.figures);
        self.shares.extend(&other.shares);
        self.frames_missing += other.frames_missing;
    }

    /// Time that a shard was busy, in the mean.
    pub(crate) fn busy(&self) -> Duration {
        let sum: Duration = self.shares.iter().map(|share| share.busy).sum();
        sum / u32::try_from(self.shares.len()).unwrap_or(1).max(1)
    }
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
    /// How all shards together ended, once another has.
    pub(crate) fn add(&mut self, other: &Ended) {
        self.last.add(&other.last);
        self.drained_at = self.drained_at.max(other.drained_at);
        self.interrupted |= other.interrupted;
        self.aborted += other.aborted;
        self.time_wait += other.time_wait;
    }

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

/// One shard's part in a run of several: who is done goes on stepping until nobody
/// is left, for segments of the others may still come to it.
#[derive(Debug)]
pub(crate) struct Part {
    control: Control,
    left: Arc<AtomicUsize>,
    is_done: bool,
}

impl Part {
    /// Of a shard without siblings.
    pub(crate) fn alone(control: &Control) -> Part {
        Part {
            control: control.clone(),
            left: Arc::new(AtomicUsize::new(1)),
            is_done: false,
        }
    }

    /// Of each of `count` shards that stop and end together.
    pub(crate) fn of(count: usize, control: &Control) -> impl Iterator<Item = Part> {
        let left = Arc::new(AtomicUsize::new(count));
        (0..count).map(move |_| Part {
            control: control.clone(),
            left: Arc::clone(&left),
            is_done: false,
        })
    }

    fn done(&mut self) {
        self.is_done = true;
        self.left.fetch_sub(1, Ordering::Relaxed);
    }

    fn all_are_done(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }
}

impl Drop for Part {
    /// A thread that panicked: the others can't go on without it, nor wait for it.
    fn drop(&mut self) {
        if !self.is_done {
            self.done();
            self.control.stop();
        }
    }
}

/// A shard on its way through a run.
pub(crate) struct Run<'a, D, A> {
    pub(crate) shard: &'a mut Shard<D, A>,
    pub(crate) clock: Clock,
    /// How long to run; until stopped if none.
    pub(crate) duration: Option<Duration>,
    pub(crate) part: Part,
    pub(crate) inquiries: Inquiries,
}

impl<D: Driver, A: Workload> Run<'_, D, A> {
    /// Steps until the run is over; a snapshot a second goes to `tell`.
    pub(crate) fn until_end(mut self, mut tell: impl FnMut(Snapshot)) -> Ended {
        let start = self.clock.now();
        let end = self.duration.map(|length| start + length);
        let pace = &mut Pace::new(self.clock);
        let mut next_tell = start + Duration::from_secs(1);
        loop {
            let now = self.step(pace);
            if now >= next_tell {
                next_tell += Duration::from_secs(1);
                tell(self.snapshot(now, pace.busy()));
            }
            if self.part.control.stops() > 0 || end.is_some_and(|end| now >= end) {
                break;
            }
        }
        let interrupted =
            self.part.control.stops() > 0 && end.is_none_or(|end| self.clock.now() < end);
        self.finish(pace, interrupted)
    }

    /// A step, and what can be asked for between two. The time after the step.
    fn step(&mut self, pace: &mut Pace) -> Instant {
        let now = pace.step(self.shard);
        self.inquiries.answer(now, self.shard);
        now
    }

    fn finish(&mut self, pace: &mut Pace, interrupted: bool) -> Ended {
        let drained_at = self.clock.now();
        let stops = self.part.control.stops();
        self.shard
            .with_app(drained_at, |app, sockets| app.drain(sockets));
        let mut next_look = drained_at;
        let mut aborted = 0;
        while !self.part.all_are_done() {
            let now = self.step(pace);
            if now < next_look || self.part.is_done {
                continue;
            }
            // Counting walks over all connections: not at every step.
            next_look = now + Duration::from_millis(1);
            let live = self.shard.gauges().live();
            let is_over = self.shard.app().is_drained() && live == 0;
            if is_over && !self.shard.has_work() {
                self.part.done();
            } else if self.part.control.stops() > stops || now.since(drained_at) > DRAIN_TIME {
                aborted = live;
                self.abort(pace, now);
                self.part.done();
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

    fn abort(&mut self, pace: &mut Pace, now: Instant) {
        self.shard.with_app(now, |app, sockets| {
            app.abort(sockets);
            sockets.abort_all();
        });
        // The RSTs leave, and what was sent comes home.
        let until = now + Duration::from_millis(10);
        while self.step(pace) < until {}
    }

    fn snapshot(&self, now: Instant, busy: Duration) -> Snapshot {
        let stats = self.shard.stats();
        Snapshot {
            at: now,
            stats,
            drops: self.shard.driver_drops(),
            gauges: self.shard.gauges(),
            figures: self.shard.app().figures(),
            shares: vec![Share { busy, stats }],
            frames_missing: self.shard.frames_missing(),
        }
    }
}
