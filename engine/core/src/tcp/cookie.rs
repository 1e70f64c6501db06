//! SYN cookies: a passive open that costs no memory before its handshake is
//! complete (RFC 4987 section 3.6).
//!
//! ```text
//!  31    27 26 24 23                     0
//! | slot   | MSS | keyed hash of flow, IRS, slot and both's offers |  our ISS
//!
//!  31                        6   5   4   3 0
//! | clock                  | ECN | SACK | scale |  our TSval, where the SYN had one
//! ```
//!
//! What the SYN offered comes back in the ACK: its MSS, rounded down to one of
//! eight, in the acknowledgment; window scale, SACK-permitted and ECN in the echoed
//! timestamp. Without timestamps only the MSS survives. The hash covers all of
//! it, so an ACK with any bit of it changed is none of ours. It covers what the
//! SYN-ACK said of our window, too: the peer goes by that, whatever the listener's
//! options have become.
//!
//! A segment that overtakes the first brings back the cookie too, under another
//! sequence number. It can't be told from a forgery of the same slot, so neither is
//! reset: a peer that has a cookie of ours must not be.

use super::connect::MSS_FLOOR;
use crate::flow::{FlowHasher, FlowKey};
use crate::seq::Seq;
use crate::time::{Duration, Instant};

/// A cookie is good for the slot that it was made in and for the next.
const SLOT: Duration = Duration::from_secs(64);

/// How long after one was made a cookie may be good.
pub(crate) const LIFETIME: Duration = Duration::from_secs(2 * 64);

/// Values of a peer's MSS that a cookie can tell: the default of both families,
/// what is left of 1,500 bytes by either and by tunnels, and jumbo frames.
const MSS: [u16; 8] = [MSS_FLOOR, 256, 536, 1_220, 1_380, 1_440, 1_460, 8_940];

/// What a SYN offered, as far as a cookie and a timestamp can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) mss: u16,
    /// Where the SYN has timestamps.
    pub(crate) extras: Option<Extras>,
}

/// What only survives in a timestamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extras {
    pub(crate) window_scale: Option<u8>,
    pub(crate) sack_permitted: bool,
    pub(crate) ecn: bool,
}

impl Extras {
    const BITS: u32 = 6;
    const MASK: u32 = (1 << Extras::BITS) - 1;
    const NO_SCALE: u8 = 0xf;
    const SACK: u8 = 1 << 4;
    const ECN: u8 = 1 << 5;

    /// The low six bits say it all.
    pub(super) fn bits(self) -> u8 {
        let scale = self
            .window_scale
            .map_or(Extras::NO_SCALE, |scale| scale.min(14));
        let sack = if self.sack_permitted { Extras::SACK } else { 0 };
        let ecn = if self.ecn { Extras::ECN } else { 0 };
        scale | sack | ecn
    }

    /// The bits that a timestamp ends in.
    fn bits_of(timestamp: u32) -> u8 {
        u8::try_from(timestamp & Extras::MASK).unwrap_or(0)
    }

    /// Of the low six bits; the rest may be anything.
    pub(super) fn from_bits(bits: u8) -> Extras {
        Extras {
            window_scale: Some(bits & Extras::NO_SCALE).filter(|&scale| scale <= 14),
            sack_permitted: bits & Extras::SACK != 0,
            ecn: bits & Extras::ECN != 0,
        }
    }

    /// The latest value of the timestamp clock, not after `clock`, that ends in
    /// these: a later segment's value is never before it.
    pub(crate) fn stamp(self, clock: u32) -> u32 {
        let stamped = clock & !Extras::MASK | u32::from(self.bits());
        if Seq(stamped).follows(Seq(clock)) {
            stamped.wrapping_sub(1 << Extras::BITS)
        } else {
            stamped
        }
    }
}

/// What a SYN-ACK says of our window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) field: u16,
    pub(crate) scale: Option<u8>,
}

