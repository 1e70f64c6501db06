//! Opening: three segments, and what could go wrong with two.

use crate::lab::{Lab, ms};
use crate::parameters::{COUNT, RTT};
use crate::roles::Role;
use crate::scenario::{KernelIs, Played, Scenario, Theme};
use crate::station::Errno;
use crate::themes::{listed, names, roles};
use crate::wire::Fate;
use ringmill_core::flow::FlowKey;
use ringmill_core::rng::Rng;
use ringmill_core::tcp::{IssGenerator, State};
use ringmill_core::time::{Duration, Instant};
use std::net::Ipv4Addr;

pub(crate) const SCENARIOS: &[Scenario] = &[HANDSHAKE, OLD_DUPLICATE_SYN, ISN, SIMULTANEOUS_OPEN];

const HANDSHAKE: Scenario = Scenario {
    name: "handshake",
    theme: Theme::Opening,
    title: "three segments open a connection",
    why: "Each side chooses a sequence number to start from and must know that the other has \
          heard it. The client's SYN tells its number, the server's SYN, ACK confirms it and \
          tells the server's own, and the client's ACK confirms that. The client may send after \
          one round trip, with the very segment that completes the handshake; the server knows \
          half a round trip later.",
    rfc: "RFC 9293 section 3.5, figure 6",
    parameters: &[(RTT, "100ms")],
    kernel: Some(KernelIs::Server),
    play: handshake,
};

fn handshake(lab: &mut Lab) -> Played {
    let (client, server) = lab.pair();
    let listener = server.listen(80)?;
    let began = lab.now();
    let near = client.connect(&listener)?;
    lab.settle();
    let far = listener.accept()?;

    let (c, s) = (client.number(), server.number());
    let record = lab.record();
    let told = roles(&record, 0);
    let syn = record.first(c, Role::Syn).cloned();
    let syn_ack = record.first(s, Role::SynAck).cloned();
    let last = record.first(c, Role::HandshakeAck).cloned();
    let (paths, connected) = (
        (record.path(c), record.path(s)),
        record.entered(c, State::Established),
    );
    drop(record);

    lab.claim(
        "three segments: SYN, SYN with ACK, ACK",
        told == [Role::Syn, Role::SynAck, Role::HandshakeAck],
        listed(&told),
    );
    lab.claim(
        "the client goes from SYN-SENT to ESTABLISHED",
        paths.0 == [State::SynSent, State::Established] && near.is(State::Established),
        names(&paths.0),
    );
    lab.claim(
        "the server goes from SYN-RECEIVED to ESTABLISHED",
        paths.1 == [State::SynReceived, State::Established] && far.is(State::Established),
        names(&paths.1),
    );
    let numbers = syn.zip(syn_ack).zip(last);
    lab.claim(
        "each side has acknowledged the other's initial sequence number",
        numbers.as_ref().is_some_and(|((syn, syn_ack), last)| {
            syn_ack.ack == syn.seq + 1 && last.ack == syn_ack.seq + 1 && last.seq == syn.seq + 1
        }),
        numbers.map_or("-".to_owned(), |((syn, syn_ack), _)| {
            format!(
                "client starts at {}, server at {}",
                syn.raw_seq, syn_ack.raw_seq
            )
        }),
    );
    let took = connected.map(|at| at.since(began)).unwrap_or_default();
    lab.claim(
        "connect takes one round trip",
        lab.is_about(took, lab.rtt()),
        format!("{} at a round trip of {}", ms(took), ms(lab.rtt())),
    );
    Ok(())
}

const OLD_DUPLICATE_SYN: Scenario = Scenario {
    name: "old-duplicate-syn",
    theme: Theme::Opening,
    title: "why three segments and not two: an old SYN opens nothing",
    why: "A SYN may be slow, and arrive after its sender has given up. With two segments the \
          server would have a connection then that nobody else knows of. With three it has only \
          asked: its SYN, ACK reaches a client that never sent such a SYN or has begun anew with \
          another number, and is answered by a RST. The server forgets, and no application has \
          heard of it.",
    rfc: "RFC 9293 section 3.5, figure 9",
    parameters: &[(RTT, "100ms")],
    kernel: None,
    play: old_duplicate_syn,
};

