//! Applications as small as can be, so that what is measured is TCP: a request of
//! one segment, a response of one segment.

use crate::memory::{Ports, SERVER};
use ringmill_core::app::App;
use ringmill_core::rng::Rng;
use ringmill_core::sockets::{
    Closed, ConnectionId, ListenError, ListenerId, SocketOptions, Sockets, SourceId,
};

/// Bytes of a request.
pub const REQUEST: usize = 64;
/// Bytes of a response.
pub const RESPONSE: usize = 128;

/// Opens connections, then asks over those that it picks at random.
#[derive(Debug)]
pub struct Requester {
    ports: Ports,
    wanted: usize,
    opened: usize,
    connections: Vec<ConnectionId>,
    request: Option<SourceId>,
    /// Requests to have under way at a time.
    window: usize,
    under_way: usize,
    answered: u64,
    lost: u64,
    rng: Rng,
}

/// Connections opened in one step.
const OPENS: usize = 64;
/// Connections that are opening at a time: what the rings of an interface hold.
const OPENING_MAX: usize = 512;
/// Tokens of connections.
const FREE: u32 = 0;
const ASKED: u32 = 1;

impl Requester {
    /// Over `connections`, with `window` requests under way at a time; with none it
    /// only opens.
    pub fn new(connections: usize, window: usize) -> Requester {
        Requester {
            ports: Ports::for_connections(connections),
            wanted: connections,
            opened: 0,
            connections: Vec::with_capacity(if window == 0 { 0 } else { connections }),
            request: None,
            window,
            under_way: 0,
            answered: 0,
            lost: 0,
            rng: Rng::from_seed(1),
        }
    }

    /// Connections that are open, while it opens.
    pub fn open(&self) -> usize {
        self.opened - self.under_way
    }

    /// All are open.
    pub fn is_open(&self) -> bool {
        self.request.is_some()
    }

    /// Requests that were answered.
    pub fn answered(&self) -> u64 {
        self.answered
    }

    /// Connections that ended.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    fn open_more(&mut self, sockets: &mut Sockets) {
        let room = OPENING_MAX - self.under_way;
        for _ in 0..OPENS.min(room).min(self.wanted - self.opened) {
            let port = self.ports.of(self.opened);
            sockets
                .connect((SERVER, port).into(), FREE, SocketOptions::default())
                .expect("there are ports for all");
            self.opened += 1;
            self.under_way += 1;
        }
    }

    fn ask(&mut self, sockets: &mut Sockets, request: SourceId) {
        let at = self.rng.below(self.connections.len() as u64);
        let connection = self.connections[usize::try_from(at).unwrap_or(0)];
        if sockets.token(connection) == FREE
            && sockets.set_token(connection, ASKED).is_ok()
            && sockets
                .send_from(connection, request, 0, REQUEST as u64)
                .is_ok()
        {
            self.under_way += 1;
        }
    }
}

impl App for Requester {
    fn on_connected(&mut self, _: &mut Sockets, connection: ConnectionId) {
        self.under_way -= 1;
        if self.window > 0 {
            self.connections.push(connection);
        }
    }

    fn on_readable(&mut self, sockets: &mut Sockets, connection: ConnectionId) {
        let len = sockets.receive(connection).map_or(0, <[u8]>::len);
        assert_eq!(len, RESPONSE, "a response is one segment");
        sockets.consume(connection, len);
        sockets
            .set_token(connection, FREE)
            .expect("it has just been read");
        self.under_way -= 1;
        self.answered += 1;
    }

    fn on_closed(&mut self, _: &mut Sockets, _: ConnectionId, _: u32, _: Closed) {
        self.lost += 1;
    }

    fn poll(&mut self, sockets: &mut Sockets) {
        let Some(request) = self.request else {
            self.open_more(sockets);
            if self.opened == self.wanted && self.under_way == 0 {
                self.request = Some(sockets.register(vec![b'q'; REQUEST]));
            }
            return;
        };
        // A pick that finds its connection busy is not picked again in this step.
        for _ in self.under_way..self.window {
            self.ask(sockets, request);
        }
    }
}

/// Connects, asks once, reads the response and closes, again and again: TIME-WAIT
/// is at this end.
#[derive(Debug)]
pub struct Caller {
    ports: Ports,
    window: usize,
    opened: usize,
    under_way: usize,
    done: u64,
    failed: u64,
    request: Option<SourceId>,
}

impl Caller {
    /// With `window` connections at a time, over as many ports of the server as
    /// `records` connections and TIME-WAIT records need.
    pub fn new(records: usize, window: usize) -> Caller {
        Caller {
            ports: Ports::for_connections(records),
            window,
            opened: 0,
            under_way: 0,
            done: 0,
            failed: 0,
            request: None,
        }
    }

    /// From now on with `window` connections at a time, once those under way are over.
    pub fn set_window(&mut self, window: usize) {
        self.window = window;
    }

    /// Connections that were answered and closed.
    pub fn done(&self) -> u64 {
        self.done
    }

    /// Connections that failed.
    pub fn failed(&self) -> u64 {
        self.failed
    }
}

impl App for Caller {
    fn on_connected(&mut self, sockets: &mut Sockets, connection: ConnectionId) {
        let request = self.request.expect("registered at the start");
        sockets
            .send_from(connection, request, 0, REQUEST as u64)
            .expect("the queue is empty");
    }

    fn on_readable(&mut self, sockets: &mut Sockets, connection: ConnectionId) {
        let len = sockets.receive(connection).map_or(0, <[u8]>::len);
        assert_eq!(len, RESPONSE, "a response is one segment");
        sockets.consume(connection, len);
        sockets.close(connection);
        self.under_way -= 1;
        self.done += 1;
    }

    fn on_closed(&mut self, _: &mut Sockets, _: ConnectionId, _: u32, _: Closed) {
        self.under_way -= 1;
        self.failed += 1;
    }

    fn poll(&mut self, sockets: &mut Sockets) {
        self.request
            .get_or_insert_with(|| sockets.register(vec![b'q'; REQUEST]));
        while self.under_way < self.window {
            let port = self.ports.of(self.opened);
            sockets
                .connect((SERVER, port).into(), FREE, SocketOptions::default())
                .expect("there are ports for all");
            self.opened += 1;
            self.under_way += 1;
        }
    }
}

/// Answers each request, and closes what the peer has closed.
#[derive(Debug, Default)]
pub struct Responder {
    response: Option<SourceId>,
}

impl Responder {
    /// Listens on `ports`.
    pub fn start(&mut self, sockets: &mut Sockets, ports: Ports) -> Result<(), ListenError> {
        self.response = Some(sockets.register(vec![b'r'; RESPONSE]));
        for port in ports {
            sockets.listen(None, port, OPENING_MAX, SocketOptions::default())?;
        }
        Ok(())
    }
}

impl App for Responder {
    fn on_acceptable(&mut self, sockets: &mut Sockets, listener: ListenerId) {
        while sockets.accept(listener).is_some() {}
    }

    fn on_readable(&mut self, sockets: &mut Sockets, connection: ConnectionId) {
        let Ok(bytes) = sockets.receive(connection) else {
            return;
        };
        let len = bytes.len();
        if len == 0 {
            return sockets.close(connection);
        }
        assert_eq!(len, REQUEST, "a request is one segment");
        sockets.consume(connection, len);
        let response = self.response.expect("registered at the start");
        sockets
            .send_from(connection, response, 0, RESPONSE as u64)
            .expect("the queue is empty");
    }
}
