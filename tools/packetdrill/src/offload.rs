//! What segmentation offload does to a burst, as far as a script sees it.
//!
//! Linux hands its device several segments as one packet of up to
//! `segments` MSS, and sets PSH on the last segment of each such packet so that
//! the receiver's offload hands it on at once (`__tcp_transmit_skb`). The engine
//! sends segments; scripts written for Linux look for the PSH. This marks it. What is
//! sent again is one packet as far as it was one before.

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
    /// What each flow has sent.
    flows: HashMap<[u8; 4], Sent>,
}

/// What a flow has sent.
#[derive(Debug)]
struct Sent {
    /// Its end: what lies before it is sent again.
    end: u32,
    /// Where each packet of several segments began, and where it ended.
    packets: Vec<(u32, u32)>,
}

/// Segments of one flow, one after the other, that may be one packet.
#[derive(Default)]
struct Burst<'a> {
    segments: Vec<(&'a mut Departure, Segment)>,
    /// The packet that they were, when they are sent again.
    again: Option<u32>,
}

impl Offload {
    pub(crate) fn new(segments: usize) -> Offload {
        Offload {
            segments: segments.max(1),
            flows: HashMap::new(),
        }
    }

    /// Marks the packets of one burst, in order; no more than `most` segments make one.
    pub(crate) fn mark<'a>(
        &mut self,
        departures: impl Iterator<Item = &'a mut Departure>,
        most: usize,
    ) {
        let segments = self.segments.min(most.max(1));
        let mut burst = Burst::default();
        for departure in departures {
            let Some(segment) = Segment::of(&departure.packet) else {
                self.end(&mut burst);
                continue;
            };
            let again = self.sent_in(&segment);
            let follows = burst
                .segments
                .last()
                .is_some_and(|(_, last)| last.ports == segment.ports && last.end() == segment.seq);
            // Only the last segment of a packet is shorter than the others.
            let fits = burst
                .segments
                .first()
                .is_some_and(|(_, first)| first.len >= segment.len);
            let is_full = again.is_none() && burst.segments.len() == segments;
            if is_full || !(follows && fits) || burst.again != again {
                self.end(&mut burst);
            }
            burst.again = again;
            burst.segments.push((departure, segment));
        }
        self.end(&mut burst);
    }

    /// Where the packet began that had the segment in it when it was sent before; none
    /// for what is new.
    fn sent_in(&mut self, segment: &Segment) -> Option<u32> {
        let flow = self.flows.entry(segment.ports).or_insert_with(|| Sent {
            end: segment.seq,
            packets: Vec::new(),
        });
        if is_at_or_after(segment.seq, flow.end) {
            flow.end = segment.end();
            return None;
        }
        let holds = |&&(start, end): &&(u32, u32)| {
            is_at_or_after(segment.seq, start) && is_at_or_after(end, segment.end())
        };
        let packet = flow.packets.iter().find(holds);
        Some(packet.map_or(segment.seq, |&(start, _)| start))
    }

    fn end(&mut self, burst: &mut Burst) {
        if let [(_, first), .., (departure, last)] = &mut burst.segments[..] {
            push(&mut departure.packet, last.at);
            if burst.again.is_none()
                && let Some(flow) = self.flows.get_mut(&first.ports)
            {
                flow.packets.push((first.seq, last.end()));
            }
        }
        burst.segments.clear();
    }
}

/// In the order of sequence numbers.
fn is_at_or_after(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) <= u32::MAX / 2
}

impl Segment {
    fn end(&self) -> u32 {
        self.seq.wrapping_add(self.len)
    }

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
