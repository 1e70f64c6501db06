//! Segments of flows that another shard of this host has (see
//! [`siblings`](crate::siblings)).

use super::{Cx, Segment, Tcp};
use crate::flow::{FlowKey, FlowReader};
use crate::frame::Frame;
use crate::stats::DropReason;

impl Tcp {
    /// The sibling that seems to have a flow that is none of this shard's.
    pub(crate) fn owner_elsewhere(&mut self, key: &FlowKey) -> Option<usize> {
        if self.siblings.are_none() {
            return None;
        }
        // All have one seed, and so the same hash.
        let hash = self.shared.hasher.hash(key);
        self.siblings.owner_of(hash)
    }

    /// Sends a segment on its way to its owner; the frame stays here.
    pub(super) fn hand_over(
        &mut self,
        owner: usize,
        segment: &Segment,
        frame: &Option<Frame>,
    ) -> Result<(), DropReason> {
        let data = frame.as_ref().map_or(&[][..], Frame::data);
        if !self.siblings.hand_over(owner, segment, data) {
            return Err(DropReason::StrayQueueFull);
        }
        self.shared.stats.segments_in -= 1;
        self.shared.stats.strays_out += 1;
        Ok(())
    }

    /// Processes segments that siblings handed over, at most `budget`: how many.
    pub(crate) fn input_strays(&mut self, cx: &mut Cx, budget: usize) -> usize {
        for count in 0..budget {
            let Some(stray) = self.siblings.next_stray() else {
                return count;
            };
            self.shared.stats.strays_in += 1;
            let flow = self.lookup(&stray.segment.key);
            let mut data = Some(stray.data);
            self.input(cx, flow, &stray.segment, &mut data);
            if let Some(frame) = data {
                cx.pool.free(frame);
            }
        }
        self.siblings.lay_down_stray();
        budget
    }

    /// What siblings see of the flows of this shard.
    pub(crate) fn flows(&self) -> FlowReader {
        self.shared.table.reader()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::FramePool;
    use crate::rng::Rng;
    use crate::seq::Seq;
    use crate::tcp::reset::header;
    use crate::tcp::{SocketOptions, TcpConfig};
    use crate::time::Instant;
    use crate::wire::tcp::{Flags, Header, Options};
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn flow() -> FlowKey {
        FlowKey {
            remote: Ipv4Addr::new(198, 18, 0, 2).into(),
            local: 0,
            local_port: 80,
            remote_port: 1,
        }
    }

    /// A peer that opens one flow again and again.
    struct Host {
        tcp: Tcp,
        pool: FramePool,
    }

    impl Host {
        /// Takes a segment of the flow: the reply.
        fn input(&mut self, flags: Flags, seq: Seq, ack: Seq) -> Option<Header> {
            let segment = Segment {
                key: flow(),
                header: header(flow(), flags, seq, ack, 1_000, Options::default()),
                payload_len: 0,
                ecn: 0,
            };
            let mut cx = Cx {
                now: Instant::ZERO,
                pool: &mut self.pool,
            };
            let flow = self.tcp.lookup(&flow());
            self.tcp.input(&mut cx, flow, &segment, &mut None);
            self.tcp.poll_reply().map(|reply| reply.header)
        }
    }

    /// While a handshake completes its flow has one record or another, and a sibling
    /// finds it at any moment.
    #[test]
    fn a_sibling_finds_a_flow_all_the_while_it_opens() {
        let config = TcpConfig::default();
        let mut tcp = Tcp::new(config, 1_500, Instant::ZERO, &mut Rng::from_seed(1));
        let listener = tcp.listen(None, 80, 16, SocketOptions::default()).unwrap();
        let (mut flows, hash) = (tcp.flows(), tcp.shared.hasher.hash(&flow()));
        let mut host = Host {
            tcp,
            pool: FramePool::on_heap(1, 64),
        };
        // Odd while the flow is there, 0 at the end.
        let phase = AtomicU32::new(2);
        std::thread::scope(|scope| {
            let sibling = scope.spawn(|| {
                loop {
                    let before = phase.load(Ordering::SeqCst);
                    let is_found = flows.may_have(hash);
                    let stayed = phase.load(Ordering::SeqCst) == before;
                    assert!(
                        is_found || !stayed || before.is_multiple_of(2),
                        "it was missed"
                    );
                    if before == 0 {
                        return;
                    }
                }
            });
            for round in 0..200_000 {
                let syn_ack = host.input(Flags::SYN, Seq(0), Seq(0)).unwrap();
                phase.fetch_add(1, Ordering::SeqCst);
                host.input(Flags::ACK, Seq(1), syn_ack.seq + 1);
                phase.fetch_add(1, Ordering::SeqCst);
                assert!(host.tcp.accept(listener).is_some(), "round {round}");
                host.input(Flags::RST, Seq(1), Seq(0));
                assert_eq!(host.tcp.connections.len(), 0, "round {round}");
            }
            phase.store(0, Ordering::SeqCst);
            assert!(sibling.join().is_ok(), "a flow was missed");
        });
    }
}
