//! TCP for one shard (RFC 9293).
//!
//! ```text
//!             input.rs                                    output.rs
//! segment --> flow table --> connection (tcb.rs) --> ready queue --> App
//!                        \-> half-open record (listen.rs)        \-> output queue --> segments
//!                        \-> TIME-WAIT record (time_wait.rs)
//!                        \-> listener, or RST (reset.rs)
//! ```
//!
//! A connection lives in one of three records, by what it needs: 48 bytes while
//! it is half open, two cache lines while it can carry data, 48 bytes in
//! TIME-WAIT. The flow table's value says which, and the index in its slab.

mod buffers;
mod chunks;
mod close;
mod cold;
mod congestion;
mod connect;
mod cookie;
mod ecn;
mod fast_open;
mod flight;
mod half_open;
mod held_up;
mod icmp;
mod info;
mod input;
mod invariants;
mod limit;
mod listen;
mod listing;
mod lone;
mod options;
mod output;
mod predict;
mod probing;
mod profile;
mod prr;
mod push;
mod rack;
mod receive;
mod recovery;
mod reset;
mod right_sizing;
mod rtt;
mod sack;
mod settings;
mod source;
mod state;
mod stateless;
mod stray;
mod syn_queue;
mod tail_probe;
mod tcb;
mod time_wait;
mod timers;
mod transitions;
mod undo;
mod urgent;
mod watch;

pub use chunks::SourceId;
pub(crate) use chunks::{Chunks, Content};
pub use congestion::Algorithm;
pub(crate) use connect::may_connect_to;
pub use connect::{ConnectError, IssGenerator};
pub use ecn::Ecn;
pub use held_up::HeldUp;
pub use icmp::SoftError;
pub use info::{Info, Repair};
pub(crate) use input::Segment;
pub use invariants::Broken;
pub use listen::ListenError;
pub use listen::ListenerId;
pub use listing::{Listing, RunningTimer, SocketInfo, TimerKind};
pub use options::{
    AcceptOverflow, OptionError, SocketOption, SocketOptions, SynCookies, TcpConfig,
};
pub(crate) use output::{Emitter, Payload};
pub use profile::{Profile, UnknownProfile};
pub use push::Ending;
pub use rtt::RtoBounds;
pub use source::{Body, Source};
pub use state::State;
pub(crate) use tcb::{Events, Tcb, TcbFlags};
pub use transitions::{Action, Event, Transition};

use crate::address::Address;
use crate::flow::{FlowHasher, FlowKey, FlowTable};
use crate::frame::FramePool;
use crate::path::PathMtus;
use crate::ports::Ports;
use crate::rng::Rng;
use crate::siblings::Siblings;
use crate::slab::Slab;
use crate::stats::{DropReason, Drops, TcpStats};
use crate::time::Instant;
use crate::wheel::Wheel;
use crate::wire::ip::Service;
use crate::wire::tcp::Header;
use cold::Cold;
use cookie::CookieJar;
use fast_open::FastOpens;
use limit::RateLimit;
use listen::Listener;
use rtt::Bounds;
use settings::Settings;
use std::collections::VecDeque;
use std::hint::black_box;
use syn_queue::SynQueue;
use tcb::Millis;
use time_wait::TimeWaitTable;

/// A connection, as applications name it. It stays valid until the application
/// closes or aborts it or is told that it was closed; later uses are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// Why a connection ended (RFC 9293 section 3.6, MUST-12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Closed {
    /// Both sides closed; everything was delivered.
    Normally,
    /// The peer refused the SYN with a RST (ECONNREFUSED).
    Refused,
    /// The peer sent a RST (ECONNRESET).
    Reset,
    /// The peer stopped answering (ETIMEDOUT).
    TimedOut,
    /// The next hop or the host does not answer (EHOSTUNREACH).
    Unreachable,
    /// This side aborted it.
    Aborted,
}

/// What every call that can send or keep a frame needs.
pub(crate) struct Cx<'a> {
    pub(crate) now: Instant,
    pub(crate) pool: &'a mut FramePool,
}

/// The record that a flow table value names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    Connection(u32),
    HalfOpen(u32),
    TimeWait(u32),
}

impl Flow {
    const KIND_SHIFT: u32 = 30;

    fn from_value(value: u32) -> Flow {
        let index = value & ((1 << Flow::KIND_SHIFT) - 1);
        match value >> Flow::KIND_SHIFT {
            0 => Flow::Connection(index),
            1 => Flow::HalfOpen(index),
            _ => Flow::TimeWait(index),
        }
    }

