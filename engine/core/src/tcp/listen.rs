//! Listening: who listens where, and the accept queue of completed connections
//! (RFC 9293 sections 3.10.1, 3.10.7.1 and 3.10.7.2).
//!
//! ```text
//! SYN --> SYN queue --(ACK of our SYN)--> accept queue --(accept)--> application
//!         syn_queue.rs                    connections, bounded by the backlog
//!         full: a cookie,                 full: a SYN is ignored, and so is the last
//!         or the SYN is ignored           ACK of a handshake, or a RST answers it
//! ```

use super::settings::SettingsId;
use super::state::State;
use super::transitions::{Action, Event};
use super::{ConnectionId, Cx, OptionError, Segment, SocketOption, SocketOptions, Tcp};
use crate::flow::FlowKey;
use crate::frame::Frame;
use crate::stats::DropReason;
use crate::time::Instant;
use crate::wire::tcp::Flags;
use std::collections::VecDeque;
use std::net::IpAddr;

/// A listening socket, as applications name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerId(pub(crate) u16);

/// Why a listen was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListenError {
    /// EADDRINUSE: the address and port are listened on already.
    #[error("port {port} is in use (EADDRINUSE)")]
    AddressInUse {
        /// The port that was asked for.
        port: u16,
    },
    /// EADDRNOTAVAIL: the address is none of this stack's.
    #[error("{address} is no local address (EADDRNOTAVAIL)")]
    AddressNotAvailable {
        /// The address that was asked for.
        address: IpAddr,
    },
    /// ENOBUFS: there is no room for another set of options.
    #[error("no room for another set of options (ENOBUFS)")]
    NoBuffers,
}

#[derive(Debug)]
pub(crate) struct Listener {
    /// Index of the one local address, as in a flow's key.
    pub(super) local: Option<u16>,
    pub(super) port: u16,
    pub(super) backlog: usize,
    pub(super) settings: SettingsId,
    /// Those that cookies were made by before an option changed what a SYN-ACK says of
    /// the window: some may still come back.
    pub(super) earlier: Option<SettingsId>,
    /// Its records in the SYN queue.
    pub(super) half_open: usize,
    /// Until when a cookie may come back that this listener sent.
    pub(super) cookies_until: Instant,
    accept_queue: VecDeque<ConnectionId>,
}

impl Listener {
    pub(super) fn is_full(&self) -> bool {
        self.accept_queue.len() >= self.backlog
    }

    /// Connections that wait to be accepted.
    pub(super) fn waiting(&self) -> usize {
        self.accept_queue.len()
    }
}

impl Tcp {
    /// Passive OPEN (RFC 9293 section 3.10.1) on one local address, or on all.
    /// It touches no connection (MUST-41), not even one that opens from the same port
    /// (MUST-42); an address may be given (MUST-43).
    pub(crate) fn listen(
        &mut self,
        local: Option<u16>,
        port: u16,
        backlog: usize,
        options: SocketOptions,
    ) -> Result<ListenerId, ListenError> {
        let taken = self.listeners.iter().flatten().any(|listener| {
            listener.port == port
                && (listener.local.is_none() || local.is_none() || listener.local == local)
        });
        let id = u16::try_from(self.listeners.len()).map(ListenerId);
        let (false, Ok(id)) = (taken, id) else {
            return Err(ListenError::AddressInUse { port });
        };
        if !options.reuse_address && self.is_port_held(local, port) {
            return Err(ListenError::AddressInUse { port });
        }
        let settings = self.shared.settings.intern(options);
        let Some(settings) = settings else {
            return Err(ListenError::NoBuffers);
        };
        let accept_queue = VecDeque::with_capacity(backlog);
        self.listeners.push(Some(Listener {
            local,
            port,
            backlog,
            settings,
            earlier: None,
            half_open: 0,
            cookies_until: Instant::ZERO,
            accept_queue,
        }));
        Ok(id)
    }

    /// Connections of an earlier listener, or their TIME-WAIT, still have the port:
    /// without SO_REUSEADDR that is EADDRINUSE. Those that are only opening don't
    /// count (RFC 9293 section 3.9.1.1, MUST-42).
    fn is_port_held(&self, local: Option<u16>, port: u16) -> bool {
        let has =
            |key: &FlowKey| key.local_port == port && local.is_none_or(|local| local == key.local);
        let mut connections = self.connections.iter();
        connections.any(|(_, tcb)| tcb.state.is_synchronized() && has(&tcb.key))
            || self.time_wait.keys().any(has)
    }

    /// Stops listening. What is half open or waits to be accepted is reset.
    pub(crate) fn close_listener(&mut self, cx: &mut Cx, id: ListenerId) {
        let Some(listener) = self
            .listeners
            .get_mut(usize::from(id.0))
            .and_then(Option::take)
        else {
            return;
        };
        for settings in [Some(listener.settings), listener.earlier]
            .into_iter()
            .flatten()
        {
            self.shared.settings.release(settings);
        }
        self.shared.fast_open.issuer.forget(id);
        for waiting in listener.accept_queue {
            if self.connection(waiting).is_some() {
                self.abort(cx, waiting.index);
            }
        }
        self.reset_half_open(id);
    }

