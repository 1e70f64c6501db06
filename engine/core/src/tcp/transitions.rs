//! The state machine as a table: state and event give an action and the next
//! state (RFC 9293 section 3.10, with RFC 1337, RFC 5961 and RFC 6191).
//!
//! This is where every change of a state comes from. Before an event there are
//! the checks that tell which it is: a segment is `Text` or `Fin` only when its
//! sequence number is acceptable, `Reset` only when it hits RCV.NXT exactly. One
//! segment may be several events, in the order of RFC 9293 section 3.10.7.4: its
//! ACK first, then its text, then its FIN.
//!
//! A listener, a half-open record and a TIME-WAIT record are not connections,
//! yet each takes the part of its state here. An OPEN makes a record of its own
//! and so is never an event of another's; what can't happen says so in its cell.

use super::Closed;
use super::state::State;
use super::tcb::Tcb;
use std::fmt;

macro_rules! named {
    ($(#[doc = $about:literal])+ $type:ident { $($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+ }) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $type { $($(#[doc = $doc])+ $variant,)+ }

        impl $type {
            /// All of them, in the order of the table.
            pub const ALL: &[$type] = &[$($type::$variant),+];

            /// What it is called in the printed table.
            pub const fn name(self) -> &'static str {
                match self { $($type::$variant => $name,)+ }
            }
        }
    };
}

named! {
    /// What can happen to a connection.
    Event {
        /// Passive OPEN (RFC 9293 section 3.9.1.1).
        PassiveOpen = "passive OPEN",
        /// Active OPEN.
        ActiveOpen = "active OPEN",
        /// SEND (section 3.9.1.2).
        Send = "SEND",
        /// RECEIVE (section 3.9.1.3).
        Receive = "RECEIVE",
        /// CLOSE (section 3.9.1.4): shutdown of the sending side; of a listener, its end.
        Close = "CLOSE",
        /// ABORT (section 3.9.1.6).
        Abort = "ABORT",
        /// A SYN without ACK; in TIME-WAIT, one that is no old duplicate.
        Syn = "SYN",
        /// A SYN with an acceptable ACK of ours.
        SynAck = "SYN, ACK of SYN",
        /// An acceptable ACK of our SYN, without a SYN.
        AckOfSyn = "ACK of SYN",
        /// An ACK of our FIN.
        AckOfFin = "ACK of FIN",
        /// Data within the window.
        Text = "text",
        /// Data past what was received, and nobody is left to read it.
        TextAfterClose = "text after close",
        /// The peer's FIN, in order.
        Fin = "FIN",
        /// A RST at RCV.NXT; in SYN-SENT, one with an acceptable ACK.
        Reset = "RST",
        /// A RST elsewhere in the window; in SYN-SENT, one without ACK.
        ResetElsewhere = "RST elsewhere",
        /// An ACK of what was never sent, or of the distant past.
        BadAck = "bad ACK",
        /// Neither ACK nor SYN nor RST.
        NoAck = "no ACK",
        /// A sequence number outside the window, RST apart.
        OutOfWindow = "out of window",
        /// The last retransmission or probe was not answered.
        GivenUp = "given up",
        /// A hard ICMP error, or a next hop that does not answer.
        Unreachable = "unreachable",
        /// The peer of an orphan in FIN-WAIT-2 never closed.
        FinWait2Over = "FIN-WAIT-2 over",
        /// A TIME-WAIT record has taken over, and the application still reads.
        HandedOver = "handed over",
        /// 2 MSL have passed.
        TwoMslOver = "2 MSL over",
    }
}

