//! One script's world: an engine, its clock, and the sockets that a process has.
//!
//! Nothing here blocks: a call that would have to wait answers EAGAIN, and
//! whoever made it decides whether to wait.

use crate::descriptors::{Descriptors, Kind, Socket, State};
use crate::errno::{self, Errno, Outcome};
use crate::flags::{FastOpen, Settings};
use crate::port::{Departure, Port};
use crate::send_buffer::{Limits, SendBuffer};
use ringmill_core::app::App;
use ringmill_core::frame::FramePool;
use ringmill_core::shard::Shard;
use ringmill_core::sockets::{Closed, ConnectionId, ListenerId, SocketError, Sockets};
use ringmill_core::time::{Duration, Instant};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// Frames of the engine, and bytes of each.
const FRAMES: usize = 4_096;
const FRAME_CAPACITY: usize = 2_048;
/// Steps in which an engine must come to rest; more is a fault in it.
const STEPS_MAX: usize = 100_000;
/// How often a device that refuses is asked again.
const RETRY: Duration = Duration::from_millis(1);
/// The clock starts here, so that no reading of it is zero.
const START: Instant = Instant::from_millis(1_000);

/// What the engine told its application in a step, by the connection's token,
/// which is the number of its descriptor.
#[derive(Clone, Copy, Debug)]
enum Told {
    Acceptable(ListenerId),
    Connected(u32),
    Ready(u32),
    Closed(u32, Closed),
}

/// The application: it writes down what it is told, and does nothing by itself.
#[derive(Debug, Default)]
struct Inbox(Vec<Told>);

impl App for Inbox {
    fn on_acceptable(&mut self, _: &mut Sockets, listener: ListenerId) {
        self.0.push(Told::Acceptable(listener));
    }
    fn on_connected(&mut self, sockets: &mut Sockets, connection: ConnectionId) {
        self.0.push(Told::Connected(sockets.token(connection)));
    }
    fn on_readable(&mut self, sockets: &mut Sockets, connection: ConnectionId) {
        self.0.push(Told::Ready(sockets.token(connection)));
    }
    fn on_writable(&mut self, sockets: &mut Sockets, connection: ConnectionId) {
        self.0.push(Told::Ready(sockets.token(connection)));
    }
    fn on_closed(&mut self, _: &mut Sockets, _: ConnectionId, token: u32, why: Closed) {
        self.0.push(Told::Closed(token, why));
    }
}

/// An engine, its clock, and the descriptors of one process.
pub(crate) struct World {
    shard: Shard<Port, Inbox>,
    now: Instant,
    pub(crate) descriptors: Descriptors,
    send_buffer: Limits,
    pub(crate) fast_open: FastOpen,
    device_refuses: Option<PathBuf>,
}

