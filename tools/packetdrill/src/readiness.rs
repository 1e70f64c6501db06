//! What poll and epoll tell of a socket.

use crate::descriptors::{Kind, State};
use crate::errno::{Errno, Outcome};
use crate::world::World;
use ringmill_core::tcp::State as TcpState;
use std::collections::BTreeMap;

/// Bits of poll(2) and epoll(7), which have the same values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Readiness(pub(crate) u32);

impl Readiness {
    const IN: u32 = libc::EPOLLIN.cast_unsigned() | libc::EPOLLRDNORM.cast_unsigned();
    const OUT: u32 = libc::EPOLLOUT.cast_unsigned() | libc::EPOLLWRNORM.cast_unsigned();
    const READ_HANGUP: u32 = libc::EPOLLRDHUP.cast_unsigned();
    const HANGUP: u32 = libc::EPOLLHUP.cast_unsigned();
    const ERROR: u32 = libc::EPOLLERR.cast_unsigned();
    /// Told whether or not they were asked for.
    const ALWAYS: u32 = Readiness::HANGUP | Readiness::ERROR;

    /// What is told to one who asked for `events`.
    pub(crate) fn among(self, events: u32) -> u32 {
        self.0 & (events | Readiness::ALWAYS)
    }
}

/// One descriptor that an epoll watches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interest {
    events: u32,
    data: u64,
    /// The socket's wakes when it was last told; none when it is to be looked
    /// at in any case.
    told_at: Option<u64>,
    /// EPOLLONESHOT, and it was told.
    is_spent: bool,
}

/// An epoll instance.
#[derive(Debug, Default)]
pub(crate) struct Epoll(BTreeMap<i32, Interest>);

impl World {
    /// What can be done with a descriptor without blocking.
    pub(crate) fn readiness(&mut self, number: i32) -> Outcome<Readiness> {
        if !matches!(self.descriptors.at(number)?.kind, Kind::Socket(_)) {
            return Ok(Readiness(Readiness::IN | Readiness::OUT));
        }
        let room = self.syn_room(number)?;
        let socket = self.descriptors.socket(number)?;
        let mut bits = 0;
        if socket.error.is_some() {
            bits |= Readiness::ERROR;
        }
        let is_read_shut = socket.is_read_shut;
        match &mut socket.state {
            State::New | State::Over => bits |= Readiness::HANGUP | Readiness::IN | Readiness::OUT,
            State::Connecting(_) if room > 0 => bits |= Readiness::OUT,
            State::Connecting(_) => {}
            State::Listening(id, waiting) => {
                let (id, is_waiting) = (*id, !waiting.is_empty());
                if is_waiting || self.accept_ahead(number, id)? {
                    bits |= Readiness::IN;
                }
            }
            State::Connected(id) => {
                let id = *id;
                if is_read_shut {
                    bits |= Readiness::IN | Readiness::READ_HANGUP;
                }
                if let Some(buffer) = &mut socket.send_buffer {
                    if buffer.is_writable() {
                        bits |= Readiness::OUT;
                    } else {
                        buffer.want();
                    }
                }
                bits |= self.ask(|sockets| {
                    let readable = match sockets.receive(id) {
                        Ok(_) => Readiness::IN,
                        Err(_) => 0,
                    };
                    let is_ended = matches!(
                        sockets.state(id),
                        Some(
                            TcpState::CloseWait
                                | TcpState::Closing
                                | TcpState::LastAck
                                | TcpState::TimeWait
                                | TcpState::Closed
                        )
                    );
                    let hangup = Readiness::READ_HANGUP * u32::from(is_ended);
                    readable | hangup
                });
            }
        }
        Ok(Readiness(bits))
    }

    /// Accepts a connection that nobody has asked for yet, to know of it.
    fn accept_ahead(
        &mut self,
        number: i32,
        id: ringmill_core::sockets::ListenerId,
    ) -> Outcome<bool> {
        let Some(connection) = self.sockets(|s| s.accept(id)) else {
            return Ok(false);
        };
        if let State::Listening(_, waiting) = &mut self.descriptors.socket(number)?.state {
            waiting.push_back(connection);
        }
        Ok(true)
    }

    /// epoll_ctl(2); `event` holds the events and the user's data.
    pub(crate) fn epoll_control(
        &mut self,
        epoll: i32,
        operation: i32,
        number: i32,
        event: Option<(u32, u64)>,
    ) -> Outcome<()> {
        if !self.descriptors.contains(number) {
            return Err(Errno::BAD_DESCRIPTOR);
        }
        let interests = &mut self.descriptors.epoll(epoll)?.0;
        let is_watched = interests.contains_key(&number);
        match operation {
            libc::EPOLL_CTL_DEL => {
                let removed = interests.remove(&number);
                return removed.map(|_| ()).ok_or(Errno(libc::ENOENT));
            }
            libc::EPOLL_CTL_ADD if is_watched => return Err(Errno(libc::EEXIST)),
            libc::EPOLL_CTL_MOD if !is_watched => return Err(Errno(libc::ENOENT)),
            libc::EPOLL_CTL_ADD | libc::EPOLL_CTL_MOD => {}
            _ => return Err(Errno::INVALID),
        }
        let (events, data) = event.ok_or(Errno::FAULT)?;
        let interest = Interest {
            events,
            data,
            told_at: None,
            is_spent: false,
        };
        interests.insert(number, interest);
        Ok(())
    }

    /// The events that are ready, at most `limit`; an edge-triggered one only
    /// when something has woken it since it was last told.
    pub(crate) fn epoll_ready(&mut self, epoll: i32, limit: usize) -> Outcome<Vec<(u32, u64)>> {
        let interests: Vec<(i32, Interest)> = self
            .descriptors
            .epoll(epoll)?
            .0
            .iter()
            .map(|(&number, &interest)| (number, interest))
            .collect();
        let mut ready = Vec::new();
        for (number, mut interest) in interests {
            if interest.is_spent || ready.len() == limit || !self.descriptors.contains(number) {
                continue;
            }
            let wakes = self.descriptors.socket(number).map_or(0, |s| s.wakes);
            let is_edge = interest.events & libc::EPOLLET.cast_unsigned() != 0;
            if is_edge && interest.told_at == Some(wakes) {
                continue;
            }
            let events = self.readiness(number)?.among(interest.events);
            if events == 0 {
                continue;
            }
            ready.push((events, interest.data));
            interest.told_at = Some(wakes);
            interest.is_spent = interest.events & libc::EPOLLONESHOT.cast_unsigned() != 0;
            self.descriptors.epoll(epoll)?.0.insert(number, interest);
        }
        Ok(ready)
    }
}
