//! What the applications are to do, and the books kept of what they did: the
//! oracle that says whether TCP delivered what it was given.
//!
//! Every byte that is sent is known in advance, from its connection, direction
//! and place. So one wrong, repeated, missing or misplaced byte is found where it
//! is read.

use ringmill_core::sockets::{Closed, SocketOptions};
use ringmill_core::time::{Duration, Instant};
use std::fmt;
use std::sync::{Arc, LazyLock};

/// Which end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Client = 0,
    Server = 1,
}

impl Role {
    pub(crate) fn other(self) -> Role {
        match self {
            Role::Client => Role::Server,
            Role::Server => Role::Client,
        }
    }
}

/// The order of what is sent and answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialogue {
    /// The server sends back what it receives, in the frames that it came in.
    Echo,
    /// Both ends send all that they have as fast as they can.
    Bulk,
    /// Requests and responses in turn, of these many bytes.
    Rounds { request: u64, response: u64 },
}

/// How one end reads and writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Bytes that one call sends or consumes at most.
    pub(crate) call: usize,
    /// Bytes that are read between two pauses.
    pub(crate) burst: u64,
    pub(crate) pause: Duration,
    /// It sends by reference to registered bytes rather than by copy.
    pub(crate) by_reference: bool,
}

/// Both ends of a connection open it (RFC 9293 section 3.5, figure 7).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crossing {
    /// The client's and the server's.
    pub(crate) ports: [u16; 2],
    /// How much later the server's end does.
    pub(crate) lag: Duration,
}

/// One connection.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) client: usize,
    pub(crate) server: usize,
    pub(crate) at: Instant,
    pub(crate) crossing: Option<Crossing>,
    /// How long after its connect the client sends what may go with the SYN.
    pub(crate) hesitates: Duration,
    pub(crate) dialogue: Dialogue,
    /// Bytes that the client and the server send.
    pub(crate) totals: [u64; 2],
    pub(crate) paces: [Pace; 2],
    /// Each end closes its sending side as soon as it has sent everything, and
    /// reads on; otherwise this end closes when both are done, and the other then.
    pub(crate) half_close: bool,
    pub(crate) closer: Role,
    /// This end aborts when it has read this much.
    pub(crate) abort: Option<(Role, u64)>,
    /// Of the client's socket.
    pub(crate) options: SocketOptions,
    pub(crate) is_v6: bool,
}

/// The first bytes of a client's stream name its connection.
pub(crate) const NAME_LEN: u64 = 4;

impl Plan {
    /// How much an end may have sent that has read `received` bytes.
    pub(crate) fn credit(&self, role: Role, received: u64) -> u64 {
        let total = self.totals[role as usize];
        let Dialogue::Rounds { request, response } = self.dialogue else {
            return total;
        };
        let allowed = match role {
            Role::Client => NAME_LEN + request * (1 + received / response),
            Role::Server => response * (received.saturating_sub(NAME_LEN) / request),
        };
        total.min(allowed)
    }

    /// The direction whose bytes an end sends: an echo sends the client's.
    fn direction(&self, sender: Role) -> u64 {
        match self.dialogue {
            Dialogue::Echo => 0,
            Dialogue::Bulk | Dialogue::Rounds { .. } => sender as u64,
        }
    }

    /// The bytes from `offset` on that `sender` of connection `number` sends: some
    /// of them, at least one.
    pub(crate) fn bytes(&self, number: usize, sender: Role, offset: u64) -> Bytes {
        let direction = self.direction(sender);
        if direction == 0 && offset < NAME_LEN {
            let name = u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes();
            let from = usize::try_from(offset).unwrap_or(0);
            return Bytes::Name { name, from };
        }
        let from = (number as u64 * 7_919 + direction * 4_001 + offset) % PATTERN_LEN;
        Bytes::Pattern { from }
    }
}

/// A stretch of a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bytes {
    Name {
        name: [u8; 4],
        from: usize,
    },
    /// The [`pattern`] from here on.
    Pattern {
        from: u64,
    },
}

impl Bytes {
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Bytes::Name { name, from } => &name[*from..],
            Bytes::Pattern { from } => &pattern()[usize::try_from(*from).unwrap_or(0)..],
        }
    }
}

/// Bytes of the pattern; a prime, so that no segment size divides it.
pub(crate) const PATTERN_LEN: u64 = 65_521;

/// The bytes that all streams are made of.
pub(crate) fn pattern() -> &'static Arc<[u8]> {
    static PATTERN: LazyLock<Arc<[u8]>> = LazyLock::new(|| {
        let mut rng = ringmill_core::rng::Rng::from_seed(1);
        (0..PATTERN_LEN)
            .map(|_| u8::try_from(rng.below(256)).unwrap_or(0))
            .collect()
    });
    &PATTERN
}

