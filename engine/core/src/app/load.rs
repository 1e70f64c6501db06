//! The load generator, in its closed-loop form: each of N connections has one
//! request under way, and sends the next when the response is complete.
//!
//! In a closed loop a slow server slows the generator down, so what is measured
//! is *service time*: from the request's leaving to the response. It says how
//! long requests took, not how long users would have waited.

mod response;

use super::App;
use crate::sockets::{Closed, ConnectError, ConnectionId, SocketOptions, Sockets, SourceId};
use crate::tcp::State;
use crate::time::{Duration, Instant};
use hdrhistogram::Histogram;
use response::{Outcome, Response};
use std::collections::VecDeque;
use std::net::SocketAddr;

/// Who ends a connection after its request, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseMode {
    /// Nobody: the next request goes over the same connection.
    KeepAlive,
    /// This side closes first, by FIN; TIME-WAIT is here.
    Fin,
    /// The server is asked to close (Connection: close); TIME-WAIT is there.
    Server,
    /// This side resets; no TIME-WAIT anywhere.
    Rst,
}

/// What to load, and how.
#[derive(Clone, Debug)]
pub struct LoadConfig {
    /// The server.
    pub target: SocketAddr,
    /// The Host field.
    pub host: String,
    /// The request target.
    pub path: String,
    /// Connections at a time.
    pub connections: usize,
    /// What happens after a response.
    pub close: CloseMode,
}

macro_rules! error_kinds {
    ($($(#[doc = $doc:literal])+ $field:ident,)+) => {
        /// What went wrong, by kind; the run goes on after each.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct LoadErrors { $($(#[doc = $doc])+ pub $field: u64,)+ }

        impl LoadErrors {
            /// Every kind with its name and count.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($field), self.$field)),+].into_iter()
            }

            /// Adds another's counts.
            pub fn add(&mut self, other: &LoadErrors) {
                $(self.$field += other.$field;)+
            }
        }
    };
}

error_kinds! {
    /// The server answered the SYN with a RST (ECONNREFUSED).
    refused,
    /// The connection was reset while a request was under way (ECONNRESET).
    reset,
    /// The server stopped answering (ETIMEDOUT).
    timed_out,
    /// The next hop or the host does not answer (EHOSTUNREACH).
    unreachable,
    /// The server closed before the response was complete.
    closed_early,
    /// The response was not HTTP/1.1.
    malformed,
    /// A connect found every local port taken (EADDRNOTAVAIL); it is tried again.
    ports_exhausted,
    /// The budget of connections was used up (ENOBUFS); it is tried again.
    no_buffers,
}

impl LoadErrors {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.iter().map(|(_, count)| count).sum()
    }
}

/// What was done and how long it took.
#[derive(Clone, Debug)]
pub struct LoadStats {
    /// Requests sent.
    pub requests: u64,
    /// Complete responses, by the first digit of their status: 1xx to 5xx.
    pub statuses: [u64; 5],
    /// Bytes of response bodies.
    pub body_bytes: u64,
    /// Requests that had no response when the run ended.
    pub unanswered: u64,
    /// Errors.
    pub errors: LoadErrors,
    /// From SYN to established, in nanoseconds.
    pub connect: Histogram<u64>,
    /// From a request to the first byte of its response, in nanoseconds.
    pub first_byte: Histogram<u64>,
    /// From a request to the last byte of its response, in nanoseconds.
    pub response: Histogram<u64>,
}

impl Default for LoadStats {
    fn default() -> LoadStats {
        LoadStats {
            requests: 0,
            statuses: [0; 5],
            body_bytes: 0,
            unanswered: 0,
            errors: LoadErrors::default(),
            connect: histogram(),
            first_byte: histogram(),
            response: histogram(),
        }
    }
}

impl LoadStats {
    /// Complete responses.
    pub fn responses(&self) -> u64 {
        self.statuses.iter().sum()
    }

    /// Adds what another generator did.
    pub fn add(&mut self, other: &LoadStats) {
        self.requests += other.requests;
        for (sum, count) in self.statuses.iter_mut().zip(other.statuses) {
            *sum += count;
        }
        self.body_bytes += other.body_bytes;
        self.unanswered += other.unanswered;
        self.errors.add(&other.errors);
        for (sum, part) in [
            (&mut self.connect, &other.connect),
            (&mut self.first_byte, &other.first_byte),
            (&mut self.response, &other.response),
        ] {
            // All have the same bounds, so every value fits.
            let _ = sum.add(part);
        }
    }
}

/// 100 ns to 100 s at three significant digits; longer is counted as 100 s.
fn histogram() -> Histogram<u64> {
    #[expect(
        clippy::expect_used,
        reason = "the bounds are constants that the crate accepts"
    )]
    Histogram::new_with_bounds(100, 100_000_000_000, 3).expect("valid bounds")
}

