//! What holds a sender up, and for how long: TCP_INFO's busy time, and what of it the
//! receive window and the send buffer took (Linux's tcp_chrono).
//!
//! The account is in the cold part and goes with it, so it tells of the time since the
//! connection last rested. A request and its response have none: it is opened by the
//! first that holds data up, or by a second segment in flight.

use super::Shared;
use super::tcb::{Events, Tcb};
use crate::time::{Duration, Instant};

/// What a connection waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Wait {
    /// Nothing is queued.
    #[default]
    Nothing,
    /// Acknowledgments, or room in the congestion window.
    Network,
    /// Room in the peer's window.
    Window,
    /// More data, which the send buffer has no room for.
    Buffer,
}

/// How long a connection has waited for what.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Account {
    wait: Wait,
    since: Instant,
    times: HeldUp,
}

/// How long a connection had data to send, since it last rested.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeldUp {
    /// Data was queued, whatever held it up (tcpi_busy_time). Of a lone segment in
    /// flight that nothing held up no account is kept.
    pub busy: Duration,
    /// Only the peer's window was in the way (tcpi_rwnd_limited).
    pub window: Duration,
    /// All that the send buffer holds was sent, and the application waited for room
    /// (tcpi_sndbuf_limited).
    pub buffer: Duration,
}

impl Account {
    /// The times up to now.
    pub(crate) fn times(&self, now: Instant) -> HeldUp {
        let HeldUp {
            mut busy,
            mut window,
            mut buffer,
        } = self.times;
        let length = now.since(self.since);
        match self.wait {
            Wait::Nothing => {}
            Wait::Network => busy += length,
            Wait::Window => (busy, window) = (busy + length, window + length),
            Wait::Buffer => (busy, buffer) = (busy + length, buffer + length),
        }
        HeldUp {
            busy,
            window,
            buffer,
        }
    }

    /// Data waits, and it is not the network's turn.
    pub(crate) fn is_held_up(&self) -> bool {
        matches!(self.wait, Wait::Window | Wait::Buffer)
    }

    fn turn_to(&mut self, now: Instant, wait: Wait) {
        if wait != self.wait {
            self.times = self.times(now);
            (self.wait, self.since) = (wait, now);
        }
    }
}

impl Tcb {
    fn wait(&self) -> Wait {
        if self.send_queued == 0 {
            return Wait::Nothing;
        }
        let (unsent, mss) = (self.unsent(), u32::from(self.mss));
        let wanted = unsent.clamp(1, mss);
        if self.congestion.cwnd().saturating_sub(self.pipe()) < wanted {
            return Wait::Network;
        }
        let window = (self.snd_una + self.snd_wnd).distance_from(self.snd_nxt);
        if unsent > 0 && i64::from(window) < i64::from(wanted) {
            Wait::Window
        } else if unsent == 0 && self.events.contains(Events::WANTS_WRITABLE) {
            Wait::Buffer
        } else {
            Wait::Network
        }
    }
}

impl Shared {
    /// What may leave has left, or was acknowledged: what does the connection wait for
    /// from now on?
    #[inline(always)]
    pub(crate) fn account(&mut self, now: Instant, tcb: &mut Tcb) {
        let may_be_held_up = tcb.has_unsent() || tcb.events.contains(Events::WANTS_WRITABLE);
        if tcb.cold.is_some() || may_be_held_up {
            self.account_wait(now, tcb);
        }
    }

    fn account_wait(&mut self, now: Instant, tcb: &mut Tcb) {
        if !tcb.state.is_synchronized() {
            return;
        }
        let wait = tcb.wait();
        if matches!(wait, Wait::Window | Wait::Buffer) {
            self.warm(tcb);
        }
        if let Some(cold) = tcb.cold.as_deref_mut() {
            cold.account.turn_to(now, wait);
        }
    }
}
