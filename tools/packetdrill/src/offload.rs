//! What segmentation offload does to a burst, as far as a script sees it.
//!
//! Linux hands its device several segments as one packet of up to
//! `segments` MSS, and sets PSH on the last segment of each such packet so that
//! the receiver's offload hands it on at once (`__tcp_transmit_skb`). The engine
//! sends segments; scripts written for Linux look for the PSH. This marks it.

use crate::port::Departure;
use ringmill_core::wire::tcp::Flags;
use std::collections::HashMap;

/// Where a segment lies in its packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    /// Both ports, as they are on the wire.
    ports: [u8; 4],
    seq: u32,
    len: u32,
    /// Of the TCP header in the packet.
    at: usize,
}

/// The bursts of one script.
#[derive(Debug)]
pub(crate) struct Offload {
    /// Segments that make one packet for the device.
    segments: usize,
    /// The end of what each flow has sent: what lies before it is sent again.
    sent: HashMap<[u8; 4], u32>,
}

impl Offload {
    pub(crate) fn new(segments: usize) -> Offload {
        Offload {
            segments: segments.max(1),
            sent: HashMap::new(),
        }
    }

    /// Marks the packets of one burst, in order; no more than `most` segments make one.
    pub(crate) fn mark<'a>(
        &mut self,
        departures: impl Iterator<Item = &'a mut Departure>,
        most: usize,
    ) {
        let segments = self.segments.min(most.max(1));
        let mut burst: Vec<(&mut Departure, Segment)> = Vec::new();
        for departure in departures {
            let Some(segment) = Segment::of(&departure.packet).filter(|s| self.is_new(s)) else {
                self.end(&mut burst);
                continue;
            };
            let follows = burst.last().is_some_and(|(_, last)| {
                last.ports == segment.ports && last.seq.wrapping_add(last.len) == segment.seq
            });
            // Only the last segment of a packet is shorter than the others.
            let fits = burst
                .first()
                .is_some_and(|(_, first)| first.len >= segment.len);
            if burst.len() == segments || !(follows && fits) {
                self.end(&mut burst);
            }
            burst.push((departure, segment));
        }
        self.end(&mut burst);
    }

    fn is_new(&mut self, segment: &Segment) -> bool {
        let end = segment.seq.wrapping_add(segment.len);
        let sent = self.sent.entry(segment.ports).or_insert(segment.seq);
        let is_new = segment.seq.wrapping_sub(*sent) <= u32::MAX / 2;
        if is_new {
            *sent = end;
        }
        is_new
    }

    fn end(&mut self, burst: &mut Vec<(&mut Departure, Segment)>) {
        if burst.len() > 1
            && let Some((departure, segment)) = burst.last_mut()
        {
            push(&mut departure.packet, segment.at);
        }
        burst.clear();
    }
}

impl Segment {
    /// The data segment in an IPv4 packet; none if it is anything else.
    fn of(packet: &[u8]) -> Option<Segment> {
        let word = |at: usize| {
            packet
                .get(at..at + 4)?
                .try_into()
                .ok()
                .map(u32::from_be_bytes)
        };
        let at = match packet.first()? >> 4 {
            4 => usize::from(packet[0] & 0xf) * 4,
            _ => 40,
        };
        let header_len = usize::from(packet.get(at + 12)? >> 4) * 4;
        let len = packet.len().checked_sub(at + header_len)?;
        (len > 0).then_some(Segment {
            ports: packet.get(at..at + 4)?.try_into().ok()?,
            seq: word(at + 4)?,
            len: u32::try_from(len).ok()?,
            at,
        })
    }
}

/// Sets PSH and brings the checksum along (RFC 1624, equation 3).
fn push(packet: &mut [u8], at: usize) {
    let flags = packet[at + 13];
    if Flags(flags).contains(Flags::PSH) {
        return;
    }
    packet[at + 13] = (Flags(flags) | Flags::PSH).0;
    let old = u16::from_be_bytes([packet[at + 16], packet[at + 17]]);
    let sum = u32::from(!old) + u32::from(!u16::from(flags)) + u32::from(packet[at + 13]);
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    let new = !u16::try_from(folded).unwrap_or(0);
    packet[at + 16..at + 18].copy_from_slice(&new.to_be_bytes());
}
