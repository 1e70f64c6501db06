//! Sequence numbers: 32 bits that wrap (RFC 9293 section 3.4).
//!
//! Two numbers can be compared only when they are less than 2^31 apart, which
//! TCP's windows guarantee for live data. There is no `Ord` on purpose: an
//! order that is not transitive must not reach a sort or a `<`.

use std::fmt;
use std::ops::{Add, AddAssign};

/// A TCP sequence number.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Seq(pub u32);

impl Seq {
    /// `self` comes before `other`.
    pub const fn precedes(self, other: Seq) -> bool {
        self.distance_from(other) < 0
    }

    /// `self` comes before `other` or is it.
    pub const fn precedes_or_is(self, other: Seq) -> bool {
        self.distance_from(other) <= 0
    }

    /// `self` comes after `other`.
    pub const fn follows(self, other: Seq) -> bool {
        self.distance_from(other) > 0
    }

    /// `self` comes after `other` or is it.
    pub const fn follows_or_is(self, other: Seq) -> bool {
        self.distance_from(other) >= 0
    }

    /// `self` is one of the `len` numbers that start at `start`.
    pub const fn is_in_window(self, start: Seq, len: u32) -> bool {
        self.0.wrapping_sub(start.0) < len
    }

    /// How many numbers lie from `earlier` up to `self`, modulo 2^32.
    pub const fn bytes_since(self, earlier: Seq) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }

    /// Signed distance from `other` to `self`.
    #[expect(clippy::cast_possible_wrap, reason = "the wrap is the definition")]
    pub const fn distance_from(self, other: Seq) -> i32 {
        self.0.wrapping_sub(other.0) as i32
    }

    /// The later of the two.
    pub const fn max(self, other: Seq) -> Seq {
        if self.follows(other) { self } else { other }
    }

    /// The earlier of the two.
    pub const fn min(self, other: Seq) -> Seq {
        if self.precedes(other) { self } else { other }
    }

    /// The number `len` before this one.
    #[must_use]
    pub const fn back(self, len: u32) -> Seq {
        Seq(self.0.wrapping_sub(len))
    }
}

impl Add<u32> for Seq {
    type Output = Seq;
    fn add(self, len: u32) -> Seq {
        Seq(self.0.wrapping_add(len))
    }
}

impl AddAssign<u32> for Seq {
    fn add_assign(&mut self, len: u32) {
        *self = *self + len;
    }
}

impl fmt::Debug for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn order_survives_the_wrap(start: u32, len in 1u32..0x7fff_ffff) {
            let (a, b) = (Seq(start), Seq(start) + len);
            prop_assert!(a.precedes(b) && b.follows(a));
            prop_assert!(!b.precedes_or_is(a) && !a.follows_or_is(b));
            prop_assert_eq!(b.bytes_since(a), len);
            prop_assert_eq!(b.back(len), a);
            prop_assert_eq!((a.max(b), a.min(b)), (b, a));
            prop_assert!(a.is_in_window(a, 1) && !b.is_in_window(a, len));
            prop_assert!(b.back(1).is_in_window(a, len));
        }
    }
}
