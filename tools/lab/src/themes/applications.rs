//! Local ports, and what connections cost an application.

use crate::lab::{Lab, ms};
use crate::parameters::{COUNT, IDLE, PORTS, RTT};
use crate::roles::Role;
use crate::scenario::{KernelIs, Played, Scenario, Theme};
use crate::socket::{Connection, Host, Listener, is_refused, said};
use crate::station::Errno;
use crate::themes::sockets_table;
use ringmill_core::app::http::{Http, HttpConfig};
use ringmill_core::sockets::SocketOption;
use ringmill_core::tcp::{State, TimerKind};
use ringmill_core::time::Duration;

pub(crate) const SCENARIOS: &[Scenario] = &[
    EPHEMERAL,
    WHO_CLOSES_FIRST,
    POOL,
    HTTP_KEEPALIVE,
    SOCKETS_TABLE,
];

const EPHEMERAL: Scenario = Scenario {
    name: "ephemeral",
    theme: Theme::Ports,
    title: "a client runs out of ports towards one destination, and not towards another",
    why: "connect without bind takes a local address and a port that nobody can foretell. A \
          connection is named by both addresses and both ports, so a port in TIME-WAIT is taken \
          only towards that destination. A client that closes first can open as many connections \
          to one place as it has ports, and no more until TIME-WAIT is over: EADDRNOTAVAIL. \
          Another address or port of a server has all of them free.",
    rfc: "RFC 6056 section 3; RFC 9293 section 3.9.1.1, MUST-44",
    parameters: &[(PORTS, "39894-39901"), (RTT, "20ms")],
    kernel: Some(KernelIs::Client),
    play: ephemeral,
};

fn ephemeral(lab: &mut Lab) -> Played {
    let range = lab.values().ports(PORTS);
    let room = usize::from(range.last - range.first) + 1;
    let (client, server) = lab.pair_with(|tcp| tcp.ports = range);
    lab.show(|shows| shows.ports = true);
    let listener = server.listen(80)?;
    let other = server.listen(81)?;
    let mut ports = Vec::new();
    let mut use_one = |lab: &mut Lab| -> Played {
        let near = client.connect(&listener)?;
        lab.settle();
        let far = listener.accept()?;
        ports.push(near.local_port());
        near.close();
        lab.settle();
        far.close();
        lab.settle();
        Ok(())
    };
    use_one(lab)?;
    lab.quietly("the others open and close the same way", |lab| {
        (1..room).try_for_each(|_| use_one(lab))
    })?;
    let waiting = client.count(State::TimeWait);
    let is_in_range = ports
        .iter()
        .all(|port| (range.first..=range.last).contains(port));
    lab.claim(
        "each has a port of its own out of the range, and TIME-WAIT keeps all of them",
        waiting == room && is_in_range,
        format!("{waiting} of {room} in TIME-WAIT: {ports:?}"),
    );
    let one_more = client.connect(&listener).map(drop);
    lab.claim(
        "one connection more to the same place is refused",
        is_refused(&one_more, Errno::AddressNotAvailable),
        format!("connect: {}", said(&one_more)),
    );
    let elsewhere = client.connect(&other)?;
    lab.settle();
    lab.claim(
        "to another place it works, from one of the same ports",
        elsewhere.is(State::Established) && ports.contains(&elsewhere.local_port()),
        format!("{} from port {}", elsewhere.state(), elsewhere.local_port()),
    );
    Ok(())
}

/// The engine's own HTTP server.
fn http(idle: Option<Duration>) -> Http {
    Http::new(HttpConfig {
        address: None,
        port: 80,
        backlog: 128,
        body: vec![b'x'; 64].into(),
        content_type: "text/plain".to_owned(),
        idle,
    })
}

const KEEP: &[u8] = b"GET / HTTP/1.1\r\nHost: server\r\n\r\n";
const LAST: &[u8] = b"GET / HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n";

/// Sends a request and waits for its response: how long that took.
fn request(lab: &Lab, near: &Connection, request: &[u8]) -> Result<Duration, Errno> {
    let at = lab.now();
    near.send(request)?;
    lab.until(Duration::from_secs(5), || {
        near.info().is_none_or(|info| info.receive_queue > 0)
    });
    let took = lab.now().since(at);
    near.receive()?;
    Ok(took)
}

