//! Instants of the engine's own time line.
//!
//! The engine never asks what time it is: every call that depends on time takes
//! an [`Instant`]. Whoever drives it decides what an instant means (a monotonic
//! clock on a real interface, a virtual one in a simulation). Lengths of time
//! are [`std::time::Duration`].

use std::ops::{Add, AddAssign, Sub};
pub use std::time::Duration;

/// A point in time: nanoseconds since an origin that the caller chose.
///
/// 2^64 ns are 584 years, so arithmetic saturates instead of wrapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The origin of the time line.
    pub const ZERO: Instant = Instant(0);
    /// Later than anything that happens.
    pub const FAR_FUTURE: Instant = Instant(u64::MAX);

    /// The instant `nanos` nanoseconds after the origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Instant(nanos)
    }

    /// The instant `micros` microseconds after the origin.
    pub const fn from_micros(micros: u64) -> Self {
        Instant(micros.saturating_mul(1_000))
    }

    /// The instant `millis` milliseconds after the origin.
    pub const fn from_millis(millis: u64) -> Self {
        Instant(millis.saturating_mul(1_000_000))
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole microseconds since the origin.
    pub const fn as_micros(self) -> u64 {
        self.0 / 1_000
    }

    /// Whole milliseconds since the origin.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    pub const fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;
    #[inline]
    fn add(self, length: Duration) -> Instant {
        Instant(self.0.saturating_add(nanos(length)))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, length: Duration) {
        *self = *self + length;
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;
    fn sub(self, length: Duration) -> Instant {
        Instant(self.0.saturating_sub(nanos(length)))
    }
}

/// In 64 bits, which are faster than the 128 of [`Duration::as_nanos`].
#[inline]
fn nanos(length: Duration) -> u64 {
    length
        .as_secs()
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::from(length.subsec_nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(Instant::FAR_FUTURE + Duration::MAX, Instant::FAR_FUTURE);
        assert_eq!(
            Instant::from_millis(1) - Duration::from_secs(1),
            Instant::ZERO
        );
        assert_eq!(
            Instant::from_millis(1).since(Instant::from_millis(2)),
            Duration::ZERO
        );
        assert_eq!(
            Instant::from_micros(1_500).since(Instant::from_micros(500)),
            Duration::from_millis(1)
        );
    }
}
