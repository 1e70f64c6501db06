//! Urgent data (RFC 9293 section 3.8.5; RFC 6093): a mark in the stream, up to
//! which the receiver is asked to hurry.
//!
//! It is delivered in line. The mark may lie any number of bytes ahead (MUST-31),
//! and points to the byte after the urgent ones (MUST-62). New applications should
//! not use it (SHLD-13): middleboxes clear it, and stacks differ in what it points
//! to; none in this repository does.

use super::tcb::{Events, Tcb, TcbFlags};
use super::{ConnectionId, Segment, Shared, Tcp};
use crate::seq::Seq;
use crate::wire::tcp::{Flags, Header};

impl Tcp {
    /// What is queued is urgent up to its end: SND.UP (RFC 9293 section 3.10.2,
    /// MUST-30). It is told at once, even to a peer whose window is closed.
    pub(crate) fn mark_urgent(&mut self, id: ConnectionId) {
        let Some(tcb) = self.connections.get_mut(id.index) else {
            return;
        };
        let end = tcb.data_end();
        self.shared.warm(tcb).snd_up = Some(end);
        if tcb.state.is_synchronized() {
            tcb.set(TcbFlags::ACK_NOW);
        }
        self.shared.queue_output(id.index, tcb);
    }
}

impl Tcb {
    /// Bytes of the stream that the application has still to read before the
    /// urgent data ends (MUST-33), those that have not come yet among them.
    pub(crate) fn urgent_remaining(&self) -> u32 {
        let read = self.rcv_nxt.back(self.receive_queued);
        let end = self.cold().and_then(|cold| cold.rcv_up);
        end.map_or(0, |end| end.distance_from(read).max(0).unsigned_abs())
    }

    /// Forgets marks that everything has passed: numbers that lie further back
    /// than half the circle would look as if they were ahead.
    pub(crate) fn forget_urgent(&mut self) {
        let (is_read, una) = (self.urgent_remaining() == 0, self.snd_una);
        if let Some(cold) = self.cold.as_deref_mut() {
            cold.rcv_up = cold.rcv_up.filter(|_| !is_read);
            cold.snd_up = cold.snd_up.filter(|end| end.follows(una));
        }
    }

    /// Marks a segment that leaves, if urgent data ends behind its start.
    pub(crate) fn mark_segment(&self, header: &mut Header) {
        let Some(end) = self.cold().and_then(|cold| cold.snd_up) else {
            return;
        };
        if end.follows(header.seq) {
            header.flags = header.flags | Flags::URG;
            header.urgent = u16::try_from(end.bytes_since(header.seq)).unwrap_or(u16::MAX);
        }
    }
}

impl Shared {
    /// Sixth: the URG bit (RFC 9293 section 3.10.7.4), whatever the window (MUST-66).
    /// The application hears of every advance of the mark (MUST-32).
    pub(crate) fn check_urgent(&mut self, index: u32, tcb: &mut Tcb, segment: &Segment) {
        let Header {
            flags, seq, urgent, ..
        } = segment.header;
        let is_heard = tcb.state.may_receive() && !tcb.is(TcbFlags::ORPHAN);
        if !flags.contains(Flags::URG) || !is_heard {
            return;
        }
        let end: Seq = seq + u32::from(urgent);
        let old = tcb.cold().and_then(|cold| cold.rcv_up);
        let read = tcb.rcv_nxt.back(tcb.receive_queued);
        if end.follows(read) && old.is_none_or(|old| end.follows(old)) {
            self.warm(tcb).rcv_up = Some(end);
            self.notify(index, tcb, Events::URGENT);
        }
    }
}
