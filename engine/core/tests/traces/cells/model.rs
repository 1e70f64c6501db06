//! A second reading of RFC 9293 section 3.10.7, with RFC 5961 and RFC 1337: what
//! one segment does to one connection. It shares no code with the engine, knows
//! neither queues nor timers, and says where the engine differs on purpose.
//!
//! Numbers are relative: SND.* count from our initial sequence number, RCV.* from
//! the peer's.

use ringmill_core::sockets::Closed;
use ringmill_core::tcp::State;

/// A connection before the segment.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) state: State,
    /// What is there when the connection is not: a listener, or nothing.
    pub(crate) rest: State,
    pub(crate) snd_una: u32,
    pub(crate) snd_nxt: u32,
    /// MAX.SND.WND (RFC 5961 section 5.2).
    pub(crate) snd_wnd_max: u32,
    pub(crate) rcv_nxt: u32,
    pub(crate) rcv_wnd: u32,
    /// The application has closed and will not read.
    pub(crate) orphan: bool,
}

/// The segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arriving {
    pub(crate) syn: bool,
    pub(crate) fin: bool,
    pub(crate) rst: bool,
    pub(crate) has_ack: bool,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) text: u32,
}

/// What must come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Nothing,
    /// An ACK, or a segment that carries one: its SEG.SEQ and SEG.ACK.
    Ack(u32, u32),
    /// A SYN with ACK, and its SEG.ACK.
    SynAck(u32),
    /// A RST at this SEG.SEQ.
    Rst(u32),
    /// A RST at this SEG.SEQ with this SEG.ACK.
    RstAck(u32, u32),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) state: State,
    pub(crate) reply: Reply,
    /// Octets of text that the application can now read.
    pub(crate) delivered: u32,
    /// What the application is told about the end.
    pub(crate) closed: Option<Closed>,
}

impl Arriving {
    fn len(&self) -> u32 {
        self.text + u32::from(self.syn) + u32::from(self.fin)
    }
}

/// `a` lies before `b` on the circle of sequence numbers.
fn before(a: u32, b: u32) -> bool {
    a != b && b.wrapping_sub(a) < 1 << 31
}

fn is_within(from: u32, at: u32, to: u32) -> bool {
    !before(at, from) && !before(to, at)
}

impl Connection {
    fn stays(&self, reply: Reply) -> Outcome {
        Outcome {
            state: self.state,
            reply,
            delivered: 0,
            closed: None,
        }
    }

    /// An ACK as the connection stands.
    fn ack(&self) -> Reply {
        Reply::Ack(self.snd_nxt, self.rcv_nxt)
    }

    fn ends(&self, closed: Closed) -> Outcome {
        Outcome {
            state: self.rest,
            reply: Reply::Nothing,
            delivered: 0,
            // An application that has let go is told nothing.
            closed: Some(closed).filter(|_| !self.orphan),
        }
    }

    pub(crate) fn take(&self, segment: &Arriving) -> Outcome {
        match self.state {
            State::Closed => self.closed(segment),
            State::Listen => self.listen(segment),
            State::SynSent => self.syn_sent(segment),
            _ => self.otherwise(segment),
        }
    }

    /// Section 3.10.7.1.
    fn closed(&self, segment: &Arriving) -> Outcome {
        self.stays(match segment {
            Arriving { rst: true, .. } => Reply::Nothing,
            Arriving { has_ack: true, .. } => Reply::Rst(segment.ack),
            _ => Reply::RstAck(0, segment.seq.wrapping_add(segment.len())),
        })
    }

    /// Section 3.10.7.2.
    fn listen(&self, segment: &Arriving) -> Outcome {
        match segment {
            Arriving { rst: true, .. } => self.stays(Reply::Nothing),
            Arriving { has_ack: true, .. } => self.stays(Reply::Rst(segment.ack)),
            // Here: a FIN beside the SYN is no request; text beside it comes again.
            Arriving {
                syn: true,
                fin: false,
                ..
            } => Outcome {
                state: State::SynReceived,
                ..self.stays(Reply::SynAck(segment.seq.wrapping_add(1)))
            },
            _ => self.stays(Reply::Nothing),
        }
    }

