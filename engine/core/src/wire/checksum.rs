//! The internet checksum (RFC 1071).

/// A one's complement sum under way.
///
/// Every piece but the last must have an even number of bytes, as in every
/// header that is summed; 2^31 words fit before the 64 bits overflow.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// Adds bytes as big-endian 16-bit words; a last odd byte is padded with zero.
    #[inline]
    #[must_use]
    pub fn add_bytes(self, bytes: &[u8]) -> Sum {
        // RFC 1071 section 2: the sum may be taken in any word size and byte
        // order, as long as it is folded and swapped back at the end.
        let mut sum = 0u64;
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            let word = u64::from_ne_bytes(*word);
            sum += (word & 0xffff_ffff) + (word >> 32);
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            for (to, from) in last.iter_mut().zip(rest) {
                *to = *from;
            }
            let last = u64::from_ne_bytes(last);
            sum += (last & 0xffff_ffff) + (last >> 32);
        }
        Sum(self.0 + u64::from(u16::from_be(fold(sum))))
    }

    /// Adds one word.
    #[inline]
    #[must_use]
    pub fn add_u16(self, word: u16) -> Sum {
        Sum(self.0 + u64::from(word))
    }

    /// Adds two words.
    #[inline]
    #[must_use]
    pub fn add_u32(self, words: u32) -> Sum {
        Sum(self.0 + u64::from(words >> 16) + u64::from(words & 0xffff))
    }

    /// The folded sum. Over data with its checksum in place it is 0xffff.
    #[inline]
    pub fn fold(self) -> u16 {
        fold(self.0)
    }

    /// The checksum: the complement of the folded sum.
    #[inline]
    pub fn complement(self) -> u16 {
        !self.fold()
    }
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "folded to 16 bits before")]
fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 section 4.1, word by word.
    fn naive(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        u16::try_from(sum).unwrap()
    }

    proptest! {
        #[test]
        fn agrees_with_the_word_by_word_sum(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0usize..100) {
            prop_assert_eq!(Sum::default().add_bytes(&bytes).fold(), naive(&bytes));
            let (a, b) = bytes.split_at((cut * 2).min(bytes.len() & !1));
            prop_assert_eq!(Sum::default().add_bytes(a).add_bytes(b).fold(), naive(&bytes));
        }
    }

    #[test]
    fn the_example_of_rfc_1071() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::default().add_bytes(&bytes).fold(), 0xddf2);
        assert_eq!(
            Sum::default()
                .add_u32(0x0001_f203)
                .add_u16(0xf4f5)
                .add_u16(0xf6f7)
                .complement(),
            !0xddf2
        );
    }
}
