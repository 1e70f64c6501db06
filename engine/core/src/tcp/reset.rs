//! Segments that no connection's output makes: RST, challenge ACK, and ACKs of
//! records that are not connections.

use super::tcb::{Tcb, TcbFlags};
use super::{Cx, Segment, Shared};
use crate::flow::FlowKey;
use crate::seq::Seq;
use crate::stats::DropReason;
use crate::time::Instant;
use crate::wire::tcp::{Flags, Header, Options, SackBlocks, Timestamps};

/// Challenge ACKs that a connection sent lately.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Challenges {
    /// Five seconds, counted from the origin of time, modulo 16, in the upper half;
    /// how many in the lower. After 80 s without one the count may go on where it
    /// was, which errs on the side of silence.
    packed: u8,
}

impl Challenges {
    const MAX: u8 = 10;
    const PERIOD_MS: u64 = 5_000;

    #[expect(clippy::cast_possible_truncation, reason = "modulo 16 by definition")]
    fn take(&mut self, now: Instant) -> bool {
        let period = (now.as_millis() / Challenges::PERIOD_MS) as u8 & 0xf;
        let sent = if self.packed >> 4 == period {
            self.packed & 0xf
        } else {
            0
        };
        let may = sent < Challenges::MAX;
        self.packed = period << 4 | (sent + u8::from(may));
        may
    }
}

impl Shared {
    /// The RST that answers a segment for which there is no connection (RFC 9293
    /// section 3.10.7.1) and is no RST itself, and only so many a second: why the
    /// segment is dropped.
    pub(crate) fn reset_stray(&mut self, now: Instant, segment: &Segment) -> DropReason {
        let header = &segment.header;
        if !self.stray_resets.take(now) {
            return DropReason::ResetLimited;
        }
        if header.flags.contains(Flags::ACK) {
            self.send_reset(segment.key, header.ack, None);
        } else {
            let ack = header.seq + segment.len();
            self.send_reset(segment.key, Seq(0), Some(ack));
        }
        DropReason::NoListener
    }

    /// Queues a RST.
    pub(crate) fn send_reset(&mut self, key: FlowKey, seq: Seq, ack: Option<Seq>) {
        let flags = if ack.is_some() {
            Flags::RST | Flags::ACK
        } else {
            Flags::RST
        };
        self.stats.resets_out += 1;
        let header = header(
            key,
            flags,
            seq,
            ack.unwrap_or(Seq(0)),
            0,
            Options::default(),
        );
        self.reply(key, header);
    }

    /// Aborts towards the peer of a synchronized connection (RFC 9293 section 3.10.5).
    pub(crate) fn reset_connection(&mut self, now: Instant, tcb: &Tcb) {
        let header = header(
            tcb.key,
            Flags::RST | Flags::ACK,
            tcb.snd_nxt,
            tcb.rcv_nxt,
            0,
            // RFC 7323 section 3.2: a RST SHOULD carry timestamps too.
            self.options_of(now, tcb),
        );
        self.stats.resets_out += 1;
        self.reply(tcb.key, header);
    }

    /// The RST for data that comes when nobody reads any more (RFC 9293 section 3.6.1):
    /// as for a connection that is gone (section 3.10.7.1), for then it has the number
    /// that the peer expects next, whatever of ours was lost (RFC 5961 section 3.2).
    pub(crate) fn reset_text(&mut self, now: Instant, tcb: &Tcb, segment: &Segment) {
        let (seq, options) = (segment.header.ack, self.options_of(now, tcb));
        self.stats.resets_out += 1;
        self.reply(
            tcb.key,
            header(tcb.key, Flags::RST, seq, Seq(0), 0, options),
        );
    }

    /// Queues a challenge ACK (RFC 5961 section 3.2), ten in five seconds at most
    /// (section 7). Each connection counts its own, so what one gets tells nobody
    /// about another (CVE-2016-5696).
    pub(crate) fn challenge(&mut self, cx: &Cx, tcb: &mut Tcb) {
        if !tcb.challenges.take(cx.now) {
            self.stats.challenge_acks_limited += 1;
            return;
        }
        self.stats.challenge_acks += 1;
        let header = self.ack_header(cx, tcb);
        self.reply_as(tcb.key, self.service(tcb), header);
    }

    /// A bare ACK of a connection as it stands.
    pub(crate) fn ack_header(&self, cx: &Cx, tcb: &mut Tcb) -> Header {
        tcb.unset(TcbFlags::ACK_NOW);
        tcb.unset(TcbFlags::ACK_DELAYED);
        let window = self.advertise(tcb);
        let options = Options {
            sack: Self::report(tcb),
            ..self.options_of(cx.now, tcb)
        };
        header(
            tcb.key,
            Flags::ACK,
            tcb.snd_nxt,
            tcb.rcv_nxt,
            window,
            options,
        )
    }

    /// The blocks of an acknowledgment without data, as many as there is room for
    /// (RFC 2018 section 3).
    pub(crate) fn report(tcb: &mut Tcb) -> SackBlocks {
        let most = if tcb.is(TcbFlags::TIMESTAMPS) { 3 } else { 4 };
        tcb.cold
            .as_deref_mut()
            .map_or(SackBlocks::default(), |cold| cold.report.take(most))
    }

    /// The options of every segment after the SYN.
    pub(crate) fn options_of(&self, now: Instant, tcb: &Tcb) -> Options {
        Options {
            timestamps: tcb
                .is(TcbFlags::TIMESTAMPS)
                .then(|| self.timestamps(now, tcb.ts_recent)),
            ..Options::default()
        }
    }

    pub(crate) fn timestamps(&self, now: Instant, echo: u32) -> Timestamps {
        Timestamps {
            value: self.timestamp(now),
            echo,
        }
    }
}

/// A header of a flow.
pub(crate) fn header(
    key: FlowKey,
    flags: Flags,
    seq: Seq,
    ack: Seq,
    window: u16,
    options: Options,
) -> Header {
    Header {
        source_port: key.local_port,
        destination_port: key.remote_port,
        seq,
        ack,
        flags,
        window,
        urgent: 0,
        options,
    }
}
