//! The server of iperf3's TCP test: sinks what the client sends, or sends what
//! the client asks for (`iperf3 -R`).
//!
//! ```text
//! control  -> cookie                    the client, once a test
//!          <- PARAM_EXCHANGE  -> JSON   how many streams, which way
//!          <- CREATE_STREAMS
//! streams  -> cookie                    each of them
//! control  <- TEST_START, TEST_RUNNING  bytes flow
//!          -> TEST_END
//!          <- EXCHANGE_RESULTS  -> JSON  <- JSON
//!          <- DISPLAY_RESULTS   -> IPERF_DONE
//! ```
//!
//! One test at a time, as with iperf3's own server. Both directions at once and
//! UDP are refused.

use ringmill_core::app::App;
use ringmill_core::sockets::{
    Closed, ConnectionId, ListenerId, SocketError, SocketOptions, Sockets, SourceId,
};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Names a test: its streams say it too.
const COOKIE_LEN: usize = 37;
/// Far more than what a client says about its streams.
const JSON_MAX: usize = 1 << 20;
/// iperf3's own limit.
const STREAMS_MAX: usize = 128;

/// States that the control connection carries, a byte each.
mod state {
    pub(super) const TEST_START: u8 = 1;
    pub(super) const TEST_RUNNING: u8 = 2;
    pub(super) const TEST_END: u8 = 4;
    pub(super) const PARAM_EXCHANGE: u8 = 9;
    pub(super) const CREATE_STREAMS: u8 = 10;
    pub(super) const EXCHANGE_RESULTS: u8 = 13;
    pub(super) const DISPLAY_RESULTS: u8 = 14;
    pub(super) const SERVER_ERROR: u8 = 0xfe;
    pub(super) const ACCESS_DENIED: u8 = 0xff;
}

/// What follows SERVER_ERROR: "an option is not implemented", and no errno.
const NOT_IMPLEMENTED: [u8; 8] = [0, 0, 0, 13, 0, 0, 0, 0];

/// What the client asks for; the rest of its parameters are its own business.
#[derive(Debug, Deserialize)]
struct Parameters {
    #[serde(default)]
    tcp: bool,
    #[serde(default = "one")]
    parallel: usize,
    /// The server sends.
    #[serde(default)]
    reverse: bool,
    #[serde(default)]
    bidirectional: bool,
}

fn one() -> usize {
    1
}

impl Parameters {
    fn are_ours(&self) -> bool {
        self.tcp && !self.bidirectional && (1..=STREAMS_MAX).contains(&self.parallel)
    }
}

/// The client's results, of which the server needs no more than the names that the
/// streams have.
#[derive(Debug, Deserialize)]
struct ClientResults {
    streams: Vec<ClientStream>,
}

#[derive(Debug, Deserialize)]
struct ClientStream {
    id: i64,
}

/// The server's results. A client insists on every field.
#[derive(Debug, Serialize)]
struct Results {
    cpu_util_total: f64,
    cpu_util_user: f64,
    cpu_util_system: f64,
    sender_has_retransmits: i64,
    streams: Vec<StreamResults>,
}

#[derive(Debug, Serialize)]
struct StreamResults {
    id: i64,
    bytes: u64,
    retransmits: i64,
    jitter: f64,
    errors: i64,
    packets: i64,
}

/// The engine counts retransmissions of all connections together; iperf3 says it so.
const NOT_COUNTED: i64 = -1;

/// What a connection is, which its first bytes tell.
enum Role {
    Unknown(Vec<u8>),
    Control,
    /// The number of the stream, in the order of the streams' cookies.
    Stream(usize),
}

/// Where a test is.
enum Stage {
    Parameters,
    Streams,
    Running,
    Results,
    /// The client shows its results; the next test may begin.
    Showing,
}

struct Test {
    control: ConnectionId,
    cookie: Vec<u8>,
    stage: Stage,
    /// Received from the client and not understood yet.
    inbox: Vec<u8>,
    expected: usize,
    reverse: bool,
    /// Each stream, and the bytes that came on it or were queued to go.
    streams: Vec<(ConnectionId, u64)>,
}

/// The server.
pub(crate) struct Iperf3 {
    roles: HashMap<ConnectionId, Role>,
    test: Option<Test>,
    /// What is sent, again and again.
    source: Option<SourceId>,
}

/// Bytes of the source.
const BLOCK: u32 = 128 << 10;

impl Iperf3 {
    pub(crate) fn new() -> Iperf3 {
        Iperf3 {
            roles: HashMap::new(),
            test: None,
            source: None,
        }
    }

