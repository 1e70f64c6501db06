//! An HTTP/1.1 responder (RFC 9112) that answers every GET and HEAD with the
//! same body.
//!
//! Responses are sources that all connections refer to, so a response costs no
//! copy before its frames are built. Requests are parsed where they lie; only
//! one that spans frames is gathered. Pipelined requests are answered in order.

use super::App;
use crate::sockets::{
    Body, Closed, ConnectionId, ListenError, ListenerId, SocketError, SocketOptions, Sockets,
    Source, SourceId,
};
use crate::time::{Duration, Instant};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Bytes of the longest request head; a longer one gets 431 (RFC 6585).
pub const HEAD_MAX: usize = 8 << 10;
/// Header fields in a request; more get 431.
const FIELDS_MAX: usize = 64;
/// After an error response this much more is read before the connection is cut,
/// so that the response is not lost to a reset (RFC 9112 section 9.6).
const LINGER_MAX: usize = 64 << 10;

/// What the responder serves.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Local address to listen on; all if none.
    pub address: Option<IpAddr>,
    /// Port to listen on.
    pub port: u16,
    /// Connections that may wait to be accepted.
    pub backlog: usize,
    /// The body of every response; less than 1 GiB.
    pub body: Body,
    /// Its Content-Type.
    pub content_type: String,
    /// A connection is closed over which nothing has come for so long (RFC 9112
    /// section 9.5); none is never.
    pub idle: Option<Duration>,
}

/// What the responder did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HttpStats {
    /// Requests answered with 200.
    pub ok: u64,
    /// Requests answered with 400, 405, 431 or 505.
    pub refused: u64,
    /// Connections accepted.
    pub accepted: u64,
}

impl HttpStats {
    /// Adds what another responder did.
    pub fn add(&mut self, other: &HttpStats) {
        self.ok += other.ok;
        self.refused += other.refused;
        self.accepted += other.accepted;
    }
}

/// The responder of one shard.
#[derive(Debug)]
pub struct Http {
    config: HttpConfig,
    replies: Option<Replies>,
    /// Heads of which a part has come.
    partial: BTreeMap<ConnectionId, Vec<u8>>,
    /// Connections that are only read to their end, and how much was read.
    lingering: BTreeMap<ConnectionId, usize>,
    /// Connections whose next request waits until there is room for its answer.
    blocked: BTreeSet<ConnectionId>,
    idle: Idle,
    stats: HttpStats,
}

/// When something last came, of each connection; nothing where none is ever closed
/// for being idle.
#[derive(Debug, Default)]
struct Idle {
    since: BTreeMap<ConnectionId, Instant>,
    oldest_first: BTreeSet<(Instant, ConnectionId)>,
}

impl Idle {
    fn heard(&mut self, now: Instant, connection: ConnectionId) {
        self.forget(connection);
        self.since.insert(connection, now);
        self.oldest_first.insert((now, connection));
    }

    fn forget(&mut self, connection: ConnectionId) {
        if let Some(since) = self.since.remove(&connection) {
            self.oldest_first.remove(&(since, connection));
        }
    }

    fn oldest(&self) -> Option<(Instant, ConnectionId)> {
        self.oldest_first.first().copied()
    }
}

/// The registered responses.
#[derive(Clone, Copy, Debug)]
struct Replies {
    keep_alive: Reply,
    close: Reply,
    errors: [(Refusal, Reply); 4],
}

#[derive(Clone, Copy, Debug)]
struct Reply {
    source: SourceId,
    head_len: u64,
    len: u64,
}

/// Why a request is not answered with 200.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    BadRequest,
    MethodNotAllowed,
    HeadTooLarge,
    VersionNotSupported,
}

impl Refusal {
    const ALL: [Refusal; 4] = [
        Refusal::BadRequest,
        Refusal::MethodNotAllowed,
        Refusal::HeadTooLarge,
        Refusal::VersionNotSupported,
    ];

