//! Receive-side scaling: on which of its queues a device puts a flow's frames.
//!
//! A device that says how it hashes (Microsoft's RSS, with the Toeplitz function)
//! lets each shard choose local ports whose answers come to its own queues, and
//! nothing has to be handed over. Toeplitz is linear: each bit of the addresses and
//! ports that is set adds, without carry, the 32 bits of the key from its place on.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What one flow over IPv6 takes of a key, and one word.
const KEY_LEN_MIN: usize = 40;

/// How a device spreads TCP flows over its queues, by both addresses and ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rss {
    key: Vec<u8>,
    /// The indirection table: queues by the low bits of the hash.
    queues: Vec<u32>,
}

impl Rss {
    /// A device's key and indirection table; none where they are too short.
    pub fn new(key: &[u8], queues: Vec<u32>) -> Option<Rss> {
        let is_whole = key.len() >= KEY_LEN_MIN && !queues.is_empty();
        is_whole.then(|| Rss {
            key: key.to_vec(),
            queues,
        })
    }

    /// Some flows come to one of these queues.
    pub fn reaches_any(&self, queues: &[u32]) -> bool {
        queues.iter().any(|queue| self.queues.contains(queue))
    }

    /// The queue for the frames from `source` to `destination`.
    pub fn queue(&self, source: SocketAddr, destination: SocketAddr) -> u32 {
        self.queue_of(self.hash(source, destination))
    }

    fn queue_of(&self, hash: u32) -> u32 {
        self.queues[hash as usize % self.queues.len()]
    }

    /// The hash of a TCP segment's addresses and ports.
    pub fn hash(&self, source: SocketAddr, destination: SocketAddr) -> u32 {
        let (there, here, ports_at) = match (source.ip(), destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let there = self.part(0, &source.octets());
                (there, self.part(4, &destination.octets()), 8)
            }
            (source, destination) => {
                let there = self.part(0, &v6(source));
                (there, self.part(16, &v6(destination)), 32)
            }
        };
        let from = self.part(ports_at, &source.port().to_be_bytes());
        let to = self.part(ports_at + 2, &destination.port().to_be_bytes());
        there ^ here ^ from ^ to
    }

    /// What the bytes from the place `at` of the input on add to the hash.
    fn part(&self, at: usize, bytes: &[u8]) -> u32 {
        let mut sum = 0;
        for (place, &byte) in (at..).zip(bytes) {
            let mut left = byte;
            while left != 0 {
                let bit = left.leading_zeros();
                sum ^= self.word(place, bit);
                left ^= 0x80 >> bit;
            }
        }
        sum
    }

    /// The 32 bits of the key from a bit of a byte on.
    fn word(&self, byte: usize, bit: u32) -> u32 {
        let key = &self.key[byte..byte + 5];
        let first = u32::from_be_bytes([key[0], key[1], key[2], key[3]]);
        first << bit | u32::from(key[4]) >> (8 - bit)
    }
}

fn v6(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// One shard's part of a device.
#[derive(Clone, Debug)]
pub struct RssShare {
    /// How the device spreads flows.
    pub rss: Arc<Rss>,
    /// The queues whose frames come to the shard.
    pub queues: Vec<u32>,
}

impl RssShare {
    /// Tells of each port of `local` whether the answers from `remote` come here.
    pub(crate) fn answers(&self, local: IpAddr, remote: SocketAddr) -> impl Fn(u16) -> bool {
        let RssShare { rss, queues } = self;
        let base = rss.hash(remote, SocketAddr::new(local, 0));
        let port_at = if local.is_ipv4() { 10 } else { 34 };
        move |port| {
            let hash = base ^ rss.part(port_at, &port.to_be_bytes());
            queues.contains(&rss.queue_of(hash))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of Microsoft's "Verifying the RSS Hash Calculation".
    const KEY: [u8; 40] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f,
        0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30,
        0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
    ];

    fn rss() -> Rss {
        Rss::new(&KEY, (0..128).map(|entry| entry % 4).collect()).unwrap()
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// The published vectors: source, destination, hash.
    #[test]
    fn hashes_are_those_of_the_verification_suite() {
        for (source, destination, hash) in [
            ("66.9.149.187:2794", "161.142.100.80:1766", 0x51cc_c178),
            ("199.92.111.2:14230", "65.69.140.83:4739", 0xc626_b0ea),
            ("24.19.198.95:12898", "12.22.207.184:38024", 0x5c2b_394a),
            ("38.27.205.30:48228", "209.142.163.6:2217", 0xafc7_327f),
            ("153.39.163.191:44251", "202.188.127.2:1303", 0x10e8_28a2),
            (
                "[3ffe:2501:200:1fff::7]:2794",
                "[3ffe:2501:200:3::1]:1766",
                0x4020_7d3d,
            ),
            (
                "[3ffe:501:8::260:97ff:fe40:efab]:14230",
                "[ff02::1]:4739",
                0xdde5_1bbf,
            ),
            (
                "[3ffe:1900:4545:3:200:f8ff:fe21:67cf]:44251",
                "[fe80::200:f8ff:fe21:67cf]:38024",
                0x02d1_feef,
            ),
        ] {
            assert_eq!(rss().hash(at(source), at(destination)), hash, "{source}");
        }
    }

    #[test]
    fn a_port_chosen_for_its_answers_is_one_whose_answers_come() {
        let rss = Arc::new(rss());
        for (local, remote) in [
            ("198.18.0.1:0", "198.18.0.2:80"),
            ("[2001:db8::1]:0", "[2001:db8::2]:80"),
        ] {
            let (local, remote) = (at(local), at(remote));
            let shares = [vec![0, 2], vec![1], vec![3]].map(|queues| RssShare {
                rss: Arc::clone(&rss),
                queues,
            });
            for port in [1_024, 1_025, 4_711, u16::MAX] {
                let queue = rss.queue(remote, SocketAddr::new(local.ip(), port));
                for share in &shares {
                    let is_ours = share.queues.contains(&queue);
                    assert_eq!(share.answers(local.ip(), remote)(port), is_ours, "{port}");
                }
            }
        }
    }

    #[test]
    fn what_is_too_short_to_tell_is_none() {
        assert!(Rss::new(&KEY[..39], vec![0]).is_none());
        assert!(Rss::new(&KEY, Vec::new()).is_none());
        assert!(rss().reaches_any(&[3, 4]) && !rss().reaches_any(&[4, 5]));
    }
}
