//! Explicit congestion notification (RFC 3168): routers mark packets instead of
//! losing them, receivers echo the mark, senders answer it as they would a loss.
//!
//! ```text
//! sender --ECT(0)--> router --CE--> receiver
//!        <------------ECE----------          until it sees CWR
//!        -------------CWR--------->
//! ```
//! RFC 9293 section 3.8.2, SHLD-8.

use super::tcb::{Tcb, TcbFlags};
use super::{Segment, Shared};
use crate::wire::tcp::Flags;

/// When ECN is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Ecn {
    /// Never.
    Off,
    /// When the peer asks for it, as Linux's default.
    #[default]
    Passive,
    /// It is asked for, too.
    Active,
}

/// The codepoints of the ECN field (RFC 3168 section 5).
pub(crate) mod codepoint {
    pub(crate) const NOT_ECT: u8 = 0;
    pub(crate) const ECT_0: u8 = 2;
    pub(crate) const CE: u8 = 3;
}

const SETUP: Flags = Flags(Flags::ECE.0 | Flags::CWR.0);

impl Shared {
    /// The flags that a SYN or SYN-ACK of a connection has besides (section 6.1.1).
    /// A SYN that was not answered comes again without: some middle boxes drop it
    /// (section 6.1.1.1).
    pub(crate) fn ecn_of_syn(&self, tcb: &Tcb, is_answer: bool) -> Flags {
        match (is_answer, self.config.ecn) {
            (true, _) if tcb.is(TcbFlags::ECN) => Flags::ECE,
            (false, Ecn::Active) if tcb.backoff == 0 => SETUP,
            _ => Flags(0),
        }
    }

    /// A SYN asks for ECN, and we speak it.
    pub(crate) fn accepts_ecn(&self, flags: Flags) -> bool {
        flags.contains(SETUP) && self.config.ecn != Ecn::Off
    }

    /// A SYN-ACK agrees to ECN that we have asked for.
    pub(crate) fn take_ecn_answer(&self, tcb: &mut Tcb, flags: Flags) {
        let agrees = flags.contains(Flags::ECE) && !flags.contains(Flags::CWR);
        if agrees && self.config.ecn == Ecn::Active && tcb.backoff == 0 {
            tcb.set(TcbFlags::ECN);
        }
    }

    /// The receiver's side (section 6.1.3): a mark is echoed until the sender says
    /// that it has seen it.
    pub(crate) fn take_mark(&mut self, tcb: &mut Tcb, segment: &Segment) {
        if !tcb.is(TcbFlags::ECN) {
            return;
        }
        if segment.header.flags.contains(Flags::CWR) {
            tcb.unset(TcbFlags::ECE_DUE);
        }
        if segment.ecn == codepoint::CE && segment.payload_len > 0 {
            tcb.set(TcbFlags::ECE_DUE);
            self.stats.ce_received += 1;
        }
    }

    /// The sender's side (section 6.1.2): an echo is answered as a loss, once a
    /// round trip, and never besides one.
    pub(crate) fn take_echo(&mut self, tcb: &mut Tcb, segment: &Segment) {
        if !tcb.is(TcbFlags::ECN) || !segment.header.flags.contains(Flags::ECE) {
            return;
        }
        let algorithm = self.congestion(tcb);
        let (una, nxt) = (tcb.snd_una, tcb.snd_nxt);
        if una == nxt {
            return;
        }
        let cold = self.warm(tcb);
        if !cold.recovery.may_reduce(una, nxt) {
            return;
        }
        let window = tcb.congestion.cwnd;
        let (congested, mss) = (self.congested(tcb).min(window), tcb.mss);
        if let Some(cold) = tcb.cold.as_deref_mut() {
            let growth = &mut cold.growth;
            tcb.congestion
                .on_congestion(algorithm, growth, congested, mss);
            tcb.congestion.cwnd = window.min(growth.ssthresh);
        }
        tcb.set(TcbFlags::CWR_DUE);
        self.stats.ece_received += 1;
    }
}

impl Tcb {
    /// The ECN codepoint of a segment and the flags that it has besides. Only data
    /// that is sent for the first time is marked as capable (section 6.1.5), and
    /// only such says that the window was reduced.
    pub(crate) fn ecn_of(&self, is_new_data: bool) -> (u8, Flags) {
        if !self.is(TcbFlags::ECN) {
            return (codepoint::NOT_ECT, Flags(0));
        }
        let mut flags = Flags(0);
        if self.is(TcbFlags::ECE_DUE) {
            flags = flags | Flags::ECE;
        }
        if !is_new_data {
            return (codepoint::NOT_ECT, flags);
        }
        if self.is(TcbFlags::CWR_DUE) {
            flags = flags | Flags::CWR;
        }
        (codepoint::ECT_0, flags)
    }
}
