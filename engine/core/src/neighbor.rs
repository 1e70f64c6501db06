//! The neighbour cache: who on the link has which address, for both families
//! (RFC 826 and RFC 1122 section 2.3.2; RFC 4861 section 7.3).
//!
//! ```text
//!        lookup                  answer                  30 s
//! (none) -----> Incomplete ---------------> Reachable -------> Stale
//!                 | 3 probes, all told          ^                |  lookup
//!                 | no answer                   | answer         v
//!                 v                             |      5 s     Delay
//!               Failed, for a while <-------- Probe <------------+
//!                          3 probes to its address, no answer
//! ```
//!
//! A connection that is not answered has its next hop probed before its time.
//!
//! ARP is made to fit: a request is a solicitation that names its sender, a reply
//! is an advertisement that overrides. What is not the answer to a probe never
//! makes an address reachable: it is believed, used, and soon probed, so that a
//! forged word does not last while the owner answers.
//!
//! The cache is bounded. Addresses that others made us look up never push out
//! one that answers (attack case 27; RFC 6583 for IPv6).

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
    /// RETRANS_TIMER: between two probes of an address (RFC 1122 section 2.3.2.1:
    /// at most one a second).
    pub probe_interval: Duration,
    /// MAX_MULTICAST_SOLICIT and MAX_UNICAST_SOLICIT: probes before an address has
    /// failed.
    pub probes_max: u8,
    /// REACHABLE_TIME: how long an answer is trusted without another.
    pub reachable_time: Duration,
    /// DELAY_FIRST_PROBE_TIME: between the first use of a stale entry and its probe.
    pub delay: Duration,
    /// How long a failed address is not asked for again.
    pub failed_time: Duration,
    /// Frames that wait for one address (RFC 1122 section 2.3.2.2, RFC 4861
    /// section 7.2.2: at least one).
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
            delay: Duration::from_secs(5),
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

/// What a neighbour says of an address of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// It asks for one of ours and names itself (a solicitation, an ARP request).
    Asks(MacAddress),
    /// It is overheard (an ARP packet for others): nothing is created for it.
    Overheard(MacAddress),
    /// It tells where it is (an advertisement, an ARP reply).
    Tells {
        /// Where; an advertisement to one address may leave it out.
        at: Option<MacAddress>,
        /// In answer to a probe of ours.
        solicited: bool,
        /// In place of what was known.
        overrides: bool,
    },
}

/// A request to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The address that is asked for.
    pub target: Address,
    /// Where it was last; everybody is asked if none.
    pub at: Option<MacAddress>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Incomplete,
    Reachable(MacAddress),
    Stale(MacAddress),
    Delay(MacAddress),
    Probe(MacAddress),
    Failed,
}

impl State {
    fn mac(self) -> Option<MacAddress> {
        match self {
            State::Reachable(mac) | State::Stale(mac) | State::Delay(mac) | State::Probe(mac) => {
                Some(mac)
            }
            State::Incomplete | State::Failed => None,
        }
    }

    /// A probe is due at the entry's deadline, or the end of its probes.
    fn has_timer(self) -> bool {
        matches!(self, State::Incomplete | State::Delay(_) | State::Probe(_))
    }
}

#[derive(Debug)]
struct Entry {
    state: State,
    /// Incomplete and Probe: the next probe. Delay: the first. Reachable: from then
    /// on stale. Stale: since when. Failed: when it may be asked for again.
    deadline: Instant,
    probes: u8,
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
    #[inline]
    pub fn lookup(&mut self, now: Instant, ip: Address) -> Resolution {
        if let Some((known, mac, until)) = &self.memo
            && *known == ip
            && now < *until
        {
            return Resolution::Reachable(*mac);
        }
        self.resolve(now, ip)
    }

    fn resolve(&mut self, now: Instant, ip: Address) -> Resolution {
        if !self.entries.contains_key(&ip) && !self.make_room(now) {
            return Resolution::Failed;
        }
        let delay = self.config.delay;
        let entry = self.entries.entry(ip).or_insert(Entry {
            state: State::Incomplete,
            deadline: now,
            probes: 0,
            pending: Vec::new(),
        });
        match entry.state {
            State::Reachable(_) if now < entry.deadline => {}
            State::Reachable(mac) | State::Stale(mac) => {
                entry.state = State::Delay(mac);
                entry.deadline = now + delay;
                entry.probes = 0;
            }
            State::Failed if now >= entry.deadline => {
                entry.state = State::Incomplete;
                entry.deadline = now;
                entry.probes = 0;
            }
            State::Failed => return Resolution::Failed,
            State::Incomplete | State::Delay(_) | State::Probe(_) => {}
        }
        if entry.state.has_timer() {
            self.no_probe_before = self.no_probe_before.min(entry.deadline);
        }
        match entry.state.mac() {
            Some(mac) => {
                self.memo = Some((ip, mac, entry.deadline));
                Resolution::Reachable(mac)
            }
            None => Resolution::Pending,
        }
    }