    fn head(self) -> &'static str {
        match self {
            Refusal::BadRequest => "HTTP/1.1 400 Bad Request\r\n",
            Refusal::MethodNotAllowed => "HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, HEAD\r\n",
            Refusal::HeadTooLarge => "HTTP/1.1 431 Request Header Fields Too Large\r\n",
            Refusal::VersionNotSupported => "HTTP/1.1 505 HTTP Version Not Supported\r\n",
        }
    }
}

/// A request that is answered with 200.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Request {
    len: usize,
    is_head: bool,
    keep_alive: bool,
}

/// What the bytes at the front of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parsed {
    Partial,
    Request(Request),
    Refused(Refusal),
}

impl Http {
    /// A responder that does not listen yet.
    pub fn new(config: HttpConfig) -> Http {
        Http {
            config,
            replies: None,
            partial: BTreeMap::new(),
            lingering: BTreeMap::new(),
            blocked: BTreeSet::new(),
            idle: Idle::default(),
            stats: HttpStats::default(),
        }
    }

    /// Registers the responses and listens.
    pub fn start(&mut self, sockets: &mut Sockets) -> Result<ListenerId, ListenError> {
        let body = self.config.body.clone();
        let content_type = self.config.content_type.clone();
        let mut reply = |first: &str, connection: &str, body: &Body| {
            let length = body.len();
            let head = format!(
                "{first}Content-Length: {length}\r\nContent-Type: {content_type}\r\n{connection}\r\n"
            );
            Reply {
                head_len: head.len() as u64,
                len: head.len() as u64 + length,
                source: sockets.register(Source::new(head.as_bytes(), body)),
            }
        };
        self.replies = Some(Replies {
            keep_alive: reply("HTTP/1.1 200 OK\r\n", "", &body),
            close: reply("HTTP/1.1 200 OK\r\n", "Connection: close\r\n", &body),
            errors: Refusal::ALL.map(|refusal| {
                (
                    refusal,
                    reply(refusal.head(), "Connection: close\r\n", &Body::default()),
                )
            }),
        });
        let options = SocketOptions {
            nodelay: true,
            reuse_address: true,
            ..SocketOptions::default()
        };
        sockets.listen(
            self.config.address,
            self.config.port,
            self.config.backlog,
            options,
        )
    }

    /// What was done so far.
    pub fn stats(&self) -> HttpStats {
        self.stats
    }

    /// Answers what has come, request by request.
    fn serve(&mut self, sockets: &mut Sockets, connection: ConnectionId) {
        loop {
            let gathered = self.partial.get(&connection).map(Vec::as_slice);
            let (parsed, received) = match sockets.receive(connection) {
                Ok([]) => return self.end(sockets, connection),
                Ok(bytes) => match gathered {
                    None => (parse(bytes), bytes.len()),
                    Some(head) => {
                        let room = (HEAD_MAX + 1).saturating_sub(head.len()).min(bytes.len());
                        let whole = [head, &bytes[..room]].concat();
                        let parsed = parse(&whole);
                        (parsed, room)
                    }
                },
                Err(_) => return,
            };
            let before = gathered.map_or(0, <[u8]>::len);
            let proceeded = match parsed {
                Parsed::Partial => self.gather(sockets, connection, received),
                Parsed::Request(request) => self.answer(sockets, connection, request, before),
                Parsed::Refused(refusal) => {
                    self.refuse(sockets, connection, refusal);
                    false
                }
            };
            if !proceeded {
                return;
            }
        }
    }

    fn gather(&mut self, sockets: &mut Sockets, connection: ConnectionId, count: usize) -> bool {
        let Ok(bytes) = sockets.receive(connection) else {
            return false;
        };
        self.partial
            .entry(connection)
            .or_default()
            .extend(&bytes[..count]);
        sockets.consume(connection, count);
        true
    }