/// What is done about an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The event does not occur in this state.
    Impossible,
    /// Nothing.
    Ignore,
    /// The call fails.
    Refuse,
    /// SYNs are awaited.
    Listen,
    /// A SYN.
    SendSyn,
    /// A SYN with ACK.
    SendSynAck,
    /// An ACK.
    SendAck,
    /// A challenge ACK (RFC 5961).
    Challenge,
    /// A RST, and the end where the state changes.
    SendReset,
    /// The handshake is complete: the application is told.
    Connect,
    /// Data is kept for later.
    Queue,
    /// Data leaves as the windows allow.
    Transmit,
    /// Data goes to the application.
    Deliver,
    /// A FIN follows the queued data.
    SendFin,
    /// A FIN is to follow once the handshake is complete.
    QueueFin,
    /// 2 MSL begin, or begin again.
    StartTimeWait,
    /// The record gives way, and the SYN is taken as in LISTEN.
    Reopen,
    /// The record is gone without a word to anybody.
    Delete,
    /// The connection is over, and the application is told why.
    End(Closed),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Action::Impossible => "-",
            Action::Ignore => "nothing",
            Action::Refuse => "refused",
            Action::Listen => "listen",
            Action::SendSyn => "send SYN",
            Action::SendSynAck => "send SYN, ACK",
            Action::SendAck => "send ACK",
            Action::Challenge => "send challenge ACK",
            Action::SendReset => "send RST",
            Action::Connect => "tell: connected",
            Action::Queue => "queue",
            Action::Transmit => "send",
            Action::Deliver => "deliver",
            Action::SendFin => "send FIN",
            Action::QueueFin => "queue FIN",
            Action::StartTimeWait => "start 2 MSL",
            Action::Reopen => "open anew",
            Action::Delete => "delete",
            Action::End(Closed::Normally) => "end normally",
            Action::End(Closed::Refused) => "tell: refused",
            Action::End(Closed::Reset) => "tell: reset",
            Action::End(Closed::TimedOut) => "tell: timed out",
            Action::End(Closed::Unreachable) => "tell: unreachable",
            Action::End(Closed::Aborted) => "tell: aborted",
        })
    }
}

/// A cell of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// What is done.
    pub action: Action,
    /// The next state; none when the state stays.
    pub next: Option<State>,
}

impl State {
    /// The cell of the table.
    pub const fn on(self, event: Event) -> Transition {
        TABLE[self as usize][event as usize]
    }

    /// The event is one that this state knows.
    pub(crate) const fn may_see(self, event: Event) -> bool {
        !matches!(self.on(event).action, Action::Impossible)
    }
}

impl Tcb {
    /// Goes to the next state, and tells what is to be done. Nothing else changes
    /// the state of a connection.
    pub(crate) fn on(&mut self, event: Event) -> Action {
        let Transition { action, next } = self.state.on(event);
        debug_assert!(
            action != Action::Impossible,
            "{event:?} in {:?}",
            self.state
        );
        self.state = next.unwrap_or(self.state);
        action
    }

    /// The end that an event brings, if it brings one.
    pub(crate) fn ends_on(&mut self, event: Event) -> Option<Closed> {
        match self.on(event) {
            Action::End(why) => Some(why),
            _ => None,
        }
    }
}

const TABLE: [[Transition; Event::ALL.len()]; State::ALL.len()] = {
    let mut table = [[stays(Action::Impossible); Event::ALL.len()]; State::ALL.len()];
    let mut at = 0;
    while at < State::ALL.len() {
        let state = State::ALL[at];
        let mut event = 0;
        while event < Event::ALL.len() {
            table[state as usize][event] = cell(state, Event::ALL[event]);
            event += 1;
        }
        at += 1;
    }
    table
};

const fn stays(action: Action) -> Transition {
    Transition { action, next: None }
}

const fn to(next: State, action: Action) -> Transition {
    Transition {
        action,
        next: Some(next),
    }
}

const fn ends(why: Closed) -> Transition {
    to(State::Closed, Action::End(why))
}

const fn cell(state: State, event: Event) -> Transition {
    match state {
        State::Closed => closed(event),
        State::Listen => listen(event),
        State::SynSent => syn_sent(event),
        State::SynReceived => syn_received(event),
        State::Established => established(event),
        State::FinWait1 => fin_wait_1(event),
        State::FinWait2 => fin_wait_2(event),
        State::CloseWait => close_wait(event),
        State::Closing => closing(event),
        State::LastAck => last_ack(event),
        State::TimeWait => time_wait(event),
    }
}

