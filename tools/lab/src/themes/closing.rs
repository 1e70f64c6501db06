//! Closing: four segments, half a connection, and peers that do not play along.

use crate::lab::{Lab, is_about, ms};
use crate::parameters::{COUNT, IDLE, LOSS_OF, MSL, RTT};
use crate::record::Record;
use crate::roles::Role;
use crate::scenario::{KernelIs, Played, Scenario, Theme};
use crate::socket::said;
use crate::station::Errno;
use crate::themes::{listed, names, roles, sockets_table};
use ringmill_core::sockets::SocketOption;
use ringmill_core::tcp::State;
use ringmill_core::time::Duration;

pub(crate) const SCENARIOS: &[Scenario] = &[
    FOUR_WAY,
    HALF_CLOSE,
    SIMULTANEOUS_CLOSE,
    LAST_ACK_LOST,
    CLOSE_WAIT_LEAK,
    FIN_WAIT_2,
    LINGER,
    GRACEFUL,
];

const FOUR_WAY: Scenario = Scenario {
    name: "four-way",
    theme: Theme::Closing,
    title: "four segments close a connection, or three",
    why: "A FIN says that its sender has nothing more to say; the other side may go on. So \
          each direction is closed by itself, by a FIN and an ACK. The side that closes first \
          passes FIN-WAIT-1 (its FIN is not acknowledged), FIN-WAIT-2 (it is) and TIME-WAIT \
          (it has acknowledged the other's); the other one passes CLOSE-WAIT (its application \
          has yet to close) and LAST-ACK. Where that application closes at once, its FIN rides \
          on the ACK: three segments, and FIN-WAIT-1 leads straight to TIME-WAIT.",
    rfc: "RFC 9293 section 3.6, figure 12; section 3.10.7.4",
    parameters: &[(RTT, "100ms")],
    kernel: Some(KernelIs::Server),
    play: four_way,
};

const LAST_ACK_LOST: Scenario = Scenario {
    name: "last-ack-lost",
    theme: Theme::Closing,
    title: "the last ACK is lost, and TIME-WAIT answers the FIN that comes again",
    why: "Nobody acknowledges the last ACK, so its sender can't know whether it arrived. It \
          waits in TIME-WAIT; if the ACK was lost the other side sends its FIN again, gets \
          another ACK, and is done. Without TIME-WAIT there would be nobody who remembers the \
          connection: the FIN would be answered by a RST, and the other application would be \
          told of an error although everything had been delivered.",
    rfc: "RFC 9293 section 3.6.1",
    parameters: &[(RTT, "100ms"), (MSL, "30s"), (LOSS_OF, "last-ack")],
    kernel: None,
    play: last_ack_lost,
};

fn four_way(lab: &mut Lab) -> Played {
    let (client, server) = lab.pair();
    let listener = server.listen(80)?;
    let near = client.connect(&listener)?;
    lab.settle();
    let far = listener.accept()?;
    let handshake = lab.record().segments.len();

    near.close();
    lab.settle();
    let _ = far.receive();
    lab.wait(lab.rtt());
    far.close();
    lab.settle();

    let (c, s) = (client.number(), server.number());
    let told = roles(&lab.record(), handshake);
    lab.claim(
        "four segments: FIN, ACK, FIN, ACK",
        told == [Role::Fin, Role::AckOfFin, Role::LastFin, Role::LastAck],
        listed(&told),
    );
    let (ours, theirs) = (lab.record().path(c), lab.record().path(s));
    lab.claim(
        "who closes first goes through FIN-WAIT-1 and FIN-WAIT-2 to TIME-WAIT",
        ours[2..] == [State::FinWait1, State::FinWait2, State::TimeWait],
        names(&ours[1..]),
    );
    lab.claim(
        "the other goes through CLOSE-WAIT and LAST-ACK to CLOSED",
        theirs[2..] == [State::CloseWait, State::LastAck, State::Closed],
        names(&theirs[1..]),
    );

    lab.note("the other way round, and the client closes as soon as it hears of it");
    let near = client.connect(&listener)?;
    lab.settle();
    let far = listener.accept()?;
    near.close_at_end();
    let handshake = lab.record().segments.len();
    far.close();
    lab.settle();
    let told = roles(&lab.record(), handshake);
    let path = lab.record().path(s);
    let last = &path[path.len() - 2..];
    lab.claim(
        "closed at once it takes three: FIN, FIN with ACK, ACK",
        told == [Role::Fin, Role::LastFin, Role::LastAck],
        listed(&told),
    );
    lab.claim(
        "then FIN-WAIT-1 leads straight to TIME-WAIT",
        last == [State::FinWait1, State::TimeWait],
        names(last),
    );
    Ok(())
}

