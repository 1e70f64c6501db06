//! Handshakes without a record: a cookie answers the SYN, and the ACK that brings
//! it back opens the connection at once (RFC 4987 section 3.6).

use super::cookie::{self, Extras, NoCookie, Offer, Window};
use super::reset::header;
use super::settings::SettingsId;
use super::syn_queue::{HalfOpen, Syn};
use super::{AcceptOverflow, Cx, ListenerId, Segment, Shared, Tcp};
use crate::stats::DropReason;
use crate::time::Instant;
use crate::wire::tcp::{Flags, Options, Timestamps};

impl Tcp {
    /// Answers a SYN, and forgets it.
    pub(super) fn answer_by_cookie(
        &mut self,
        cx: &mut Cx,
        id: ListenerId,
        segment: &Segment,
    ) -> Result<(), DropReason> {
        let at = usize::from(id.0);
        let Some(Some(listener)) = self.listeners.get_mut(at) else {
            return Err(DropReason::NoListener);
        };
        let shared = &mut self.shared;
        let (key, syn) = (segment.key, &segment.header);
        let own = shared.syn_options(cx.now, &key, &listener.settings);
        let timestamps = syn.options.timestamps.filter(|_| own.timestamps.is_some());
        // Without a timestamp to carry them these are not offered.
        let extras = timestamps.map(|_| Extras {
            window_scale: syn.options.window_scale,
            sack_permitted: syn.options.sack_permitted && own.sack_permitted,
            ecn: shared.accepts_ecn(syn.flags),
        });
        let offer = Offer {
            mss: shared.offered_mss(&key, syn.options.mss),
            extras,
        };
        let window = shared.own_window(&listener.settings);
        let iss = shared.cookies.bake(cx.now, &key, syn.seq, offer, window);
        let clock = shared.timestamp(cx.now);
        let options = Options {
            mss: own.mss,
            window_scale: extras
                .and_then(|extras| extras.window_scale)
                .and(window.scale),
            timestamps: extras.zip(timestamps).map(|(extras, theirs)| Timestamps {
                value: extras.stamp(clock),
                echo: theirs.value,
            }),
            sack_permitted: extras.is_some_and(|extras| extras.sack_permitted),
            order: own.order,
            ..Options::default()
        };
        let ecn = extras.is_some_and(|extras| extras.ecn);
        let flags = Flags::SYN | Flags::ACK | if ecn { Flags::ECE } else { Flags(0) };
        let syn_ack = header(key, flags, iss, syn.seq + 1, window.field, options);
        shared.reply_as(key, shared.service_of(&listener.settings), syn_ack);
        shared.stats.cookies_sent += 1;
        listener.cookies_until = cx.now + cookie::LIFETIME;
        self.siblings.note_cookie(listener.cookies_until);
        Ok(())
    }

    /// An ACK for a listener. If it brings back a cookie the handshake is complete:
    /// tells the connection. Else it is answered by a RST (RFC 9293 section
    /// 3.10.7.2), but for one that overtook the segment that completes it.
    pub(super) fn accept_cookie(
        &mut self,
        cx: &mut Cx,
        id: ListenerId,
        segment: &Segment,
    ) -> Result<u32, DropReason> {
        match self.check_cookie(cx.now, id, segment) {
            Ok(cookie) => self.open_by_cookie(cx, id, segment, &cookie, None),
            Err(NoCookie::NoneSent) => Err(self.shared.reset_stray(cx.now, segment)),
            Err(no_cookie) => {
                self.shared.stats.cookies_failed += 1;
                if no_cookie == NoCookie::Stale {
                    self.shared.reset_stray(cx.now, segment);
                }
                Err(DropReason::BadCookie)
            }
        }
    }

