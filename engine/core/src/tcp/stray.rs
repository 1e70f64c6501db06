//! Segments of flows that another shard of this host has (see
//! [`siblings`](crate::siblings)).

use super::{Cx, Segment, Tcp};
use crate::flow::{FlowKey, FlowReader};
use crate::frame::Frame;
use crate::stats::DropReason;

impl Tcp {
    /// The sibling that seems to have a flow that is none of this shard's.
    pub(crate) fn owner_elsewhere(&mut self, key: &FlowKey) -> Option<usize> {
        if self.siblings.are_none() {
            return None;
        }
        // All have one seed, and so the same hash.
        let hash = self.shared.hasher.hash(key);
        self.siblings.owner_of(hash)
    }

    /// Sends a segment on its way to its owner; the frame stays here.
    pub(super) fn hand_over(
        &mut self,
        owner: usize,
        segment: &Segment,
        frame: &Option<Frame>,
    ) -> Result<(), DropReason> {
        let data = frame.as_ref().map_or(&[][..], Frame::data);
        if !self.siblings.hand_over(owner, segment, data) {
            return Err(DropReason::StrayQueueFull);
        }
        self.shared.stats.segments_in -= 1;
        self.shared.stats.strays_out += 1;
        Ok(())
    }

    /// Processes segments that siblings handed over, at most `budget`: how many.
    pub(crate) fn input_strays(&mut self, cx: &mut Cx, budget: usize) -> usize {
        for count in 0..budget {
            let Some(stray) = self.siblings.next_stray() else {
                return count;
            };
            self.shared.stats.strays_in += 1;
            self.input(cx, &stray.segment, stray.data);
        }
        self.siblings.lay_down_stray();
        budget
    }

    /// What siblings see of the flows of this shard.
    pub(crate) fn flows(&self) -> FlowReader {
        self.shared.table.reader()
    }
}
