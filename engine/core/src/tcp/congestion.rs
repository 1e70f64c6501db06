//! The congestion window: slow start and congestion avoidance (RFC 5681) with
//! the initial window of RFC 6928, NewReno's or CUBIC's growth, and HyStart++.
//!
//! The window itself is hot. What an algorithm remembers besides is [`Growth`],
//! in the connection's cold part. How much may be sent while losses are repaired
//! is not decided here, but in `recovery`.

mod cubic;
mod hystart;

use crate::seq::Seq;
use crate::time::{Duration, Instant};
use cubic::Cubic;
use hystart::HyStart;

/// How the window grows, and by how much a loss makes it smaller
/// (TCP_CONGESTION).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// RFC 5681 and RFC 6582: one segment a round trip; a half.
    NewReno,
    /// RFC 9438: a cubic function of the time since the last loss; 0.7.
    #[default]
    Cubic,
}

impl Algorithm {
    /// The name that TCP_CONGESTION knows it by.
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::NewReno => "newreno",
            Algorithm::Cubic => "cubic",
        }
    }
}

/// The window, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Congestion {
    pub(crate) cwnd: u32,
}

/// What has been learnt of the path, and what the algorithms remember.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Growth {
    /// In bytes; without bound until slow start has ended once.
    pub(crate) ssthresh: u32,
    cubic: Cubic,
    hystart: HyStart,
}

impl Default for Growth {
    fn default() -> Growth {
        Growth {
            ssthresh: u32::MAX,
            cubic: Cubic::default(),
            hystart: HyStart::default(),
        }
    }
}

impl Growth {
    /// There is nothing in it that a later flight needs.
    pub(crate) fn is_blank(&self) -> bool {
        self.cubic.is_blank() && self.ssthresh == u32::MAX
    }
}

/// An acknowledgment of new data, outside of loss recovery.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acked {
    pub(crate) now: Instant,
    pub(crate) bytes: u32,
    pub(crate) una: Seq,
    pub(crate) nxt: Seq,
    pub(crate) rtt_us: Option<u32>,
    pub(crate) srtt: Duration,
    pub(crate) mss: u32,
    /// Segments that slow start counts of it at most (L of RFC 9406 section 4.2).
    pub(crate) limit: u32,
}

/// No window is larger: sequence numbers tell no more apart.
const CWND_MAX: u32 = 1 << 30;

impl Congestion {
    /// It opens at the initial window.
    pub(crate) fn new(initial_window: u32) -> Congestion {
        Congestion {
            cwnd: initial_window,
        }
    }

    pub(crate) fn cwnd(&self) -> u32 {
        self.cwnd
    }

    /// A window of which at most `used` bytes were in flight in the last round trip
    /// was full, or nearly: only such a window grows (RFC 7661; RFC 5681 section 3.1).
    pub(crate) fn was_used(&self, ssthresh: u32, used: u32, mss: u32) -> bool {
        if self.cwnd < ssthresh {
            self.cwnd / 2 < used
        } else {
            self.cwnd <= used.saturating_add(2 * mss)
        }
    }

    /// New data was acknowledged and the window had been in use (RFC 5681 section
    /// 3.1; RFC 9293 MUST-19).
    pub(crate) fn on_ack(&mut self, algorithm: Algorithm, growth: &mut Growth, acked: &Acked) {
        let added = if self.cwnd < growth.ssthresh {
            self.slow_start(growth, acked)
        } else {
            match algorithm {
                Algorithm::NewReno => {
                    // One MSS a window of acknowledged bytes (RFC 5681, equation 3).
                    let bytes = u64::from(acked.mss) * u64::from(acked.bytes.min(self.cwnd));
                    u32::try_from(bytes / u64::from(self.cwnd))
                        .unwrap_or(0)
                        .max(1)
                }
                Algorithm::Cubic => growth.cubic.added(self.cwnd, acked),
            }
        };
        self.cwnd = self.cwnd.saturating_add(added).min(CWND_MAX);
    }

    fn slow_start(&self, growth: &mut Growth, acked: &Acked) -> u32 {
        let bytes = acked.bytes.min(acked.limit.saturating_mul(acked.mss));
        let added = growth.hystart.on_ack(acked, bytes);
        if growth.hystart.is_over() {
            growth.ssthresh = self.cwnd;
        }
        added.min(growth.ssthresh - self.cwnd)
    }

