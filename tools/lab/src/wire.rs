//! The wire between the stations: an ideal switch, and what a scenario does to
//! the segments on it.
//!
//! It knows who has which address and answers for everybody who asks, so no
//! picture begins with ARP. Addresses that nobody has lead nowhere.

use crate::record::{Record, Segment, What};
use crate::roles::Roles;
use crate::segment::{Content, Packet, SWITCH, arp_reply};
use ringmill_core::driver::link::{Link, Pipe};
use ringmill_core::rng::Rng;
use ringmill_core::time::{Duration, Instant};
use ringmill_core::wire::ethernet::MacAddress;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::Ipv4Addr;

/// What becomes of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It arrives when it should.
    Pass,
    /// It is lost.
    Lose,
    /// It takes so much longer.
    Delay(Duration),
    /// It arrives, and so much later a copy of it that took another way.
    Copy(Duration),
}

/// A rule of the scenario about segments.
pub(crate) type Rule = Box<dyn FnMut(&Segment) -> Fate>;
/// A device in the way, which may change what passes it or take it away.
pub(crate) type Middlebox = Box<dyn FnMut(&mut Packet) -> bool>;

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct InFlight {
    arrival: Instant,
    serial: u64,
    to: usize,
    /// Its place in the record, if it is told.
    segment: Option<usize>,
    frame: Vec<u8>,
}

/// A frame that arrives.
pub(crate) struct Arrival {
    pub(crate) to: usize,
    pub(crate) segment: Option<usize>,
    pub(crate) frame: Vec<u8>,
}

pub(crate) struct Wire {
    /// Who is where: address and MAC of each station.
    places: Vec<(Ipv4Addr, MacAddress)>,
    /// Second addresses of stations.
    seconds: Vec<(Ipv4Addr, usize)>,
    pipes: Vec<Pipe>,
    rules: Vec<Rule>,
    middleboxes: Vec<Middlebox>,
    roles: Roles,
    in_flight: BinaryHeap<Reverse<InFlight>>,
    serial: u64,
    rng: Rng,
    /// Segments and bytes that each station has sent, told or not.
    pub(crate) sent: Vec<(u64, u64)>,
}

impl Wire {
    pub(crate) fn new() -> Wire {
        Wire {
            places: Vec::new(),
            seconds: Vec::new(),
            pipes: Vec::new(),
            rules: Vec::new(),
            middleboxes: Vec::new(),
            roles: Roles::default(),
            in_flight: BinaryHeap::new(),
            serial: 0,
            rng: Rng::from_seed(1),
            sent: Vec::new(),
        }
    }

    /// Plugs the next station in, with such a link away from it.
    pub(crate) fn plug(&mut self, address: Ipv4Addr, mac: MacAddress, link: Link) {
        self.places.push((address, mac));
        self.pipes.push(Pipe::new(link));
        self.sent.push((0, 0));
    }

    pub(crate) fn set_link(&mut self, station: usize, link: Link) {
        self.pipes[station].set_link(link);
    }

    pub(crate) fn link(&self, station: usize) -> Link {
        *self.pipes[station].link()
    }

    pub(crate) fn add_rule(&mut self, rule: Rule) {
        self.rules.push(rule);
    }

    pub(crate) fn add_middlebox(&mut self, middlebox: Middlebox) {
        self.middleboxes.push(middlebox);
    }

    /// The station that has an address.
    fn station(&self, address: Ipv4Addr) -> Option<usize> {
        let place = self.places.iter().position(|place| place.0 == address);
        let second = || self.seconds.iter().find(|second| second.0 == address);
        place.or_else(|| second().map(|second| second.1))
    }

    /// A station has another address too.
    pub(crate) fn add_address(&mut self, address: Ipv4Addr, station: usize) {
        self.seconds.push((address, station));
    }

