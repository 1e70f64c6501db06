//! Closing: the user's calls, and the end of a record.

use super::rtt;
use super::state::State;
use super::tcb::{Tcb, TcbFlags, Timer};
use super::time_wait::TimeWait;
use super::transitions::{Action, Event};
use super::{Closed, ClosedEvent, ConnectionId, Cx, Flow, Shared, Tcp};
use crate::time::Duration;

impl Tcp {
    /// CLOSE of the sending side (RFC 9293 section 3.10.4): a FIN follows what
    /// is queued. The connection can still be read.
    pub(crate) fn shutdown(&mut self, cx: &mut Cx, index: u32) {
        let Some(tcb) = self.connections.get_mut(index) else {
            return;
        };
        if tcb.state == State::Closed {
            return;
        }
        match tcb.on(Event::Close) {
            Action::SendFin | Action::QueueFin => {
                tcb.set(TcbFlags::FIN_QUEUED);
                self.shared.queue_output(index, tcb);
            }
            Action::Delete => self.finish(cx, index, Closed::Aborted),
            _ => {}
        }
    }

    /// The application lets go of the connection. Unread data makes it a reset
    /// (RFC 9293 section 3.6.1, SHLD-3), for it will never be delivered.
    /// A half-duplex close: nothing is read after it (MAY-1).
    pub(crate) fn close(&mut self, cx: &mut Cx, index: u32) {
        let Some(tcb) = self.connections.get_mut(index) else {
            return;
        };
        if tcb.receive_queued > 0 || tcb.has_reassembly() {
            return self.abort(cx, index);
        }
        let linger = self.shared.options(tcb).linger;
        if linger == Some(Duration::ZERO) {
            return self.abort(cx, index);
        }
        tcb.set(TcbFlags::ORPHAN);
        if let Some(length) = linger
            && tcb.state.may_linger()
        {
            self.shared.linger(cx.now, tcb, length);
            self.shared.schedule(cx.now, index, tcb);
        }
        match tcb.state {
            State::Closed => self.finish(cx, index, Closed::Normally),
            State::FinWait2 => {
                let wait_us = rtt::micros(self.shared.fin_wait_2(tcb));
                tcb.arm(Timer::FinWait2, cx.now, wait_us);
                self.shared.schedule(cx.now, index, tcb);
            }
            _ => self.shutdown(cx, index),
        }
    }

    /// ABORT (RFC 9293 section 3.10.5): a RST where the peer knows of us, and
    /// everything of the connection is gone.
    pub(crate) fn abort(&mut self, cx: &mut Cx, index: u32) {
        let Some(tcb) = self.connections.get_mut(index) else {
            return;
        };
        tcb.set(TcbFlags::ORPHAN);
        if tcb.on(Event::Abort) == Action::SendReset {
            self.shared.reset_connection(cx.now, tcb);
        }
        self.finish(cx, index, Closed::Aborted);
    }

    pub(crate) fn abort_all(&mut self, cx: &mut Cx) {
        let indices: Vec<u32> = self.connections.iter().map(|(index, _)| index).collect();
        for index in indices {
            self.abort(cx, index);
        }
    }

    /// Ends a connection: its record, queues, timer and port are free after this,
    /// and an application that still holds it is told.
    pub(crate) fn finish(&mut self, cx: &mut Cx, index: u32, why: Closed) {
        let Some(mut tcb) = self.connections.remove(index) else {
            return;
        };
        let told = tcb.told(why);
        let hash = self.shared.hasher.hash(&tcb.key);
        self.shared
            .table
            .remove(hash, Flow::Connection(index).value());
        self.shared.abandon_fast_open(cx.now, &tcb, why);
        self.shared.clear(cx, index, &mut tcb);
        if tcb.is(TcbFlags::ACTIVE) {
            self.shared.ports.release(&tcb.key);
        }
        self.shared.count_end(&tcb, why);
        if !tcb.is(TcbFlags::ORPHAN) || tcb.is(TcbFlags::LINGERS) {
            self.shared.tell_closed(index, &tcb, told);
        }
        self.shared.settings.release(tcb.settings);
    }

