//! Proportional rate reduction (RFC 6937, RFC 9937): while losses are repaired as much is
//! sent as arrives, scaled so that at the end the window is ssthresh.

/// What one repair has seen, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Prr {
    /// prr_delivered
    delivered: u32,
    /// prr_out
    out: u32,
    /// RecoverFS
    recover_fs: u32,
}

impl Prr {
    /// A repair begins with `recover_fs` bytes outstanding.
    pub(crate) fn new(recover_fs: u32) -> Prr {
        Prr {
            delivered: 0,
            out: 0,
            recover_fs,
        }
    }

    /// So many bytes were sent.
    pub(crate) fn note_sent(&mut self, len: u32) {
        self.out = self.out.saturating_add(len);
    }

    /// cwnd after an acknowledgment that `delivered` so many bytes (RFC 9937 section
    /// 6): `extra` is a segment where the acknowledgment is safe (slow start
    /// reduction bound), or nothing (conservative reduction bound).
    pub(crate) fn cwnd(
        &mut self,
        pipe: u32,
        ssthresh: u32,
        delivered: u32,
        extra: u32,
        mss: u32,
    ) -> u32 {
        self.delivered = self.delivered.saturating_add(delivered);
        let count = if pipe > ssthresh {
            let share = u64::from(self.delivered) * u64::from(ssthresh);
            let share = share.div_ceil(u64::from(self.recover_fs.max(1)));
            u32::try_from(share)
                .unwrap_or(u32::MAX)
                .saturating_sub(self.out)
        } else {
            let owed = self.delivered.saturating_sub(self.out);
            let limit = owed.max(delivered).saturating_add(extra);
            (ssthresh - pipe).min(limit)
        };
        // Fast retransmission sends one segment at any rate (RFC 5681 section 3.2).
        let count = if self.out == 0 { count.max(mss) } else { count };
        pipe.saturating_add(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u32 = 1_000;

    /// RFC 6937 section 4.1: of 20 segments one is lost. One goes for every two
    /// that arrive, and at the end the window is ssthresh.
    #[test]
    fn one_loss_sends_one_for_two() {
        let ssthresh = 10 * MSS;
        let mut prr = Prr::new(20 * MSS);
        // Three were delivered before the repair begins, and the lost one left.
        let mut pipe = 16 * MSS;
        let mut sent = 0;
        for arrived in 0..16 {
            pipe -= if arrived == 0 { 0 } else { MSS };
            let cwnd = prr.cwnd(pipe, ssthresh, MSS, MSS, MSS);
            while pipe + MSS <= cwnd {
                prr.note_sent(MSS);
                pipe += MSS;
                sent += 1;
            }
        }
        assert!((7..=9).contains(&sent), "{sent}");
        assert!(pipe.abs_diff(ssthresh) <= 2 * MSS, "{pipe}");
    }

    /// A burst of losses leaves less in the pipe than ssthresh: what arrives is
    /// answered by as much and one more, so that the window comes back in slow
    /// start and not in a burst.
    #[test]
    fn below_ssthresh_it_grows_by_one_segment_an_acknowledgment() {
        let mut prr = Prr::new(20 * MSS);
        assert_eq!(prr.cwnd(2 * MSS, 10 * MSS, MSS, MSS, MSS), 4 * MSS);
        prr.note_sent(2 * MSS);
        assert_eq!(prr.cwnd(3 * MSS, 10 * MSS, MSS, MSS, MSS), 5 * MSS);
    }
}
