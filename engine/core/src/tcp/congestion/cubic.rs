//! CUBIC (RFC 9438): the window is a cubic function of the time since the last
//! congestion, flat around the window that it happened at, and never smaller
//! than what Reno would have.
//!
//! ```text
//! W_cubic(t) = C * (t - K)^3 + W_max
//!
//!  W_max |            ____-----/
//!        |       __--         (convex: probing)
//!        |    _-
//!        |  /   (concave)
//!        +-------------K---------- t
//! ```
//!
//! Windows are in segments, as in the RFC, and times in seconds.

use super::Acked;
use crate::time::Instant;

/// RFC 9438 section 5.1, in segments per second cubed.
const C: f64 = 0.4;
/// Section 4.6: what a congestion leaves of the window.
const BETA: f64 = 0.7;
/// Section 4.3: Reno's growth at this beta.
const ALPHA: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);

/// What CUBIC remembers.
/// RFC 9293 section 3.8.2, MAY-18.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cubic {
    /// W_max; 0 before the first congestion.
    w_max: f64,
    /// cwnd_prior (section 4.3): the window at the last congestion.
    prior: f64,
    epoch: Option<Epoch>,
    /// The part of a byte that was not added yet.
    rest: f64,
}

/// Congestion avoidance since the last congestion.
#[derive(Clone, Copy, Debug)]
struct Epoch {
    start: Instant,
    /// When the window grew last.
    last: Instant,
    k: f64,
    w_est: f64,
}

impl Cubic {
    pub(super) fn is_blank(&self) -> bool {
        self.w_max == 0.0
    }

    /// Bytes that an acknowledgment adds in congestion avoidance (section 4.2).
    pub(super) fn added(&mut self, cwnd: u32, acked: &Acked) -> u32 {
        let mss = f64::from(acked.mss);
        let window = f64::from(cwnd) / mss;
        let segments = f64::from(acked.bytes.min(cwnd)) / mss;
        let Epoch {
            mut start,
            last,
            k,
            w_est,
        } = self.epoch(acked.now, window);
        let pause = acked.now.since(last);
        if pause > 2 * acked.srtt {
            // Section 5.8: time without enough to send is not time spent probing.
            start += pause;
        }
        let t = acked.now.since(start).as_secs_f64();
        let cubic_at = |t: f64| C * (t - k).powi(3) + self.w_max;
        // Section 4.3: W_est; as fast as Reno once it is at the old window again.
        let alpha = if w_est < self.prior { ALPHA } else { 1.0 };
        let w_est = w_est + alpha * segments / window;
        self.epoch = Some(Epoch {
            start,
            last: acked.now,
            k,
            w_est,
        });
        let added = if cubic_at(t) < w_est {
            w_est - window
        } else {
            // Sections 4.4 and 4.5: towards where the function is a round trip on.
            let target = cubic_at(t + acked.srtt.as_secs_f64()).clamp(window, 1.5 * window);
            (target - window) / window * segments
        };
        self.whole(added.max(0.0) * mss)
    }

    /// Whole bytes; the rest is kept for the next time.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and a float that is too large saturates"
    )]
    fn whole(&mut self, bytes: f64) -> u32 {
        let bytes = bytes + self.rest;
        self.rest = bytes.fract();
        bytes as u32
    }

    fn epoch(&mut self, now: Instant, window: f64) -> Epoch {
        if let Some(epoch) = self.epoch {
            return epoch;
        }
        if self.w_max < window {
            // Slow start went past the last maximum, or there was none (section 4.10).
            self.w_max = window;
        }
        *self.epoch.insert(Epoch {
            start: now,
            last: now,
            // Section 4.2, equation 2.
            k: ((self.w_max - window) / C).cbrt(),
            w_est: window,
        })
    }

    /// ssthresh in bytes after a congestion (section 4.6), and W_max with fast
    /// convergence (section 4.7).
    pub(super) fn on_congestion(&mut self, cwnd: u32, in_flight: u32, mss: u32) -> u32 {
        let window = f64::from(cwnd) / f64::from(mss);
        self.w_max = if window < self.w_max {
            window * (1.0 + BETA) / 2.0
        } else {
            window
        };
        self.prior = window;
        self.epoch = None;
        self.rest = 0.0;
        // cwnd may be far above what the application lets be in flight.
        let base = u64::from(in_flight.min(cwnd));
        u32::try_from(base * 7 / 10).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seq::Seq;
    use crate::time::Duration;

    const MSS: u32 = 1_000;
    const RTT: Duration = Duration::from_millis(100);

    /// One round trip after another, each with a whole window acknowledged.
    fn rounds(cubic: &mut Cubic, mut cwnd: u32, from: Instant, count: u32) -> Vec<u32> {
        (0..count)
            .map(|round| {
                let acked = Acked {
                    now: from + RTT * round,
                    bytes: MSS,
                    una: Seq(0),
                    nxt: Seq(0),
                    rtt_us: None,
                    srtt: RTT,
                    mss: MSS,
                    limit: 8,
                };
                for _ in 0..cwnd / MSS {
                    cwnd += cubic.added(cwnd, &acked);
                }
                cwnd
            })
            .collect()
    }

    /// RFC 9293 section 3.8.2, MAY-18.
    #[test]
    fn the_window_is_back_at_w_max_after_k_and_flat_around_it() {
        let mut cubic = Cubic::default();
        let ssthresh = cubic.on_congestion(1_000_000, 1_000_000, MSS);
        assert_eq!(ssthresh, 700_000);
        // K = cbrt(300 / 0.4) = 9.09 s, which is 91 round trips.
        let windows = rounds(&mut cubic, ssthresh, Instant::ZERO, 182);
        let near = |round: usize, segments: u32| {
            let window = windows[round] / MSS;
            assert!(
                window.abs_diff(segments) <= 12,
                "round {round}: {window} of {segments}"
            );
        };
        near(45, 965); // 0.4 * (4.6 - 9.09)^3 + 1000
        near(91, 1_000);
        near(181, 1_300);
    }

    /// Section 5.8: an hour in which the application had little to send is no
    /// reason to send much now.
    #[test]
    fn a_pause_of_the_application_does_not_count() {
        let mut cubic = Cubic::default();
        let ssthresh = cubic.on_congestion(1_000_000, 1_000_000, MSS);
        let before = *rounds(&mut cubic, ssthresh, Instant::ZERO, 20)
            .last()
            .unwrap();
        let later = Instant::ZERO + RTT * 20 + Duration::from_secs(3_600);
        let after = rounds(&mut cubic, before, later, 1)[0];
        assert!(after < before + 20 * MSS, "{before} {after}");
    }

    /// Section 4.3: where round trips are short and windows small, Reno is faster,
    /// and CUBIC is no slower than that.
    #[test]
    fn a_small_window_grows_as_fast_as_reno() {
        let mut cubic = Cubic::default();
        let ssthresh = cubic.on_congestion(20_000, 20_000, MSS);
        let after = rounds(&mut cubic, ssthresh, Instant::ZERO, 10)[9];
        // Alpha is 0.53 segments a round trip up to the old window.
        assert!((18_500..=20_500).contains(&after), "{after}");
    }

    #[test]
    fn a_second_congestion_below_the_first_gives_room_to_others() {
        let mut cubic = Cubic::default();
        cubic.on_congestion(1_000_000, 1_000_000, MSS);
        cubic.on_congestion(800_000, 800_000, MSS);
        assert!((cubic.w_max - 800.0 * 0.85).abs() < 1e-9);
    }
}
