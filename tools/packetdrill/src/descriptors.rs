//! File descriptors: numbers of the process, and what the engine has behind them.
//!
//! The numbers are real (each is an open `/dev/null`), because packetdrill closes
//! those that a script left open with libc's own `close`.

use crate::errno::{Errno, Outcome};
use crate::readiness::Epoll;
use crate::send_buffer::{BufferOptions, SendBuffer};
use ringmill_core::sockets::{ConnectionId, ListenerId, SocketOptions};
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, IntoRawFd as _, OwnedFd};

/// What a descriptor is.
#[derive(Debug)]
pub(crate) enum Kind {
    Socket(Box<Socket>),
    Epoll(Epoll),
    /// One end of a pipe; splice is refused, so nothing is ever in it.
    Pipe,
}

#[derive(Debug)]
pub(crate) struct Descriptor {
    number: OwnedFd,
    pub(crate) kind: Kind,
    /// O_NONBLOCK
    pub(crate) is_nonblocking: bool,
}

/// A socket.
#[derive(Debug, Default)]
pub(crate) struct Socket {
    pub(crate) state: State,
    /// AF_INET6
    pub(crate) is_v6: bool,
    pub(crate) options: SocketOptions,
    /// What was set of the send buffer.
    pub(crate) buffer_options: BufferOptions,
    /// The send buffer, once there is a connection.
    pub(crate) send_buffer: Option<SendBuffer>,
    /// SO_RCVBUF, as Linux tells it.
    pub(crate) receive_buffer: i32,
    /// What bind was called with.
    pub(crate) local: Option<SocketAddr>,
    pub(crate) remote: Option<SocketAddr>,
    /// SO_ERROR
    pub(crate) error: Option<Errno>,
    /// shutdown(SHUT_RD)
    pub(crate) is_read_shut: bool,
    /// Grows with everything that wakes a waiting epoll.
    pub(crate) wakes: u64,
}

/// What a socket has in the engine.
#[derive(Debug, Default)]
pub(crate) enum State {
    /// Nothing yet.
    #[default]
    New,
    /// A listener, and what poll had to accept to know that it is ready.
    Listening(ListenerId, VecDeque<ConnectionId>),
    /// A connection whose handshake is under way.
    Connecting(ConnectionId),
    Connected(ConnectionId),
    /// The connection has ended.
    Over,
}

impl Socket {
    /// The connection, while there is one.
    pub(crate) fn connection(&self) -> Option<ConnectionId> {
        match self.state {
            State::Connecting(id) | State::Connected(id) => Some(id),
            _ => None,
        }
    }
}

/// All descriptors of a script.
#[derive(Debug, Default)]
pub(crate) struct Descriptors(BTreeMap<i32, Descriptor>);

impl Descriptors {
    /// Opens a number for `kind`.
    pub(crate) fn open(&mut self, kind: Kind) -> Outcome<i32> {
        let file = File::open("/dev/null").map_err(|_| Errno(libc::EMFILE))?;
        let number = file.as_raw_fd();
        let descriptor = Descriptor {
            number: file.into(),
            kind,
            is_nonblocking: false,
        };
        self.0.insert(number, descriptor);
        Ok(number)
    }

    /// Takes a descriptor out; its number is free once it is dropped.
    pub(crate) fn close(&mut self, number: i32) -> Outcome<Kind> {
        let descriptor = self.0.remove(&number).ok_or(Errno::BAD_DESCRIPTOR)?;
        Ok(descriptor.kind)
    }

    pub(crate) fn at(&mut self, number: i32) -> Outcome<&mut Descriptor> {
        self.0.get_mut(&number).ok_or(Errno::BAD_DESCRIPTOR)
    }

    pub(crate) fn contains(&self, number: i32) -> bool {
        self.0.contains_key(&number)
    }

    pub(crate) fn socket(&mut self, number: i32) -> Outcome<&mut Socket> {
        match &mut self.at(number)?.kind {
            Kind::Socket(socket) => Ok(socket),
            _ => Err(Errno(libc::ENOTSOCK)),
        }
    }

    pub(crate) fn epoll(&mut self, number: i32) -> Outcome<&mut Epoll> {
        match &mut self.at(number)?.kind {
            Kind::Epoll(epoll) => Ok(epoll),
            _ => Err(Errno::INVALID),
        }
    }

    /// All sockets that have a connection.
    pub(crate) fn connected(&mut self) -> impl Iterator<Item = (ConnectionId, &mut Socket)> {
        self.0.values_mut().filter_map(|d| match &mut d.kind {
            Kind::Socket(socket) => Some((socket.connection()?, &mut **socket)),
            _ => None,
        })
    }

    /// The socket that owns a listener.
    pub(crate) fn listener(&mut self, id: ListenerId) -> Option<&mut Socket> {
        self.0.values_mut().find_map(|d| match &mut d.kind {
            Kind::Socket(socket) => matches!(socket.state, State::Listening(own, _) if own == id)
                .then_some(&mut **socket),
            _ => None,
        })
    }
}

impl Drop for Descriptors {
    /// packetdrill has closed by itself what the script left open.
    fn drop(&mut self) {
        for descriptor in std::mem::take(&mut self.0).into_values() {
            let _ = descriptor.number.into_raw_fd();
        }
    }
}