    pub(crate) fn start(
        &mut self,
        sockets: &mut Sockets,
        port: u16,
        backlog: usize,
    ) -> anyhow::Result<()> {
        self.source = Some(sockets.register(vec![b'r'; BLOCK as usize]));
        let options = SocketOptions {
            nodelay: true, // The control connection speaks in single bytes.
            ..SocketOptions::default()
        };
        sockets.listen(None, port, backlog, options)?;
        Ok(())
    }

    /// The first bytes of a connection are a cookie: a new one is a new test.
    fn introduce(&mut self, sockets: &mut Sockets, id: ConnectionId, mut bytes: Vec<u8>) {
        if bytes.len() < COOKIE_LEN {
            self.roles.insert(id, Role::Unknown(bytes));
            return;
        }
        let rest = bytes.split_off(COOKIE_LEN);
        // A client that has its results is done, though the word of it may still be
        // on its way, or lost: whoever comes next need not wait for that.
        if let Some(Stage::Showing) = self.test.as_ref().map(|test| &test.stage) {
            self.end(sockets);
        }
        match &mut self.test {
            None => {
                self.test = Some(Test {
                    control: id,
                    cookie: bytes,
                    stage: Stage::Parameters,
                    inbox: rest,
                    expected: 0,
                    reverse: false,
                    streams: Vec::new(),
                });
                self.roles.insert(id, Role::Control);
                say(sockets, id, &[state::PARAM_EXCHANGE]);
                self.advance(sockets);
            }
            Some(test) if test.cookie == bytes && test.streams.len() < test.expected => {
                self.roles.insert(id, Role::Stream(test.streams.len()));
                test.streams.push((id, rest.len() as u64));
                if test.streams.len() == test.expected {
                    test.stage = Stage::Running;
                    say(
                        sockets,
                        test.control,
                        &[state::TEST_START, state::TEST_RUNNING],
                    );
                    self.send_streams(sockets);
                }
            }
            Some(_) => {
                self.roles.remove(&id);
                say(sockets, id, &[state::ACCESS_DENIED]);
                sockets.close(id);
            }
        }
    }

    /// Understands what the control connection brought, as far as it goes.
    fn advance(&mut self, sockets: &mut Sockets) {
        while let Some(test) = &mut self.test {
            match test.stage {
                Stage::Parameters => {
                    let Some(json) = take_json(&mut test.inbox) else {
                        return self.end_if_too_long(sockets);
                    };
                    let parameters: Option<Parameters> = serde_json::from_slice(&json).ok();
                    let Some(parameters) = parameters.filter(Parameters::are_ours) else {
                        say(sockets, test.control, &[state::SERVER_ERROR]);
                        say(sockets, test.control, &NOT_IMPLEMENTED);
                        return self.end(sockets);
                    };
                    test.expected = parameters.parallel;
                    test.reverse = parameters.reverse;
                    test.stage = Stage::Streams;
                    say(sockets, test.control, &[state::CREATE_STREAMS]);
                }
                Stage::Results => {
                    let Some(json) = take_json(&mut test.inbox) else {
                        return self.end_if_too_long(sockets);
                    };
                    let Some(answer) = results(test, &json) else {
                        return self.end(sockets);
                    };
                    say(sockets, test.control, &answer);
                    say(sockets, test.control, &[state::DISPLAY_RESULTS]);
                    test.stage = Stage::Showing;
                }
                Stage::Running if test.inbox.first() == Some(&state::TEST_END) => {
                    test.inbox.remove(0);
                    test.stage = Stage::Results;
                    say(sockets, test.control, &[state::EXCHANGE_RESULTS]);
                    if test.reverse {
                        // What is queued still goes out: the client reads to the end.
                        for (stream, bytes) in &mut test.streams {
                            *bytes -= u64::from(sockets.unacknowledged(*stream));
                            sockets.close(*stream);
                        }
                    }
                }
                // Done, given up, or nothing to say here: the test is over.
                _ if !test.inbox.is_empty() => return self.end(sockets),
                _ => return,
            }
        }
    }

    fn end_if_too_long(&mut self, sockets: &mut Sockets) {
        let inbox = self.test.as_ref().map_or(0, |test| test.inbox.len());
        if inbox > JSON_MAX {
            self.end(sockets);
        }
    }

    /// The test is over, whatever became of it.
    fn end(&mut self, sockets: &mut Sockets) {
        let Some(test) = self.test.take() else {
            return;
        };
        self.roles.remove(&test.control);
        sockets.close(test.control);
        for (stream, _) in test.streams {
            self.roles.remove(&stream);
            sockets.close(stream);
        }
    }

