//! Listening: two queues, who fills them, and what is inherited.

use crate::lab::Lab;
use crate::parameters::{BACKLOG, COUNT, POLICY, RTT};
use crate::record::Side;
use crate::roles::Role;
use crate::scenario::{KernelIs, Played, Scenario, Theme};
use crate::segment::Packet;
use crate::socket::{Host, Listener, said};
use crate::station::Errno;
use crate::wire::Fate;
use ringmill_core::rng::Rng;
use ringmill_core::seq::Seq;
use ringmill_core::sockets::SocketOption;
use ringmill_core::tcp::{AcceptOverflow, State, SynCookies};
use ringmill_core::time::Duration;
use ringmill_core::wire::tcp::{Flags, Header, Options};
use std::net::{Ipv4Addr, SocketAddrV4};

pub(crate) const SCENARIOS: &[Scenario] = &[ACCEPT, BACKLOG_FULL, SYN_FLOOD, OPTION_INHERITANCE];

const ACCEPT: Scenario = Scenario {
    name: "accept",
    theme: Theme::Listening,
    title: "accept takes the head of the queue, and the listener stays what it is",
    why: "The handshake is TCP's and needs no application: completed connections wait in a queue \
          behind the listener. accept takes the first and returns a new socket with the addresses \
          of both ends; the listener has no peer, stays in LISTEN and is never connected itself. \
          A listener on INADDR_ANY takes what comes to any address of the host, one on an address \
          only what comes to that.",
    rfc: "RFC 9293 sections 3.9.1.1 and 3.10.1",
    parameters: &[(RTT, "20ms")],
    kernel: None,
    play: accept,
};

fn accept(lab: &mut Lab) -> Played {
    let second = Ipv4Addr::new(198, 18, 0, 100);
    let client = lab.host("client", Side::Left, |_| {});
    let server = lab.host_with("server", Side::Right, Some(second), |_| {});
    lab.show(|shows| shows.ports = true);
    let any = server.listen(80)?;
    let one = server.listen_on(Some(server.address()), 81, 8, &[])?;
    let first = client.connect_from(40_001, &any)?;
    lab.settle();
    let next = client.connect_from(40_002, &any)?;
    lab.settle();
    let waiting = any.info().map_or(0, |info| info.receive_queue);
    let accepted = (any.accept()?, any.accept()?);
    let ports = [&accepted.0, &accepted.1].map(|connection| {
        connection
            .addresses()
            .map_or(0, |(_, remote)| remote.port())
    });
    lab.claim(
        "connections are complete before anybody accepts them",
        waiting == 2 && first.is(State::Established) && next.is(State::Established),
        format!("{waiting} wait"),
    );
    lab.claim(
        "accept returns them in the order in which they were completed",
        ports == [first.local_port(), next.local_port()],
        format!("from ports {ports:?}"),
    );
    let info = any.info();
    lab.claim(
        "the listener is untouched: it has no peer, and listens",
        info.is_some_and(|info| {
            info.state == State::Listen && info.remote.is_none() && info.receive_queue == 0
        }),
        info.map_or("gone".to_owned(), |info| {
            format!("{} on {}", info.state, info.local)
        }),
    );
    lab.note("to the server's second address");
    let via_any = client.connect_to((second, 80).into(), None, &[])?;
    let via_one = client.connect_to((second, 81).into(), None, &[])?;
    lab.settle();
    let refused = via_one.connected();
    lab.claim(
        "INADDR_ANY takes it; the listener on one address does not",
        via_any.is(State::Established)
            && refused == Some(Err(Errno::ConnectionRefused))
            && one.info().is_some(),
        format!(
            "port 80: {}, port 81: {}",
            via_any.state(),
            refused.as_ref().map_or("nothing".to_owned(), said)
        ),
    );
    Ok(())
}

const BACKLOG_FULL: Scenario = Scenario {
    name: "backlog",
    theme: Theme::Listening,
    title: "a full queue: the SYN is ignored and comes again, or a RST refuses",
    why: "A listener has two queues: half-open connections, and completed ones that wait for \
          accept, at most `backlog` of them. With the second full there is no use in answering a \
          SYN. Ignored, it comes again after 1, 3, 7 seconds, and gets in if the application has \
          accepted one meanwhile: a short crowd costs time and no errors. With the other policy \
          the last ACK of a handshake that finds no room is answered by a RST, and the client is \
          told at once.",
    rfc: "RFC 9293 section 3.10.7.2; Linux's listen(2) and tcp_abort_on_overflow",
    parameters: &[(BACKLOG, "2"), (POLICY, "ignore"), (RTT, "100ms")],
    kernel: Some(KernelIs::Server),
    play: backlog,
};

