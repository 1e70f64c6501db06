//! The flow table: from a connection's addresses to its record.
//!
//! The key stays in the record. The table holds, for each flow, one word with a
//! 32-bit tag of its keyed hash and the 32-bit value that names the record, and
//! asks the record whether it is the right one:
//!
//! ```text
//! bucket (64 bytes, one cache line)
//! | passed | tag value | tag value | ... seven slots |
//! ```
//!
//! A flow lives in the first bucket with room from its home on. `passed` counts
//! the flows that went by because the bucket was full, and a lookup stops at the
//! first bucket that none has passed: no tombstones, and probes stay short.
//! The home bucket is the low bits of the tag, so a bucket can be moved to a
//! larger array without asking its records. Growth moves a few buckets at each
//! change, and never all at once.

use crate::address::Address;
use siphasher::sip::SipHasher13;
use std::fmt;

/// A connection's addresses, as this side names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
        let mut bytes = [0; 22];
        bytes[..16].copy_from_slice(&key.remote.octets());
        bytes[16..18].copy_from_slice(&key.local.to_be_bytes());
        bytes[18..20].copy_from_slice(&key.local_port.to_be_bytes());
        bytes[20..].copy_from_slice(&key.remote_port.to_be_bytes());
        self.0.hash(&bytes)
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

const SLOTS: usize = 7;
/// Buckets that one change moves while the table grows. Growth starts at 6/7 of
/// the slots and doubles them, so it is over long before the next can start.
const MOVES: usize = 2;

#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Bucket {
    passed: u64,
    /// Tag in the upper half, value + 1 in the lower; 0 is empty.
    slots: [u64; SLOTS],
}

fn slot(tag: u32, value: u32) -> u64 {
    u64::from(tag) << 32 | u64::from(value + 1)
}

#[expect(clippy::cast_possible_truncation, reason = "the two halves of a slot")]
fn halves(slot: u64) -> (u32, u32) {
    ((slot >> 32) as u32, (slot as u32).wrapping_sub(1))
}

/// One array of buckets, a power of two of them.
#[derive(Debug, Default)]
struct Buckets(Vec<Bucket>);

impl Buckets {
    fn new(count: usize) -> Buckets {
        Buckets(vec![Bucket::default(); count])
    }

    /// The buckets to look at for a tag: its home and those after it.
    fn path(&self, tag: u32) -> impl Iterator<Item = usize> + use<> {
        let mask = self.0.len().wrapping_sub(1);
        (0..self.0.len()).map(move |step| (tag as usize + step) & mask)
    }

    #[inline]
    fn find(&self, tag: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        for at in self.path(tag) {
            let bucket = &self.0[at];
            for &word in &bucket.slots {
                let (its_tag, value) = halves(word);
                if its_tag == tag && word != 0 && is_it(value) {
                    return Some(value);
                }
            }
            if bucket.passed == 0 {
                break;
            }
        }
        None
    }

    fn insert(&mut self, word: u64) {
        for at in self.path(halves(word).0) {
            let bucket = &mut self.0[at];
            if let Some(free) = bucket.slots.iter_mut().find(|slot| **slot == 0) {
                *free = word;
                return;
            }
            bucket.passed += 1;
        }
    }

    /// Bucket and slot of a word.
    fn locate(&self, word: u64) -> Option<(usize, usize)> {
        for at in self.path(halves(word).0) {
            let bucket = &self.0[at];
            if let Some(slot) = bucket.slots.iter().position(|&slot| slot == word) {
                return Some((at, slot));
            }
            if bucket.passed == 0 {
                break;
            }
        }
        None
    }

    fn replace(&mut self, old: u64, new: u64) -> bool {
        let Some((at, slot)) = self.locate(old) else {
            return false;
        };
        self.0[at].slots[slot] = new;
        true
    }

    fn remove(&mut self, word: u64) -> bool {
        let Some((at, slot)) = self.locate(word) else {
            return false;
        };
        self.0[at].slots[slot] = 0;
        for before in self.path(halves(word).0).take_while(|&before| before != at) {
            self.0[before].passed -= 1;
        }
        true
    }
}

/// The flows of one shard.
#[derive(Debug)]
pub struct FlowTable {
    buckets: Buckets,
    /// While the table grows: the array before, and how many of its buckets have
    /// been moved.
    old: Buckets,
    moved: usize,
    len: usize,
}

impl FlowTable {
    /// A table that takes `flows` flows before it grows.
    pub fn with_capacity(flows: usize) -> FlowTable {
        let count = (flows * 7 / 6).div_ceil(SLOTS).next_power_of_two();
        FlowTable {
            buckets: Buckets::new(count),
            old: Buckets::default(),
            moved: 0,
            len: 0,
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the tag is one half of the hash"
    )]
    fn tag(hash: u64) -> u32 {
        hash as u32
    }

