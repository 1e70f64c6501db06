//! A station that is Ringmill's engine: a real shard, behind a port in memory.

use crate::station::{Connect, Errno, Fd, Listen, Outcome, Station};
use ringmill_core::app::App;
use ringmill_core::app::http::Http;
use ringmill_core::driver::memory::MemoryDriver;
use ringmill_core::frame::{Frame, FramePool};
use ringmill_core::shard::Shard;
use ringmill_core::sockets::{
    Closed, ConnectError, ConnectionId, ListenError, ListenerId, OptionError, SocketError,
    SocketOption, SocketOptions, Sockets,
};
use ringmill_core::stack::Config;
use ringmill_core::stats::Stats;
use ringmill_core::tcp::SocketInfo;
use ringmill_core::time::Instant;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// Frames of a host: more than any scenario has in flight.
const FRAMES: usize = 8_192;
const FRAME_CAPACITY: usize = 2_048;

/// The engine of one host.
pub(crate) struct Engine {
    shard: Shard<MemoryDriver, Actor>,
    /// By descriptor; the engine's handles have no counts, as descriptors have.
    files: Vec<Option<File>>,
    /// What closed ones were of: a close that lingers is told later how it went.
    closed: BTreeMap<usize, File>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum File {
    Listener(ListenerId),
    Connection(ConnectionId),
}

/// Who uses the sockets: the script from outside, or one of the engine's own
/// applications.
#[derive(Default)]
struct Actor {
    http: Option<Http>,
    /// Connections that are closed as soon as their peer has closed.
    closers: BTreeSet<ConnectionId>,
    /// What these have read.
    read: u64,
    connected: BTreeSet<ConnectionId>,
    closed: BTreeMap<ConnectionId, Closed>,
}

impl App for Actor {
    fn on_acceptable(&mut self, sockets: &mut Sockets, listener: ListenerId) {
        if let Some(http) = &mut self.http {
            http.on_acceptable(sockets, listener);
        }
    }

    fn on_connected(&mut self, _: &mut Sockets, connection: ConnectionId) {
        self.connected.insert(connection);
    }

    fn on_readable(&mut self, sockets: &mut Sockets, connection: ConnectionId) {
        if let Some(http) = &mut self.http {
            http.on_readable(sockets, connection);
        } else if self.closers.contains(&connection) {
            self.read += close_at_end(sockets, connection);
        }
    }

    fn on_writable(&mut self, sockets: &mut Sockets, connection: ConnectionId) {
        if let Some(http) = &mut self.http {
            http.on_writable(sockets, connection);
        }
    }

    fn on_closed(
        &mut self,
        sockets: &mut Sockets,
        connection: ConnectionId,
        token: u32,
        why: Closed,
    ) {
        self.closed.insert(connection, why);
        if let Some(http) = &mut self.http {
            http.on_closed(sockets, connection, token, why);
        }
    }

    fn poll(&mut self, sockets: &mut Sockets) {
        if let Some(http) = &mut self.http {
            http.poll(sockets);
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.http.as_ref().and_then(App::next_deadline)
    }
}

impl Engine {
    pub(crate) fn new(config: Config, now: Instant) -> Engine {
        let pool = FramePool::on_heap(FRAMES, FRAME_CAPACITY);
        let shard = Shard::new(config, now, MemoryDriver::new(), pool, Actor::default());
        Engine {
            shard,
            files: Vec::new(),
            closed: BTreeMap::new(),
        }
    }

    /// Has the engine's own HTTP server listen and answer.
    pub(crate) fn serve(&mut self, now: Instant, mut http: Http) -> Outcome<()> {
        self.shard.with_app(now, |actor, sockets| {
            http.start(sockets).map_err(listen_errno)?;
            actor.http = Some(http);
            Ok(())
        })
    }

    pub(crate) fn stats(&self) -> Stats {
        self.shard.stats()
    }

    /// Has the application read a connection, and close it when it reads its end.
    pub(crate) fn close_at_end(&mut self, now: Instant, fd: Fd) {
        if let Ok(id) = self.connection(fd) {
            self.shard.with_app(now, |actor, sockets| {
                actor.closers.insert(id);
                actor.read += close_at_end(sockets, id);
            });
        }
    }

    /// What the connections have read that close at their end.
    pub(crate) fn read(&self) -> u64 {
        self.shard.app().read
    }

    /// Has a connection send so many bytes of nothing in particular, by reference: as
    /// many as its send buffer has room for.
    pub(crate) fn send_bulk(&mut self, now: Instant, fd: Fd, len: usize) -> Outcome<()> {
        const PIECE: usize = 1 << 20;
        self.with(now, fd, |sockets, id| {
            let source = sockets.register(vec![0; PIECE.min(len)]);
            let mut left = len as u64;
            while left > 0 {
                left -= sockets.send_from(id, source, 0, left)?;
            }
            Ok(())
        })
    }