    /// The client has closed a connection.
    fn on_end(&mut self, sockets: &mut Sockets, id: ConnectionId) {
        match self.roles.get(&id) {
            Some(Role::Control) => {
                self.advance(sockets);
                self.end(sockets);
            }
            // A stream is kept for the results.
            Some(Role::Stream(_)) => sockets.close(id),
            _ => {
                self.roles.remove(&id);
                sockets.close(id);
            }
        }
    }

    fn send_streams(&mut self, sockets: &mut Sockets) {
        for number in 0..self.test.as_ref().map_or(0, |test| test.streams.len()) {
            self.send_stream(sockets, number);
        }
    }

    fn send_stream(&mut self, sockets: &mut Sockets, number: usize) {
        let (Some(test), Some(source)) = (&mut self.test, self.source) else {
            return;
        };
        if !test.reverse || !matches!(test.stage, Stage::Running) {
            return;
        }
        let (id, bytes) = &mut test.streams[number];
        while let Ok(queued) = sockets.send_from(*id, source, 0, u64::from(BLOCK)) {
            *bytes += queued;
        }
    }
}

/// Queues a few bytes of the control connection; one that has just ended is heard
/// of by `on_closed`.
fn say(sockets: &mut Sockets, id: ConnectionId, bytes: &[u8]) {
    let _ = sockets.send(id, bytes);
}

/// The next JSON of the inbox, which its length precedes, once it is whole.
fn take_json(inbox: &mut Vec<u8>) -> Option<Vec<u8>> {
    let (length, rest) = inbox.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let json = rest.get(..length)?.to_vec();
    inbox.drain(..4 + length);
    Some(json)
}

/// The server's results, for the streams by the names that the client's have.
fn results(test: &Test, client: &[u8]) -> Option<Vec<u8>> {
    let client: ClientResults = serde_json::from_slice(client).ok()?;
    let streams = client.streams.iter().zip(&test.streams);
    let streams = streams.map(|(theirs, &(_, bytes))| StreamResults {
        id: theirs.id,
        bytes,
        retransmits: NOT_COUNTED,
        jitter: 0.0,
        errors: 0,
        packets: 0,
    });
    let results = Results {
        cpu_util_total: 0.0,
        cpu_util_user: 0.0,
        cpu_util_system: 0.0,
        sender_has_retransmits: NOT_COUNTED,
        streams: streams.collect(),
    };
    let json = serde_json::to_vec(&results).ok()?;
    let length = u32::try_from(json.len()).ok()?;
    Some([&length.to_be_bytes()[..], &json].concat())
}

impl App for Iperf3 {
    fn on_acceptable(&mut self, sockets: &mut Sockets, listener: ListenerId) {
        while let Some(id) = sockets.accept(listener) {
            self.roles.insert(id, Role::Unknown(Vec::new()));
        }
    }

    fn on_readable(&mut self, sockets: &mut Sockets, id: ConnectionId) {
        loop {
            let len = match sockets.receive(id) {
                Ok([]) => break self.on_end(sockets, id),
                Ok(bytes) => {
                    let len = bytes.len();
                    match self.roles.get_mut(&id) {
                        Some(Role::Stream(number)) => {
                            if let Some(test) = &mut self.test {
                                test.streams[*number].1 += len as u64;
                            }
                        }
                        Some(Role::Control) => {
                            if let Some(test) = &mut self.test {
                                test.inbox.extend_from_slice(bytes);
                            }
                        }
                        Some(Role::Unknown(first)) => first.extend_from_slice(bytes),
                        None => {}
                    }
                    len
                }
                Err(SocketError::WouldBlock) => break,
                Err(_) => return,
            };
            sockets.consume(id, len);
        }
        match self.roles.get_mut(&id) {
            Some(Role::Unknown(first)) => {
                let first = std::mem::take(first);
                self.introduce(sockets, id, first);
            }
            Some(Role::Control) => self.advance(sockets),
            _ => {}
        }
    }

    fn on_writable(&mut self, sockets: &mut Sockets, id: ConnectionId) {
        if let Some(Role::Stream(number)) = self.roles.get(&id) {
            self.send_stream(sockets, *number);
        }
    }

    fn on_closed(&mut self, sockets: &mut Sockets, id: ConnectionId, _: u32, _: Closed) {
        if let Some(Role::Control) = self.roles.remove(&id) {
            self.end(sockets);
        }
    }
}
