//! One direction of a bad link in virtual time: what becomes of a frame that
//! enters it, drawn from a seed.
//!
//! A [`Pipe`] holds no frame: it tells when a frame arrives, and damages it where
//! it would. So the same model serves engines in memory ([`super::sim`]), whole
//! networks of links in a row, and a relay between real interfaces.

use crate::rng::Rng;
use crate::time::{Duration, Instant};
use crate::wire::ethernet;
use std::collections::VecDeque;

/// How bad a link is. Probabilities are in millionths, of each frame.
#[derive(Clone, Copy, Debug, Default)]
pub struct Link {
    /// Frames that vanish.
    pub loss: u32,
    /// Losses that come in bursts, besides.
    pub burst: Burst,
    /// Frames that arrive twice.
    pub duplication: u32,
    /// Frames of which one bit is flipped.
    pub corruption: u32,
    /// Frames that are overtaken: they take `reordering_delay` longer.
    pub reordering: u32,
    /// How long those take.
    pub reordering_delay: Duration,
    /// Time on the wire.
    pub delay: Duration,
    /// Up to this much more, uniformly; it never reorders by itself.
    pub jitter: Duration,
    /// The bottleneck, in bits a second; none if 0.
    pub bandwidth: u64,
    /// Frames that may be at the bottleneck, the one that passes it among them;
    /// the next is lost. Any number if 0.
    pub queue: usize,
    /// The largest packet in an Ethernet frame, in bytes; a larger one vanishes.
    /// Any size if 0.
    pub mtu: usize,
    /// Nothing arrives at all.
    pub is_down: bool,
}

/// The model of Gilbert and Elliott: a link is good or bad, each frame may change
/// that, and frames are lost while it is bad. Probabilities are in millionths.
#[derive(Clone, Copy, Debug, Default)]
pub struct Burst {
    /// A good link turns bad; it never does if 0.
    pub begins: u32,
    /// A bad link turns good.
    pub ends: u32,
    /// A frame on a bad link vanishes.
    pub loss: u32,
}

/// Where and how often a frame comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When it arrives.
    pub at: Instant,
    /// How many of it arrive: one, or two where it was duplicated.
    pub copies: usize,
    /// One of its bits was flipped.
    pub is_damaged: bool,
}

/// A link, and the frames that the next one must wait for.
#[derive(Debug, Default)]
pub struct Pipe {
    link: Link,
    is_bad: bool,
    last_arrival: Instant,
    /// When each frame at the bottleneck will have passed it.
    waiting: VecDeque<Instant>,
    lost: u64,
}

impl Pipe {
    /// A pipe that nothing has entered yet.
    pub fn new(link: Link) -> Pipe {
        Pipe {
            link,
            ..Pipe::default()
        }
    }

    /// A frame enters: it is damaged here, and arrives later or, if there is no
    /// arrival, never.
    pub fn enter(&mut self, now: Instant, frame: &mut [u8], rng: &mut Rng) -> Option<Arrival> {
        if self.is_full(now) || self.is_refused(frame.len()) || self.loses(rng) {
            self.lost += 1;
            return None;
        }
        let is_damaged = rng.chance(self.link.corruption);
        if is_damaged {
            let bit = usize::try_from(rng.below(frame.len() as u64 * 8)).unwrap_or(0);
            frame[bit / 8] ^= 1 << (bit % 8);
        }
        let at = self.arrival(now, frame.len(), rng);
        let copies = 1 + usize::from(rng.chance(self.link.duplication));
        Some(Arrival {
            at,
            copies,
            is_damaged,
        })
    }

    /// How bad it is now.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Makes it better or worse, for frames that enter from now on.
    pub fn set_link(&mut self, link: Link) {
        self.link = link;
    }

    /// Frames that were lost.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// The bottleneck's queue has no room for a frame that is sent now.
    fn is_full(&mut self, now: Instant) -> bool {
        while self.waiting.pop_front_if(|passed| *passed <= now).is_some() {}
        self.link.queue > 0 && self.waiting.len() >= self.link.queue
    }

    fn is_refused(&self, len: usize) -> bool {
        let Link { mtu, is_down, .. } = self.link;
        is_down || (mtu > 0 && len > ethernet::HEADER_LEN + mtu)
    }

    fn loses(&mut self, rng: &mut Rng) -> bool {
        let Link { loss, burst, .. } = self.link;
        if burst.begins > 0 {
            let turns = if self.is_bad {
                burst.ends
            } else {
                burst.begins
            };
            self.is_bad ^= rng.chance(turns);
            if self.is_bad && rng.chance(burst.loss) {
                return true;
            }
        }
        rng.chance(loss)
    }

    /// When a frame of `len` bytes that is sent now arrives.
    fn arrival(&mut self, now: Instant, len: usize, rng: &mut Rng) -> Instant {
        let link = self.link;
        let bits = len as u64 * 8;
        let left = match (bits * 1_000_000_000).checked_div(link.bandwidth) {
            Some(nanos) => {
                let free = self.waiting.back().map_or(now, |passed| now.max(*passed));
                let left = free + Duration::from_nanos(nanos);
                self.waiting.push_back(left);
                left
            }
            None => now,
        };
        let jitter = u64::try_from(link.jitter.as_nanos()).unwrap_or(0);
        let arrival = left + link.delay + Duration::from_nanos(rng.below(jitter + 1));
        if rng.chance(link.reordering) {
            return arrival + link.reordering_delay;
        }
        self.last_arrival = self.last_arrival.max(arrival);
        self.last_arrival
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of `count` frames of `len` bytes get through.
    fn passes(pipe: &mut Pipe, count: usize, len: usize) -> Vec<bool> {
        let mut rng = Rng::from_seed(5);
        (0..count)
            .map(|_| {
                pipe.enter(Instant::ZERO, &mut vec![0; len], &mut rng)
                    .is_some()
            })
            .collect()
    }

    #[test]
    fn bursts_lose_frames_in_a_row() {
        let burst = Burst {
            begins: 20_000,
            ends: 100_000,
            loss: 1_000_000,
        };
        let mut pipe = Pipe::new(Link {
            burst,
            ..Link::default()
        });
        let passed = passes(&mut pipe, 10_000, 64);
        // Bad for 1 / 10 % = 10 frames, good for 1 / 2 % = 50.
        let lost = passed.iter().filter(|passed| !**passed).count();
        assert!((1_300..2_000).contains(&lost), "{lost}");
        let bursts = passed.windows(2).filter(|w| w[0] && !w[1]).count();
        assert!((130..200).contains(&bursts), "{bursts}");
        assert_eq!(pipe.lost(), lost as u64);
    }

    #[test]
    fn a_link_refuses_what_is_too_large_and_all_while_it_is_down() {
        let link = Link {
            mtu: 1_280,
            ..Link::default()
        };
        let mut pipe = Pipe::new(link);
        assert_eq!(passes(&mut pipe, 1, 14 + 1_280), [true]);
        assert_eq!(passes(&mut pipe, 1, 14 + 1_281), [false]);
        pipe.set_link(Link {
            is_down: true,
            ..link
        });
        assert_eq!(passes(&mut pipe, 2, 64), [false, false]);
        pipe.set_link(link);
        assert_eq!(passes(&mut pipe, 1, 64), [true]);
    }
}
