//! What holds of every record between two steps, whatever the peer and the
//! network do.
//!
//! A check walks all records, queues and timers, so it is for simulators and
//! tests. It changes nothing, and says what is broken, not why.

use super::chunks::List;
use super::tcb::{Tcb, TcbFlags, Timer};
use super::{Flow, State, Tcp};
use crate::flow::FlowKey;
use crate::time::{Duration, Instant};
use std::fmt;

/// A rule that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The connection that breaks it; none when it is about all of them.
    pub flow: Option<FlowKey>,
    /// The rule.
    pub rule: &'static str,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.flow {
            Some(flow) => write!(f, "{flow}: {}", self.rule),
            None => f.write_str(self.rule),
        }
    }
}

type Holds = Result<(), &'static str>;

fn ensure(holds: bool, rule: &'static str) -> Holds {
    if holds { Ok(()) } else { Err(rule) }
}

/// How a step may round a deadline up: to whole milliseconds, twice.
const ROUNDING: Duration = Duration::from_millis(2);

impl Tcp {
    /// Checks every record. `unresolved` are the connections that wait for their
    /// next hop, outside of all queues.
    pub(crate) fn check(&self, now: Instant, unresolved: &[u32]) -> Result<(), Broken> {
        let (mut chunks, mut frames) = (0, 0);
        for (index, tcb) in self.connections.iter() {
            let broken = |rule| Broken {
                flow: Some(tcb.key),
                rule,
            };
            check_send(tcb).map_err(broken)?;
            self.check_receive(tcb).map_err(broken)?;
            self.check_queues(tcb, &mut chunks, &mut frames)
                .map_err(broken)?;
            let is_waiting = tcb.is(TcbFlags::OUTPUT_QUEUED) || unresolved.contains(&index);
            self.check_timers(now, index, tcb, is_waiting)
                .map_err(broken)?;
            // A connection in CLOSED is only still read; its flow is free.
            let is_found = self.lookup(&tcb.key) == Some(Flow::Connection(index));
            ensure(
                is_found || tcb.state == State::Closed,
                "its flow names its record",
            )
            .map_err(broken)?;
        }
        let shared = &self.shared;
        let whole = |rule| Broken { flow: None, rule };
        ensure(
            chunks == shared.chunks.len(),
            "every chunk is in a queue of a connection",
        )
        .map_err(whole)?;
        ensure(
            frames == shared.chunks.frames_held(),
            "held frames are counted",
        )
        .map_err(whole)?;
        ensure(
            shared.wheel.len() <= self.connections.len(),
            "a timer has a connection",
        )
        .map_err(whole)
    }

    fn check_receive(&self, tcb: &Tcb) -> Holds {
        if matches!(tcb.state, State::SynSent | State::Closed) {
            return Ok(());
        }
        ensure(
            tcb.rcv_edge.follows_or_is(tcb.rcv_nxt),
            "RCV.NXT =< RCV.NXT+RCV.WND",
        )?;
        // The offer is rounded up to the unit of the window field. A buffer that was made
        // smaller holds what was offered before.
        let limit = self.shared.receive_limit(tcb) + (1 << tcb.rcv_scale());
        let may_be_smaller = self.shared.options(tcb).receive_buffer.is_some();
        ensure(
            tcb.rcv_wnd() <= limit || may_be_smaller,
            "RCV.WND is within the receive buffer",
        )?;
        ensure(
            tcb.receive_queued <= limit || may_be_smaller,
            "what is received fits the receive buffer",
        )?;
        ensure(
            tcb.last_ack_sent.precedes_or_is(tcb.rcv_nxt),
            "Last.ACK.sent =< RCV.NXT",
        )?;
        let room = tcb.space(self.shared.receive_limit(tcb));
        let gain = (tcb.rcv_nxt + room).distance_from(tcb.rcv_edge);
        let worth =
            (2 * u32::from(self.shared.mss(&tcb.key))).min(self.shared.receive_limit(tcb) / 2);
        // A peer that has no room must learn of it; one that has will ask for more.
        let is_short = tcb.rcv_wnd() < worth && gain >= worth.cast_signed();
        let is_told = tcb.is(TcbFlags::ACK_NOW) || tcb.is(TcbFlags::ACK_DELAYED);
        ensure(
            !is_short || is_told || !tcb.state.may_receive(),
            "a window that has opened is told",
        )
    }

