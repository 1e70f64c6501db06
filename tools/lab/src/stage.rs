//! The stage: stations, the wire between them, time, and the record of what
//! happens.
//!
//! Among engines alone time is virtual: it jumps to the next thing that happens.
//! With a kernel on the stage it is the machine's.

use crate::record::{Change, Lifeline, Record, Side, What};
use crate::station::Station;
use crate::wire::{Arrival, Wire};
use ringmill::clock::Clock;
use ringmill_core::driver::link::Link;
use ringmill_core::tcp::{SocketInfo, State};
use ringmill_core::time::{Duration, Instant};
use ringmill_core::wire::ethernet::MacAddress;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

/// Rounds at one instant after which a station is said to spin.
const ROUNDS_MAX: u32 = 100_000;
/// Steps until all has left that a call brings.
const STEPS_OF_A_CALL: usize = 8;
/// A real wire is looked at this often.
const NAP: Duration = Duration::from_micros(50);
/// A kernel answers within this, when it answers at once.
const KERNEL_PATIENCE: Duration = Duration::from_millis(15);

#[derive(Clone, Copy, Debug)]
enum Time {
    Virtual(Instant),
    Real(Clock),
}

type Flow = (SocketAddr, SocketAddr);

struct Member {
    station: Box<dyn Station>,
    /// The states of its sockets when it was looked at last.
    states: BTreeMap<Flow, State>,
}

pub(crate) struct Stage {
    time: Time,
    members: Vec<Member>,
    pub(crate) wire: Wire,
    pub(crate) record: Record,
    /// What happens is told; else it only happens.
    pub(crate) told: bool,
    /// Something moved at this instant last.
    last_move: Instant,
}

impl Stage {
    pub(crate) fn new(is_real: bool) -> Stage {
        Stage {
            time: if is_real {
                Time::Real(Clock::start())
            } else {
                Time::Virtual(Instant::ZERO)
            },
            members: Vec::new(),
            wire: Wire::new(),
            record: Record {
                slack: if is_real {
                    KERNEL_PATIENCE
                } else {
                    Duration::ZERO
                },
                ..Record::default()
            },
            told: true,
            last_move: Instant::ZERO,
        }
    }

    pub(crate) fn now(&self) -> Instant {
        match self.time {
            Time::Virtual(now) => now,
            Time::Real(clock) => clock.now(),
        }
    }

