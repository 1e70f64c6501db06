//! getsockopt and setsockopt: libc's names onto the engine's.

use crate::descriptors::State;
use crate::errno::{Errno, Outcome};
use crate::info;
use crate::world::World;
use libc::c_int;

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
        let socket = self.descriptors.socket(number)?;
        let value = match (level, name) {
            (libc::SOL_SOCKET, libc::SO_ERROR) => socket.error.take().map_or(0, |errno| errno.0),
            (libc::SOL_SOCKET, libc::SO_REUSEADDR) => 1,
            (libc::SOL_SOCKET, libc::SO_TYPE) => libc::SOCK_STREAM,
            (libc::SOL_SOCKET, libc::SO_ACCEPTCONN) => {
                c_int::from(matches!(socket.state, State::Listening(..)))
            }
            (libc::IPPROTO_TCP, libc::TCP_NODELAY) => c_int::from(socket.options.nodelay),
            _ => return Err(Errno::NO_OPTION),
        };
        Ok(value.to_ne_bytes().to_vec())
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
        let socket = self.descriptors.socket(number)?;
        let value = integer(value)?;
        match (level, name) {
            // Every address that has no listener can be bound at once anyway.
            (libc::SOL_SOCKET, libc::SO_REUSEADDR) => {}
            (libc::IPPROTO_TCP, libc::TCP_NODELAY) => socket.options.nodelay = value != 0,
            _ => return Err(Errno::NO_OPTION),
        }
        Ok(())
    }
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
