//! Closing: four segments, three, or a half.

use crate::lab::{Lab, ms};
use crate::parameters::{LOSS_OF, MSL, RTT};
use crate::record::Record;
use crate::roles::Role;
use crate::scenario::{KernelIs, Played, Scenario, Theme};
use crate::socket::Connection;
use crate::station::Errno;
use crate::themes::{is_two_msl, listed, names, roles};
use crate::wire::Fate;
use ringmill_core::tcp::State;
use ringmill_core::time::{Duration, Instant};

pub(crate) const SCENARIOS: &[Scenario] =
    &[FOUR_WAY, HALF_CLOSE, SIMULTANEOUS_CLOSE, LAST_ACK_LOST];

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
          connection: the FIN would be answered by a RST, as if something had gone wrong, or by \
          nothing at all where a firewall drops that, and the other side would go on asking.",
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

    let lost = |name: &str| usize::from(lab.values().is(LOSS_OF, name));
    let (fin_lost, ack_lost) = (lost("last-fin"), lost("last-ack"));
    lab.claim(
        match (fin_lost, ack_lost) {
            (0, 0) => "the last ACK ends it",
            (1, _) => "the FIN comes again until it is acknowledged",
            _ => "the FIN comes again, and so does its ACK",
        },
        fins == 1 + fin_lost + ack_lost && acks == 1 + ack_lost,
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
        since.is_some_and(|since| is_two_msl(since, msl)),
        format!(
            "TIME-WAIT for {} in all, {} of it after the last FIN",
            ms(stay.unwrap_or_default()),
            ms(since.unwrap_or_default())
        ),
    );
    without_time_wait(lab)
}

/// The same where TIME-WAIT is cut to nothing.
fn without_time_wait(lab: &mut Lab) -> Played {
    let (client, server) = lab.pair_with(|tcp| tcp.msl = Duration::ZERO);
    let (c, s) = (client.number(), server.number());
    let mut closed = Instant::ZERO;
    lab.on_segments(move |segment| match segment.role {
        Role::LastAck if segment.from == c => Fate::Lose,
        Role::LastFin if segment.from == s && !segment.again => {
            closed = segment.sent;
            Fate::Pass
        }
        // The engine's record goes within a quarter of a second.
        Role::LastFin if segment.from == s && segment.sent.since(closed) < FORGOTTEN => Fate::Lose,
        _ => Fate::Pass,
    });
    lab.note("the same with TIME-WAIT cut to nothing");
    let listener = server.listen(80)?;
    let lose_last_ack = |lab: &mut Lab| -> Result<Connection, Errno> {
        let far = lab.quietly("a connection opens, and the client closes it", |lab| {
            let near = client.connect(&listener)?;
            lab.settle();
            let far = listener.accept()?;
            near.close();
            lab.settle();
            Ok(far)
        })?;
        far.close();
        lab.settle();
        lab.wait(Duration::from_secs(3));
        Ok(far)
    };
    let far = lose_last_ack(lab)?;
    let resets = lab.record().sent(c, Role::Rst).count();
    lab.claim(
        "without TIME-WAIT nobody remembers: the FIN that comes again gets a RST",
        resets == 1 && far.is(State::Closed),
        format!("{resets} RST, server in {}", far.state()),
    );
    lab.note("and with a firewall in the way that lets no RST out");
    lab.on_segments(move |segment| match segment.role {
        Role::Rst if segment.from == c => Fate::Lose,
        _ => Fate::Pass,
    });
    let far = lose_last_ack(lab)?;
    let tries = lab.record().sent(s, Role::LastFin).count();
    lab.claim(
        "or the server stays in LAST-ACK, and tries again and again",
        far.is(State::LastAck) && tries > 3,
        format!("{} after 3 s, {tries} FINs in all", far.state()),
    );
    Ok(())
}

/// By then a record whose TIME-WAIT is nothing has gone.
const FORGOTTEN: Duration = Duration::from_millis(500);

/// When a host's last socket was closed.
fn ended(record: &Record, host: usize) -> Option<Instant> {
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
        fin.is_some_and(|fin| lab.is_about(fin.since(at), Duration::ZERO)),
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