    /// The options of a socket, as getsockopt tells them.
    pub(crate) fn options(&mut self, now: Instant, fd: Fd) -> Option<SocketOptions> {
        let file = self.file(fd).ok()?;
        self.shard.with_app(now, |_, sockets| match file {
            File::Listener(id) => sockets.listener_options(id),
            File::Connection(id) => sockets.options(id),
        })
    }

    fn open(&mut self, file: File) -> Fd {
        self.files.push(Some(file));
        Fd(self.files.len() - 1)
    }

    fn file(&self, fd: Fd) -> Outcome<File> {
        let file = self.files.get(fd.0).copied().flatten();
        file.ok_or(Errno::BadDescriptor)
    }

    /// A connection by its descriptor.
    fn connection(&self, fd: Fd) -> Outcome<ConnectionId> {
        match self.file(fd)? {
            File::Connection(id) => Ok(id),
            File::Listener(_) => Err(Errno::BadDescriptor),
        }
    }

    fn with<T>(
        &mut self,
        now: Instant,
        fd: Fd,
        call: impl FnOnce(&mut Sockets, ConnectionId) -> Result<T, SocketError>,
    ) -> Outcome<T> {
        let id = self.connection(fd)?;
        let outcome = self.shard.with_app(now, |_, sockets| call(sockets, id));
        outcome.map_err(|error| match error {
            SocketError::WouldBlock => Errno::Again,
            SocketError::BrokenPipe => Errno::BrokenPipe,
            SocketError::NotConnected => Errno::NotConnected,
            // It is gone: the application was told why.
            SocketError::BadDescriptor => match self.shard.app().closed.get(&id) {
                Some(&why) => errno(why).err().unwrap_or(Errno::BrokenPipe),
                None => Errno::BadDescriptor,
            },
        })
    }
}

impl Station for Engine {
    fn arrive(&mut self, frame: Vec<u8>) {
        self.shard.driver_mut().arrive(Frame::copied(&frame));
    }

    fn step(&mut self, now: Instant) -> bool {
        self.shard.step(now);
        self.shard.has_work() || self.shard.next_deadline().is_some_and(|at| at <= now)
    }

    fn take_sent(&mut self) -> Option<Vec<u8>> {
        let frame = self.shard.driver_mut().take_sent()?;
        let bytes = frame.data().to_vec();
        self.shard.driver_mut().complete(frame);
        Some(bytes)
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.shard.next_deadline()
    }

    fn sockets(&mut self, now: Instant) -> Vec<SocketInfo> {
        self.shard.sockets(now)
    }

    fn listen(&mut self, now: Instant, listen: Listen) -> Outcome<Fd> {
        let options = with_all(listen.options)?;
        let listener = self.shard.with_app(now, |_, sockets| {
            let address = listen.address.map(Into::into);
            sockets.listen(address, listen.port, listen.backlog, options)
        });
        let listener = listener.map_err(listen_errno)?;
        Ok(self.open(File::Listener(listener)))
    }

    fn accept(&mut self, now: Instant, listener: Fd) -> Outcome<Fd> {
        let File::Listener(id) = self.file(listener)? else {
            return Err(Errno::BadDescriptor);
        };
        let accepted = self.shard.with_app(now, |_, sockets| sockets.accept(id));
        let accepted = accepted.ok_or(Errno::Again)?;
        Ok(self.open(File::Connection(accepted)))
    }

    fn connect(&mut self, now: Instant, connect: Connect) -> Outcome<Fd> {
        let options = with_all(connect.options)?;
        let opened = self.shard.with_app(now, |_, sockets| match connect.from {
            None => sockets.connect(connect.to, 0, options),
            Some(from) => sockets.connect_from(from, connect.to, 0, options),
        });
        let opened = opened.map_err(|error| match error {
            ConnectError::AddressNotAvailable => Errno::AddressNotAvailable,
            ConnectError::AddressInUse => Errno::AddressInUse,
            ConnectError::NoBuffers => Errno::NoBuffers,
            ConnectError::InvalidAddress => Errno::Invalid,
        })?;
        Ok(self.open(File::Connection(opened)))
    }

    fn connected(&mut self, _: Instant, fd: Fd) -> Option<Outcome<()>> {
        let id = match self.connection(fd) {
            Ok(id) => id,
            Err(errno) => return Some(Err(errno)),
        };
        let actor = self.shard.app();
        if actor.connected.contains(&id) {
            return Some(Ok(()));
        }
        actor.closed.get(&id).map(|&why| errno(why))
    }