    fn value(self) -> u32 {
        match self {
            Flow::Connection(index) => index,
            Flow::HalfOpen(index) => 1 << Flow::KIND_SHIFT | index,
            Flow::TimeWait(index) => 2 << Flow::KIND_SHIFT | index,
        }
    }
}

/// Told to the application when a connection ended without its asking.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClosedEvent {
    pub(crate) id: ConnectionId,
    pub(crate) token: u32,
    pub(crate) why: Closed,
}

/// How many connections are in which record, and what hangs on them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Connections in each state, in the order of [`State::ALL`]; LISTEN counts
    /// listeners, SYN-RECEIVED and TIME-WAIT all their records.
    pub states: [usize; 11],
    /// Elements of queues.
    pub chunks: usize,
    /// Received frames in queues.
    pub held_frames: usize,
    /// Timers scheduled, TIME-WAIT not counted.
    pub timers: usize,
    /// Local ports taken by connections that this side opened.
    pub ports: usize,
    /// Different sets of socket options.
    pub option_sets: usize,
}

impl Gauges {
    /// How many connections are in `state`.
    pub fn of(&self, state: State) -> usize {
        State::ALL
            .iter()
            .position(|&s| s == state)
            .map_or(0, |at| self.states[at])
    }

    /// Adds what another shard holds.
    pub fn add(&mut self, other: &Gauges) {
        for (sum, count) in self.states.iter_mut().zip(other.states) {
            *sum += count;
        }
        self.chunks += other.chunks;
        self.held_frames += other.held_frames;
        self.timers += other.timers;
        self.ports += other.ports;
        self.option_sets += other.option_sets;
    }

    /// Connections in any state but LISTEN and TIME-WAIT.
    pub fn live(&self) -> usize {
        self.states.iter().sum::<usize>() - self.of(State::Listen) - self.of(State::TimeWait)
    }
}

// The places of a slab cost a connection nothing.
const _: () = assert!(Slab::<Tcb>::ENTRY_LEN == 128);

/// All of TCP that one shard holds.
pub(crate) struct Tcp {
    pub(crate) connections: Slab<Tcb>,
    half_open: SynQueue,
    time_wait: TimeWaitTable,
    listeners: Vec<Option<Listener>>,
    /// The other shards of this host.
    pub(crate) siblings: Siblings,
    pub(crate) shared: Shared,
}

/// What connections share: everything but the records themselves, so that a
/// function can hold a connection and this at the same time.
pub(crate) struct Shared {
    pub(crate) config: TcpConfig,
    /// What segments need of it, in microseconds.
    rto: Bounds,
    tail_probe_min_us: u64,
    delayed_ack_us: u64,
    /// Largest IP packet of the link.
    mtu: u16,
    /// What is known of paths that take less.
    paths: PathMtus,
    table: FlowTable,
    hasher: FlowHasher,
    pub(crate) settings: Settings,
    cookies: CookieJar,
    fast_open: FastOpens,
    /// RSTs for segments of no connection.
    stray_resets: RateLimit,
    pub(crate) chunks: Chunks,
    /// Cold parts that no connection owns.
    #[expect(clippy::vec_box, reason = "they go to connections as they are")]
    spare: Vec<Box<Cold>>,
    /// One place a connection; a tick is what [`Millis`] counts.
    wheel: Wheel<1>,
    pub(crate) ports: Ports,
    iss: IssGenerator,
    timestamp_offset: u32,
    next_generation: u32,
    ready: VecDeque<u32>,
    output: VecDeque<u32>,
    replies: VecDeque<Reply>,
    pub(crate) closed: VecDeque<ClosedEvent>,
    pub(crate) acceptable: VecDeque<ListenerId>,
    /// Peers that did not answer three retransmissions, since this was last looked at.
    pub(crate) silent: Vec<Address>,
    pub(crate) stats: TcpStats,
    pub(crate) drops: Drops,
}

/// A segment that belongs to no connection's output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reply {
    pub(crate) key: FlowKey,
    pub(crate) service: Service,
    pub(crate) header: Header,
}

/// Flows whose records and buckets are more than a second-level cache holds.
const MANY_FLOWS: usize = 4_096;
/// Replies that may wait for a frame.
const REPLIES_MAX: usize = 4_096;