fn record(histogram: &mut Histogram<u64>, length: Duration) {
    histogram.saturating_record(u64::try_from(length.as_nanos()).unwrap_or(u64::MAX));
}

/// One of the N connections, or the place of one that is to be opened.
#[derive(Debug)]
struct Slot {
    connection: Option<ConnectionId>,
    /// When it was opened, then when its request was sent.
    since: Instant,
    awaiting: bool,
    response: Response,
}

/// The generator of one shard.
#[derive(Debug)]
pub struct Load {
    config: LoadConfig,
    request: Option<(SourceId, u64)>,
    slots: Vec<Slot>,
    /// Slots to be opened.
    idle: VecDeque<u32>,
    /// When idle slots are tried again after a connect was refused here.
    retry_at: Option<Instant>,
    draining: bool,
    stats: LoadStats,
}

/// Connections opened in one step: a start with many of them stays even.
const OPENS_PER_STEP: usize = 64;
const RETRY_AFTER: Duration = Duration::from_millis(10);

impl Load {
    /// A generator that starts with the first step.
    pub fn new(config: LoadConfig) -> Load {
        let slot = |_| Slot {
            connection: None,
            since: Instant::ZERO,
            awaiting: false,
            response: Response::default(),
        };
        Load {
            slots: (0..config.connections).map(slot).collect(),
            idle: (0..).take(config.connections).collect(),
            request: None,
            retry_at: None,
            draining: false,
            stats: LoadStats::default(),
            config,
        }
    }

    /// What was done so far.
    pub fn stats(&self) -> &LoadStats {
        &self.stats
    }

    /// Sends no more requests. Those under way are finished, and a connection
    /// that is still opening is closed once it is open.
    pub fn drain(&mut self, sockets: &mut Sockets) {
        self.draining = true;
        for slot in self.slots.iter_mut().filter(|slot| !slot.awaiting) {
            if let Some(open) = slot
                .connection
                .take_if(|id| sockets.state(*id) != Some(State::SynSent))
            {
                sockets.close(open);
            }
        }
    }

    /// Gives up what is still under way.
    pub fn abort(&mut self, sockets: &mut Sockets) {
        self.draining = true;
        for slot in &mut self.slots {
            if let Some(connection) = slot.connection.take() {
                self.stats.unanswered += u64::from(slot.awaiting);
                sockets.abort(connection);
            }
        }
    }

    /// Draining, and nothing is under way.
    pub fn is_drained(&self) -> bool {
        self.draining && self.slots.iter().all(|slot| slot.connection.is_none())
    }

    fn open(&mut self, sockets: &mut Sockets, index: u32) {
        let Some(slot) = self.slots.get_mut(index as usize) else {
            return;
        };
        match sockets.connect(
            self.config.target,
            index,
            SocketOptions {
                nodelay: true,
                ..SocketOptions::default()
            },
        ) {
            Ok(connection) => {
                slot.connection = Some(connection);
                slot.since = sockets.now();
                slot.awaiting = false;
            }
            Err(error) => {
                match error {
                    ConnectError::NoBuffers => self.stats.errors.no_buffers += 1,
                    ConnectError::AddressNotAvailable
                    | ConnectError::AddressInUse
                    | ConnectError::InvalidAddress => {
                        self.stats.errors.ports_exhausted += 1;
                    }
                }
                self.retry_later(sockets.now(), index);
            }
        }
    }

    fn retry_later(&mut self, now: Instant, index: u32) {
        self.idle.push_back(index);
        self.retry_at.get_or_insert(now + RETRY_AFTER);
    }

    /// Sends the request of a slot whose connection is free.
    fn request(&mut self, sockets: &mut Sockets, index: u32) {
        let (Some(slot), Some((source, len))) = (self.slots.get_mut(index as usize), self.request)
        else {
            return;
        };
        let Some(connection) = slot.connection else {
            return;
        };
        if self.draining {
            slot.connection = None;
            return sockets.close(connection);
        }
        if sockets.send_from(connection, source, 0, len).is_err() {
            // The peer has closed meanwhile; the end of the stream follows.
            return;
        }
        slot.since = sockets.now();
        slot.awaiting = true;
        slot.response = Response::default();
        self.stats.requests += 1;
    }

    /// The response of a slot is complete.
    fn complete(&mut self, sockets: &mut Sockets, index: u32, keep_alive: bool) {
        let Some(slot) = self.slots.get_mut(index as usize) else {
            return;
        };
        record(&mut self.stats.response, sockets.now().since(slot.since));
        let class = usize::from(slot.response.status() / 100).clamp(1, 5) - 1;
        self.stats.statuses[class] += 1;
        slot.awaiting = false;
        if keep_alive && self.config.close == CloseMode::KeepAlive {
            return self.request(sockets, index);
        }
        if self.config.close == CloseMode::Server && !keep_alive {
            // The server closes first, as it was asked to; its FIN is next.
            return;
        }
        if let Some(connection) = slot.connection.take() {
            match self.config.close {
                CloseMode::Rst => sockets.abort(connection),
                _ => sockets.close(connection),
            }
        }
        self.reopen(sockets, index);
    }