/// What one end of a connection has done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct End {
    /// When it called connect.
    pub(crate) asked_at: Option<Instant>,
    pub(crate) opened: bool,
    /// It was accepted with its SYN (RFC 7413), and was not seen to be established.
    pub(crate) is_early: bool,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// It closed its sending side.
    pub(crate) shut: bool,
    /// It has read the end of the stream.
    pub(crate) at_end: bool,
    /// It let go of the connection when everything was done.
    pub(crate) finished: bool,
    pub(crate) aborted: bool,
    /// It was told that the connection ended.
    pub(crate) closed: Option<Closed>,
}

impl End {
    /// It ended, and not because both were done.
    pub(crate) fn failed(&self) -> bool {
        self.aborted || self.closed.is_some()
    }
}

/// The books: both ends of every connection, and the first thing that was wrong.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) ends: Vec<[End; 2]>,
    pub(crate) wrong: Option<String>,
}

impl Ledger {
    pub(crate) fn end(&mut self, number: usize, role: Role) -> &mut End {
        &mut self.ends[number][role as usize]
    }

    /// Writes down what is wrong, unless something was before.
    pub(crate) fn object(&mut self, wrong: fmt::Arguments) {
        self.wrong.get_or_insert_with(|| wrong.to_string());
    }

    /// An end has read `bytes`: they must be the next that the other has sent.
    pub(crate) fn read(&mut self, plan: &Plan, number: usize, role: Role, bytes: &[u8]) {
        let sender = role.other();
        let mut offset = self.ends[number][role as usize].received;
        // An echo's server sends without looking.
        let source = match plan.dialogue {
            Dialogue::Echo => Role::Client,
            Dialogue::Bulk | Dialogue::Rounds { .. } => sender,
        };
        let sent = self.ends[number][source as usize].sent;
        let end = offset + bytes.len() as u64;
        if end > sent {
            self.object(format_args!(
                "connection {number}: {role:?} received {end} bytes of {sent} that were sent"
            ));
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let next = plan.bytes(number, sender, offset);
            let expected = next.as_slice();
            let count = expected.len().min(rest.len());
            if rest[..count] != expected[..count] {
                let at = (0..count).position(|at| rest[at] != expected[at]);
                self.object(format_args!(
                    "connection {number}: {role:?} received a wrong byte at {}",
                    offset + at.unwrap_or(0) as u64
                ));
                break;
            }
            offset += count as u64;
            rest = &rest[count..];
        }
        self.ends[number][role as usize].received = end;
    }

    /// An end has read the end of the stream: the other must have closed, and
    /// everything must have come.
    pub(crate) fn read_end(&mut self, plan: &Plan, number: usize, role: Role) {
        let (own, other) = (
            self.ends[number][role as usize],
            self.ends[number][role.other() as usize],
        );
        let total = plan.totals[role.other() as usize];
        if !other.shut || own.received != total {
            self.object(format_args!(
                "connection {number}: the stream to {role:?} ended after {} bytes of {total}",
                own.received
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        let pace = Pace {
            call: 1_000,
            burst: 1_000,
            pause: Duration::ZERO,
            by_reference: false,
        };
        Plan {
            client: 0,
            server: 1,
            at: Instant::ZERO,
            crossing: None,
            hesitates: Duration::ZERO,
            dialogue: Dialogue::Bulk,
            totals: [100_000; 2],
            paces: [pace; 2],
            half_close: false,
            closer: Role::Client,
            abort: None,
            options: SocketOptions::default(),
            is_v6: false,
        }
    }

    fn stream(plan: &Plan, number: usize, len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < len {
            let next = plan.bytes(number, Role::Client, bytes.len() as u64);
            bytes.extend(next.as_slice());
        }
        bytes.truncate(len);
        bytes
    }

    /// What the books say of a server that reads `bytes` of connection 3, of which
    /// the client has sent 80,000.
    fn objection(bytes: &[u8]) -> Option<String> {
        let mut ledger = Ledger {
            ends: vec![[End::default(); 2]; 4],
            wrong: None,
        };
        ledger.end(3, Role::Client).sent = 80_000;
        for part in bytes.chunks(1_448) {
            ledger.read(&plan(), 3, Role::Server, part);
        }
        ledger.wrong
    }

    #[test]
    fn the_books_find_one_wrong_byte_and_one_too_many() {
        let good = stream(&plan(), 3, 80_001);
        assert_eq!(objection(&good[..80_000]), None);
        assert!(objection(&good).unwrap().contains("80001 bytes of 80000"));
        let mut flipped = good[..80_000].to_vec();
        flipped[70_000] ^= 1;
        assert!(objection(&flipped).unwrap().contains("wrong byte at 70000"));
        let repeated = [&good[..2_896], &good[1_448..80_000]].concat();
        assert!(objection(&repeated).unwrap().contains("wrong byte at 2896"));
        let missing = [&good[..2_896], &good[4_344..80_000]].concat();
        assert!(objection(&missing).unwrap().contains("wrong byte at 2896"));
    }
}
