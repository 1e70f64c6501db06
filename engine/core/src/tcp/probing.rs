//! Path MTU discovery without ICMP (RFC 4821, RFC 8899): a path that swallows
//! large packets in silence is found out, and then probed for what it takes.
//!
//! ```text
//! two timeouts of a large segment
//!        |
//!        v        a probe arrives: low = its size
//!     low = base --------------------------------> ... -> high - low is small
//!     high = what was lost                                     |
//!        ^        a probe is lost: high = its size             v
//!        +---------------- after 10 minutes ------------- the search rests
//! ```
//!
//! Probes are segments of new data (RFC 4821 section 7.3), so nothing is sent
//! for the sake of probing alone.

use super::Shared;
use super::cold::Cold;
use super::tcb::Tcb;
use crate::seq::Seq;
use crate::time::{Duration, Instant};

/// What every path is held to take, headers and all: BASE_PLPMTU (RFC 8899
/// section 5.1.2).
const BASE_PLPMTU: u16 = 1_200;
/// IP and TCP headers of the larger family, and the timestamps option.
const HEADERS: u16 = 72;
/// Timeouts in a row that make a black hole (RFC 8899 section 4.3).
const TIMEOUTS: u8 = 2;
/// A search that has come this close is over.
const CLOSE: u16 = 16;
/// PMTU_RAISE_TIMER (RFC 8899 section 5.1.1).
const RAISE: Duration = Duration::from_secs(600);

/// The search of one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Search {
    low: u16,
    high: u16,
    /// The largest that was ever asked for.
    top: u16,
    /// The probe under way: where it starts, and its size.
    probe: Option<(Seq, u16)>,
    /// When the search found its end.
    rested: Option<Instant>,
}

impl Search {
    fn next_size(&mut self, now: Instant) -> Option<u16> {
        if self.rested.is_some_and(|since| now.since(since) >= RAISE) {
            self.rested = None;
            self.high = self.top;
        }
        if self.probe.is_some() || self.rested.is_some() {
            return None;
        }
        if self.high.saturating_sub(self.low) <= CLOSE {
            self.rested = Some(now);
            return None;
        }
        // The old size first: most often it was not the path (RFC 8899 section 5.3.2).
        if self.high == self.top {
            return Some(self.top);
        }
        Some(self.low + (self.high - self.low) / 2)
    }
}

impl Cold {
    /// A timeout tells nothing of the probe under way: it goes again in pieces.
    pub(crate) fn forget_probe(&mut self, mss: u16) {
        if let Some(search) = &mut self.search
            && search.probe.take().is_some()
        {
            self.flight.cut(u32::from(mss));
        }
    }
}

impl Shared {
    /// A timeout. After two in a row of large segments the path is held to swallow
    /// them (RFC 4821 section 7.7).
    pub(crate) fn suspect_black_hole(&mut self, index: u32, tcb: &mut Tcb) {
        let base = BASE_PLPMTU - HEADERS;
        if !self.config.mtu_probing || tcb.backoff != TIMEOUTS || tcb.mss <= base {
            return;
        }
        let is_large = tcb
            .cold()
            .and_then(|cold| cold.flight.head())
            .is_some_and(|(_, head)| head.len() > u32::from(base));
        if !is_large {
            return;
        }
        let top = tcb.mss;
        self.narrow(index, tcb, base);
        self.warm(tcb).search = Some(Search {
            low: base,
            high: top,
            top,
            probe: None,
            rested: None,
        });
        self.stats.black_holes += 1;
    }

    /// How large the next segment of new data may be: a probe's size now and then,
    /// when there is enough behind it to tell its loss from a lull.
    pub(crate) fn probe_size(now: Instant, cold: &mut Cold, mss: u32, unsent: u32) -> Option<u32> {
        let is_calm = cold.recovery.is_open() && cold.flight.lost() == 0;
        let search = cold.search.as_mut().filter(|_| is_calm)?;
        let size = u32::from(search.next_size(now)?);
        (unsent >= size + 4 * mss).then_some(size)
    }

    /// A segment of new data has left: was it a probe?
    pub(crate) fn note_size(tcb: &mut Tcb, seq: Seq, len: u32) {
        let mss = u32::from(tcb.mss);
        if let Some(search) = tcb
            .cold
            .as_deref_mut()
            .and_then(|cold| cold.search.as_mut())
            && len > mss
        {
            search.probe = Some((seq, u16::try_from(len).unwrap_or(u16::MAX)));
        }
    }

    /// What became of the probe. Its loss says nothing of congestion (RFC 4821
    /// section 7.5): true when a loss that was found now is the probe's alone.
    pub(crate) fn judge_size(&mut self, now: Instant, tcb: &mut Tcb, lost: u32) -> bool {
        let (una, mss) = (tcb.snd_una, tcb.mss);
        let Some(cold) = tcb.cold.as_deref_mut() else {
            return false;
        };
        let Some(search) = &mut cold.search else {
            return false;
        };
        let Some((seq, size)) = search.probe else {
            return false;
        };
        if una.follows_or_is(seq + u32::from(size)) {
            search.probe = None;
            search.low = size;
            if size == search.top {
                search.rested = Some(now);
            }
            tcb.mss = size;
            return false;
        }
        if !cold.flight.is_lost_at(seq) {
            return false;
        }
        search.probe = None;
        search.high = size - 1;
        cold.flight.cut(u32::from(mss));
        lost == u32::from(size)
    }
}