/// Opens a connection, and waits until it is open.
fn open(lab: &Lab, client: &Host, to: &Listener) -> Result<Connection, Errno> {
    let near = client.connect(to)?;
    let is_open = lab.until(Duration::from_secs(5), || near.connected().is_some());
    match near.connected() {
        Some(Err(errno)) => Err(errno),
        _ if !is_open => Err(Errno::TimedOut),
        _ => Ok(near),
    }
}

const WHO_CLOSES_FIRST: Scenario = Scenario {
    name: "who-closes-first",
    theme: Theme::Applications,
    title: "TIME-WAIT stands where the connection was closed first",
    why: "TIME-WAIT is the price of closing first, whoever has opened. A server that ends each \
          connection collects one for every request; they hold memory, though no port of its own. \
          If the client closes first they are spread over the clients, one each, and the server is \
          clean. HTTP leaves it to both: `Connection: close` asks the server to do it.",
    rfc: "RFC 9293 section 3.6; RFC 9112 section 9.6",
    parameters: &[(RTT, "20ms")],
    kernel: Some(KernelIs::Client),
    play: who_closes_first,
};

fn who_closes_first(lab: &mut Lab) -> Played {
    let (client, server) = lab.pair();
    server.serve(http(None));
    let listener = Listener::of(&server, 80);
    lab.note("the server closes, as Connection: close asks it to");
    let near = open(lab, &client, &listener)?;
    request(lab, &near, LAST)?;
    lab.settle();
    near.close();
    lab.wait(Duration::from_secs(1));
    let there = (client.count(State::TimeWait), server.count(State::TimeWait));
    lab.claim(
        "where the server closes first TIME-WAIT is the server's",
        there == (0, 1),
        format!("client {}, server {}", there.0, there.1),
    );
    lab.note("the client closes");
    let near = open(lab, &client, &listener)?;
    request(lab, &near, KEEP)?;
    near.close();
    lab.settle();
    let here = (
        client.count(State::TimeWait),
        server.count(State::TimeWait).saturating_sub(there.1),
    );
    lab.claim(
        "where the client closes first it is the client's, and the server is clean",
        here == (1, 0),
        format!("client {}, server {}", here.0, here.1),
    );
    Ok(())
}

const POOL: Scenario = Scenario {
    name: "pool",
    theme: Theme::Applications,
    title: "a connection for each request, or one from a pool",
    why: "A connection for each request pays a handshake and a close every time: a round trip \
          before the request leaves, segments that carry no data, and a TIME-WAIT that is left \
          behind. A pool opens once and keeps the connection: each request then takes one round \
          trip and two or three segments, and nothing piles up.",
    rfc: "RFC 9112 section 9.3",
    parameters: &[(COUNT, "20"), (RTT, "20ms")],
    kernel: Some(KernelIs::Client),
    play: pool,
};

/// What so many requests cost.
struct Cost {
    time: Duration,
    latency: Duration,
    segments: u64,
    time_waits: usize,
}

#[expect(clippy::too_many_lines, reason = "a script is read from its top down")]
fn pool(lab: &mut Lab) -> Played {
    let count = lab.values().count(COUNT).max(2);
    let (client, server) = lab.pair();
    server.serve(http(None));
    let listener = Listener::of(&server, 80);
    let cost = |lab: &mut Lab,
                line: &str,
                one: &mut dyn FnMut(&mut Lab) -> Played|
     -> Result<Cost, Errno> {
        let segments = |lab: &Lab| lab.sent_by(&client).0 + lab.sent_by(&server).0;
        let (at, before) = (lab.now(), segments(lab));
        let waits = client.count(State::TimeWait);
        one(lab)?;
        lab.quietly(line, |lab| (1..count).try_for_each(|_| one(lab)))?;
        let time = lab.now().since(at);
        lab.settle();
        Ok(Cost {
            time,
            latency: time / u32::try_from(count).unwrap_or(1),
            segments: segments(lab) - before,
            time_waits: client.count(State::TimeWait).saturating_sub(waits),
        })
    };
    lab.note("a connection for each request");
    let each = cost(lab, "the other requests", &mut |lab| {
        let near = open(lab, &client, &listener)?;
        request(lab, &near, KEEP)?;
        near.close();
        Ok(())
    })?;
    lab.note("one connection for all");
    let pooled = open(lab, &client, &listener)?;
    let one = cost(lab, "the other requests", &mut |lab| {
        request(lab, &pooled, KEEP).map(drop)
    })?;
    lab.claim(
        "each connection leaves a TIME-WAIT behind, the pool none",
        each.time_waits == count && one.time_waits == 0,
        format!("{} against {}", each.time_waits, one.time_waits),
    );
    lab.claim(
        "a request takes two round trips with a connection of its own, and one from the pool",
        each.latency > one.latency
            && lab.is_roughly(each.latency, lab.rtt() * 2)
            && lab.is_roughly(one.latency, lab.rtt()),
        format!("{} against {}", ms(each.latency), ms(one.latency)),
    );
    lab.claim(
        "and at least twice the segments",
        each.segments >= one.segments * 2,
        format!("{} against {}", each.segments, one.segments),
    );
    let row = |name: &str, cost: &Cost| {
        [
            name.to_owned(),
            format!("{:.0}", count as f64 / cost.time.as_secs_f64().max(1e-9)),
            ms(cost.latency),
            cost.segments.to_string(),
            cost.time_waits.to_string(),
        ]
    };
    let rows = vec![
        row("a connection each", &each),
        row("one from a pool", &one),
    ];
    lab.table(
        [
            &format!("{count} requests"),
            "requests/s",
            "latency",
            "segments",
            "TIME-WAIT",
        ],
        rows,
    );
    Ok(())
}

