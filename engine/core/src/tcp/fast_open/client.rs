//! The client's side: what a SYN asks for or takes along, and what became of it
//! (RFC 7413 sections 4.1.3 and 4.2).

use super::FastOpening;
use crate::seq::Seq;
use crate::tcp::tcb::{Tcb, TcbFlags};
use crate::tcp::{Cx, Shared};
use crate::time::Instant;
use crate::wire::tcp::Options;

/// Options of a SYN fit into this, whatever they are (RFC 9293 section 3.1).
const OPTIONS_MAX: u16 = 40;

impl Shared {
    /// TCP_FASTOPEN_CONNECT: a connection that is about to open asks for a cookie, or
    /// shows the one that it has.
    pub(crate) fn ask_fast_open(&mut self, now: Instant, tcb: &mut Tcb) {
        let key = tcb.key;
        if !self.options(tcb).fast_open_connect {
            return;
        }
        let Some((cookie, mss)) = self.fast_open.cache.ask(now, (key.local, key.remote)) else {
            return;
        };
        // An MSS does not count options (RFC 6691).
        let most = mss
            .min(self.max_segment(&tcb.settings))
            .min(self.path_mss(now, &key, false));
        self.warm(tcb).fast_open = Some(FastOpening::Active {
            cookie,
            room: most.saturating_sub(OPTIONS_MAX),
            data: 0,
        });
    }

    /// A SYN left with `len` bytes of data.
    pub(crate) fn note_syn_data(tcb: &mut Tcb, len: u32) {
        if let Some(FastOpening::Active { data, .. }) = tcb
            .cold
            .as_deref_mut()
            .and_then(|cold| cold.fast_open.as_mut())
        {
            *data = (*data).max(u16::try_from(len).unwrap_or(0));
        }
    }

    /// Our SYN was not answered in time: something on the way may drop what it does
    /// not know (section 4.1.3.1).
    pub(crate) fn doubt_fast_open(&mut self, now: Instant, tcb: &Tcb) {
        if let Some(FastOpening::Active { data, .. }) = tcb.fast_open()
            && tcb.backoff == 0
        {
            let key = &tcb.key;
            self.fast_open.cache.refuse(now, (key.local, key.remote));
            self.stats.fast_open_active_fail += u64::from(data > 0);
        }
    }

    /// What a SYN-ACK says of Fast Open.
    pub(crate) fn take_fast_open_answer(
        &mut self,
        now: Instant,
        tcb: &mut Tcb,
        options: &Options,
        ack: Seq,
    ) {
        let Some(FastOpening::Active { data, .. }) = tcb.fast_open() else {
            return;
        };
        let server = (tcb.key.local, tcb.key.remote);
        let given = options.fast_open.filter(|cookie| !cookie.is_request());
        if let Some(cookie) = given {
            let mss = self.offered_mss(&tcb.key, options.mss);
            self.fast_open.cache.learn(now, server, cookie, mss);
        }
        let taken = ack.bytes_since(tcb.snd_una + 1);
        if taken > 0 {
            tcb.set(TcbFlags::SYN_DATA);
            self.fast_open.cache.confirm(server);
            self.stats.fast_open_active += 1;
        } else if data > 0 && tcb.backoff == 0 {
            self.stats.fast_open_active_fail += 1;
            if given.is_none() {
                self.fast_open.cache.refuse(now, server);
            }
        }
    }

    /// The handshake is complete, and the peer has taken data of our SYN: it goes
    /// from the send queue. What it has not taken is sent as any.
    pub(crate) fn take_ack_of_syn_data(
        &mut self,
        cx: &mut Cx,
        index: u32,
        tcb: &mut Tcb,
        ack: Seq,
    ) {
        let taken = ack.bytes_since(tcb.snd_una);
        if taken > 0 {
            self.stats.bytes_sent += u64::from(taken);
            tcb.snd_nxt = ack;
            self.advance(cx, index, tcb, ack);
        }
    }
}