    fn reopen(&mut self, sockets: &mut Sockets, index: u32) {
        if !self.draining {
            self.open(sockets, index);
        }
    }

    /// A slot's connection is of no more use.
    fn fail(
        &mut self,
        sockets: &mut Sockets,
        index: u32,
        kind: impl FnOnce(&mut LoadErrors) -> &mut u64,
    ) {
        *kind(&mut self.stats.errors) += 1;
        let Some(slot) = self.slots.get_mut(index as usize) else {
            return;
        };
        slot.awaiting = false;
        if let Some(connection) = slot.connection.take() {
            sockets.abort(connection);
        }
        if !self.draining {
            self.retry_later(sockets.now(), index);
        }
    }

    /// Reads what has come for a slot; false when there is no more to do now.
    fn read(&mut self, sockets: &mut Sockets, index: u32, connection: ConnectionId) -> bool {
        let Some(slot) = self.slots.get_mut(index as usize) else {
            return false;
        };
        if slot.connection != Some(connection) {
            return false;
        }
        let Ok(bytes) = sockets.receive(connection) else {
            return false;
        };
        let at_end = bytes.is_empty();
        if slot.awaiting && !at_end && !slot.response.has_started() {
            record(&mut self.stats.first_byte, sockets.now().since(slot.since));
        }
        let progress = match (slot.awaiting, at_end) {
            (true, true) => slot.response.finish(),
            (true, false) => slot.response.advance(bytes),
            (false, true) => return self.closed_while_idle(sockets, index, connection),
            (false, false) => response::Progress {
                consumed: 0,
                outcome: Outcome::Malformed,
            },
        };
        self.stats.body_bytes += slot.response.take_body_bytes();
        sockets.consume(connection, progress.consumed);
        match progress.outcome {
            Outcome::Partial => return true,
            Outcome::Complete { keep_alive } => {
                self.complete(sockets, index, keep_alive);
                return true;
            }
            Outcome::Malformed => self.fail(sockets, index, |errors| &mut errors.malformed),
            Outcome::Truncated => self.fail(sockets, index, |errors| &mut errors.closed_early),
        }
        false
    }

    /// The server closes a connection between two requests: its right.
    fn closed_while_idle(
        &mut self,
        sockets: &mut Sockets,
        index: u32,
        connection: ConnectionId,
    ) -> bool {
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.connection = None;
        }
        sockets.close(connection);
        self.reopen(sockets, index);
        false
    }
}

impl App for Load {
    fn on_connected(&mut self, sockets: &mut Sockets, connection: ConnectionId) {
        let index = sockets.token(connection);
        if let Some(slot) = self.slots.get(index as usize) {
            record(&mut self.stats.connect, sockets.now().since(slot.since));
            self.request(sockets, index);
        }
    }

    fn on_readable(&mut self, sockets: &mut Sockets, connection: ConnectionId) {
        let index = sockets.token(connection);
        while self.read(sockets, index, connection) {}
    }

    fn on_closed(
        &mut self,
        sockets: &mut Sockets,
        connection: ConnectionId,
        token: u32,
        why: Closed,
    ) {
        let is_ours = self
            .slots
            .get(token as usize)
            .is_some_and(|slot| slot.connection == Some(connection));
        if !is_ours {
            return;
        }
        self.fail(sockets, token, |errors| match why {
            Closed::Refused => &mut errors.refused,
            Closed::Reset | Closed::Aborted | Closed::Normally => &mut errors.reset,
            Closed::TimedOut => &mut errors.timed_out,
            Closed::Unreachable => &mut errors.unreachable,
        });
    }

    fn poll(&mut self, sockets: &mut Sockets) {
        if self.request.is_none() {
            let connection = if self.config.close == CloseMode::Server {
                "Connection: close\r\n"
            } else {
                ""
            };
            let LoadConfig { path, host, .. } = &self.config;
            let head = format!(
                "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: ringmill\r\n{connection}\r\n"
            );
            let len = head.len() as u64;
            self.request = Some((sockets.register(head.into_bytes()), len));
        }
        if self.draining || self.retry_at.is_some_and(|at| sockets.now() < at) {
            return;
        }
        self.retry_at = None;
        for _ in 0..OPENS_PER_STEP.min(self.idle.len()) {
            // One that fails goes to the back and sets the time of the next try.
            if self.retry_at.is_some() {
                return;
            }
            if let Some(index) = self.idle.pop_front() {
                self.open(sockets, index);
            }
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        (!self.draining && !self.idle.is_empty()).then(|| self.retry_at.unwrap_or(Instant::ZERO))
    }
}
