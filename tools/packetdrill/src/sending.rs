//! What sends: a write goes to the engine in the pieces that Linux would take.

use crate::descriptors::State;
use crate::errno::{Errno, Outcome};
use crate::world::World;
use ringmill_core::sockets::{ConnectionId, Ending, SocketOption};
use std::net::SocketAddr;

/// Where a transfer of data stands.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Transfer {
    /// Bytes taken by the engine so far.
    pub(crate) done: usize,
    /// Of these, what went with the SYN.
    in_syn: usize,
    /// There was no room before.
    is_waiting: bool,
    ending: Ending,
}

impl Transfer {
    /// One that has not begun, and ends so.
    pub(crate) fn new(ending: Ending) -> Transfer {
        Transfer {
            ending,
            ..Transfer::default()
        }
    }
}

impl World {
    /// MSG_FASTOPEN: connects, to send at once.
    pub(crate) fn open_to_send(&mut self, number: i32, remote: SocketAddr) -> Outcome<()> {
        if !self.fast_open.client {
            return Err(Errno::NOT_SUPPORTED);
        }
        let room = self.syn_room(number)?;
        let socket = self.descriptors.socket(number)?;
        match socket.state {
            State::New => {
                socket.options.fast_open_connect = true;
                self.connect(number, remote)
            }
            State::Connecting(_) if room == 0 => Err(Errno(libc::EALREADY)),
            _ => Ok(()),
        }
    }

    /// Room for data in the SYN that waits for it.
    pub(crate) fn syn_room(&mut self, number: i32) -> Outcome<usize> {
        let State::Connecting(id) = self.descriptors.socket(number)?.state else {
            return Ok(0);
        };
        let room = self.ask(|sockets| sockets.syn_room(id));
        Ok(usize::try_from(room).unwrap_or(0))
    }

    /// Sends on from where `transfer` stands: EAGAIN when there is no room for
    /// all of it yet.
    pub(crate) fn send(
        &mut self,
        number: i32,
        bytes: &[u8],
        transfer: &mut Transfer,
    ) -> Outcome<()> {
        let room = self.syn_room(number)?;
        let socket = self.descriptors.socket(number)?;
        let id = match socket.state {
            State::Connected(id) => id,
            State::Connecting(id) => {
                let rest = &bytes[transfer.done..];
                let first = &rest[..room.min(rest.len())];
                if !first.is_empty() {
                    let taken = self.sockets(|sockets| sockets.send(id, first))?;
                    transfer.done += taken;
                    transfer.in_syn += taken;
                }
                return Err(Errno::AGAIN);
            }
            State::Over => {
                if transfer.done == transfer.in_syn {
                    // There never was a connection to take it.
                    transfer.done = 0;
                }
                return Err(socket.error.take().unwrap_or(Errno::PIPE));
            }
            State::New | State::Listening(..) => return Err(Errno::PIPE),
        };
        while transfer.done < bytes.len() {
            self.send_piece(number, id, &bytes[transfer.done..], transfer)?;
        }
        Ok(())
    }

    /// Sends what Linux would take next of `rest`, the rest of a write. Without room it is
    /// the engine that refuses: see the send buffer.
    fn send_piece(
        &mut self,
        number: i32,
        id: ConnectionId,
        rest: &[u8],
        transfer: &mut Transfer,
    ) -> Outcome<()> {
        let buffer = &mut self.descriptors.socket(number)?.send_buffer;
        let buffer = buffer.as_mut().ok_or(Errno::NOT_CONNECTED)?;
        let room = buffer.room(transfer.is_waiting);
        let is_last = rest.len() <= room as usize;
        let (ending, is_pushed) = match transfer.ending {
            ending if is_last => (ending, ending != Ending::More),
            _ if buffer.is_pushed() => (Ending::Record, true),
            Ending::Record => (Ending::Push, false),
            ending => (ending, false),
        };
        let part = match room {
            0 => rest,
            room => &rest[..rest.len().min(room as usize)],
        };
        let taken = self.call(|sockets| {
            let size = sockets.unacknowledged(id) + room;
            sockets.set_option(id, SocketOption::SendBuffer(size)).ok();
            sockets.send_ending(id, part, ending)
        });
        if let Some(buffer) = &mut self.descriptors.socket(number)?.send_buffer {
            match taken {
                Ok(taken) => buffer.take(u32::try_from(taken).unwrap_or(u32::MAX), is_pushed),
                Err(_) => buffer.refuse(),
            }
        }
        transfer.is_waiting = taken.is_err();
        self.settle();
        transfer.done += taken?;
        Ok(())
    }
}