    /// A station sends a frame. Answers what the asker gets at once, if it asks.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        from: usize,
        frame: &[u8],
        record: &mut Record,
        told: bool,
    ) -> Option<Vec<u8>> {
        match Content::of(frame) {
            Content::WhoHas { asker, target } if asker.1 != target => {
                let mac = self.station(target).map_or(SWITCH, |at| self.places[at].1);
                Some(arp_reply(asker, target, mac))
            }
            Content::Tcp(packet) => {
                self.sent[from].0 += 1;
                self.sent[from].1 += frame.len() as u64;
                self.carry(now, from, packet, record, told);
                None
            }
            Content::WhoHas { .. } | Content::Other => None,
        }
    }

    /// A segment of nobody's on the stage enters the wire next to a station.
    pub(crate) fn inject(
        &mut self,
        now: Instant,
        from: usize,
        packet: Packet,
        record: &mut Record,
        told: bool,
    ) {
        let at = record.segments.len();
        self.carry(now, from, packet, record, told);
        if let Some(segment) = record.segments.get_mut(at) {
            segment.is_stray = true;
        }
    }

    fn carry(
        &mut self,
        now: Instant,
        from: usize,
        mut packet: Packet,
        record: &mut Record,
        told: bool,
    ) {
        let before = packet.clone();
        let passes = self.middleboxes.iter_mut().all(|pass| pass(&mut packet));
        let to = self.station(*packet.destination.ip());
        // Where a middlebox translates addresses, the inner ones are told.
        let is_outbound = self.station(*before.destination.ip()).is_some();
        let told_as = if is_outbound { &before } else { &packet };
        let mut segment = self.segment(now, from, to, told_as);
        let fates = self.rules.iter_mut().map(|rule| rule(&segment));
        let fate = fates.fold(
            Fate::Pass,
            |all, fate| if all == Fate::Pass { fate } else { all },
        );
        let mut bytes = packet.frame(to.map_or(SWITCH, |to| self.places[to].1));
        let arrival = self.pipes[from].enter(now, &mut bytes, &mut self.rng);
        if told {
            record.frames.push((now, bytes.clone()));
        }
        let lost = match (passes, fate, to, arrival) {
            (false, ..) => Some("dropped at the door"),
            (_, Fate::Lose, ..) => Some("lost"),
            (.., None, _) => Some("nobody is there"),
            (.., None) => Some("lost"),
            _ => None,
        };
        segment.lost = lost;
        let index = told.then_some(record.segments.len());
        if told {
            record.segments.push(segment.clone());
            record.push(now, What::Sent(record.segments.len() - 1));
        } else {
            record.untold += 1;
        }
        let (None, Some(to), Some(arrival)) = (lost, to, arrival) else {
            return;
        };
        let late = match fate {
            Fate::Delay(late) => late,
            _ => Duration::ZERO,
        };
        self.put(arrival.at + late, to, index, bytes.clone());
        if let Fate::Copy(later) = fate {
            segment.is_stray = true;
            // A copy is told even where its original was not.
            let copy = record.segments.len();
            record.segments.push(segment);
            self.put(arrival.at + later, to, Some(copy), bytes);
        }
    }

    fn segment(
        &mut self,
        now: Instant,
        from: usize,
        to: Option<usize>,
        packet: &Packet,
    ) -> Segment {
        let told = self.roles.tell(packet);
        Segment {
            from,
            to,
            source: packet.source.into(),
            destination: packet.destination.into(),
            sent: now,
            arrived: None,
            lost: None,
            is_stray: false,
            role: told.role,
            again: told.again,
            flags: packet.header.flags,
            seq: told.seq,
            ack: told.ack,
            len: packet.data.len(),
            seq_len: packet.len(),
            window: told.window,
            options: packet.header.options,
            raw_seq: packet.header.seq.0,
        }
    }

    fn put(&mut self, arrival: Instant, to: usize, segment: Option<usize>, frame: Vec<u8>) {
        self.serial += 1;
        self.in_flight.push(Reverse(InFlight {
            arrival,
            serial: self.serial,
            to,
            segment,
            frame,
        }));
    }

    /// The next frame that has arrived by `now`.
    pub(crate) fn arrival(&mut self, now: Instant) -> Option<Arrival> {
        if self.next_arrival()? > now {
            return None;
        }
        let Reverse(next) = self.in_flight.pop()?;
        Some(Arrival {
            to: next.to,
            segment: next.segment,
            frame: next.frame,
        })
    }

    pub(crate) fn next_arrival(&self) -> Option<Instant> {
        self.in_flight.peek().map(|Reverse(next)| next.arrival)
    }
}
