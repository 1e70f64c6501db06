//! Local ports of connections that this side opens (RFC 6056).
//!
//! The port must be hard to guess, must not be in use towards the same
//! destination, TIME-WAIT included, and must be found at once even when nearly
//! all are taken. So each destination has a bitmap of the range, searched a word
//! at a time from a cursor that starts at a place only the key tells and goes
//! round: the port released last is the last to come again.

use crate::address::Address;
use crate::flow::{FlowHasher, FlowKey};
use crate::rss::RssShare;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// Ports that may be used, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// The lowest.
    pub first: u16,
    /// The highest, not below `first`.
    pub last: u16,
}

impl Default for PortRange {
    /// All but the well-known ones, as RFC 6056 section 3.2 advises.
    fn default() -> PortRange {
        PortRange {
            first: 1_024,
            last: u16::MAX,
        }
    }
}

impl PortRange {
    fn len(self) -> usize {
        usize::from(self.last.saturating_sub(self.first)) + 1
    }

    /// Blocks of it, one for each of `count` shards, so that no two of them choose
    /// the same port. They differ in size by one at most; none where there are
    /// fewer ports than shards.
    pub fn split(self, count: usize) -> Option<Vec<PortRange>> {
        let at = |index: usize| self.len() * index / count;
        let block = |index| {
            Some(PortRange {
                first: self.first + u16::try_from(at(index)).ok()?,
                last: self.first + u16::try_from(at(index + 1).checked_sub(1)?).ok()?,
            })
        };
        (0..count).map(block).collect()
    }
}

/// The ports that are in use towards every destination.
#[derive(Debug)]
pub struct Ports {
    range: PortRange,
    hasher: FlowHasher,
    in_use: usize,
    destinations: BTreeMap<(u16, Address, u16), Bitmap>,
    /// Where a device brings answers to this shard for some ports alone: which, and
    /// the addresses that they are of.
    answers: Option<(RssShare, Vec<IpAddr>)>,
}

impl Ports {
    /// Nothing in use; `key` makes the choice unpredictable.
    pub fn new(range: PortRange, key: [u8; 16]) -> Ports {
        Ports {
            range,
            hasher: FlowHasher::new(key),
            in_use: 0,
            destinations: BTreeMap::new(),
            answers: None,
        }
    }

    /// From now on only ports are chosen whose answers come to this shard; `locals`
    /// are the stack's addresses in the order of their indices. Siblings with other
    /// queues never choose the same.
    pub fn only_answered(&mut self, share: RssShare, locals: Vec<IpAddr>) {
        self.answers = Some((share, locals));
    }

    /// Takes a port of `local` (an index as in [`FlowKey`]) towards a destination;
    /// none when all are in use.
    pub fn allocate(&mut self, local: u16, remote: Address, remote_port: u16) -> Option<u16> {
        let taken = self.towards(local, remote, remote_port).take()?;
        self.in_use += 1;
        Some(self.range.first + u16::try_from(taken).unwrap_or(0))
    }

    fn towards(&mut self, local: u16, remote: Address, remote_port: u16) -> &mut Bitmap {
        let (hasher, range, answers) = (&self.hasher, self.range, &self.answers);
        let len = range.len();
        self.destinations
            .entry((local, remote, remote_port))
            .or_insert_with(|| {
                let key = FlowKey {
                    local,
                    remote,
                    local_port: 0,
                    remote_port,
                };
                let offset = hasher.hash(&key) % len as u64;
                let mut bitmap = Bitmap::new(len, usize::try_from(offset).unwrap_or(0));
                if let Some((share, locals)) = answers
                    && let Some(&local) = locals.get(usize::from(local))
                {
                    let remote = SocketAddr::new(remote.ip(), remote_port);
                    let come_here = share.answers(local, remote);
                    for (index, port) in (range.first..=range.last).enumerate() {
                        if !come_here(port) {
                            bitmap.reserve(index);
                        }
                    }
                }
                bitmap
            })
    }