fn last_ack_lost(lab: &mut Lab) -> Played {
    let msl = lab.values().time(MSL);
    let (client, server) = lab.pair_with(|tcp| tcp.msl = msl);
    if let Some(role) = lab.values().role(LOSS_OF) {
        lab.lose_first(role);
    }
    let listener = server.listen(80)?;
    let near = client.connect(&listener)?;
    lab.wait(lab.rtt() * 30);
    let far = listener.accept()?;
    near.close();
    lab.wait(lab.rtt() * 20);
    far.close();
    lab.settle();
    lab.wait(msl * 3);

    let (c, s) = (client.number(), server.number());
    let record = lab.record();
    let fins = record.sent(s, Role::LastFin).count();
    let acks = record.sent(c, Role::LastAck).count();
    let resets = record
        .segments
        .iter()
        .filter(|segment| segment.role == Role::Rst)
        .count();
    let waits = record.entered(s, State::LastAck).zip(ended(&record, s));
    let stay = record.stay(c, State::TimeWait);
    let last = record
        .sent(c, Role::LastAck)
        .last()
        .map(|segment| segment.sent);
    let over = record.changes(c).last().map(|(at, _)| at);
    drop(record);

    let is_lost = lab.values().is(LOSS_OF, "last-ack");
    lab.claim(
        if is_lost {
            "the FIN comes again, and so does its ACK"
        } else {
            "the last ACK ends it"
        },
        fins == acks && acks == 1 + usize::from(is_lost),
        format!("{fins} FINs of the server, {acks} last ACKs"),
    );
    lab.claim(
        "nobody is reset, and the server ends in CLOSED",
        resets == 0 && far.is(State::Closed),
        match waits {
            Some((entered, left)) => format!("LAST-ACK for {}", ms(left.since(entered))),
            None => "it is still in LAST-ACK".to_owned(),
        },
    );
    let since = last.zip(over).map(|(last, over)| over.since(last));
    lab.claim(
        "TIME-WAIT lasts 2 MSL from the last FIN on",
        since.is_some_and(|since| is_about(since, msl * 2, true)),
        format!(
            "TIME-WAIT for {} in all, {} of it after the last FIN",
            ms(stay.unwrap_or_default()),
            ms(since.unwrap_or_default())
        ),
    );
    Ok(())
}

/// When a host's last socket was closed.
fn ended(record: &Record, host: usize) -> Option<ringmill_core::time::Instant> {
    let last = record.changes(host).last();
    last.filter(|(_, change)| change.to == State::Closed)
        .map(|(at, _)| at)
}

const HALF_CLOSE: Scenario = Scenario {
    name: "half-close",
    theme: Theme::Closing,
    title: "after its FIN a side still receives",
    why: "A FIN closes one direction. A client that has sent its whole request may say so and go \
          on reading the answer: it waits in FIN-WAIT-2, the server in CLOSE-WAIT, for as long as \
          the server has something to send. shutdown sends the FIN at once, whoever else holds the \
          connection; close only gives a descriptor back, and the connection is closed with the \
          last one.",
    rfc: "RFC 9293 section 3.6, case 1; POSIX shutdown and close",
    parameters: &[(RTT, "100ms")],
    kernel: Some(KernelIs::Server),
    play: half_close,
};