    /// Both sides have closed, and TIME-WAIT is the peer's or a record's. While the
    /// application holds the connection it can read it to its end.
    pub(crate) fn end_normally(&mut self, cx: &mut Cx, index: u32) {
        let Some(tcb) = self.connections.get_mut(index) else {
            return;
        };
        if tcb.is(TcbFlags::ORPHAN) {
            return self.finish(cx, index, Closed::Normally);
        }
        self.shared.wheel.cancel(index);
        let hash = self.shared.hasher.hash(&tcb.key);
        self.shared
            .table
            .remove(hash, Flow::Connection(index).value());
        if tcb.is(TcbFlags::ACTIVE) {
            tcb.unset(TcbFlags::ACTIVE);
            self.shared.ports.release(&tcb.key);
        }
        tcb.timer = Timer::Idle;
    }

    /// A connection that is over on both sides leaves a TIME-WAIT record behind,
    /// which its flow and its port are from then on.
    pub(crate) fn enter_time_wait(&mut self, cx: &mut Cx, index: u32) {
        let Some(tcb) = self.connections.get_mut(index) else {
            return;
        };
        let window = self.shared.advertise(tcb);
        let record = TimeWait::of(tcb, window);
        let length = self.shared.config.time_wait();
        tcb.on(Event::HandedOver);
        if let Some(waiting) = self.time_wait.insert(cx.now, record, length) {
            // An ACK of the peer's FIN that is due goes out as the record's own.
            if tcb.is(TcbFlags::ACK_NOW) {
                let header = self.shared.ack_header(cx, tcb);
                self.shared.reply(tcb.key, header);
            }
            let hash = self.shared.hasher.hash(&tcb.key);
            let (old, new) = (
                Flow::Connection(index).value(),
                Flow::TimeWait(waiting).value(),
            );
            self.shared.table.replace(hash, old, new);
            tcb.unset(TcbFlags::ACTIVE);
        } else {
            self.shared.stats.time_wait_overflow += 1;
        }
        self.end_normally(cx, index);
    }
}

impl Shared {
    /// A close with SO_LINGER is done: everything was delivered, the FIN too.
    pub(crate) fn linger_over(&mut self, index: u32, tcb: &mut Tcb) {
        if tcb.is(TcbFlags::LINGERS) {
            tcb.end_linger();
            self.tell_closed(index, tcb, Closed::Normally);
        }
    }

    fn tell_closed(&mut self, index: u32, tcb: &Tcb, why: Closed) {
        let id = ConnectionId {
            index,
            generation: tcb.generation,
        };
        self.closed.push_back(ClosedEvent {
            id,
            token: tcb.token,
            why: tcb.told(why),
        });
    }

    fn clear(&mut self, cx: &mut Cx, index: u32, tcb: &mut Tcb) {
        self.wheel.cancel(index);
        self.chunks.clear(&mut tcb.send_queue, cx.pool);
        self.chunks.clear(&mut tcb.receive_queue, cx.pool);
        if let Some(cold) = tcb.cold.as_deref_mut() {
            self.chunks.clear(&mut cold.reassembly, cx.pool);
        }
        self.drop_cold(tcb);
    }

    fn count_end(&mut self, tcb: &Tcb, why: Closed) {
        let stats = &mut self.stats;
        if !tcb.is(TcbFlags::ESTABLISHED) {
            stats.attempt_fails += 1;
            return;
        }
        stats.closed += 1;
        match why {
            Closed::Normally | Closed::Refused | Closed::Unreachable => {}
            Closed::Reset => stats.resets_received += 1,
            Closed::TimedOut => stats.timeouts += 1,
            Closed::Aborted => stats.aborts += 1,
        }
    }
}