const HTTP_KEEPALIVE: Scenario = Scenario {
    name: "http-keepalive",
    theme: Theme::Applications,
    title: "keep-alive of HTTP: one connection, and the server closes it when it is idle",
    why: "With keep-alive off the server closes after each response and collects TIME-WAIT. With \
          it on, requests follow each other over one connection. A server can't keep all of them \
          for ever, so it closes one over which nothing has come for a while; that is an idle \
          timeout of the application's, and has nothing to do with TCP's keep-alive, which only \
          asks whether the peer is there.",
    rfc: "RFC 9112 sections 9.3 and 9.5",
    parameters: &[(COUNT, "5"), (IDLE, "10s"), (RTT, "20ms")],
    kernel: Some(KernelIs::Client),
    play: http_keepalive,
};

fn http_keepalive(lab: &mut Lab) -> Played {
    let (count, idle) = (lab.values().count(COUNT), lab.values().time(IDLE));
    let (client, server) = lab.pair();
    server.serve(http(Some(idle)));
    let listener = Listener::of(&server, 80);
    lab.note("keep-alive off");
    let one = |lab: &mut Lab| -> Played {
        let near = open(lab, &client, &listener)?;
        request(lab, &near, LAST)?;
        lab.settle();
        near.close();
        lab.settle();
        Ok(())
    };
    one(lab)?;
    lab.quietly("the other requests", |lab| {
        (1..count).try_for_each(|_| one(lab))
    })?;
    let waits = server.count(State::TimeWait);
    lab.claim(
        "off: the server has a TIME-WAIT for each request",
        waits == count,
        format!("{waits} after {count} requests"),
    );
    lab.note("keep-alive on");
    let near = open(lab, &client, &listener)?;
    for _ in 0..count {
        request(lab, &near, KEEP)?;
    }
    lab.until(idle * 2, || near.is(State::CloseWait));
    let state = near.state();
    let record = lab.record();
    let requests = record.sent(client.number(), Role::Data);
    let heard = requests.filter_map(|request| request.arrived).max();
    let closed = record
        .sent(server.number(), Role::Fin)
        .map(|fin| fin.sent)
        .max();
    let waited = heard.zip(closed).map(|(heard, closed)| closed.since(heard));
    drop(record);
    lab.claim(
        "on: one connection carries them all, and the server closes it when it was idle",
        state == State::CloseWait && waited.is_some_and(|waited| lab.is_roughly(waited, idle)),
        waited.map_or("it does not".to_owned(), |waited| {
            format!("after {} without a request", ms(waited))
        }),
    );
    let end = near.receive()?;
    near.close();
    lab.settle();
    let more = server.count(State::TimeWait).saturating_sub(waits);
    lab.claim(
        "that is one TIME-WAIT in place of one for each request",
        end.is_empty() && more == 1,
        format!("{more} after {count} requests"),
    );
    Ok(())
}

