//! The slow deadline of a connection: what is done about a peer that says nothing.
//!
//! ```text
//! nothing is outstanding   keep-alive      RFC 9293 section 3.8.4
//! something is             user timeout    RFC 5482, R2 of section 3.8.3
//! close() is to linger     SO_LINGER       whatever is outstanding
//! ```
//!
//! At most one of these runs at a time, beside the timer of what is in flight.

use super::SoftError;
use super::state::State;
use super::tcb::{Millis, Tcb, TcbFlags};
use super::transitions::{Action, Event};
use super::{Closed, Cx, Shared};
use crate::time::{Duration, Instant};

/// What the slow deadline is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    #[default]
    Off,
    KeepAlive,
    UserTimeout,
    Linger,
}

/// The slow deadline.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Watch {
    at: Millis,
    kind: Kind,
    /// Keep-alive probes that were not answered.
    probes: u8,
}

impl Watch {
    pub(crate) fn deadline(&self) -> Option<Millis> {
        (self.kind != Kind::Off).then_some(self.at)
    }

    pub(crate) fn is_off(&self) -> bool {
        self.kind == Kind::Off
    }

    pub(crate) fn probes(&self) -> u8 {
        self.probes
    }
}

impl Tcb {
    /// The slow deadline, if one runs: it is in the cold part, which such a
    /// connection keeps.
    pub(crate) fn watch(&self) -> Watch {
        self.cold().map(|cold| cold.watch).unwrap_or_default()
    }

    fn stop_watch(&mut self) {
        if let Some(cold) = self.cold.as_deref_mut() {
            cold.watch = Watch::default();
        }
    }

    /// The time starts anew when this is looked at next.
    pub(crate) fn restart_watch(&mut self) {
        if let Some(cold) = self.cold.as_deref_mut()
            && cold.watch.kind != Kind::Linger
        {
            cold.watch = Watch::default();
        }
    }

    /// The peer was heard (RFC 9293 section 3.8.4, MUST-26: keep-alives are for an
    /// idle connection).
    pub(crate) fn heard(&mut self) {
        if let Some(cold) = self.cold.as_deref_mut()
            && cold.watch.kind == Kind::KeepAlive
        {
            cold.watch = Watch::default();
        }
    }

    /// Everything was delivered, and nothing is waited for.
    pub(crate) fn end_linger(&mut self) {
        self.unset(TcbFlags::LINGERS);
        self.stop_watch();
    }
}

/// R1: after so many retransmissions something is wrong with the way (RFC 9293
/// section 3.8.3, SHLD-10: at least three).
pub(crate) const R1: u8 = 3;

impl Shared {
    /// Sees to it that the slow deadline is for what the connection waits for.
    pub(crate) fn watch(&mut self, now: Instant, tcb: &mut Tcb) {
        let current = tcb.cold().map_or(Kind::Off, |cold| cold.watch.kind);
        let options = self.options(tcb);
        let is_asked_for = options.keepalive || options.user_timeout.is_some();
        if current == Kind::Linger || (current == Kind::Off && !is_asked_for) {
            return;
        }
        let is_waiting = tcb.has_unacknowledged() || tcb.has_unsent();
        let (kind, length) = match options.user_timeout {
            Some(length) if is_waiting => (Kind::UserTimeout, length),
            // MUST-24 and MUST-25: only where it was asked for.
            _ if options.keepalive && !is_waiting && may_probe(tcb.state) => {
                (Kind::KeepAlive, options.keep_idle)
            }
            _ => (Kind::Off, Duration::ZERO),
        };
        if kind == current {
            return;
        }
        if kind == Kind::Off {
            tcb.stop_watch();
            return self.cool(tcb);
        }
        self.warm(tcb).watch = Watch {
            at: Millis::in_time(now, length),
            kind,
            probes: 0,
        };
    }

    /// Data was queued: it is output's turn, and a user timeout counts from here on, also
    /// while no frame is free that output could have (RFC 9293 section 3.9.1.1).
    pub(crate) fn queue_data(&mut self, now: Instant, index: u32, tcb: &mut Tcb) {
        if self.options(tcb).user_timeout.is_some() {
            self.schedule(now, index, tcb);
        }
        self.queue_output(index, tcb);
    }

