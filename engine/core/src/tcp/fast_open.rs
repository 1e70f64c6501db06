//! TCP Fast Open (RFC 7413): data travels with the SYN, and its answer does not
//! wait for the handshake either.
//!
//! ```text
//! client                                       server
//! SYN, a request for a cookie --------------->  the SYN queue, as ever
//!    <---------------------------- SYN-ACK, cookie
//! kept, with the MSS (cache.rs)
//!   ...
//! SYN, cookie, data ------------------------->  good cookie: a connection in
//!                                               SYN-RECEIVED, accepted and readable
//!    <------------------- SYN-ACK of SYN and data
//!    <------------------- the answer
//! ACK --------------------------------------->  ESTABLISHED
//! ```
//!
//! Where anything is missing or bad the handshake is an ordinary one: a SYN-ACK
//! acknowledges the SYN alone, and the data goes again behind it. A client whose
//! SYN is not answered sends it again without option and data, and leaves that
//! server alone for a while (section 4.1.3.1).
//!
//! The data of a SYN may come twice, for nothing remembers SYNs (section 2.1):
//! both sides have to ask for Fast Open.
//!
//! A client's data stays in the send queue, unsent, until the SYN-ACK tells what of
//! it was taken. A server's SYN-ACK is not in the scoreboard: SND.UNA is past it
//! from the start, so that the answer can be in flight before it is acknowledged.

mod cache;
mod client;
mod server;

use super::state::State;
use super::tcb::Tcb;
use super::{Closed, ListenerId, Shared};
use crate::seq::Seq;
use crate::time::Instant;
use crate::wire::fast_open::FastOpenCookie;
use cache::CookieCache;
use server::Issuer;

/// What Fast Open has under way for a connection that is opening.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FastOpening {
    /// Our SYN asks for a cookie, or shows one and has data.
    Active {
        cookie: FastOpenCookie,
        /// Data that the SYN has room for; none beside a request.
        room: u16,
        /// Data that it had.
        data: u16,
    },
    /// The data of the peer's SYN is the application's already.
    Passive {
        listener: ListenerId,
        irs: Seq,
        /// When the SYN-ACK was sent first.
        sent_us: u32,
        /// A newer cookie than the peer's.
        cookie: Option<FastOpenCookie>,
    },
}

/// What a shard knows for Fast Open.
#[derive(Debug)]
pub(crate) struct FastOpens {
    pub(crate) issuer: Issuer,
    cache: CookieCache,
}

impl FastOpens {
    pub(crate) fn new(key: [u8; 16]) -> FastOpens {
        FastOpens {
            issuer: Issuer::new(key),
            cache: CookieCache::default(),
        }
    }
}

impl Tcb {
    /// What Fast Open has under way.
    pub(crate) fn fast_open(&self) -> Option<FastOpening> {
        self.cold()?.fast_open
    }

    /// It was accepted before its handshake is complete.
    pub(crate) fn is_early(&self) -> bool {
        matches!(self.fast_open(), Some(FastOpening::Passive { .. }))
    }

    /// The SYN waits for the data that it can take along.
    pub(crate) fn awaits_data(&self) -> bool {
        let has_room = matches!(
            self.fast_open(),
            Some(FastOpening::Active { room: 1.., .. })
        );
        has_room && self.state == State::SynSent && self.backoff == 0 && self.send_queued == 0
    }

    /// Room for data in the SYN that waits for it.
    pub(crate) fn syn_room(&self) -> u32 {
        match self.fast_open() {
            Some(FastOpening::Active { room, .. }) if self.awaits_data() => u32::from(room),
            _ => 0,
        }
    }

    /// Data that goes with a SYN now, and the cookie. A SYN that was not answered
    /// goes again without either (section 4.1.3.1).
    pub(crate) fn with_syn(&self) -> (u32, Option<FastOpenCookie>) {
        match self.fast_open() {
            Some(FastOpening::Active { cookie, room, .. })
                if self.state == State::SynSent && self.backoff == 0 =>
            {
                (self.send_queued.min(u32::from(room)), Some(cookie))
            }
            Some(FastOpening::Passive { cookie, .. }) if self.backoff == 0 => (0, cookie),
            _ => (0, None),
        }
    }

    /// An acknowledgment of our SYN, and of nothing that was not sent.
    pub(crate) fn is_syn_acked(&self, ack: Seq) -> bool {
        match self.fast_open() {
            Some(FastOpening::Passive { .. }) => {
                ack.follows_or_is(self.snd_una) && ack.precedes_or_is(self.snd_nxt)
            }
            Some(FastOpening::Active { data, .. }) => {
                ack.follows(self.snd_una) && ack.precedes_or_is(self.snd_nxt + u32::from(data))
            }
            None => ack.follows(self.snd_una) && ack.precedes_or_is(self.snd_nxt),
        }
    }
}

impl Shared {
    /// A connection ends that may still be opening.
    pub(crate) fn abandon_fast_open(&mut self, now: Instant, tcb: &Tcb, why: Closed) {
        match tcb.fast_open() {
            Some(FastOpening::Passive { listener, .. }) => {
                let was_reset = why == Closed::Refused;
                self.fast_open.issuer.leave(now, listener, was_reset);
            }
            // An ICMP error is a refusal, too (section 4.1.3.1).
            Some(FastOpening::Active { data: 1.., .. }) if why == Closed::Unreachable => {
                let key = &tcb.key;
                self.fast_open.cache.refuse(now, (key.local, key.remote));
            }
            _ => {}
        }
    }
}
