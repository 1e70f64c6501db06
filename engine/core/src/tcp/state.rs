//! The eleven states of a connection (RFC 9293 section 3.3.2).

use super::transitions::{Action, Event};
use std::fmt;

/// A connection's state.
///
/// Not every state is held by the same kind of record. LISTEN is a listener, a
/// passive SYN-RECEIVED is a record of the SYN queue and TIME-WAIT one of the
/// TIME-WAIT wheel; the control block of a connection takes the others, and
/// those two only in a simultaneous open and while the application still holds
/// the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// No connection.
    Closed,
    /// Waiting for a SYN.
    Listen,
    /// SYN sent, no answer yet.
    SynSent,
    /// SYN received and sent, ours not acknowledged.
    SynReceived,
    /// Both SYNs acknowledged.
    Established,
    /// We closed, our FIN is not acknowledged.
    FinWait1,
    /// Our FIN is acknowledged, the peer's has not come.
    FinWait2,
    /// The peer closed, we have not.
    CloseWait,
    /// Both closed at once, our FIN is not acknowledged.
    Closing,
    /// The peer closed first, then we did; our FIN is not acknowledged.
    LastAck,
    /// Closed on both sides; the last ACK may have to be sent again.
    TimeWait,
}

impl State {
    /// All states, in the order of RFC 9293 section 3.3.2.
    pub const ALL: [State; 11] = [
        State::Listen,
        State::SynSent,
        State::SynReceived,
        State::Established,
        State::FinWait1,
        State::FinWait2,
        State::CloseWait,
        State::Closing,
        State::LastAck,
        State::TimeWait,
        State::Closed,
    ];

    /// The name of RFC 9293.
    pub const fn name(self) -> &'static str {
        match self {
            State::Closed => "CLOSED",
            State::Listen => "LISTEN",
            State::SynSent => "SYN-SENT",
            State::SynReceived => "SYN-RECEIVED",
            State::Established => "ESTABLISHED",
            State::FinWait1 => "FIN-WAIT-1",
            State::FinWait2 => "FIN-WAIT-2",
            State::CloseWait => "CLOSE-WAIT",
            State::Closing => "CLOSING",
            State::LastAck => "LAST-ACK",
            State::TimeWait => "TIME-WAIT",
        }
    }

    /// Both SYNs have been acknowledged (RFC 9293 section 3.5.2).
    pub const fn is_synchronized(self) -> bool {
        !matches!(
            self,
            State::Closed | State::Listen | State::SynSent | State::SynReceived
        )
    }

    /// The peer may still send data.
    pub const fn may_receive(self) -> bool {
        matches!(self.on(Event::Text).action, Action::Deliver)
    }

    /// What was sent before a close, the FIN included, may still have to be
    /// delivered.
    pub(crate) const fn may_linger(self) -> bool {
        self.may_send() || matches!(self, State::FinWait1 | State::Closing | State::LastAck)
    }

    /// The application may still send data.
    pub const fn may_send(self) -> bool {
        matches!(
            self.on(Event::Send).action,
            Action::Queue | Action::Transmit
        )
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