fn old_duplicate_syn(lab: &mut Lab) -> Played {
    let (client, server) = lab.pair();
    let listener = server.listen(80)?;
    let slow = lab.rtt() * 20;
    lab.fate_of(1, Role::Syn, &client, Fate::Delay(slow));
    let given_up = client.connect_from(40_000, &listener)?;
    given_up.close();
    lab.note("the client has given up; its SYN is still on its way");
    lab.wait(slow + lab.rtt() * 2);

    let (c, s) = (client.number(), server.number());
    let (path, resets) = (
        lab.record().path(s),
        lab.record().sent(c, Role::Rst).count(),
    );
    lab.claim(
        "the old SYN leads the server to SYN-RECEIVED and no further",
        path == [State::SynReceived, State::Closed],
        names(&path),
    );
    lab.claim(
        "a client that knows nothing of it answers RST",
        resets == 1,
        format!("{resets} RST"),
    );
    let accepted = listener.accept().err();
    lab.claim(
        "no connection appears to the server's application",
        accepted == Some(Errno::Again),
        accepted.map_or("one did".to_owned(), |errno| format!("accept: {errno}")),
    );

    lab.note("once more, and this time the client is opening anew when the old SYN comes");
    lab.fate_of(1, Role::Syn, &client, Fate::Delay(slow));
    let given_up = client.connect_from(40_000, &listener)?;
    given_up.close();
    lab.wait(slow - lab.rtt() / 4);
    lab.fate_of(1, Role::Syn, &client, Fate::Delay(lab.rtt() * 2));
    let before = lab.record().segments.len();
    let near = client.connect_from(40_000, &listener)?;
    lab.settle();
    let far = listener.accept()?;
    let told = roles(&lab.record(), before);
    lab.claim(
        "the SYN, ACK of the old SYN has the wrong number: RST, and the new SYN opens",
        near.is(State::Established) && far.is(State::Established) && told.contains(&Role::Rst),
        listed(&told),
    );
    let more = listener.accept().err();
    lab.claim(
        "there is one connection, and not two",
        more == Some(Errno::Again),
        format!("{} established", server.count(State::Established)),
    );
    Ok(())
}

const ISN: Scenario = Scenario {
    name: "isn",
    theme: Theme::Opening,
    title: "initial sequence numbers can't be guessed, and grow for each pair of addresses",
    why: "Who can guess the number that a server begins with can open connections in another's \
          name and never see an answer. So the number is a clock plus a hash of both addresses and \
          ports under a secret key: for the same four it grows with the clock, so an old \
          connection's segments are not taken for a new one's, and between different fours there \
          is no relation that an outsider could see.",
    rfc: "RFC 6528 section 3; RFC 9293 section 3.4.1",
    parameters: &[(COUNT, "1m")],
    kernel: None,
    play: isn,
};

/// Chi-square over 256 classes: its mean is 255 and its deviation 22.6, so a sound
/// generator passes this once in ten thousand times.
const CHI_SQUARE_MAX: f64 = 345.0;

