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

mod delivered;
mod loss;
mod order;
#[cfg(test)]
mod tests;

pub(crate) use delivered::Delivered;

use crate::seq::Seq;
use crate::wire::tcp::SackBlock;
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

    /// The segment sent last in sequence, with its name.
    pub(crate) fn back(&self) -> Option<(u64, Sent)> {
        let at = self.records.len().checked_sub(1)?;
        Some((self.name(at), self.records[at]))
    }

    /// The segment at SND.UNA, with its name.
    pub(crate) fn head(&self) -> Option<(u64, Sent)> {
        Some((self.first, *self.records.front()?))
    }
}