/// Why an acknowledgment opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoCookie {
    /// None was sent that could come back now: no guess can be right.
    NoneSent,
    /// None can end so now: it is too old, or was never one.
    Stale,
    /// It would be one of another sequence number: a segment that overtook the first,
    /// or a forgery.
    Other,
}

/// Makes cookies and knows them again.
#[derive(Debug)]
pub(crate) struct CookieJar(FlowHasher);

impl CookieJar {
    pub(crate) fn new(key: [u8; 16]) -> CookieJar {
        CookieJar(FlowHasher::new(key))
    }

    /// The initial sequence number that answers a SYN.
    pub(crate) fn bake(
        &self,
        now: Instant,
        key: &FlowKey,
        irs: Seq,
        offer: Offer,
        own: Window,
    ) -> Seq {
        let fits = MSS.iter().rposition(|&mss| mss <= offer.mss).unwrap_or(0);
        let mss_index = u32::try_from(fits).unwrap_or(0);
        let extras = offer.extras.map(Extras::bits);
        let facts = facts(mss_index, extras, own);
        self.cookie(slot_at(now), key, irs, mss_index, facts)
    }

    /// What the SYN offered that this acknowledgment's cookie was made for. `echo` is
    /// the timestamp that came back, and `own` what the SYN-ACK should have said.
    pub(crate) fn check(
        &self,
        now: Instant,
        key: &FlowKey,
        irs: Seq,
        cookie: Seq,
        echo: Option<u32>,
        own: Window,
    ) -> Result<Offer, NoCookie> {
        let slot = slot_at(now);
        let age = slot.wrapping_sub(cookie.0 >> 27) & 0x1f;
        if age > 1 {
            return Err(NoCookie::Stale);
        }
        let mss_index = cookie.0 >> 24 & 7;
        let extras = echo.map(Extras::bits_of);
        let slot = slot.wrapping_sub(age);
        if self.cookie(slot, key, irs, mss_index, facts(mss_index, extras, own)) != cookie {
            return Err(NoCookie::Other);
        }
        Ok(Offer {
            mss: MSS[mss_index as usize],
            extras: extras.map(Extras::from_bits),
        })
    }

    fn cookie(&self, slot: u32, key: &FlowKey, irs: Seq, mss_index: u32, facts: u32) -> Seq {
        let hash = self.0.hash_with(key, [irs.0, slot, facts]);
        Seq((slot & 0x1f) << 27 | mss_index << 24 | upper(hash) & 0xff_ffff)
    }
}

/// All that both sides offer, in a word:
///
/// ```text
///  31            28     25 24         9 8       3 2   0
/// | no extras |   | scale | our window | extras  | MSS |
/// ```
fn facts(mss_index: u32, extras: Option<u8>, own: Window) -> u32 {
    // No offer is told from every offer.
    let extras = extras.map_or(1 << 31, |bits| u32::from(bits) << 3);
    let scale = u32::from(own.scale.unwrap_or(Extras::NO_SCALE));
    mss_index | extras | u32::from(own.field) << 9 | scale << 25
}

