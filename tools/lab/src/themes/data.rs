//! Data: buffers, windows, small segments, and peers that fall silent.

use crate::lab::{Lab, is_about, ms};
use crate::parameters::{BANDWIDTH, BUFFER, COUNT, IDLE, RTT};
use crate::roles::Role;
use crate::scenario::{Played, Scenario, Theme};
use crate::socket::{Connection, Host, is_refused, said};
use crate::station::Errno;
use ringmill_core::sockets::SocketOption;
use ringmill_core::tcp::State;
use ringmill_core::time::Duration;

pub(crate) const SCENARIOS: &[Scenario] = &[
    SEND_BUFFER,
    RECEIVE_BUFFER,
    WINDOW,
    SLIDING_WINDOW,
    BDP,
    NAGLE,
    NODELAY,
    KEEPALIVE_DEAD_PEER,
];

/// A connection from a client to a server on port 80.
fn connected(
    lab: &Lab,
    client: &Host,
    server: &Host,
    options: &[SocketOption],
) -> Result<(Connection, Connection), Errno> {
    let listener = server.listen_with(80, 8, options)?;
    let near = client.connect_with(&listener, options)?;
    lab.settle();
    Ok((near, listener.accept()?))
}

fn bytes(buffer: u64) -> u32 {
    u32::try_from(buffer).unwrap_or(u32::MAX)
}

const SEND_BUFFER: Scenario = Scenario {
    name: "send-buffer",
    theme: Theme::Data,
    title: "a write returns when its bytes are buffered, not when they are sent",
    why: "send copies into the send buffer and returns. Nothing is known then of the peer, and a \
          success does not mean that anything was received, or even sent. Bytes stay in the buffer \
          until they are acknowledged, for they may have to be sent again. When it is full a call \
          that must not block says EAGAIN; one that may, waits. An acknowledgment makes room.",
    rfc: "RFC 9293 sections 3.9.1.2 and 3.10.2",
    parameters: &[(BUFFER, "65536"), (RTT, "100ms")],
    kernel: None,
    play: send_buffer,
};

fn send_buffer(lab: &mut Lab) -> Played {
    let size = bytes(lab.values().number(BUFFER));
    let (client, server) = lab.pair();
    let (near, far) = connected(lab, &client, &server, &[SocketOption::SendBuffer(size)])?;
    let (before, at) = (lab.record().segments.len(), lab.now());
    let taken = near.send(&vec![1; size as usize * 4])?;
    let took = lab.now().since(at);
    let sent: usize = lab.record().segments[before..]
        .iter()
        .map(|segment| segment.len)
        .sum();
    lab.claim(
        "the write takes what the buffer has room for, at once",
        taken == size as usize && took.is_zero(),
        format!("{taken} bytes after {}", ms(took)),
    );
    lab.claim(
        "only a window of them has been sent, and nothing was received",
        sent > 0 && sent < taken && far.info().is_some_and(|info| info.receive_queue == 0),
        format!("{sent} bytes on the wire"),
    );
    let full = near.send(b"more");
    lab.claim(
        "with the buffer full a write would block",
        is_refused(&full, Errno::Again),
        said(&full),
    );
    lab.quietly("the rest leaves as acknowledgments come in", |lab| {
        lab.wait(lab.rtt() * 8)
    });
    let queued = near.info().map_or(u32::MAX, |info| info.send_queue);
    let again = near.send(b"more");
    lab.claim(
        "acknowledged bytes make room",
        queued == 0 && again == Ok(4),
        format!("{queued} bytes unacknowledged; send: {}", said(&again)),
    );
    Ok(())
}

const RECEIVE_BUFFER: Scenario = Scenario {
    name: "receive-buffer",
    theme: Theme::Data,
    title: "a read takes what has come, and an empty buffer would block",
    why: "receive takes bytes out of the receive buffer, as many as are there: what was one write \
          may be several reads, and two writes one. With nothing there it says EAGAIN, or waits; \
          zero bytes mean the end of the stream and nothing else. A reader that is slow does not \
          lose anything: the buffer fills, the window closes, and the sender has to wait.",
    rfc: "RFC 9293 sections 3.8.6 and 3.9.1.3",
    parameters: &[(BUFFER, "65536"), (RTT, "100ms")],
    kernel: None,
    play: receive_buffer,
};