    /// Section 3.10.7.3.
    fn syn_sent(&self, segment: &Arriving) -> Outcome {
        let is_acceptable = before(self.snd_una, segment.ack) && !before(self.snd_nxt, segment.ack);
        if segment.has_ack && !is_acceptable {
            return self.stays(if segment.rst {
                Reply::Nothing
            } else {
                Reply::Rst(segment.ack)
            });
        }
        match segment {
            Arriving {
                rst: true, has_ack, ..
            } => {
                if *has_ack {
                    self.ends(Closed::Refused)
                } else {
                    self.stays(Reply::Nothing)
                }
            }
            Arriving { syn: false, .. } => self.stays(Reply::Nothing),
            // Here: text and FIN of a SYN without ACK are not kept; they come again.
            Arriving { has_ack: false, .. } => Outcome {
                state: State::SynReceived,
                ..self.stays(Reply::SynAck(segment.seq.wrapping_add(1)))
            },
            _ => {
                let established = Connection {
                    state: State::Established,
                    snd_una: segment.ack,
                    rcv_nxt: segment.seq.wrapping_add(1),
                    ..self.clone()
                };
                let rest = Arriving {
                    syn: false,
                    seq: established.rcv_nxt,
                    ..*segment
                };
                let outcome = established.text_and_fin(&rest);
                // Our SYN's answer is acknowledged in any case.
                let rcv_nxt = established.rcv_nxt.wrapping_add(rest.len());
                Outcome {
                    reply: Reply::Ack(established.snd_nxt, rcv_nxt),
                    ..outcome
                }
            }
        }
    }

    /// Section 3.10.7.4.
    fn otherwise(&self, segment: &Arriving) -> Outcome {
        let is_time_wait = self.state == State::TimeWait;
        // MAY-2, which comes before the sequence check.
        let is_request = segment.syn && !(segment.has_ack || segment.rst || segment.fin);
        let is_new = before(self.rcv_nxt, segment.seq) && self.rest == State::Listen;
        if is_time_wait && is_request && is_new {
            let listener = Connection {
                state: self.rest,
                ..self.clone()
            };
            return listener.take(segment);
        }
        if !self.is_acceptable(segment) {
            let reply = if segment.rst {
                Reply::Nothing
            } else {
                self.answer()
            };
            return self.stays(reply);
        }
        if segment.rst {
            return self.reset(segment);
        }
        if segment.syn {
            // RFC 5961 section 4.2. Here: in SYN-RECEIVED too.
            return self.stays(self.answer());
        }
        if is_time_wait {
            // "The only thing that can arrive in this state is a retransmission of
            // the remote FIN": what has a length is acknowledged, whatever its ACK.
            let reply = if segment.len() == 0 && segment.seq == self.rcv_nxt {
                Reply::Nothing
            } else {
                self.ack()
            };
            return self.stays(reply);
        }
        if !segment.has_ack {
            return self.stays(Reply::Nothing);
        }
        self.acknowledged(segment)
    }

    /// First: table 6 of section 3.4.
    fn is_acceptable(&self, segment: &Arriving) -> bool {
        let is_in = |seq: u32| seq.wrapping_sub(self.rcv_nxt) < self.rcv_wnd;
        match (segment.len(), self.rcv_wnd) {
            (0, 0) => segment.seq == self.rcv_nxt,
            // MUST-66: at the edge RST and URG count, and so does the ACK.
            (_, 0) => segment.seq == self.rcv_nxt,
            (0, _) => is_in(segment.seq),
            (len, _) => is_in(segment.seq) || is_in(segment.seq.wrapping_add(len - 1)),
        }
    }

    /// What an ACK is to this state. Here: a half-open record's is its SYN-ACK.
    fn answer(&self) -> Reply {
        if self.state == State::SynReceived && self.rest == State::Listen {
            Reply::SynAck(self.rcv_nxt)
        } else {
            self.ack()
        }
    }