    /// Queues the response; false when the connection is done with, or blocked.
    fn answer(
        &mut self,
        sockets: &mut Sockets,
        connection: ConnectionId,
        request: Request,
        gathered: usize,
    ) -> bool {
        let Some(replies) = self.replies else {
            return false;
        };
        let reply = if request.keep_alive {
            replies.keep_alive
        } else {
            replies.close
        };
        let len = if request.is_head {
            reply.head_len
        } else {
            reply.len
        };
        match sockets.send_from(connection, reply.source, 0, len) {
            Ok(_) => {}
            Err(SocketError::WouldBlock) => {
                self.blocked.insert(connection);
                return false;
            }
            Err(_) => return false,
        }
        self.stats.ok += 1;
        self.partial.remove(&connection);
        sockets.consume(connection, request.len - gathered);
        if !request.keep_alive {
            self.finish(sockets, connection);
        }
        request.keep_alive
    }

    fn refuse(&mut self, sockets: &mut Sockets, connection: ConnectionId, refusal: Refusal) {
        let Some(replies) = self.replies else { return };
        if let Some((_, reply)) = replies.errors.iter().find(|(which, _)| *which == refusal)
            && sockets
                .send_from(connection, reply.source, 0, reply.len)
                .is_ok()
        {
            self.stats.refused += 1;
        }
        self.finish(sockets, connection);
    }

    /// No more requests: close, or if the peer has sent more than was answered,
    /// close our side and read the rest, so that no reset overtakes the answer.
    fn finish(&mut self, sockets: &mut Sockets, connection: ConnectionId) {
        self.partial.remove(&connection);
        if matches!(sockets.receive(connection), Ok([_, ..])) {
            self.lingering.insert(connection, 0);
            if sockets.shutdown(connection).is_ok() {
                self.linger(sockets, connection);
            }
        } else {
            self.idle.forget(connection);
            sockets.close(connection);
        }
    }

    fn linger(&mut self, sockets: &mut Sockets, connection: ConnectionId) {
        while let Ok(bytes) = sockets.receive(connection) {
            let count = bytes.len();
            sockets.consume(connection, count);
            let read = self.lingering.entry(connection).or_default();
            *read += count;
            if count == 0 {
                self.lingering.remove(&connection);
                return sockets.close(connection);
            }
            if *read > LINGER_MAX {
                self.lingering.remove(&connection);
                return sockets.abort(connection);
            }
        }
    }

    /// The peer has closed its side. A head that it left unfinished is no request.
    fn end(&mut self, sockets: &mut Sockets, connection: ConnectionId) {
        self.forget(connection);
        sockets.close(connection);
    }

    fn forget(&mut self, connection: ConnectionId) {
        self.partial.remove(&connection);
        self.lingering.remove(&connection);
        self.blocked.remove(&connection);
        self.idle.forget(connection);
    }
}

impl App for Http {
    fn on_acceptable(&mut self, sockets: &mut Sockets, listener: ListenerId) {
        while let Some(connection) = sockets.accept(listener) {
            self.stats.accepted += 1;
            if self.config.idle.is_some() {
                self.idle.heard(sockets.now(), connection);
            }
        }
    }

    fn on_readable(&mut self, sockets: &mut Sockets, connection: ConnectionId) {
        if self.config.idle.is_some() {
            self.idle.heard(sockets.now(), connection);
        }
        if self.lingering.contains_key(&connection) {
            self.linger(sockets, connection);
        } else {
            self.serve(sockets, connection);
        }
    }

    fn on_writable(&mut self, sockets: &mut Sockets, connection: ConnectionId) {
        if self.blocked.remove(&connection) {
            self.serve(sockets, connection);
        }
    }

    fn on_closed(&mut self, _: &mut Sockets, connection: ConnectionId, _: u32, _: Closed) {
        self.forget(connection);
    }

