//! When less than a full segment is sent, and which segments carry PSH: Nagle's
//! algorithm, and what an application says of the end of what it sends (RFC 9293
//! sections 3.7.4 and 3.9.1.2).

use super::Shared;
use super::tcb::{Tcb, TcbFlags};
use crate::seq::Seq;

/// What the end of a send is: the PUSH flag of the call (RFC 9293 section 3.9.1.2,
/// MAY-15), and more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    /// It is pushed.
    #[default]
    Push,
    /// MSG_MORE: it is not. What fills no segment waits for the next send, though not
    /// longer than for an acknowledgment or a retransmission timeout.
    More,
    /// MSG_EOR: a record ends. It is pushed, and no segment goes past it.
    Record,
}

impl Tcb {
    /// Something was queued that ends so.
    pub(crate) fn note_ending(&mut self, ending: Ending) {
        self.unset(TcbFlags::FLUSH);
        for flag in [TcbFlags::MORE, TcbFlags::UNPUSHED] {
            if ending == Ending::More {
                self.set(flag);
            } else {
                self.unset(flag);
            }
        }
        if ending == Ending::Record {
            self.set(TcbFlags::RECORDS);
        }
    }

    /// All that was queued was sent and acknowledged.
    pub(crate) fn forget_endings(&mut self) {
        self.unset(TcbFlags::RECORDS);
        self.unset(TcbFlags::FLUSH);
    }

    /// A segment of new data was sent that was not full, and ends here.
    pub(crate) fn note_small(&mut self, end: Seq) {
        if let Some(cold) = self.cold.as_deref_mut() {
            cold.small = Some(end);
        }
    }

    /// A segment that was not full has not been acknowledged.
    fn has_small(&mut self) -> bool {
        let una = self.snd_una;
        let Some(cold) = self.cold.as_deref_mut() else {
            return self.small_lone().is_some();
        };
        cold.small = cold.small.filter(|end| end.follows(una));
        cold.small.is_some()
    }
}

impl Shared {
    /// The last that is queued may leave in a segment that is not full. Nagle's
    /// algorithm holds it back (SHLD-7) only while another such segment is out, as
    /// appendix A.3 of RFC 9293 has it: a full one that waits for a second at the peer
    /// has it here. A FIN waits for nothing (MUST-60).
    ///
    /// Corked, only what is full leaves; what has waited for a retransmission timeout
    /// is sent as an override.
    pub(crate) fn may_be_small(&self, tcb: &mut Tcb) -> bool {
        let options = self.options(tcb);
        let is_held = options.cork || tcb.is(TcbFlags::MORE);
        let may_be_small = !is_held && options.nodelay;
        tcb.is(TcbFlags::FIN_QUEUED)
            || tcb.is(TcbFlags::FLUSH)
            || may_be_small
            || (!is_held && !tcb.has_small())
    }

    /// Of `len` bytes from `seq` on, those up to the end of a record.
    pub(crate) fn within_record(&self, tcb: &Tcb, seq: Seq, len: u32) -> u32 {
        self.record_end(tcb, seq, len).unwrap_or(len)
    }

    /// Where the record ends that `seq` is in, if it is within `len` bytes.
    fn record_end(&self, tcb: &Tcb, seq: Seq, len: u32) -> Option<u32> {
        if !tcb.is(TcbFlags::RECORDS) {
            return None;
        }
        let end = self
            .chunks
            .record_end(tcb.send_queue, tcb.place_of(seq), len.into());
        end.and_then(|end| u32::try_from(end).ok())
    }

    /// A segment of these `len` bytes carries PSH: a record ends with it, or all that
    /// was pushed (MUST-61). `is_probe`: it is sent as an override.
    pub(crate) fn is_pushed(&self, tcb: &Tcb, seq: Seq, len: u32, is_probe: bool) -> bool {
        let reaches_end = seq + len == tcb.data_end();
        let is_end = !tcb.is(TcbFlags::UNPUSHED) || is_probe || tcb.is(TcbFlags::FIN_QUEUED);
        len > 0 && ((reaches_end && is_end) || self.record_end(tcb, seq, len) == Some(len))
    }
}
