//! ICMP that arrives, of both families: echo requests are answered, errors are
//! checked against the connection that they quote (RFC 5927), all else is dropped.
//! The engine sends no errors of its own.

use super::ip::Received;
use super::{Input, Stack};
use crate::flow::FlowKey;
use crate::frame::Frame;
use crate::siblings::News;
use crate::stats::DropReason;
use crate::tcp::Cx;
use crate::wire::icmp::{Error, Quote};
use crate::wire::icmpv4::{self, Message as V4};
use crate::wire::icmpv6::{self, Message as V6};
use crate::wire::ip::{self, Service};
use crate::wire::{ipv4, ipv6, ndp};
use std::net::IpAddr;

impl Stack {
    /// The frame's window is the message.
    pub(super) fn input_icmpv4(&mut self, cx: &mut Cx, ip: &Received, mut frame: Frame) -> Input {
        match V4::parse(frame.data()) {
            Err(malformed) => Err((malformed.into(), frame)),
            Ok(V4::EchoRequest) => {
                icmpv4::make_echo_reply(frame.data_mut());
                self.send_back(cx, ip, ipv4::PROTOCOL_ICMP, frame)
            }
            Ok(V4::Error { error, original }) => {
                let quote = Quote::of_ipv4(original);
                self.input_error(cx, error, quote, frame)
            }
            Ok(V4::Other) => Err((DropReason::Icmp, frame)),
        }
    }

    /// The frame's window is the message, which was sent to one address.
    pub(super) fn input_icmpv6(
        &mut self,
        cx: &mut Cx,
        header: &ipv6::Header,
        ip: &Received,
        mut frame: Frame,
    ) -> Input {
        match V6::parse(frame.data(), header.source, header.destination) {
            Err(malformed) => Err((malformed.into(), frame)),
            Ok(V6::EchoRequest) => {
                let (to, from) = (header.source, header.destination);
                icmpv6::make_echo_reply(frame.data_mut(), from, to);
                self.send_back(cx, ip, ipv6::PROTOCOL_ICMP, frame)
            }
            Ok(V6::Error { error, original }) => {
                let quote = Quote::of_ipv6(original);
                self.input_error(cx, error, quote, frame)
            }
            Ok(V6::Solicitation(_) | V6::Advertisement(_)) => {
                self.input_discovery(cx, header, frame)
            }
            Ok(V6::Other) => Err((DropReason::Icmp, frame)),
        }
    }

    /// Neighbour discovery, to one address or to a group. It must not have passed
    /// a router, nor come in fragments (RFC 4861 section 7.1, RFC 6980).
    pub(super) fn input_discovery(
        &mut self,
        cx: &mut Cx,
        header: &ipv6::Header,
        frame: Frame,
    ) -> Input {
        if header.ttl != ndp::HOP_LIMIT || header.has_fragment_header {
            return Err((DropReason::Icmp, frame));
        }
        match V6::parse(frame.data(), header.source, header.destination) {
            Err(malformed) => Err((malformed.into(), frame)),
            Ok(V6::Solicitation(asked)) => self.input_solicitation(cx, header, &asked, frame),
            Ok(V6::Advertisement(told)) => self.input_advertisement(cx, header, &told, frame),
            Ok(_) => Err((DropReason::Icmp, frame)),
        }
    }

    /// Sends a frame's window, which is a whole message, back to where its request
    /// came from. The reply has no options or extensions: the header is put right
    /// in front of the message.
    fn send_back(&mut self, cx: &mut Cx, ip: &Received, protocol: u8, mut frame: Frame) -> Input {
        let (source, destination) = (self.locals.ip(ip.local), ip.source.ip());
        let header = ip::Header {
            source,
            destination,
            protocol,
            service: Service::default(),
            payload_len: frame.len(),
        };
        let headers = self.header_len() + ip::header_len(destination);
        let len = frame.len();
        frame.set_window(frame.head() - headers, headers + len);
        header.emit(&mut frame.data_mut()[self.header_len()..]);
        self.send_to(cx, ip.source, frame)
    }

