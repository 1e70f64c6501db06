//! The machine's monotonic clock as the engine's time line.

use ringmill_core::time::{Duration, Instant};
use std::time::SystemTime;

/// A time line that starts when it is made. Copies tell the same time, so
/// shards on several threads can share one.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: std::time::Instant,
    wall_clock_offset: Duration,
}

impl Clock {
    /// A time line whose origin is now.
    pub fn start() -> Clock {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Clock {
            origin: std::time::Instant::now(),
            // Before 1970 only when the machine's clock is unset: captures are
            // then stamped with the time since the origin.
            wall_clock_offset: since_epoch.unwrap_or_default(),
        }
    }

    /// The time now.
    pub fn now(&self) -> Instant {
        Instant::ZERO + self.origin.elapsed()
    }

    /// The origin as time since 1970-01-01 UTC: what to add to an instant to
    /// stamp a captured frame. Later changes of the wall clock do not change it.
    pub fn wall_clock_offset(&self) -> Duration {
        self.wall_clock_offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_tell_the_same_time_and_it_moves_on() {
        let clock = Clock::start();
        let earlier = clock.now();
        std::thread::sleep(Duration::from_millis(2));
        let later = { clock }.now();
        assert!(later.since(earlier) >= Duration::from_millis(2));
        assert!(later.since(Instant::ZERO) < Duration::from_secs(60));
    }
}
