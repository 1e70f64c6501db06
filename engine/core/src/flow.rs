//! Flows: a connection's addresses, their hash, and the table that leads from
//! there to its record.

mod table;

pub use table::{FlowReader, FlowTable, Place};

use crate::address::Address;
use siphasher::sip::SipHasher13;
use std::fmt;

/// A connection's addresses, as this side names them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowKey {
    /// The peer's address.
    pub remote: Address,
    /// This side's address, as an index into the stack's own: a key takes 22
    /// bytes for both families.
    pub local: u16,
    /// This side's port.
    pub local_port: u16,
    /// The peer's port.
    pub remote_port: u16,
}

const _: () = assert!(size_of::<FlowKey>() == 22);

impl fmt::Display for FlowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FlowKey {
            local,
            remote,
            local_port,
            remote_port,
        } = self;
        write!(f, "#{local}:{local_port}-[{remote}]:{remote_port}")
    }
}

/// A keyed hash of flows (SipHash-1-3): peers choose their ports, and must not
/// be able to choose them so that all flows share a bucket.
#[derive(Clone, Debug)]
pub struct FlowHasher(SipHasher13);

impl FlowHasher {
    /// The hash of `key`.
    pub fn new(key: [u8; 16]) -> FlowHasher {
        FlowHasher(SipHasher13::new_with_key(&key))
    }

    /// A flow's hash.
    #[inline]
    pub fn hash(&self, key: &FlowKey) -> u64 {
        let remote = u128::from_ne_bytes(key.remote.octets());
        let [local, local_port, remote_port] =
            [key.local, key.local_port, key.remote_port].map(u128::from);
        // Written in the words that it is read in: narrower ones would be waited for.
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&remote.to_ne_bytes());
        bytes[16..].copy_from_slice(&(local << 32 | local_port << 16 | remote_port).to_ne_bytes());
        self.0.hash(&bytes[..24])
    }

    /// A hash of a flow and of more words, under the same key: no value of it says
    /// anything about [`hash`](FlowHasher::hash).
    pub fn hash_with(&self, key: &FlowKey, more: [u32; 3]) -> u64 {
        let mut bytes = [0; 20];
        bytes[..8].copy_from_slice(&self.hash(key).to_le_bytes());
        for (chunk, word) in bytes[8..].chunks_exact_mut(4).zip(more) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        self.0.hash(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn the_hash_depends_on_the_key_and_on_every_field() {
        let flow = FlowKey {
            local: 1,
            remote: Ipv4Addr::new(198, 18, 0, 2).into(),
            local_port: 1,
            remote_port: 2,
        };
        let hash = FlowHasher::new([1; 16]).hash(&flow);
        assert_ne!(hash, FlowHasher::new([2; 16]).hash(&flow));
        for other in [
            FlowKey { local: 3, ..flow },
            FlowKey {
                remote: Ipv4Addr::new(198, 18, 0, 3).into(),
                ..flow
            },
            FlowKey {
                local_port: 3,
                ..flow
            },
            FlowKey {
                remote_port: 3,
                ..flow
            },
        ] {
            assert_ne!(hash, FlowHasher::new([1; 16]).hash(&other), "{other}");
        }
    }
}
