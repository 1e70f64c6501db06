//! getsockopt and setsockopt: libc's names onto the engine's.

use crate::descriptors::State;
use crate::errno::{Errno, Outcome};
use crate::info;
use crate::send_buffer::BufferOptions;
use crate::world::World;
use libc::c_int;
use ringmill_core::sockets::{SocketOption, SocketOptions};
use ringmill_core::time::Duration;

/// What Linux answers before there is a connection (RFC 9293 section 3.7.1).
const MSS_DEFAULT: u16 = 536;
/// SOCK_MIN_SNDBUF
const SEND_BUFFER_MIN: u32 = 4_608;
/// SO_MEMINFO is nine words; the engine counts chunks for all sockets together.
const MEMINFO_LEN: usize = 9 * 4;

impl World {
    /// The value of an option, as the bytes that libc would fill in.
    pub(crate) fn option(&mut self, number: i32, level: c_int, name: c_int) -> Outcome<Vec<u8>> {
        match (level, name) {
            (libc::IPPROTO_TCP, libc::TCP_INFO) => return self.info(number),
            // The engine's algorithms tell nothing of their own.
            (libc::IPPROTO_TCP, libc::TCP_CC_INFO) => return Ok(Vec::new()),
            (libc::SOL_SOCKET, libc::SO_MEMINFO) => return Ok(vec![0; MEMINFO_LEN]),
            _ => {}
        }
        let options = self.options(number)?;
        let socket = self.descriptors.socket(number)?;
        let value = match (level, name) {
            (libc::SOL_SOCKET, libc::SO_ERROR) => socket.error.take().map_or(0, |errno| errno.0),
            (libc::SOL_SOCKET, libc::SO_REUSEADDR) => 1,
            (libc::SOL_SOCKET, libc::SO_TYPE) => libc::SOCK_STREAM,
            (libc::SOL_SOCKET, libc::SO_ACCEPTCONN) => {
                c_int::from(matches!(socket.state, State::Listening(..)))
            }
            (libc::SOL_SOCKET, libc::SO_SNDBUF) => {
                socket.buffer_options.size.unwrap_or(0).cast_signed()
            }
            (libc::SOL_SOCKET, libc::SO_RCVBUF) => socket.receive_buffer,
            (libc::IPPROTO_TCP, libc::TCP_NODELAY) => c_int::from(options.nodelay),
            (libc::IPPROTO_TCP, libc::TCP_MAXSEG) => self.max_segment(number, &options)?,
            (libc::IPPROTO_TCP, libc::TCP_CORK) => c_int::from(options.cork),
            (libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT) => {
                let lowat = socket.buffer_options.notsent_lowat;
                lowat.unwrap_or(0).cast_signed()
            }
            (libc::IPPROTO_IP, libc::IP_TOS) => c_int::from(options.tos),
            (libc::IPPROTO_IP, libc::IP_TTL) => c_int::from(options.ttl),
            _ => return Err(Errno::NO_OPTION),
        };
        Ok(value.to_ne_bytes().to_vec())
    }

    /// The options of a socket: the engine's, once it has one.
    fn options(&mut self, number: i32) -> Outcome<SocketOptions> {
        let socket = self.descriptors.socket(number)?;
        let (id, own) = (socket.connection(), socket.options);
        Ok(id
            .and_then(|id| self.ask(|sockets| sockets.options(id)))
            .unwrap_or(own))
    }

    /// As Linux: what is sent on a connection, and before one what was set.
    fn max_segment(&mut self, number: i32, options: &SocketOptions) -> Outcome<c_int> {
        let id = match self.descriptors.socket(number)?.state {
            State::Connected(id) => Some(id),
            _ => None,
        };
        let mss = match id.and_then(|id| self.ask(|sockets| sockets.info(id))) {
            Some(info) => info.mss,
            None => options.max_segment.unwrap_or(MSS_DEFAULT),
        };
        Ok(c_int::from(mss))
    }

    fn info(&mut self, number: i32) -> Outcome<Vec<u8>> {
        let id = self.descriptors.socket(number)?.connection();
        let info = id.and_then(|id| self.ask(|sockets| sockets.info(id)));
        // A socket without a connection is closed.
        Ok(info.map_or_else(info::closed, |info| info::encode(&info)))
    }

