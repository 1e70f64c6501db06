//! TCP headers and options (RFC 9293 section 3.1 and 3.2, RFC 7323, RFC 2018).

use super::checksum::Sum;
use super::fast_open::FastOpenCookie;
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

/// The timestamps option (RFC 7323 section 3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timestamps {
    /// TSval: the sender's clock.
    pub value: u32,
    /// TSecr: the clock value that is echoed.
    pub echo: u32,
}

/// One block of the SACK option: data received from `left` up to `right`
/// (RFC 2018 section 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SackBlock {
    /// The first sequence number of the block.
    pub left: Seq,
    /// The sequence number after the block.
    pub right: Seq,
}

/// The blocks of a SACK option, in the order of the option: at most four, three
/// beside timestamps.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct SackBlocks {
    blocks: [SackBlock; SackBlocks::MAX],
    len: u8,
}

impl SackBlocks {
    /// What 40 bytes of options have room for.
    pub const MAX: usize = 4;

    /// Adds a block at the end; false when there is no room.
    pub fn push(&mut self, block: SackBlock) -> bool {
        let Some(slot) = self.blocks.get_mut(usize::from(self.len)) else {
            return false;
        };
        *slot = block;
        self.len += 1;
        true
    }

    /// The blocks in order.
    pub fn as_slice(&self) -> &[SackBlock] {
        &self.blocks[..usize::from(self.len)]
    }

    /// There is no block.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of the option with two NOPs in front, which align it.
    fn padded_len(&self) -> usize {
        if self.is_empty() {
            0
        } else {
            4 + 8 * usize::from(self.len)
        }
    }

    /// Reads the value of an option. One that is no whole number of blocks, or
    /// more than there can be, is as none.
    fn parse(value: &[u8]) -> SackBlocks {
        let mut blocks = SackBlocks::default();
        if value.len().is_multiple_of(8) && value.len() <= 8 * SackBlocks::MAX {
            for block in value.chunks_exact(8) {
                blocks.push(SackBlock {
                    left: Seq(u32_at(block, 0)),
                    right: Seq(u32_at(block, 4)),
                });
            }
        }
        blocks
    }
}

impl fmt::Debug for SackBlocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.as_slice()).finish()
    }
}

/// The order in which a SYN carries its options: stacks differ, and tests of
/// one expect its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OptionOrder {
    /// MSS, SACK-permitted beside timestamps, NOP and window scale.
    #[default]
    Linux,
    /// MSS, NOP and window scale, SACK-permitted beside timestamps.
    FreeBsd,
}

/// The options that the engine knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Maximum segment size (RFC 9293 section 3.7.1).
    pub mss: Option<u16>,
    /// Window scale shift, at most 14 (RFC 7323 section 2.3).
    pub window_scale: Option<u8>,
    /// Timestamps.
    pub timestamps: Option<Timestamps>,
    /// Selective acknowledgments are permitted (RFC 2018 section 2).
    pub sack_permitted: bool,
    /// Selective acknowledgments; on no SYN.
    pub sack: SackBlocks,
    /// Fast Open (RFC 7413); on no segment but a SYN.
    pub fast_open: Option<FastOpenCookie>,
    /// How they are written; what was read tells nothing of it.
    pub order: OptionOrder,
}

mod kind {
    pub(super) const END: u8 = 0;
    pub(super) const NOP: u8 = 1;
    pub(super) const MSS: u8 = 2;
    pub(super) const WINDOW_SCALE: u8 = 3;
    pub(super) const SACK_PERMITTED: u8 = 4;
    pub(super) const SACK: u8 = 5;
    pub(super) const TIMESTAMPS: u8 = 8;
}

/// What nearly all segments carry: timestamps alone, as RFC 7323 appendix A aligns
/// them.
const ALIGNED: u32 = u32::from_be_bytes([kind::NOP, kind::NOP, kind::TIMESTAMPS, 10]);
const ALIGNED_LEN: usize = 12;

impl Options {
    /// Reads options at any alignment. Unknown ones are passed over by their
    /// length; known ones of another length than theirs are as unknown.
    /// RFC 9293 section 3.1: MUST-4, MUST-5, MUST-6, MUST-64 and MUST-68.
    #[inline]
    fn parse(bytes: &[u8]) -> Result<Options, Malformed> {
        if bytes.len() == ALIGNED_LEN && u32_at(bytes, 0) == ALIGNED {
            return Ok(Options {
                timestamps: Some(Timestamps {
                    value: u32_at(bytes, 4),
                    echo: u32_at(bytes, 8),
                }),
                ..Options::default()
            });
        }
        Options::parse_any(bytes)
    }

