//! The neighbour cache: who on the link has which address (RFC 826,
//! RFC 1122 section 2.3.2).
//!
//! ```text
//! lookup of an unknown address                learn
//!        |                                      |
//!        v            a probe a second          v
//!   Incomplete ------------------------> Reachable --(30 s)--> Stale, still used,
//!        |                                   ^                 probed when used
//!        | no answer to three                +---- learn ------+
//!        v
//!     Failed, for a while
//! ```
//!
//! The cache is bounded. Addresses that others made us look up never push out
//! one that answers (attack: a scan through us fills the cache).

use crate::address::Address;
use crate::frame::Frame;
use crate::time::{Duration, Instant};
use crate::wire::ethernet::MacAddress;
use std::collections::BTreeMap;

/// Sizes and times of the cache.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Addresses that it knows or asks for.
    pub capacity: usize,
    /// Between two requests for an address (RFC 1122 section 2.3.2.1: at most one
    /// a second).
    pub probe_interval: Duration,
    /// Requests before an address has failed.
    pub probes_max: u8,
    /// How long an answer is trusted without another.
    pub reachable_time: Duration,
    /// How long a failed address is not asked for again.
    pub failed_time: Duration,
    /// Frames that wait for one address (RFC 1122 section 2.3.2.2: at least one).
    pub pending_per_entry: usize,
    /// Frames that wait in all.
    pub pending_total: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            capacity: 1_024,
            probe_interval: Duration::from_secs(1),
            probes_max: 3,
            reachable_time: Duration::from_secs(30),
            failed_time: Duration::from_secs(3),
            pending_per_entry: 3,
            pending_total: 64,
        }
    }
}

/// What is known of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// It is there.
    Reachable(MacAddress),
    /// It has been asked for.
    Pending,
    /// It did not answer.
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Incomplete,
    /// Until the entry's deadline it needs no probe; then it is stale.
    Known(MacAddress),
    Failed,
}

#[derive(Debug)]
struct Entry {
    state: State,
    /// Incomplete: the next probe. Known: from then on stale, and then the next
    /// probe. Failed: when it may be asked for again.
    deadline: Instant,
    probes: u8,
    /// A stale entry was used and is to be probed.
    probing: bool,
    pending: Vec<Frame>,
}

/// The cache of one shard.
#[derive(Debug)]
pub struct NeighborCache {
    config: Config,
    entries: BTreeMap<Address, Entry>,
    /// The last answer and how long it holds: most packets go where the one
    /// before them went.
    memo: Option<(Address, MacAddress, Instant)>,
    pending: usize,
    /// No probe is due before this: what a step without probes looks at.
    no_probe_before: Instant,
    failed_frames: Vec<Frame>,
    newly_failed: bool,
}

impl NeighborCache {
    /// An empty cache.
    pub fn new(config: Config) -> NeighborCache {
        NeighborCache {
            config,
            entries: BTreeMap::new(),
            memo: None,
            pending: 0,
            no_probe_before: Instant::ZERO,
            failed_frames: Vec::new(),
            newly_failed: false,
        }
    }

    /// Where to send to; an unknown address is asked for by the next probe.
    pub fn lookup(&mut self, now: Instant, ip: Address) -> Resolution {
        if let Some((known, mac, until)) = self.memo
            && known == ip
            && now < until
        {
            return Resolution::Reachable(mac);
        }
        if !self.entries.contains_key(&ip) && !self.make_room(now) {
            return Resolution::Failed;
        }
        let fresh = Entry {
            state: State::Incomplete,
            deadline: now,
            probes: 0,
            probing: true,
            pending: Vec::new(),
        };
        let entry = self.entries.entry(ip).or_insert(fresh);
        match entry.state {
            State::Known(mac) if now < entry.deadline => {
                self.memo = Some((ip, mac, entry.deadline));
                Resolution::Reachable(mac)
            }
            State::Known(mac) => {
                // Stale: used, and probed as well. The deadline may lie behind.
                entry.probing = true;
                self.no_probe_before = Instant::ZERO;
                Resolution::Reachable(mac)
            }
            State::Failed if now >= entry.deadline => {
                entry.state = State::Incomplete;
                entry.probes = 0;
                entry.probing = true;
                self.no_probe_before = Instant::ZERO;
                Resolution::Pending
            }
            State::Failed => Resolution::Failed,
            State::Incomplete => {
                self.no_probe_before = self.no_probe_before.min(entry.deadline);
                Resolution::Pending
            }
        }
    }

