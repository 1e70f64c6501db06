//! The record: everything that happened on the stage, in the order in which it
//! happened. Pictures are drawn from it and claims are measured on it.

use crate::roles::Role;
use ringmill_core::tcp::State;
use ringmill_core::time::{Duration, Instant};
use ringmill_core::wire::tcp::{Flags, Options};
use std::net::SocketAddr;

/// Where a host stands in the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Those who ask.
    Left,
    /// Those who are asked.
    Right,
}

/// A host in the picture.
#[derive(Clone, Debug)]
pub struct Lifeline {
    /// What it is called.
    pub name: String,
    /// Its address.
    pub address: SocketAddr,
    /// Whose TCP it is: the engine's or the kernel's.
    pub tcp: &'static str,
    /// Where it stands.
    pub side: Side,
}

/// A segment on its way.
#[derive(Clone, Debug)]
pub struct Segment {
    /// The host that sent it.
    pub from: usize,
    /// The host that it is for, if there is one.
    pub to: Option<usize>,
    /// Where from.
    pub source: SocketAddr,
    /// Where to.
    pub destination: SocketAddr,
    /// When it left.
    pub sent: Instant,
    /// When it arrived, if it did.
    pub arrived: Option<Instant>,
    /// Why it never will.
    pub lost: Option<&'static str>,
    /// It is a copy that took another way, or one that the network made up.
    pub is_stray: bool,
    /// What it is to its connection.
    pub role: Role,
    /// All of it was sent before.
    pub again: bool,
    /// Its control bits.
    pub flags: Flags,
    /// SEG.SEQ, relative to the initial sequence number.
    pub seq: u32,
    /// SEG.ACK, relative to the peer's.
    pub ack: u32,
    /// Bytes of data.
    pub len: usize,
    /// Sequence numbers that it takes.
    pub seq_len: u32,
    /// SEG.WND, scaled.
    pub window: u32,
    /// Its options.
    pub options: Options,
    /// The absolute SEG.SEQ.
    pub raw_seq: u32,
}

/// A change of a socket's state.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// Whose.
    pub host: usize,
    /// The socket's address.
    pub local: SocketAddr,
    /// Its peer's.
    pub remote: SocketAddr,
    /// The state before.
    pub from: State,
    /// The state after.
    pub to: State,
}

/// What happens.
#[derive(Clone, Debug)]
pub enum What {
    /// A segment leaves (an index into [`Record::segments`]).
    Sent(usize),
    /// A segment arrives.
    Arrived(usize),
    /// A socket is in another state.
    Changed(Change),
    /// An application calls: who, what, and what came of it.
    Called {
        /// The host.
        host: usize,
        /// The call and its answer.
        text: String,
    },
    /// The narrator speaks.
    Noted(String),
}

/// What happened when.
#[derive(Clone, Debug)]
pub struct Event {
    /// When.
    pub at: Instant,
    /// What.
    pub what: What,
}

/// What a picture says of each segment besides the usual.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shows {
    /// Its window.
    pub windows: bool,
    /// Its timestamp.
    pub timestamps: bool,
    /// The client's port, where there is more than one connection.
    pub ports: bool,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// What a picture says of segments.
    pub shows: Shows,
    /// The hosts.
    pub hosts: Vec<Lifeline>,
    /// The segments, in the order of their sending.
    pub segments: Vec<Segment>,
    /// What happened.
    pub events: Vec<Event>,
    /// Every frame as it was sent, for a capture.
    pub frames: Vec<(Instant, Vec<u8>)>,
    /// How late a change of state may be seen: a kernel is only looked at.
    pub slack: Duration,
    /// Segments that were sent and are not in the picture.
    pub untold: usize,
}

impl Record {
    pub(crate) fn push(&mut self, at: Instant, what: What) {
        self.events.push(Event { at, what });
    }

    /// The names on a side; hosts of different acts may have the same.
    pub(crate) fn names(&self, side: Side) -> Vec<&Lifeline> {
        let mut names: Vec<&Lifeline> = Vec::new();
        for host in self.hosts.iter().filter(|host| host.side == side) {
            if !names.iter().any(|known| known.name == host.name) {
                names.push(host);
            }
        }
        names
    }

    /// Segments of a role that a host sent.
    pub(crate) fn sent(&self, from: usize, role: Role) -> impl Iterator<Item = &Segment> {
        self.segments
            .iter()
            .filter(move |segment| segment.from == from && segment.role == role)
    }

    /// The first of these.
    pub(crate) fn first(&self, from: usize, role: Role) -> Option<&Segment> {
        self.sent(from, role).next()
    }

    /// The changes of state of a host's sockets, but for those that listen.
    pub(crate) fn changes(&self, host: usize) -> impl Iterator<Item = (Instant, Change)> {
        self.events
            .iter()
            .filter_map(move |event| match event.what {
                What::Changed(change) if change.host == host => Some((event.at, change)),
                _ => None,
            })
    }

    /// The states that a host's sockets went through, one after the other.
    pub(crate) fn path(&self, host: usize) -> Vec<State> {
        self.changes(host).map(|(_, change)| change.to).collect()
    }

    /// A host's first socket came into a state at.
    pub(crate) fn entered(&self, host: usize, state: State) -> Option<Instant> {
        self.changes(host)
            .find(|(_, change)| change.to == state)
            .map(|(at, _)| at)
    }

    /// How long a host's last socket in a state was in it, once it has left it.
    pub(crate) fn stay(&self, host: usize, state: State) -> Option<Duration> {
        let mut entered = None;
        let mut stay = None;
        for (at, change) in self.changes(host) {
            if change.to == state {
                entered = Some(at);
            } else if change.from == state {
                stay = entered.map(|entered| at.since(entered));
            }
        }
        stay
    }
}