    /// A station comes onto the stage: its number.
    pub(crate) fn enter(
        &mut self,
        name: &str,
        (side, tcp): (Side, &'static str),
        (address, mac): (Ipv4Addr, MacAddress),
        link: Link,
        station: Box<dyn Station>,
    ) -> usize {
        self.wire.plug(address, mac, link);
        self.members.push(Member {
            station,
            states: BTreeMap::new(),
        });
        self.record.hosts.push(Lifeline {
            name: name.to_owned(),
            address: SocketAddr::new(address.into(), 0),
            tcp,
            side,
        });
        self.members.len() - 1
    }

    /// Calls a station, and has it send what the call brings.
    pub(crate) fn call<T>(
        &mut self,
        host: usize,
        call: impl FnOnce(&mut dyn Station, Instant) -> T,
    ) -> T {
        let now = self.now();
        call(&mut *self.members[host].station, now)
    }

    /// What an application did is told, and the station acts on it.
    pub(crate) fn called(&mut self, host: usize, text: String) {
        let now = self.now();
        if self.told {
            self.record.push(now, What::Called { host, text });
        }
        self.look(host);
        // A SYN may first have to ask where it is to go.
        for _ in 0..STEPS_OF_A_CALL {
            if !self.step(host) {
                break;
            }
        }
    }

    pub(crate) fn note(&mut self, text: impl Into<String>) {
        let now = self.now();
        if self.told {
            self.record.push(now, What::Noted(text.into()));
        }
    }

    /// All sockets of a host.
    pub(crate) fn sockets(&mut self, host: usize) -> Vec<SocketInfo> {
        let now = self.now();
        self.members[host].station.sockets(now)
    }

    /// Lets time pass until `end`.
    pub(crate) fn run_until(&mut self, end: Instant) {
        loop {
            self.rounds();
            let next = self.next_event();
            match &mut self.time {
                Time::Virtual(now) => match next.filter(|next| *next <= end) {
                    Some(next) => *now = next.max(*now),
                    None => {
                        *now = end.max(*now);
                        return;
                    }
                },
                Time::Real(clock) => {
                    let now = clock.now();
                    if now >= end {
                        return;
                    }
                    std::thread::sleep(NAP.min(end.since(now)));
                }
            }
        }
    }

    /// Lets time pass until nothing is on its way any more. Timers that go off
    /// meanwhile do so, those that would go off later are not waited for.
    pub(crate) fn settle(&mut self) {
        loop {
            self.rounds();
            let arrival = self.wire.next_arrival();
            match &mut self.time {
                Time::Virtual(now) => {
                    let Some(arrival) = arrival else {
                        return;
                    };
                    let deadlines = self
                        .members
                        .iter()
                        .filter_map(|m| m.station.next_deadline());
                    *now = deadlines.fold(arrival, Instant::min).max(*now);
                }
                Time::Real(clock) => {
                    let quiet = clock.now().since(self.last_move);
                    if arrival.is_none() && quiet > KERNEL_PATIENCE {
                        return;
                    }
                    std::thread::sleep(NAP);
                }
            }
        }
    }

    fn next_event(&self) -> Option<Instant> {
        let deadlines = self
            .members
            .iter()
            .filter_map(|m| m.station.next_deadline());
        deadlines.chain(self.wire.next_arrival()).min()
    }

    /// All that happens at this instant.
    fn rounds(&mut self) {
        for _ in 0..ROUNDS_MAX {
            if !self.round() {
                return;
            }
            if matches!(self.time, Time::Real(_)) {
                return;
            }
        }
        self.note("a station spins");
    }

    fn round(&mut self) -> bool {
        let now = self.now();
        let mut moved = false;
        while let Some(arrival) = self.wire.arrival(now) {
            self.deliver(now, arrival);
            moved = true;
        }
        for host in 0..self.members.len() {
            let deadline = self.members[host].station.next_deadline();
            if deadline.is_some_and(|deadline| deadline <= now) {
                moved |= self.step(host);
            }
        }
        if moved {
            self.last_move = now;
        }
        moved
    }

    /// Each segment is taken by itself, so that its effect is seen.
    fn deliver(&mut self, now: Instant, arrival: Arrival) {
        if let Some(index) = arrival.segment {
            self.record.segments[index].arrived = Some(now);
            self.record.push(now, What::Arrived(index));
        }
        self.members[arrival.to].station.arrive(arrival.frame);
        self.step(arrival.to);
    }

    /// Steps a station: what it sends is on the wire then. True if it did
    /// anything, or still has something to do.
    fn step(&mut self, host: usize) -> bool {
        let now = self.now();
        let again = self.members[host].station.step(now);
        self.look(host);
        let mut moved = again;
        while let Some(frame) = self.members[host].station.take_sent() {
            moved = true;
            let Stage {
                wire,
                record,
                told,
                members,
                ..
            } = self;
            if let Some(answer) = wire.send(now, host, &frame, record, *told) {
                members[host].station.arrive(answer);
                members[host].station.step(now);
            }
        }
        moved
    }

    /// Notes which sockets of a station are in another state than before.
    fn look(&mut self, host: usize) {
        if !self.told {
            return;
        }
        let now = self.now();
        let states = states(&self.members[host].station.sockets(now));
        let before = std::mem::replace(&mut self.members[host].states, states.clone());
        let flows: Vec<Flow> = before.keys().chain(states.keys()).copied().collect();
        let mut seen = Vec::new();
        for flow in flows {
            if seen.contains(&flow) {
                continue;
            }
            seen.push(flow);
            let to = states.get(&flow).copied().unwrap_or(State::Closed);
            let from = before.get(&flow).copied().unwrap_or(match to {
                State::SynReceived => State::Listen,
                _ => State::Closed,
            });
            if from != to {
                let change = Change {
                    host,
                    local: flow.0,
                    remote: flow.1,
                    from,
                    to,
                };
                self.record.push(now, What::Changed(change));
            }
        }
    }

    /// From now on what happens is told, or no longer.
    pub(crate) fn tell(&mut self, told: bool) {
        self.told = told;
        if told {
            let now = self.now();
            for member in &mut self.members {
                member.states = states(&member.station.sockets(now));
            }
        }
    }
}

fn states(sockets: &[SocketInfo]) -> BTreeMap<Flow, State> {
    let flow = |socket: &SocketInfo| Some(((socket.local, socket.remote?), socket.state));
    sockets.iter().filter_map(flow).collect()
}
