//! The shards of one host, and what passes between them.
//!
//! Each has a queue of the device, and records of its own. But a device does not
//! know whose a flow is, and may deliver a segment to any queue. So a shard that
//! has no flow for a segment looks into the tables of its siblings, without a lock
//! and without stopping them, and hands the segment over:
//!
//! ```text
//! queue 0 --> shard 0 --(no such flow here)--> table of 1? table of 2? ..
//!                |                                |          |
//!                | nobody's: listener or RST      +--strays--+--> its owner
//!                v
//! ```
//!
//! The tables know flows by 32 bits of their hash, so a look may err. A shard that
//! was handed what is not its own goes on with those that were not asked yet, and
//! who is asked last answers. What is not about one flow is told to all.
//!
//! All queues are bounded, and what finds one full is dropped and counted.

use crate::address::Address;
use crate::flow::FlowReader;
use crate::frame::Frame;
use crate::neighbor::Word;
use crate::tcp::Segment;
use crate::time::{Duration, Instant};
use crate::wire::icmp::{Error, Quote};
use crossbeam_queue::ArrayQueue;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Segments that may wait for a shard: as many as its receive ring holds.
const STRAYS_MAX: usize = 2_048;
/// News that may wait for a shard. They come by themselves, a few a minute.
const NEWS_MAX: usize = 256;

/// A segment that arrived at another shard than its flow's.
#[derive(Debug)]
pub(crate) struct Stray {
    /// A copy of its data, for the frame is of another shard's pool.
    pub(crate) data: Frame,
    pub(crate) segment: Segment,
    /// The shard that it arrived at.
    pub(crate) arrived_at: usize,
}

/// What a shard has heard that matters to others.
#[derive(Clone, Copy, Debug)]
pub(crate) enum News {
    /// A neighbour's word: its answer comes to one queue, and all may have asked.
    Neighbor(Address, Word),
    /// An ICMP error that quotes a segment of a flow of theirs.
    Quoted(Error, Quote),
}

/// What a shard shows to its siblings.
#[derive(Clone, Debug)]
struct Member {
    flows: FlowReader,
    strays: Arc<ArrayQueue<Stray>>,
    news: Arc<ArrayQueue<News>>,
}

/// A shard's view of all shards of its host, by their numbers; empty where it is
/// the only one.
#[derive(Debug, Default)]
pub(crate) struct Siblings {
    members: Vec<Member>,
    own: usize,
    /// The shard that the segment in hand arrived at; those from there up to this
    /// one have been asked.
    arrived_at: usize,
    /// Until when a SYN cookie of any of them may come back, in microseconds.
    cookies_until: Arc<AtomicU64>,
}

impl Siblings {
    /// The views of shards with these flows, two or more, in the same order.
    pub(crate) fn of(tables: impl Iterator<Item = FlowReader>) -> Vec<Siblings> {
        let member = |flows| Member {
            flows,
            strays: Arc::new(ArrayQueue::new(STRAYS_MAX)),
            news: Arc::new(ArrayQueue::new(NEWS_MAX)),
        };
        let members: Vec<Member> = tables.map(member).collect();
        let cookies_until = Arc::default();
        (0..members.len())
            .map(|own| Siblings {
                members: members.clone(),
                own,
                arrived_at: own,
                cookies_until: Arc::clone(&cookies_until),
            })
            .collect()
    }

    /// This shard is the only one.
    pub(crate) fn are_none(&self) -> bool {
        self.members.is_empty()
    }

    /// The next of those not asked yet that may have the flow with this hash.
    pub(crate) fn owner_of(&mut self, hash: u64) -> Option<usize> {
        let (count, own, arrived_at) = (self.members.len(), self.own, self.arrived_at);
        let mut after = (1..count)
            .map(|step| (own + step) % count)
            .take_while(|&shard| shard != arrived_at);
        after.find(|&shard| self.members[shard].flows.may_have(hash))
    }

    /// Hands a segment and its data over; false when too many wait already.
    pub(crate) fn hand_over(&self, owner: usize, segment: &Segment, data: &[u8]) -> bool {
        let stray = Stray {
            data: Frame::copied(data),
            segment: *segment,
            arrived_at: self.arrived_at,
        };
        self.members[owner].strays.push(stray).is_ok()
    }

    /// The next segment that was handed to this shard, which is in hand from now on.
    pub(crate) fn next_stray(&mut self) -> Option<Stray> {
        let stray = self.members.get(self.own)?.strays.pop();
        self.arrived_at = stray.as_ref().map_or(self.own, |stray| stray.arrived_at);
        stray
    }

