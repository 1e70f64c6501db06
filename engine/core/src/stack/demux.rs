//! Segments that arrive, and the flows that they are of.
//!
//! A batch goes through in stages, so that what a stage waits for in memory is
//! waited for once and not with every segment:
//!
//! ```text
//! parse, hash  |  touch the buckets of all  |  touch the records of all  |  process one by one
//! ```

use super::ip::Received;
use super::{Input, Stack, offset_in};
use crate::flow::FlowKey;
use crate::frame::{Batch, Frame};
use crate::stats::DropReason;
use crate::tcp::{Cx, Segment};
use crate::wire::checksum::Sum;

/// A segment that has been parsed and not yet been processed.
#[derive(Default)]
struct Arrival {
    /// The hash of its flow.
    hash: u64,
    segment: Segment,
    /// Its data, unless somebody has taken it.
    frame: Option<Frame>,
}

/// The segments of a batch. They are parsed into their places: what was written a
/// moment ago is better not moved.
pub(super) struct Arrivals {
    places: Box<[Arrival]>,
    count: usize,
}

impl Default for Arrivals {
    fn default() -> Arrivals {
        Arrivals {
            places: (0..Batch::CAPACITY).map(|_| Arrival::default()).collect(),
            count: 0,
        }
    }
}

impl Stack {
    /// The frame's window is the segment; `pseudo` is the sum of its pseudo-header.
    #[inline(always)]
    pub(super) fn input_tcp(&mut self, ip: &Received, pseudo: Sum, mut frame: Frame) -> Input {
        let Some(arrival) = self.arrivals.places.get_mut(self.arrivals.count) else {
            unreachable!("a batch has no more frames than there are places");
        };
        let Segment { key, header, .. } = &mut arrival.segment;
        let payload = match header.read(frame.data(), pseudo, self.config.checksum) {
            Ok(payload) => payload,
            Err(malformed) => return Err((malformed.into(), frame)),
        };
        *key = FlowKey {
            remote: ip.source,
            local: ip.local,
            local_port: header.destination_port,
            remote_port: header.source_port,
        };
        arrival.hash = self.tcp.hash(key);
        let (offset, len) = (offset_in(frame.data(), payload), payload.len());
        arrival.segment.payload_len = u32::try_from(len).unwrap_or(0);
        arrival.segment.ecn = ip.tos & 3;
        frame.narrow(offset, len);
        arrival.frame = Some(frame);
        self.arrivals.count += 1;
        Ok(())
    }

    /// Processes the segments of a batch, in the order in which they came.
    pub(super) fn input_segments(&mut self, cx: &mut Cx) {
        let Arrivals { places, count } = &mut self.arrivals;
        let arrivals = &mut places[..std::mem::take(count)];
        self.tcp.touch(arrivals.iter().map(|arrival| arrival.hash));
        for Arrival {
            hash,
            segment,
            frame,
        } in arrivals
        {
            let flow = self.tcp.find(*hash, &segment.key);
            // Who has a flow was asked this when it began.
            if flow.is_none() && !self.locals.may_come_from(segment.key.remote) {
                self.drops.count(DropReason::BadSource);
            } else {
                self.tcp.input(cx, flow, segment, frame);
            }
            if let Some(frame) = frame.take() {
                cx.pool.free(frame);
            }
        }
    }
}
