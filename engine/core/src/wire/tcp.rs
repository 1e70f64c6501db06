//! TCP headers (RFC 9293 section 3.1).

mod options;

pub use options::{OptionOrder, Options, SackBlock, SackBlocks, Timestamps};

use super::checksum::Sum;
use super::ip::{PROTOCOL_TCP, pseudo_header};
use super::{ChecksumPolicy, Malformed, put_words, u16_at, u32_at};
use crate::seq::Seq;
use std::fmt;
use std::net::IpAddr;
use std::ops::BitOr;

/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;
/// Bytes of the longest header.
pub const MAX_HEADER_LEN: usize = 60;

/// The control bits.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Flags(pub u8);

impl Flags {
    /// No more data from the sender.
    pub const FIN: Flags = Flags(0x01);
    /// Synchronize sequence numbers.
    pub const SYN: Flags = Flags(0x02);
    /// Reset the connection.
    pub const RST: Flags = Flags(0x04);
    /// Push.
    pub const PSH: Flags = Flags(0x08);
    /// The acknowledgment field is significant.
    pub const ACK: Flags = Flags(0x10);
    /// The urgent pointer is significant.
    pub const URG: Flags = Flags(0x20);
    /// ECN echo (RFC 3168).
    pub const ECE: Flags = Flags(0x40);
    /// Congestion window reduced (RFC 3168).
    pub const CWR: Flags = Flags(0x80);

    /// All bits of `other` are set.
    #[inline]
    pub const fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// These but for the bits of `other`.
    #[inline]
    pub const fn without(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
    }
}

impl BitOr for Flags {
    type Output = Flags;
    #[inline]
    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = ["F", "S", "R", "P", "A", "U", "E", "C"];
        (0..8)
            .filter(|bit| self.0 >> bit & 1 == 1)
            .try_for_each(|bit| f.write_str(letters[bit]))
    }
}

/// A header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// SEG.SEQ
    pub seq: Seq,
    /// SEG.ACK, if ACK is set.
    pub ack: Seq,
    /// Control bits.
    pub flags: Flags,
    /// SEG.WND, before scaling.
    /// Unsigned (RFC 9293 section 3.1, MUST-1).
    pub window: u16,
    /// Urgent pointer, if URG is set.
    pub urgent: u16,
    /// Options.
    pub options: Options,
}

impl Header {
    /// Splits a segment into header and data.
    #[inline]
    pub fn parse(
        segment: &[u8],
        source: impl Into<IpAddr>,
        destination: impl Into<IpAddr>,
        policy: ChecksumPolicy,
    ) -> Result<(Header, &[u8]), Malformed> {
        let (source, destination) = (source.into(), destination.into());
        let pseudo = pseudo_header(source, destination, PROTOCOL_TCP, segment.len());
        let mut header = Header::default();
        let data = header.read(segment, pseudo, policy)?;
        Ok((header, data))
    }