    /// Room for one more: something that does not answer goes, or something stale
    /// that nobody uses; a fresh answer never does.
    fn make_room(&mut self, now: Instant) -> bool {
        if self.entries.len() < self.config.capacity {
            return true;
        }
        let is_idle = |entry: &Entry| match entry.state {
            State::Failed => true,
            State::Known(_) => entry.deadline <= now && !entry.probing,
            State::Incomplete => false,
        };
        let Some(victim) = self
            .entries
            .iter()
            .find(|(_, entry)| is_idle(entry))
            .map(|(&ip, _)| ip)
        else {
            return false;
        };
        self.entries.remove(&victim);
        true
    }

    /// Takes what an ARP packet says of its sender: always for an address that is
    /// known or asked for, else only when `create` (RFC 826: the packet was for
    /// us). True when the address had been asked for and now is known.
    pub fn learn(&mut self, now: Instant, ip: Address, mac: MacAddress, create: bool) -> bool {
        let may_keep = self.entries.contains_key(&ip) || (create && self.make_room(now));
        if !may_keep {
            return false;
        }
        self.memo = None;
        let deadline = now + self.config.reachable_time;
        let known = Entry {
            state: State::Known(mac),
            deadline,
            probes: 0,
            probing: false,
            pending: Vec::new(),
        };
        match self.entries.get_mut(&ip) {
            Some(entry) => {
                let was_unknown = !matches!(entry.state, State::Known(_));
                let pending = std::mem::take(&mut entry.pending);
                *entry = Entry { pending, ..known };
                was_unknown
            }
            None => {
                self.entries.insert(ip, known);
                false
            }
        }
    }

    /// Keeps a frame until `ip` is known; gives it back where there is no room.
    pub fn hold(&mut self, ip: Address, frame: Frame) -> Result<(), Frame> {
        let config = self.config;
        match self.entries.get_mut(&ip) {
            Some(entry)
                if entry.pending.len() < config.pending_per_entry
                    && self.pending < config.pending_total =>
            {
                entry.pending.push(frame);
                self.pending += 1;
                Ok(())
            }
            _ => Err(frame),
        }
    }

    /// The frames that waited for `ip`, now known, and where they go.
    pub fn take_pending(&mut self, ip: Address) -> Vec<(Frame, MacAddress)> {
        let Some(entry) = self.entries.get_mut(&ip) else {
            return Vec::new();
        };
        let State::Known(mac) = entry.state else {
            return Vec::new();
        };
        let frames = std::mem::take(&mut entry.pending);
        self.pending -= frames.len();
        frames.into_iter().map(|frame| (frame, mac)).collect()
    }

    /// The next address to send a request for; call until there is none.
    pub fn poll_probe(&mut self, now: Instant) -> Option<Address> {
        if now < self.no_probe_before {
            return None;
        }
        let mut found = None;
        for (&ip, entry) in self
            .entries
            .iter_mut()
            .filter(|(_, entry)| entry.probing && entry.deadline <= now)
        {
            if entry.probes < self.config.probes_max {
                entry.probes += 1;
                entry.deadline = now + self.config.probe_interval;
                found = Some(ip);
                break;
            }
            // Nobody answers, whether it was never known or has gone.
            entry.state = State::Failed;
            entry.probing = false;
            entry.deadline = now + self.config.failed_time;
            self.pending -= entry.pending.len();
            self.failed_frames.append(&mut entry.pending);
            self.newly_failed = true;
            self.memo = None;
        }
        if found.is_none() {
            self.no_probe_before = self.next_deadline().unwrap_or(Instant::FAR_FUTURE);
        }
        found
    }

    /// The frames that waited for addresses that have failed.
    pub fn take_failed_frames(&mut self) -> Vec<Frame> {
        std::mem::take(&mut self.failed_frames)
    }

    /// An address has failed since this was asked last.
    pub fn take_failed(&mut self) -> bool {
        std::mem::take(&mut self.newly_failed)
    }