fn receive_buffer(lab: &mut Lab) -> Played {
    let size = bytes(lab.values().number(BUFFER));
    let (client, server) = lab.pair();
    let (near, far) = connected(lab, &client, &server, &[SocketOption::ReceiveBuffer(size)])?;
    let empty = far.receive();
    lab.claim(
        "an empty buffer would block",
        is_refused(&empty, Errno::Again),
        said(&empty),
    );
    near.set(SocketOption::NoDelay(true))?;
    near.send(b"two ")?;
    near.send(b"writes")?;
    lab.settle();
    let read = far.receive()?;
    lab.claim(
        "two writes are read as one: a stream has no messages",
        read == b"two writes",
        format!("{} bytes", read.len()),
    );
    let total = size as usize * 4;
    let mut sent = 0;
    lab.quietly("the client writes on, and nobody reads", |lab| {
        for _ in 0..20 {
            sent += near.send(&vec![1; total - sent]).unwrap_or(0);
            lab.wait(lab.rtt());
        }
    });
    let held = far.info().map_or(0, |info| info.receive_queue);
    lab.claim(
        "the buffer fills, and no byte more is taken",
        held <= size && held + 2_048 > size,
        format!("{held} bytes wait in a buffer of {size}"),
    );
    let mut read = 0;
    lab.quietly("now the server reads", |lab| {
        for _ in 0..60 {
            read += far.receive().map_or(0, |bytes| bytes.len());
            sent += near.send(&vec![1; total - sent]).unwrap_or(0);
            lab.wait(lab.rtt());
        }
    });
    lab.claim(
        "a slow reader loses nothing",
        read == total,
        format!("{read} of {total} bytes read"),
    );
    Ok(())
}

const WINDOW: Scenario = Scenario {
    name: "window",
    theme: Theme::Data,
    title: "the window is the room that is left: it closes, is probed, and opens",
    why: "Each ACK says how much its sender has room for. With 20 KiB unread in a buffer of 64 KiB \
          that is 44 KiB. When there is no room at all the sender stops; and since the ACK that \
          opens the window again may be lost and nobody would ever know, it asks: a small segment \
          now and then, which a receiver must answer. When the application has read, a window \
          update lets the sender go on.",
    rfc: "RFC 9293 sections 3.8.6 and 3.8.6.1, MUST-36",
    parameters: &[(BUFFER, "65536"), (RTT, "100ms")],
    kernel: None,
    play: window,
};

#[expect(clippy::too_many_lines, reason = "a script is read from its top down")]
fn window(lab: &mut Lab) -> Played {
    let size = bytes(lab.values().number(BUFFER));
    let unread = size / 16 * 5;
    let (client, server) = lab.pair();
    lab.show(|shows| shows.windows = true);
    let (near, far) = connected(lab, &client, &server, &[SocketOption::ReceiveBuffer(size)])?;
    let s = server.number();
    near.send(&vec![1; unread as usize])?;
    lab.wait(lab.rtt() * 4);
    let offered = lab
        .record()
        .segments
        .iter()
        .rev()
        .find(|segment| segment.from == s)
        .map(|ack| ack.window);
    lab.claim(
        format!(
            "{} KiB with {} KiB unread leave {} KiB",
            size / 1_024,
            unread / 1_024,
            (size - unread) / 1_024
        ),
        offered == Some(size - unread),
        format!("the last ACK offers {} bytes", offered.unwrap_or(0)),
    );
    near.send(&vec![1; size as usize])?;
    lab.quietly("the client sends until the window is closed", |lab| {
        lab.wait(lab.rtt() * 6)
    });
    let before = lab.record().segments.len();
    lab.wait(Duration::from_secs(4));
    let probes: Vec<_> = lab.record().segments[before..]
        .iter()
        .filter(|segment| segment.from != s)
        .map(|probe| probe.sent)
        .collect();
    let answers = lab.record().segments[before..]
        .iter()
        .filter(|segment| segment.from == s && segment.window == 0 && segment.arrived.is_some())
        .count();
    let waits: Vec<String> = probes
        .windows(2)
        .map(|pair| ms(pair[1].since(pair[0])))
        .collect();
    lab.claim(
        "with the window closed it is probed, more seldom each time, and each probe is answered",
        probes.len() >= 2
            && answers == probes.len()
            && probes
                .windows(3)
                .all(|w| w[2].since(w[1]) > w[1].since(w[0])),
        format!(
            "{} probes, {} apart, {answers} answers of window 0",
            probes.len(),
            waits.join(", ")
        ),
    );
    let before = lab.record().segments.len();
    let read = far.receive()?.len();
    let update = lab.record().segments[before..]
        .iter()
        .find(|segment| segment.from == s)
        .map(|ack| ack.window);
    lab.settle();
    lab.wait(lab.rtt() * 2);
    let rest = far.receive()?.len();
    lab.claim(
        "reading opens it, the client is told at once, and the rest comes",
        update.is_some_and(|window| window > 0) && read + rest == (size + unread) as usize,
        format!(
            "window update to {}; {read} and {rest} bytes read",
            update.unwrap_or(0)
        ),
    );
    Ok(())
}