impl World {
    pub(crate) fn new(settings: Settings) -> World {
        let port = Port::new(settings.offload());
        let pool = FramePool::on_heap(FRAMES, FRAME_CAPACITY);
        World {
            send_buffer: settings.send_buffer,
            fast_open: settings.fast_open,
            device_refuses: settings.device_refuses,
            shard: Shard::new(settings.config, START, port, pool, Inbox::default()),
            now: START,
            descriptors: Descriptors::default(),
        }
    }

    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    /// When something will be due in the engine.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        // What is due now has been done: the rest is for the next instant.
        let pause = if self.shard.driver().refuses() {
            RETRY
        } else {
            Duration::from_micros(1)
        };
        let next = self.now + pause;
        self.shard
            .next_deadline()
            .map(|deadline| deadline.max(next))
    }

    /// Lets time pass to `until`, over nothing that is due before.
    pub(crate) fn pass(&mut self, until: Instant) {
        self.now = self.now.max(until);
        self.settle();
    }

    /// A bare IP packet arrives.
    pub(crate) fn arrive(&mut self, packet: &[u8]) {
        self.shard.driver_mut().arrive(packet);
        self.settle();
        for (_, socket) in self.descriptors.connected() {
            let buffer = &mut socket.send_buffer;
            socket.wakes += u64::from(buffer.as_mut().is_some_and(SendBuffer::is_woken));
        }
    }

    /// The oldest packet that left and was not taken.
    pub(crate) fn depart(&mut self) -> Option<Departure> {
        self.shard.driver_mut().depart()
    }

    /// Steps until the engine is at rest, and takes down what it told.
    pub(crate) fn settle(&mut self) {
        let refuses = self.device_refuses.as_deref().is_some_and(Path::exists);
        self.shard.driver_mut().set_refuses(refuses);
        for _ in 0..STEPS_MAX {
            let moved = self.shard.step(self.now);
            let has_work = self.shard.has_work() && !refuses;
            if !moved && !has_work && self.shard.driver().is_quiet() {
                break;
            }
        }
        let half = self.look();
        self.shard.driver_mut().end_burst(half);
        let told = self
            .shard
            .with_app(self.now, |inbox, _| std::mem::take(&mut inbox.0));
        for news in told {
            self.hear(news);
        }
    }

    /// Looks at all connections; how many segments are half of the least congestion
    /// window, for Linux wants two packets in flight at least (tcp_cwnd_test).
    fn look(&mut self) -> usize {
        let World {
            shard,
            descriptors,
            now,
            send_buffer: limits,
            ..
        } = self;
        let halves = shard.with_app(*now, |_, sockets| {
            let halves = descriptors.connected().filter_map(|(id, socket)| {
                let (info, queued) = (sockets.info(id)?, sockets.unacknowledged(id));
                socket
                    .send_buffer
                    .get_or_insert_with(|| SendBuffer::new(*limits, socket.buffer_options))
                    .note(*now, &info, queued);
                Some(info.cwnd / 2)
            });
            halves.min()
        });
        let half = halves.and_then(|half| usize::try_from(half).ok());
        half.unwrap_or(usize::MAX)
    }

    fn hear(&mut self, news: Told) {
        let number = match news {
            Told::Acceptable(id) => {
                if let Some(socket) = self.descriptors.listener(id) {
                    socket.wakes += 1;
                }
                return;
            }
            Told::Connected(token) | Told::Ready(token) | Told::Closed(token, _) => token,
        };
        let Ok(socket) = self.descriptors.socket(number.cast_signed()) else {
            return;
        };
        socket.wakes += 1;
        match news {
            Told::Connected(_) => {
                if let State::Connecting(id) = socket.state {
                    socket.state = State::Connected(id);
                }
            }
            Told::Closed(_, why) => {
                socket.error = errno::of_closed(why);
                socket.state = State::Over;
            }
            Told::Ready(_) | Told::Acceptable(_) => {}
        }
    }

    /// Calls the engine, and lets it act on it.
    pub(crate) fn sockets<T>(&mut self, call: impl FnOnce(&mut Sockets) -> T) -> T {
        let result = self.call(call);
        self.settle();
        result
    }

    /// Calls the engine, which acts when it is settled next.
    pub(crate) fn call<T>(&mut self, call: impl FnOnce(&mut Sockets) -> T) -> T {
        self.shard.with_app(self.now, |_, sockets| call(sockets))
    }

    /// Asks the engine something that changes nothing.
    pub(crate) fn ask<T>(&mut self, question: impl FnOnce(&Sockets) -> T) -> T {
        self.shard
            .with_app(self.now, |_, sockets| question(sockets))
    }

    pub(crate) fn bind(&mut self, number: i32, address: SocketAddr) -> Outcome<()> {
        let socket = self.descriptors.socket(number)?;
        if !matches!(socket.state, State::New) || socket.local.is_some() {
            return Err(Errno::INVALID);
        }
        socket.local = Some(address);
        Ok(())
    }

    pub(crate) fn listen(&mut self, number: i32, backlog: usize) -> Outcome<()> {
        let socket = self.descriptors.socket(number)?;
        let local = socket.local.ok_or(Errno::INVALID)?;
        let mut options = socket.options;
        if self.fast_open.listeners && options.fast_open == 0 {
            options.fast_open = u16::try_from(backlog).unwrap_or(u16::MAX);
        }
        let address = Some(local.ip()).filter(|ip| !ip.is_unspecified());
        // Linux lets one more in than it is told (sk_acceptq_is_full).
        let id = self.sockets(|s| s.listen(address, local.port(), backlog + 1, options))?;
        self.descriptors.socket(number)?.state = State::Listening(id, Default::default());
        Ok(())
    }

    /// The number of the next accepted connection, and its peer.
    pub(crate) fn accept(&mut self, number: i32) -> Outcome<(i32, SocketAddr)> {
        let State::Listening(listener, waiting) = &mut self.descriptors.socket(number)?.state
        else {
            return Err(Errno::INVALID);
        };
        let (listener, waiting) = (*listener, waiting.pop_front());
        let id = waiting
            .or_else(|| self.sockets(|s| s.accept(listener)))
            .ok_or(Errno::AGAIN)?;
        let remote = self.ask(|s| s.remote(id));
        let local = self.descriptors.socket(number)?.local;
        let listening = self.descriptors.socket(number)?;
        let is_v6 = listening.is_v6;
        let socket = Socket {
            state: State::Connected(id),
            is_v6,
            options: listening.options,
            buffer_options: listening.buffer_options,
            receive_buffer: listening.receive_buffer,
            local,
            remote,
            ..Socket::default()
        };
        let accepted = self.descriptors.open(Kind::Socket(Box::new(socket)))?;
        self.sockets(|s| s.set_token(id, accepted.cast_unsigned()))
            .ok();
        let mut peer = remote.ok_or(Errno(libc::ECONNABORTED))?;
        if let (true, IpAddr::V4(v4)) = (is_v6, peer.ip()) {
            // RFC 3493 section 3.7: what IPv4 is to a socket of IPv6.
            peer.set_ip(v4.to_ipv6_mapped().into());
        }
        Ok((accepted, peer))
    }

    /// Sends the SYN; whether it was answered shows in the socket's state.
    pub(crate) fn connect(&mut self, number: i32, remote: SocketAddr) -> Outcome<()> {
        let socket = self.descriptors.socket(number)?;
        match socket.state {
            State::New => {}
            State::Connecting(_) => return Err(Errno(libc::EALREADY)),
            State::Connected(_) => return Err(Errno(libc::EISCONN)),
            State::Listening(..) | State::Over => return Err(Errno::INVALID),
        }
        let options = socket.options;
        let token = number.cast_unsigned();
        let id = self.call(|sockets| sockets.connect(remote, token, options))?;
        let socket = self.descriptors.socket(number)?;
        socket.state = State::Connecting(id);
        socket.remote = Some(remote);
        self.settle();
        Ok(())
    }

    /// EAGAIN while the handshake is under way, then how it ended.
    pub(crate) fn connected(&mut self, number: i32) -> Outcome<()> {
        let socket = self.descriptors.socket(number)?;
        match socket.state {
            State::Connecting(_) => Err(Errno::AGAIN),
            State::Connected(_) => Ok(()),
            _ => Err(socket.error.take().unwrap_or(Errno(libc::ECONNREFUSED))),
        }
    }

    /// Received bytes into `into`, as many as there are; none at the end.
    pub(crate) fn receive(&mut self, number: i32, into: &mut [u8], peek: bool) -> Outcome<usize> {
        let socket = self.descriptors.socket(number)?;
        let id = match socket.state {
            State::Connected(id) => id,
            State::Connecting(_) => return Err(Errno::AGAIN),
            State::Over => return socket.error.take().map_or(Ok(0), Err),
            State::New | State::Listening(..) => return Err(Errno::NOT_CONNECTED),
        };
        let is_read_shut = socket.is_read_shut;
        let taken = self.sockets(|sockets| take(sockets, id, into, peek));
        match taken {
            Err(SocketError::WouldBlock) if is_read_shut => Ok(0),
            taken => Ok(taken?),
        }
    }

    pub(crate) fn shutdown(&mut self, number: i32, how: i32) -> Outcome<()> {
        let socket = self.descriptors.socket(number)?;
        let id = socket.connection().ok_or(Errno::NOT_CONNECTED)?;
        if !matches!(how, libc::SHUT_RD | libc::SHUT_WR | libc::SHUT_RDWR) {
            return Err(Errno::INVALID);
        }
        if how != libc::SHUT_WR {
            socket.is_read_shut = true;
            socket.wakes += 1;
        }
        if how != libc::SHUT_RD {
            self.sockets(|s| s.shutdown(id))?;
        }
        Ok(())
    }

    pub(crate) fn close(&mut self, number: i32) -> Outcome<()> {
        let Kind::Socket(socket) = self.descriptors.close(number)? else {
            return Ok(());
        };
        self.sockets(|sockets| match socket.state {
            State::Listening(id, waiting) => {
                for connection in waiting {
                    sockets.abort(connection);
                }
                sockets.close_listener(id);
            }
            State::Connecting(id) | State::Connected(id) => sockets.close(id),
            State::New | State::Over => {}
        });
        Ok(())
    }

    /// Received bytes that wait (SIOCINQ).
    pub(crate) fn readable_bytes(&mut self, number: i32) -> Outcome<usize> {
        let socket = self.descriptors.socket(number)?;
        let Some(id) = socket.connection() else {
            return Ok(0);
        };
        Ok(self.ask(|s| s.receive(id).map_or(0, <[u8]>::len)))
    }

    /// The instant after this one by `length`.
    pub(crate) fn after(&self, length: Duration) -> Instant {
        self.now + length
    }
}

fn take(
    sockets: &mut Sockets,
    id: ConnectionId,
    into: &mut [u8],
    peek: bool,
) -> Result<usize, SocketError> {
    let mut taken = 0;
    while taken < into.len() {
        let bytes = match sockets.receive(id) {
            Ok(bytes) => bytes,
            Err(error) if taken == 0 => return Err(error),
            Err(_) => break,
        };
        let len = bytes.len().min(into.len() - taken);
        into[taken..taken + len].copy_from_slice(&bytes[..len]);
        taken += len;
        if len == 0 || peek {
            break;
        }
        sockets.consume(id, len);
    }
    Ok(taken)
}