fn upper(hash: u64) -> u32 {
    u32::try_from(hash >> 32).unwrap_or(0)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "2^32 slots are 8,000 years"
)]
fn slot_at(now: Instant) -> u32 {
    (now.as_millis() / 1_000 / SLOT.as_secs()) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    fn flow(port: u16) -> FlowKey {
        FlowKey {
            remote: Ipv4Addr::new(198, 18, 0, 2).into(),
            local: 0,
            local_port: 80,
            remote_port: port,
        }
    }

    const OWN: Window = Window {
        field: 65_535,
        scale: Some(7),
    };

    fn offer() -> impl Strategy<Value = Offer> {
        let extras = (prop::option::of(0u8..15), any::<bool>(), any::<bool>()).prop_map(
            |(window_scale, sack_permitted, ecn)| Extras {
                window_scale,
                sack_permitted,
                ecn,
            },
        );
        (any::<u16>(), prop::option::of(extras)).prop_map(|(mss, extras)| Offer { mss, extras })
    }

    proptest! {
        /// For every offer, sequence number, clock and time of the answer: within
        /// a slot's length it comes back, after two slots it does not, and the
        /// timestamp is not of the future and little of the past.
        #[test]
        fn what_was_offered_comes_back(offer in offer(), irs: u32, clock: u32, millis in 0u64..1 << 40, wait in 0u64..300_000) {
            let jar = CookieJar::new([3; 16]);
            let (made, asked) = (Instant::from_millis(millis), Instant::from_millis(millis + wait));
            let cookie = jar.bake(made, &flow(9), Seq(irs), offer, OWN);
            let echo = offer.extras.map(|extras| extras.stamp(clock));
            if let Some(stamp) = echo {
                prop_assert!(clock.wrapping_sub(stamp) < 64);
            }
            let came = jar.check(asked, &flow(9), Seq(irs), cookie, echo, OWN);
            if wait < 64_000 {
                let came = came.unwrap();
                prop_assert_eq!(came.extras, offer.extras);
                prop_assert!(came.mss <= offer.mss.max(MSS_FLOOR));
                // The next larger one would have been too large.
                prop_assert!(MSS.iter().all(|&mss| mss <= came.mss || mss > offer.mss));
            } else if wait >= 128_000 {
                prop_assert!(came.is_err());
            }
        }

        /// Any one thing changed, it is no cookie of ours.
        #[test]
        fn a_changed_cookie_is_none(offer in offer(), irs: u32, clock: u32, bit in 0u32..32, extra_bit in 0u32..6) {
            let jar = CookieJar::new([3; 16]);
            let now = Instant::from_millis(1_000_000);
            let cookie = jar.bake(now, &flow(9), Seq(irs), offer, OWN);
            let echo = offer.extras.map(|extras| extras.stamp(clock));
            let check = |port, irs: u32, cookie: u32, echo| jar.check(now, &flow(port), Seq(irs), Seq(cookie), echo, OWN);
            prop_assert!(check(9, irs, cookie.0, echo).is_ok());
            prop_assert!(check(9, irs, cookie.0 ^ 1 << bit, echo).is_err());
            prop_assert_eq!(check(9, irs ^ 1 << bit, cookie.0, echo), Err(NoCookie::Other));
            prop_assert!(check(8, irs, cookie.0, echo).is_err());
            let altered = echo.map_or(Some(0), |echo| Some(echo ^ 1 << extra_bit));
            prop_assert!(check(9, irs, cookie.0, altered).is_err());
            let other = if echo.is_some() { None } else { Some(7) };
            prop_assert!(check(9, irs, cookie.0, other).is_err());
            for own in [Window { field: 65_534, ..OWN }, Window { scale: Some(6), ..OWN }, Window { scale: None, ..OWN }] {
                prop_assert!(jar.check(now, &flow(9), Seq(irs), cookie, echo, own).is_err());
            }
            let other = CookieJar::new([4; 16]);
            prop_assert!(other.check(now, &flow(9), Seq(irs), cookie, echo, OWN).is_err());
        }
    }

    /// Blind guesses are right as often as there are cookies: 16 in 2^32. As many
    /// pass for another's cookie as there are slots that count: 2 of 32.
    #[test]
    fn guesses_do_not_hit() {
        let jar = CookieJar::new([5; 16]);
        let now = Instant::from_millis(1_000_000);
        let (mut hits, mut others) = (0, 0);
        for n in 0..1_000_000u32 {
            let guess = Seq(n.wrapping_mul(0x9e37_79b9));
            match jar.check(now, &flow(9), Seq(7), guess, None, OWN) {
                Ok(_) => hits += 1,
                Err(NoCookie::Other) => others += 1,
                Err(NoCookie::Stale | NoCookie::NoneSent) => {}
            }
        }
        assert!(hits <= 1, "{hits} of a million");
        assert!((62_000..63_000).contains(&others), "{others} of a million");
    }
}
