//! SYNs from addresses that nobody has, and real connections meanwhile.
//!
//! ```text
//! client's shard --frames--> Flood --frames and SYNs--> server's shard
//! ```
//!
//! A flood is a driver around the client's: to the server the SYNs come from the
//! same wire as the connections that must not suffer from them.

use crate::memory::{CLIENT, SERVER};
use ringmill_core::driver::{Driver, DriverDrops};
use ringmill_core::frame::{Batch, FramePool, HEADROOM};
use ringmill_core::seq::Seq;
use ringmill_core::stack::Config;
use ringmill_core::time::{Duration, Instant};
use ringmill_core::wire::ethernet::{self, ETHERTYPE_IPV4, MacAddress};
use ringmill_core::wire::tcp::{Flags, Header, Options, Timestamps};
use ringmill_core::wire::{ip, ipv4, tcp};
use std::net::Ipv4Addr;

/// Bytes of a SYN with the options that every stack sends.
const FRAME: usize = ethernet::HEADER_LEN + ipv4::HEADER_LEN + tcp::HEADER_LEN + 20;
/// The first port of the server.
const PORT: u16 = 80;

/// Makes SYNs, each from another address and port.
#[derive(Debug)]
pub struct Spoofer {
    server: MacAddress,
    sent: u32,
}

impl Spoofer {
    /// SYNs for whoever has this Ethernet address.
    pub fn new(server: MacAddress) -> Spoofer {
        Spoofer { server, sent: 0 }
    }

    /// Lets a server answer addresses that are not on its link.
    pub fn route(config: &mut Config) {
        config.gateways.v4 = Some(CLIENT);
    }

    /// The next one.
    pub fn next_frame(&mut self) -> [u8; FRAME] {
        let [high, low] = self.host();
        let source = Ipv4Addr::new(198, 19, high, low);
        let syn = Header {
            source_port: 1_024 + u16::try_from(self.sent >> 16).unwrap_or(0),
            destination_port: PORT,
            seq: Seq(self.sent.wrapping_mul(0x9e37_79b9)),
            ack: Seq(0),
            flags: Flags::SYN,
            window: u16::MAX,
            urgent: 0,
            options: Options {
                mss: Some(1_460),
                window_scale: Some(7),
                timestamps: Some(Timestamps { value: 1, echo: 0 }),
                sack_permitted: true,
                ..Options::default()
            },
        };
        self.sent = self.sent.wrapping_add(1);
        let mut frame = [0; FRAME];
        let (link, packet) = frame.split_at_mut(ethernet::HEADER_LEN);
        ethernet::Header {
            destination: self.server,
            source: MacAddress([2, 0, 0, 0, 0, 9]),
            vlan: None,
            ethertype: ETHERTYPE_IPV4,
        }
        .emit(link);
        let (network, segment) = packet.split_at_mut(ipv4::HEADER_LEN);
        syn.emit(segment, source, SERVER);
        ipv4::Header {
            source,
            destination: SERVER,
            protocol: ip::PROTOCOL_TCP,
            ttl: ip::TIME_TO_LIVE,
            tos: 0,
            payload_len: segment.len(),
        }
        .emit(network);
        frame
    }

    fn host(&self) -> [u8; 2] {
        let [_, _, high, low] = self.sent.to_be_bytes();
        [high, low]
    }
}

/// A driver that sends SYNs beside what its shard sends.
#[derive(Debug)]
pub struct Flood<D> {
    inner: D,
    spoofer: Spoofer,
    per_second: u64,
    since: Option<Instant>,
    sent: u64,
    batch: Batch,
}

impl<D: Driver> Flood<D> {
    /// `per_second` SYNs, from the first step on, through `inner`.
    pub fn new(inner: D, spoofer: Spoofer, per_second: u64) -> Flood<D> {
        Flood {
            inner,
            spoofer,
            per_second,
            since: None,
            sent: 0,
            batch: Batch::new(),
        }
    }

    /// SYNs that were sent.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// The driver without the flood. What it did not send goes back to the pool.
    pub fn into_inner(mut self, pool: &mut FramePool) -> D {
        for frame in self.batch.drain(Batch::CAPACITY) {
            pool.free(frame);
        }
        self.inner
    }

    /// SYNs that are due by now.
    fn due(&mut self, now: Instant) -> u64 {
        let length = now.since(*self.since.get_or_insert(now));
        let due =
            length.as_nanos() * u128::from(self.per_second) / Duration::from_secs(1).as_nanos();
        u64::try_from(due)
            .unwrap_or(u64::MAX)
            .saturating_sub(self.sent)
    }
}

impl<D: Driver> Driver for Flood<D> {
    fn rx(&mut self, now: Instant, pool: &mut FramePool, batch: &mut Batch) {
        self.inner.rx(now, pool, batch);
    }

    fn tx(&mut self, now: Instant, pool: &mut FramePool, batch: &mut Batch) {
        self.inner.tx(now, pool, batch);
        for _ in 0..self.due(now).min(self.batch.room() as u64) {
            let Some(mut frame) = pool.alloc() else {
                break;
            };
            frame.set_window(HEADROOM, FRAME);
            frame.data_mut().copy_from_slice(&self.spoofer.next_frame());
            self.batch.push(frame);
            self.sent += 1;
        }
        if !self.batch.is_empty() {
            self.inner.tx(now, pool, &mut self.batch);
        }
    }

    fn held(&self) -> usize {
        self.inner.held() + self.batch.len()
    }

    fn drops(&self) -> DriverDrops {
        self.inner.drops()
    }
}
