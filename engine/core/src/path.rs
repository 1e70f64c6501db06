//! Path MTUs: what routers said fits on the way to a destination (RFC 1191,
//! RFC 8201).
//!
//! Only destinations whose path is smaller than the own link's are here. The
//! table is bounded, and what is in it is forgotten after a while, so that a path
//! that has grown is found out (RFC 8201 section 5.3).

use crate::address::Address;
use crate::time::{Duration, Instant};
use std::collections::BTreeMap;

/// Destinations at a time.
const CAPACITY: usize = 1_024;
/// RFC 8201 section 5.3, RFC 1191 section 6.3: 10 minutes.
const LIFETIME: Duration = Duration::from_secs(600);

#[derive(Clone, Copy, Debug)]
struct Path {
    mtu: u16,
    until: Instant,
}

/// The path MTUs of one shard.
#[derive(Debug, Default)]
pub(crate) struct PathMtus(BTreeMap<Address, Path>);

impl PathMtus {
    /// The MTU towards `remote`, if it is known to be less than the link's.
    pub(crate) fn lookup(&self, now: Instant, remote: Address) -> Option<u16> {
        let path = self.0.get(&remote).filter(|path| now < path.until)?;
        Some(path.mtu)
    }

    /// A router said that `mtu` bytes fit. A path never grows by a router's word
    /// (RFC 8201 section 4).
    pub(crate) fn learn(&mut self, now: Instant, remote: Address, mtu: u16) {
        if self.0.len() >= CAPACITY && !self.0.contains_key(&remote) {
            let oldest = self.0.iter().min_by_key(|(_, path)| path.until);
            if let Some((&oldest, _)) = oldest {
                self.0.remove(&oldest);
            }
        }
        let mtu = self.lookup(now, remote).map_or(mtu, |known| known.min(mtu));
        let until = now + LIFETIME;
        self.0.insert(remote, Path { mtu, until });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn a_path_shrinks_by_word_and_grows_by_age() {
        let mut paths = PathMtus::default();
        let remote = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2).into();
        let at = |seconds: u64| Instant::from_millis(seconds * 1_000);
        paths.learn(at(0), remote, 1_400);
        paths.learn(at(1), remote, 1_450);
        assert_eq!(paths.lookup(at(2), remote), Some(1_400));
        paths.learn(at(3), remote, 1_300);
        assert_eq!(paths.lookup(at(602), remote), Some(1_300));
        assert_eq!(paths.lookup(at(603), remote), None);
        paths.learn(at(604), remote, 1_450);
        assert_eq!(paths.lookup(at(605), remote), Some(1_450));
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_oldest() {
        let mut paths = PathMtus::default();
        let remote = |n: u32| Ipv4Addr::from(n).into();
        for n in 0..3_000 {
            paths.learn(Instant::from_millis(n.into()), remote(n), 600);
        }
        assert_eq!(paths.0.len(), CAPACITY);
        let now = Instant::from_millis(3_000);
        assert_eq!(
            (
                paths.lookup(now, remote(1_000)),
                paths.lookup(now, remote(2_999))
            ),
            (None, Some(600))
        );
    }
}