    /// Up to `count` ports towards a flow's destination, in use or not, in the order
    /// in which they come next: the one released longest ago first.
    pub fn next(&mut self, key: &FlowKey, count: usize) -> impl Iterator<Item = u16> + use<> {
        let first = self.range.first;
        let bitmap = self.towards(key.local, key.remote, key.remote_port);
        let (cursor, len) = (bitmap.cursor, bitmap.len);
        (0..count.min(len)).filter_map(move |step| {
            let index = u16::try_from((cursor + step) % len).ok()?;
            Some(first + index)
        })
    }

    /// Takes a flow's local port: false when it is in use. One outside of the range
    /// is nobody's else, and is not counted.
    pub fn reserve(&mut self, key: &FlowKey) -> bool {
        let Some(index) = key.local_port.checked_sub(self.range.first) else {
            return true;
        };
        if key.local_port > self.range.last {
            return true;
        }
        let bitmap = self.towards(key.local, key.remote, key.remote_port);
        let is_free = bitmap.reserve(usize::from(index));
        self.in_use += usize::from(is_free);
        is_free
    }

    /// Gives a flow's local port back.
    pub fn release(&mut self, key: &FlowKey) {
        let destination = (key.local, key.remote, key.remote_port);
        let Some(bitmap) = self.destinations.get_mut(&destination) else {
            return;
        };
        let Some(index) = key.local_port.checked_sub(self.range.first) else {
            return;
        };
        if bitmap.give_back(usize::from(index)) {
            self.in_use -= 1;
        }
    }

    /// Ports in use, over all destinations.
    pub fn in_use(&self) -> usize {
        self.in_use
    }
}

/// A set bit is a port in use. It is kept when it is empty again, with its
/// cursor: 8 KiB for each destination that was ever connected to.
#[derive(Debug)]
struct Bitmap {
    words: Vec<u64>,
    len: usize,
    used: usize,
    cursor: usize,
}

impl Bitmap {
    fn new(len: usize, cursor: usize) -> Bitmap {
        let mut words = vec![0; len.div_ceil(64)];
        if let (Some(last), 1..) = (words.last_mut(), len % 64) {
            *last = u64::MAX << (len % 64);
        }
        Bitmap {
            words,
            len,
            used: 0,
            cursor,
        }
    }

    /// The first free one at or after the cursor, going round once.
    fn take(&mut self) -> Option<usize> {
        if self.used == self.len {
            return None;
        }
        let count = self.words.len();
        // The cursor's own word is looked at twice: from the cursor on, and last.
        let found = (0..=count).find_map(|step| {
            let word = (self.cursor / 64 + step) % count;
            let before = if step == 0 {
                (1u64 << (self.cursor % 64)) - 1
            } else {
                0
            };
            let free = (!(self.words[word] | before)).trailing_zeros() as usize;
            (free < 64).then_some(word * 64 + free)
        })?;
        self.words[found / 64] |= 1 << (found % 64);
        self.used += 1;
        self.cursor = (found + 1) % self.len;
        Some(found)
    }

    fn reserve(&mut self, index: usize) -> bool {
        let Some(word) = self.words.get_mut(index / 64) else {
            return false;
        };
        let bit = 1 << (index % 64);
        let is_free = *word & bit == 0;
        *word |= bit;
        self.used += usize::from(is_free);
        is_free
    }