    fn parse_any(mut bytes: &[u8]) -> Result<Options, Malformed> {
        let mut options = Options::default();
        while let [kind, rest @ ..] = bytes {
            match *kind {
                kind::END => break,
                kind::NOP => bytes = rest,
                kind => {
                    // MUST-7: a length of less than 2 would never end.
                    let len = usize::from(*rest.first().ok_or(Malformed::Option)?);
                    let option = bytes.get(2..len).ok_or(Malformed::Option)?;
                    options.take(kind, option);
                    bytes = &bytes[len..];
                }
            }
        }
        Ok(options)
    }

    fn take(&mut self, kind: u8, value: &[u8]) {
        match (kind, value) {
            (kind::MSS, &[a, b]) => self.mss = Some(u16::from_be_bytes([a, b])),
            // RFC 7323 section 2.3: more than 14 is used as 14.
            (kind::WINDOW_SCALE, &[shift]) => self.window_scale = Some(shift.min(14)),
            (kind::SACK_PERMITTED, &[]) => self.sack_permitted = true,
            (kind::SACK, value) => self.sack = SackBlocks::parse(value),
            (kind::TIMESTAMPS, value) if value.len() == 8 => {
                self.timestamps = Some(Timestamps {
                    value: u32_at(value, 0),
                    echo: u32_at(value, 4),
                });
            }
            (FastOpenCookie::KIND, value) => self.fast_open = FastOpenCookie::new(value),
            _ => {}
        }
    }

    /// Bytes that the options take, padded to whole words.
    #[inline]
    #[expect(
        clippy::len_without_is_empty,
        reason = "nobody asks whether there are any"
    )]
    pub fn len(&self) -> usize {
        let middle = match (self.timestamps, self.sack_permitted) {
            (Some(_), _) => 12,
            (None, true) => 4,
            (None, false) => 0,
        };
        4 * usize::from(self.mss.is_some())
            + middle
            + 4 * usize::from(self.window_scale.is_some())
            + self.sack.padded_len()
            + self.fast_open.map_or(0, |cookie| cookie.padded_len())
    }

    /// Writes the options, each group a number of words. Only on a SYN is there
    /// more than one group, and an order of them.
    #[inline]
    fn emit(&self, out: &mut [u8]) {
        if out.is_empty() {
            return;
        }
        let mut words = Words(out);
        if let Some(mss) = self.mss {
            let [a, b] = mss.to_be_bytes();
            words.put(&[kind::MSS, 4, a, b]);
        }
        if self.order == OptionOrder::FreeBsd {
            self.emit_window_scale(&mut words);
        }
        self.emit_timestamps(&mut words);
        if self.order == OptionOrder::Linux {
            self.emit_window_scale(&mut words);
        }
        self.emit_sack(&mut words);
        self.emit_fast_open(&mut words);
    }

    #[inline]
    fn emit_fast_open(&self, words: &mut Words) {
        if let Some(cookie) = self.fast_open {
            let mut option = [kind::NOP; 20];
            let value = cookie.as_slice();
            let len = 2 + value.len();
            option[0] = FastOpenCookie::KIND;
            option[1] = u8::try_from(len).unwrap_or(0);
            option[2..len].copy_from_slice(value);
            words.put(&option[..cookie.padded_len()]);
        }
    }

    #[inline]
    fn emit_window_scale(&self, words: &mut Words) {
        if let Some(shift) = self.window_scale {
            words.put(&[kind::NOP, kind::WINDOW_SCALE, 3, shift]);
        }
    }

    /// Selective acknowledgments, aligned by NOPs.
    #[inline]
    fn emit_sack(&self, words: &mut Words) {
        if self.sack.is_empty() {
            return;
        }
        words.put(&[kind::NOP, kind::NOP, kind::SACK, 2 + 8 * self.sack.len]);
        for block in self.sack.as_slice() {
            words.put(&block.left.0.to_be_bytes());
            words.put(&block.right.0.to_be_bytes());
        }
    }

    /// Timestamps with SACK-permitted or NOPs in front, which align them.
    #[inline]
    fn emit_timestamps(&self, words: &mut Words) {
        const SACK_PERMITTED: [u8; 2] = [kind::SACK_PERMITTED, 2];
        const NOPS: [u8; 2] = [kind::NOP; 2];
        match (self.timestamps, self.order) {
            (Some(timestamps), _) => {
                words.put(if self.sack_permitted {
                    &SACK_PERMITTED
                } else {
                    &NOPS
                });
                words.put(&[kind::TIMESTAMPS, 10]);
                words.put(&timestamps.value.to_be_bytes());
                words.put(&timestamps.echo.to_be_bytes());
            }
            (None, _) if !self.sack_permitted => {}
            (None, OptionOrder::Linux) => {
                words.put(&NOPS);
                words.put(&SACK_PERMITTED);
            }
            (None, OptionOrder::FreeBsd) => {
                words.put(&SACK_PERMITTED);
                // MUST-69: what follows an end is not read.
                words.put(
                    &[if self.fast_open.is_some() {
                        kind::NOP
                    } else {
                        kind::END
                    }; 2],
                );
            }
        }
    }
}

