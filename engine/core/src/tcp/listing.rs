//! Every socket of a shard as it stands, as netstat and ss show a kernel's.
//!
//! It is made from the flow table, as a kernel's is: a connection that is over on both
//! sides and only still read is not in it, and its TIME-WAIT record is.

use super::listen::Listener;
use super::tcb::{Tcb, Timer};
use super::{Flow, Info, State, Tcp};
use crate::flow::{FlowKey, Place};
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
    /// TCP_INFO of a connection, where it was asked for.
    pub info: Option<Info>,
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

/// A list of all sockets of a shard that is made a part at a time, between its steps.
///
/// Flows come in the order of their hashes, whichever record they are in. So one that
/// is there from the beginning to the end is listed once, whatever becomes of it
/// meanwhile, and one that comes or goes once or not at all.
#[derive(Debug)]
pub struct Listing {
    /// Where it goes on; nowhere when it is whole.
    next: Option<Next>,
    with_info: bool,
    sockets: Vec<SocketInfo>,
}

#[derive(Clone, Copy, Debug)]
enum Next {
    Listener(usize),
    Flows(Place),
}

/// A part has no more sockets than this, but for those of one bucket.
const PART_MAX: usize = 64;
/// Places that a part looks at, or a large table with few flows would take long.
const PLACES_MAX: usize = 256;
/// Sockets that a listing has room for until it is drained.
const ROOM: usize = 16 * PART_MAX;

impl Listing {
    /// A list of nothing yet, which is to have what TCP_INFO says of each connection,
    /// or not.
    pub fn new(with_info: bool) -> Listing {
        Listing {
            next: Some(Next::Listener(0)),
            with_info,
            sockets: Vec::with_capacity(ROOM),
        }
    }

    /// Nothing more will come.
    pub fn is_whole(&self) -> bool {
        self.next.is_none()
    }

    /// All that come are flows.
    pub fn is_past_listeners(&self) -> bool {
        !matches!(self.next, Some(Next::Listener(_)))
    }

    /// Another part fits in, and no memory is allocated for it: it can't be full by a
    /// single bucket, for a keyed hash fills them.
    pub fn has_room(&self) -> bool {
        self.sockets.len() < ROOM / 2
    }

    /// Takes what was listed so far.
    pub fn drain(&mut self) -> impl Iterator<Item = SocketInfo> {
        self.sockets.drain(..)
    }
}

impl Tcp {
    /// Goes on with a listing: a part of bounded work, which is to have room.
    pub(crate) fn list(&self, now: Instant, locals: &Locals, listing: &mut Listing) {
        let enough = listing.sockets.len() + PART_MAX;
        for _ in 0..PLACES_MAX {
            if listing.sockets.len() >= enough {
                return;
            }
            listing.next = match listing.next {
                None => return,
                Some(Next::Listener(at)) => match self.listeners.get(at) {
                    Some(listener) => {
                        let listener = listener.as_ref().map(|it| of_listener(it, locals));
                        listing.sockets.extend(listener);
                        Some(Next::Listener(at + 1))
                    }
                    None => Some(Next::Flows(Place::default())),
                },
                Some(Next::Flows(place)) => {
                    let Listing {
                        with_info, sockets, ..
                    } = listing;
                    let next = self.shared.table.visit(place, |value| {
                        sockets.extend(self.socket(now, locals, value, *with_info));
                    });
                    next.map(Next::Flows)
                }
            };
        }
    }

    /// Listeners first, then flows.
    pub(crate) fn sockets(&self, now: Instant, locals: &Locals) -> Vec<SocketInfo> {
        let mut listing = Listing::new(false);
        while !listing.is_whole() {
            self.list(now, locals, &mut listing);
        }
        listing.sockets
    }

    /// The socket that a value of the flow table names.
    fn socket(
        &self,
        now: Instant,
        locals: &Locals,
        value: u32,
        with_info: bool,
    ) -> Option<SocketInfo> {
        let of = |key: &FlowKey, state, timer| SocketInfo {
            local: SocketAddr::new(locals.ip(key.local), key.local_port),
            remote: Some(SocketAddr::new(key.remote.ip(), key.remote_port)),
            state,
            receive_queue: 0,
            send_queue: 0,
            timer,
            info: None,
        };
        let plain = |kind, left, retransmits| RunningTimer {
            kind,
            left,
            retransmits,
            probes: 0,
        };
        match Flow::from_value(value) {
            Flow::HalfOpen(index) => self.half_open.get(index).map(|record| {
                let timer = self
                    .half_open
                    .due_at(index)
                    .map(|at| plain(TimerKind::Retransmit, at.since(now), record.retransmits));
                of(&record.key, State::SynReceived, timer)
            }),
            Flow::Connection(index) => self.connections.get(index).map(|tcb| SocketInfo {
                receive_queue: tcb.receive_queued,
                send_queue: tcb.send_queued,
                info: with_info.then(|| self.shared.info(now, tcb)),
                ..of(&tcb.key, tcb.state, timer(now, tcb))
            }),
            Flow::TimeWait(index) => self.time_wait.get(index).map(|record| {
                let timer = plain(TimerKind::TimeWait, record.left(now), 0);
                of(&record.key, State::TimeWait, Some(timer))
            }),
        }
    }
}

fn of_listener(listener: &Listener, locals: &Locals) -> SocketInfo {
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let local = listener.local.map_or(any, |at| locals.ip(at));
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    SocketInfo {
        local: SocketAddr::new(local, listener.port),
        remote: None,
        state: State::Listen,
        receive_queue: count(listener.waiting()),
        send_queue: count(listener.backlog),
        timer: None,
        info: None,
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
