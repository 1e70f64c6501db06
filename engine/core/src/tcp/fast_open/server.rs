//! The server's side: cookies, and connections that are accepted with their SYN
//! (RFC 7413 sections 4.1.2, 4.2 and 5.1).

use super::FastOpening;
use crate::flow::{FlowHasher, FlowKey};
use crate::frame::Frame;
use crate::tcp::connect::Opening;
use crate::tcp::input::micros;
use crate::tcp::settings::SettingsId;
use crate::tcp::state::State;
use crate::tcp::tcb::{Tcb, TcbFlags};
use crate::tcp::transitions::Event;
use crate::tcp::{ConnectionId, Cx, Flow, ListenerId, Segment, Shared, Tcp};
use crate::time::{Duration, Instant};
use crate::wire::fast_open::FastOpenCookie;
use crate::wire::tcp::{Flags, Header};
use std::collections::{BTreeMap, VecDeque};

/// A cookie is good for the hour that it was made in and for the next
/// (section 4.1.2: they expire).
const COOKIE_SLOT: Duration = Duration::from_secs(3_600);
/// How long a connection that a RST ended counts as pending (section 5.1). As
/// Linux has it.
const RESET_COUNTS: Duration = Duration::from_secs(60);

/// Gives cookies and knows them again, and counts what they have opened.
#[derive(Debug)]
pub(crate) struct Issuer {
    key: FlowHasher,
    pending: BTreeMap<u16, Pending>,
}

/// PendingFastOpenRequests of one listener (section 5.1).
#[derive(Debug, Default)]
struct Pending {
    /// Connections whose SYN-ACK has not been acknowledged.
    open: usize,
    /// When others of them were ended by a RST. Who sends SYNs in the name of
    /// hosts that answer with RSTs must not get round the limit by that.
    resets: VecDeque<Instant>,
}

impl Pending {
    fn count(&mut self, now: Instant) -> usize {
        while let Some(&reset) = self.resets.front()
            && now.since(reset) >= RESET_COUNTS
        {
            self.resets.pop_front();
        }
        self.open + self.resets.len()
    }
}

impl Issuer {
    pub(crate) fn new(key: [u8; 16]) -> Issuer {
        Issuer {
            key: FlowHasher::new(key),
            pending: BTreeMap::new(),
        }
    }

    /// The cookie of a slot: a keyed hash of both addresses (section 4.1.2).
    fn cookie(&self, slot: u64, key: &FlowKey) -> FastOpenCookie {
        let hosts = FlowKey {
            local_port: 0,
            remote_port: 0,
            ..*key
        };
        let [high, low] = [slot >> 32, slot & 0xffff_ffff].map(|n| u32::try_from(n).unwrap_or(0));
        let hash = self.key.hash_with(&hosts, [high, low, 0]).to_be_bytes();
        FastOpenCookie::new(&hash).unwrap_or_default()
    }

    /// The cookie that a client is given now.
    pub(crate) fn bake(&self, now: Instant, key: &FlowKey) -> FastOpenCookie {
        self.cookie(slot_at(now), key)
    }

    /// The cookie is one of ours, of this slot or the last.
    fn is_good(&self, now: Instant, key: &FlowKey, cookie: FastOpenCookie) -> bool {
        let slot = slot_at(now);
        [Some(slot), slot.checked_sub(1)]
            .into_iter()
            .flatten()
            .any(|slot| self.cookie(slot, key) == cookie)
    }

    /// One more is pending.
    fn enter(&mut self, listener: ListenerId) {
        self.pending.entry(listener.0).or_default().open += 1;
    }

    /// One less is; after a RST it counts for a while.
    pub(super) fn leave(&mut self, now: Instant, listener: ListenerId, was_reset: bool) {
        if let Some(pending) = self.pending.get_mut(&listener.0) {
            pending.open -= 1;
            if was_reset {
                pending.resets.push_back(now);
            }
        }
    }

    /// Nothing is pending of a listener that is gone.
    pub(crate) fn forget(&mut self, listener: ListenerId) {
        self.pending.remove(&listener.0);
    }
}