    /// An error goes to the connection that it quotes, and has to fit it.
    fn input_error(
        &mut self,
        cx: &mut Cx,
        error: Error,
        quote: Option<Quote>,
        frame: Frame,
    ) -> Input {
        let Some(quote) = quote else {
            return Err((DropReason::Icmp, frame));
        };
        if !self.input_quote(cx, error, &quote) {
            // It may be a sibling's: who has the flow judges for itself.
            let key = self.quoted_flow(&quote);
            let Some(owner) = key.and_then(|key| self.tcp.owner_elsewhere(&key)) else {
                return Err((DropReason::Icmp, frame));
            };
            if !self.tcp.siblings.tell(owner, News::Quoted(error, quote)) {
                return Err((DropReason::StrayQueueFull, frame));
            }
        }
        cx.pool.free(frame);
        Ok(())
    }

    fn quoted_flow(&self, quote: &Quote) -> Option<FlowKey> {
        Some(FlowKey {
            remote: quote.destination.into(),
            local: self.locals.find(quote.source.into())?,
            local_port: quote.source_port,
            remote_port: quote.destination_port,
        })
    }

    pub(super) fn input_quote(&mut self, cx: &mut Cx, error: Error, quote: &Quote) -> bool {
        let Some(key) = self.quoted_flow(quote) else {
            return false;
        };
        let Error::PacketTooBig { mtu } = error else {
            return self.tcp.icmp_error(cx, &key, quote.seq, error);
        };
        match path_mtu(quote, mtu) {
            Some(mtu) => self.tcp.packet_too_big(cx, &key, quote.seq, mtu),
            None => false,
        }
    }
}

/// IPv4 packets are never made smaller than this by a router's word: a path of
/// less is one of history or of an attack (CVE-2005-1192; Linux's min_pmtu).
const FLOOR_V4: u16 = 552;
/// The least MTU of an IPv6 link (RFC 8200 section 5).
const FLOOR_V6: u32 = 1_280;

/// What a router's word of the next link's MTU means for the path; nothing when
/// it is no word that it may say.
fn path_mtu(quote: &Quote, mtu: u32) -> Option<u16> {
    let told = match quote.destination {
        // RFC 8201 section 4: less than the least is discarded.
        IpAddr::V6(_) => u16::try_from(mtu).ok().filter(|_| mtu >= FLOOR_V6)?,
        IpAddr::V4(_) if mtu == 0 => plateau_below(quote.packet_len),
        IpAddr::V4(_) => u16::try_from(mtu).ok()?.max(FLOOR_V4),
    };
    // It must be less than what did not fit.
    (usize::from(told) < quote.packet_len.max(usize::from(FLOOR_V4) + 1)).then_some(told)
}

/// RFC 1191 section 7: the next MTU in use below a packet's size, for routers that
/// do not tell theirs.
fn plateau_below(packet_len: usize) -> u16 {
    [32_000, 17_914, 8_166, 4_352, 2_002, 1_492, 1_006]
        .into_iter()
        .find(|&plateau| usize::from(plateau) < packet_len)
        .unwrap_or(FLOOR_V4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seq::Seq;

    /// Attack case 26.
    #[test]
    fn no_word_takes_a_path_below_its_floor_or_above_the_packet() {
        let quote = |destination: &str, packet_len| Quote {
            source: destination.parse().unwrap(),
            destination: destination.parse().unwrap(),
            packet_len,
            source_port: 1,
            destination_port: 2,
            seq: Seq(0),
        };
        let v4 = |mtu| path_mtu(&quote("198.18.0.2", 1_500), mtu);
        assert_eq!(v4(0), Some(1_492), "an old router");
        for mtu in [1, 67, 68, 551, 552] {
            assert_eq!(v4(mtu), Some(552), "{mtu}");
        }
        assert_eq!((v4(1_400), v4(1_500), v4(9_000)), (Some(1_400), None, None));
        assert_eq!(path_mtu(&quote("198.18.0.2", 1_006), 0), Some(552));
        let v6 = |mtu| path_mtu(&quote("2001:db8::2", 1_500), mtu);
        for mtu in [0, 1, 68, 1_279, 1_500, 65_536, u32::MAX] {
            assert_eq!(v6(mtu), None, "{mtu}");
        }
        assert_eq!((v6(1_280), v6(1_499)), (Some(1_280), Some(1_499)));
    }
}