    /// A loss, or a mark (RFC 3168), once a round trip: ssthresh becomes smaller;
    /// cwnd is the caller's to bring down.
    pub(crate) fn on_congestion(
        self,
        algorithm: Algorithm,
        growth: &mut Growth,
        in_flight: u32,
        mss: u16,
    ) {
        let mss = u32::from(mss);
        growth.hystart = HyStart::default();
        growth.ssthresh = match algorithm {
            // RFC 5681, equation 4.
            Algorithm::NewReno => in_flight / 2,
            Algorithm::Cubic => growth.cubic.on_congestion(self.cwnd, in_flight, mss),
        }
        .max(2 * mss);
    }

    /// The retransmission timer expired: the loss window of RFC 5681 section 3.1.
    pub(crate) fn on_timeout(&mut self, mss: u16) {
        self.cwnd = u32::from(mss);
    }

    /// Nothing was sent for longer than the RTO: what is known of the path is old
    /// (RFC 5681 section 4.1).
    pub(crate) fn on_idle(&mut self, initial_window: u32) {
        self.cwnd = self.cwnd.min(initial_window);
    }
}

/// IW = min(10 * MSS, max(2 * MSS, 14,600)) where `segments` are 10 (RFC 6928 section
/// 2), and in proportion where they are not.
pub(crate) fn initial_window(segments: u32, mss: u16) -> u32 {
    let mss = u32::from(mss);
    let most = segments.saturating_mul(1_460).max(2 * mss);
    segments.saturating_mul(mss).clamp(1, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u16 = 1_000;
    const IW: u32 = 10_000;

    fn acked(bytes: u32) -> Acked {
        Acked {
            now: Instant::ZERO,
            bytes,
            una: Seq(0),
            nxt: Seq(0),
            rtt_us: None,
            srtt: Duration::from_millis(10),
            mss: 1_000,
            limit: 8,
        }
    }

    #[test]
    fn slow_start_doubles_and_avoidance_adds_one_mss_a_window() {
        let (mut congestion, mut growth) = (Congestion::new(IW), Growth::default());
        let reno = Algorithm::NewReno;
        assert_eq!(congestion.cwnd(), 10_000);
        for _ in 0..5 {
            congestion.on_ack(reno, &mut growth, &acked(2_000));
        }
        assert_eq!(congestion.cwnd(), 20_000);
        congestion.on_congestion(reno, &mut growth, 20_000, MSS);
        congestion.cwnd = growth.ssthresh;
        assert_eq!(congestion.cwnd(), 10_000);
        for _ in 0..5 {
            congestion.on_ack(reno, &mut growth, &acked(2_000));
        }
        assert!(
            (10_900..=11_000).contains(&congestion.cwnd()),
            "{congestion:?}"
        );
    }

    /// RFC 5681 section 3.1 counts bytes, and one acknowledgment adds a bounded
    /// amount: dividing them earns nothing (attack case 46).
    #[test]
    fn neither_many_small_acknowledgments_nor_one_large_gain_more() {
        let (mut whole, mut split, mut growth) =
            (Congestion::new(IW), Congestion::new(IW), Growth::default());
        whole.on_ack(Algorithm::NewReno, &mut growth, &acked(1_000));
        for _ in 0..1_000 {
            split.on_ack(Algorithm::NewReno, &mut growth, &acked(1));
        }
        assert_eq!(whole, split);
        whole.on_ack(Algorithm::NewReno, &mut growth, &acked(1 << 20));
        assert_eq!(whole.cwnd(), 11_000 + 8 * 1_000);
    }

    #[test]
    fn a_timeout_leaves_one_segment_and_an_idle_time_the_initial_window() {
        let mut congestion = Congestion::new(IW);
        congestion.cwnd = 50_000;
        congestion.on_idle(IW);
        assert_eq!(congestion.cwnd(), 10_000);
        congestion.on_timeout(MSS);
        assert_eq!(congestion.cwnd(), 1_000);
    }

    #[test]
    fn initial_windows_follow_rfc_6928_and_are_of_as_many_segments_as_set() {
        let windows = [536, 1_460, 8_960].map(|mss| initial_window(10, mss));
        assert_eq!(windows, [5_360, 14_600, 17_920]);
        let windows = [536, 1_460, 8_960].map(|mss| initial_window(3, mss));
        assert_eq!(windows, [1_608, 4_380, 17_920]);
        assert_eq!(initial_window(0, 1_460), 1);
    }
}