impl Tcp {
    pub(crate) fn new(config: TcpConfig, mtu: u16, now: Instant, rng: &mut Rng) -> Tcp {
        Tcp {
            connections: Slab::new(config.max_connections),
            half_open: SynQueue::new(config.max_half_open, now),
            time_wait: TimeWaitTable::new(config.max_time_wait, now),
            listeners: Vec::new(),
            siblings: Siblings::default(),
            shared: Shared {
                rto: config.rto.into(),
                tail_probe_min_us: rtt::micros(config.tail_probe_min),
                delayed_ack_us: rtt::micros(config.delayed_ack),
                mtu,
                paths: PathMtus::default(),
                table: FlowTable::with_capacity(1_024),
                hasher: FlowHasher::new(rng.key()),
                chunks: Chunks::new(config.max_chunks, config.max_held_frames),
                spare: Vec::new(),
                settings: Settings::new(config.max_option_sets),
                cookies: CookieJar::new(rng.key()),
                stray_resets: RateLimit::new(config.stray_resets_per_second, rng.next_u64()),
                wheel: Wheel::new(now, config.max_connections),
                ports: Ports::new(config.ports, rng.key()),
                iss: IssGenerator::new(rng.key()),
                timestamp_offset: u32::try_from(rng.below(1 << 32)).unwrap_or(0),
                fast_open: FastOpens::new(rng.key()),
                next_generation: 0,
                ready: VecDeque::new(),
                output: VecDeque::new(),
                replies: VecDeque::new(),
                closed: VecDeque::new(),
                acceptable: VecDeque::new(),
                silent: Vec::new(),
                stats: TcpStats::default(),
                drops: Drops::default(),
                config,
            },
        }
    }

    /// The record of a flow.
    pub(crate) fn lookup(&self, key: &FlowKey) -> Option<Flow> {
        self.find(self.hash(key), key)
    }

    /// The hash of a flow, for [`find`](Tcp::find).
    #[inline]
    pub(crate) fn hash(&self, key: &FlowKey) -> u64 {
        self.shared.hasher.hash(key)
    }

    /// The record of a flow with this hash.
    #[inline]
    pub(crate) fn find(&self, hash: u64, key: &FlowKey) -> Option<Flow> {
        let is_it = |value| match Flow::from_value(value) {
            Flow::Connection(index) => self.connections.get(index).is_some_and(|r| r.key == *key),
            Flow::HalfOpen(index) => self.half_open.get(index).is_some_and(|r| r.key == *key),
            Flow::TimeWait(index) => self.time_wait.get(index).is_some_and(|r| r.key == *key),
        };
        self.shared.table.find(hash, is_it).map(Flow::from_value)
    }

    /// Has the memory that segments with these hashes will need come closer: reads
    /// that do not wait for each other, while to process a segment is to read one
    /// thing after another. For a table that the caches hold it would only cost.
    pub(crate) fn touch(&self, hashes: impl Iterator<Item = u64> + Clone) {
        if !self.shared.has_many_flows() {
            return;
        }
        for hash in hashes.clone() {
            self.shared.table.touch(hash);
        }
        for hash in hashes {
            let value = self.shared.table.find(hash, |_| true);
            if let Some(Flow::Connection(index)) = value.map(Flow::from_value) {
                self.touch_connection(index);
            }
        }
    }

    /// Reads a word of each of a record's two cache lines, and its node of the wheel.
    #[inline]
    fn touch_connection(&self, index: u32) {
        if let Some(tcb) = self.connections.get(index) {
            black_box(tcb.generation ^ tcb.ack_at.0);
            black_box(self.shared.wheel.fires_by(index, 0));
        }
    }

    pub(crate) fn connection(&self, id: ConnectionId) -> Option<&Tcb> {
        self.connections
            .get(id.index)
            .filter(|tcb| tcb.generation == id.generation)
    }

    /// A connection that the application still holds.
    pub(crate) fn connection_mut(&mut self, id: ConnectionId) -> Option<&mut Tcb> {
        self.held_mut(id).map(|(_, tcb)| tcb)
    }

    /// The same, with what connections share.
    pub(crate) fn held_mut(&mut self, id: ConnectionId) -> Option<(&mut Shared, &mut Tcb)> {
        let tcb = self.connections.get_mut(id.index)?;
        let is_held = tcb.generation == id.generation && !tcb.is(TcbFlags::ORPHAN);
        is_held.then_some((&mut self.shared, tcb))
    }

