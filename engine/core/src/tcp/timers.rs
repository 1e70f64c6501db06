//! The timer of what is in flight: when it is set, and what happens when it or
//! another deadline of the connection has passed.

use super::input::micros;
use super::recovery::Mode;
use super::state::State;
use super::tcb::{Tcb, TcbFlags, Timer};
use super::transitions::Event;
use super::watch::R1;
use super::{Closed, Cx, Shared, Tcp};
use crate::time::Instant;

/// Connections whose records are read before the first of them is looked at.
const EXPIRED_TOGETHER: usize = 32;

impl Tcp {
    /// Handles up to `budget` connections whose wheel entry is due.
    /// A part at a time, so that the records of a part are waited for together.
    pub(crate) fn expire(&mut self, cx: &mut Cx, budget: usize) {
        let mut due = [0; EXPIRED_TOGETHER];
        for _ in 0..budget / EXPIRED_TOGETHER {
            let mut len = 0;
            for place in &mut due {
                let Some(index) = self.shared.wheel.pop_expired(cx.now) else {
                    break;
                };
                *place = index;
                len += 1;
            }
            if len == 0 {
                return;
            }
            for &index in &due[..len] {
                self.touch_connection(index);
            }
            for &index in &due[..len] {
                let Some(tcb) = self.connections.get_mut(index) else {
                    continue;
                };
                match self.shared.expire_connection(cx, index, tcb) {
                    Some(why) => self.finish(cx, index, why),
                    None => self.shared.schedule(cx.now, index, tcb),
                }
            }
        }
    }

    /// The earliest deadline of all records; a bound, never too late.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let deadlines = [
            self.shared.wheel.next_deadline(),
            self.half_open.next_deadline(),
            self.time_wait_deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Something waits to be sent or told.
    pub(crate) fn has_work(&self) -> bool {
        let shared = &self.shared;
        !(shared.output.is_empty()
            && shared.replies.is_empty()
            && shared.ready.is_empty()
            && shared.closed.is_empty()
            && shared.acceptable.is_empty())
    }
}

impl Shared {
    /// RTO (RFC 6298 section 2), backed off.
    pub(crate) fn rto_us(&self, tcb: &Tcb) -> u64 {
        tcb.rtt.rto_us(&self.rto, tcb.backoff)
    }

    /// The retransmission timer, from now on.
    pub(crate) fn arm_retransmit(&self, now: Instant, tcb: &mut Tcb) {
        tcb.arm(Timer::Retransmit, now, self.rto_us(tcb));
        if let Some(cold) = tcb.cold.as_deref_mut() {
            cold.recovery.rto_from_us = micros(now);
        }
    }

    /// The same, or what comes before it: no such timer ran (RFC 6298 (5.1)), or new
    /// data was acknowledged (5.3).
    pub(crate) fn restart_timer(&self, now: Instant, tcb: &mut Tcb) {
        // That of a lone segment has run since it left.
        let is_lone = tcb.is(TcbFlags::LONE) && tcb.timer != Timer::Persist;
        if tcb.has_unacknowledged() && !is_lone {
            self.arm_retransmit(now, tcb);
        }
        self.arm_for_flight(now, tcb);
    }

    /// The timer for what is in flight: RACK's or the tail loss probe's, as far as it
    /// comes before the retransmission timer, which goes on. A probe comes at the
    /// latest in its place (RFC 8985 section 7.2).
    pub(crate) fn arm_for_flight(&self, now: Instant, tcb: &mut Tcb) {
        if !tcb.has_unacknowledged() {
            let is_persist = tcb.timer == Timer::Persist;
            if tcb.timer.is_of_flight() || (is_persist && !tcb.has_unsent()) {
                tcb.disarm(now); // RFC 6298 (5.2)
            }
            return;
        }
        let (rto_from_us, reorder_us) = match tcb.cold() {
            _ if tcb.timer == Timer::Persist => return,
            Some(cold) => (cold.recovery.rto_from_us, cold.recovery.reorder_wait_us),
            None if tcb.is(TcbFlags::LONE) => (tcb.sent_us, None),
            None => return,
        };
        let rto_runs_us = micros(now).wrapping_sub(rto_from_us);
        let rto_left_us = self.rto_us(tcb).saturating_sub(u64::from(rto_runs_us));
        let (timer, wait_us) = match (reorder_us.map(u64::from), self.probe_timeout_us(tcb)) {
            (Some(wait_us), _) if wait_us < rto_left_us => (Timer::Reorder, wait_us),
            (None, Some(pto_us)) => (Timer::Probe, pto_us.min(rto_left_us)),
            _ => (Timer::Retransmit, rto_left_us),
        };
        tcb.arm(timer, now, wait_us);
    }