    /// Does what is due of the slow deadline; tells why the connection ended if it
    /// did.
    pub(crate) fn watch_expired(&mut self, cx: &mut Cx, tcb: &mut Tcb) -> Option<Closed> {
        let watch = tcb.watch();
        if !watch.deadline()?.is_reached(cx.now) {
            return None;
        }
        match watch.kind {
            Kind::Off => None,
            Kind::KeepAlive => self.keep_alive(cx, tcb),
            Kind::UserTimeout => tcb.ends_on(Event::GivenUp),
            Kind::Linger => {
                if tcb.on(Event::Abort) == Action::SendReset {
                    self.reset_connection(cx.now, tcb);
                }
                Some(Closed::Aborted)
            }
        }
    }

    /// A probe is due: an empty segment at SND.NXT - 1, which any peer that has the
    /// connection answers (RFC 9293 section 3.8.4, SHLD-12). One that stays without
    /// an answer says nothing (MUST-29), so many do (TCP_KEEPCNT), or as many as
    /// fit TCP_USER_TIMEOUT.
    fn keep_alive(&mut self, cx: &mut Cx, tcb: &mut Tcb) -> Option<Closed> {
        let options = *self.options(tcb);
        let sent = tcb.watch().probes;
        let silence = options.keep_idle + options.keep_interval * u32::from(sent);
        let is_over = match options.user_timeout {
            Some(limit) => sent > 0 && silence >= limit,
            None => sent >= options.keep_count,
        };
        if is_over {
            self.reset_connection(cx.now, tcb);
            return tcb.ends_on(Event::GivenUp);
        }
        let mut probe = self.ack_header(cx, tcb);
        probe.seq = tcb.snd_nxt.back(1);
        self.reply_as(tcb.key, self.service(tcb), probe);
        self.stats.keepalive_probes += 1;
        self.warm(tcb).watch = Watch {
            at: Millis::in_time(cx.now, options.keep_interval),
            kind: Kind::KeepAlive,
            probes: sent.saturating_add(1),
        };
        None
    }

    /// CLOSE with SO_LINGER: a RST ends what is not delivered by then.
    pub(crate) fn linger(&mut self, now: Instant, tcb: &mut Tcb, length: Duration) {
        tcb.set(TcbFlags::LINGERS);
        self.warm(tcb).watch = Watch {
            at: Millis::in_time(now, length),
            kind: Kind::Linger,
            probes: 0,
        };
    }

    /// R2 of RFC 9293 section 3.8.3 (MUST-20): the last retransmission was not
    /// answered. (R1 is in `timers`.) A user timeout takes its place (MUST-21); a SYN has its own, of
    /// three minutes at least (MUST-22, MUST-23). Between R1 and R2 the application
    /// can learn that there is trouble (SHLD-9).
    pub(crate) fn is_given_up(&mut self, tcb: &mut Tcb) -> bool {
        if tcb.backoff >= R1 {
            let error = &mut self.warm(tcb).soft_error;
            error.get_or_insert(SoftError::NoAnswer);
        }
        let options = self.options(tcb);
        if matches!(tcb.state, State::SynSent | State::SynReceived) {
            let limit = if tcb.is_early() {
                self.config.syn_ack_retransmits_max
            } else {
                options.syn_count.unwrap_or(self.config.syn_retransmits_max)
            };
            return tcb.backoff >= limit;
        }
        options.user_timeout.is_none() && tcb.backoff >= self.config.retransmits_max
    }

    /// How long an orphan waits in FIN-WAIT-2 (TCP_LINGER2).
    pub(crate) fn fin_wait_2(&self, tcb: &Tcb) -> Duration {
        self.options(tcb).linger2.unwrap_or(self.config.fin_wait_2)
    }
}

/// The peer of a connection in this state may be asked whether it is there.
fn may_probe(state: State) -> bool {
    matches!(
        state,
        State::Established | State::FinWait2 | State::CloseWait
    )
}
