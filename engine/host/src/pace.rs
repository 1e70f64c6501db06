//! When a thread that steps a shard spins, and when it sleeps.

use crate::clock::Clock;
use ringmill_core::app::App;
use ringmill_core::driver::Driver;
use ringmill_core::shard::Shard;
use ringmill_core::time::{Duration, Instant};

/// The engine keeps its core this long after the last frame; from then on it lets
/// others run between two looks, such as the peer that it waits for.
const HOLD: Duration = Duration::from_micros(20);
/// The engine spins this long after the last frame, for latency; then it sleeps
/// a little at a time, for the machine.
const SPIN: Duration = Duration::from_millis(2);
const NAP: Duration = Duration::from_micros(50);

/// The pace of one thread.
#[derive(Debug)]
pub struct Pace {
    clock: Clock,
    busy: Duration,
    moved_at: Instant,
}

impl Pace {
    /// A thread that starts now, by this clock.
    pub fn new(clock: Clock) -> Pace {
        Pace {
            clock,
            busy: Duration::ZERO,
            moved_at: clock.now(),
        }
    }

    /// One step, and a nap where nothing has moved for long. The time after the step.
    pub fn step<D: Driver, A: App>(&mut self, shard: &mut Shard<D, A>) -> Instant {
        let now = self.clock.now();
        let moved = shard.step(now);
        let after = self.clock.now();
        if moved {
            self.busy += after.since(now);
            self.moved_at = after;
        } else {
            self.wait(after, || shard.next_deadline());
        }
        after
    }

    /// Nothing has moved in a step that ended at `now`.
    fn wait(&self, now: Instant, next_deadline: impl Fn() -> Option<Instant>) {
        let idle = now.since(self.moved_at);
        if idle > SPIN && next_deadline().is_none_or(|deadline| deadline > now + NAP) {
            std::thread::sleep(NAP);
        } else if idle > HOLD {
            std::thread::yield_now();
        }
    }

    /// Time spent in steps that moved something.
    pub fn busy(&self) -> Duration {
        self.busy
    }
}