    /// A segment was sent while the timer ran. A new one is the last one now, and the
    /// probe timer counts from it on (RFC 8985 section 7.2). One that is sent again
    /// while losses are repaired has a whole timeout to be acknowledged (RFC 6675
    /// section 6, MAY).
    pub(crate) fn note_departure(&self, now: Instant, tcb: &mut Tcb, is_again: bool) {
        let is_repair = tcb
            .cold()
            .is_some_and(|cold| cold.recovery.mode == Mode::Recovery);
        let (timer, at) = (tcb.timer, tcb.timer_at);
        if is_again && is_repair {
            self.arm_retransmit(now, tcb);
            if timer == Timer::Reorder {
                (tcb.timer, tcb.timer_at) = (timer, at);
            }
        } else if !is_again && matches!(timer, Timer::Retransmit | Timer::Probe) {
            self.arm_for_flight(now, tcb);
        }
    }

    /// Does what is due of one connection; tells why it ended if it did.
    fn expire_connection(&mut self, cx: &mut Cx, index: u32, tcb: &mut Tcb) -> Option<Closed> {
        if tcb.is(TcbFlags::ACK_DELAYED) && tcb.ack_at.is_reached(cx.now) {
            // It is due once, even where it can't leave because the next hop is silent.
            tcb.unset(TcbFlags::ACK_DELAYED);
            tcb.set(TcbFlags::ACK_NOW);
            self.queue_output(index, tcb);
        }
        if let Some(why) = self.watch_expired(cx, tcb) {
            return Some(why);
        }
        if tcb.timer == Timer::Idle || !tcb.timer_at.is_reached(cx.now) {
            return None;
        }
        self.warm_lone(tcb);
        match tcb.timer {
            Timer::Retransmit => self.retransmission_timeout(cx, index, tcb),
            Timer::Reorder => {
                self.reorder_timeout(cx.now, tcb);
                self.queue_output(index, tcb);
                None
            }
            Timer::Probe => {
                self.probe_timeout_expired(cx.now, tcb);
                self.queue_output(index, tcb);
                None
            }
            Timer::Persist => self.persist_timeout(cx, index, tcb),
            // The peer never sent its FIN; it gets a RST if it ever does.
            Timer::FinWait2 => tcb.ends_on(Event::FinWait2Over),
            Timer::Idle => None,
        }
    }

    /// RFC 6298 (5.4) to (5.6); RFC 9293 section 3.8.3 for giving up.
    /// A SYN is treated as any (MUST-22). From R1 on the next hop is doubted (MUST-20,
    /// SHLD-10).
    fn retransmission_timeout(&mut self, cx: &mut Cx, index: u32, tcb: &mut Tcb) -> Option<Closed> {
        let is_opening = matches!(tcb.state, State::SynSent | State::SynReceived);
        if self.is_given_up(tcb) {
            return tcb.ends_on(Event::GivenUp);
        }
        if tcb.backoff >= R1 {
            self.silent.push(tcb.key.remote);
        }
        self.doubt_fast_open(cx.now, tcb);
        tcb.backoff = tcb.backoff.saturating_add(1);
        if is_opening {
            self.stats.syn_ack_retransmits += u64::from(tcb.is_early());
            tcb.set(TcbFlags::SYN_DUE);
        } else {
            self.lose_all(cx.now, tcb);
            self.suspect_black_hole(index, tcb);
        }
        if !is_opening && tcb.snd_wnd == 0 {
            // The window closed over what was in flight: probe it instead
            // (RFC 9293 section 3.8.6, MUST-35).
            tcb.backoff -= 1;
            return self.persist_timeout(cx, index, tcb);
        }
        self.stats.rto_expired += 1;
        self.arm_retransmit(cx.now, tcb);
        self.queue_output(index, tcb);
        None
    }

    /// A zero-window probe is due (RFC 9293 section 3.8.6.1). The interval doubles
    /// while the window stays closed; a peer that no longer answers ends it.
    /// RFC 9293: MUST-36; the first probe comes after an RTO (SHLD-29), the next ones after
    /// twice the time (SHLD-30). Data past a window that closed times out only when nothing
    /// is answered (SHLD-17).
    fn persist_timeout(&mut self, cx: &mut Cx, index: u32, tcb: &mut Tcb) -> Option<Closed> {
        if self.is_given_up(tcb) {
            return tcb.ends_on(Event::GivenUp);
        }
        tcb.backoff = tcb.backoff.saturating_add(1);
        tcb.set(TcbFlags::PROBE_DUE);
        tcb.arm(Timer::Persist, cx.now, self.rto_us(tcb));
        self.queue_output(index, tcb);
        None
    }
}