    /// Room for one more: what did not answer goes, or what has been stale the
    /// longest; what is in use never does.
    fn make_room(&mut self, now: Instant) -> bool {
        if self.entries.len() < self.config.capacity {
            return true;
        }
        let is_idle = |entry: &Entry| match entry.state {
            State::Failed | State::Stale(_) => true,
            State::Reachable(_) => entry.deadline <= now,
            State::Incomplete | State::Delay(_) | State::Probe(_) => false,
        };
        let victim = self
            .entries
            .iter()
            .filter(|(_, entry)| is_idle(entry))
            .min_by_key(|(_, entry)| (entry.state != State::Failed, entry.deadline))
            .map(|(&ip, _)| ip);
        let Some(victim) = victim else {
            return false;
        };
        self.entries.remove(&victim);
        true
    }

    /// What was sent by way of `ip` is not answered (RFC 9293 section 3.8.3): whether
    /// it is still there is asked at once, and not when its time is over (RFC 4861
    /// section 7.3.3). No sooner than a probe's interval after its last answer,
    /// however many complain (RFC 1122 section 2.3.2.1).
    pub fn doubt(&mut self, now: Instant, ip: Address) {
        let young = self.config.reachable_time - self.config.probe_interval;
        let Some(entry) = self.entries.get_mut(&ip) else {
            return;
        };
        let mac = match entry.state {
            State::Reachable(_) if now + young < entry.deadline => return,
            State::Reachable(mac) | State::Stale(mac) | State::Delay(mac) => mac,
            State::Incomplete | State::Probe(_) | State::Failed => return,
        };
        entry.state = State::Delay(mac);
        entry.deadline = now;
        entry.probes = 0;
        self.no_probe_before = now;
    }

    /// Takes what is said of `ip` (RFC 4861 sections 7.2.3 and 7.2.5; RFC 826).
    /// True when the address had no place and now has: frames may wait for it.
    pub fn learn(&mut self, now: Instant, ip: Address, word: Word) -> bool {
        let may_create = matches!(word, Word::Asks(_));
        let may_keep = self.entries.contains_key(&ip) || (may_create && self.make_room(now));
        if !may_keep {
            return false;
        }
        let reachable_until = now + self.config.reachable_time;
        let entry = self.entries.entry(ip).or_insert(Entry {
            state: State::Failed,
            deadline: now,
            probes: 0,
            pending: Vec::new(),
        });
        let known = entry.state.mac();
        let (at, confirmed) = match word {
            Word::Asks(mac) | Word::Overheard(mac) => (mac, false),
            Word::Tells {
                at,
                solicited,
                overrides,
            } => {
                let Some(at) = at.or(known) else {
                    return false;
                };
                if known.is_some_and(|known| known != at) && !overrides {
                    // Not to be believed over what is known, which becomes doubtful.
                    if let State::Reachable(mac) = entry.state {
                        entry.state = State::Stale(mac);
                        entry.deadline = now;
                        self.memo = None;
                    }
                    return false;
                }
                (at, solicited)
            }
        };
        if confirmed {
            entry.state = State::Reachable(at);
            entry.deadline = reachable_until;
        } else if known != Some(at) {
            entry.state = State::Stale(at);
            entry.deadline = now;
        }
        self.memo = None;
        known.is_none()
    }

    /// An answer from `ip` is expected: it is one that was asked for.
    pub fn is_asked_for(&self, ip: Address) -> bool {
        self.entries
            .get(&ip)
            .is_some_and(|entry| matches!(entry.state, State::Incomplete | State::Probe(_)))
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
        let Some(mac) = entry.state.mac() else {
            return Vec::new();
        };
        let frames = std::mem::take(&mut entry.pending);
        self.pending -= frames.len();
        frames.into_iter().map(|frame| (frame, mac)).collect()
    }