    fn give_back(&mut self, index: usize) -> bool {
        let Some(word) = self.words.get_mut(index / 64).filter(|_| index < self.len) else {
            return false;
        };
        let bit = 1 << (index % 64);
        let was_used = *word & bit != 0;
        *word &= !bit;
        self.used -= usize::from(was_used);
        was_used
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rss::Rss;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::net::Ipv4Addr;

    const A: u16 = 0;

    fn b() -> Address {
        Ipv4Addr::new(198, 18, 0, 2).into()
    }

    fn key(port: u16) -> FlowKey {
        FlowKey {
            local: A,
            remote: b(),
            local_port: port,
            remote_port: 80,
        }
    }

    proptest! {
        #[test]
        fn agrees_with_a_set(first in 1u16..2_000, len in 1u16..300, ops in prop::collection::vec(any::<Option<u16>>(), 0..600)) {
            let range = PortRange { first, last: first + len - 1 };
            let mut ports = Ports::new(range, [3; 16]);
            let mut model = BTreeSet::new();
            for op in ops {
                match op {
                    // Some of these are outside of the range.
                    Some(pick @ ..2_000) => {
                        let port = (first + pick % (len + 20)).saturating_sub(10).max(1);
                        let is_in = (range.first..=range.last).contains(&port);
                        let is_new = is_in && model.insert(port);
                        prop_assert_eq!(ports.reserve(&key(port)), is_new || !is_in);
                    }
                    None | Some(..20_000) => match ports.allocate(A, b(), 80) {
                        Some(port) => {
                            prop_assert!((range.first..=range.last).contains(&port));
                            prop_assert!(model.insert(port), "{port} is in use");
                        }
                        None => prop_assert_eq!(model.len(), range.len()),
                    },
                    Some(pick) => {
                        let port = model.iter().nth(usize::from(pick) % model.len().max(1)).copied().unwrap_or(first);
                        model.remove(&port);
                        ports.release(&key(port));
                    }
                }
                prop_assert_eq!(ports.in_use(), model.len());
            }
        }
    }

    #[test]
    fn blocks_are_even_and_make_up_the_range() {
        let range = |first, last| PortRange { first, last };
        assert_eq!(
            range(1, 10).split(3).unwrap(),
            [range(1, 3), range(4, 6), range(7, 10)]
        );
        let all = range(0, u16::MAX);
        assert_eq!(all.split(1).unwrap(), [all]);
        let blocks = PortRange::default().split(7).unwrap();
        assert_eq!((blocks[0].first, blocks[6].last), (1_024, u16::MAX));
        for pair in blocks.windows(2) {
            assert_eq!(pair[0].last + 1, pair[1].first);
        }
        assert_eq!(range(1, 3).split(4), None);
        assert_eq!(range(1, 3).split(3).unwrap().len(), 3);
    }

    /// Shards whose ports a device's hash divides never choose the same, and leave
    /// none out.
    #[test]
    fn ports_by_their_answers_make_up_the_range() {
        let key: Vec<u8> = (0..40).map(|byte: u8| byte.wrapping_mul(91)).collect();
        let rss = Rss::new(&key, vec![0, 1, 2]);
        let rss = std::sync::Arc::new(rss.unwrap());
        let mut chosen = Vec::new();
        for queue in 0..3 {
            let mut ports = Ports::new(PortRange::default(), [1; 16]);
            let share = RssShare {
                rss: std::sync::Arc::clone(&rss),
                queues: vec![queue],
            };
            ports.only_answered(share, vec![Ipv4Addr::new(198, 18, 0, 1).into()]);
            let before = chosen.len();
            chosen.extend(std::iter::from_fn(|| ports.allocate(A, b(), 80)));
            assert_eq!(ports.in_use(), chosen.len() - before);
        }
        chosen.sort_unstable();
        assert!(chosen.into_iter().eq(1_024..=u16::MAX));
    }

    /// Attack case 24.
    #[test]
    fn the_port_released_last_comes_last() {
        let mut ports = Ports::new(
            PortRange {
                first: 1_000,
                last: 1_003,
            },
            [1; 16],
        );
        let first = ports.allocate(A, b(), 80).unwrap();
        ports.release(&key(first));
        let next: Vec<u16> = (0..4).filter_map(|_| ports.allocate(A, b(), 80)).collect();
        assert_eq!(next.last(), Some(&first));
        assert_eq!(ports.allocate(A, b(), 80), None, "EADDRNOTAVAIL");
        assert!(
            ports.allocate(A, b(), 81).is_some(),
            "another destination has its own"
        );
    }
}
