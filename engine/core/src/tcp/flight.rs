//! The scoreboard: what was sent and is not acknowledged, segment by segment
//! (RFC 6675 section 3, RFC 8985 section 5.1).
//!
//! ```text
//! records, by sequence     [ una .. ][ sacked ][ lost ][ .. ][ sacked ][ .. snd_max ]
//!                              |                         |                |
//! order, by time of sending    o---------------------------> .. -> o -----+
//! ```
//!
//! Records lie in a ring in the order of their sequence numbers. Those that are
//! neither selectively acknowledged nor lost are also linked in the order in
//! which they were last sent: loss detection by time walks that list from its
//! oldest end and stops early, so an acknowledgment costs what it changes and
//! not what is in flight (CVE-2019-11478).

use crate::seq::Seq;
use crate::wire::tcp::SackBlock;
use std::cmp::Ordering;
use std::collections::VecDeque;

const NONE: u64 = u64::MAX;
/// Records that a scoreboard which is reset keeps memory for.
const KEPT: usize = 64;

/// One segment that is in flight, or was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) seq: Seq,
    /// The sequence number after it, a SYN or FIN counted.
    pub(crate) end: Seq,
    /// When it was sent last, in microseconds modulo 2^32.
    pub(crate) sent_us: u32,
    older: u64,
    /// Of a delivered one, which is not in the order: up to where all are delivered,
    /// as far as was seen.
    newer: u64,
    is_sacked: bool,
    is_lost: bool,
    /// A retransmission of it is in flight.
    is_again: bool,
    /// It was sent more than once (Karn's algorithm: no round-trip sample).
    pub(crate) was_repeated: bool,
}

impl Sent {
    pub(crate) fn len(&self) -> u32 {
        self.end.bytes_since(self.seq)
    }

    /// It is held to be in the network, once at least.
    fn is_linked(&self) -> bool {
        !self.is_sacked && (!self.is_lost || self.is_again)
    }

    /// Sent before, or at the same time and earlier in sequence (RFC 8985
    /// section 6.2, RACK_sent_after).
    fn is_sent_before(&self, sent_us: u32, end: Seq) -> bool {
        let (a, b) = (Seq(self.sent_us), Seq(sent_us));
        a.precedes(b) || (a == b && self.end.precedes(end))
    }
}

/// What an acknowledgment delivered for the first time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Delivered {
    /// Bytes.
    pub(crate) bytes: u32,
    /// The segment sent last of those delivered; what RACK goes by.
    pub(crate) newest: Option<Sent>,
    /// When the segment with the highest number of those delivered was sent.
    pub(crate) last_us: Option<u32>,
    /// A segment below one that had been delivered before, sent only once: the
    /// network reorders, over so many bytes.
    pub(crate) reordered: u32,
    /// The segment sent last of those sent only once: a round-trip sample.
    pub(crate) sample_us: Option<u32>,
}

impl Delivered {
    /// A segment arrives, with data up to `before` delivered before it, and up to
    /// `high` by now.
    fn add_reordered(&mut self, sent: &Sent, before: Option<Seq>, high: Option<Seq>) {
        if let (Some(before), Some(high)) = (before, high)
            && !sent.was_repeated
            && sent.end.precedes(before)
        {
            self.reordered = self.reordered.max(high.bytes_since(sent.seq));
        }
    }

    fn add(&mut self, sent: &Sent) {
        self.bytes += sent.len();
        self.last_us = Some(sent.sent_us);
        if self
            .newest
            .is_none_or(|newest| newest.is_sent_before(sent.sent_us, sent.end))
        {
            self.newest = Some(*sent);
        }
        if !sent.was_repeated {
            let later = |us: u32| Seq(sent.sent_us).follows(Seq(us));
            if self.sample_us.is_none_or(later) {
                self.sample_us = Some(sent.sent_us);
            }
        }
    }
}

/// The segments in flight of one connection.
#[derive(Debug)]
pub(crate) struct Flight {
    records: VecDeque<Sent>,
    /// The name of the record at the front; names count up.
    first: u64,
    oldest: u64,
    newest: u64,
    sacked: u32,
    lost: u32,
    again: u32,
    sacked_segments: u32,
    /// The sequence number after the highest that was selectively acknowledged.
    highest_sacked: Option<Seq>,
    /// No record before this name waits to be retransmitted.
    lost_from: u64,
    /// Delivered records that blocks were walked over.
    #[cfg(test)]
    walked: u64,
}