    fn send(&mut self, now: Instant, fd: Fd, bytes: &[u8]) -> Outcome<usize> {
        self.with(now, fd, |sockets, id| {
            let mut sent = 0;
            // One call takes 64 KiB at most; write takes what the buffer has room for.
            while sent < bytes.len() {
                match sockets.send(id, &bytes[sent..]) {
                    Ok(count) => sent += count,
                    Err(SocketError::WouldBlock) if sent > 0 => break,
                    Err(error) => return Err(error),
                }
            }
            Ok(sent)
        })
    }

    fn receive(&mut self, now: Instant, fd: Fd, most: usize) -> Outcome<Vec<u8>> {
        self.with(now, fd, |sockets, id| {
            let mut taken = Vec::new();
            while taken.len() < most {
                let len = match sockets.receive(id) {
                    Ok([]) => break,
                    Ok(bytes) => {
                        let len = bytes.len().min(most - taken.len());
                        taken.extend_from_slice(&bytes[..len]);
                        len
                    }
                    Err(SocketError::WouldBlock) if !taken.is_empty() => break,
                    Err(error) => return Err(error),
                };
                sockets.consume(id, len);
            }
            Ok(taken)
        })
    }

    fn shutdown(&mut self, now: Instant, fd: Fd) -> Outcome<()> {
        self.with(now, fd, |sockets, id| sockets.shutdown(id))
    }

    fn duplicate(&mut self, fd: Fd) -> Outcome<Fd> {
        let file = self.file(fd)?;
        Ok(self.open(file))
    }

    fn close(&mut self, now: Instant, fd: Fd) {
        let Some(file) = self.files.get_mut(fd.0).and_then(Option::take) else {
            return;
        };
        self.closed.insert(fd.0, file);
        if self.files.contains(&Some(file)) {
            return;
        }
        self.shard.with_app(now, |_, sockets| match file {
            File::Connection(id) => sockets.close(id),
            File::Listener(id) => sockets.close_listener(id),
        });
    }

    fn set(&mut self, now: Instant, fd: Fd, option: SocketOption) -> Outcome<()> {
        let file = self.file(fd)?;
        let outcome = self.shard.with_app(now, |_, sockets| match file {
            File::Listener(id) => sockets.set_listener_option(id, option),
            File::Connection(id) => sockets.set_option(id, option),
        });
        outcome.map_err(option_errno)
    }

    fn ended(&mut self, _: Instant, fd: Fd) -> Option<Outcome<()>> {
        let file = self.file(fd).ok().or(self.closed.get(&fd.0).copied())?;
        let File::Connection(id) = file else {
            return None;
        };
        self.shard.app().closed.get(&id).map(|&why| errno(why))
    }

    fn addresses(&mut self, now: Instant, fd: Fd) -> Option<(SocketAddr, SocketAddr)> {
        let id = self.connection(fd).ok()?;
        self.shard
            .with_app(now, |_, sockets| sockets.local(id).zip(sockets.remote(id)))
    }

    fn as_engine(&mut self) -> Option<&mut Engine> {
        Some(self)
    }
}

/// Reads what there is, and closes at the end of the stream: how much it was.
fn close_at_end(sockets: &mut Sockets, connection: ConnectionId) -> u64 {
    let mut read = 0;
    while let Ok(bytes) = sockets.receive(connection) {
        let len = bytes.len();
        if len == 0 {
            sockets.close(connection);
            break;
        }
        sockets.consume(connection, len);
        read += len as u64;
    }
    read
}

fn with_all(options: &[SocketOption]) -> Outcome<SocketOptions> {
    options
        .iter()
        .try_fold(SocketOptions::default(), |all, &option| all.with(option))
        .map_err(option_errno)
}

/// What a call on a connection that ended this way says.
fn errno(why: Closed) -> Outcome<()> {
    Err(match why {
        Closed::Normally => return Ok(()),
        Closed::Refused => Errno::ConnectionRefused,
        Closed::Reset => Errno::ConnectionReset,
        Closed::TimedOut => Errno::TimedOut,
        Closed::Unreachable => Errno::Unreachable,
        Closed::Aborted => Errno::Aborted,
    })
}

fn listen_errno(error: ListenError) -> Errno {
    match error {
        ListenError::AddressInUse { .. } => Errno::AddressInUse,
        ListenError::AddressNotAvailable { .. } => Errno::AddressNotAvailable,
        ListenError::NoBuffers => Errno::NoBuffers,
    }
}

fn option_errno(error: OptionError) -> Errno {
    match error {
        OptionError::BadDescriptor => Errno::BadDescriptor,
        OptionError::Invalid => Errno::Invalid,
        OptionError::NoBuffers => Errno::NoBuffers,
    }
}