fn backlog(lab: &mut Lab) -> Played {
    let backlog = lab.values().count(BACKLOG);
    let resets = lab.values().is(POLICY, "reset");
    let (client, server) = lab.pair_with(|tcp| {
        tcp.accept_overflow = if resets {
            AcceptOverflow::Reset
        } else {
            AcceptOverflow::Ignore
        };
    });
    lab.show(|shows| shows.ports = true);
    let listener = server.listen_with(80, backlog, &[])?;
    // Linux counts one more than listen was given.
    let room = backlog + usize::from(lab.has_kernel());
    if resets {
        return refused(lab, &client, &listener, room);
    }
    let mut open = Vec::new();
    for _ in 0..room {
        open.push(client.connect(&listener)?);
        lab.settle();
    }
    let waiting = listener
        .info()
        .map_or(0, |info| info.receive_queue as usize);
    let late = client.connect(&listener)?;
    lab.wait(Duration::from_millis(1_500));
    let state = late.state();
    lab.claim(
        "as many as fit are complete, and wait",
        waiting == room && open.iter().all(|near| near.is(State::Established)),
        format!("{waiting} wait at a backlog of {backlog}"),
    );
    lab.claim(
        "the SYN of one more is ignored: no answer, no RST",
        state == State::SynSent,
        format!("it is in {state}"),
    );
    listener.accept()?;
    lab.note("the application accepts one: there is room");
    lab.until(Duration::from_secs(4), || late.is(State::Established));
    lab.settle();
    let syns: Vec<_> = lab
        .record()
        .sent(client.number(), Role::Syn)
        .filter(|syn| syn.source.port() == late.local_port())
        .map(|syn| syn.sent)
        .collect();
    let waits: Vec<String> = syns
        .windows(2)
        .map(|pair| format!("{:.1} s", pair[1].since(pair[0]).as_secs_f64()))
        .collect();
    lab.claim(
        "its SYN comes again, later each time, and it gets in",
        late.is(State::Established) && syns.len() >= 3,
        format!("{} SYNs, {} apart", syns.len(), waits.join(" and ")),
    );
    Ok(())
}

/// The other policy: a handshake is under way while the queue fills up.
fn refused(lab: &mut Lab, client: &Host, listener: &Listener, room: usize) -> Played {
    lab.fate_of(
        1,
        Role::HandshakeAck,
        client,
        Fate::Delay(Duration::from_secs(1)),
    );
    let late = client.connect(listener)?;
    lab.wait(lab.rtt() * 3 / 2);
    for _ in 0..room {
        client.connect(listener)?;
        lab.wait(lab.rtt() * 3 / 2);
    }
    lab.wait(Duration::from_secs(1));
    let ended = late.ended();
    let resets = lab
        .record()
        .segments
        .iter()
        .filter(|segment| segment.role == Role::Rst)
        .count();
    lab.claim(
        "the last ACK of a handshake finds the queue full, and a RST refuses it",
        resets >= 1 && matches!(ended, Some(Err(Errno::ConnectionReset))),
        format!(
            "{resets} RST; {}",
            ended.as_ref().map_or("nothing".to_owned(), said)
        ),
    );
    Ok(())
}

const SYN_FLOOD: Scenario = Scenario {
    name: "syn-flood",
    theme: Theme::Listening,
    title: "spoofed SYNs fill the queue, and with cookies real clients still get in",
    why: "A SYN costs its sender nothing, and from an address that is not its own it leaves a \
          half-open record behind that nobody will ever complete. The queue of these is bounded, \
          so the memory is; but once it is full real clients are shut out too. A SYN cookie is an \
          answer that needs no record: what must be remembered is in the sequence number itself, \
          under a secret key, and comes back with the client's ACK.",
    rfc: "RFC 4987 sections 2.2 and 3.6",
    parameters: &[(BACKLOG, "128"), (COUNT, "1000"), (RTT, "20ms")],
    kernel: Some(KernelIs::Server),
    play: syn_flood,
};