impl Default for Flight {
    fn default() -> Flight {
        Flight {
            records: VecDeque::new(),
            first: 0,
            oldest: NONE,
            newest: NONE,
            sacked: 0,
            lost: 0,
            again: 0,
            sacked_segments: 0,
            highest_sacked: None,
            lost_from: 0,
            #[cfg(test)]
            walked: 0,
        }
    }
}

impl Flight {
    /// Forgets everything and keeps the memory, unless that has grown large.
    pub(crate) fn reset(&mut self) {
        self.records.clear();
        if self.records.capacity() > KEPT {
            self.records.shrink_to(KEPT);
        }
        (self.first, self.lost_from) = (0, 0);
        (self.oldest, self.newest) = (NONE, NONE);
        (self.lost, self.again) = (0, 0);
        (self.sacked, self.sacked_segments) = (0, 0);
        self.highest_sacked = None;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Segments in flight, delivered ones above a gap included.
    pub(crate) fn segments(&self) -> usize {
        self.records.len()
    }

    /// Segments that were selectively acknowledged.
    pub(crate) fn sacked_segments(&self) -> u32 {
        self.sacked_segments
    }

    /// Bytes that were selectively acknowledged.
    pub(crate) fn sacked(&self) -> u32 {
        self.sacked
    }

    /// Bytes that are lost and have not been sent again.
    pub(crate) fn lost(&self) -> u32 {
        self.lost - self.again
    }

    /// Bytes of these that were sent again.
    pub(crate) fn again(&self) -> u32 {
        self.again
    }

    /// Bytes held to be in the network (RFC 6675 section 3, pipe).
    pub(crate) fn pipe(&self) -> u32 {
        let all = match (self.records.front(), self.records.back()) {
            (Some(front), Some(back)) => back.end.bytes_since(front.seq),
            _ => 0,
        };
        (all + self.again).saturating_sub(self.sacked + self.lost)
    }

    fn at(&self, name: u64) -> usize {
        usize::try_from(name.wrapping_sub(self.first)).unwrap_or(usize::MAX)
    }

    fn name(&self, at: usize) -> u64 {
        self.first + at as u64
    }

    fn get(&self, name: u64) -> Option<&Sent> {
        self.records.get(self.at(name))
    }

    fn get_mut(&mut self, name: u64) -> Option<&mut Sent> {
        let at = self.at(name);
        self.records.get_mut(at)
    }

    fn link(&mut self, name: u64) {
        let older = std::mem::replace(&mut self.newest, name);
        if let Some(record) = self.get_mut(name) {
            record.older = older;
            record.newer = NONE;
        }
        match older {
            NONE => self.oldest = name,
            _ => {
                if let Some(record) = self.get_mut(older) {
                    record.newer = name;
                }
            }
        }
    }

    fn unlink(&mut self, name: u64) {
        let Some(&Sent { older, newer, .. }) = self.get(name) else {
            return;
        };
        match older {
            NONE => self.oldest = newer,
            _ => {
                if let Some(record) = self.get_mut(older) {
                    record.newer = newer;
                }
            }
        }
        match newer {
            NONE => self.newest = older,
            _ => {
                if let Some(record) = self.get_mut(newer) {
                    record.older = older;
                }
            }
        }
    }

    /// A new segment was sent: it follows all others.
    pub(crate) fn push(&mut self, seq: Seq, end: Seq, now_us: u32) {
        let name = self.name(self.records.len());
        self.records.push_back(Sent {
            seq,
            end,
            sent_us: now_us,
            older: NONE,
            newer: NONE,
            is_sacked: false,
            is_lost: false,
            is_again: false,
            was_repeated: false,
        });
        self.link(name);
    }

    /// A byte that probed a closed window and was not taken is all that is in
    /// flight: it is as if it had not been sent. False if it is not so.
    pub(crate) fn retract_probe(&mut self) -> bool {
        let is_probe = self.records.len() == 1 && self.records[0].len() == 1;
        if is_probe {
            self.reset();
        }
        is_probe
    }

    /// Everything below `una` was acknowledged.
    pub(crate) fn acknowledge(&mut self, una: Seq, delivered: &mut Delivered) {
        while let Some(&front) = self.records.front()
            && front.end.precedes_or_is(una)
        {
            self.forget_front(&front, delivered);
        }
        // The peer may acknowledge a part of a segment.
        let Some(front) = self.records.front_mut() else {
            return;
        };
        if front.seq.precedes(una) {
            let part = una.bytes_since(front.seq);
            front.seq = una;
            let (is_lost, is_again, is_sacked) = (front.is_lost, front.is_again, front.is_sacked);
            self.lost -= part * u32::from(is_lost);
            self.again -= part * u32::from(is_again);
            self.sacked -= part * u32::from(is_sacked);
            delivered.bytes += part * u32::from(!is_sacked);
        }
        if self
            .highest_sacked
            .is_some_and(|high| high.precedes_or_is(una))
        {
            self.highest_sacked = None;
        }
    }

    fn forget_front(&mut self, front: &Sent, delivered: &mut Delivered) {
        let len = front.len();
        if front.is_sacked {
            self.sacked -= len;
            self.sacked_segments -= 1;
        } else {
            let high = self.highest_sacked;
            delivered.add_reordered(front, high, high);
            delivered.add(front);
        }
        if front.is_linked() {
            self.unlink(self.first);
        }
        self.lost -= len * u32::from(front.is_lost);
        self.again -= len * u32::from(front.is_again);
        self.records.pop_front();
        self.first += 1;
        self.lost_from = self.lost_from.max(self.first);
    }

    /// A block of selectively acknowledged data, already known to lie between
    /// SND.UNA and SND.NXT. Only segments that lie in it whole count.
    pub(crate) fn sack(&mut self, block: SackBlock, delivered: &mut Delivered) {
        let start = self
            .records
            .partition_point(|record| record.seq.precedes(block.left));
        let before = self.highest_sacked;
        let high = before.map_or(block.right, |high| high.max(block.right));
        self.highest_sacked = Some(high);
        let mut at = start;
        while let Some(&record) = self.records.get(at)
            && record.end.precedes_or_is(block.right)
        {
            if record.is_sacked {
                at = self.past_sacked(at);
                continue;
            }
            delivered.add_reordered(&record, before, Some(high));
            delivered.add(&record);
            self.mark_sacked(at);
            at += 1;
        }
    }

    /// Past the run of delivered segments at `start`. Each of them that was walked over
    /// remembers the end, so a block that grows, or comes again, is not walked again.
    fn past_sacked(&mut self, start: usize) -> usize {
        let next = |flight: &mut Flight, at: usize| {
            #[cfg(test)]
            {
                flight.walked += 1;
            }
            let record = flight.records.get(at).filter(|record| record.is_sacked)?;
            Some(flight.at(record.newer))
        };
        let mut end = start;
        while let Some(after) = next(self, end) {
            end = after;
        }
        let (mut at, name) = (start, self.name(end));
        while at < end {
            let after = self.at(self.records[at].newer);
            self.records[at].newer = name;
            at = after;
        }
        end
    }

    fn mark_sacked(&mut self, at: usize) {
        let name = self.name(at);
        let record = self.records[at];
        if record.is_linked() {
            self.unlink(name);
        }
        self.lost -= record.len() * u32::from(record.is_lost);
        self.again -= record.len() * u32::from(record.is_again);
        self.sacked += record.len();
        self.sacked_segments += 1;
        let record = &mut self.records[at];
        record.is_sacked = true;
        record.is_lost = false;
        record.is_again = false;
        record.newer = name + 1;
    }

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

    /// Makes the order of sending anew; for what happens seldom.
    fn relink(&mut self) {
        (self.oldest, self.newest) = (NONE, NONE);
        let mut order: Vec<usize> = (0..self.records.len())
            .filter(|&at| self.records[at].is_linked())
            .collect();
        order.sort_by(|&a, &b| {
            let (a, b) = (&self.records[a], &self.records[b]);
            if a.is_sent_before(b.sent_us, b.end) {
                Ordering::Less
            } else {
                Ordering::Greater
            }
        });
        for at in order {
            self.link(self.name(at));
        }
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

    /// The segment sent last in sequence, with its name.
    pub(crate) fn back(&self) -> Option<(u64, Sent)> {
        let at = self.records.len().checked_sub(1)?;
        Some((self.name(at), self.records[at]))
    }

    /// The segment at SND.UNA, with its name.
    pub(crate) fn head(&self) -> Option<(u64, Sent)> {
        Some((self.first, *self.records.front()?))
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

    /// The segment that starts at `seq` is lost and was not sent again.
    pub(crate) fn is_lost_at(&self, seq: Seq) -> bool {
        let at = self
            .records
            .partition_point(|record| record.seq.precedes(seq));
        let record = self.records.get(at).filter(|record| record.seq == seq);
        record.is_some_and(|record| record.is_lost && !record.is_again)
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

    #[cfg(test)]
    /// What the counters say, counted anew: for tests and the simulator.
    pub(crate) fn is_consistent(&self) -> bool {
        let sum = |is_it: fn(&Sent) -> bool| -> u32 {
            self.records
                .iter()
                .filter(|r| is_it(r))
                .map(Sent::len)
                .sum()
        };
        let linked = self.records.iter().filter(|r| r.is_linked()).count();
        let mut walked = Vec::new();
        let mut name = self.oldest;
        while let Some(record) = self.get(name)
            && walked.len() <= linked
        {
            walked.push(*record);
            name = record.newer;
        }
        walked.len() == linked
            && walked.is_sorted_by(|a, b| !b.is_sent_before(a.sent_us, a.end))
            && self.sacked == sum(|r| r.is_sacked)
            && self.lost == sum(|r| r.is_lost)
            && self.again == sum(|r| r.is_again)
            && self.records.iter().all(|r| !(r.is_sacked && r.is_lost))
            && self.runs_are_sound()
    }

    #[cfg(test)]
    /// What a delivered record skips is delivered.
    fn runs_are_sound(&self) -> bool {
        (0..self.records.len()).all(|at| {
            let record = &self.records[at];
            let skipped = at..self.at(record.newer);
            !record.is_sacked || self.records.range(skipped).all(|r| r.is_sacked)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: Seq = Seq(u32::MAX - 5_000);

    #[derive(Clone, Debug)]
    enum Op {
        Send(u32),
        Acknowledge(u32),
        Sack(u32, u32),
        DetectLost(u32),
        Timeout,
        Resend,
        Forgive,
        Cut,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => (1u32..1_500).prop_map(Op::Send),
            2 => (0u32..4_000).prop_map(Op::Acknowledge),
            3 => (0u32..9_000, 1u32..4_000).prop_map(|(at, len)| Op::Sack(at, len)),
            2 => (0u32..400).prop_map(Op::DetectLost),
            1 => Just(Op::Timeout),
            3 => Just(Op::Resend),
            1 => Just(Op::Forgive),
            1 => Just(Op::Cut),
        ]
    }

    proptest! {
        /// Whatever happens in whatever order, each byte is delivered once, the
        /// counters are what a count says, and the pipe holds no more than is out.
        #[test]
        fn every_byte_is_delivered_once_and_the_counters_agree(ops in prop::collection::vec(op(), 1..150)) {
            let mut flight = Flight::default();
            let (mut una, mut nxt) = (START, START);
            let mut now = 0;
            let mut delivered_bytes = 0;
            for op in ops {
                now += 50;
                let mut delivered = Delivered::default();
                match op {
                    Op::Send(len) => {
                        flight.push(nxt, nxt + len, now);
                        nxt += len;
                    }
                    Op::Acknowledge(len) => {
                        una = (una + len).min(nxt);
                        flight.acknowledge(una, &mut delivered);
                    }
                    Op::Sack(at, len) => {
                        let left = (una + 1 + at).min(nxt);
                        flight.sack(SackBlock { left, right: (left + len).min(nxt) }, &mut delivered);
                    }
                    Op::DetectLost(allowance) => {
                        if let Some((_, back)) = flight.back() {
                            flight.detect_lost(now, back.sent_us, back.end, allowance);
                        }
                    }
                    Op::Timeout => flight.mark_all_lost(now, 100),
                    Op::Resend => if let Some((name, _)) = flight.next_lost() {
                        flight.sent_again(name, now);
                    },
                    Op::Forgive => flight.forgive(),
                    Op::Cut => flight.cut(400),
                }
                delivered_bytes += delivered.bytes;
                prop_assert!(flight.is_consistent(), "{flight:?}");
                let out = nxt.bytes_since(una);
                prop_assert!(flight.pipe() <= out);
                // What is out is delivered above a gap, or not at all; reneging
                // (a timeout with the front delivered) may deliver a byte again.
                prop_assert!(delivered_bytes >= una.bytes_since(START) + flight.sacked());
            }
            let mut delivered = Delivered::default();
            flight.acknowledge(nxt, &mut delivered);
            prop_assert!(flight.is_empty() && flight.pipe() == 0);
            prop_assert!(flight.next_lost().is_none());
        }
    }

    fn three_sent() -> Flight {
        let mut flight = Flight::default();
        for n in 0..3 {
            flight.push(Seq(n * 100), Seq((n + 1) * 100), n * 10);
        }
        flight
    }

    #[test]
    fn what_was_sent_before_a_delivered_segment_is_lost_in_time() {
        let mut flight = three_sent();
        let mut delivered = Delivered::default();
        flight.sack(
            SackBlock {
                left: Seq(200),
                right: Seq(300),
            },
            &mut delivered,
        );
        let newest = delivered.newest.unwrap();
        assert_eq!(
            (newest.seq, delivered.bytes, flight.pipe()),
            (Seq(200), 100, 200)
        );
        // At 110 the first two are 110 and 100 old.
        assert_eq!(
            flight.detect_lost(110, newest.sent_us, newest.end, 105),
            Some(5)
        );
        assert_eq!(flight.next_lost().map(|(_, lost)| lost.seq), Some(Seq(0)));
        assert_eq!(
            flight.detect_lost(115, newest.sent_us, newest.end, 105),
            None
        );
        assert_eq!(flight.pipe(), 0);
        // Sent again, it is in the pipe, and later in the order of sending.
        flight.sent_again(0, 120);
        assert_eq!(
            (flight.pipe(), flight.next_lost().map(|(_, lost)| lost.seq)),
            (100, Some(Seq(100)))
        );
        assert_eq!(
            flight.detect_lost(500, newest.sent_us, newest.end, 105),
            None
        );
    }

    /// Attack case 39 (CVE-2019-11478): acknowledgments that name all that was delivered
    /// again and again, from one byte on or from any, cost no walk over all of it.
    #[test]
    fn an_acknowledgment_costs_what_it_changes() {
        const SEGMENTS: u32 = 10_000;
        for step in [0, 37] {
            let mut flight = Flight::default();
            for n in 0..SEGMENTS {
                flight.push(Seq(n * 100), Seq((n + 1) * 100), n);
            }
            for n in 1..SEGMENTS {
                let left = Seq(100 * (1 + step * n % n));
                let right = Seq(100 * (n + 1));
                flight.sack(SackBlock { left, right }, &mut Delivered::default());
            }
            assert_eq!(flight.sacked_segments(), SEGMENTS - 1);
            let most = 20 * u64::from(SEGMENTS);
            assert!(flight.walked <= most, "{}", flight.walked);
        }
    }

    #[test]
    fn a_segment_that_arrives_below_a_delivered_one_shows_reordering() {
        let mut flight = three_sent();
        let mut delivered = Delivered::default();
        flight.sack(
            SackBlock {
                left: Seq(100),
                right: Seq(300),
            },
            &mut delivered,
        );
        assert_eq!(delivered.reordered, 0);
        flight.acknowledge(Seq(300), &mut delivered);
        assert_eq!(delivered.reordered, 300);
    }

    #[test]
    fn a_peer_that_takes_back_a_selective_acknowledgment_is_sent_all_of_it() {
        let mut flight = three_sent();
        let mut delivered = Delivered::default();
        flight.sack(
            SackBlock {
                left: Seq(100),
                right: Seq(200),
            },
            &mut delivered,
        );
        flight.acknowledge(Seq(100), &mut delivered);
        flight.mark_all_lost(1_000, 100);
        let lost: Vec<Seq> = std::iter::from_fn(|| {
            let (name, lost) = flight.next_lost()?;
            flight.sent_again(name, 1_000);
            Some(lost.seq)
        })
        .collect();
        assert_eq!(lost, [Seq(100), Seq(200)]);
    }
}
