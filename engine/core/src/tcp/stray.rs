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
    use crate::tcp::{ListenerId, SocketOptions, TcpConfig};
    use crate::time::Instant;
    use crate::wire::tcp::{Flags, Header, Options};
    use std::net::Ipv4Addr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn flow(remote_port: u16) -> FlowKey {
        FlowKey {
            remote: Ipv4Addr::new(198, 18, 0, 2).into(),
            local: 0,
            local_port: 80,
            remote_port,
        }
    }

    /// What its peers open flows with.
    struct Host {
        tcp: Tcp,
        pool: FramePool,
        listener: ListenerId,
        /// Odd while the first flow has to be in the table, 0 at the end.
        phase: Arc<AtomicU32>,
    }

    impl Host {
        fn new(config: TcpConfig) -> Host {
            let mut tcp = Tcp::new(config, 1_500, Instant::ZERO, &mut Rng::from_seed(1));
            let listener = tcp.listen(None, 80, 16, SocketOptions::default()).unwrap();
            Host {
                tcp,
                pool: FramePool::on_heap(1, 64),
                listener,
                phase: Arc::new(AtomicU32::new(2)),
            }
        }

        /// Takes a segment of a flow: the reply.
        fn input(&mut self, port: u16, flags: Flags, seq: Seq, ack: Seq) -> Option<Header> {
            let key = flow(port);
            let segment = Segment {
                key,
                header: header(key, flags, seq, ack, 1_000, Options::default()),
                payload_len: 0,
                ecn: 0,
            };
            let mut cx = Cx {
                now: Instant::ZERO,
                pool: &mut self.pool,
            };
            let flow = self.tcp.lookup(&key);
            self.tcp.input(&mut cx, flow, &segment, &mut None);
            self.tcp.poll_reply().map(|reply| reply.header)
        }

        /// The first flow is in the table; this segment completes its handshake. The
        /// connection is accepted, and reset.
        fn completes(&mut self, ack: Seq) {
            self.phase.fetch_add(1, Ordering::SeqCst);
            self.input(1, Flags::ACK, Seq(1), ack);
            self.phase.fetch_add(1, Ordering::SeqCst);
            assert!(self.tcp.accept(self.listener).is_some());
            self.input(1, Flags::RST, Seq(1), Seq(0));
            assert_eq!(self.tcp.connections.len(), 0);
        }

        /// Opens the first flow again and again, while a sibling looks for it.
        fn stays_found(mut self, opens: impl Fn(&mut Host)) {
            let (mut flows, hash) = (self.tcp.flows(), self.tcp.shared.hasher.hash(&flow(1)));
            let phase = Arc::clone(&self.phase);
            let sibling = std::thread::spawn(move || {
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
            for _ in 0..200_000 {
                opens(&mut self);
            }
            self.phase.store(0, Ordering::SeqCst);
            assert!(sibling.join().is_ok(), "a flow was missed");
        }
    }

    /// While a handshake completes its flow has one record or another, and a sibling
    /// finds it at any moment.
    #[test]
    fn a_sibling_finds_a_flow_all_the_while_it_opens() {
        Host::new(TcpConfig::default()).stays_found(|host| {
            let syn_ack = host.input(1, Flags::SYN, Seq(0), Seq(0)).unwrap();
            host.completes(syn_ack.seq + 1);
        });
    }

    /// The same where a cookie answered its SYN while another flow had the only record,
    /// and a record answered the SYN again.
    #[test]
    fn a_sibling_finds_a_flow_that_a_cookie_opens_in_place_of_its_record() {
        let config = TcpConfig {
            syn_backlog: 1,
            ..TcpConfig::default()
        };
        Host::new(config).stays_found(|host| {
            host.input(2, Flags::SYN, Seq(0), Seq(0));
            let cookie = host.input(1, Flags::SYN, Seq(0), Seq(0)).unwrap();
            host.input(2, Flags::RST, Seq(1), Seq(0));
            let syn_ack = host.input(1, Flags::SYN, Seq(0), Seq(0)).unwrap();
            assert_ne!(cookie.seq, syn_ack.seq);
            host.completes(cookie.seq + 1);
        });
    }
}
