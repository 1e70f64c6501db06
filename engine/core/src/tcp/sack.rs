//! What a receiver reports: blocks of data past a gap (RFC 2018 section 4) and
//! data that came twice (RFC 2883).
//!
//! The block that changed last comes first, then the others by how recently they
//! changed, so that a report that is lost is repeated by the next few.

use crate::seq::Seq;
use crate::wire::tcp::{SackBlock, SackBlocks};

/// The blocks of one connection, the one that changed last in front.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Report {
    blocks: SackBlocks,
    duplicate: Option<SackBlock>,
}

impl Report {
    pub(crate) fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.duplicate.is_none()
    }

    /// Data arrived past a gap. The oldest block is forgotten where there are
    /// more than fit into one option; it is learned again when it changes.
    pub(crate) fn add(&mut self, left: Seq, right: Seq) {
        let mut grown = SackBlock { left, right };
        let mut others = SackBlocks::default();
        for block in self.blocks.as_slice() {
            let is_apart = block.right.precedes(grown.left) || block.left.follows(grown.right);
            if is_apart {
                others.push(*block);
            } else {
                grown.left = grown.left.min(block.left);
                grown.right = grown.right.max(block.right);
            }
        }
        self.blocks = SackBlocks::default();
        self.blocks.push(grown);
        for block in others.as_slice() {
            self.blocks.push(*block);
        }
    }

    /// Data arrived that had been received before (RFC 2883 section 4).
    pub(crate) fn add_duplicate(&mut self, left: Seq, right: Seq) {
        self.duplicate = Some(SackBlock { left, right });
    }

    /// Everything up to `rcv_nxt` is acknowledged now.
    pub(crate) fn advance(&mut self, rcv_nxt: Seq) {
        if self.blocks.is_empty() {
            return;
        }
        let mut left = SackBlocks::default();
        for block in self.blocks.as_slice() {
            if block.right.follows(rcv_nxt) {
                left.push(*block);
            }
        }
        self.blocks = left;
    }

    /// The option of the next acknowledgment, of at most `most` blocks. A duplicate
    /// is reported once, in front (RFC 2883 section 4).
    pub(crate) fn take(&mut self, most: usize) -> SackBlocks {
        let mut option = SackBlocks::default();
        let duplicate = self.duplicate.take();
        for block in duplicate.iter().chain(self.blocks.as_slice()).take(most) {
            option.push(*block);
        }
        option
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        /// Blocks hold only what has arrived, don't touch each other, and the first
        /// is the whole stretch around what arrived last.
        #[test]
        fn blocks_agree_with_a_set_of_bytes(parts in prop::collection::vec((1u32..200, 1u32..20), 1..40), cut in 0u32..60) {
            let base = Seq(u32::MAX - 100);
            let mut report = Report::default();
            let mut model = BTreeSet::new();
            for (at, len) in parts {
                report.add(base + at, base + at + len);
                model.extend(at..at + len);
                let blocks = report.take(4);
                let first = blocks.as_slice()[0];
                let (left, right) = (first.left.bytes_since(base), first.right.bytes_since(base));
                prop_assert!(left <= at && right >= at + len);
                for block in blocks.as_slice() {
                    let (left, right) = (block.left.bytes_since(base), block.right.bytes_since(base));
                    prop_assert!((left..right).all(|n| model.contains(&n)));
                }
            }
            report.advance(base + cut);
            for block in report.take(4).as_slice() {
                prop_assert!(block.right.follows(base + cut));
            }
        }
    }

    #[test]
    fn the_latest_comes_first_and_a_duplicate_before_it_once() {
        let mut report = Report::default();
        for at in [10, 30, 50, 70, 90] {
            report.add(Seq(at), Seq(at + 5));
        }
        report.add_duplicate(Seq(1), Seq(5));
        let lefts = |blocks: SackBlocks| -> Vec<u32> {
            blocks.as_slice().iter().map(|block| block.left.0).collect()
        };
        assert_eq!(lefts(report.take(3)), [1, 90, 70]);
        assert_eq!(lefts(report.take(3)), [90, 70, 50]);
        // 10 was pushed out by then; it comes back when it grows.
        report.add(Seq(15), Seq(20));
        assert_eq!(lefts(report.take(4)), [15, 90, 70, 50]);
    }
}
