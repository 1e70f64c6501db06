//! What of a flight is lost, what of that was sent again, and what is taken back of
//! either.

use super::{Flight, Sent};
use crate::seq::Seq;
use std::collections::VecDeque;

impl Flight {
    /// Marks as lost what was sent before the segment (`sent_us`, `end`) and
    /// `allowance_us` ago or longer (RFC 8985 section 6.2, step 5). Tells how many
    /// microseconds are left to the one that will be next, if there is one.
    pub(crate) fn detect_lost(
        &mut self,
        now_us: u32,
        sent_us: u32,
        end: Seq,
        allowance_us: u32,
    ) -> Option<u32> {
        while let Some(&record) = self.get(self.oldest) {
            if !record.is_sent_before(sent_us, end) {
                return None;
            }
            let age = now_us.wrapping_sub(record.sent_us);
            if age < allowance_us {
                // Those behind it were sent later still.
                return Some(allowance_us - age);
            }
            self.mark_lost(self.oldest);
        }
        None
    }

    /// The segment at SND.UNA is lost: its duplicate acknowledgments say so, or
    /// its timer.
    pub(crate) fn mark_front_lost(&mut self) {
        if self.records.front().is_some_and(|front| !front.is_sacked) {
            self.mark_lost(self.first);
        }
    }

    /// After a timeout everything is lost that was not delivered, but for what was
    /// sent less than `recent_us` ago (RFC 8985 section 6.3). A peer that takes
    /// back what it acknowledged selectively is not believed any more
    /// (RFC 2018 section 8).
    pub(crate) fn mark_all_lost(&mut self, now_us: u32, recent_us: u32) {
        if self.records.front().is_some_and(|front| front.is_sacked) {
            self.forget_sacks();
        }
        self.mark_front_lost();
        for at in 0..self.records.len() {
            let record = self.records[at];
            if !record.is_sacked && now_us.wrapping_sub(record.sent_us) >= recent_us {
                self.mark_lost(self.name(at));
            }
        }
    }

    fn forget_sacks(&mut self) {
        for record in &mut self.records {
            record.is_sacked = false;
        }
        (self.sacked, self.sacked_segments) = (0, 0);
        self.highest_sacked = None;
        self.relink();
    }

    /// Takes back that segments were lost: they are in flight after all, and only
    /// acknowledgments come late (RFC 4015 section 3).
    pub(crate) fn forgive(&mut self) {
        for record in &mut self.records {
            record.is_lost &= record.is_again;
        }
        self.lost = self.again;
        self.relink();
    }

    fn mark_lost(&mut self, name: u64) {
        let Some(&record) = self.get(name).filter(|record| record.is_linked()) else {
            return;
        };
        self.unlink(name);
        if record.is_again {
            self.again -= record.len();
        } else {
            self.lost += record.len();
        }
        if let Some(record) = self.get_mut(name) {
            record.is_lost = true;
            record.is_again = false;
        }
        self.lost_from = self.lost_from.min(name);
    }

    /// The first segment that is lost and was not sent again.
    pub(crate) fn next_lost(&mut self) -> Option<(u64, Sent)> {
        while let Some(&record) = self.get(self.lost_from) {
            if record.is_lost && !record.is_again {
                return Some((self.lost_from, record));
            }
            self.lost_from += 1;
        }
        None
    }

    /// The segment that starts at `seq` is lost and was not sent again.
    pub(crate) fn is_lost_at(&self, seq: Seq) -> bool {
        let at = self
            .records
            .partition_point(|record| record.seq.precedes(seq));
        let record = self.records.get(at).filter(|record| record.seq == seq);
        record.is_some_and(|record| record.is_lost && !record.is_again)
    }

    /// A segment was sent again.
    pub(crate) fn sent_again(&mut self, name: u64, now_us: u32) {
        let Some(&record) = self.get(name).filter(|record| !record.is_sacked) else {
            return;
        };
        if record.is_linked() {
            self.unlink(name);
        } else {
            self.again += record.len();
        }
        if let Some(record) = self.get_mut(name) {
            record.is_again = record.is_lost;
            record.was_repeated = true;
            record.sent_us = now_us;
        }
        self.link(name);
    }

    /// What lies before `end` was sent again, by a probe of the window. A segment of
    /// which that is a part still waits to be sent, but is no round-trip sample.
    pub(crate) fn sent_again_to(&mut self, end: Seq, now_us: u32) {
        for at in 0..self.records.len() {
            let record = &mut self.records[at];
            if record.end.follows(end) {
                record.was_repeated |= record.seq.precedes(end);
                return;
            }
            self.sent_again(self.name(at), now_us);
        }
    }

    /// Segments are at most `mss` long from now on: those in flight that are longer
    /// are cut, and are lost (RFC 1191 section 6.4).
    pub(crate) fn cut(&mut self, mss: u32) {
        if self.records.iter().all(|record| record.len() <= mss) {
            return;
        }
        let mut cut = VecDeque::with_capacity(2 * self.records.len());
        for record in &self.records {
            let mut piece = *record;
            if record.len() > mss && !record.is_sacked {
                (piece.is_lost, piece.is_again) = (true, false);
            }
            while piece.seq.precedes(record.end) {
                piece.end = (piece.seq + mss).min(record.end);
                piece.newer = self.first + cut.len() as u64 + 1;
                cut.push_back(piece);
                piece.seq = piece.end;
            }
        }
        self.records = cut;
        self.lost_from = self.first;
        let sum = |is_it: fn(&Sent) -> bool| -> u32 {
            let those = self.records.iter().filter(|record| is_it(record));
            those.map(Sent::len).sum()
        };
        (self.lost, self.again) = (sum(|r| r.is_lost), sum(|r| r.is_again));
        let sacked = self.records.iter().filter(|record| record.is_sacked);
        self.sacked_segments = u32::try_from(sacked.count()).unwrap_or(u32::MAX);
        self.relink();
    }
}