    /// The next request to send; call until there is none.
    pub fn poll_probe(&mut self, now: Instant) -> Option<Probe> {
        if now < self.no_probe_before {
            return None;
        }
        let mut found = None;
        for (&target, entry) in self
            .entries
            .iter_mut()
            .filter(|(_, entry)| entry.state.has_timer() && entry.deadline <= now)
        {
            self.memo = None;
            if entry.probes < self.config.probes_max {
                let at = entry.state.mac();
                if let Some(mac) = at {
                    entry.state = State::Probe(mac);
                }
                entry.probes += 1;
                entry.deadline = now + self.config.probe_interval;
                found = Some(Probe { target, at });
                break;
            }
            // Nobody answers, whether it was never known or has gone.
            entry.state = State::Failed;
            entry.deadline = now + self.config.failed_time;
            self.pending -= entry.pending.len();
            self.failed_frames.append(&mut entry.pending);
            self.newly_failed = true;
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
            .filter(|entry| entry.state.has_timer())
            .map(|entry| entry.deadline)
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
    const OTHER: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);

    fn ip(last: u8) -> Address {
        Ipv4Addr::new(198, 18, 0, last).into()
    }

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn probes(cache: &mut NeighborCache, now: Instant) -> Vec<(Address, bool)> {
        std::iter::from_fn(|| cache.poll_probe(now))
            .map(|probe| (probe.target, probe.at.is_some()))
            .collect()
    }

    fn answer(mac: MacAddress) -> Word {
        Word::Tells {
            at: Some(mac),
            solicited: true,
            overrides: true,
        }
    }

    fn unsolicited(mac: MacAddress, overrides: bool) -> Word {
        Word::Tells {
            at: Some(mac),
            solicited: false,
            overrides,
        }
    }

    /// A cache that asked for `ip(1)` and was answered at time 0.
    fn reachable() -> NeighborCache {
        let mut cache = NeighborCache::new(Config::default());
        cache.lookup(at(0), ip(1));
        cache.learn(at(0), ip(1), answer(MAC));
        cache
    }

    fn state(cache: &NeighborCache) -> State {
        cache.entries[&ip(1)].state
    }

    #[test]
    fn three_requests_a_second_apart_then_it_has_failed() {
        let mut cache = NeighborCache::new(Config::default());
        assert_eq!(cache.lookup(at(0), ip(1)), Resolution::Pending);
        cache.hold(ip(1), Frame::copied(b"waits")).unwrap();
        for second in [0, 1_000, 2_000] {
            assert_eq!(probes(&mut cache, at(second)), [(ip(1), false)]);
            assert_eq!(probes(&mut cache, at(second + 999)), []);
        }
        assert_eq!(probes(&mut cache, at(3_000)), []);
        assert_eq!(cache.lookup(at(3_001), ip(1)), Resolution::Failed);
        assert!(cache.take_failed() && !cache.take_failed());
        assert_eq!(cache.take_failed_frames().len(), 1);
        assert_eq!(cache.frames_held(), 0);
        // After a while it is asked for again.
        assert_eq!(cache.lookup(at(6_000), ip(1)), Resolution::Pending);
        assert_eq!(probes(&mut cache, at(6_000)), [(ip(1), false)]);
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
        assert!(cache.is_asked_for(ip(1)));
        assert!(cache.learn(at(5), ip(1), answer(MAC)));
        assert_eq!(cache.take_pending(ip(1)).len(), 3);
        assert_eq!(cache.lookup(at(6), ip(1)), Resolution::Reachable(MAC));
        assert_eq!(cache.next_deadline(), None);
        assert!(!cache.is_asked_for(ip(1)));
    }

    /// RFC 4861 section 7.3.3: Stale, Delay, Probe.
    #[test]
    fn a_stale_entry_is_used_while_it_is_probed_and_fails_when_it_has_gone() {
        let mut cache = reachable();
        assert_eq!(cache.lookup(at(29_999), ip(1)), Resolution::Reachable(MAC));
        assert_eq!(cache.next_deadline(), None, "not used: not probed");
        assert_eq!(cache.lookup(at(40_000), ip(1)), Resolution::Reachable(MAC));
        assert_eq!(probes(&mut cache, at(44_999)), []);
        for second in [45_000, 46_000, 47_000] {
            assert_eq!(cache.lookup(at(second), ip(1)), Resolution::Reachable(MAC));
            assert_eq!(probes(&mut cache, at(second)), [(ip(1), true)]);
        }
        probes(&mut cache, at(48_000));
        assert_eq!(cache.lookup(at(48_000), ip(1)), Resolution::Failed);
    }

    #[test]
    fn a_stale_entry_that_answers_is_reachable_again() {
        let mut cache = reachable();
        cache.lookup(at(30_000), ip(1));
        assert_eq!(probes(&mut cache, at(35_000)), [(ip(1), true)]);
        let without_address = Word::Tells {
            at: None,
            solicited: true,
            overrides: false,
        };
        cache.learn(at(35_001), ip(1), without_address);
        assert_eq!(state(&cache), State::Reachable(MAC));
        assert_eq!(cache.lookup(at(65_000), ip(1)), Resolution::Reachable(MAC));
    }

    /// RFC 9293 section 3.8.3, MUST-20: one that is doubted is probed now, whatever was
    /// thought of it, and only once a second.
    #[test]
    fn a_doubted_entry_is_probed_at_once() {
        let mut cache = reachable();
        cache.doubt(at(999), ip(1));
        assert_eq!(probes(&mut cache, at(999)), [], "it has just answered");
        cache.doubt(at(1_000), ip(1));
        cache.doubt(at(1_000), ip(9));
        assert_eq!(probes(&mut cache, at(1_000)), [(ip(1), true)]);
        cache.doubt(at(1_001), ip(1));
        assert_eq!(probes(&mut cache, at(1_001)), [], "it is being probed");
        assert_eq!(cache.lookup(at(1_001), ip(1)), Resolution::Reachable(MAC));
        cache.learn(at(1_002), ip(1), answer(MAC));
        assert_eq!(state(&cache), State::Reachable(MAC));
        assert_eq!(cache.lookup(at(40_000), ip(1)), Resolution::Reachable(MAC));
        assert_eq!(state(&cache), State::Delay(MAC));
        cache.doubt(at(40_001), ip(1));
        assert_eq!(probes(&mut cache, at(40_001)), [(ip(1), true)]);
        for second in [41_001, 42_001, 43_001] {
            probes(&mut cache, at(second));
        }
        assert_eq!(cache.lookup(at(43_001), ip(1)), Resolution::Failed);
    }

    /// RFC 826: what is overheard updates, and creates nothing. RFC 4861 section
    /// 7.2.5: nor does an advertisement.
    #[test]
    fn what_was_not_asked_for_creates_nothing() {
        let mut cache = NeighborCache::new(Config::default());
        assert!(!cache.learn(at(0), ip(1), Word::Overheard(MAC)));
        assert!(!cache.learn(at(0), ip(1), answer(MAC)));
        assert!(cache.entries.is_empty());
        cache.learn(at(0), ip(2), Word::Asks(MAC));
        cache.learn(at(1), ip(2), Word::Overheard(OTHER));
        assert_eq!(cache.lookup(at(2), ip(2)), Resolution::Reachable(OTHER));
    }

    /// Attack case 27. RFC 4861 section 7.2.5 and appendix C: without the override
    /// flag a reachable entry keeps its address; with it the new one is used, and
    /// probed after the delay, which the owner answers.
    #[test]
    fn a_forged_word_is_doubted_and_probed() {
        let mut cache = reachable();
        cache.learn(at(1), ip(1), unsolicited(OTHER, false));
        assert_eq!(state(&cache), State::Stale(MAC));
        cache.learn(at(2), ip(1), unsolicited(OTHER, false));
        assert_eq!(state(&cache), State::Stale(MAC));
        cache.learn(at(3), ip(1), unsolicited(OTHER, true));
        assert_eq!(state(&cache), State::Stale(OTHER));
        cache.lookup(at(4), ip(1));
        assert_eq!(probes(&mut cache, at(5_004)), [(ip(1), true)]);
        cache.learn(at(5_005), ip(1), answer(MAC));
        assert_eq!(state(&cache), State::Reachable(MAC));
        for word in [Word::Asks(MAC), unsolicited(MAC, true)] {
            cache.learn(at(5_006), ip(1), word);
            assert_eq!(state(&cache), State::Reachable(MAC), "nothing new");
        }
        cache.learn(at(5_007), ip(1), Word::Asks(OTHER));
        assert_eq!(state(&cache), State::Stale(OTHER));
    }

    #[test]
    fn an_advertisement_without_an_address_resolves_nothing() {
        let mut cache = NeighborCache::new(Config::default());
        cache.lookup(at(0), ip(1));
        let empty = Word::Tells {
            at: None,
            solicited: true,
            overrides: true,
        };
        assert!(!cache.learn(at(1), ip(1), empty));
        assert_eq!(state(&cache), State::Incomplete);
        assert!(cache.learn(at(1), ip(1), unsolicited(MAC, false)));
        assert_eq!(state(&cache), State::Stale(MAC));
    }

    /// Attack case 27, for both families in one table.
    #[test]
    fn a_flood_of_addresses_does_not_push_out_one_that_answers() {
        let mut cache = NeighborCache::new(Config {
            capacity: 4,
            ..Config::default()
        });
        cache.lookup(at(0), ip(1));
        cache.learn(at(0), ip(1), answer(MAC));
        for n in 2..500u16 {
            let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n);
            cache.learn(at(1), v6.into(), Word::Asks(OTHER));
            cache.lookup(at(1), Ipv4Addr::from(0xc613_0000 + u32::from(n)).into());
            cache.learn(
                at(1),
                Ipv6Addr::from(u128::from(n)).into(),
                Word::Asks(OTHER),
            );
        }
        assert_eq!(cache.entries.len(), 4);
        assert_eq!(cache.lookup(at(2), ip(1)), Resolution::Reachable(MAC));
    }
}