    /// Second (RFC 5961 section 3.2).
    fn reset(&self, segment: &Arriving) -> Outcome {
        let is_half_open = self.state == State::SynReceived && self.rest == State::Listen;
        if self.state == State::TimeWait {
            // RFC 1337.
            return self.stays(Reply::Nothing);
        }
        if segment.seq != self.rcv_nxt {
            // Here: a half-open record is too little to spend a challenge on.
            let reply = if is_half_open {
                Reply::Nothing
            } else {
                self.ack()
            };
            return self.stays(reply);
        }
        match self.state {
            State::SynReceived if is_half_open => Outcome {
                closed: None,
                ..self.ends(Closed::Refused)
            },
            State::SynReceived => self.ends(Closed::Refused),
            State::Closing | State::LastAck => self.over(),
            _ => self.ends(Closed::Reset),
        }
    }

    /// Closed on both sides: the application finds the end of the stream.
    fn over(&self) -> Outcome {
        Outcome {
            closed: None,
            ..self.ends(Closed::Normally)
        }
    }

    /// Fifth.
    fn acknowledged(&self, segment: &Arriving) -> Outcome {
        if self.state == State::SynReceived {
            let is_ours = before(self.snd_una, segment.ack) && !before(self.snd_nxt, segment.ack);
            if !is_ours {
                return self.stays(Reply::Rst(segment.ack));
            }
            let established = Connection {
                state: State::Established,
                rest: State::Closed,
                snd_una: segment.ack,
                ..self.clone()
            };
            return established.text_and_fin(segment);
        }
        let oldest = self.snd_una.wrapping_sub(self.snd_wnd_max);
        if !is_within(oldest, segment.ack, self.snd_nxt) {
            return self.stays(self.ack());
        }
        let is_fin_acked = segment.ack == self.snd_nxt;
        let next = match self.state {
            State::FinWait1 if is_fin_acked => State::FinWait2,
            // TIME-WAIT takes no more of this segment.
            State::Closing if is_fin_acked => {
                return Outcome {
                    state: State::TimeWait,
                    ..self.stays(Reply::Nothing)
                };
            }
            State::LastAck if is_fin_acked => return self.over(),
            state => state,
        };
        Connection {
            state: next,
            ..self.clone()
        }
        .text_and_fin(segment)
    }

    /// Seventh and eighth.
    fn text_and_fin(&self, segment: &Arriving) -> Outcome {
        let takes_text = matches!(
            self.state,
            State::Established | State::FinWait1 | State::FinWait2
        );
        let end = segment.seq.wrapping_add(segment.text);
        if !takes_text || segment.len() == 0 {
            // The text is ignored. Here: it is answered.
            let reply = if segment.len() > 0 {
                self.ack()
            } else {
                Reply::Nothing
            };
            return self.stays(reply);
        }
        if self.orphan && segment.text > 0 && before(self.rcv_nxt, end) {
            // SHLD-3; as for a connection that is gone (section 3.10.7.1).
            return Outcome {
                closed: None,
                reply: Reply::Rst(segment.ack),
                ..self.ends(Closed::Aborted)
            };
        }
        let is_in_order = !before(self.rcv_nxt, segment.seq);
        let is_old = before(end.wrapping_add(u32::from(segment.fin)), self.rcv_nxt)
            || end.wrapping_add(u32::from(segment.fin)) == self.rcv_nxt;
        if !is_in_order || is_old {
            return self.stays(self.ack());
        }
        let delivered = end.wrapping_sub(self.rcv_nxt);
        let after = Connection {
            rcv_nxt: end.wrapping_add(u32::from(segment.fin)),
            ..self.clone()
        };
        let state = match (segment.fin, self.state) {
            (false, state) => state,
            (true, State::Established) => State::CloseWait,
            (true, State::FinWait1) => State::Closing,
            (true, _) => State::TimeWait,
        };
        Outcome {
            state,
            reply: after.ack(),
            delivered,
            closed: None,
        }
    }
}