    /// An ACK for the half-open record `index` that does not acknowledge its SYN-ACK.
    /// The peer's SYN may have come twice, and a cookie have answered it when there was
    /// no room for a record: the peer goes by the answer that it saw first. Any other is
    /// a bad ACK (RFC 9293 section 3.10.7.4).
    pub(super) fn complete_by_cookie(
        &mut self,
        cx: &mut Cx,
        id: ListenerId,
        index: u32,
        segment: &Segment,
    ) -> Result<u32, DropReason> {
        match self.check_cookie(cx.now, id, segment) {
            Ok(cookie) => self.open_by_cookie(cx, id, segment, &cookie, Some(index)),
            Err(NoCookie::Other) => Err(DropReason::BadCookie),
            Err(NoCookie::NoneSent | NoCookie::Stale) => {
                self.shared
                    .send_reset(segment.key, segment.header.ack, None);
                Err(DropReason::BadAck)
            }
        }
    }

    /// The cookie that this acknowledgment brings back.
    fn check_cookie(
        &self,
        now: Instant,
        id: ListenerId,
        segment: &Segment,
    ) -> Result<Cookie, NoCookie> {
        let ack = &segment.header;
        let Some(listener) = self.listener(id) else {
            return Err(NoCookie::NoneSent);
        };
        // What completes a handshake may come to another shard than the SYN.
        let until = listener.cookies_until.max(self.siblings.cookies_until());
        if ack.flags.contains(Flags::SYN) || now > until {
            return Err(NoCookie::NoneSent);
        }
        let (irs, iss) = (ack.seq.back(1), ack.ack.back(1));
        let echo = ack.options.timestamps.map(|timestamps| timestamps.echo);
        let shared = &self.shared;
        let check = |settings| {
            let own = shared.own_window(settings);
            shared.cookies.check(now, &segment.key, irs, iss, echo, own)
        };
        let (offer, is_earlier) = match (check(&listener.settings), &listener.earlier) {
            (Err(NoCookie::Other), Some(earlier)) => (check(earlier)?, true),
            (checked, _) => (checked?, false),
        };
        Ok(Cookie { offer, is_earlier })
    }

    /// The handshake that this segment completes becomes a connection, in the place of
    /// the half-open record `replaced` if there is one.
    fn open_by_cookie(
        &mut self,
        cx: &mut Cx,
        id: ListenerId,
        segment: &Segment,
        cookie: &Cookie,
        replaced: Option<u32>,
    ) -> Result<u32, DropReason> {
        let (key, ack) = (segment.key, &segment.header);
        self.shared.stats.cookies_received += 1;
        if let Err(reason) = self.may_admit(id) {
            if self.shared.config.accept_overflow == AcceptOverflow::Reset {
                if let Some(index) = replaced {
                    self.fail_half_open(index);
                }
                self.shared.send_reset(key, ack.ack, None);
            }
            return Err(reason);
        }
        let Some(Some(listener)) = self.listeners.get(usize::from(id.0)) else {
            return Err(DropReason::NoListener);
        };
        let earlier = listener.earlier.as_ref().filter(|_| cookie.is_earlier);
        let settings = earlier.unwrap_or(&listener.settings);
        let settings = self.shared.settings.share(settings);
        let syn = Syn {
            irs: ack.seq.back(1),
            iss: ack.ack.back(1),
            ts_recent: ack.options.timestamps.map(|timestamps| timestamps.value),
            window: ack.window,
            mss: cookie.offer.mss,
            extras: cookie.offer.extras.unwrap_or_default(),
        };
        let record = HalfOpen::new(cx.now, key, id, settings, syn);
        self.shared.stats.passive_opens += 1;
        let flow = replaced.and_then(|index| self.give_up_half_open(index));
        // When the SYN-ACK was sent is forgotten: no sample of the round trip.
        self.admit(cx, record, flow)
    }
}

impl Shared {
    /// What a SYN-ACK says of our window.
    pub(super) fn own_window(&self, settings: &SettingsId) -> Window {
        Window {
            field: self.syn_window(settings),
            scale: self.syn_scale(settings),
        }
    }
}

/// A cookie that came back.
#[derive(Clone, Copy, Debug)]
struct Cookie {
    offer: Offer,
    /// It was made by the options that the listener had before.
    is_earlier: bool,
}