    /// Closes what has been idle for too long.
    fn poll(&mut self, sockets: &mut Sockets) {
        while let Some(limit) = self.config.idle
            && let Some((since, connection)) = self.idle.oldest()
            && since + limit <= sockets.now()
        {
            self.end(sockets, connection);
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let (since, _) = self.idle.oldest()?;
        Some(since + self.config.idle?)
    }
}

/// Reads the request at the front of `bytes`.
fn parse(bytes: &[u8]) -> Parsed {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    let len = match request.parse(bytes) {
        Ok(httparse::Status::Complete(len)) if len <= HEAD_MAX => len,
        Ok(httparse::Status::Partial) if bytes.len() <= HEAD_MAX => return Parsed::Partial,
        Ok(_) | Err(httparse::Error::TooManyHeaders) => {
            return Parsed::Refused(Refusal::HeadTooLarge);
        }
        Err(httparse::Error::Version) => return Parsed::Refused(Refusal::VersionNotSupported),
        Err(_) => return Parsed::Refused(Refusal::BadRequest),
    };
    let has_body = request.headers.iter().any(|field| {
        field.name.eq_ignore_ascii_case("transfer-encoding")
            || (field.name.eq_ignore_ascii_case("content-length") && field.value != b"0")
    });
    let is_head = request.method == Some("HEAD");
    if !is_head && request.method != Some("GET") {
        return Parsed::Refused(Refusal::MethodNotAllowed);
    }
    if has_body {
        return Parsed::Refused(Refusal::BadRequest);
    }
    let mut hosts = request
        .headers
        .iter()
        .filter(|field| field.name.eq_ignore_ascii_case("host"));
    let is_1_1 = request.version == Some(1);
    // RFC 9112 section 3.2: exactly one Host in HTTP/1.1.
    if is_1_1 && (hosts.next().is_none() || hosts.next().is_some()) {
        return Parsed::Refused(Refusal::BadRequest);
    }
    let keep_alive = match connection_option(request.headers) {
        Some(close_or_keep) => close_or_keep,
        None => is_1_1,
    };
    Parsed::Request(Request {
        len,
        is_head,
        keep_alive,
    })
}

/// What the Connection field asks for (RFC 9112 section 9.3), if it does.
fn connection_option(fields: &[httparse::Header]) -> Option<bool> {
    let values = fields
        .iter()
        .filter(|field| field.name.eq_ignore_ascii_case("connection"));
    let tokens = values
        .flat_map(|field| field.value.split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii);
    tokens.fold(None, |found, token| {
        if token.eq_ignore_ascii_case(b"close") {
            Some(false)
        } else if token.eq_ignore_ascii_case(b"keep-alive") {
            found.or(Some(true))
        } else {
            found
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(parsed: Parsed) -> Request {
        match parsed {
            Parsed::Request(request) => request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn keep_alive_is_what_the_version_and_the_connection_field_say() {
        for (text, expected) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
                false,
            ),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nconnection: keep-alive, Close\r\n\r\n",
                false,
            ),
            ("GET / HTTP/1.0\r\n\r\n", false),
            ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true),
        ] {
            let request = request(parse(text.as_bytes()));
            assert_eq!(
                (request.keep_alive, request.len, request.is_head),
                (expected, text.len(), false),
                "{text}"
            );
        }
        assert!(request(parse(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")).is_head);
    }

    #[test]
    fn what_is_no_request_that_we_serve_is_refused_by_its_status() {
        let refused = |text: &[u8]| match parse(text) {
            Parsed::Refused(refusal) => refusal,
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(b"\x16\x03\x01\x02\x00"), Refusal::BadRequest);
        assert_eq!(
            refused(b"GET / HTTP/1.1\r\n\r\n"),
            Refusal::BadRequest,
            "no Host"
        );
        assert_eq!(
            refused(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
            Refusal::BadRequest
        );
        assert_eq!(
            refused(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"),
            Refusal::MethodNotAllowed
        );
        assert_eq!(
            refused(b"GET / HTTP/3.0\r\n\r\n"),
            Refusal::VersionNotSupported
        );
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(65));
        assert_eq!(refused(many.as_bytes()), Refusal::HeadTooLarge);
        let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(HEAD_MAX));
        assert_eq!(refused(long.as_bytes()), Refusal::HeadTooLarge);
    }

    #[test]
    fn a_head_that_has_not_all_come_is_partial() {
        let text = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for len in 0..text.len() {
            assert_eq!(parse(&text[..len]), Parsed::Partial, "{len}");
        }
    }
}