#[expect(clippy::too_many_lines, reason = "a script is read from its top down")]
fn isn(lab: &mut Lab) -> Played {
    let count = u32::try_from(lab.values().number(COUNT))
        .unwrap_or(u32::MAX)
        .max(1_000);
    let (client, server) = lab.pair_with(|tcp| tcp.msl = Duration::ZERO);
    let listener = server.listen(80)?;
    // The same four, three times: TIME-WAIT is over at once.
    let mut seen = Vec::new();
    for _ in 0..3 {
        let near = client.connect_from(40_000, &listener)?;
        lab.settle();
        near.reset();
        lab.settle();
        let record = lab.record();
        let last = record.sent(client.number(), Role::Syn).last();
        seen.extend(last.map(|syn| (syn.sent, syn.raw_seq)));
        drop(record);
        lab.wait(Duration::from_millis(200));
    }
    let steps: Vec<(u128, u32)> = seen
        .windows(2)
        .map(|pair| {
            let ticks = pair[1].0.since(pair[0].0).as_micros() / 4;
            (ticks, pair[1].1.wrapping_sub(pair[0].1))
        })
        .collect();
    let told: Vec<String> = steps
        .iter()
        .map(|(ticks, step)| format!("{step} later after {ticks} ticks"))
        .collect();
    lab.claim(
        "for the same addresses and ports the number grows by one each 4 us",
        steps.len() == 2
            && steps
                .iter()
                .all(|(ticks, step)| *ticks == u128::from(*step)),
        told.join(", "),
    );

    let generator = IssGenerator::new(Rng::from_seed(7).key());
    let other = lab.other_iss();
    let number = |key: &FlowKey, now: Instant| match other {
        Some(iss) => iss(now, key),
        None => generator.iss(now, key).0,
    };
    let key = |sample: u32| FlowKey {
        local: 0,
        remote: Ipv4Addr::from((198 << 24) + (18 << 16) + (sample >> 16)).into(),
        local_port: 80,
        remote_port: u16::try_from(sample & 0xffff).unwrap_or(0),
    };
    // An attacker's own connection is next to the victim's, at the same instant.
    let mut classes = [0_u64; 256];
    let mut ones = [0_u64; 32];
    let mut near = 0_u64;
    for sample in 0..count {
        let step = number(&key(sample.wrapping_add(1)), Instant::ZERO)
            .wrapping_sub(number(&key(sample), Instant::ZERO));
        classes[(step >> 24) as usize] += 1;
        for (bit, ones) in ones.iter_mut().enumerate() {
            *ones += u64::from(step >> bit & 1);
        }
        near += u64::from(step < WINDOW);
    }
    let expected = f64::from(count) / 256.0;
    let chi_square: f64 = classes
        .iter()
        .map(|&class| (class as f64 - expected).powi(2) / expected)
        .sum();
    let bias = ones
        .iter()
        .map(|&ones| (ones as f64 / f64::from(count) - 0.5).abs())
        .fold(0.0, f64::max);
    lab.claim(
        format!("the numbers of {count} neighbours differ as drawn by lot"),
        chi_square < CHI_SQUARE_MAX && bias < 4.0 * 0.5 / (f64::from(count)).sqrt(),
        format!(
            "chi-square {chi_square:.0} of 256 classes, no bit is one more often than {:.2} %",
            (0.5 + bias) * 100.0
        ),
    );
    let chance = f64::from(count) * f64::from(WINDOW) / 2_f64.powi(32);
    lab.claim(
        "who knows one number hits the window of the next no more often than by chance",
        (near as f64) < chance + 5.0 * chance.sqrt().max(1.0),
        format!("{near} of {count} within {WINDOW}; by chance {chance:.1}"),
    );
    Ok(())
}

/// What a blind attacker has to hit: a window that is not scaled.
const WINDOW: u32 = 65_535;

const SIMULTANEOUS_OPEN: Scenario = Scenario {
    name: "simultaneous-open",
    theme: Theme::Opening,
    title: "both sides open at once, and one connection comes of it",
    why: "Two hosts that connect to each other at the same time, each from the port that the \
          other connects to, need no listener. Their SYNs cross: each side then knows the other's \
          number and has to hear that its own was heard. Both go from SYN-SENT over SYN-RECEIVED \
          to ESTABLISHED, and there is one connection and not two.",
    rfc: "RFC 9293 section 3.5, figure 8; MUST-10",
    parameters: &[(RTT, "100ms")],
    kernel: None,
    play: simultaneous_open,
};

fn simultaneous_open(lab: &mut Lab) -> Played {
    let (one, other) = lab.pair();
    let port = |port| Some((Ipv4Addr::UNSPECIFIED, port).into());
    let near = one.connect_to((other.address(), 7_002).into(), port(7_001), &[])?;
    let far = other.connect_to((one.address(), 7_001).into(), port(7_002), &[])?;
    lab.settle();

    for (host, connection) in [(&one, &near), (&other, &far)] {
        let path = lab.record().path(host.number());
        lab.claim(
            format!(
                "the {} goes from SYN-SENT over SYN-RECEIVED to ESTABLISHED",
                host.name()
            ),
            path == [State::SynSent, State::SynReceived, State::Established]
                && connection.is(State::Established),
            names(&path),
        );
    }
    let sent = near.send(b"hello")?;
    lab.settle();
    let received = far.receive()?;
    lab.claim(
        "it is one connection: what one side sends the other receives",
        received == b"hello",
        format!("{sent} bytes sent, {} received", received.len()),
    );
    Ok(())
}
