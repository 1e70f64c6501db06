//! The congestion window: slow start, congestion avoidance, fast recovery
//! (RFC 5681), with the initial window of RFC 6928, appropriate byte counting
//! (RFC 3465) and the partial acknowledgments of RFC 6582.

/// cwnd and ssthresh, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Congestion {
    cwnd: u32,
    ssthresh: u32,
}

impl Congestion {
    /// IW = min(10 * MSS, max(2 * MSS, 14,600)) (RFC 6928 section 2).
    pub(crate) fn new(mss: u16) -> Congestion {
        let mss = u32::from(mss);
        Congestion {
            cwnd: (10 * mss).min((2 * mss).max(14_600)),
            ssthresh: u32::MAX,
        }
    }

    pub(crate) fn cwnd(&self) -> u32 {
        self.cwnd
    }

    /// New data was acknowledged outside recovery (RFC 5681 section 3.1).
    pub(crate) fn on_ack(&mut self, acked: u32, mss: u16) {
        let mss = u32::from(mss);
        let growth = if self.cwnd < self.ssthresh {
            // RFC 3465 section 2.2, L = 2: acknowledgments come once a batch.
            acked.min(2 * mss)
        } else {
            // One MSS a window of acknowledged bytes (RFC 5681, equation 3).
            let bytes = u64::from(mss) * u64::from(acked.min(self.cwnd)) / u64::from(self.cwnd);
            u32::try_from(bytes.max(1)).unwrap_or(mss)
        };
        self.cwnd = self.cwnd.saturating_add(growth).min(1 << 30);
    }

    /// The retransmission timer expired (RFC 5681, equation 4 and the loss
    /// window). Only the first timeout of a segment lowers ssthresh.
    pub(crate) fn on_timeout(&mut self, in_flight: u32, mss: u16, first: bool) {
        if first {
            self.ssthresh = Self::half(in_flight, mss);
        }
        self.cwnd = u32::from(mss);
    }

    /// The third duplicate acknowledgment (RFC 5681 section 3.2, steps 2 and 3).
    pub(crate) fn on_fast_retransmit(&mut self, in_flight: u32, mss: u16) {
        self.ssthresh = Self::half(in_flight, mss);
        self.cwnd = self.ssthresh + 3 * u32::from(mss);
    }

    /// A further duplicate acknowledgment: a segment has left the network (step 4).
    pub(crate) fn on_duplicate_in_recovery(&mut self, mss: u16) {
        self.cwnd = self.cwnd.saturating_add(u32::from(mss)).min(1 << 30);
    }

    /// A partial acknowledgment (RFC 6582 section 3.2, step 3).
    pub(crate) fn on_partial_ack(&mut self, acked: u32, mss: u16) {
        let mss = u32::from(mss);
        self.cwnd = self.cwnd.saturating_sub(acked).max(mss);
        if acked >= mss {
            self.cwnd += mss;
        }
    }

    /// Recovery is over: min(ssthresh, max(FlightSize, SMSS) + SMSS), which
    /// sends no burst (RFC 6582 section 3.2, step 3, option 1).
    pub(crate) fn on_recovered(&mut self, in_flight: u32, mss: u16) {
        let mss = u32::from(mss);
        self.cwnd = self.ssthresh.min(in_flight.max(mss) + mss);
    }

    fn half(in_flight: u32, mss: u16) -> u32 {
        (in_flight / 2).max(2 * u32::from(mss))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u16 = 1_000;

    #[test]
    fn slow_start_doubles_and_avoidance_adds_one_mss_a_window() {
        let mut congestion = Congestion::new(MSS);
        assert_eq!(congestion.cwnd(), 10_000);
        for _ in 0..5 {
            congestion.on_ack(2_000, MSS);
        }
        assert_eq!(congestion.cwnd(), 20_000);
        congestion.on_fast_retransmit(20_000, MSS);
        congestion.on_recovered(10_000, MSS);
        assert_eq!(congestion.cwnd(), 10_000);
        for _ in 0..5 {
            congestion.on_ack(2_000, MSS);
        }
        assert!(
            (10_900..=11_000).contains(&congestion.cwnd()),
            "{congestion:?}"
        );
    }

    #[test]
    fn a_timeout_leaves_one_segment_and_halves_once() {
        let mut congestion = Congestion::new(MSS);
        congestion.on_timeout(10_000, MSS, true);
        assert_eq!((congestion.cwnd(), congestion.ssthresh), (1_000, 5_000));
        congestion.on_timeout(1_000, MSS, false);
        assert_eq!((congestion.cwnd(), congestion.ssthresh), (1_000, 5_000));
    }

    #[test]
    fn small_initial_windows_follow_rfc_6928() {
        assert_eq!(Congestion::new(536).cwnd(), 5_360);
        assert_eq!(Congestion::new(8_960).cwnd(), 17_920);
    }
}