fn half_close(lab: &mut Lab) -> Played {
    let (client, server) = lab.pair();
    let listener = server.listen(80)?;
    let near = client.connect(&listener)?;
    lab.settle();
    let far = listener.accept()?;
    let held = near.duplicate()?;
    near.send(b"the whole request")?;
    lab.settle();
    held.close();
    let fins = lab.record().sent(client.number(), Role::Fin).count();
    lab.claim(
        "close of one of two descriptors sends nothing",
        fins == 0 && near.is(State::Established),
        format!("{fins} FIN, {}", near.state()),
    );

    let held = near.duplicate()?;
    let at = lab.now();
    near.shutdown();
    lab.settle();
    let fin = lab
        .record()
        .first(client.number(), Role::Fin)
        .map(|fin| fin.sent);
    lab.claim(
        "shutdown sends the FIN at once, though another descriptor holds the connection",
        fin.is_some_and(|fin| is_about(fin.since(at), Duration::ZERO, lab.has_kernel())),
        fin.map_or("no FIN".to_owned(), |fin| {
            format!("after {}", ms(fin.since(at)))
        }),
    );
    let request = far.receive()?;
    let end = far.receive()?;
    lab.claim(
        "the server reads the request, and then its end",
        request.len() == 17 && end.is_empty(),
        format!("{} bytes, then {}", request.len(), end.len()),
    );
    let mut answer = 0;
    for part in [1_000, 2_000, 3_000] {
        far.send(&vec![b'a'; part])?;
        // Its last part waits for an ACK (Nagle).
        lab.wait(lab.rtt() * 2);
        answer += near.receive()?.len();
    }
    let states = (near.state(), far.state());
    lab.claim(
        "it still sends, and the client receives all of it",
        answer == 6_000 && states == (State::FinWait2, State::CloseWait),
        format!(
            "{answer} bytes; client in {}, server in {}",
            states.0, states.1
        ),
    );
    far.close();
    lab.settle();
    let end = near.receive()?;
    near.close();
    held.close();
    lab.claim(
        "then the client reads the end, and waits in TIME-WAIT",
        end.is_empty() && near.is(State::TimeWait) && far.is(State::Closed),
        format!("client in {}, server in {}", near.state(), far.state()),
    );
    Ok(())
}

const SIMULTANEOUS_CLOSE: Scenario = Scenario {
    name: "simultaneous-close",
    theme: Theme::Closing,
    title: "both sides close at once",
    why: "When the FINs cross, each side receives a FIN while its own is not acknowledged. Both go \
          from FIN-WAIT-1 to CLOSING and, when the ACK comes, to TIME-WAIT: there are two, for \
          neither side can know that it was not the last to speak.",
    rfc: "RFC 9293 section 3.6, figure 13",
    parameters: &[(RTT, "100ms")],
    kernel: None,
    play: simultaneous_close,
};

fn simultaneous_close(lab: &mut Lab) -> Played {
    let (client, server) = lab.pair();
    let listener = server.listen(80)?;
    let near = client.connect(&listener)?;
    lab.settle();
    let far = listener.accept()?;
    near.close();
    far.close();
    lab.settle();
    for (host, connection) in [(&client, &near), (&server, &far)] {
        let path = lab.record().path(host.number());
        let last = &path[path.len().saturating_sub(3)..];
        lab.claim(
            format!(
                "the {} goes through FIN-WAIT-1 and CLOSING to TIME-WAIT",
                host.name()
            ),
            last == [State::FinWait1, State::Closing, State::TimeWait]
                && connection.is(State::TimeWait),
            names(last),
        );
    }
    Ok(())
}

const CLOSE_WAIT_LEAK: Scenario = Scenario {
    name: "close-wait-leak",
    theme: Theme::Closing,
    title: "an application that never closes piles up CLOSE-WAIT",
    why: "CLOSE-WAIT means that the peer has closed and the own application has not. TCP has \
          nothing to wait for and no timer for it: the state ends when the application closes, and \
          never if it forgets to. So a growing number of them is always a fault of the program on \
          this side; each holds a descriptor. The peer's end goes after its FIN-WAIT-2 timeout.",
    rfc: "RFC 9293 section 3.6, case 2",
    parameters: &[(COUNT, "5"), (RTT, "100ms")],
    kernel: None,
    play: close_wait_leak,
};

fn close_wait_leak(lab: &mut Lab) -> Played {
    let count = lab.values().count(COUNT);
    let (client, server) = lab.pair();
    lab.show(|shows| shows.ports = true);
    let listener = server.listen(80)?;
    let mut leaked = Vec::new();
    let mut one = |lab: &mut Lab| -> Played {
        let near = client.connect(&listener)?;
        lab.settle();
        let far = listener.accept()?;
        near.close();
        lab.settle();
        far.receive()?;
        leaked.push(far);
        Ok(())
    };
    one(lab)?;
    lab.quietly("the others come and go the same way", |lab| {
        (1..count).try_for_each(|_| one(lab))
    })?;
    lab.wait(Duration::from_secs(3_600));
    let piled = server.count(State::CloseWait);
    lab.claim(
        "after an hour all of them are still there, as `ss` or `netstat` shows",
        piled == count,
        format!("{piled} of {count} in CLOSE-WAIT"),
    );
    sockets_table(lab, &server);
    lab.quietly("the application closes what it has forgotten", |_| {
        leaked.iter().for_each(|far| far.close());
    });
    lab.settle();
    let left = server.count(State::CloseWait);
    lab.claim(
        "closing drains them",
        left == 0,
        format!("{left} in CLOSE-WAIT"),
    );
    Ok(())
}

