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
use crate::frame::Frame;
use crate::stats::DropReason;
use crate::tcp::{Cx, Segment};
use crate::wire::checksum::Sum;
use crate::wire::tcp::Header;

/// A segment that has been parsed and not yet been processed.
pub(super) struct Arrival {
    /// The hash of its flow.
    pub(super) hash: u64,
    pub(super) segment: Segment,
    /// Its data, unless somebody has taken it.
    pub(super) frame: Option<Frame>,
}

impl Stack {
    /// The frame's window is the segment; `pseudo` is the sum of its pseudo-header.
    pub(super) fn input_tcp(&mut self, ip: &Received, pseudo: Sum, mut frame: Frame) -> Input {
        let parsed = Header::parse_with(frame.data(), pseudo, self.config.checksum);
        let (header, payload) = match parsed {
            Ok(parsed) => parsed,
            Err(malformed) => return Err((malformed.into(), frame)),
        };
        let (offset, len) = (offset_in(frame.data(), payload), payload.len());
        let key = FlowKey {
            remote: ip.source,
            local: ip.local,
            local_port: header.destination_port,
            remote_port: header.source_port,
        };
        let segment = Segment {
            key,
            header,
            payload_len: u32::try_from(len).unwrap_or(0),
            ecn: ip.tos & 3,
        };
        frame.narrow(offset, len);
        self.arrivals.push(Arrival {
            hash: self.tcp.hash(&key),
            segment,
            frame: Some(frame),
        });
        Ok(())
    }

    /// Processes the segments of a batch, in the order in which they came.
    pub(super) fn input_segments(&mut self, cx: &mut Cx) {
        let mut arrivals = std::mem::take(&mut self.arrivals);
        self.tcp.touch(arrivals.iter().map(|arrival| arrival.hash));
        for Arrival {
            hash,
            segment,
            frame,
        } in &mut arrivals
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
        arrivals.clear();
        self.arrivals = arrivals;
    }
}
