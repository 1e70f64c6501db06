//! The sockets that an application sees, with the meanings that POSIX gives
//! them, and no call that blocks.
//!
//! Handles are copied freely and never dangle: a call on one whose connection is
//! gone is refused with [`SocketError::BadDescriptor`].
//!
//! A handle is of one connection, from the connect or the accept that made it to its
//! end. So none can be connected again (EISCONN has no place), and while a connect
//! is in progress a send is queued and a receive would block, as RFC 9293 sections
//! 3.10.2 and 3.10.3 have it.

use crate::address::Address;
use crate::frame::{Frame, FramePool};
use crate::locals::Locals;
use crate::seq::Seq;
use crate::tcp::{Content, Cx, Events, Gauges, Shared, State, Tcb, TcbFlags, Tcp, may_connect_to};
use crate::time::{Duration, Instant};
use std::net::{IpAddr, SocketAddr};

pub use crate::tcp::{
    Body, Closed, ConnectError, ConnectionId, Ending, HeldUp, Info, ListenError, ListenerId,
    OptionError, Repair, SocketOption, SocketOptions, SoftError, Source, SourceId,
};

/// Why a call on a connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SocketError {
    /// EBADF: the connection has ended, or was closed by this application.
    #[error("no such connection (EBADF)")]
    BadDescriptor,
    /// EAGAIN: nothing to receive now, or no room to send.
    #[error("would block (EAGAIN)")]
    WouldBlock,
    /// EPIPE: the sending side is closed.
    #[error("the sending side is closed (EPIPE)")]
    BrokenPipe,
    /// ENOTCONN: both sides are closed, and what was received can still be read; there
    /// is nothing left to shut down.
    #[error("no longer connected (ENOTCONN)")]
    NotConnected,
}

/// The largest amount of data that one connection may have queued by reference:
/// half of what sequence numbers can tell apart (RFC 9293 section 3.4).
pub const REFERENCED_MAX: u32 = 1 << 30;

/// The sockets of one shard, for the length of a callback.
pub struct Sockets<'a> {
    pub(crate) tcp: &'a mut Tcp,
    pub(crate) locals: &'a mut Locals,
    pub(crate) cx: Cx<'a>,
}

