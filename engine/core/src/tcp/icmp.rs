//! What ICMP says of a connection (RFC 9293 section 3.9.2.2, RFC 5927): errors of
//! the way and of the peer's host, and the MTU of the path.
//!
//! Anybody can send such a message. It counts only where it quotes a segment that
//! is in flight, and even then it ends no connection that is synchronized.

use super::tcb::{Tcb, TcbFlags};
use super::transitions::Event;
use super::{Closed, Cx, Flow, Tcp};
use crate::flow::FlowKey;
use crate::seq::Seq;
use crate::wire::icmp::Error;

/// What was reported of a connection that goes on trying (RFC 9293 section
/// 3.9.1.8, MUST-47 and SHLD-20; section 3.9.2.2, SHLD-25).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SoftError {
    /// ENETUNREACH
    #[error("no route to the network (ENETUNREACH)")]
    NetworkUnreachable,
    /// EHOSTUNREACH
    #[error("the host does not answer (EHOSTUNREACH)")]
    HostUnreachable,
    /// ENOPROTOOPT
    #[error("the host does not speak TCP (ENOPROTOOPT)")]
    ProtocolUnreachable,
    /// ECONNREFUSED
    #[error("nothing is on that port (ECONNREFUSED)")]
    PortUnreachable,
    /// EACCES
    #[error("somebody on the way lets nothing pass (EACCES)")]
    Prohibited,
    /// EHOSTUNREACH: the way is too long, or a circle.
    #[error("too many hops (EHOSTUNREACH)")]
    TimeExceeded,
    /// ETIMEDOUT: three retransmissions were not answered (RFC 9293 section 3.8.3,
    /// R1), and more will follow.
    #[error("no answer to three retransmissions (ETIMEDOUT)")]
    NoAnswer,
    /// EPROTO
    #[error("a header is not understood (EPROTO)")]
    ParameterProblem,
}

impl SoftError {
    /// An MTU is no error of a connection.
    fn of(error: Error) -> Option<SoftError> {
        Some(match error {
            Error::NetworkUnreachable => SoftError::NetworkUnreachable,
            Error::HostUnreachable => SoftError::HostUnreachable,
            Error::ProtocolUnreachable => SoftError::ProtocolUnreachable,
            Error::PortUnreachable => SoftError::PortUnreachable,
            Error::Prohibited => SoftError::Prohibited,
            Error::TimeExceeded => SoftError::TimeExceeded,
            Error::ParameterProblem => SoftError::ParameterProblem,
            Error::PacketTooBig { .. } => return None,
        })
    }

    /// Hard errors end what is still opening (RFC 9293 section 3.9.2.2, SHLD-26,
    /// as RFC 5927 section 5.2 narrows it); all others end nothing (MUST-56).
    fn ends_opening(self) -> Option<Closed> {
        match self {
            SoftError::ProtocolUnreachable | SoftError::PortUnreachable => Some(Closed::Refused),
            SoftError::Prohibited => Some(Closed::Unreachable),
            _ => None,
        }
    }
}

impl Tcp {
    /// An error quotes a segment of this flow (RFC 9293 section 3.9.2.2, MUST-54):
    /// true when it may be one.
    pub(crate) fn icmp_error(
        &mut self,
        cx: &mut Cx,
        key: &FlowKey,
        seq: Seq,
        error: Error,
    ) -> bool {
        let Some(error) = SoftError::of(error) else {
            return false;
        };
        let index = match self.lookup(key) {
            Some(Flow::Connection(index)) => index,
            Some(Flow::HalfOpen(index)) => {
                return error.ends_opening().is_some() && self.refuse_half_open(index, seq);
            }
            _ => return false,
        };
        let Some(tcb) = self.connections.get_mut(index) else {
            return false;
        };
        if !is_in_flight(tcb, seq) {
            return false;
        }
        self.shared.warm(tcb).soft_error = Some(error);
        if let Some(why) = error.ends_opening()
            && tcb.ends_on(Event::Unreachable).is_some()
        {
            self.finish(cx, index, why);
        }
        true
    }

    /// A packet of this flow did not fit the path, which takes `mtu` bytes
    /// (RFC 1191, RFC 8201): true when it may be so.
    pub(crate) fn packet_too_big(
        &mut self,
        cx: &mut Cx,
        key: &FlowKey,
        seq: Seq,
        mtu: u16,
    ) -> bool {
        let Some(Flow::Connection(index)) = self.lookup(key) else {
            return false;
        };
        let Some(tcb) = self.connections.get_mut(index) else {
            return false;
        };
        if !is_in_flight(tcb, seq) {
            return false;
        }
        self.shared.paths.learn(cx.now, key.remote, mtu);
        let mss = self
            .shared
            .path_mss(cx.now, key, tcb.is(TcbFlags::TIMESTAMPS));
        self.shared.narrow(index, tcb, mss);
        true
    }
}

impl Tcb {
    /// What an application is told of an end: of a peer that does not answer, that
    /// there is no way to it, if that was reported (as Linux tells it); of a RST to
    /// what was accepted early, that it was reset.
    pub(crate) fn told(&self, why: Closed) -> Closed {
        match (why, self.cold().and_then(|cold| cold.soft_error)) {
            (
                Closed::TimedOut,
                Some(SoftError::NetworkUnreachable | SoftError::HostUnreachable),
            ) => Closed::Unreachable,
            // To its application it was open.
            (Closed::Refused, _) if self.is_early() => Closed::Reset,
            _ => why,
        }
    }
}

/// RFC 5927 section 4.1: SND.UNA =< SEG.SEQ < SND.NXT of the quoted segment.
fn is_in_flight(tcb: &Tcb, seq: Seq) -> bool {
    seq.follows_or_is(tcb.snd_una) && seq.precedes(tcb.snd_nxt)
}
