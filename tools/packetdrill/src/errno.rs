//! Error numbers, as the calls of libc answer them.

use ringmill_core::sockets::{Closed, ConnectError, ListenError, OptionError, SocketError};

/// One of libc's error numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) i32);

/// What a call answers: libc's result, or -1 and the number.
pub(crate) type Outcome<T> = Result<T, Errno>;

impl Errno {
    pub(crate) const AGAIN: Errno = Errno(libc::EAGAIN);
    pub(crate) const BAD_DESCRIPTOR: Errno = Errno(libc::EBADF);
    pub(crate) const FAULT: Errno = Errno(libc::EFAULT);
    pub(crate) const INVALID: Errno = Errno(libc::EINVAL);
    pub(crate) const NOT_CONNECTED: Errno = Errno(libc::ENOTCONN);
    pub(crate) const NOT_SUPPORTED: Errno = Errno(libc::EOPNOTSUPP);
    pub(crate) const NO_OPTION: Errno = Errno(libc::ENOPROTOOPT);
    pub(crate) const PIPE: Errno = Errno(libc::EPIPE);
}

impl From<SocketError> for Errno {
    fn from(error: SocketError) -> Errno {
        match error {
            SocketError::BadDescriptor | SocketError::NotConnected => Errno::NOT_CONNECTED,
            SocketError::WouldBlock => Errno::AGAIN,
            SocketError::BrokenPipe => Errno::PIPE,
        }
    }
}

impl From<ConnectError> for Errno {
    fn from(error: ConnectError) -> Errno {
        Errno(match error {
            ConnectError::AddressNotAvailable => libc::EADDRNOTAVAIL,
            ConnectError::AddressInUse => libc::EADDRINUSE,
            ConnectError::NoBuffers => libc::ENOBUFS,
            ConnectError::InvalidAddress => libc::EINVAL,
        })
    }
}

impl From<OptionError> for Errno {
    fn from(error: OptionError) -> Errno {
        match error {
            OptionError::BadDescriptor => Errno::BAD_DESCRIPTOR,
            OptionError::Invalid => Errno::INVALID,
            OptionError::NoBuffers => Errno(libc::ENOBUFS),
        }
    }
}

impl From<ListenError> for Errno {
    fn from(error: ListenError) -> Errno {
        Errno(match error {
            ListenError::AddressInUse { .. } => libc::EADDRINUSE,
            ListenError::AddressNotAvailable { .. } => libc::EADDRNOTAVAIL,
            ListenError::NoBuffers => libc::ENOBUFS,
        })
    }
}

/// The error that a socket has after its connection ended; none after an orderly end.
pub(crate) fn of_closed(why: Closed) -> Option<Errno> {
    Some(Errno(match why {
        Closed::Normally => return None,
        Closed::Refused => libc::ECONNREFUSED,
        Closed::Reset => libc::ECONNRESET,
        Closed::TimedOut => libc::ETIMEDOUT,
        Closed::Unreachable => libc::EHOSTUNREACH,
        Closed::Aborted => libc::ECONNABORTED,
    }))
}