/// What a transfer came to: bytes in a time, in Mbit/s.
fn mbit(bytes: u64, time: Duration) -> f64 {
    bytes as f64 * 8.0 / 1e6 / time.as_secs_f64().max(1e-9)
}

const SLIDING_WINDOW: Scenario = Scenario {
    name: "sliding-window",
    theme: Theme::Data,
    title: "a window in flight carries more than one segment at a time",
    why: "Who waits for the ACK of each segment before sending the next gets one segment through in \
          a round trip, however fast the wire is. A window lets many be on their way at once: each \
          ACK moves it forward by what it acknowledges, and the wire stays busy. The goodput is \
          then window / round trip, so a longer way needs a larger window.",
    rfc: "RFC 9293 section 3.8.6; RFC 7323 section 1.1",
    parameters: &[(BUFFER, "65536")],
    kernel: None,
    play: sliding_window,
};

/// The least that SO_RCVBUF can be: one full segment fits, and no second one.
const ONE_SEGMENT: u32 = 2_048;

fn sliding_window(lab: &mut Lab) -> Played {
    let size = bytes(lab.values().number(BUFFER));
    let mut rows = Vec::new();
    let mut is_so = true;
    for rtt in [1, 10, 100] {
        let rtt = Duration::from_millis(rtt);
        let (mut measure, mut goodput) = (
            Measure {
                rtt,
                ..Measure::default()
            },
            [0.0; 2],
        );
        for (at, window) in [ONE_SEGMENT, size].into_iter().enumerate() {
            measure.buffer = window;
            goodput[at] = measure.run(lab)?;
            let expected = mbit(u64::from(if at == 0 { 1_448 } else { window }), rtt);
            is_so &= (0.7..1.1).contains(&(goodput[at] / expected));
        }
        rows.push([
            ms(rtt),
            format!("{:.2} Mbit/s", goodput[0]),
            format!("{:.2} Mbit/s", goodput[1]),
            format!("{:.0} x", goodput[1] / goodput[0].max(1e-9)),
        ]);
    }
    lab.claim(
        "one at a time gives a segment in a round trip, the window a window in one",
        is_so,
        format!("as 1448 and {size} bytes by the round trip, within 30 %"),
    );
    lab.table(
        [
            "round trip",
            "stop and wait",
            &format!("window of {size}"),
            "gain",
        ],
        rows,
    );
    Ok(())
}

const BDP: Scenario = Scenario {
    name: "bdp",
    theme: Theme::Data,
    title: "bandwidth times delay: the buffer that fills the wire",
    why: "While an ACK is on its way back, the sender may go on only as far as the window lets it. \
          To keep a wire busy all the time the window must hold what the wire carries in a round \
          trip: 1 Gbit/s for 100 ms are 12.5 MB. With less the wire idles, in proportion; with \
          more, nothing is gained. Both buffers must be that large, and the window scaled.",
    rfc: "RFC 7323 sections 1.1 and 2",
    parameters: &[(BANDWIDTH, "1g"), (RTT, "100ms")],
    kernel: None,
    play: bdp,
};

