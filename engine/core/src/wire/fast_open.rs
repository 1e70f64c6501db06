//! The Fast Open option of a SYN (RFC 7413 section 4.1.1): a cookie, or the
//! request for one.
//!
//! ```text
//! | 34 | 2 |                       a request
//! | 34 | 2 + n | n bytes |         a cookie: 4 to 16 bytes, an even number
//! ```

use std::fmt;

/// What a client shows to send data with its SYN, and a server gave to it; only
/// the server can read it.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct FastOpenCookie {
    bytes: [u8; FastOpenCookie::LEN_MAX],
    len: u8,
}

impl FastOpenCookie {
    /// The option's kind.
    pub const KIND: u8 = 34;
    const LEN_MIN: usize = 4;
    const LEN_MAX: usize = 16;
    /// An option without a cookie: the request for one.
    pub const REQUEST: FastOpenCookie = FastOpenCookie {
        bytes: [0; FastOpenCookie::LEN_MAX],
        len: 0,
    };

    /// Reads the value of an option; none where it can't be one.
    pub fn new(value: &[u8]) -> Option<FastOpenCookie> {
        let is_cookie = (FastOpenCookie::LEN_MIN..=FastOpenCookie::LEN_MAX).contains(&value.len())
            && value.len().is_multiple_of(2);
        if !is_cookie && !value.is_empty() {
            return None;
        }
        let mut cookie = FastOpenCookie::REQUEST;
        cookie.bytes[..value.len()].copy_from_slice(value);
        cookie.len = u8::try_from(value.len()).ok()?;
        Some(cookie)
    }

    /// It only asks for a cookie.
    pub const fn is_request(&self) -> bool {
        self.len == 0
    }

    /// The cookie.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Bytes of the option, with NOPs behind it that fill the last word.
    pub(super) fn padded_len(&self) -> usize {
        (2 + usize::from(self.len)).next_multiple_of(4)
    }
}

impl fmt::Debug for FastOpenCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_slice() {
            [] => f.write_str("request"),
            cookie => write!(f, "{cookie:02x?}"),
        }
    }
}
