//! A station: one host on the stage, with sockets as POSIX has them and no call
//! that blocks. The engine is one ([`crate::engine`]), the kernel another
//! ([`crate::kernel`]), so a scenario is written once for both.

use crate::engine::Engine;
use ringmill_core::sockets::SocketOption;
use ringmill_core::tcp::SocketInfo;
use ringmill_core::time::Instant;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

/// A descriptor of a station's listener or connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fd(pub(crate) usize);

/// Why a call was refused, or how a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Errno {
    Aborted,
    Again,
    AddressInUse,
    AddressNotAvailable,
    BadDescriptor,
    BrokenPipe,
    ConnectionRefused,
    ConnectionReset,
    Invalid,
    NoBuffers,
    NotConnected,
    TimedOut,
    Unreachable,
    Other(i32),
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Errno::Aborted => "ECONNABORTED",
            Errno::Again => "EAGAIN (would block)",
            Errno::AddressInUse => "EADDRINUSE",
            Errno::AddressNotAvailable => "EADDRNOTAVAIL",
            Errno::BadDescriptor => "EBADF",
            Errno::BrokenPipe => "EPIPE",
            Errno::ConnectionRefused => "ECONNREFUSED",
            Errno::ConnectionReset => "ECONNRESET",
            Errno::Invalid => "EINVAL",
            Errno::NoBuffers => "ENOBUFS",
            Errno::NotConnected => "ENOTCONN",
            Errno::TimedOut => "ETIMEDOUT",
            Errno::Unreachable => "EHOSTUNREACH",
            Errno::Other(number) => return write!(f, "errno {number}"),
        })
    }
}

pub(crate) type Outcome<T> = Result<T, Errno>;

/// A listen, as socket, setsockopt, bind and listen do together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listen<'a> {
    /// All addresses if none (INADDR_ANY).
    pub(crate) address: Option<Ipv4Addr>,
    pub(crate) port: u16,
    pub(crate) backlog: usize,
    pub(crate) options: &'a [SocketOption],
}

/// A connect, as socket, setsockopt, bind and connect do together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connect<'a> {
    /// Port 0 is any port; none is no bind at all.
    pub(crate) from: Option<SocketAddr>,
    pub(crate) to: SocketAddr,
    pub(crate) options: &'a [SocketOption],
}

/// One host.
pub(crate) trait Station {
    /// A frame arrives.
    fn arrive(&mut self, frame: Vec<u8>);
    /// Does what is due; true when it should be asked again at this instant.
    fn step(&mut self, now: Instant) -> bool;
    /// The next frame that it has sent.
    fn take_sent(&mut self) -> Option<Vec<u8>>;
    /// When it will next have something to do; never too late.
    fn next_deadline(&self) -> Option<Instant>;
    /// All sockets, with their states.
    fn sockets(&mut self, now: Instant) -> Vec<SocketInfo>;

    fn listen(&mut self, now: Instant, listen: Listen) -> Outcome<Fd>;
    fn accept(&mut self, now: Instant, listener: Fd) -> Outcome<Fd>;
    fn connect(&mut self, now: Instant, connect: Connect) -> Outcome<Fd>;
    /// A connect is done: well, or not; none while it is under way.
    fn connected(&mut self, now: Instant, fd: Fd) -> Option<Outcome<()>>;
    fn send(&mut self, now: Instant, fd: Fd, bytes: &[u8]) -> Outcome<usize>;
    /// Up to `most` bytes; none at the end of the stream.
    fn receive(&mut self, now: Instant, fd: Fd, most: usize) -> Outcome<Vec<u8>>;
    fn shutdown(&mut self, now: Instant, fd: Fd) -> Outcome<()>;
    /// One more descriptor of the same connection.
    fn duplicate(&mut self, fd: Fd) -> Outcome<Fd>;
    /// A connection is closed when its last descriptor is.
    fn close(&mut self, now: Instant, fd: Fd);
    fn set(&mut self, now: Instant, fd: Fd, option: SocketOption) -> Outcome<()>;
    /// How a connection ended that was not closed here, or whose close lingered.
    fn ended(&mut self, now: Instant, fd: Fd) -> Option<Outcome<()>>;
    /// getsockname and getpeername.
    fn addresses(&mut self, now: Instant, fd: Fd) -> Option<(SocketAddr, SocketAddr)>;

    /// The engine, for what only it can be asked.
    fn as_engine(&mut self) -> Option<&mut Engine> {
        None
    }
}