fn bdp(lab: &mut Lab) -> Played {
    let (bandwidth, rtt) = (lab.values().number(BANDWIDTH), lab.rtt());
    // Bytes that the wire carries in a round trip.
    let product = bandwidth / 8 * u64::try_from(rtt.as_millis()).unwrap_or(0) / 1_000;
    let line = bandwidth as f64 / 1e6;
    let mut rows = Vec::new();
    let mut filled = Vec::new();
    for (part, of) in [(1, 64), (1, 16), (1, 4), (1, 2), (1, 1), (5, 4)] {
        let share = part as f64 / of as f64;
        let buffer = (product * part / of).clamp(4_096, 1 << 30);
        let measure = Measure {
            rtt,
            bandwidth,
            buffer: bytes(buffer),
        };
        let goodput = measure.run(lab)?;
        rows.push([
            format!("{:.2} MB", buffer as f64 / 1e6),
            format!("{share:.3}"),
            format!("{goodput:.0} Mbit/s"),
            format!("{:.0} %", goodput / line * 100.0),
        ]);
        filled.push((share, goodput / line));
    }
    // Headers take 78 of 1526 bytes, the last round trips of growth a little more.
    let below = filled.iter().filter(|(share, _)| *share < 0.9);
    let in_proportion = below
        .clone()
        .all(|(share, filled)| (0.75..1.1).contains(&(filled / share)));
    lab.claim(
        format!(
            "the product is {:.2} MB; below it goodput is in proportion to the buffer",
            product as f64 / 1e6
        ),
        in_proportion,
        below
            .map(|(share, filled)| format!("{share:.3} gives {filled:.3}"))
            .collect::<Vec<_>>()
            .join(", "),
    );
    let above = filled
        .iter()
        .filter(|(share, _)| *share > 1.1)
        .map(|(_, filled)| *filled);
    let most = above.fold(0.0, f64::max);
    lab.claim(
        "a buffer above it fills the wire, and less leaves it idle",
        most > 0.85,
        format!("{:.0} % of {line:.0} Mbit/s", most * 100.0),
    );
    lab.table(["buffer", "of the product", "goodput", "of the wire"], rows);
    Ok(())
}

/// A transfer whose goodput is measured once it has come up to speed.
#[derive(Clone, Copy, Default)]
struct Measure {
    rtt: Duration,
    /// Bits a second; none if 0.
    bandwidth: u64,
    buffer: u32,
}

impl Measure {
    /// In Mbit/s.
    fn run(self, lab: &mut Lab) -> Result<f64, Errno> {
        const ROUNDS: u32 = 2;
        let name = format!("{} KiB", self.buffer / 1_024);
        let tune = |tcp: &mut ringmill_core::tcp::TcpConfig| {
            tcp.receive_buffer = self.buffer;
            // Every segment that comes is acknowledged at once: it is the window that
            // is measured.
            tcp.quick_acks = u8::MAX;
        };
        let (client, server) = lab.pair_with(tune);
        lab.set_link(&server, |link| link.delay = self.rtt / 2);
        lab.set_link(&client, |link| {
            link.delay = self.rtt / 2;
            link.bandwidth = self.bandwidth;
        });
        let quick = [SocketOption::QuickAck(true)];
        let line = format!("{name} of buffer, a round trip of {}", ms(self.rtt));
        lab.quietly(&line, |lab| {
            let listener = server.listen_with(80, 1, &quick)?;
            let near = client.connect_with(&listener, &quick)?;
            lab.wait(self.rtt * 3);
            listener.accept()?.close_at_end();
            near.send_bulk((self.buffer as usize * 24).min(96 << 20))?;
            // Slow start doubles: ten segments become the window in so many rounds.
            let doublings = (self.buffer / 14_480).max(1).ilog2() + 2;
            lab.wait(self.rtt * doublings);
            let before = server.read();
            lab.wait(self.rtt * ROUNDS);
            let read = server.read() - before;
            near.reset();
            lab.wait(self.rtt);
            Ok(mbit(read, self.rtt * ROUNDS))
        })
    }
}

const NAGLE: Scenario = Scenario {
    name: "nagle",
    theme: Theme::Data,
    title: "small writes: fewer segments with Nagle, or each at once without",
    why: "A byte in a segment of its own carries 66 bytes of headers. Nagle's algorithm holds a \
          small segment back while an earlier one is not acknowledged, and gathers what is written \
          meanwhile: on a slow way many writes become one segment, on a fast one hardly any. The \
          price is up to a round trip of delay for each write, so TCP_NODELAY turns it off.",
    rfc: "RFC 9293 section 3.7.4, MUST-17; RFC 896",
    parameters: &[(COUNT, "50"), (RTT, "100ms")],
    kernel: None,
    play: nagle,
};

/// What small writes cost.
struct Cost {
    segments: u64,
    bytes: u64,
    /// From a write to its arrival, on average and at most.
    mean: Duration,
    most: Duration,
}

