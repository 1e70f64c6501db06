//! Endings: peers and applications that do not play along.

use crate::lab::{Lab, ms};
use crate::parameters::{COUNT, IDLE, RTT};
use crate::roles::Role;
use crate::scenario::{KernelIs, Played, Scenario, Theme};
use crate::socket::said;
use crate::station::Errno;
use crate::themes::{names, sockets_table};
use ringmill_core::sockets::SocketOption;
use ringmill_core::tcp::State;
use ringmill_core::time::Duration;

pub(crate) const SCENARIOS: &[Scenario] = &[CLOSE_WAIT_LEAK, FIN_WAIT_2, LINGER, GRACEFUL];

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
        stay.is_some_and(|stay| lab.is_about(stay, length)) && near.is(State::Closed),
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
        matches!(ended, Some(Err(_))) && lab.is_roughly(took, Duration::from_secs(1)),
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