const FIN_WAIT_2: Scenario = Scenario {
    name: "fin-wait-2",
    theme: Theme::Closing,
    title: "a peer that never closes is not waited for without end",
    why: "In FIN-WAIT-2 everything of this side's is said and acknowledged; only the peer's FIN is \
          missing. Where the application has closed, nobody would read what still comes, so the \
          engine gives the peer a while (tcp_fin_timeout, TCP_LINGER2) and forgets. A FIN that \
          comes later finds nobody and gets a RST. Who does not want to wait at all closes with \
          SO_LINGER of zero: a RST at once, and no state behind it.",
    rfc: "RFC 9293 section 3.6.1, and the 60 s of Linux",
    parameters: &[(IDLE, "60s"), (RTT, "100ms")],
    kernel: None,
    play: fin_wait_2,
};

fn fin_wait_2(lab: &mut Lab) -> Played {
    let length = lab.values().time(IDLE);
    let (client, server) = lab.pair_with(|tcp| tcp.fin_wait_2 = length);
    let listener = server.listen(80)?;
    let near = client.connect(&listener)?;
    lab.settle();
    let far = listener.accept()?;
    near.close();
    lab.wait(length * 2);
    let stay = lab.record().stay(client.number(), State::FinWait2);
    lab.claim(
        "FIN-WAIT-2 ends by its timeout",
        stay.is_some_and(|stay| is_about(stay, length, false)) && near.is(State::Closed),
        stay.map_or("it does not".to_owned(), |stay| {
            format!("after {}", ms(stay))
        }),
    );
    far.close();
    lab.settle();
    let resets = lab.record().sent(client.number(), Role::Rst).count();
    lab.claim(
        "a FIN that comes later gets a RST",
        resets == 1 && far.is(State::Closed),
        format!("{resets} RST; server in {}", far.state()),
    );
    lab.note("with SO_LINGER of zero");
    let near = client.connect(&listener)?;
    lab.settle();
    let _far = listener.accept()?;
    let before = lab.record().changes(client.number()).count();
    near.reset();
    lab.settle();
    let after: Vec<State> = lab.record().path(client.number()).split_off(before);
    lab.claim(
        "there is no FIN-WAIT-2, and no TIME-WAIT either",
        after == [State::Closed],
        names(&after),
    );
    Ok(())
}

/// No stack delays an acknowledgment for longer, as small as these are.
const DELAYED_ACK: Duration = Duration::from_millis(60);

const LINGER: Scenario = Scenario {
    name: "linger",
    theme: Theme::Closing,
    title: "SO_LINGER: close by a RST, or wait for the data to be delivered",
    why: "Without SO_LINGER close returns at once and TCP goes on delivering, unseen. With a time \
          of zero it throws away what is not sent, sends a RST, and leaves no TIME-WAIT: the peer \
          is told of an error, and may lose data that it had not read. With a time above zero the \
          application hears whether all was acknowledged within it; if not, a RST ends it.",
    rfc: "RFC 9293 sections 3.9.1.6 and 3.10.5; POSIX SO_LINGER",
    parameters: &[(RTT, "100ms")],
    kernel: Some(KernelIs::Server),
    play: linger,
};

