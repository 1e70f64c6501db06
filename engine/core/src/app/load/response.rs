//! Reading HTTP/1.1 responses as they come (RFC 9112 sections 4, 6 and 7).

/// Bytes of the longest response head, and of a chunk-size line.
const HEAD_MAX: usize = 16 << 10;
const FIELDS_MAX: usize = 64;
const LINE_MAX: usize = 256;

/// What the bytes that were given made of the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    /// Bytes that belong to this response.
    pub(super) consumed: usize,
    pub(super) outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Partial,
    Complete {
        keep_alive: bool,
    },
    Malformed,
    /// The connection ended before the response did.
    Truncated,
}

/// A response under way.
#[derive(Debug, Default)]
pub(super) struct Response {
    state: State,
    /// A head or a line of which a part has come.
    partial: Vec<u8>,
    status: u16,
    keep_alive: bool,
    body_bytes: u64,
    started: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    /// Content-Length: so many bytes are left.
    Sized(u64),
    ChunkSize,
    Chunk(u64),
    /// The line end after a chunk's bytes.
    ChunkEnd,
    Trailer,
    /// The body ends with the connection.
    UntilClose,
    Done,
}

/// What a line or head that may be split over frames turned out to be.
enum Piece<T> {
    Partial,
    Whole(T, usize),
    Bad,
}

impl Response {
    pub(super) fn status(&self) -> u16 {
        self.status
    }

    pub(super) fn has_started(&self) -> bool {
        self.started
    }

    /// Body bytes since this was asked last.
    pub(super) fn take_body_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.body_bytes)
    }

    /// The stream has ended.
    pub(super) fn finish(&mut self) -> Progress {
        let outcome = match self.state {
            State::UntilClose => Outcome::Complete { keep_alive: false },
            _ => Outcome::Truncated,
        };
        Progress {
            consumed: 0,
            outcome,
        }
    }

    /// Reads on in the bytes that follow.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Progress {
        self.started = true;
        let mut consumed = 0;
        loop {
            let rest = &bytes[consumed..];
            if self.state == State::Done {
                return Progress {
                    consumed,
                    outcome: Outcome::Complete {
                        keep_alive: self.keep_alive,
                    },
                };
            }
            if rest.is_empty() {
                return Progress {
                    consumed,
                    outcome: Outcome::Partial,
                };
            }
            match self.advance_once(rest) {
                Some(count) => consumed += count,
                None => {
                    return Progress {
                        consumed,
                        outcome: Outcome::Malformed,
                    };
                }
            }
        }
    }

    /// One state's worth: how many bytes it took; none for what is malformed.
    fn advance_once(&mut self, rest: &[u8]) -> Option<usize> {
        match self.state {
            State::Head => self.head(rest),
            State::Sized(left) => Some(self.body(rest, left, State::Sized, State::Done)),
            State::Chunk(left) => Some(self.body(rest, left, State::Chunk, State::ChunkEnd)),
            State::UntilClose => {
                self.body_bytes += rest.len() as u64;
                Some(rest.len())
            }
            State::ChunkSize => self.line(rest, |response, line| {
                response.state = match httparse::parse_chunk_size(line) {
                    Ok(httparse::Status::Complete((_, 0))) => State::Trailer,
                    Ok(httparse::Status::Complete((_, size))) => State::Chunk(size),
                    _ => return None,
                };
                Some(())
            }),
            State::ChunkEnd => self.line(rest, |response, line| {
                response.state = State::ChunkSize;
                line.trim_ascii_end().is_empty().then_some(())
            }),
            State::Trailer => self.line(rest, |response, line| {
                if line.trim_ascii_end().is_empty() {
                    response.state = State::Done;
                }
                Some(())
            }),
            State::Done => Some(0),
        }
    }

    fn body(&mut self, rest: &[u8], left: u64, more: fn(u64) -> State, after: State) -> usize {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
        let left = left - count as u64;
        self.body_bytes += count as u64;
        self.state = if left == 0 { after } else { more(left) };
        count
    }

    /// A line up to its line feed, gathered over frames if it must be.
    fn line(
        &mut self,
        rest: &[u8],
        take: impl FnOnce(&mut Response, &[u8]) -> Option<()>,
    ) -> Option<usize> {
        let count = rest
            .iter()
            .position(|&byte| byte == b'\n')
            .map_or(rest.len(), |at| at + 1);
        if self.partial.len() + count > LINE_MAX {
            return None;
        }
        self.partial.extend(&rest[..count]);
        if self.partial.last() == Some(&b'\n') {
            let line = std::mem::take(&mut self.partial);
            take(self, &line)?;
        }
        Some(count)
    }

    fn head(&mut self, rest: &[u8]) -> Option<usize> {
        if self.partial.is_empty() {
            return match self.parse_head(rest) {
                Piece::Whole((), len) => Some(len),
                Piece::Bad => None,
                Piece::Partial => {
                    self.partial.extend(rest);
                    Some(rest.len())
                }
            };
        }
        let before = self.partial.len();
        let mut whole = std::mem::take(&mut self.partial);
        whole.extend(&rest[..rest.len().min(HEAD_MAX + 1 - before.min(HEAD_MAX))]);
        match self.parse_head(&whole) {
            Piece::Whole((), len) => len.checked_sub(before),
            Piece::Bad => None,
            Piece::Partial => {
                let taken = whole.len() - before;
                self.partial = whole;
                (taken > 0).then_some(taken)
            }
        }
    }

    fn parse_head(&mut self, bytes: &[u8]) -> Piece<()> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut head = httparse::Response::new(&mut fields);
        let len = match head.parse(bytes) {
            Ok(httparse::Status::Complete(len)) => len,
            Ok(httparse::Status::Partial) if bytes.len() <= HEAD_MAX => return Piece::Partial,
            _ => return Piece::Bad,
        };
        let status = head.code.unwrap_or(0);
        if (100..200).contains(&status) {
            // RFC 9110 section 15.2: the final response follows.
            return Piece::Whole((), len);
        }
        self.status = status;
        match framing(head.headers, status) {
            Some(state) => self.state = state,
            None => return Piece::Bad,
        }
        let closes = has_token(head.headers, "connection", b"close");
        let keeps = has_token(head.headers, "connection", b"keep-alive");
        let persists = if head.version == Some(1) {
            !closes
        } else {
            keeps
        };
        self.keep_alive = persists && self.state != State::UntilClose;
        Piece::Whole((), len)
    }
}