fn nagle(lab: &mut Lab) -> Played {
    let count = lab.values().count(COUNT).clamp(2, 5_000);
    let with = small_writes(lab, "with Nagle", count, false)?;
    let without = small_writes(lab, "TCP_NODELAY", count, true)?;
    lab.claim(
        "Nagle gathers: fewer segments and bytes for the same data",
        with.segments * 2 <= without.segments && with.bytes < without.bytes,
        format!(
            "{} segments and {} bytes against {} and {}",
            with.segments, with.bytes, without.segments, without.bytes
        ),
    );
    lab.claim(
        "without it each write is a segment, and arrives half a round trip later",
        without.segments >= count as u64 && is_about(without.most, lab.rtt() / 2, false),
        format!("{} at most", ms(without.most)),
    );
    lab.claim(
        "with it a write waits up to a round trip more",
        with.most > lab.rtt() && with.most <= lab.rtt() * 3 / 2 + Duration::from_millis(45),
        format!("{} at most, {} on average", ms(with.most), ms(with.mean)),
    );
    let row = |name: &str, cost: &Cost| {
        [
            name.to_owned(),
            cost.segments.to_string(),
            cost.bytes.to_string(),
            ms(cost.mean),
            ms(cost.most),
        ]
    };
    let rows = vec![row("Nagle", &with), row("TCP_NODELAY", &without)];
    lab.table(
        ["of the client", "segments", "bytes", "mean delay", "most"],
        rows,
    );
    Ok(())
}

/// Writes of ten bytes, ten milliseconds apart.
fn small_writes(lab: &mut Lab, name: &str, count: usize, nodelay: bool) -> Result<Cost, Errno> {
    const LEN: usize = 10;
    const STEP: Duration = Duration::from_millis(1);
    let (client, server) = lab.pair();
    let (near, far) = connected(lab, &client, &server, &[SocketOption::NoDelay(nodelay)])?;
    let before = lab.sent_by(&client);
    let (mut written, mut delays, mut read) = (Vec::new(), Vec::new(), 0);
    let mut part = |lab: &Lab, writes: usize, steps: u32| -> Played {
        for step in 0..steps {
            if step % 10 == 0 && written.len() < writes {
                written.push(lab.now());
                near.send(&[1; LEN])?;
            }
            lab.wait(STEP);
            if far.info().is_some_and(|info| info.receive_queue > 0) {
                read += far.receive()?.len();
            }
            while (delays.len() + 1) * LEN <= read {
                delays.push(lab.now().since(written[delays.len()]));
            }
        }
        Ok(())
    };
    lab.note(format!("{name}: ten bytes every 10 ms"));
    part(lab, 4.min(count), 40)?;
    let rest = u32::try_from(count * 10).unwrap_or(u32::MAX) + 500;
    lab.quietly("the other writes", |lab| part(lab, count, rest))?;
    let after = lab.sent_by(&client);
    let total: Duration = delays.iter().sum();
    Ok(Cost {
        segments: after.0 - before.0,
        bytes: after.1 - before.1,
        mean: total / u32::try_from(delays.len().max(1)).unwrap_or(1),
        most: delays.iter().max().copied().unwrap_or(Duration::MAX),
    })
}

const NODELAY: Scenario = Scenario {
    name: "nodelay",
    theme: Theme::Data,
    title: "write, write, read: Nagle waits for an ACK that is itself delayed",
    why: "A request that is written in two parts and then waited for meets two algorithms that \
          wait for each other. Nagle holds the second part until the first is acknowledged; the \
          server, which can't answer half a request, delays that ACK in the hope of an answer to \
          ride on. Only the delayed ACK's timer ends it, for each request. TCP_NODELAY, or one \
          write in place of two, does without.",
    rfc: "RFC 9293 sections 3.7.4 and 3.8.6.3",
    parameters: &[(RTT, "20ms")],
    kernel: None,
    play: nodelay,
};