    /// Frames that wait.
    pub fn frames_held(&self) -> usize {
        self.pending + self.failed_frames.len()
    }

    /// When the next probe is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.entries
            .values()
            .filter(|entry| entry.probing)
            .map(|entry| entry.deadline)
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);

    fn ip(last: u8) -> Address {
        Ipv4Addr::new(198, 18, 0, last).into()
    }

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn probes(cache: &mut NeighborCache, now: Instant) -> Vec<Address> {
        std::iter::from_fn(|| cache.poll_probe(now)).collect()
    }

    #[test]
    fn three_requests_a_second_apart_then_it_has_failed() {
        let mut cache = NeighborCache::new(Config::default());
        assert_eq!(cache.lookup(at(0), ip(1)), Resolution::Pending);
        cache.hold(ip(1), Frame::copied(b"waits")).unwrap();
        for second in [0, 1_000, 2_000] {
            assert_eq!(probes(&mut cache, at(second)), [ip(1)]);
            assert_eq!(probes(&mut cache, at(second + 999)), [] as [Address; 0]);
        }
        assert_eq!(probes(&mut cache, at(3_000)), [] as [Address; 0]);
        assert_eq!(cache.lookup(at(3_001), ip(1)), Resolution::Failed);
        assert!(cache.take_failed() && !cache.take_failed());
        assert_eq!(cache.take_failed_frames().len(), 1);
        assert_eq!(cache.frames_held(), 0);
        // After a while it is asked for again.
        assert_eq!(cache.lookup(at(6_000), ip(1)), Resolution::Pending);
        assert_eq!(probes(&mut cache, at(6_000)), [ip(1)]);
    }

    #[test]
    fn an_answer_releases_what_waited() {
        let mut cache = NeighborCache::new(Config::default());
        cache.lookup(at(0), ip(1));
        for n in 0..5 {
            assert_eq!(
                cache.hold(ip(1), Frame::copied(&[n])).is_ok(),
                n < 3,
                "three may wait"
            );
        }
        assert!(cache.learn(at(5), ip(1), MAC, false));
        assert_eq!(cache.take_pending(ip(1)).len(), 3);
        assert_eq!(cache.lookup(at(6), ip(1)), Resolution::Reachable(MAC));
        assert_eq!(cache.next_deadline(), None);
    }

    #[test]
    fn a_stale_entry_is_used_while_it_is_probed_and_fails_when_it_has_gone() {
        let mut cache = NeighborCache::new(Config::default());
        cache.learn(at(0), ip(1), MAC, true);
        assert_eq!(cache.lookup(at(29_999), ip(1)), Resolution::Reachable(MAC));
        assert_eq!(probes(&mut cache, at(29_999)), [] as [Address; 0]);
        for second in [30_000, 31_000, 32_000] {
            assert_eq!(cache.lookup(at(second), ip(1)), Resolution::Reachable(MAC));
            assert_eq!(probes(&mut cache, at(second)), [ip(1)]);
        }
        probes(&mut cache, at(33_000));
        assert_eq!(cache.lookup(at(33_000), ip(1)), Resolution::Failed);
    }

    /// RFC 826: what is overheard updates, and creates nothing.
    #[test]
    fn a_packet_for_others_updates_and_creates_nothing() {
        let other = MacAddress([2, 0, 0, 0, 0, 9]);
        let mut cache = NeighborCache::new(Config::default());
        assert!(!cache.learn(at(0), ip(1), MAC, false));
        cache.learn(at(0), ip(2), MAC, true);
        cache.learn(at(1), ip(2), other, false);
        assert_eq!(cache.lookup(at(2), ip(2)), Resolution::Reachable(other));
        assert_eq!(cache.entries.len(), 1);
    }

    #[test]
    fn a_flood_of_addresses_does_not_push_out_one_that_answers() {
        let mut cache = NeighborCache::new(Config {
            capacity: 4,
            ..Config::default()
        });
        cache.learn(at(0), ip(1), MAC, true);
        for n in 2..100 {
            cache.lookup(at(1), ip(n));
            cache.learn(at(1), ip(n), MAC, true);
        }
        assert_eq!(cache.entries.len(), 4);
        assert_eq!(cache.lookup(at(2), ip(1)), Resolution::Reachable(MAC));
    }
}
