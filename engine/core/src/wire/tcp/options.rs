//! The options of a TCP header (RFC 9293 section 3.2, RFC 7323, RFC 2018, RFC 7413).

use crate::seq::Seq;
use crate::wire::checksum::Sum;
use crate::wire::fast_open::FastOpenCookie;
use crate::wire::{Malformed, put_words, u32_at};
use std::fmt;

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
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        *self = Options::default();
        if bytes.len() == ALIGNED_LEN && u32_at(bytes, 0) == ALIGNED {
            self.timestamps = Some(Timestamps {
                value: u32_at(bytes, 4),
                echo: u32_at(bytes, 8),
            });
            return Ok(());
        }
        self.read_any(bytes)
    }

    fn read_any(&mut self, mut bytes: &[u8]) -> Result<(), Malformed> {
        while let [kind, rest @ ..] = bytes {
            match *kind {
                kind::END => break,
                kind::NOP => bytes = rest,
                kind => {
                    // MUST-7: a length of less than 2 would never end.
                    let len = usize::from(*rest.first().ok_or(Malformed::Option)?);
                    let option = bytes.get(2..len).ok_or(Malformed::Option)?;
                    self.take(kind, option);
                    bytes = &bytes[len..];
                }
            }
        }
        Ok(())
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

    /// Writes the options, and adds them to a sum.
    #[inline(always)]
    pub(super) fn emit(&self, out: &mut [u8], sum: Sum) -> Sum {
        match self.timestamps {
            // What was written in narrow words a moment ago is better not read in wide ones.
            Some(timestamps) if out.len() == ALIGNED_LEN && !self.sack_permitted => {
                let words = [ALIGNED, timestamps.value, timestamps.echo];
                put_words(out, words);
                sum.add_words(words)
            }
            _ => {
                self.emit_any(out);
                sum.add_bytes(out)
            }
        }
    }

    /// Writes the options, each group a number of words. Only on a SYN is there more
    /// than one group, and an order of them.
    #[inline(never)]
    fn emit_any(&self, out: &mut [u8]) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> Result<Options, Malformed> {
        let mut options = Options::default();
        options.read(bytes).map(|()| options)
    }

    /// RFC 7413 section 4.1.1: a request, and cookies of each length; what can't be one
    /// is as an option that nobody knows.
    #[test]
    fn fast_open_cookies_are_even_and_of_4_to_16_bytes() {
        for len in 0..=20_u8 {
            let value: Vec<u8> = (0..len).collect();
            let mut option = vec![FastOpenCookie::KIND, 2 + len];
            option.extend(&value);
            let read = parse(&option).unwrap().fast_open;
            let is_one = len == 0 || (4..=16).contains(&len) && len % 2 == 0;
            assert_eq!(read.is_some(), is_one, "{len}");
            if let Some(cookie) = read {
                assert_eq!(cookie.as_slice(), value);
                assert_eq!(cookie.is_request(), len == 0);
            }
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
            assert_eq!(parse(options), Err(Malformed::Option), "{options:?}");
        }
    }

    /// RFC 9293 section 3.1: MUST-4, MUST-6, MUST-64.
    #[test]
    fn unknown_options_are_passed_over_at_any_alignment() {
        let options = parse(&[1, 253, 5, 1, 2, 3, 1, 3, 3, 15, 2, 4, 5, 180, 0, 9, 0]).unwrap();
        assert_eq!(options.mss, Some(1_460));
        assert_eq!(
            options.window_scale,
            Some(14),
            "clamped (RFC 7323 section 2.3)"
        );
        // After the end-of-list option nothing is looked at.
        assert_eq!(parse(&[0, 9, 0]), Ok(Options::default()));
    }
}