impl<'a> Sockets<'a> {
    pub(crate) fn new(
        tcp: &'a mut Tcp,
        locals: &'a mut Locals,
        now: Instant,
        pool: &'a mut FramePool,
    ) -> Sockets<'a> {
        Sockets {
            tcp,
            locals,
            cx: Cx { now, pool },
        }
    }

    /// The instant of this step.
    pub fn now(&self) -> Instant {
        self.cx.now
    }

    /// Listens on `port` of one local address, or of all of both families: none
    /// or the unspecified address of either says so.
    pub fn listen(
        &mut self,
        address: Option<IpAddr>,
        port: u16,
        backlog: usize,
        options: SocketOptions,
    ) -> Result<ListenerId, ListenError> {
        let local = address
            .filter(|address| !address.is_unspecified())
            .map(|address| {
                let found = self.locals.find(address.into());
                found.ok_or(ListenError::AddressNotAvailable { address })
            })
            .transpose()?;
        self.tcp.listen(local, port, backlog, options)
    }

    /// Stops listening; connections that were not accepted yet are reset.
    pub fn close_listener(&mut self, listener: ListenerId) {
        self.tcp.close_listener(&mut self.cx, listener);
    }

    /// Stops all listening.
    pub fn close_all_listeners(&mut self) {
        self.tcp.close_all_listeners(&mut self.cx);
    }

    /// Takes the head of the accept queue.
    pub fn accept(&mut self, listener: ListenerId) -> Option<ConnectionId> {
        self.tcp.accept(listener)
    }

    /// One can connect to a host's port. Not to an address of this stack itself: there
    /// is no loopback, and a segment that comes from an own address is refused.
    fn may_connect_to(&self, remote: SocketAddr) -> bool {
        let address = Address::from(remote.ip());
        may_connect_to(remote)
            && !self.locals.is_broadcast(address)
            && self.locals.find(address).is_none()
    }

    /// Opens a connection to `remote`. The local addresses of its family take
    /// turns; one whose ports are all taken towards `remote` is passed over, and
    /// without one of its family there is no address to connect from.
    pub fn connect(
        &mut self,
        remote: SocketAddr,
        token: u32,
        options: SocketOptions,
    ) -> Result<ConnectionId, ConnectError> {
        if !self.may_connect_to(remote) {
            return Err(ConnectError::InvalidAddress);
        }
        let family = Address::from(remote.ip());
        let count = self.locals.count_towards(family);
        for _ in 0..count {
            let Some(local) = self.locals.take_turn(family) else {
                break;
            };
            match self
                .tcp
                .connect(&mut self.cx, (local, None), remote, token, options)
            {
                Err(ConnectError::AddressNotAvailable) => {}
                result => return result,
            }
        }
        self.tcp.shared.stats.ports_exhausted += u64::from(count > 0);
        Err(ConnectError::AddressNotAvailable)
    }

    /// Opens a connection from `local`, as bind and connect do together: from any
    /// address where that is unspecified, and from any port where that is 0. What
    /// listens on the port keeps it (EADDRINUSE), unless both have SO_REUSEADDR.
    pub fn connect_from(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        token: u32,
        options: SocketOptions,
    ) -> Result<ConnectionId, ConnectError> {
        if local.ip().is_unspecified() && local.port() == 0 {
            return self.connect(remote, token, options);
        }
        if !self.may_connect_to(remote) {
            return Err(ConnectError::InvalidAddress);
        }
        let family = Address::from(remote.ip());
        let index = if local.ip().is_unspecified() {
            self.locals.take_turn(family)
        } else {
            let address = Address::from(local.ip());
            self.locals
                .find(address)
                .filter(|_| address.is_v4() == family.is_v4())
        };
        let index = index.ok_or(ConnectError::AddressNotAvailable)?;
        let port = Some(local.port()).filter(|&port| port != 0);
        self.tcp
            .connect(&mut self.cx, (index, port), remote, token, options)
    }

    /// Sets an option of a connection.
    pub fn set_option(
        &mut self,
        connection: ConnectionId,
        option: SocketOption,
    ) -> Result<(), OptionError> {
        self.tcp.set_option(self.cx.now, connection, option)
    }

    /// The options of a connection.
    pub fn options(&self, connection: ConnectionId) -> Option<SocketOptions> {
        let tcb = self.tcp.connection(connection)?;
        Some(*self.tcp.shared.options(tcb))
    }

    /// Sets an option of a listener: connections whose SYN comes later have it.
    pub fn set_listener_option(
        &mut self,
        listener: ListenerId,
        option: SocketOption,
    ) -> Result<(), OptionError> {
        self.tcp.set_listener_option(listener, option)
    }

    /// The options of a listener.
    pub fn listener_options(&self, listener: ListenerId) -> Option<SocketOptions> {
        self.tcp.listener_options(listener)
    }

    /// The application's word for a connection: 0 until it is set.
    pub fn token(&self, connection: ConnectionId) -> u32 {
        self.tcp.connection(connection).map_or(0, |tcb| tcb.token)
    }

    /// Sets the application's word for a connection.
    pub fn set_token(&mut self, connection: ConnectionId, token: u32) -> Result<(), SocketError> {
        self.tcb(connection)?.token = token;
        Ok(())
    }

    /// The state of a connection.
    pub fn state(&self, connection: ConnectionId) -> Option<State> {
        self.tcp.connection(connection).map(|tcb| tcb.state)
    }

    /// The smoothed round-trip time of a connection (RFC 6298), once there is one.
    pub fn smoothed_rtt(&self, connection: ConnectionId) -> Option<Duration> {
        self.tcp.connection(connection)?.rtt.smoothed()
    }

    /// What is known of a connection (TCP_INFO).
    pub fn info(&self, connection: ConnectionId) -> Option<Info> {
        self.tcp.info(self.cx.now, connection)
    }

    /// Bytes that fit into the SYN which waits for what is sent first
    /// (TCP_FASTOPEN_CONNECT); 0 where none waits.
    pub fn syn_room(&self, connection: ConnectionId) -> u32 {
        self.tcp.connection(connection).map_or(0, Tcb::syn_room)
    }

    /// The remote address of a connection (getpeername).
    pub fn remote(&self, connection: ConnectionId) -> Option<SocketAddr> {
        let key = self.tcp.connection(connection)?.key;
        Some(SocketAddr::new(key.remote.ip(), key.remote_port))
    }

    /// The local address of a connection (getsockname).
    pub fn local(&self, connection: ConnectionId) -> Option<SocketAddr> {
        let key = self.tcp.connection(connection)?.key;
        Some(SocketAddr::new(self.locals.ip(key.local), key.local_port))
    }

    /// What ICMP reported of a connection since this was asked last (RFC 9293
    /// section 3.9.1.8, MUST-47): it goes on trying.
    pub fn take_soft_error(&mut self, connection: ConnectionId) -> Option<SoftError> {
        let tcb = self.tcp.connection_mut(connection)?;
        tcb.cold.as_deref_mut()?.soft_error.take()
    }

    fn tcb(&mut self, connection: ConnectionId) -> Result<&mut Tcb, SocketError> {
        self.tcp
            .connection_mut(connection)
            .ok_or(SocketError::BadDescriptor)
    }

    /// The same, as long as it is not only still read.
    fn connected(&mut self, connection: ConnectionId) -> Result<&mut Tcb, SocketError> {
        match self.tcb(connection)? {
            tcb if tcb.state == State::Closed => Err(SocketError::NotConnected),
            tcb => Ok(tcb),
        }
    }

    /// The next received bytes, as they lie in their frame; empty at the end of
    /// the stream. They stay until [`consume`](Sockets::consume) takes them.
    pub fn receive(&self, connection: ConnectionId) -> Result<&[u8], SocketError> {
        let tcb = self
            .tcp
            .connection(connection)
            .ok_or(SocketError::BadDescriptor)?;
        match self
            .tcp
            .shared
            .chunks
            .front(tcb.receive_queue)
            .map(|chunk| &chunk.content)
        {
            Some(Content::Frame(frame)) => Ok(frame.data()),
            _ if self.is_at_end(tcb) => Ok(&[]),
            _ => Err(SocketError::WouldBlock),
        }
    }

    fn is_at_end(&self, tcb: &Tcb) -> bool {
        let is_over = tcb.is(TcbFlags::FIN_RECEIVED) || tcb.is(TcbFlags::READ_CLOSED);
        tcb.receive_queued == 0 && is_over
    }

    /// Takes `count` received bytes off; their frames go home and the window opens.
    pub fn consume(&mut self, connection: ConnectionId, count: usize) {
        let Tcp {
            connections,
            shared,
            ..
        } = &mut *self.tcp;
        let Some(tcb) = connections
            .get_mut(connection.index)
            .filter(|t| t.generation == connection.generation)
        else {
            return;
        };
        let count = u32::try_from(count)
            .unwrap_or(u32::MAX)
            .min(tcb.receive_queued);
        shared
            .chunks
            .skip(&mut tcb.receive_queue, u64::from(count), self.cx.pool);
        tcb.receive_queued -= count;
        shared.consumed(&self.cx, connection.index, tcb);
    }

    /// Moves received data of a connection to its own send queue without copying
    /// it, as far as the send buffer allows: how many bytes.
    pub fn echo(&mut self, connection: ConnectionId) -> Result<usize, SocketError> {
        let Tcp {
            connections,
            shared,
            ..
        } = &mut *self.tcp;
        let tcb = connections
            .get_mut(connection.index)
            .filter(|tcb| tcb.generation == connection.generation)
            .ok_or(SocketError::BadDescriptor)?;
        if !tcb.state.may_send() {
            return Err(SocketError::BrokenPipe);
        }
        let mut moved = 0;
        while shared.send_room(tcb) > 0 {
            let Some(chunk) = shared.chunks.pop_front(&mut tcb.receive_queue) else {
                break;
            };
            let len = u32::try_from(chunk.content.len()).unwrap_or(0);
            if let Err(Content::Frame(frame)) =
                shared
                    .chunks
                    .push_back(&mut tcb.send_queue, chunk.content, Seq(0), false)
            {
                self.cx.pool.free(frame);
                break;
            }
            tcb.receive_queued -= len;
            tcb.send_queued += len;
            tcb.note_ending(Ending::Push);
            moved += len as usize;
        }
        if tcb.receive_queued > 0 {
            tcb.events.add(Events::WANTS_WRITABLE);
        }
        shared.queue_data(self.cx.now, connection.index, tcb);
        shared.consumed(&self.cx, connection.index, tcb);
        Ok(moved)
    }

    /// Makes bytes known that will be sent any number of times.
    pub fn register(&mut self, source: impl Into<Source>) -> SourceId {
        self.tcp.shared.chunks.register(source.into())
    }

    /// Queues `len` bytes of a source from `offset` on, by reference, and tells
    /// how many of them were queued: all, up to [`REFERENCED_MAX`]. A reference
    /// takes no memory, so it may pass the send buffer's size, but none is taken
    /// while the buffer is full.
    pub fn send_from(
        &mut self,
        connection: ConnectionId,
        source: SourceId,
        offset: u64,
        len: u64,
    ) -> Result<u64, SocketError> {
        let now = self.cx.now;
        let (shared, tcb) = self.sendable(connection)?;
        let available = shared.chunks.source_len(source).saturating_sub(offset);
        if shared.send_room(tcb) == 0 {
            tcb.events.add(Events::WANTS_WRITABLE);
            return Err(SocketError::WouldBlock);
        }
        let len = len
            .min(available)
            .min(u64::from(REFERENCED_MAX.saturating_sub(tcb.send_queued)));
        let content = Content::Source {
            source,
            offset,
            len,
        };
        enqueue(shared, now, connection.index, tcb, content, Ending::Push)?;
        Ok(len)
    }

    /// Queues a copy of `bytes`, as far as the send buffer has room, and tells
    /// how many were queued.
    pub fn send(&mut self, connection: ConnectionId, bytes: &[u8]) -> Result<usize, SocketError> {
        self.send_ending(connection, bytes, Ending::Push)
    }

    /// The same, and what its end is. A record ends only where all was queued.
    pub fn send_ending(
        &mut self,
        connection: ConnectionId,
        bytes: &[u8],
        ending: Ending,
    ) -> Result<usize, SocketError> {
        let now = self.cx.now;
        let (shared, tcb) = self.sendable(connection)?;
        let room = shared.send_room(tcb) as usize;
        if room == 0 && !bytes.is_empty() {
            tcb.events.add(Events::WANTS_WRITABLE);
            return Err(SocketError::WouldBlock);
        }
        let len = bytes.len().min(room).min(usize::from(u16::MAX));
        let content = Content::Frame(Frame::copied(&bytes[..len]));
        let is_whole = len == bytes.len();
        let ending = match ending {
            Ending::Record if !is_whole => Ending::More,
            _ => ending,
        };
        enqueue(shared, now, connection.index, tcb, content, ending)?;
        Ok(len)
    }

    /// The same, as urgent data: the peer is asked to read on to its end. It comes
    /// in line. New applications should not use it (RFC 9293 section 3.8.5, SHLD-13).
    pub fn send_urgent(
        &mut self,
        connection: ConnectionId,
        bytes: &[u8],
    ) -> Result<usize, SocketError> {
        let queued = self.send(connection, bytes)?;
        if queued > 0 {
            self.tcp.mark_urgent(connection);
        }
        Ok(queued)
    }

    /// Bytes to read until the peer's urgent data ends (RFC 9293 section 3.8.5,
    /// MUST-33), those that have not come yet among them; 0 without such data.
    pub fn urgent_remaining(&self, connection: ConnectionId) -> u32 {
        self.tcp
            .connection(connection)
            .map_or(0, Tcb::urgent_remaining)
    }

    /// A connection that may be sent on, and what it shares.
    fn sendable(
        &mut self,
        connection: ConnectionId,
    ) -> Result<(&mut Shared, &mut Tcb), SocketError> {
        let (shared, tcb) = self
            .tcp
            .held_mut(connection)
            .ok_or(SocketError::BadDescriptor)?;
        if tcb.state.may_send() {
            Ok((shared, tcb))
        } else {
            Err(SocketError::BrokenPipe)
        }
    }

    /// Data of a connection that the peer has not acknowledged, in bytes.
    pub fn unacknowledged(&self, connection: ConnectionId) -> u32 {
        self.tcp
            .connection(connection)
            .map_or(0, |tcb| tcb.send_queued)
    }

    /// Closes the sending side: a FIN follows what is queued (SHUT_WR).
    pub fn shutdown(&mut self, connection: ConnectionId) -> Result<(), SocketError> {
        self.connected(connection)?;
        self.tcp.shutdown(&mut self.cx, connection.index);
        Ok(())
    }

    /// Closes the receiving side (SHUT_RD): what was received can still be read, then
    /// the stream ends. What comes later is acknowledged and thrown away.
    pub fn shutdown_receive(&mut self, connection: ConnectionId) -> Result<(), SocketError> {
        self.connected(connection)?.set(TcbFlags::READ_CLOSED);
        Ok(())
    }

    /// Lets go of the connection. What is queued is still delivered; unread
    /// received data makes it a reset (RFC 9293 section 3.6.1, SHLD-3). With
    /// SO_LINGER the application is told by `on_closed` when it was delivered, or
    /// that it was not; without, nothing is heard of it any more.
    pub fn close(&mut self, connection: ConnectionId) {
        if self.tcb(connection).is_ok() {
            self.tcp.close(&mut self.cx, connection.index);
        }
    }

    /// Ends the connection by a RST.
    pub fn abort(&mut self, connection: ConnectionId) {
        if self.tcb(connection).is_ok() {
            self.tcp.abort(&mut self.cx, connection.index);
        }
    }

    /// Ends every connection by a RST, those too that were closed and linger.
    pub fn abort_all(&mut self) {
        self.tcp.abort_all(&mut self.cx);
    }

    /// How many connections are in which state.
    pub fn gauges(&self) -> Gauges {
        self.tcp.gauges()
    }
}

/// Puts `content` behind what is queued to be sent.
fn enqueue(
    shared: &mut Shared,
    now: Instant,
    index: u32,
    tcb: &mut Tcb,
    content: Content,
    ending: Ending,
) -> Result<(), SocketError> {
    let len = u32::try_from(content.len()).unwrap_or(u32::MAX);
    if len == 0 {
        return Ok(());
    }
    let is_record = ending == Ending::Record;
    let pushed = shared
        .chunks
        .push_back(&mut tcb.send_queue, content, Seq(0), is_record);
    if pushed.is_err() {
        tcb.events.add(Events::WANTS_WRITABLE);
        return Err(SocketError::WouldBlock);
    }
    tcb.send_queued += len;
    tcb.note_ending(ending);
    shared.queue_data(now, index, tcb);
    Ok(())
}