const SOCKETS_TABLE: Scenario = Scenario {
    name: "sockets-table",
    theme: Theme::Applications,
    title: "every socket with its state, queues and timers, as netstat -o shows them",
    why: "A table of sockets is where a search begins. Recv-Q is what the application has not read, \
          Send-Q what the peer has not acknowledged; of a listener they are the connections that \
          wait and the backlog. The timer says what TCP itself waits for, for how long still, and \
          how often it has tried. And a port that is listened on and that nobody knows is a \
          question to be asked.",
    rfc: "RFC 9293 section 3.3.2; netstat(8) and ss(8)",
    parameters: &[(RTT, "100ms")],
    kernel: None,
    play: sockets_table_of_many,
};

/// Ports on which this server is meant to listen.
const EXPECTED: [u16; 2] = [80, 443];

#[expect(clippy::too_many_lines, reason = "a script is read from its top down")]
fn sockets_table_of_many(lab: &mut Lab) -> Played {
    let (client, server) = lab.pair();
    let listener = server.listen(80)?;
    server.listen(443)?;
    server.listen(31_337)?;
    let one = |lab: &Lab| -> Result<(Connection, Connection), Errno> {
        let near = client.connect(&listener)?;
        lab.settle();
        Ok((near, listener.accept()?))
    };
    let picture = lab.quietly("connections of every kind", |lab| {
        let closed_here = one(lab)?;
        let closed_there = one(lab)?;
        let unread = one(lab)?;
        let unanswered = one(lab)?;
        let watched = one(lab)?;
        let waiting = client.connect(&listener)?;
        closed_here.1.close();
        lab.settle();
        closed_here.0.close();
        closed_there.0.close();
        unread.0.send(&[1; 700])?;
        watched.1.set(SocketOption::KeepAlive(true))?;
        lab.settle();
        lab.set_link(&server, |link| link.is_down = true);
        unanswered.1.send(&[1; 300])?;
        lab.wait(Duration::from_secs(18));
        Ok((
            closed_here,
            closed_there,
            unread,
            unanswered,
            watched,
            waiting,
        ))
    })?;
    let (closed_here, closed_there, unread, unanswered, watched, _waiting) = picture;
    sockets_table(lab, &server);

    let timer = |connection: &Connection| connection.info().and_then(|info| info.timer);
    let time_wait = timer(&closed_here.1);
    lab.claim(
        "who closed first is in TIME-WAIT, and what is left of 2 MSL is told",
        closed_here.1.is(State::TimeWait)
            && time_wait.is_some_and(|timer| {
                timer.kind == TimerKind::TimeWait && (40..44).contains(&timer.left.as_secs())
            }),
        time_wait.map_or("no timer".to_owned(), |timer| {
            format!(
                "{} ({:.2}/0/0)",
                timer.kind.name(),
                timer.left.as_secs_f64()
            )
        }),
    );
    let queues = (
        unread.1.info().map_or(0, |info| info.receive_queue),
        unanswered.1.info().map_or(0, |info| info.send_queue),
        listener.info().map_or(0, |info| info.receive_queue),
    );
    lab.claim(
        "queues: 700 bytes unread, 300 not acknowledged, one connection not accepted",
        queues == (700, 300, 1),
        format!(
            "Recv-Q {}, Send-Q {}, Recv-Q of the listener {}",
            queues.0, queues.1, queues.2
        ),
    );
    let (again, alive) = (timer(&unanswered.1), timer(&watched.1));
    lab.claim(
        "timers: a retransmission that has been tried, and a keep-alive that runs",
        again.is_some_and(|timer| timer.kind == TimerKind::Retransmit && timer.retransmits > 2)
            && alive.is_some_and(|timer| timer.kind == TimerKind::KeepAlive)
            && closed_there.1.is(State::CloseWait),
        format!(
            "{} retransmissions; keep-alive in {}",
            again.map_or(0, |timer| timer.retransmits),
            ms(alive.map(|timer| timer.left).unwrap_or_default())
        ),
    );
    let sockets = server.sockets();
    let unknown: Vec<u16> = sockets
        .iter()
        .filter(|socket| socket.state == State::Listen && !EXPECTED.contains(&socket.local.port()))
        .map(|socket| socket.local.port())
        .collect();
    lab.claim(
        "a listener that nobody knows stands out",
        unknown == [31_337],
        format!("expected {EXPECTED:?}, and there is {unknown:?}"),
    );
    Ok(())
}
