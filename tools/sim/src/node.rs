//! The application on a host: it opens the connections that the plans give it,
//! serves those of others, and enters all that it does in the books.

use super::plan::{Bytes, Crossing, Dialogue, End, Ledger, Pace, Plan, Role, pattern};
use ringmill_core::app::App;
use ringmill_core::sockets::{
    Closed, ConnectError, ConnectionId, ListenerId, SocketError, SocketOptions, Sockets, SourceId,
};
use ringmill_core::tcp::State;
use ringmill_core::time::{Duration, Instant};
use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

/// Where every host listens.
const PORT: u16 = 7;
/// Until a connect is tried again for which there was no port or no record.
const CONNECT_AGAIN: Duration = Duration::from_millis(500);

/// How a host accepts: so many at a time, and so long between.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accepting {
    pub(crate) backlog: usize,
    pub(crate) at_a_time: usize,
    pub(crate) pause: Duration,
    /// SYN cookies are used, so an old ACK may open a connection that is over.
    pub(crate) by_cookies: bool,
}

/// What is to be done at some time, of a plan or of a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wake {
    Connect(usize),
    Accept,
    Read(usize),
}

/// One end of a connection that the application holds.
#[derive(Debug)]
struct Side {
    connection: ConnectionId,
    remote: Option<SocketAddr>,
    role: Role,
    /// Its plan; a server learns it from the client's first bytes.
    number: Option<usize>,
    is_open: bool,
    /// It was accepted with its SYN.
    is_early: bool,
    is_paused: bool,
    /// What it still reads before its next pause.
    burst_left: u64,
}

pub(crate) struct Node {
    host: usize,
    address_of: fn(usize, bool) -> IpAddr,
    plans: Rc<[Plan]>,
    ledger: Rc<RefCell<Ledger>>,
    accepting: Accepting,
    listener: Option<ListenerId>,
    source: Option<SourceId>,
    sides: Vec<Side>,
    wakes: BinaryHeap<Reverse<(Instant, Wake)>>,
}

impl Node {
    pub(crate) fn new(
        host: usize,
        address_of: fn(usize, bool) -> IpAddr,
        plans: Rc<[Plan]>,
        ledger: Rc<RefCell<Ledger>>,
        accepting: Accepting,
    ) -> Node {
        let connects = |(number, plan): (usize, &Plan)| {
            let at = match plan.crossing {
                _ if plan.client == host => plan.at,
                Some(crossing) if plan.server == host => plan.at + crossing.lag,
                _ => return None,
            };
            Some(Reverse((at, Wake::Connect(number))))
        };
        let wakes = plans.iter().enumerate().filter_map(connects).collect();
        Node {
            host,
            address_of,
            plans,
            ledger,
            accepting,
            listener: None,
            source: None,
            sides: Vec::new(),
            wakes,
        }
    }

    /// Starts to serve.
    pub(crate) fn listen(&mut self, sockets: &mut Sockets, options: SocketOptions) {
        self.source = Some(sockets.register(pattern().to_vec()));
        match sockets.listen(None, PORT, self.accepting.backlog, options) {
            Ok(listener) => self.listener = Some(listener),
            Err(error) => self.object(format_args!("can't listen: {error}")),
        }
    }

    /// Plans of the connections that it still holds; none for those that have
    /// not said which they are.
    pub(crate) fn open_sides(&self) -> impl Iterator<Item = Option<usize>> {
        let open = self.sides.iter().filter(|side| side.is_open);
        open.map(|side| side.number)
    }

    /// It holds a connection that never said which it is, and that is not one which
    /// an old ACK has opened again.
    pub(crate) fn holds_unnamed(&self) -> bool {
        let mut open = self.sides.iter().filter(|side| side.is_open);
        open.any(|side| {
            let mut named = self.sides.iter().filter(|named| named.number.is_some());
            let is_again = named.any(|named| named.remote == side.remote);
            side.number.is_none() && !(self.accepting.by_cookies && is_again)
        })
    }

    /// Aborts what it still holds.
    pub(crate) fn abort_open_sides(&mut self, sockets: &mut Sockets) {
        for side in self.sides.iter_mut().filter(|side| side.is_open) {
            side.is_open = false;
            sockets.abort(side.connection);
        }
    }