fn slot_at(now: Instant) -> u64 {
    now.as_millis() / 1_000 / COOKIE_SLOT.as_secs()
}

impl Tcp {
    /// A SYN that brings data and a good cookie, and there is room for it: its
    /// connection is accepted now (section 4.2.2). False where the handshake is to be
    /// an ordinary one.
    pub(crate) fn accept_early(
        &mut self,
        cx: &mut Cx,
        id: ListenerId,
        segment: &Segment,
        frame: &mut Option<Frame>,
    ) -> bool {
        let (key, header) = (segment.key, &segment.header);
        let Some(listener) = self
            .listeners
            .get(usize::from(id.0))
            .and_then(Option::as_ref)
        else {
            return false;
        };
        let Some(cookie) = self
            .shared
            .judge_cookie(cx.now, id, &listener.settings, segment)
        else {
            return false;
        };
        if self.connections.is_full() {
            return false;
        }
        let settings = self.shared.settings.share(&listener.settings);
        let tcb = self.shared.early_tcb(cx.now, id, segment, settings, cookie);
        let generation = tcb.generation;
        let index = match self.connections.insert(tcb) {
            Ok(index) => index,
            Err(tcb) => {
                self.shared.settings.release(tcb.settings);
                return false;
            }
        };
        let hash = self.shared.hasher.hash(&key);
        let value = Flow::Connection(index).value();
        self.shared.table.insert(hash, value);
        self.shared.fast_open.issuer.enter(id);
        self.shared.stats.passive_opens += 1;
        self.shared.stats.fast_open_passive += 1;
        self.queue_accept(id, ConnectionId { index, generation });
        if let Some(tcb) = self.connections.get_mut(index) {
            let text = Segment {
                header: Header {
                    seq: header.seq + 1,
                    flags: header.flags.without(Flags::SYN),
                    ..*header
                },
                ..*segment
            };
            // A FIN beside a SYN was refused; what is out of room comes again.
            let _ = self.shared.receive(cx, index, tcb, &text, frame);
            self.shared.queue_output(index, tcb);
        }
        true
    }
}

impl Shared {
    /// The cookie of a SYN that may be accepted early: it is good, and not too many
    /// are pending (section 5.1).
    fn judge_cookie(
        &mut self,
        now: Instant,
        id: ListenerId,
        settings: &SettingsId,
        segment: &Segment,
    ) -> Option<FastOpenCookie> {
        let limit = self.settings.get(settings).fast_open;
        let shown = segment.header.options.fast_open;
        let is_shown = limit > 0 && segment.payload_len > 0;
        let cookie = shown.filter(|cookie| is_shown && !cookie.is_request())?;
        if !self.fast_open.issuer.is_good(now, &segment.key, cookie) {
            self.stats.fast_open_passive_fail += 1;
            return None;
        }
        let pending = self.fast_open.issuer.pending.entry(id.0).or_default();
        if pending.count(now) >= usize::from(limit) {
            self.stats.fast_open_overflow += 1;
            return None;
        }
        Some(cookie)
    }

    /// The SYN-ACK of an ordinary handshake gives a cookie: the SYN asks for one, or
    /// shows one that is not good (any more).
    pub(crate) fn owes_cookie(&self, now: Instant, settings: &SettingsId, syn: &Segment) -> bool {
        let is_on = self.settings.get(settings).fast_open > 0;
        let shown = syn.header.options.fast_open.filter(|_| is_on);
        shown.is_some_and(|cookie| !self.fast_open.issuer.is_good(now, &syn.key, cookie))
    }

