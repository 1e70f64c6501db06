//! The network between the hosts: links, one or several in a row, which frames
//! pass on their way from one host to another.
//!
//! ```text
//! a wire       a ==== b
//! a row        a ==== . ==== . ==== b
//! a star       each host has a link of its own to one switch
//! a dumbbell   a and c ==== . ====(the bottleneck of all)==== . ==== b and d
//! ```

use super::meddling::{self, Filter};
use ringmill_core::driver::link::{Link, Pipe};
use ringmill_core::rng::Rng;
use ringmill_core::time::Instant;
use ringmill_core::wire::ethernet::{self, MacAddress};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// How the hosts are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topology {
    /// Two hosts, this many links in a row each way.
    Row(usize),
    Star,
    Dumbbell,
}

/// From `at` on, a link is as bad as this.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    pub(crate) at: Instant,
    pub(crate) pipe: usize,
    pub(crate) link: Link,
    /// Packets that it marks rather than loses, in millionths.
    pub(crate) marks: u32,
    /// It tells senders of packets that do not fit.
    pub(crate) tells: bool,
}

/// The links that `topology` has for `hosts`, both ways.
pub(crate) fn pipes_of(topology: Topology, hosts: usize) -> usize {
    match topology {
        Topology::Row(length) => 2 * length,
        Topology::Star => 2 * hosts,
        Topology::Dumbbell => 2 * hosts + 2,
    }
}

/// The links from one host to another, in order.
fn route(topology: Topology, hosts: usize, from: usize, to: usize) -> Vec<usize> {
    let (up, down) = (from, hosts + to);
    match topology {
        Topology::Row(length) if from == 0 => (0..length).collect(),
        Topology::Row(length) => (length..2 * length).collect(),
        Topology::Star => vec![up, down],
        // Hosts of even and of odd number are on either side.
        Topology::Dumbbell if from % 2 == to % 2 => vec![up, down],
        Topology::Dumbbell => vec![up, 2 * hosts + from % 2, down],
    }
}

/// The address of a host on the wire.
pub(crate) fn mac(host: usize) -> MacAddress {
    MacAddress([2, 0, 0, 0, 0, u8::try_from(host + 1).unwrap_or(u8::MAX)])
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct InFlight {
    at: Instant,
    serial: u64,
    from: usize,
    to: usize,
    /// Links of the route that it has passed.
    hops: usize,
    is_damaged: bool,
    bytes: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Network {
    hosts: usize,
    pipes: Vec<Pipe>,
    /// What each is like besides.
    habits: Vec<Option<Change>>,
    /// Of what enters it.
    filter: Filter,
    /// The links from each host to each other one.
    routes: Vec<Vec<usize>>,
    /// The soonest last.
    changes: VecDeque<Change>,
    in_flight: BinaryHeap<Reverse<InFlight>>,
    serial: u64,
    rng: Rng,
}

impl Network {
    /// A network whose links change as `changes` say, in the order of time; those
    /// at the origin of time make it what it is.
    pub(crate) fn new(
        topology: Topology,
        hosts: usize,
        changes: Vec<Change>,
        filter: Filter,
        rng: Rng,
    ) -> Network {
        let pairs = (0..hosts).flat_map(|from| (0..hosts).map(move |to| (from, to)));
        Network {
            hosts,
            pipes: (0..pipes_of(topology, hosts))
                .map(|_| Pipe::default())
                .collect(),
            habits: vec![None; pipes_of(topology, hosts)],
            filter,
            routes: pairs
                .map(|(from, to)| route(topology, hosts, from, to))
                .collect(),
            changes: changes.into(),
            in_flight: BinaryHeap::new(),
            serial: 0,
            rng,
        }
    }

    /// When something happens in it.
    pub(crate) fn next_event(&self) -> Option<Instant> {
        let arrival = self.in_flight.peek().map(|Reverse(next)| next.at);
        let change = self.changes.front().map(|change| change.at);
        arrival.into_iter().chain(change).min()
    }

    /// A host sends a frame: to one host or, as a switch does it, to all.
    pub(crate) fn send(&mut self, now: Instant, from: usize, bytes: &[u8]) {
        let Ok((header, _)) = ethernet::Header::parse(bytes) else {
            return;
        };
        for to in (0..self.hosts).filter(|to| *to != from) {
            let is_for = header.destination.is_multicast() || header.destination == mac(to);
            let passed = is_for.then(|| self.filter.pass(bytes.to_vec(), [from, to]));
            if let Some(bytes) = passed.flatten() {
                self.enter(InFlight {
                    at: now,
                    serial: 0,
                    from,
                    to,
                    hops: 0,
                    is_damaged: false,
                    bytes,
                });
            }
        }
    }

    /// The next frame that has come to its host by `now`.
    pub(crate) fn arrival(&mut self, now: Instant) -> Option<(usize, Vec<u8>)> {
        loop {
            while let Some(change) = self.changes.pop_front_if(|change| change.at <= now) {
                self.pipes[change.pipe].set_link(change.link);
                self.habits[change.pipe] = Some(change);
            }
            let Reverse(next) = self.in_flight.peek()?;
            if next.at > now {
                return None;
            }
            let Reverse(frame) = self.in_flight.pop()?;
            if frame.hops == self.routes[frame.from * self.hosts + frame.to].len() {
                return Some((frame.to, frame.bytes));
            }
            self.enter(frame);
        }
    }

    /// A frame comes to the next link of its route.
    fn enter(&mut self, mut frame: InFlight) {
        let pipe = self.routes[frame.from * self.hosts + frame.to][frame.hops];
        let habit = self.habits[pipe];
        if let Some(habit) = habit.filter(|_| !frame.is_damaged) {
            self.answers(&frame, &habit);
        }
        // No second bit is flipped: two can cancel each other in TCP's checksum.
        let before = frame.is_damaged.then(|| frame.bytes.clone());
        let pipe = &mut self.pipes[pipe];
        let Some(arrival) = pipe.enter(frame.at, &mut frame.bytes, &mut self.rng) else {
            return;
        };
        frame.bytes = before.unwrap_or(frame.bytes);
        frame.is_damaged |= arrival.is_damaged;
        if self.rng.chance(habit.map_or(0, |habit| habit.marks)) && !frame.is_damaged {
            meddling::mark(&mut frame.bytes);
        }
        frame.at = arrival.at;
        frame.hops += 1;
        for _ in 1..arrival.copies {
            self.serial += 1;
            self.in_flight.push(Reverse(InFlight {
                serial: self.serial,
                bytes: frame.bytes.clone(),
                ..frame
            }));
        }
        self.serial += 1;
        frame.serial = self.serial;
        self.in_flight.push(Reverse(frame));
    }

    /// A link that a packet does not fit tells its sender.
    fn answers(&mut self, frame: &InFlight, habit: &Change) {
        let mtu = habit.link.mtu;
        let is_refused = mtu > 0 && frame.bytes.len() > ethernet::HEADER_LEN + mtu;
        let hosts = [frame.to, frame.from];
        if is_refused
            && habit.tells
            && let Some(bytes) = meddling::too_big(&frame.bytes, mtu, hosts)
        {
            let [from, to] = hosts;
            self.serial += 1;
            self.in_flight.push(Reverse(InFlight {
                at: frame.at,
                serial: self.serial,
                from,
                to,
                hops: self.routes[from * self.hosts + to].len(),
                is_damaged: false,
                bytes,
            }));
        }
    }

    /// Frames that the links lost.
    pub(crate) fn lost(&self) -> u64 {
        self.pipes.iter().map(Pipe::lost).sum()
    }
}