    /// What is in hand from now on arrived here.
    pub(crate) fn lay_down_stray(&mut self) {
        self.arrived_at = self.own;
    }

    /// Tells one of them; false when too much waits already.
    pub(crate) fn tell(&self, shard: usize, news: News) -> bool {
        self.members[shard].news.push(news).is_ok()
    }

    /// Tells all the others: how many have no room for it.
    pub(crate) fn tell_all(&self, news: News) -> usize {
        (0..self.members.len())
            .filter(|&shard| shard != self.own && !self.tell(shard, news))
            .count()
    }

    /// The next word for this shard.
    pub(crate) fn next_news(&self) -> Option<News> {
        self.members.get(self.own)?.news.pop()
    }

    /// Something waits for this shard.
    pub(crate) fn has_mail(&self) -> bool {
        self.members
            .get(self.own)
            .is_some_and(|own| !own.strays.is_empty() || !own.news.is_empty())
    }

    /// A SYN cookie was sent that may come back until then, to any of them.
    pub(crate) fn note_cookie(&self, until: Instant) {
        // Once a second, for a flood would have all write to one line all the time.
        if !self.are_none() && self.cookies_until() < until {
            let until = until + Duration::from_secs(1);
            self.cookies_until
                .store(until.as_micros(), Ordering::Relaxed);
        }
    }

    /// Until when a cookie may come back.
    pub(crate) fn cookies_until(&self) -> Instant {
        Instant::from_micros(self.cookies_until.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{FlowKey, FlowTable};
    use crate::seq::Seq;
    use crate::wire::tcp::{Flags, Header, Options};
    use std::net::Ipv4Addr;

    fn segment() -> Segment {
        Segment {
            key: FlowKey {
                remote: Ipv4Addr::new(198, 18, 0, 2).into(),
                local: 0,
                local_port: 80,
                remote_port: 1,
            },
            header: Header {
                source_port: 1,
                destination_port: 80,
                seq: Seq(0),
                ack: Seq(0),
                flags: Flags::ACK,
                window: 0,
                urgent: 0,
                options: Options::default(),
            },
            payload_len: 0,
            ecn: 0,
        }
    }

    /// Four tables, of which those in `having` have a flow with the hash 7.
    fn four(having: &[usize]) -> Vec<Siblings> {
        let table = |shard| {
            let mut table = FlowTable::with_capacity(8);
            if having.contains(&shard) {
                table.insert(7, 0);
            }
            table.reader()
        };
        Siblings::of((0..4).map(table))
    }

    /// A stray whose tag collides with a flow of another shard's still reaches its
    /// owner: each is asked once, and none twice.
    #[test]
    fn a_segment_goes_once_round_those_that_may_have_its_flow() {
        let mut shards = four(&[0, 1, 3]);
        let mut way = Vec::new();
        let mut at = 2;
        while let Some(next) = shards[at].owner_of(7) {
            assert!(shards[at].hand_over(next, &segment(), b""));
            assert_eq!(shards[next].next_stray().unwrap().arrived_at, 2);
            way.push(next);
            at = next;
        }
        assert_eq!(way, [3, 0, 1]);
        assert!(shards[1].next_stray().is_none());
        assert_eq!(
            shards[1].owner_of(7),
            Some(3),
            "its own segments start anew"
        );
    }

    #[test]
    fn nobody_is_asked_for_what_none_may_have_and_by_who_is_alone() {
        assert_eq!(four(&[])[0].owner_of(7), None);
        assert_eq!(four(&[1])[1].owner_of(7), None, "not itself");
        let mut alone = Siblings::default();
        assert!(alone.are_none() && !alone.has_mail());
        assert_eq!(alone.owner_of(7), None);
        assert!(alone.next_stray().is_none() && alone.next_news().is_none());
    }

    #[test]
    fn a_full_queue_takes_no_more_and_says_so() {
        let shards = four(&[]);
        for _ in 0..STRAYS_MAX {
            assert!(shards[0].hand_over(1, &segment(), b"x"));
        }
        assert!(!shards[0].hand_over(1, &segment(), b"x"));
        assert!(shards[0].hand_over(2, &segment(), b"x"), "each has its own");
        let news = News::Neighbor(
            Ipv4Addr::new(198, 18, 0, 2).into(),
            Word::Overheard(crate::wire::ethernet::MacAddress([2; 6])),
        );
        for _ in 0..NEWS_MAX {
            assert_eq!(shards[0].tell_all(news), 0);
        }
        assert!(shards[3].next_news().is_some());
        assert_eq!(shards[0].tell_all(news), 2);
    }
}