    /// The same with the sum of the pseudo-header, and where the header is to stay: it
    /// is too large to be moved for nothing. What it held before is gone in any case.
    #[inline]
    pub(crate) fn read<'a>(
        &mut self,
        segment: &'a [u8],
        pseudo: Sum,
        policy: ChecksumPolicy,
    ) -> Result<&'a [u8], Malformed> {
        let (fixed, rest) = segment
            .split_first_chunk::<HEADER_LEN>()
            .ok_or(Malformed::Truncated)?;
        let header_len = usize::from(fixed[12] >> 4) * 4;
        let (options, data) = header_len
            .checked_sub(HEADER_LEN)
            .and_then(|len| rest.split_at_checked(len))
            .ok_or(Malformed::HeaderLength)?;
        let is_whole = pseudo.add_bytes(segment).fold() == 0xffff;
        let is_partial =
            || policy == ChecksumPolicy::AcceptPartial && u16_at(fixed, 16) == pseudo.fold();
        if !is_whole && !is_partial() {
            return Err(Malformed::Checksum);
        }
        self.source_port = u16_at(fixed, 0);
        self.destination_port = u16_at(fixed, 2);
        self.seq = Seq(u32_at(fixed, 4));
        self.ack = Seq(u32_at(fixed, 8));
        self.flags = Flags(fixed[13]);
        self.window = u16_at(fixed, 14);
        self.urgent = u16_at(fixed, 18);
        self.options.read(options)?;
        Ok(data)
    }

    /// Bytes that the header takes.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "a header is never empty")]
    pub fn len(&self) -> usize {
        HEADER_LEN + self.options.len()
    }

    /// Writes the header in front of the data that `segment` already holds, and
    /// the checksum over both (RFC 9293 section 3.1, MUST-2).
    #[inline]
    pub fn emit(
        &self,
        segment: &mut [u8],
        source: impl Into<IpAddr>,
        destination: impl Into<IpAddr>,
    ) {
        let (source, destination) = (source.into(), destination.into());
        let pseudo = pseudo_header(source, destination, PROTOCOL_TCP, segment.len());
        let len = self.len();
        let (fixed, rest) = segment.split_at_mut(HEADER_LEN);
        let offset = u32::try_from(len / 4).unwrap_or(0);
        let mut words = [
            u32::from(self.source_port) << 16 | u32::from(self.destination_port),
            self.seq.0,
            self.ack.0,
            offset << 28 | u32::from(self.flags.0) << 16 | u32::from(self.window),
            self.urgent.into(),
        ];
        let (options, data) = rest.split_at_mut(len - HEADER_LEN);
        let sum = self.options.emit(options, pseudo);
        // RFC 9293 section 3.1, MUST-2: always a whole one.
        let checksum = sum.add_words(words).add_bytes(data).complement();
        words[4] |= u32::from(checksum) << 16;
        put_words(fixed, words);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::fast_open::FastOpenCookie;
    use crate::wire::put_u16;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    const A: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
    const B: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
    const A6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    const B6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0xff, 2);

    fn header() -> impl Strategy<Value = Header> {
        let options = (
            any::<Option<u16>>(),
            prop::option::of(0u8..15),
            any::<Option<(u32, u32)>>(),
            any::<bool>(),
            any::<bool>(),
            prop::collection::vec(any::<(u32, u32)>(), 0..=2),
            prop::option::of(prop::collection::vec(any::<u8>(), 0..=16)),
        )
            .prop_map(
                |(mss, window_scale, timestamps, sack_permitted, freebsd, blocks, cookie)| {
                    let mut sack = SackBlocks::default();
                    for (left, right) in blocks {
                        sack.push(SackBlock {
                            left: Seq(left),
                            right: Seq(right),
                        });
                    }
                    Options {
                        mss,
                        window_scale,
                        timestamps: timestamps.map(|(value, echo)| Timestamps { value, echo }),
                        sack_permitted,
                        sack,
                        // Cookies are on SYNs, and blocks are not.
                        fast_open: cookie
                            .filter(|_| sack.is_empty())
                            .and_then(|cookie| FastOpenCookie::new(&cookie)),
                        // Blocks are on no SYN, and only a SYN is written in another order.
                        order: if freebsd && sack.is_empty() {
                            OptionOrder::FreeBsd
                        } else {
                            OptionOrder::Linux
                        },
                    }
                },
            );
        (any::<[u16; 4]>(), any::<(u32, u32)>(), any::<u8>(), options).prop_map(
            |(words, (seq, ack), flags, options)| Header {
                source_port: words[0],
                destination_port: words[1],
                seq: Seq(seq),
                ack: Seq(ack),
                flags: Flags(flags),
                window: words[2],
                urgent: words[3],
                options,
            },
        )
    }

    fn segment(header: &Header, data: &[u8]) -> Vec<u8> {
        let mut segment = vec![0; header.len()];
        segment.extend(data);
        header.emit(&mut segment, A, B);
        segment
    }

    proptest! {
        /// RFC 9293 MUST-2, on both families.
        #[test]
        fn another_implementation_reads_what_is_written(header in header(), data in prop::collection::vec(any::<u8>(), 0..100)) {
            let bytes = segment(&header, &data);
            let mut read = header;
            read.options.order = OptionOrder::default();
            prop_assert_eq!(Header::parse(&bytes, A, B, ChecksumPolicy::Full), Ok((read, &data[..])));
            let (theirs, rest) = etherparse::TcpHeader::from_slice(&bytes).unwrap();
            prop_assert_eq!(theirs.sequence_number, header.seq.0);
            prop_assert_eq!(theirs.calc_checksum_ipv4_raw(A.octets(), B.octets(), rest).unwrap(), theirs.checksum);
            let mut on_v6 = bytes.clone();
            header.emit(&mut on_v6, A6, B6);
            prop_assert_eq!(Header::parse(&on_v6, A6, B6, ChecksumPolicy::Full), Ok((read, &data[..])));
            let checksum = theirs.calc_checksum_ipv6_raw(A6.octets(), B6.octets(), rest).unwrap();
            prop_assert_eq!(u16_at(&on_v6, 16), checksum);
            let known = theirs.options_iterator().filter(|o| !matches!(o, Ok(etherparse::TcpOptionElement::Noop))).count();
            let o = header.options;
            let expected = usize::from(o.mss.is_some()) + usize::from(o.window_scale.is_some())
                + usize::from(o.timestamps.is_some()) + usize::from(o.sack_permitted)
                + usize::from(!o.sack.is_empty());
            // It reads options up to the first that it does not know: the last here.
            prop_assert_eq!(known, expected + usize::from(o.fast_open.is_some()));
            for option in theirs.options_iterator() {
                if let Ok(etherparse::TcpOptionElement::SelectiveAcknowledgement(first, rest)) = option {
                    let theirs = std::iter::once(first).chain(rest.into_iter().flatten());
                    let ours = o.sack.as_slice().iter().map(|block| (block.left.0, block.right.0));
                    prop_assert!(theirs.eq(ours));
                }
            }
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..100), options in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = Header::parse(&bytes, A, B, ChecksumPolicy::Full);
            let _ = Options::default().read(&options);
        }
    }

    fn plain() -> Header {
        Header {
            source_port: 1,
            destination_port: 2,
            seq: Seq(3),
            ack: Seq(4),
            flags: Flags::ACK,
            window: 5,
            urgent: 0,
            options: Options::default(),
        }
    }

    /// Byte by byte, as each stack writes its SYN.
    #[test]
    fn a_syn_carries_its_options_in_the_order_of_its_profile() {
        let full = Options {
            mss: Some(1_460),
            window_scale: Some(6),
            timestamps: Some(Timestamps { value: 1, echo: 2 }),
            sack_permitted: true,
            ..Options::default()
        };
        let bare = Options {
            timestamps: None,
            ..full
        };
        let (mss, scale) = ([2, 4, 5, 180], [1, 3, 3, 6]);
        let timestamps = [4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
        for (options, order, expected) in [
            (
                full,
                OptionOrder::Linux,
                [&mss[..], &timestamps, &scale].concat(),
            ),
            (
                full,
                OptionOrder::FreeBsd,
                [&mss[..], &scale, &timestamps].concat(),
            ),
            (
                bare,
                OptionOrder::Linux,
                [&mss[..], &[1, 1, 4, 2], &scale].concat(),
            ),
            (
                bare,
                OptionOrder::FreeBsd,
                [&mss[..], &scale, &[4, 2, 0, 0]].concat(),
            ),
        ] {
            let header = Header {
                options: Options { order, ..options },
                ..plain()
            };
            assert_eq!(&segment(&header, b"")[HEADER_LEN..], expected);
        }
    }

    /// RFC 9293 section 3.1: MUST-2 and MUST-3.
    #[test]
    fn a_flipped_bit_is_a_bad_checksum() {
        let good = segment(&plain(), b"data");
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(
                Header::parse(&bad, A, B, ChecksumPolicy::Full).is_err(),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn a_partial_checksum_is_accepted_only_where_the_policy_says_so() {
        let mut bytes = segment(&plain(), b"data");
        let partial = pseudo_header(A.into(), B.into(), PROTOCOL_TCP, bytes.len()).fold();
        put_u16(&mut bytes, 16, partial);
        assert_eq!(
            Header::parse(&bytes, A, B, ChecksumPolicy::Full),
            Err(Malformed::Checksum)
        );
        assert!(Header::parse(&bytes, A, B, ChecksumPolicy::AcceptPartial).is_ok());
        put_u16(&mut bytes, 16, !partial);
        assert_eq!(
            Header::parse(&bytes, A, B, ChecksumPolicy::AcceptPartial),
            Err(Malformed::Checksum)
        );
    }

    #[test]
    fn a_data_offset_that_lies_is_refused() {
        for offset in [0u8, 4, 7] {
            let mut bytes = segment(&plain(), b"data");
            bytes[12] = offset << 4;
            assert_eq!(
                Header::parse(&bytes, A, B, ChecksumPolicy::Full),
                Err(Malformed::HeaderLength)
            );
        }
    }
}
