//! What a segment is to its connection, by what passed before it: people name
//! segments "the last ACK", not "the fourth without data".

use crate::segment::Packet;
use ringmill_core::seq::Seq;
use ringmill_core::wire::tcp::Flags;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

macro_rules! roles {
    ($($(#[doc = $doc:literal])+ $role:ident = $name:literal,)+) => {
        /// What a segment is to its connection.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Role { $($(#[doc = $doc])+ $role,)+ }

        impl Role {
            /// All of them.
            pub const ALL: &[Role] = &[$(Role::$role),+];

            /// What the command line calls it.
            pub const fn name(self) -> &'static str {
                match self { $(Role::$role => $name,)+ }
            }
        }
    };
}

roles! {
    /// A SYN without ACK.
    Syn = "syn",
    /// The answer to one.
    SynAck = "syn-ack",
    /// The third segment of a handshake, where it carries nothing else.
    HandshakeAck = "handshake-ack",
    /// Data.
    Data = "data",
    /// An acknowledgment of data, or of nothing new.
    Ack = "ack",
    /// The FIN of the side that closes first, with data or without.
    Fin = "fin",
    /// The acknowledgment of that FIN.
    AckOfFin = "ack-of-fin",
    /// The FIN of the side that closes second.
    LastFin = "last-fin",
    /// The acknowledgment of that one: the last segment of a connection.
    LastAck = "last-ack",
    /// A segment below SND.NXT that only wants an answer.
    Probe = "probe",
    /// A reset.
    Rst = "rst",
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What was seen of one direction of a connection.
#[derive(Clone, Debug, Default)]
struct Side {
    /// Initial sequence numbers, of every incarnation.
    isses: Vec<Seq>,
    scale: u8,
    /// The sequence number after all that was sent.
    end: Option<Seq>,
    /// The sequence number after its FIN.
    fin: Option<Seq>,
    closed_first: bool,
    has_acked: bool,
    /// It has sent a SYN with ACK.
    has_answered: bool,
}

/// All connections on the wire, by direction.
#[derive(Debug, Default)]
pub(crate) struct Roles(BTreeMap<(SocketAddr, SocketAddr), Side>);

/// What is told of a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    pub(crate) role: Role,
    /// All of it was sent before.
    pub(crate) again: bool,
    /// Relative to the initial sequence numbers.
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    /// After scaling.
    pub(crate) window: u32,
}

impl Roles {
    /// Looks at a segment that is sent.
    pub(crate) fn tell(&mut self, packet: &Packet) -> Told {
        let (from, to) = packet.flow();
        let flags = packet.header.flags;
        if flags.contains(Flags::SYN) {
            self.open((from, to), packet);
        }
        let nothing = Side::default();
        let back = self.0.get(&(to, from)).unwrap_or(&nothing);
        let side = self.0.get(&(from, to)).unwrap_or(&nothing);
        let end = packet.header.seq + packet.len();
        let role = role(side, back, packet);
        // In a simultaneous open the SYN with ACK is no repetition of the SYN.
        let is_answer = role == Role::SynAck && !side.has_answered;
        let is_known = side.end.is_some_and(|known| end.precedes_or_is(known));
        let is_syn = flags.contains(Flags::SYN);
        let told = Told {
            role,
            again: packet.len() > 0 && is_known && !is_answer,
            seq: relative(&side.isses, packet.header.seq),
            ack: relative(&back.isses, packet.header.ack),
            window: u32::from(packet.header.window) << if is_syn { 0 } else { side.scale },
        };
        let is_first_fin = flags.contains(Flags::FIN) && back.fin.is_none();
        let side = self.0.entry((from, to)).or_default();
        side.has_answered |= role == Role::SynAck;
        if packet.len() > 0 && role != Role::Rst {
            side.end = Some(side.end.map_or(end, |known| known.max(end)));
        }
        if flags.contains(Flags::FIN) {
            side.closed_first |= is_first_fin;
            side.fin = Some(end);
        }
        side.has_acked |= flags.contains(Flags::ACK) && !is_syn;
        told
    }

    /// A SYN begins an incarnation, unless it is the same again.
    fn open(&mut self, flow: (SocketAddr, SocketAddr), packet: &Packet) {
        let side = self.0.entry(flow).or_default();
        let iss = packet.header.seq;
        if side.isses.contains(&iss) {
            return;
        }
        let isses = std::mem::take(&mut side.isses);
        *side = Side {
            isses,
            ..Side::default()
        };
        side.isses.push(iss);
        side.scale = packet.header.options.window_scale.unwrap_or(0);
        if !packet.header.flags.contains(Flags::ACK)
            && let Some(back) = self.0.get_mut(&(flow.1, flow.0))
        {
            let isses = std::mem::take(&mut back.isses);
            *back = Side {
                isses,
                ..Side::default()
            };
        }
    }
}

fn role(side: &Side, back: &Side, packet: &Packet) -> Role {
    let flags = packet.header.flags;
    let acks = |fin: Option<Seq>| flags.contains(Flags::ACK) && fin == Some(packet.header.ack);
    let is_below = side
        .end
        .is_some_and(|end| packet.header.seq + 1 == end && packet.data.len() <= 1);
    match flags {
        _ if flags.contains(Flags::RST) => Role::Rst,
        _ if flags.contains(Flags::SYN | Flags::ACK) => Role::SynAck,
        _ if flags.contains(Flags::SYN) => Role::Syn,
        _ if flags.contains(Flags::FIN) && (back.fin.is_none() || side.closed_first) => Role::Fin,
        _ if flags.contains(Flags::FIN) => Role::LastFin,
        _ if is_below && packet.data.is_empty() && side.fin.is_none() => Role::Probe,
        _ if !packet.data.is_empty() => Role::Data,
        _ if acks(back.fin) && back.closed_first => Role::AckOfFin,
        _ if acks(back.fin) => Role::LastAck,
        _ if !side.has_acked
            && back
                .isses
                .last()
                .is_some_and(|iss| *iss + 1 == packet.header.ack) =>
        {
            Role::HandshakeAck
        }
        _ => Role::Ack,
    }
}

/// A sequence number counted from the initial one of its incarnation: the latest
/// from which it is not far.
fn relative(isses: &[Seq], seq: Seq) -> u32 {
    const FAR: u32 = 1 << 28;
    let mut distances = isses.iter().rev().map(|&iss| seq.bytes_since(iss));
    let near = distances.clone().find(|&distance| distance < FAR);
    near.or(distances.next_back()).unwrap_or(seq.0)
}
