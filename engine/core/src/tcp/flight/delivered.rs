//! What an acknowledgment, cumulative or selective, says to have arrived.

use super::Sent;
use crate::seq::Seq;

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
    pub(super) fn add_reordered(&mut self, sent: &Sent, before: Option<Seq>, high: Option<Seq>) {
        if let (Some(before), Some(high)) = (before, high)
            && !sent.was_repeated
            && sent.end.precedes(before)
        {
            self.reordered = self.reordered.max(high.bytes_since(sent.seq));
        }
    }

    pub(super) fn add(&mut self, sent: &Sent) {
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