#[expect(clippy::too_many_lines, reason = "a script is read from its top down")]
fn linger(lab: &mut Lab) -> Played {
    const BYTES: usize = 200_000;
    let (client, server) = lab.pair();
    let listener = server.listen(80)?;
    let near = client.connect(&listener)?;
    lab.settle();
    let far = listener.accept()?;
    lab.note("SO_LINGER of zero");
    let sent = lab.quietly("much data is written, of which one window leaves", |_| {
        near.send(&vec![1; BYTES])
    })?;
    near.reset();
    lab.settle();
    let mut received = 0;
    let error = loop {
        match far.receive() {
            Ok(bytes) if bytes.is_empty() => break None,
            Ok(bytes) => received += bytes.len(),
            Err(errno) => break Some(errno),
        }
    };
    let resets = lab.record().sent(client.number(), Role::Rst).count();
    lab.claim(
        "it ends by a RST, without TIME-WAIT",
        resets > 0 && client.count(State::TimeWait) == 0,
        format!("{resets} RST, {} TIME-WAIT", client.count(State::TimeWait)),
    );
    lab.claim(
        "what was not sent is lost, and the reader is told so",
        received < sent && error == Some(Errno::ConnectionReset),
        format!(
            "{received} of {sent} bytes, then {}",
            error.map_or("the end of the stream".to_owned(), |errno| errno
                .to_string())
        ),
    );
    far.close();

    lab.note("SO_LINGER of 5 s");
    let near = client.connect_with(
        &listener,
        &[SocketOption::Linger(Some(Duration::from_secs(5)))],
    )?;
    lab.settle();
    let far = listener.accept()?;
    near.send(&[1; 1_000])?;
    let at = lab.now();
    near.close();
    lab.until(Duration::from_secs(6), || near.ended().is_some());
    let (ended, took) = (near.ended(), lab.now().since(at));
    lab.claim(
        "a close that lingers tells when all is delivered: after a round trip, and what the ACK is delayed by",
        ended == Some(Ok(())) && took >= lab.rtt() && took < lab.rtt() + DELAYED_ACK,
        format!(
            "{} after {}",
            ended.as_ref().map_or("nothing".to_owned(), said),
            ms(took)
        ),
    );
    far.receive()?;
    far.close();
    lab.settle();

    lab.note("SO_LINGER of 1 s, and the way to the server is cut");
    let near = client.connect_with(
        &listener,
        &[SocketOption::Linger(Some(Duration::from_secs(1)))],
    )?;
    lab.settle();
    let _far = listener.accept()?;
    lab.set_link(&client, |link| link.is_down = true);
    near.send(&[1; 1_000])?;
    let at = lab.now();
    near.close();
    lab.until(Duration::from_secs(3), || near.ended().is_some());
    let (ended, took) = (near.ended(), lab.now().since(at));
    lab.claim(
        "or that it was not, when the time is over",
        matches!(ended, Some(Err(_))) && is_about(took, Duration::from_secs(1), true),
        format!(
            "{} after {}",
            ended.as_ref().map_or("nothing".to_owned(), said),
            ms(took)
        ),
    );
    Ok(())
}

const GRACEFUL: Scenario = Scenario {
    name: "graceful",
    theme: Theme::Closing,
    title: "shutdown, then read to the end: no byte is lost",
    why: "close says that nobody will read any more. If something unread has come, or still comes, \
          TCP can't deliver it and must not pretend so: it sends a RST, which may overtake the \
          answer on its way out and destroy it at the other end. Who wants the other side to get \
          everything closes its sending side by shutdown, reads to the end of the stream, and only \
          then closes.",
    rfc: "RFC 9293 section 3.6.1, SHLD-3; RFC 9112 section 9.6",
    parameters: &[(COUNT, "100k"), (RTT, "20ms")],
    kernel: Some(KernelIs::Server),
    play: graceful,
};

fn graceful(lab: &mut Lab) -> Played {
    let total = lab.values().count(COUNT);
    let (client, server) = lab.pair();
    let listener = server.listen(80)?;
    let near = client.connect(&listener)?;
    lab.settle();
    let far = listener.accept()?;
    let (mut sent, mut received) = (0, 0);
    let mut ended = false;
    lab.quietly(
        "the client sends all, then shutdown; the server reads to the end",
        |lab| -> Played {
            let end = lab.now() + Duration::from_secs(20);
            while !ended && lab.now() < end {
                if sent < total {
                    sent += near.send(&vec![1; total - sent]).unwrap_or(0);
                    if sent == total {
                        near.shutdown();
                    }
                }
                lab.wait(lab.rtt() / 4);
                match far.receive() {
                    Ok(bytes) if bytes.is_empty() => ended = true,
                    Ok(bytes) => received += bytes.len(),
                    Err(Errno::Again) => {}
                    Err(errno) => return Err(errno),
                }
            }
            Ok(())
        },
    )?;
    far.send(b"all received")?;
    far.close();
    lab.settle();
    let answer = near.receive()?;
    let end = near.receive()?;
    near.close();
    lab.claim(
        "shutdown, then reading to the end, loses no byte in either direction",
        received == total && answer == b"all received" && end.is_empty(),
        format!(
            "{received} of {total} bytes there, {} of 12 back",
            answer.len()
        ),
    );

    lab.note("a bare close, with something unread");
    let near = client.connect(&listener)?;
    lab.settle();
    let far = listener.accept()?;
    near.send(b"a request that nobody reads")?;
    lab.settle();
    far.close();
    lab.settle();
    let resets = lab.record().sent(server.number(), Role::Rst).count();
    let told = near.receive();
    lab.claim(
        "a bare close with unread data resets, and the peer is told of an error",
        resets >= 1 && told == Err(Errno::ConnectionReset),
        format!("{resets} RST; receive: {}", said(&told)),
    );
    Ok(())
}