/// How the body ends (RFC 9112 section 6.3).
fn framing(fields: &[httparse::Header], status: u16) -> Option<State> {
    if status == 204 || status == 304 {
        return Some(State::Done);
    }
    if has_token(fields, "transfer-encoding", b"chunked") {
        return Some(State::ChunkSize);
    }
    let lengths = fields
        .iter()
        .filter(|field| field.name.eq_ignore_ascii_case("content-length"));
    let mut sizes = lengths.map(|field| {
        std::str::from_utf8(field.value)
            .ok()?
            .trim()
            .parse::<u64>()
            .ok()
    });
    match sizes.next() {
        None => Some(State::UntilClose),
        Some(size) if sizes.all(|other| other == size) => match size? {
            0 => Some(State::Done),
            size => Some(State::Sized(size)),
        },
        Some(_) => None,
    }
}

fn has_token(fields: &[httparse::Header], name: &str, token: &[u8]) -> bool {
    fields
        .iter()
        .filter(|field| field.name.eq_ignore_ascii_case(name))
        .flat_map(|field| field.value.split(|&byte| byte == b','))
        .any(|value| value.trim_ascii().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a stream cut into pieces of `size` bytes: what came of it, how many
    /// bytes were consumed, and the body's size.
    fn read(stream: &[u8], size: usize) -> (Outcome, usize, u64, u16) {
        let mut response = Response::default();
        let (mut at, mut body) = (0, 0);
        loop {
            let end = stream.len().min(at + size);
            let progress = if at == end {
                response.finish()
            } else {
                response.advance(&stream[at..end])
            };
            at += progress.consumed;
            body += response.take_body_bytes();
            if progress.outcome != Outcome::Partial {
                return (progress.outcome, at, body, response.status());
            }
        }
    }

    #[test]
    fn responses_end_where_they_say_however_they_are_cut() {
        let keep = Outcome::Complete { keep_alive: true };
        let close = Outcome::Complete { keep_alive: false };
        for (text, outcome, body, status) in [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
                keep,
                5,
                200,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
                close,
                5,
                200,
            ),
            ("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", keep, 0, 404),
            ("HTTP/1.1 204 No\r\n\r\n", keep, 0, 204),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
                keep,
                1,
                200,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA;x=y\r\n0123456789\r\n0\r\nT: v\r\n\r\n",
                keep,
                15,
                200,
            ),
            ("HTTP/1.0 200 OK\r\n\r\nuntil the end", close, 13, 200),
        ] {
            for size in 1..=text.len() {
                assert_eq!(
                    read(text.as_bytes(), size),
                    (outcome, text.len(), body, status),
                    "{text} by {size}"
                );
            }
        }
    }

    #[test]
    fn what_follows_a_response_is_not_its_own() {
        let stream = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1";
        assert_eq!(read(stream, stream.len()).1, stream.len() - 8);
    }

    #[test]
    fn rubbish_and_early_ends_are_told_apart() {
        for (text, outcome) in [
            ("SSH-2.0-OpenSSH_9\r\n", Outcome::Malformed),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
                Outcome::Malformed,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
                Outcome::Malformed,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                Outcome::Malformed,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
                Outcome::Truncated,
            ),
            ("HTTP/1.1 200", Outcome::Truncated),
        ] {
            for size in 1..=text.len() {
                assert_eq!(read(text.as_bytes(), size).0, outcome, "{text} by {size}");
            }
        }
        let endless = "HTTP/1.1 200 OK\r\nA: ".to_owned() + &"x".repeat(2 * HEAD_MAX);
        assert_eq!(read(endless.as_bytes(), 1_448).0, Outcome::Malformed);
    }
}