fn nodelay(lab: &mut Lab) -> Played {
    let mut rows = Vec::new();
    let mut took = Vec::new();
    for (name, nodelay, parts) in [
        ("two writes, Nagle", false, &[4, 96][..]),
        ("two writes, TCP_NODELAY", true, &[4, 96]),
        ("one write, Nagle", false, &[100]),
    ] {
        let (client, server) = lab.pair();
        lab.note(name);
        let (near, far) = connected(lab, &client, &server, &[SocketOption::NoDelay(nodelay)])?;
        // A first exchange tells the server's whole window, which a SYN can't.
        lab.quietly("a first request and its answer", |lab| -> Played {
            near.send(&[1; 100])?;
            lab.wait(lab.rtt());
            far.receive()?;
            far.send(&[1; 10])?;
            lab.wait(lab.rtt() + Duration::from_millis(100));
            near.receive().map(drop)
        })?;
        let at = lab.now();
        for len in parts {
            near.send(&vec![1; *len])?;
        }
        let mut read = 0;
        while read < 100 && lab.now().since(at) < Duration::from_secs(2) {
            lab.wait(Duration::from_millis(1));
            if far.info().is_some_and(|info| info.receive_queue > 0) {
                read += far.receive()?.len();
            }
        }
        far.send(&[1; 10])?;
        lab.until(Duration::from_secs(1), || {
            near.info().is_some_and(|info| info.receive_queue > 0)
        });
        let latency = lab.now().since(at);
        near.receive()?;
        rows.push([name.to_owned(), ms(latency)]);
        took.push(latency);
    }
    let (slow, quick) = (took[0], took[1].max(took[2]));
    lab.claim(
        "with Nagle the answer takes the delayed ACK's timer and a round trip more",
        slow >= lab.rtt() * 2 + Duration::from_millis(20),
        format!("{} at a round trip of {}", ms(slow), ms(lab.rtt())),
    );
    lab.claim(
        "with TCP_NODELAY, or with one write, it takes one round trip",
        is_about(quick, lab.rtt(), true),
        ms(quick),
    );
    lab.table(["request of 100 bytes", "answered after"], rows);
    Ok(())
}

const KEEPALIVE_DEAD_PEER: Scenario = Scenario {
    name: "keepalive-dead-peer",
    theme: Theme::Data,
    title: "keep-alive finds a dead host, but not a hanging program",
    why: "A connection over which nothing is sent looks the same whether the peer is there or not. \
          Keep-alive asks: a segment below the window, which any TCP that knows the connection \
          answers. If nothing comes back a few times in a row the connection ends with an error. \
          But it is the other TCP that answers, and not its application: a program that hangs has a \
          kernel that is alive. Only a question of the application's own, with a time limit, finds \
          that.",
    rfc: "RFC 9293 section 3.8.4, MUST-24 to MUST-29",
    parameters: &[(IDLE, "60s"), (RTT, "100ms")],
    kernel: None,
    play: keepalive_dead_peer,
};

fn keepalive_dead_peer(lab: &mut Lab) -> Played {
    const INTERVAL: Duration = Duration::from_secs(10);
    const COUNT: u8 = 3;
    let idle = lab.values().time(IDLE);
    let options = [
        SocketOption::KeepAlive(true),
        SocketOption::KeepIdle(idle),
        SocketOption::KeepInterval(INTERVAL),
        SocketOption::KeepCount(COUNT),
    ];
    let (client, server) = lab.pair();
    let listener = server.listen(80)?;
    let near = client.connect_with(&listener, &options)?;
    lab.settle();
    let far = listener.accept()?;
    lab.note("the server's program hangs; its host is well");
    lab.wait(idle * 3 + INTERVAL);
    let probes = lab.record().sent(client.number(), Role::Probe).count();
    lab.claim(
        "a hanging program's TCP answers the probes: the connection stays",
        probes >= 2 && near.is(State::Established) && near.ended().is_none(),
        format!("{probes} probes, {}", near.state()),
    );
    near.send(b"are you there?")?;
    let at = lab.now();
    let answered = lab.until(Duration::from_secs(5), || {
        near.info().is_some_and(|info| info.receive_queue > 0)
    });
    lab.claim(
        "a heartbeat of the application finds it: no answer within 5 s",
        !answered && near.info().is_some_and(|info| info.send_queue == 0),
        format!(
            "acknowledged by its TCP, unanswered for {}",
            ms(lab.now().since(at))
        ),
    );
    drop(far);

    lab.note("the cable is cut");
    let cut = lab.now();
    for host in [&client, &server] {
        lab.set_link(host, |link| link.is_down = true);
    }
    let before = lab.record().sent(client.number(), Role::Probe).count();
    let limit = idle + INTERVAL * (u32::from(COUNT) + 1);
    lab.until(limit * 2, || near.ended().is_some());
    let (ended, took) = (near.ended(), lab.now().since(cut));
    let probes = lab.record().sent(client.number(), Role::Probe).count() - before;
    lab.claim(
        format!("{COUNT} probes without an answer end the connection, and the application is told"),
        probes == usize::from(COUNT) && ended == Some(Err(Errno::TimedOut)) && took <= limit,
        format!(
            "{probes} probes, {} after {}",
            ended.as_ref().map_or("nothing".to_owned(), said),
            ms(took)
        ),
    );
    Ok(())
}