/// The rest of a buffer that is written from its front.
struct Words<'a>(&'a mut [u8]);

impl Words<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        let (here, rest) = std::mem::take(&mut self.0).split_at_mut(bytes.len());
        here.copy_from_slice(bytes);
        self.0 = rest;
    }
}

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
        Header::parse_with(segment, pseudo, policy)
    }

    /// The same, with the sum of the pseudo-header.
    #[inline]
    pub fn parse_with(
        segment: &[u8],
        pseudo: Sum,
        policy: ChecksumPolicy,
    ) -> Result<(Header, &[u8]), Malformed> {
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
        let header = Header {
            source_port: u16_at(fixed, 0),
            destination_port: u16_at(fixed, 2),
            seq: Seq(u32_at(fixed, 4)),
            ack: Seq(u32_at(fixed, 8)),
            flags: Flags(fixed[13]),
            window: u16_at(fixed, 14),
            urgent: u16_at(fixed, 18),
            options: Options::parse(options)?,
        };
        Ok((header, data))
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
        let sum = match self.options.timestamps {
            // What was written in narrow words a moment ago is better not read in wide ones.
            Some(timestamps) if options.len() == ALIGNED_LEN && !self.options.sack_permitted => {
                let words = [ALIGNED, timestamps.value, timestamps.echo];
                put_words(options, words);
                pseudo.add_words(words)
            }
            _ => {
                self.options.emit(options);
                pseudo.add_bytes(options)
            }
        };
        // RFC 9293 section 3.1, MUST-2: always a whole one.
        let checksum = sum.add_words(words).add_bytes(data).complement();
        words[4] |= u32::from(checksum) << 16;
        put_words(fixed, words);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
            let _ = Options::parse(&options);
        }
    }

    const PLAIN: Header = Header {
        source_port: 1,
        destination_port: 2,
        seq: Seq(3),
        ack: Seq(4),
        flags: Flags::ACK,
        window: 5,
        urgent: 0,
        options: Options {
            mss: None,
            window_scale: None,
            timestamps: None,
            sack_permitted: false,
            sack: SackBlocks {
                blocks: [SackBlock {
                    left: Seq(0),
                    right: Seq(0),
                }; SackBlocks::MAX],
                len: 0,
            },
            fast_open: None,
            order: OptionOrder::Linux,
        },
    };

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
                ..PLAIN
            };
            assert_eq!(&segment(&header, b"")[HEADER_LEN..], expected);
        }
    }

    /// RFC 7413 section 4.1.1: a request, and cookies of each length; what can't be one
    /// is as an option that nobody knows.
    #[test]
    fn fast_open_cookies_are_even_and_of_4_to_16_bytes() {
        for len in 0..=20_u8 {
            let value: Vec<u8> = (0..len).collect();
            let mut option = vec![FastOpenCookie::KIND, 2 + len];
            option.extend(&value);
            let read = Options::parse(&option).unwrap().fast_open;
            let is_one = len == 0 || (4..=16).contains(&len) && len % 2 == 0;
            assert_eq!(read.is_some(), is_one, "{len}");
            if let Some(cookie) = read {
                assert_eq!(cookie.as_slice(), value);
                assert_eq!(cookie.is_request(), len == 0);
            }
        }
    }

    /// RFC 9293 section 3.1: MUST-2 and MUST-3.
    #[test]
    fn a_flipped_bit_is_a_bad_checksum() {
        let good = segment(&PLAIN, b"data");
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
        let mut bytes = segment(&PLAIN, b"data");
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
            let mut bytes = segment(&PLAIN, b"data");
            bytes[12] = offset << 4;
            assert_eq!(
                Header::parse(&bytes, A, B, ChecksumPolicy::Full),
                Err(Malformed::HeaderLength)
            );
        }
    }

    #[test]
    fn impossible_option_lengths_end_the_segment() {
        for options in [
            &[9u8, 0][..],
            &[9, 1],
            &[2, 4, 5],
            &[8, 10, 1, 2],
            &[1, 1, 9],
        ] {
            assert_eq!(
                Options::parse(options),
                Err(Malformed::Option),
                "{options:?}"
            );
        }
    }

    /// RFC 9293 section 3.1: MUST-4, MUST-6, MUST-64.
    #[test]
    fn unknown_options_are_passed_over_at_any_alignment() {
        let options =
            Options::parse(&[1, 253, 5, 1, 2, 3, 1, 3, 3, 15, 2, 4, 5, 180, 0, 9, 0]).unwrap();
        assert_eq!(options.mss, Some(1_460));
        assert_eq!(
            options.window_scale,
            Some(14),
            "clamped (RFC 7323 section 2.3)"
        );
        // After the end-of-list option nothing is looked at.
        assert_eq!(Options::parse(&[0, 9, 0]), Ok(Options::default()));
    }
}
