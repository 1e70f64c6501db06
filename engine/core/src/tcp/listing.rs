//! Every socket of a shard as it stands, as netstat and ss show a kernel's.
//!
//! It walks all records and allocates: for people and tools, not for every step.

use super::tcb::{Tcb, Timer};
use super::{State, Tcp};
use crate::locals::Locals;
use crate::time::{Duration, Instant};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// One socket at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketInfo {
    /// The local address and port; a listener on all addresses has the unspecified
    /// one.
    pub local: SocketAddr,
    /// The peer's; a listener has none.
    pub remote: Option<SocketAddr>,
    /// The state.
    pub state: State,
    /// Recv-Q: bytes received and not read. Of a listener, connections that wait to
    /// be accepted.
    pub receive_queue: u32,
    /// Send-Q: bytes queued and not acknowledged. Of a listener, its backlog.
    pub send_queue: u32,
    /// What it waits for.
    pub timer: Option<RunningTimer>,
}

/// A timer that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunningTimer {
    /// What it is for.
    pub kind: TimerKind,
    /// Until it goes off.
    pub left: Duration,
    /// Retransmissions, or probes of a closed window, so far.
    pub retransmits: u8,
    /// Keep-alive probes without an answer.
    pub probes: u8,
}

/// What timers are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerKind {
    /// Something in flight is sent again, or probed for.
    Retransmit,
    /// The window is closed.
    Persist,
    /// The slow deadline: keep-alive, the user timeout, or linger.
    KeepAlive,
    /// 2 MSL, or FIN-WAIT-2 after a close.
    TimeWait,
}

impl TimerKind {
    /// The name that netstat has for it.
    pub const fn name(self) -> &'static str {
        match self {
            TimerKind::Retransmit => "on",
            TimerKind::Persist => "probe",
            TimerKind::KeepAlive => "keepalive",
            TimerKind::TimeWait => "timewait",
        }
    }
}

impl Tcp {
    /// Listeners first, then half-open records, connections, and TIME-WAIT.
    pub(crate) fn sockets(&self, now: Instant, locals: &Locals) -> Vec<SocketInfo> {
        let address = |key: &crate::flow::FlowKey| {
            let local = SocketAddr::new(locals.ip(key.local), key.local_port);
            let remote = SocketAddr::new(key.remote.ip(), key.remote_port);
            (local, Some(remote))
        };
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let listeners = self.listeners.iter().flatten().map(|listener| SocketInfo {
            local: SocketAddr::new(
                listener.local.map_or(any, |at| locals.ip(at)),
                listener.port,
            ),
            remote: None,
            state: State::Listen,
            receive_queue: count(listener.waiting()),
            send_queue: count(listener.backlog),
            timer: None,
        });
        let of = |key, state, timer| {
            let (local, remote) = address(key);
            SocketInfo {
                local,
                remote,
                state,
                receive_queue: 0,
                send_queue: 0,
                timer,
            }
        };
        let half_open = self.half_open.iter().map(|(key, retransmits, at)| {
            let timer = at.map(|at| RunningTimer {
                kind: TimerKind::Retransmit,
                left: at.since(now),
                retransmits,
                probes: 0,
            });
            of(key, State::SynReceived, timer)
        });
        let connections = self.connections.iter().map(|(_, tcb)| SocketInfo {
            receive_queue: tcb.receive_queued,
            send_queue: tcb.send_queued,
            ..of(&tcb.key, tcb.state, timer(now, tcb))
        });
        let time_wait = self.time_wait.iter(now).map(|(key, left)| {
            let timer = RunningTimer {
                kind: TimerKind::TimeWait,
                left,
                retransmits: 0,
                probes: 0,
            };
            of(key, State::TimeWait, Some(timer))
        });
        listeners
            .chain(half_open)
            .chain(connections)
            .chain(time_wait)
            .collect()
    }
}

/// What a connection waits for: first what is in flight, then the slow deadline.
fn timer(now: Instant, tcb: &Tcb) -> Option<RunningTimer> {
    let kind = match tcb.timer {
        Timer::Idle => None,
        Timer::Retransmit | Timer::Reorder | Timer::Probe => Some(TimerKind::Retransmit),
        Timer::Persist => Some(TimerKind::Persist),
        Timer::FinWait2 => Some(TimerKind::TimeWait),
    };
    let watch = tcb.watch();
    let (kind, at) = match (kind, watch.deadline()) {
        (Some(kind), _) => (kind, tcb.timer_at),
        (None, Some(at)) => (TimerKind::KeepAlive, at),
        (None, None) => return None,
    };
    Some(RunningTimer {
        kind,
        left: Duration::from_millis(u64::from(at.until(now))),
        retransmits: tcb.backoff,
        probes: watch.probes(),
    })
}
