//! The round-trip time estimator and the retransmission timeout (RFC 6298).

use crate::time::Duration;

/// The bounds of the retransmission timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtoBounds {
    /// Before the first sample: 1 s (RFC 6298, 2.1).
    pub initial: Duration,
    /// The least. RFC 6298 (2.4) asks for 1 s; like Linux this engine takes
    /// 200 ms, above any delayed acknowledgment that it will meet.
    pub min: Duration,
    /// The least that 4 * RTTVAR counts: nothing, or 200 ms as in Linux, whose timeout
    /// is never less than a round trip and this.
    pub min_variation: Duration,
    /// The most; at least 60 s (RFC 6298, 2.5).
    pub max: Duration,
}

impl Default for RtoBounds {
    fn default() -> RtoBounds {
        RtoBounds {
            initial: Duration::from_secs(1),
            min: Duration::from_millis(200),
            min_variation: Duration::ZERO,
            max: Duration::from_secs(120),
        }
    }
}

/// The bounds as the estimator needs them, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    initial_us: u64,
    pub(crate) min_us: u64,
    min_variation_us: u64,
    max_us: u64,
}

impl From<RtoBounds> for Bounds {
    fn from(bounds: RtoBounds) -> Bounds {
        Bounds {
            initial_us: micros(bounds.initial),
            min_us: micros(bounds.min),
            min_variation_us: micros(bounds.min_variation),
            max_us: micros(bounds.max),
        }
    }
}

/// SRTT and RTTVAR in microseconds; SRTT is zero before the first sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RttEstimator {
    srtt_us: u32,
    rttvar_us: u32,
}

impl RttEstimator {
    /// Takes a sample of a segment that was sent once (Karn's algorithm is the
    /// caller's: RFC 6298 section 3).
    pub(crate) fn sample(&mut self, rtt_us: u32) {
        // A sample of 0 would read as "no sample yet".
        let rtt_us = rtt_us.max(1);
        if self.srtt_us == 0 {
            // RFC 6298 (2.2)
            self.srtt_us = rtt_us;
            self.rttvar_us = rtt_us / 2;
            return;
        }
        // RFC 6298 (2.3), alpha = 1/8 and beta = 1/4, RTTVAR first.
        let deviation = self.srtt_us.abs_diff(rtt_us);
        self.rttvar_us = self.rttvar_us - self.rttvar_us / 4 + deviation / 4;
        self.srtt_us = (self.srtt_us - self.srtt_us / 8 + rtt_us / 8).max(1);
    }

    /// The timer expired over a SYN, and nothing is known of the round trip: the
    /// RTO is 3 s when data transmission begins (RFC 6298, 5.7).
    pub(crate) fn assume_slow(&mut self) {
        *self = RttEstimator {
            srtt_us: 0,
            rttvar_us: 3_000_000 / 4,
        };
    }

    /// The timeout after `backoff` doublings (RFC 6298, 2.2 to 2.5 and 5.5).
    pub(crate) fn rto_us(&self, bounds: &Bounds, backoff: u8) -> u64 {
        let variation_us = 4 * u64::from(self.rttvar_us);
        let base_us = if self.srtt_us == 0 {
            bounds.initial_us.max(variation_us)
        } else {
            let variation_us = variation_us.max(4).max(bounds.min_variation_us);
            (u64::from(self.srtt_us) + variation_us).max(bounds.min_us)
        };
        base_us
            .saturating_mul(1 << backoff.min(16))
            .min(bounds.max_us)
    }

    /// RTTVAR.
    pub(crate) fn variation(&self) -> Duration {
        Duration::from_micros(u64::from(self.rttvar_us))
    }

    /// The smoothed round-trip time, if there is one.
    pub(crate) fn smoothed(&self) -> Option<Duration> {
        let srtt_us = self.smoothed_us()?;
        Some(Duration::from_micros(srtt_us.into()))
    }

    /// The same in microseconds.
    pub(crate) fn smoothed_us(&self) -> Option<u32> {
        (self.srtt_us > 0).then_some(self.srtt_us)
    }
}

/// Microseconds of a length of time that is no longer than 2^64 of them.
pub(crate) fn micros(length: Duration) -> u64 {
    u64::try_from(length.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_sample_then_smoothing_as_rfc_6298_says() {
        let bounds = Bounds::from(RtoBounds::default());
        let mut rtt = RttEstimator::default();
        assert_eq!(rtt.rto_us(&bounds, 0), 1_000_000);
        rtt.sample(400_000);
        // RTO = SRTT + 4 * RTTVAR = 400 + 4 * 200 ms
        assert_eq!(rtt.rto_us(&bounds, 0), 1_200_000);
        rtt.sample(800_000);
        // RTTVAR = 3/4 * 200 + 1/4 * 400 = 250, SRTT = 7/8 * 400 + 1/8 * 800 = 450
        assert_eq!(rtt.rto_us(&bounds, 0), 1_450_000);
        assert_eq!(rtt.smoothed(), Some(Duration::from_millis(450)));
    }

    #[test]
    fn after_a_syn_timeout_it_is_three_seconds_until_there_is_a_sample() {
        let bounds = Bounds::from(RtoBounds::default());
        let mut rtt = RttEstimator::default();
        rtt.assume_slow();
        assert_eq!(rtt.rto_us(&bounds, 0), 3_000_000);
        rtt.sample(400_000);
        assert_eq!(rtt.rto_us(&bounds, 0), 1_200_000);
    }

    #[test]
    fn backoff_doubles_up_to_the_bound() {
        let bounds = Bounds::from(RtoBounds::default());
        let mut rtt = RttEstimator::default();
        rtt.sample(50);
        assert_eq!(rtt.rto_us(&bounds, 0), bounds.min_us);
        assert_eq!(rtt.rto_us(&bounds, 3), bounds.min_us * 8);
        assert_eq!(rtt.rto_us(&bounds, 200), bounds.max_us);
    }
}