    fn object(&self, wrong: std::fmt::Arguments) {
        self.ledger.borrow_mut().object(wrong);
    }

    /// The books' end of a side whose plan is known.
    fn with_end<T>(&self, at: usize, change: impl FnOnce(&mut End) -> T) -> Option<T> {
        let side = &self.sides[at];
        let number = side.number?;
        Some(change(self.ledger.borrow_mut().end(number, side.role)))
    }

    fn side_of(&self, sockets: &Sockets, connection: ConnectionId) -> Option<usize> {
        let at = (sockets.token(connection) as usize).checked_sub(1)?;
        (self.sides[at].connection == connection && self.sides[at].is_open).then_some(at)
    }

    fn next_token(&self) -> u32 {
        u32::try_from(self.sides.len() + 1).unwrap_or(u32::MAX)
    }

    fn pace(&self, number: usize, role: Role) -> Pace {
        self.plans[number].paces[role as usize]
    }

    fn connect(&mut self, sockets: &mut Sockets, number: usize) {
        let plans = self.plans.clone();
        let plan = &plans[number];
        let (role, peer) = if plan.client == self.host {
            (Role::Client, plan.server)
        } else {
            (Role::Server, plan.client)
        };
        let place = |host, port| SocketAddr::new((self.address_of)(host, plan.is_v6), port);
        let token = self.next_token();
        let mut options = plan.options;
        // A server's end has nothing to say first.
        options.fast_open_connect &= role == Role::Client;
        let (remote, result) = match plan.crossing {
            None => {
                let remote = place(peer, PORT);
                (remote, sockets.connect(remote, token, options))
            }
            Some(Crossing { ports, .. }) => {
                let local = place(self.host, ports[role as usize]);
                let remote = place(peer, ports[role.other() as usize]);
                let result = sockets.connect_from(local, remote, token, options);
                (remote, result)
            }
        };
        match result {
            Ok(connection) => {
                self.sides.push(Side {
                    connection,
                    remote: Some(remote),
                    role,
                    number: Some(number),
                    is_open: true,
                    is_early: false,
                    is_paused: false,
                    burst_left: self.pace(number, role).burst,
                });
                let at = self.sides.len() - 1;
                self.with_end(at, |end| end.asked_at = Some(sockets.now()));
                if options.fast_open_connect {
                    let wake = (sockets.now() + plan.hesitates, Wake::Read(at));
                    self.wakes.push(Reverse(wake));
                }
            }
            Err(ConnectError::AddressNotAvailable | ConnectError::NoBuffers) => {
                let again = sockets.now() + CONNECT_AGAIN;
                self.wakes.push(Reverse((again, Wake::Connect(number))));
            }
            Err(error) => self.object(format_args!("connection {number}: {error}")),
        }
    }

    fn accept(&mut self, sockets: &mut Sockets, listener: ListenerId) {
        for _ in 0..self.accepting.at_a_time {
            let Some(connection) = sockets.accept(listener) else {
                return;
            };
            if sockets.set_token(connection, self.next_token()).is_err() {
                self.object(format_args!("a connection that was accepted is none"));
            }
            let info = sockets.info(connection);
            self.sides.push(Side {
                connection,
                remote: sockets.remote(connection),
                role: Role::Server,
                number: None,
                is_open: true,
                is_early: info.is_some_and(|info| info.syn_data),
                is_paused: false,
                burst_left: 0,
            });
            // What came while it waited was told to nobody.
            self.work(sockets, self.sides.len() - 1);
        }
        let next = sockets.now() + self.accepting.pause;
        self.wakes.push(Reverse((next, Wake::Accept)));
    }