    /// The queues hold what the block says, in order; counts their elements.
    fn check_queues(&self, tcb: &Tcb, chunks: &mut usize, frames: &mut usize) -> Holds {
        let mut walk = |list: List| {
            let (mut count, mut bytes) = (0, 0);
            for (_, chunk) in self.shared.chunks.walk(list) {
                count += 1;
                bytes += chunk.content.len();
                *frames += usize::from(chunk.content.is_pool_frame());
            }
            *chunks += count;
            (count, bytes)
        };
        let mut at = tcb.snd_una;
        let mut next = tcb.cold().and_then(|cold| cold.next_chunk);
        for (index, chunk) in self.shared.chunks.walk(tcb.send_queue) {
            next = next.filter(|next| *next != (index, at));
            at += u32::try_from(chunk.content.len()).unwrap_or(u32::MAX);
        }
        ensure(
            next.is_none(),
            "the chunk near SND.NXT is in the queue, and begins where it is said to",
        )?;
        let (_, sent) = walk(tcb.send_queue);
        let (_, received) = walk(tcb.receive_queue);
        let (kept, _) = walk(tcb.reassembly());
        ensure(
            sent == u64::from(tcb.send_queued),
            "the send queue is as long as it says",
        )?;
        ensure(
            received == u64::from(tcb.receive_queued),
            "the receive queue is as long as it says",
        )?;
        let told = tcb.cold().map_or(0, |cold| cold.reassembly_len);
        ensure(
            u32::try_from(kept) == Ok(told),
            "the reassembly queue is as long as it says",
        )?;
        let mut next = tcb.rcv_nxt;
        for (_, chunk) in self.shared.chunks.walk(tcb.reassembly()) {
            ensure(
                chunk.seq.follows_or_is(next),
                "reassembly is in order, without overlap",
            )?;
            next = chunk.end();
        }
        ensure(
            next.precedes_or_is(tcb.rcv_edge),
            "nothing is kept past the window",
        )
    }

    /// What waits for an event has a timer, and a timer has its place in the wheel.
    fn check_timers(&self, now: Instant, index: u32, tcb: &Tcb, is_waiting: bool) -> Holds {
        let is_open = tcb.state.is_synchronized() && tcb.state != State::TimeWait;
        if is_open && !is_waiting {
            ensure(
                !tcb.has_unacknowledged() || tcb.timer != Timer::Idle,
                "what is in flight has a timer",
            )?;
            ensure(
                !tcb.has_unsent() || tcb.timer != Timer::Idle,
                "what can't be sent has a timer",
            )?;
            ensure(
                tcb.has_unacknowledged() || !tcb.timer.is_of_flight(),
                "a timer of the flight runs for something in flight",
            )?;
            ensure(
                tcb.has_unacknowledged() || tcb.has_unsent() || tcb.timer != Timer::Persist,
                "the persist timer runs for something that waits",
            )?;
        }
        ensure(
            !tcb.is(TcbFlags::PROBE_DUE) || tcb.timer == Timer::Persist,
            "a probe is due by its timer",
        )?;
        if matches!(tcb.state, State::SynSent | State::SynReceived) {
            ensure(
                is_waiting || tcb.timer != Timer::Idle || tcb.awaits_data(),
                "an opening connection has a timer",
            )?;
        }
        // Output sees to those that it has yet to look at.
        let is_queued = tcb.is(TcbFlags::OUTPUT_QUEUED);
        let Some(at) = tcb.deadline(now).filter(|_| !is_queued) else {
            return Ok(());
        };
        let latest = at.instant(now) + ROUNDING;
        let scheduled = self.shared.wheel.scheduled_at(index);
        ensure(
            scheduled.is_some_and(|at| at <= latest),
            "the wheel wakes it in time",
        )
    }
}

/// The send sequence space (RFC 9293 section 3.4).
fn check_send(tcb: &Tcb) -> Holds {
    ensure(
        tcb.snd_una.precedes_or_is(tcb.snd_nxt),
        "SND.UNA =< SND.NXT",
    )?;
    if tcb.is(TcbFlags::LONE) {
        ensure(
            tcb.cold.is_none() && tcb.has_unacknowledged(),
            "a lone segment is in flight, and in no cold part",
        )?;
    }
    if tcb.state.is_synchronized() {
        let end = tcb.data_end() + u32::from(tcb.is(TcbFlags::FIN_QUEUED));
        ensure(
            tcb.snd_nxt.precedes_or_is(end),
            "SND.NXT is within what was queued",
        )?;
    }
    Ok(())
}