    /// A connection in SYN-RECEIVED whose SYN-ACK is due.
    fn early_tcb(
        &mut self,
        now: Instant,
        listener: ListenerId,
        syn: &Segment,
        settings: SettingsId,
        cookie: FastOpenCookie,
    ) -> Tcb {
        let (key, header) = (syn.key, &syn.header);
        let mut tcb = self.make_tcb(Opening {
            key,
            state: State::Listen,
            iss: self.iss.iss(now, &key),
            flags: if self.accepts_ecn(header.flags) {
                TcbFlags::ECN
            } else {
                TcbFlags::default()
            },
            settings,
        });
        tcb.on(Event::Syn);
        self.take_syn(now, &mut tcb, header.seq, &header.options, header.window);
        tcb.snd_una += 1;
        tcb.snd_nxt = tcb.snd_una;
        tcb.set(TcbFlags::SYN_DUE);
        tcb.set(TcbFlags::SYN_DATA);
        let newest = self.fast_open.issuer.bake(now, &key);
        self.warm(&mut tcb).fast_open = Some(FastOpening::Passive {
            listener,
            irs: header.seq,
            sent_us: micros(now),
            cookie: Some(newest).filter(|newest| *newest != cookie),
        });
        tcb
    }

    /// The SYN of an early connection again: its SYN-ACK was lost, or is slow.
    pub(crate) fn is_early_syn_again(&mut self, index: u32, tcb: &mut Tcb, syn: &Header) -> bool {
        let Some(FastOpening::Passive { irs, .. }) = tcb.fast_open() else {
            return false;
        };
        let is_request = syn.flags.contains(Flags::SYN)
            && !syn.flags.contains(Flags::ACK)
            && !syn.flags.contains(Flags::RST);
        if !is_request || syn.seq != irs {
            return false;
        }
        self.stats.syn_ack_retransmits += 1;
        tcb.set(TcbFlags::SYN_DUE);
        self.queue_output(index, tcb);
        true
    }

    /// The handshake of an early connection is complete; false where it is none.
    pub(crate) fn end_early(&mut self, now: Instant, tcb: &mut Tcb) -> bool {
        let Some(FastOpening::Passive {
            listener, sent_us, ..
        }) = tcb.fast_open()
        else {
            return false;
        };
        self.warm(tcb).fast_open = None;
        self.fast_open.issuer.leave(now, listener, false);
        if tcb.backoff == 0 {
            tcb.rtt.sample(micros(now).wrapping_sub(sent_us));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn flow(remote: u8, port: u16) -> FlowKey {
        FlowKey {
            remote: Ipv4Addr::new(198, 18, 0, remote).into(),
            local: 0,
            local_port: 80,
            remote_port: port,
        }
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1_000)
    }

    /// Section 4.1.2: of the client's address, whatever its port; nobody else can
    /// use or make it, and it expires.
    #[test]
    fn a_cookie_is_of_two_hosts_and_an_hour_or_two() {
        let (server, other) = (Issuer::new([1; 16]), Issuer::new([2; 16]));
        let cookie = server.bake(at(10), &flow(2, 4_000));
        assert_eq!(cookie.as_slice().len(), 8);
        assert!(server.is_good(at(20), &flow(2, 5_000), cookie));
        assert!(server.is_good(at(7_199), &flow(2, 4_000), cookie));
        assert!(!server.is_good(at(7_200), &flow(2, 4_000), cookie));
        assert!(!server.is_good(at(20), &flow(3, 4_000), cookie));
        assert!(!other.is_good(at(20), &flow(2, 4_000), cookie));
        let second_address = FlowKey {
            local: 1,
            ..flow(2, 4_000)
        };
        assert!(!server.is_good(at(20), &second_address, cookie));
        assert!(!server.is_good(at(20), &flow(2, 4_000), FastOpenCookie::REQUEST));
        for bit in 0..64 {
            let mut forged = cookie.as_slice().to_vec();
            forged[bit / 8] ^= 1 << (bit % 8);
            let forged = FastOpenCookie::new(&forged).unwrap();
            assert!(!server.is_good(at(20), &flow(2, 4_000), forged), "{bit}");
        }
    }

    #[test]
    fn a_reset_counts_as_pending_for_a_minute() {
        let mut pending = Pending {
            open: 1,
            resets: [at(5), at(6)].into(),
        };
        assert_eq!(pending.count(at(64)), 3);
        assert_eq!(pending.count(at(65)), 2);
        assert_eq!(pending.count(at(66)), 1);
    }
}