    /// Sets an option from the bytes that libc was given.
    pub(crate) fn set_option(
        &mut self,
        number: i32,
        level: c_int,
        name: c_int,
        value: &[u8],
    ) -> Outcome<()> {
        let value = integer(value)?;
        let option = match (level, name) {
            // Every address that has no listener can be bound at once anyway.
            (libc::SOL_SOCKET, libc::SO_REUSEADDR) => return Ok(()),
            // Packets are never fragmented here, and nothing else is asked for.
            (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER) => return Ok(()),
            (libc::SOL_SOCKET, libc::SO_SNDBUF) => {
                let size = u32::try_from(value).map_err(|_| Errno::INVALID)?;
                let size = size.saturating_mul(2).max(SEND_BUFFER_MIN);
                return self.set_buffer_option(number, |options| options.size = Some(size));
            }
            (libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT) => {
                let lowat = Some(value.cast_unsigned()).filter(|&lowat| lowat > 0);
                return self.set_buffer_option(number, |options| options.notsent_lowat = lowat);
            }
            (libc::SOL_SOCKET, libc::SO_RCVBUF) => {
                self.descriptors.socket(number)?.receive_buffer = value.saturating_mul(2);
                SocketOption::ReceiveBuffer(u32::try_from(value).map_err(|_| Errno::INVALID)?)
            }
            (libc::IPPROTO_TCP, libc::TCP_NODELAY) => SocketOption::NoDelay(value != 0),
            (libc::IPPROTO_TCP, libc::TCP_MAXSEG) => {
                SocketOption::MaxSegment(u16::try_from(value).map_err(|_| Errno::INVALID)?)
            }
            _ => plain(level, name, value)?,
        };
        self.apply(number, option)
    }

    /// Sets what the send buffer is here, not in the engine.
    fn set_buffer_option(
        &mut self,
        number: i32,
        set: impl FnOnce(&mut BufferOptions),
    ) -> Outcome<()> {
        let socket = self.descriptors.socket(number)?;
        set(&mut socket.buffer_options);
        if let Some(buffer) = &mut socket.send_buffer {
            buffer.set_options(socket.buffer_options);
        }
        Ok(())
    }

    /// Sets it on what the socket has in the engine, or for when it has something.
    fn apply(&mut self, number: i32, option: SocketOption) -> Outcome<()> {
        let socket = self.descriptors.socket(number)?;
        socket.options = socket.options.with(option)?;
        match socket.state {
            State::Connecting(id) | State::Connected(id) => {
                self.sockets(|sockets| sockets.set_option(id, option))?;
            }
            State::Listening(id, _) => {
                self.sockets(|sockets| sockets.set_listener_option(id, option))?;
            }
            State::New | State::Over => {}
        }
        Ok(())
    }
}

/// The options whose values are as the engine's.
fn plain(level: c_int, name: c_int, value: c_int) -> Outcome<SocketOption> {
    let bad = |_| Errno::INVALID;
    let seconds = || u64::try_from(value).map(Duration::from_secs).map_err(bad);
    let byte = || u8::try_from(value).map_err(bad);
    Ok(match (level, name) {
        (libc::IPPROTO_IP, libc::IP_TOS) => SocketOption::Tos(byte()?),
        (libc::IPPROTO_IP, libc::IP_TTL) => SocketOption::Ttl(byte()?),
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE) => SocketOption::KeepAlive(value != 0),
        (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE) => SocketOption::KeepIdle(seconds()?),
        (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL) => SocketOption::KeepInterval(seconds()?),
        (libc::IPPROTO_TCP, libc::TCP_KEEPCNT) => SocketOption::KeepCount(byte()?),
        (libc::IPPROTO_TCP, libc::TCP_SYNCNT) => SocketOption::SynCount(byte()?),
        (libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT) => SocketOption::DeferAccept(seconds()?),
        (libc::IPPROTO_TCP, libc::TCP_CORK) => SocketOption::Cork(value != 0),
        (libc::IPPROTO_TCP, libc::TCP_FASTOPEN) => {
            SocketOption::FastOpen(u16::try_from(value).map_err(bad)?)
        }
        (libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT) => {
            SocketOption::FastOpenConnect(value != 0)
        }
        (libc::IPPROTO_TCP, libc::TCP_QUICKACK) => SocketOption::QuickAck(value != 0),
        (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT) => {
            let timeout_ms = u64::try_from(value).map_err(bad)?;
            SocketOption::UserTimeout(Duration::from_millis(timeout_ms))
        }
        _ => return Err(Errno::NO_OPTION),
    })
}

/// An option's integer: a byte is enough where one is given (as for IP_TOS).
fn integer(value: &[u8]) -> Outcome<c_int> {
    if let Some(value) = value.first_chunk() {
        return Ok(c_int::from_ne_bytes(*value));
    }
    value
        .first()
        .map(|&byte| c_int::from(byte))
        .ok_or(Errno::INVALID)
}
