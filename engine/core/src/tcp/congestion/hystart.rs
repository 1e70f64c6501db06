//! HyStart++ (RFC 9406): slow start ends when round trips become longer, before
//! the queue at the bottleneck is full.
//!
//! ```text
//! slow start --(round trips longer)--> conservative slow start --(5 rounds)--> over
//!      ^----------(it was a mistake)-----------+
//! ```

use super::Acked;
use crate::seq::Seq;

/// RFC 9406 section 4.3.
const MIN_RTT_THRESH_US: u32 = 4_000;
const MAX_RTT_THRESH_US: u32 = 16_000;
const MIN_RTT_DIVISOR: u32 = 8;
const N_RTT_SAMPLE: u8 = 8;
const CSS_GROWTH_DIVISOR: u32 = 4;
const CSS_ROUNDS: u8 = 5;

/// What slow start watches.
#[derive(Clone, Copy, Debug)]
pub(super) struct HyStart {
    /// windowEnd: the round ends when this is acknowledged.
    window_end: Option<Seq>,
    last_min_us: u32,
    current_min_us: u32,
    samples: u8,
    /// cssBaselineMinRtt, in conservative slow start, and the rounds spent there.
    css: Option<(u32, u8)>,
}

impl Default for HyStart {
    fn default() -> HyStart {
        HyStart {
            window_end: None,
            last_min_us: u32::MAX,
            current_min_us: u32::MAX,
            samples: 0,
            css: None,
        }
    }
}

impl HyStart {
    /// Bytes that an acknowledgment of `bytes` adds (section 4.2).
    pub(super) fn on_ack(&mut self, acked: &Acked, bytes: u32) -> u32 {
        let is_new_round = self
            .window_end
            .is_none_or(|end| acked.una.follows_or_is(end));
        if is_new_round {
            self.window_end = Some(acked.nxt);
            self.last_min_us = self.current_min_us;
            self.current_min_us = u32::MAX;
            self.samples = 0;
            if let Some((_, rounds)) = &mut self.css {
                *rounds += 1;
            }
        }
        if let Some(rtt_us) = acked.rtt_us {
            self.current_min_us = self.current_min_us.min(rtt_us);
            self.samples = self.samples.saturating_add(1);
        }
        if self.samples >= N_RTT_SAMPLE {
            self.judge();
        }
        match self.css {
            Some(_) => bytes / CSS_GROWTH_DIVISOR,
            None => bytes,
        }
    }

    fn judge(&mut self) {
        match self.css {
            None if self.last_min_us < u32::MAX => {
                let threshold = (self.last_min_us / MIN_RTT_DIVISOR)
                    .clamp(MIN_RTT_THRESH_US, MAX_RTT_THRESH_US);
                if self.current_min_us >= self.last_min_us.saturating_add(threshold) {
                    self.css = Some((self.current_min_us, 0));
                }
            }
            Some((baseline_us, _)) if self.current_min_us < baseline_us => self.css = None,
            _ => {}
        }
    }

    /// Congestion avoidance is to begin.
    pub(super) fn is_over(&self) -> bool {
        self.css.is_some_and(|(_, rounds)| rounds >= CSS_ROUNDS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{Duration, Instant};

    /// A round of ten acknowledgments of ten segments, each with this round trip.
    fn round(hystart: &mut HyStart, number: u32, rtt_us: u32) -> u32 {
        (0..10)
            .map(|n| {
                let acked = Acked {
                    now: Instant::ZERO,
                    bytes: 1_000,
                    una: Seq(number * 10_000 + n * 1_000),
                    nxt: Seq((number + 1) * 10_000),
                    rtt_us: Some(rtt_us),
                    srtt: Duration::ZERO,
                    mss: 1_000,
                    limit: 8,
                };
                hystart.on_ack(&acked, 1_000)
            })
            .sum()
    }

    #[test]
    fn longer_round_trips_slow_the_growth_and_five_rounds_end_it() {
        let mut hystart = HyStart::default();
        assert_eq!(round(&mut hystart, 0, 40_000), 10_000);
        assert_eq!(
            round(&mut hystart, 1, 44_000),
            10_000,
            "less than an eighth more"
        );
        // The eighth sample tells.
        assert_eq!(round(&mut hystart, 2, 50_000), 7 * 1_000 + 3 * 250);
        for number in 3..7 {
            assert_eq!(round(&mut hystart, number, 50_000), 2_500);
            assert!(!hystart.is_over());
        }
        round(&mut hystart, 7, 50_000);
        assert!(hystart.is_over());
    }

    #[test]
    fn a_jitter_that_goes_again_is_forgiven() {
        let mut hystart = HyStart::default();
        for (number, rtt_us) in [(0, 40_000), (1, 50_000), (2, 41_000)] {
            round(&mut hystart, number, rtt_us);
        }
        assert_eq!(round(&mut hystart, 3, 41_000), 10_000);
        assert!(!hystart.is_over());
    }
}
