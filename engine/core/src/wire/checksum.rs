//! The internet checksum (RFC 1071).

/// A one's complement sum under way.
///
/// Every piece but the last must have an even number of bytes, as in every
/// header that is summed.
///
/// RFC 1071 section 2: the sum may be taken in words of any size and in the order
/// of the machine's own bytes, as long as carries go around and the end is swapped
/// back. So here it is one of 64-bit words.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// Adds bytes as big-endian 16-bit words; a last odd byte is padded with zero.
    #[inline(always)]
    #[must_use]
    pub fn add_bytes(self, bytes: &[u8]) -> Sum {
        // The carries gather in the upper half.
        let mut sum = u128::from(self.0);
        let (blocks, rest) = bytes.as_chunks::<32>();
        for block in blocks {
            for word in block.as_chunks::<8>().0 {
                sum += u128::from(u64::from_ne_bytes(*word));
            }
        }
        let (words, rest) = rest.as_chunks::<8>();
        for word in words {
            sum += u128::from(u64::from_ne_bytes(*word));
        }
        Sum(around(sum)).add_rest(rest)
    }

    /// Adds fewer bytes than a word has.
    #[inline]
    fn add_rest(self, rest: &[u8]) -> Sum {
        let mut sum = u128::from(self.0);
        let (words, rest) = rest.as_chunks::<4>();
        for word in words {
            sum += u128::from(u32::from_ne_bytes(*word));
        }
        let (words, rest) = rest.as_chunks::<2>();
        for word in words {
            sum += u128::from(u16::from_ne_bytes(*word));
        }
        if let [last] = rest {
            sum += u128::from(u16::from_ne_bytes([*last, 0]));
        }
        Sum(around(sum))
    }

    /// Adds one word.
    #[inline]
    #[must_use]
    pub fn add_u16(self, word: u16) -> Sum {
        self.add_words([word.into()])
    }

    /// Adds two words.
    #[inline]
    #[must_use]
    pub fn add_u32(self, words: u32) -> Sum {
        self.add_words([words])
    }

    /// Adds two words each.
    #[inline]
    #[must_use]
    pub fn add_words<const N: usize>(self, words: [u32; N]) -> Sum {
        // There are far too few of them for a carry.
        let sum: u64 = words.iter().map(|word| u64::from(word.to_be())).sum();
        Sum(around(u128::from(self.0) + u128::from(sum)))
    }

    /// The folded sum. Over data with its checksum in place it is 0xffff.
    #[inline]
    pub fn fold(self) -> u16 {
        // Each half is added to the other: the upper then has the carry of the lower.
        let sum = (self.0.wrapping_add(self.0.rotate_left(32)) >> 32) as u32;
        let sum = (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16;
        u16::from_be(sum)
    }

    /// The checksum: the complement of the folded sum.
    #[inline]
    pub fn complement(self) -> u16 {
        !self.fold()
    }
}

/// Adds the carries in the upper half to the lower.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the two halves")]
fn around(sum: u128) -> u64 {
    let (sum, carry) = (sum as u64).overflowing_add((sum >> 64) as u64);
    sum + u64::from(carry)
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