/// No record (RFC 9293 section 3.10.7.1), or one of a connection that is over
/// and that the application has not let go of.
const fn closed(event: Event) -> Transition {
    use Event::*;
    match event {
        PassiveOpen => to(State::Listen, Action::Listen),
        ActiveOpen => to(State::SynSent, Action::SendSyn),
        Send => stays(Action::Refuse),
        Receive => stays(Action::Deliver),
        Close | Abort => stays(Action::Delete),
        Syn | SynAck | AckOfSyn | AckOfFin | Text | Fin | BadAck | NoAck | OutOfWindow => {
            stays(Action::SendReset)
        }
        Reset | ResetElsewhere | Unreachable => stays(Action::Ignore),
        TextAfterClose | GivenUp | FinWait2Over | HandedOver | TwoMslOver => {
            stays(Action::Impossible)
        }
    }
}

/// A listener (RFC 9293 section 3.10.7.2). The half-open record that a SYN makes
/// is the one that goes to SYN-RECEIVED.
const fn listen(event: Event) -> Transition {
    use Event::*;
    match event {
        PassiveOpen => stays(Action::Refuse),
        Close => to(State::Closed, Action::Delete),
        Syn => to(State::SynReceived, Action::SendSynAck),
        SynAck | AckOfSyn | AckOfFin | BadAck => stays(Action::SendReset),
        Reset | ResetElsewhere | Text | Fin | NoAck | Unreachable => stays(Action::Ignore),
        ActiveOpen | Send | Receive | Abort | TextAfterClose | OutOfWindow | GivenUp
        | FinWait2Over | HandedOver | TwoMslOver => stays(Action::Impossible),
    }
}

/// RFC 9293 section 3.10.7.3.
const fn syn_sent(event: Event) -> Transition {
    use Event::*;
    match event {
        Send | Receive => stays(Action::Queue),
        Close => to(State::Closed, Action::Delete),
        Abort => to(State::Closed, Action::Delete),
        // Simultaneous open (section 3.5, figure 7; MUST-10).
        Syn => to(State::SynReceived, Action::SendSynAck),
        SynAck => to(State::Established, Action::Connect),
        Reset => ends(Closed::Refused),
        BadAck => stays(Action::SendReset),
        AckOfSyn | Text | Fin | ResetElsewhere | NoAck => stays(Action::Ignore),
        GivenUp => ends(Closed::TimedOut),
        Unreachable => ends(Closed::Unreachable),
        PassiveOpen | ActiveOpen | AckOfFin | TextAfterClose | OutOfWindow | FinWait2Over
        | HandedOver | TwoMslOver => stays(Action::Impossible),
    }
}

/// A half-open record, or a connection in a simultaneous open. Which of the two
/// it is remembers the origin (MUST-11): where a connection's application is
/// told, nobody knows of a half-open record, and its listener still listens.
const fn syn_received(event: Event) -> Transition {
    use Event::*;
    match event {
        Send | Receive => stays(Action::Queue),
        Close => stays(Action::QueueFin),
        Abort => to(State::Closed, Action::SendReset),
        AckOfSyn => to(State::Established, Action::Connect),
        Reset => ends(Closed::Refused),
        Syn | SynAck | ResetElsewhere => stays(Action::Challenge),
        OutOfWindow => stays(Action::SendAck),
        BadAck => stays(Action::SendReset),
        NoAck => stays(Action::Ignore),
        GivenUp => ends(Closed::TimedOut),
        Unreachable => ends(Closed::Unreachable),
        // The ACK of our SYN comes before text and FIN, in another state.
        PassiveOpen | ActiveOpen | AckOfFin | Text | TextAfterClose | Fin | FinWait2Over
        | HandedOver | TwoMslOver => stays(Action::Impossible),
    }
}