    /// The next connection with news for the application, and the news.
    pub(crate) fn poll_ready(&mut self) -> Option<(ConnectionId, Events)> {
        while let Some(index) = self.shared.ready.pop_front() {
            let Some(tcb) = self.connections.get_mut(index) else {
                continue;
            };
            tcb.unset(TcbFlags::READY_QUEUED);
            let events = tcb.events.take();
            if !tcb.is(TcbFlags::ORPHAN) && events != Events::default() {
                return Some((
                    ConnectionId {
                        index,
                        generation: tcb.generation,
                    },
                    events,
                ));
            }
        }
        None
    }

    /// Counts what is held, by state. It walks all connections: for reports and
    /// tests, not for every step.
    pub(crate) fn gauges(&self) -> Gauges {
        let mut states = State::ALL.map(|state| {
            self.connections
                .iter()
                .filter(|(_, tcb)| tcb.state == state)
                .count()
        });
        let mut add = |state, count| {
            if let Some(at) = State::ALL.iter().position(|&s| s == state) {
                states[at] += count;
            }
        };
        add(State::Listen, self.listeners.iter().flatten().count());
        add(State::SynReceived, self.half_open.len());
        add(State::TimeWait, self.time_wait.len());
        Gauges {
            states,
            chunks: self.shared.chunks.len(),
            held_frames: self.shared.chunks.frames_held(),
            timers: self.shared.wheel.len() + self.half_open.timers(),
            ports: self.shared.ports.in_use(),
            option_sets: self.shared.settings.len(),
        }
    }
}

impl Shared {
    /// Tells the application something about a connection at the end of the step.
    pub(crate) fn notify(&mut self, index: u32, tcb: &mut Tcb, event: Events) {
        if tcb.is(TcbFlags::ORPHAN) {
            return;
        }
        tcb.events.add(event);
        if !tcb.is(TcbFlags::READY_QUEUED) {
            tcb.set(TcbFlags::READY_QUEUED);
            self.ready.push_back(index);
        }
    }

    /// Has the connection looked at by output at the end of the step.
    pub(crate) fn queue_output(&mut self, index: u32, tcb: &mut Tcb) {
        if !tcb.is(TcbFlags::OUTPUT_QUEUED) {
            tcb.set(TcbFlags::OUTPUT_QUEUED);
            self.output.push_back(index);
        }
    }

    /// Sends an ACK: with whatever else leaves at the end of the step (RFC 9293
    /// section 3.10.7.4, MUST-58 and MUST-59), or alone without packet economy.
    pub(crate) fn acknowledge(&mut self, cx: &Cx, index: u32, tcb: &mut Tcb) {
        if self.config.packet_economy || !tcb.state.is_synchronized() {
            tcb.set(TcbFlags::ACK_NOW);
            self.queue_output(index, tcb);
        } else {
            let header = self.ack_header(cx, tcb);
            self.reply_as(tcb.key, self.service(tcb), header);
        }
    }

    /// Queues a segment that belongs to no connection's output.
    pub(crate) fn reply(&mut self, key: FlowKey, header: Header) {
        self.reply_as(key, Service::default(), header);
    }

    /// The same with a socket's service.
    pub(crate) fn reply_as(&mut self, key: FlowKey, service: Service, header: Header) {
        if self.replies.len() < REPLIES_MAX {
            self.replies.push_back(Reply {
                key,
                service,
                header,
            });
        } else {
            self.drops.count(DropReason::ReplyQueueFull);
        }
    }

    /// What segments need of a flow has to be brought to the caches first.
    fn has_many_flows(&self) -> bool {
        self.table.len() >= MANY_FLOWS
    }

    /// Makes sure that the wheel wakes the connection at its earliest deadline.
    /// A deadline that moved later costs nothing: the wheel fires early and
    /// finds that nothing is due. So it is with one that is gone, among few
    /// connections, of which each has its next before that. Among many the record
    /// would have to be brought back for it.
    pub(crate) fn schedule(&mut self, now: Instant, index: u32, tcb: &mut Tcb) {
        self.watch(now, tcb);
        match tcb.deadline(now) {
            Some(at) if self.wheel.fires_by(index, at.0) => {}
            Some(at) => self.wheel.schedule(index, at.instant(now)),
            None if self.has_many_flows() => {
                self.wheel.cancel(index);
            }
            None => {}
        }
    }

    /// The timestamp clock: a millisecond a tick from a random origin (RFC 7323
    /// section 5.4).
    pub(crate) fn timestamp(&self, now: Instant) -> u32 {
        Millis::at(now).0.wrapping_add(self.timestamp_offset)
    }
}
