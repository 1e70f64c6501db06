//! Small segments, and silence.

use crate::lab::{Lab, ms};
use crate::parameters::{COUNT, IDLE, RTT};
use crate::roles::Role;
use crate::scenario::{Played, Scenario, Theme};
use crate::socket::said;
use crate::station::Errno;
use crate::themes::connected;
use ringmill_core::sockets::SocketOption;
use ringmill_core::tcp::State;
use ringmill_core::time::Duration;

pub(crate) const SCENARIOS: &[Scenario] = &[NAGLE, NODELAY, KEEPALIVE_DEAD_PEER];

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
        without.segments >= count as u64 && lab.is_about(without.most, lab.rtt() / 2),
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
        lab.is_roughly(quick, lab.rtt()),
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