    /// Does all that a side can do now.
    fn work(&mut self, sockets: &mut Sockets, at: usize) {
        let Side {
            connection, role, ..
        } = self.sides[at];
        let Some(number) = self.sides[at].number.or_else(|| self.name(sockets, at)) else {
            return;
        };
        if sockets.state(connection) != Some(State::SynReceived) {
            self.with_end(at, |end| end.is_early = false);
        }
        let plan = &self.plans.clone()[number];
        if plan.dialogue == Dialogue::Echo && role == Role::Server {
            return self.echo(sockets, at);
        }
        loop {
            let moved = self.read(sockets, at, plan) | self.send(sockets, at, plan);
            if self.ends(sockets, at, plan) || !moved {
                break;
            }
        }
        if plan.half_close {
            let shut = self.with_end(at, |end| {
                let shut = end.opened && end.sent == plan.totals[role as usize] && !end.shut;
                end.shut |= shut;
                shut
            });
            if shut == Some(true) && self.sides[at].is_open {
                let _ = sockets.shutdown(connection);
                self.ends(sockets, at, plan);
            }
        }
    }

    /// Reads which connection a server's side is, and leaves the bytes there. What an
    /// old SYN or ACK has opened again is aborted.
    fn name(&mut self, sockets: &mut Sockets, at: usize) -> Option<usize> {
        let connection = self.sides[at].connection;
        let name = *sockets.receive(connection).ok()?.first_chunk()?;
        let number = u32::from_be_bytes(name) as usize;
        let Side {
            remote, is_early, ..
        } = self.sides[at];
        let mut sides = self.sides.iter().rev();
        let before = sides.find(|side| side.number == Some(number) && side.remote == remote);
        let mut begins_again = false;
        if let Some(before) = before {
            // Nothing remembers SYNs and cookies (RFC 7413 section 2.1, RFC 4987).
            if is_early || (self.accepting.by_cookies && !before.is_early) {
                self.sides[at].is_open = false;
                sockets.abort(connection);
                return None;
            }
            // The client never heard of the first, and has gone on without Fast Open.
            begins_again = before.is_early && !before.is_open;
        }
        let known = self.plans.get(number).is_some();
        let mut ledger = self.ledger.borrow_mut();
        if known && begins_again {
            *ledger.end(number, Role::Server) = End::default();
        }
        if !known || ledger.end(number, Role::Server).opened {
            ledger.object(format_args!(
                "a stream that begins as {number} is none, or another"
            ));
            return None;
        }
        let end = ledger.end(number, Role::Server);
        (end.opened, end.is_early) = (true, is_early);
        let side = &mut self.sides[at];
        side.number = Some(number);
        side.burst_left = self.plans[number].paces[Role::Server as usize].burst;
        Some(number)
    }

    fn echo(&mut self, sockets: &mut Sockets, at: usize) {
        let connection = self.sides[at].connection;
        while let Ok(1..) = sockets.echo(connection) {}
        if let Ok([]) = sockets.receive(connection) {
            self.finish(sockets, at);
        }
    }

    /// True when something was read.
    fn read(&mut self, sockets: &mut Sockets, at: usize, plan: &Plan) -> bool {
        let side = &mut self.sides[at];
        let Some(number) = side.number.filter(|_| !side.is_paused) else {
            return false;
        };
        let pace = plan.paces[side.role as usize];
        let mut ledger = self.ledger.borrow_mut();
        match sockets.receive(side.connection) {
            Ok([]) => {
                let end = ledger.end(number, side.role);
                if !end.at_end {
                    end.at_end = true;
                    ledger.read_end(plan, number, side.role);
                }
                false
            }
            Ok(bytes) => {
                let most = usize::try_from(side.burst_left).unwrap_or(usize::MAX);
                let count = bytes.len().min(pace.call).min(most);
                ledger.read(plan, number, side.role, &bytes[..count]);
                sockets.consume(side.connection, count);
                side.burst_left -= count as u64;
                if side.burst_left == 0 {
                    side.burst_left = pace.burst;
                    side.is_paused = true;
                    let wake = (sockets.now() + pace.pause, Wake::Read(at));
                    self.wakes.push(Reverse(wake));
                }
                true
            }
            Err(_) => false,
        }
    }

