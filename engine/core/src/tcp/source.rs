//! Bytes that an application registers once and sends any number of times.
//!
//! ```text
//! head | block | block | blo
//! ```
//!
//! A source is a head and behind it a body: a block that is repeated up to the body's
//! length. So several responses share a body, each with its own head, and a body of
//! a gigabyte takes no more memory than its block.

use std::sync::Arc;

/// A body up to this length is copied behind its head: most segments of short
/// responses hold bytes of both.
const SHORT: u64 = 16 << 10;

/// A block of bytes, repeated up to a length.
#[derive(Clone, Debug, Default)]
pub struct Body {
    block: Arc<[u8]>,
    len: u64,
}

impl Body {
    /// `len` bytes: `block` over and over, the last time not to its end.
    ///
    /// # Panics
    /// When there are to be bytes and the block is empty.
    pub fn repeated(block: &[u8], len: u64) -> Body {
        assert!(!block.is_empty() || len == 0, "bytes of an empty block");
        let whole = usize::try_from(len).unwrap_or(usize::MAX);
        Body {
            block: block[..block.len().min(whole)].into(),
            len,
        }
    }

    /// How long it is.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// It is of no length.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes from `at` on, up to `most`: at least one, if it is that long.
    fn stretch(&self, at: u64, most: usize) -> &[u8] {
        let left = usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX);
        if left == 0 {
            return &[];
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "less than the block's length"
        )]
        let at = (at % self.block.len() as u64) as usize;
        let block = &self.block[at..];
        &block[..block.len().min(left).min(most)]
    }
}

impl From<Arc<[u8]>> for Body {
    fn from(bytes: Arc<[u8]>) -> Body {
        Body {
            len: bytes.len() as u64,
            block: bytes,
        }
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Body {
        Arc::<[u8]>::from(bytes).into()
    }
}

/// What is registered: a head and a body.
#[derive(Clone, Debug)]
pub struct Source {
    head: Box<[u8]>,
    body: Body,
}

impl Source {
    /// A body behind a head.
    pub fn new(head: &[u8], body: &Body) -> Source {
        if body.len() > SHORT {
            return Source {
                head: head.into(),
                body: body.clone(),
            };
        }
        let mut bytes = head.to_vec();
        for at in 0..body.len() {
            bytes.extend(body.stretch(at, 1));
        }
        Source::from(bytes)
    }

    /// How long it is.
    pub(crate) fn len(&self) -> u64 {
        self.head.len() as u64 + self.body.len()
    }

    /// Bytes from `at` on, up to `most`: at least one, if it is that long.
    #[inline]
    pub(crate) fn stretch(&self, at: u64, most: usize) -> &[u8] {
        let start = usize::try_from(at).unwrap_or(usize::MAX);
        match self.head.get(start..) {
            Some(rest) if !rest.is_empty() => &rest[..rest.len().min(most)],
            _ => self.body.stretch(at - self.head.len() as u64, most),
        }
    }
}

impl From<Vec<u8>> for Source {
    fn from(bytes: Vec<u8>) -> Source {
        Source {
            head: bytes.into(),
            body: Body::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Read in pieces of any size from anywhere, a source is its head and its block
        /// over and over.
        #[test]
        fn a_source_is_its_head_and_its_body(
            head in prop::collection::vec(any::<u8>(), 0..20),
            block in prop::collection::vec(any::<u8>(), 1..9_000),
            len in 0u64..40_000,
            at in 0u64..40_100,
            most in 1usize..3_000,
        ) {
            let body: Vec<u8> = block.iter().copied().cycle().take(usize::try_from(len).unwrap()).collect();
            let bytes = [head.as_slice(), &body].concat();
            let source = Source::new(&head, &Body::repeated(&block, len));
            prop_assert_eq!(source.len(), bytes.len() as u64);
            let expected = bytes.get(usize::try_from(at).unwrap()..).unwrap_or(&[]);
            let read = source.stretch(at, most);
            prop_assert!(expected.starts_with(read));
            prop_assert!(read.len() <= most);
            prop_assert!(!read.is_empty() || expected.is_empty());
        }
    }

    #[test]
    fn a_long_body_is_shared_and_takes_a_block() {
        let body = Body::repeated(b"0123456789", 1 << 40);
        let (first, second) = (Source::new(b"a", &body), Source::new(b"bb", &body));
        assert_eq!(second.stretch((1 << 40) - 1, 9), b"345");
        assert!(std::ptr::eq(first.stretch(1, 9), second.stretch(2, 9)));
    }
}
