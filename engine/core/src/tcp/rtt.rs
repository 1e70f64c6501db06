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
    pub(crate) fn rto(&self, bounds: RtoBounds, backoff: u8) -> Duration {
        let variation_us = 4 * u64::from(self.rttvar_us);
        let base_us = if self.srtt_us == 0 {
            micros(bounds.initial).max(variation_us)
        } else {
            let variation_us = variation_us.max(4).max(micros(bounds.min_variation));
            (u64::from(self.srtt_us) + variation_us).max(micros(bounds.min))
        };
        let rto_us = base_us.saturating_mul(1 << backoff.min(16));
        Duration::from_micros(rto_us.min(micros(bounds.max)))
    }

    /// RTTVAR.
    pub(crate) fn variation(&self) -> Duration {
        Duration::from_micros(u64::from(self.rttvar_us))
    }

    /// The smoothed round-trip time, if there is one.
    pub(crate) fn smoothed(&self) -> Option<Duration> {
        (self.srtt_us > 0).then(|| Duration::from_micros(u64::from(self.srtt_us)))
    }
}

/// In 64 bits, which are faster than the 128 of [`Duration::as_micros`].
fn micros(length: Duration) -> u64 {
    length
        .as_secs()
        .saturating_mul(1_000_000)
        .saturating_add(u64::from(length.subsec_micros()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_sample_then_smoothing_as_rfc_6298_says() {
        let bounds = RtoBounds::default();
        let mut rtt = RttEstimator::default();
        assert_eq!(rtt.rto(bounds, 0), Duration::from_secs(1));
        rtt.sample(400_000);
        // RTO = SRTT + 4 * RTTVAR = 400 + 4 * 200 ms
        assert_eq!(rtt.rto(bounds, 0), Duration::from_millis(1_200));
        rtt.sample(800_000);
        // RTTVAR = 3/4 * 200 + 1/4 * 400 = 250, SRTT = 7/8 * 400 + 1/8 * 800 = 450
        assert_eq!(rtt.rto(bounds, 0), Duration::from_millis(1_450));
        assert_eq!(rtt.smoothed(), Some(Duration::from_millis(450)));
    }

    #[test]
    fn after_a_syn_timeout_it_is_three_seconds_until_there_is_a_sample() {
        let bounds = RtoBounds::default();
        let mut rtt = RttEstimator::default();
        rtt.assume_slow();
        assert_eq!(rtt.rto(bounds, 0), Duration::from_secs(3));
        rtt.sample(400_000);
        assert_eq!(rtt.rto(bounds, 0), Duration::from_millis(1_200));
    }

    #[test]
    fn backoff_doubles_up_to_the_bound() {
        let bounds = RtoBounds::default();
        let mut rtt = RttEstimator::default();
        rtt.sample(50);
        assert_eq!(rtt.rto(bounds, 0), bounds.min);
        assert_eq!(rtt.rto(bounds, 3), bounds.min * 8);
        assert_eq!(rtt.rto(bounds, 200), bounds.max);
    }
}