    /// True when something was sent.
    fn send(&mut self, sockets: &mut Sockets, at: usize, plan: &Plan) -> bool {
        let Side {
            connection,
            role,
            number: Some(number),
            ..
        } = self.sides[at]
        else {
            return false;
        };
        let mut ledger = self.ledger.borrow_mut();
        let end = ledger.end(number, role);
        let room = plan.credit(role, end.received).saturating_sub(end.sent);
        if room == 0 || end.shut {
            return false;
        }
        let pace = plan.paces[role as usize];
        let bytes = plan.bytes(number, role, end.sent);
        let slice = bytes.as_slice();
        let most = usize::try_from(room).unwrap_or(usize::MAX);
        let len = slice.len().min(pace.call).min(most);
        let sent = match (bytes, self.source) {
            (Bytes::Pattern { from }, Some(source)) if pace.by_reference => {
                sockets.send_from(connection, source, from, len as u64)
            }
            _ => sockets.send(connection, &slice[..len]).map(|n| n as u64),
        };
        match sent {
            Ok(count) => {
                end.sent += count;
                count > 0
            }
            Err(SocketError::WouldBlock | SocketError::BadDescriptor) => false,
            // Reset, and about to be told so.
            Err(_) => false,
        }
    }

    /// Closes or aborts a side when its plan says so; true if it is over.
    fn ends(&mut self, sockets: &mut Sockets, at: usize, plan: &Plan) -> bool {
        let Side {
            connection, role, ..
        } = self.sides[at];
        let Some(end) = self
            .with_end(at, |end| *end)
            .filter(|_| self.sides[at].is_open)
        else {
            return true;
        };
        if !end.opened {
            // A close would take back what the SYN is to bring.
            return false;
        }
        if plan
            .abort
            .is_some_and(|(who, after)| who == role && end.received >= after)
        {
            self.with_end(at, |end| end.aborted = true);
            self.sides[at].is_open = false;
            sockets.abort(connection);
            return true;
        }
        let is_done = end.sent == plan.totals[role as usize]
            && end.received == plan.totals[role.other() as usize];
        let closes = if plan.half_close {
            end.at_end && end.shut
        } else {
            is_done && (role == plan.closer || end.at_end)
        };
        if closes {
            self.finish(sockets, at);
        }
        closes
    }

    fn finish(&mut self, sockets: &mut Sockets, at: usize) {
        self.sides[at].is_open = false;
        sockets.close(self.sides[at].connection);
        self.with_end(at, |end| {
            end.shut = true;
            end.finished = true;
        });
    }
}

impl App for Node {
    fn on_acceptable(&mut self, sockets: &mut Sockets, listener: ListenerId) {
        self.accept(sockets, listener);
    }

    fn on_connected(&mut self, sockets: &mut Sockets, connection: ConnectionId) {
        if let Some(at) = self.side_of(sockets, connection) {
            self.with_end(at, |end| end.opened = true);
            self.work(sockets, at);
        }
    }

    fn on_readable(&mut self, sockets: &mut Sockets, connection: ConnectionId) {
        if let Some(at) = self.side_of(sockets, connection) {
            self.work(sockets, at);
        }
    }

    fn on_writable(&mut self, sockets: &mut Sockets, connection: ConnectionId) {
        if let Some(at) = self.side_of(sockets, connection) {
            self.work(sockets, at);
        }
    }

    fn on_closed(&mut self, _: &mut Sockets, connection: ConnectionId, token: u32, why: Closed) {
        let at = (token as usize).wrapping_sub(1);
        if let Some(side) = self.sides.get_mut(at)
            && side.connection == connection
        {
            side.is_open = false;
            self.with_end(at, |end| end.closed = Some(why));
        }
    }

    fn poll(&mut self, sockets: &mut Sockets) {
        while let Some(Reverse((at, wake))) = self.wakes.peek().copied()
            && at <= sockets.now()
        {
            self.wakes.pop();
            match wake {
                Wake::Connect(number) => self.connect(sockets, number),
                Wake::Accept => {
                    if let Some(listener) = self.listener {
                        self.accept(sockets, listener);
                    }
                }
                Wake::Read(side) => {
                    self.sides[side].is_paused = false;
                    if self.sides[side].is_open {
                        self.work(sockets, side);
                    }
                }
            }
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.wakes.peek().map(|Reverse((at, _))| *at)
    }
}