    /// The value of the flow with this hash that `is_it` says yes to.
    #[inline]
    pub fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let tag = FlowTable::tag(hash);
        match self.buckets.find(tag, &mut is_it) {
            None if !self.old.0.is_empty() => self.old.find(tag, is_it),
            found => found,
        }
    }

    /// Adds a flow that is not in the table; `value` is less than 2^32 - 1.
    pub fn insert(&mut self, hash: u64, value: u32) {
        self.grow();
        self.buckets.insert(slot(FlowTable::tag(hash), value));
        self.len += 1;
    }

    /// Takes a flow out; false if it was not there.
    pub fn remove(&mut self, hash: u64, value: u32) -> bool {
        let word = slot(FlowTable::tag(hash), value);
        let removed = self.buckets.remove(word) || self.old.remove(word);
        self.len -= usize::from(removed);
        self.grow();
        removed
    }

    /// Gives a flow another value, where it is; false if it was not there.
    pub fn replace(&mut self, hash: u64, old: u32, new: u32) -> bool {
        let tag = FlowTable::tag(hash);
        let (old, new) = (slot(tag, old), slot(tag, new));
        self.buckets.replace(old, new) || self.old.replace(old, new)
    }

    /// Flows in the table.
    pub fn len(&self) -> usize {
        self.len
    }

    /// None is.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Starts to grow where it is time, and goes on with growing.
    fn grow(&mut self) {
        if self.old.0.is_empty() {
            if self.len * 7 < self.buckets.0.len() * SLOTS * 6 {
                return;
            }
            let larger = Buckets::new(self.buckets.0.len() * 2);
            self.old = std::mem::replace(&mut self.buckets, larger);
            self.moved = 0;
        }
        for _ in 0..MOVES {
            // A moved flow is found in the new array first, so the old bucket's
            // `passed` may stay: it ends with the old array.
            for word in std::mem::take(&mut self.old.0[self.moved].slots) {
                if word != 0 {
                    self.buckets.insert(word);
                }
            }
            self.moved += 1;
            if self.moved == self.old.0.len() {
                self.old = Buckets::default();
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::net::Ipv4Addr;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        /// Few different tags, so that buckets overflow and tags collide, while the
        /// table grows from two buckets and flows come and go in any order.
        #[test]
        fn agrees_with_a_map(tags in 1u64..40, ops in prop::collection::vec((any::<u64>(), 0u8..8), 0..900)) {
            let mut table = FlowTable::with_capacity(8);
            let mut model: HashMap<u32, u64> = HashMap::new();
            let mut next = 0;
            for (pick, op) in ops {
                let picked = model.iter().min_by_key(|(value, _)| u64::from(**value) ^ (pick % 64)).map(|(&v, &h)| (v, h));
                match (op, picked) {
                    (0..4, _) => {
                        let hash = pick % tags * 0x9e37_79b9;
                        table.insert(hash, next);
                        model.insert(next, hash);
                        next += 1;
                    }
                    (4..6, Some((value, hash))) => {
                        prop_assert!(table.remove(hash, value));
                        prop_assert!(!table.remove(hash, value));
                        model.remove(&value);
                    }
                    (6, Some((value, hash))) => {
                        prop_assert!(table.replace(hash, value, next));
                        model.remove(&value);
                        model.insert(next, hash);
                        next += 1;
                    }
                    _ => prop_assert_eq!(table.find(pick, |_| false), None),
                }
                prop_assert_eq!(table.len(), model.len());
            }
            for (&value, &hash) in &model {
                prop_assert_eq!(table.find(hash, |v| v == value), Some(value));
            }
            for (value, hash) in model {
                prop_assert!(table.remove(hash, value));
            }
            prop_assert!(table.is_empty());
            prop_assert!(table.buckets.0.iter().all(|bucket| bucket.passed == 0), "no trace is left");
        }
    }

    #[test]
    fn every_flow_is_found_at_every_moment_of_growth() {
        let hasher = FlowHasher::new([9; 16]);
        let key = |n: u32| FlowKey {
            local: 0,
            remote: Ipv4Addr::from(n).into(),
            local_port: 1,
            remote_port: 2,
        };
        let mut table = FlowTable::with_capacity(8);
        for n in 0..5_000 {
            table.insert(hasher.hash(&key(n)), n);
            for seen in (0..=n).step_by(97) {
                assert_eq!(
                    table.find(hasher.hash(&key(seen)), |v| v == seen),
                    Some(seen),
                    "{seen} of {n}"
                );
            }
        }
    }

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