    pub(crate) fn close_all_listeners(&mut self, cx: &mut Cx) {
        for id in (0..self.listeners.len()).filter_map(|at| u16::try_from(at).ok()) {
            self.close_listener(cx, ListenerId(id));
        }
    }

    /// The head of the accept queue.
    pub(crate) fn accept(&mut self, id: ListenerId) -> Option<ConnectionId> {
        let listener = self.listeners.get_mut(usize::from(id.0))?.as_mut()?;
        while let Some(waiting) = listener.accept_queue.pop_front() {
            // One that was reset while it waited is skipped, as ECONNABORTED.
            let alive = self
                .connections
                .get(waiting.index)
                .is_some_and(|tcb| tcb.generation == waiting.generation);
            if alive {
                return Some(waiting);
            }
        }
        None
    }

    pub(crate) fn listener_for(&self, key: &FlowKey) -> Option<ListenerId> {
        let at = self.listeners.iter().position(|listener| {
            listener.as_ref().is_some_and(|l| {
                l.port == key.local_port && l.local.is_none_or(|local| local == key.local)
            })
        })?;
        u16::try_from(at).ok().map(ListenerId)
    }

    /// A segment for no record: CLOSED (RFC 9293 section 3.10.7.1) or LISTEN
    /// (section 3.10.7.2). Tells the connection that it made, if it brought back a
    /// cookie.
    pub(crate) fn input_no_connection(
        &mut self,
        cx: &mut Cx,
        segment: &Segment,
        frame: &mut Option<Frame>,
    ) -> Result<Option<u32>, DropReason> {
        if let Some(owner) = self.owner_elsewhere(&segment.key) {
            return self.hand_over(owner, segment, frame).map(|()| None);
        }
        let flags = segment.header.flags;
        let listener = self.listener_for(&segment.key);
        let (event, reason) = match flags {
            _ if flags.contains(Flags::RST) => (Event::Reset, DropReason::BadReset),
            _ if flags.contains(Flags::ACK) => (Event::BadAck, DropReason::NoListener),
            // A FIN beside the SYN is no connection request of any stack's.
            _ if flags.contains(Flags::SYN) && !flags.contains(Flags::FIN) => {
                (Event::Syn, DropReason::NoListener)
            }
            _ => (Event::NoAck, DropReason::NoAck),
        };
        let state = listener.map_or(State::Closed, |_| State::Listen);
        match (state.on(event).action, listener) {
            (Action::SendSynAck, Some(listener)) => self
                .receive_syn(cx, listener, segment, frame)
                .map(|()| None),
            (Action::SendReset, Some(listener)) => {
                self.accept_cookie(cx, listener, segment).map(Some)
            }
            (Action::SendReset, None) => Err(self.shared.reset_stray(cx.now, segment)),
            (_, Some(_)) => Err(reason),
            (_, None) => Err(DropReason::NoListener),
        }
    }

    /// A connection is complete and waits to be accepted, behind those that were
    /// complete before it.
    pub(super) fn queue_accept(&mut self, id: ListenerId, waiting: ConnectionId) {
        if let Some(listener) = self.listener_mut(id) {
            let is_first = listener.accept_queue.is_empty();
            listener.accept_queue.push_back(waiting);
            if is_first {
                self.shared.acceptable.push_back(id);
            }
        }
    }

    pub(super) fn listener(&self, id: ListenerId) -> Option<&Listener> {
        self.listeners.get(usize::from(id.0))?.as_ref()
    }

    pub(super) fn listener_mut(&mut self, id: ListenerId) -> Option<&mut Listener> {
        self.listeners.get_mut(usize::from(id.0))?.as_mut()
    }

    /// The options of a listener.
    pub(crate) fn listener_options(&self, id: ListenerId) -> Option<SocketOptions> {
        let listener = self.listener(id)?;
        Some(*self.shared.settings.get(&listener.settings))
    }

    /// Sets an option of a listener, for what it will accept.
    pub(crate) fn set_listener_option(
        &mut self,
        id: ListenerId,
        option: SocketOption,
    ) -> Result<(), OptionError> {
        if matches!(option, SocketOption::FastOpenConnect(_)) {
            return Err(OptionError::Invalid);
        }
        let listener = self
            .listeners
            .get_mut(usize::from(id.0))
            .and_then(Option::as_mut)
            .ok_or(OptionError::BadDescriptor)?;
        let before = self.shared.settings.share(&listener.settings);
        let changed = self.shared.settings.change(&mut listener.settings, option);
        // Cookies may be out that offered another window.
        let says = |settings| self.shared.own_window(settings);
        let spare = if says(&before) == says(&listener.settings) {
            Some(before)
        } else {
            listener.earlier.replace(before)
        };
        if let Some(settings) = spare {
            self.shared.settings.release(settings);
        }
        changed
    }
}