/// What all states from ESTABLISHED to LAST-ACK have in common (RFC 5961 sections
/// 3.2, 4.2 and 5.2; RFC 9293 section 3.8.3).
const fn synchronized(event: Event) -> Transition {
    use Event::*;
    match event {
        Syn | SynAck | ResetElsewhere | BadAck => stays(Action::Challenge),
        Reset => ends(Closed::Reset),
        NoAck => stays(Action::Ignore),
        OutOfWindow => stays(Action::SendAck),
        GivenUp => ends(Closed::TimedOut),
        // Soft (RFC 5927 section 5.2; MUST-56).
        Unreachable => stays(Action::Ignore),
        Abort => to(State::Closed, Action::SendReset),
        PassiveOpen | ActiveOpen | Send | Receive | Close | AckOfSyn | AckOfFin | Text
        | TextAfterClose | Fin | FinWait2Over | HandedOver | TwoMslOver => {
            stays(Action::Impossible)
        }
    }
}

const fn established(event: Event) -> Transition {
    use Event::*;
    match event {
        Send => stays(Action::Transmit),
        Receive | Text => stays(Action::Deliver),
        Close => to(State::FinWait1, Action::SendFin),
        Fin => to(State::CloseWait, Action::SendAck),
        other => synchronized(other),
    }
}

const fn fin_wait_1(event: Event) -> Transition {
    use Event::*;
    match event {
        Send => stays(Action::Refuse),
        Receive | Text => stays(Action::Deliver),
        Close => stays(Action::Ignore),
        AckOfFin => to(State::FinWait2, Action::Ignore),
        Fin => to(State::Closing, Action::SendAck),
        TextAfterClose => to(State::Closed, Action::SendReset),
        other => synchronized(other),
    }
}

const fn fin_wait_2(event: Event) -> Transition {
    use Event::*;
    match event {
        Send => stays(Action::Refuse),
        Receive | Text => stays(Action::Deliver),
        Close => stays(Action::Ignore),
        Fin => to(State::TimeWait, Action::StartTimeWait),
        TextAfterClose => to(State::Closed, Action::SendReset),
        FinWait2Over => ends(Closed::Normally),
        other => synchronized(other),
    }
}

/// What was received before the FIN can still be read from here on.
const fn close_wait(event: Event) -> Transition {
    use Event::*;
    match event {
        Send => stays(Action::Transmit),
        Receive => stays(Action::Deliver),
        Close => to(State::LastAck, Action::SendFin),
        Text | Fin => stays(Action::SendAck),
        other => synchronized(other),
    }
}

const fn closing(event: Event) -> Transition {
    use Event::*;
    match event {
        AckOfFin => to(State::TimeWait, Action::StartTimeWait),
        other => both_closed(other),
    }
}

const fn last_ack(event: Event) -> Transition {
    use Event::*;
    match event {
        AckOfFin => ends(Closed::Normally),
        other => both_closed(other),
    }
}

const fn both_closed(event: Event) -> Transition {
    use Event::*;
    match event {
        Send => stays(Action::Refuse),
        Receive => stays(Action::Deliver),
        Close => stays(Action::Ignore),
        Abort => to(State::Closed, Action::Delete),
        Text | Fin => stays(Action::SendAck),
        // All was delivered both ways; the peer just does not wait.
        Reset => ends(Closed::Normally),
        other => synchronized(other),
    }
}

/// A TIME-WAIT record. A connection that is read after its end hands over to one.
const fn time_wait(event: Event) -> Transition {
    use Event::*;
    match event {
        Send => stays(Action::Refuse),
        Receive => stays(Action::Deliver),
        Close => stays(Action::Ignore),
        Abort => to(State::Closed, Action::Delete),
        // RFC 6191; RFC 9293 section 3.6.1, MAY-2.
        Syn => to(State::Listen, Action::Reopen),
        Fin => stays(Action::StartTimeWait),
        SynAck | Text | OutOfWindow => stays(Action::SendAck),
        // RFC 1337 section 3, fix F1: a RST does not end TIME-WAIT.
        Reset | ResetElsewhere | AckOfFin | BadAck | NoAck | Unreachable => stays(Action::Ignore),
        HandedOver => to(State::Closed, Action::Ignore),
        TwoMslOver => to(State::Closed, Action::Delete),
        PassiveOpen | ActiveOpen | AckOfSyn | TextAfterClose | GivenUp | FinWait2Over => {
            stays(Action::Impossible)
        }
    }
}