fn syn_flood(lab: &mut Lab) -> Played {
    let (bound, count) = (lab.values().count(BACKLOG), lab.values().count(COUNT));
    let client = lab.host("client", Side::Left, |_| {});
    let server = lab.host("server", Side::Right, |tcp| tcp.syn_backlog = bound);
    let bare = lab.host("server without cookies", Side::Right, |tcp| {
        tcp.syn_backlog = bound;
        tcp.syn_cookies = SynCookies::Never;
    });
    let mut rows = Vec::new();
    for (server, has_cookies) in [(&server, true), (&bare, false)] {
        let listener = server.listen_with(80, bound, &[])?;
        lab.quietly(
            &format!("{count} SYNs from addresses that nobody has"),
            |lab| {
                flood(lab, &client, server, count);
            },
        );
        let half_open = server.count(State::SynReceived);
        let near = client.connect(&listener)?;
        lab.wait(lab.rtt() * 3);
        let (state, accepted) = (near.state(), listener.accept());
        rows.push([
            server.name(),
            count.to_string(),
            half_open.to_string(),
            state.name().to_owned(),
        ]);
        lab.claim(
            format!("the half-open records of the {} are bounded", server.name()),
            half_open > 0 && half_open <= bound + 1,
            format!("{half_open} of {count} SYNs, bound {bound}"),
        );
        if has_cookies {
            lab.claim(
                "with cookies a real client connects in one round trip",
                state == State::Established && accepted.is_ok(),
                format!("{state}; accept: {}", said(&accepted)),
            );
        } else {
            lab.claim(
                "without them it waits in SYN-SENT",
                state == State::SynSent,
                state.name(),
            );
        }
    }
    lab.table(
        ["listener", "spoofed SYNs", "half-open", "a real client"],
        rows,
    );
    Ok(())
}

/// SYNs from addresses that nobody has, at a thousand a second.
fn flood(lab: &Lab, near: &Host, server: &Host, count: usize) {
    let mut rng = Rng::from_seed(3);
    for _ in 0..count {
        let last = u8::try_from(rng.below(100) + 100).unwrap_or(u8::MAX);
        let port = u16::try_from(rng.below(60_000) + 1_024).unwrap_or(u16::MAX);
        let source = SocketAddrV4::new(Ipv4Addr::new(198, 18, 0, last), port);
        let destination = SocketAddrV4::new(server.address(), 80);
        let header = Header {
            source_port: port,
            destination_port: 80,
            seq: Seq(u32::try_from(rng.below(1 << 32)).unwrap_or(0)),
            ack: Seq(0),
            flags: Flags::SYN,
            window: 65_535,
            urgent: 0,
            options: Options {
                mss: Some(1_460),
                ..Options::default()
            },
        };
        let packet = Packet {
            source,
            destination,
            header,
            data: Vec::new(),
        };
        lab.inject(near, packet);
        lab.wait(Duration::from_millis(1) / 4);
    }
    lab.settle();
}

const OPTION_INHERITANCE: Scenario = Scenario {
    name: "option-inheritance",
    theme: Theme::Listening,
    title: "options that are set on the listener hold on what it accepts",
    why: "A connection is half made before accept returns it: its SYN, ACK has gone out with a \
          window and a segment size. So what must hold from the start has to be set on the \
          listener, and every connection begins with the listener's options of the moment when \
          its SYN came. Afterwards each has its own.",
    rfc: "RFC 9293 section 3.9.1; POSIX accept",
    parameters: &[(RTT, "20ms")],
    kernel: None,
    play: option_inheritance,
};

fn option_inheritance(lab: &mut Lab) -> Played {
    let (client, server) = lab.pair();
    lab.show(|shows| shows.windows = true);
    let options = [
        SocketOption::NoDelay(true),
        SocketOption::KeepAlive(true),
        SocketOption::ReceiveBuffer(16_384),
        SocketOption::Ttl(33),
    ];
    let listener = server.listen_with(80, 8, &options)?;
    client.connect(&listener)?;
    lab.settle();
    let first = listener.accept()?;
    let same = listener.options().is_some() && first.options() == listener.options();
    let told = first.options().map_or("nothing".to_owned(), |own| {
        format!(
            "TCP_NODELAY {}, SO_KEEPALIVE {}, SO_RCVBUF {}, IP_TTL {}",
            own.nodelay,
            own.keepalive,
            own.receive_buffer.unwrap_or(0),
            own.ttl
        )
    });
    lab.claim(
        "an accepted connection has all of the listener's options",
        same,
        told,
    );
    let window = lab
        .record()
        .first(server.number(), Role::SynAck)
        .map(|syn_ack| syn_ack.window);
    lab.claim(
        "the SYN, ACK, sent before accept, offers the listener's buffer",
        window == Some(16_384),
        format!("window {}", window.unwrap_or(0)),
    );
    listener.set(SocketOption::NoDelay(false))?;
    client.connect(&listener)?;
    lab.settle();
    let second = listener.accept()?;
    let nodelay =
        [&first, &second].map(|connection| connection.options().is_some_and(|own| own.nodelay));
    lab.claim(
        "a later change holds for later connections alone",
        nodelay == [true, false],
        format!("TCP_NODELAY: {nodelay:?}"),
    );
    Ok(())
}
