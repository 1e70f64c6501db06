//! The cookies that servers gave to this side, and which servers are left alone
//! for a while (RFC 7413 sections 4.1.3 and 4.1.3.1).

use crate::address::Address;
use crate::time::{Duration, Instant};
use crate::wire::fast_open::FastOpenCookie;
use std::collections::BTreeMap;

/// Servers at a time; the one that was not used for the longest is forgotten.
const CAPACITY: usize = 1_024;
/// How long Fast Open is not tried after the first refusal in a row; each more
/// doubles it, up to 64 times as long.
const PAUSE: Duration = Duration::from_secs(60);
const DOUBLINGS_MAX: u32 = 6;

/// A server as seen from one of the own addresses: cookies are of both.
type Place = (u16, Address);

#[derive(Clone, Copy, Debug)]
struct Server {
    cookie: FastOpenCookie,
    /// The MSS that came with the cookie.
    mss: u16,
    used: Instant,
    refusals: u32,
    paused_until: Instant,
}

/// What is known of servers.
#[derive(Debug, Default)]
pub(super) struct CookieCache(BTreeMap<Place, Server>);

impl CookieCache {
    /// What a SYN shows: a cookie with the server's MSS, or a request and no room for
    /// data; nothing while the server is left alone.
    pub(super) fn ask(&mut self, now: Instant, place: Place) -> Option<(FastOpenCookie, u16)> {
        let Some(server) = self.0.get_mut(&place) else {
            return Some((FastOpenCookie::REQUEST, 0));
        };
        server.used = now;
        (now >= server.paused_until).then_some((server.cookie, server.mss))
    }

    /// The server gave a cookie, with a SYN-ACK that offers this MSS.
    pub(super) fn learn(&mut self, now: Instant, place: Place, cookie: FastOpenCookie, mss: u16) {
        let server = self.entry(now, place);
        (server.cookie, server.mss) = (cookie, mss);
    }

    /// The server did not answer, or did not take the data.
    pub(super) fn refuse(&mut self, now: Instant, place: Place) {
        let server = self.entry(now, place);
        let doublings = server.refusals.min(DOUBLINGS_MAX);
        server.paused_until = now + PAUSE.saturating_mul(1 << doublings);
        server.refusals += 1;
    }

    /// The server took the data.
    pub(super) fn confirm(&mut self, place: Place) {
        if let Some(server) = self.0.get_mut(&place) {
            server.refusals = 0;
            server.paused_until = Instant::ZERO;
        }
    }

    fn entry(&mut self, now: Instant, place: Place) -> &mut Server {
        if self.0.len() >= CAPACITY && !self.0.contains_key(&place) {
            let oldest = self.0.iter().min_by_key(|(_, server)| server.used);
            if let Some((&oldest, _)) = oldest {
                self.0.remove(&oldest);
            }
        }
        let server = self.0.entry(place).or_insert(Server {
            cookie: FastOpenCookie::REQUEST,
            mss: 0,
            used: now,
            refusals: 0,
            paused_until: Instant::ZERO,
        });
        server.used = now;
        server
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn place(n: u32) -> Place {
        (0, Ipv4Addr::from(n).into())
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1_000)
    }

    fn cookie(byte: u8) -> FastOpenCookie {
        FastOpenCookie::new(&[byte; 8]).unwrap()
    }

    #[test]
    fn a_cookie_is_asked_for_once_and_then_shown() {
        let mut cache = CookieCache::default();
        let request = Some((FastOpenCookie::REQUEST, 0));
        assert_eq!(cache.ask(at(0), place(1)), request);
        assert_eq!(cache.ask(at(1), place(1)), request);
        cache.learn(at(1), place(1), cookie(1), 1_460);
        assert_eq!(cache.ask(at(2), place(1)), Some((cookie(1), 1_460)));
        assert_eq!(cache.ask(at(2), place(2)), request);
        assert_eq!(cache.ask(at(2), (1, place(1).1)), request, "from elsewhere");
        cache.learn(at(3), place(1), cookie(2), 1_400);
        assert_eq!(cache.ask(at(4), place(1)), Some((cookie(2), 1_400)));
    }

    #[test]
    fn refusals_in_a_row_double_the_pause() {
        let mut cache = CookieCache::default();
        cache.learn(at(0), place(1), cookie(1), 1_460);
        let mut now = 0;
        for pause in [60, 120, 240, 480, 960, 1_920, 3_840, 3_840] {
            cache.refuse(at(now), place(1));
            assert_eq!(cache.ask(at(now + pause - 1), place(1)), None);
            now += pause;
            assert_eq!(cache.ask(at(now), place(1)), Some((cookie(1), 1_460)));
        }
        cache.refuse(at(now), place(1));
        cache.confirm(place(1));
        assert!(cache.ask(at(now), place(1)).is_some(), "it works after all");
        cache.refuse(at(now), place(1));
        assert!(cache.ask(at(now + 60), place(1)).is_some());
    }

    /// One that never gave a cookie is left alone as well: it was not answered when
    /// it was asked for one.
    #[test]
    fn a_request_can_be_refused() {
        let mut cache = CookieCache::default();
        cache.refuse(at(0), place(1));
        assert_eq!(cache.ask(at(59), place(1)), None);
        assert_eq!(
            cache.ask(at(60), place(1)),
            Some((FastOpenCookie::REQUEST, 0))
        );
    }

    #[test]
    fn the_cache_is_bounded_and_forgets_what_was_not_used() {
        let mut cache = CookieCache::default();
        cache.learn(at(0), place(9_999), cookie(9), 1_460);
        for n in 0..3_000 {
            cache.learn(at(n.into()), place(n), cookie(1), 1_460);
            cache.ask(at(n.into()), place(9_999));
        }
        assert_eq!(cache.0.len(), CAPACITY);
        assert_eq!(cache.ask(at(3_000), place(9_999)), Some((cookie(9), 1_460)));
        assert!(cache.ask(at(3_000), place(0)).unwrap().0.is_request());
    }
}
