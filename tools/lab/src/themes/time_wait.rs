//! TIME-WAIT: why the side that closes first waits, and what it costs.

use crate::lab::{Lab, ms};
use crate::parameters::{MSL, PORTS, RTT};
use crate::record::Side;
use crate::roles::Role;
use crate::scenario::{KernelIs, Played, Scenario, Theme};
use crate::socket::{Host, Listener, is_refused, said};
use crate::station::Errno;
use crate::themes::is_two_msl;
use crate::wire::Fate;
use ringmill_core::sockets::SocketOption;
use ringmill_core::stats::DropReason;
use ringmill_core::tcp::{State, TcpConfig};
use ringmill_core::time::{Duration, Instant};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::rc::Rc;

pub(crate) const SCENARIOS: &[Scenario] = &[
    DELAYED_SEGMENT,
    TWO_MSL,
    REUSEADDR,
    TW_REUSE,
    TW_RECYCLE_NAT,
];

const DELAYED_SEGMENT: Scenario = Scenario {
    name: "delayed-segment",
    theme: Theme::TimeWait,
    title: "an old segment gets into the next connection, where there is no TIME-WAIT",
    why: "A segment may take a slow way and arrive after its connection is closed. If the same two \
          hosts have opened a new one on the same ports meanwhile, and the old number happens to \
          lie in the new window, its bytes are taken for the new stream's and nobody notices. \
          TIME-WAIT keeps the ports for as long as an old segment can live, so there is no new \
          connection for it to get into. Timestamps protect too: an old segment has an old one \
          (PAWS).",
    rfc: "RFC 9293 section 3.6.1; RFC 7323 section 5",
    parameters: &[],
    kernel: None,
    play: delayed_segment,
};

/// What a run of two connections on the same ports came to.
struct Incarnations {
    /// The second connect.
    second: Result<(), Errno>,
    /// Bytes of the first connection that the second's reader was given.
    foreign: usize,
    read: usize,
    paws: u64,
}

fn delayed_segment(lab: &mut Lab) -> Played {
    lab.note("without TIME-WAIT, and without timestamps");
    let hasty = incarnations(lab, |tcp| {
        tcp.msl = Duration::ZERO;
        tcp.timestamps = false;
    })?;
    lab.note("without TIME-WAIT, but with timestamps");
    let stamped = incarnations(lab, |tcp| tcp.msl = Duration::ZERO)?;
    lab.note("with TIME-WAIT");
    let patient = incarnations(lab, |tcp| tcp.timestamps = false)?;

    lab.claim(
        "without TIME-WAIT bytes of the old connection are read as the new one's",
        hasty.second.is_ok() && hasty.foreign > 0,
        format!(
            "{} of {} bytes that were read are foreign",
            hasty.foreign, hasty.read
        ),
    );
    lab.claim(
        "with timestamps the old segment is known by its old one, and dropped (PAWS)",
        stamped.second.is_ok() && stamped.foreign == 0 && stamped.paws > 0,
        format!(
            "{} foreign bytes, {} segments dropped by PAWS",
            stamped.foreign, stamped.paws
        ),
    );
    lab.claim(
        "with TIME-WAIT there is no new connection on these ports for it to get into",
        is_refused(&patient.second, Errno::AddressNotAvailable) && patient.foreign == 0,
        format!("connect: {}", said(&patient.second)),
    );
    Ok(())
}

/// A segment near the end of so many bytes has a copy that comes so much later.
fn slow_twin(lab: &Lab, client: &Host, bytes: usize, slow: Duration) {
    let from = client.number();
    let mut is_copied = false;
    lab.on_segments(move |segment| {
        let is_near_end = segment.seq as usize > bytes - 6_000 && segment.len > 1_000;
        if segment.from == from && is_near_end && !std::mem::replace(&mut is_copied, true) {
            return Fate::Copy(slow);
        }
        Fate::Pass
    });
}

fn incarnations(lab: &mut Lab, set: impl Fn(&mut TcpConfig)) -> Result<Incarnations, Errno> {
    const OLD: usize = 120_000;
    const NEW: usize = 6_000;
    /// The round trip: the first connection must be over before numbers have caught
    /// up with it.
    const NEAR: Duration = Duration::from_millis(20);
    let (client, server) = lab.pair_with(&set);
    for host in [&client, &server] {
        lab.set_link(host, |link| link.delay = NEAR / 2);
    }
    let listener = server.listen(80)?;
    let slow = Duration::from_millis(400);
    slow_twin(lab, &client, OLD, slow);
    let began = lab.now();
    lab.quietly(
        "a connection carries 120,000 bytes; one segment has a slow twin",
        |lab| -> Played {
            let near = client.connect_from(40_000, &listener)?;
            lab.settle();
            let far = listener.accept()?;
            far.close_at_end();
            near.send(&[b'o'; OLD])?;
            lab.wait(NEAR * 7);
            near.close();
            lab.wait(NEAR * 2);
            Ok(())
        },
    )?;
    let from = client.number();
    let twin = lab
        .record()
        .segments
        .iter()
        .rev()
        .find(|s| s.is_stray && s.from == from)
        .map(|s| s.seq);
    // Initial numbers grow by one each 4 us: there is a time at which the old number
    // lies just ahead of where the new connection is.
    let ticks = twin.unwrap_or_default().saturating_sub(2_500);
    let opens = began + Duration::from_micros(u64::from(ticks) * 4);
    lab.wait(opens.since(lab.now()));
    let mut outcome = Incarnations {
        second: Ok(()),
        foreign: 0,
        read: 0,
        paws: 0,
    };
    match client.connect_from(40_000, &listener) {
        Ok(near) => {
            lab.wait(NEAR * 3 / 2);
            let far = listener.accept()?;
            near.send(&[b'n'; 1_000])?;
            let arrives = lab.now() + slow;
            while lab.now() < arrives {
                lab.wait(Duration::from_millis(50));
            }
            near.send(&[b'n'; NEW - 1_000])?;
            lab.wait(NEAR * 4);
            let read = far.receive()?;
            outcome.foreign = read.iter().filter(|byte| **byte == b'o').count();
            outcome.read = read.len();
            near.reset();
        }
        Err(errno) => {
            outcome.second = Err(errno);
            lab.wait(slow);
        }
    }
    lab.settle();
    outcome.paws = server.stats().drops.of(DropReason::Paws);
    Ok(outcome)
}

const TWO_MSL: Scenario = Scenario {
    name: "2msl",
    theme: Theme::TimeWait,
    title: "why twice the maximum segment lifetime",
    why: "The last ACK may live for one MSL and be lost at the end of its way. The FIN that the \
          other side has sent again just before may then take another MSL back. Only after both is \
          it sure that no segment of the connection is left and no FIN will ask again: 2 MSL. Each \
          repeated FIN starts them anew. The RFC takes 2 min for the MSL; Linux waits 60 s in all, \
          Windows 4 min.",
    rfc: "RFC 9293 sections 3.4.2 and 3.6.1, MUST-13",
    parameters: &[(MSL, "30s"), (RTT, "100ms")],
    kernel: None,
    play: two_msl,
};

#[expect(clippy::too_many_lines, reason = "a script is read from its top down")]
fn two_msl(lab: &mut Lab) -> Played {
    let msl = lab.values().time(MSL);
    let rtt = lab.rtt();
    let (client, server) = lab.pair_with(|tcp| tcp.msl = msl);
    let listener = server.listen(80)?;
    let near = client.connect(&listener)?;
    lab.settle();
    let far = listener.accept()?;
    near.close();
    lab.settle();
    // The last ACK is on its way for an MSL and then lost. Of the repeated FINs all
    // are lost but the last before that, which takes an MSL too.
    let first = lab.now();
    let from = server.number();
    let mut is_slow = false;
    lab.on_segments(move |segment| {
        let since = segment.sent.since(first);
        match segment.role {
            Role::LastAck if since < msl => Fate::Lose,
            Role::LastFin if segment.from == from && segment.again => {
                if since < msl / 2 || since >= msl || std::mem::replace(&mut is_slow, true) {
                    Fate::Lose
                } else {
                    Fate::Delay(msl.saturating_sub(rtt))
                }
            }
            _ => Fate::Pass,
        }
    });
    far.close();
    lab.wait(msl * 5);

    let c = client.number();
    let record = lab.record();
    let began = record.entered(c, State::TimeWait);
    let came = record
        .sent(from, Role::LastFin)
        .filter_map(|fin| fin.arrived)
        .max();
    let over = record
        .changes(c)
        .last()
        .filter(|(_, change)| change.to == State::Closed)
        .map(|(at, _)| at);
    let resets = record
        .segments
        .iter()
        .filter(|segment| segment.role == Role::Rst)
        .count();
    drop(record);
    let since = |earlier: Option<Instant>, later: Option<Instant>| {
        earlier
            .zip(later)
            .map(|(earlier, later)| later.since(earlier))
            .unwrap_or_default()
    };
    let late = since(began, came);
    lab.claim(
        "a repeated FIN comes after more than one MSL, and before two",
        late > msl && late < msl * 2,
        format!("{} after the first, at an MSL of {}", ms(late), ms(msl)),
    );
    lab.claim(
        "TIME-WAIT is still there and acknowledges it: nobody is reset",
        resets == 0 && far.is(State::Closed),
        format!("{resets} RST, server in {}", far.state()),
    );
    let stay = since(came, over);
    lab.claim(
        "the repeated FIN starts 2 MSL anew",
        is_two_msl(stay, msl),
        format!("{} from it on", ms(stay)),
    );

    let mut rows = Vec::new();
    for (name, msl) in [("Linux", 30), ("RFC 9293", 120), ("Windows", 120)] {
        let msl = Duration::from_secs(msl);
        let lasted = lab.quietly(&format!("a connection with the MSL of {name}"), |lab| {
            time_wait_of(lab, msl)
        })?;
        lab.claim(
            format!("with the MSL of {name} TIME-WAIT lasts twice that"),
            is_two_msl(lasted, msl),
            ms(lasted),
        );
        rows.push([name.to_owned(), ms(msl), ms(lasted)]);
    }
    lab.table(["stack", "MSL", "TIME-WAIT"], rows);
    Ok(())
}

/// How long TIME-WAIT lasts with this MSL.
fn time_wait_of(lab: &mut Lab, msl: Duration) -> Result<Duration, Errno> {
    let (client, server) = lab.pair_with(|tcp| tcp.msl = msl);
    let listener = server.listen(80)?;
    let near = client.connect(&listener)?;
    lab.settle();
    let far = listener.accept()?;
    near.close();
    lab.settle();
    far.close();
    lab.settle();
    let began = lab.now() - lab.rtt() / 2;
    lab.until(msl * 3, || client.count(State::TimeWait) == 0);
    Ok(lab.now().since(began))
}

const REUSEADDR: Scenario = Scenario {
    name: "reuseaddr",
    theme: Theme::TimeWait,
    title: "a server that restarts can't bind while TIME-WAIT holds its address",
    why: "A server that closes first has TIME-WAIT on its own port. When it is started again, bind \
          finds connections of the earlier one on the address and says EADDRINUSE: a client's late \
          segments might reach the new program. They do not, for TIME-WAIT still guards its own \
          flow; so SO_REUSEADDR lets the new listener in beside it, and every server sets it.",
    rfc: "RFC 9293 section 3.9.1.1; POSIX SO_REUSEADDR",
    parameters: &[(RTT, "20ms")],
    kernel: Some(KernelIs::Server),
    play: reuseaddr,
};

fn reuseaddr(lab: &mut Lab) -> Played {
    let (client, server) = lab.pair();
    let reuse = [SocketOption::ReuseAddress(true)];
    // Linux wants it of both, the earlier one and the later.
    let listener = server.listen_with(80, 128, &reuse)?;
    let near = client.connect(&listener)?;
    lab.settle();
    let far = listener.accept()?;
    near.close_at_end();
    far.close();
    lab.settle();
    listener.close();
    lab.wait(Duration::from_secs(1));
    lab.note("the server is started again");
    let held = server.count(State::TimeWait);
    let again = server.listen(80);
    lab.claim(
        "bind is refused while TIME-WAIT holds the address",
        held == 1
            && is_refused(
                &again.as_ref().map(drop).map_err(|e| *e),
                Errno::AddressInUse,
            ),
        format!("{held} in TIME-WAIT; listen: {}", said(&again)),
    );
    let again = server.listen_with(80, 128, &reuse);
    lab.claim(
        "with SO_REUSEADDR it succeeds, and TIME-WAIT is still there",
        again.is_ok() && server.count(State::TimeWait) == 1,
        format!(
            "listen: {}, {} in TIME-WAIT",
            said(&again),
            server.count(State::TimeWait)
        ),
    );
    let listener = again?;
    let near = client.connect(&listener)?;
    lab.settle();
    let accepted = listener.accept();
    lab.claim(
        "the new server is reached",
        accepted.is_ok() && near.is(State::Established),
        format!("accept: {}", said(&accepted)),
    );
    Ok(())
}

const TW_REUSE: Scenario = Scenario {
    name: "tw-reuse",
    theme: Theme::TimeWait,
    title: "a client takes its own port out of TIME-WAIT, with timestamps and after a second",
    why: "A client with few ports runs into its own TIME-WAIT. Timestamps tell the segments of two \
          connections on the same ports apart, so a client may open anew from such a port once its \
          timestamp clock has moved on for certain: after a second. The server, if TIME-WAIT is \
          there, takes a SYN with a later timestamp for a new connection. It is a setting \
          (Linux: net.ipv4.tcp_tw_reuse), and off.",
    rfc: "RFC 6191 section 2; RFC 7323 section 5",
    parameters: &[(PORTS, "39894-39894"), (RTT, "20ms")],
    kernel: Some(KernelIs::Client),
    play: tw_reuse,
};

fn tw_reuse(lab: &mut Lab) -> Played {
    let ports = lab.values().ports(PORTS);
    let has_one = ports.first == ports.last;
    let client = lab.host("client", Side::Left, |tcp| {
        tcp.ports = ports;
        tcp.time_wait_reuse = true;
    });
    let strict = lab.host("strict client", Side::Left, |tcp| tcp.ports = ports);
    let server = lab.host("server", Side::Right, |_| {});
    let listener = server.listen(80)?;
    for client in [&strict, &client] {
        let count = usize::from(ports.last - ports.first) + 1;
        for _ in 0..count {
            use_once(lab, client, &listener)?;
        }
    }
    let early = client.connect(&listener).map(drop);
    lab.claim(
        "at once it is refused: all ports are in TIME-WAIT",
        is_refused(&early, Errno::AddressNotAvailable),
        format!(
            "{} in TIME-WAIT; connect: {}",
            client.count(State::TimeWait),
            said(&early)
        ),
    );
    // The clock of Linux's rule counts whole seconds.
    lab.wait(Duration::from_millis(2_100));
    let late = client.connect(&listener);
    lab.settle();
    let port = late.as_ref().map_or(0, |near| near.local_port());
    let is_open = late.as_ref().is_ok_and(|near| near.is(State::Established));
    lab.claim(
        "after more than a second it is accepted, and opens on the same port",
        is_open && (!has_one || port == ports.first),
        format!("connect: {}, from port {port}", said(&late)),
    );
    let refused = strict.connect(&listener).map(drop);
    lab.claim(
        "without the setting it is still refused",
        is_refused(&refused, Errno::AddressNotAvailable),
        format!("connect: {}", said(&refused)),
    );
    Ok(())
}

/// One connection that the client closes first: TIME-WAIT is there.
fn use_once(lab: &mut Lab, client: &Host, listener: &Listener) -> Played {
    let near = client.connect(listener)?;
    lab.settle();
    let far = listener.accept()?;
    near.close();
    lab.settle();
    far.close();
    lab.settle();
    Ok(())
}

const TW_RECYCLE_NAT: Scenario = Scenario {
    name: "tw-recycle-nat",
    theme: Theme::TimeWait,
    title: "what tcp_tw_recycle did to clients behind one address",
    why: "Linux once had a switch that ended TIME-WAIT early and in return remembered the latest \
          timestamp of each address: a SYN with an earlier one was dropped without a word. Behind \
          a NAT many hosts share an address, and each has a clock of its own. The one whose clock \
          is behind sends SYN after SYN and never gets in. Linux 4.12 took the switch out; the \
          engine never had it. Here its rule stands as a filter before the server's door.",
    rfc: "RFC 7323 section 5.4 on why timestamps of an address say nothing; Linux before 4.12",
    parameters: &[(RTT, "20ms")],
    kernel: None,
    play: tw_recycle_nat,
};

fn tw_recycle_nat(lab: &mut Lab) -> Played {
    let outside = Ipv4Addr::new(198, 18, 0, 200);
    let one = lab.host("client a", Side::Left, |_| {});
    let other = lab.host("client b", Side::Left, |_| {});
    let server = lab.host("server", Side::Right, |_| {});
    lab.show(|shows| shows.timestamps = true);
    let inside = [one.address(), other.address()];
    // The NAT: both get its address, and ports that tell them apart.
    let mut flows: BTreeMap<u16, (Ipv4Addr, u16)> = BTreeMap::new();
    lab.middlebox(move |packet| {
        let (source, destination) = (packet.source, packet.destination);
        if let Some(at) = inside.iter().position(|address| address == source.ip()) {
            let port = source.port() / 2 * 2 + u16::from(at == 1);
            flows.insert(port, (*source.ip(), source.port()));
            packet.source = std::net::SocketAddrV4::new(outside, port);
        } else if *destination.ip() == outside
            && let Some(&(address, port)) = flows.get(&destination.port())
        {
            packet.destination = std::net::SocketAddrV4::new(address, port);
        }
        true
    });
    // The rule of tcp_tw_recycle.
    let recycles = Rc::new(Cell::new(true));
    let (is_on, mut latest) = (recycles.clone(), BTreeMap::new());
    lab.middlebox(move |packet| {
        let Some(stamp) = packet.header.options.timestamps.map(|stamps| stamps.value) else {
            return true;
        };
        if !is_on.get() || *packet.source.ip() != outside {
            return true;
        }
        let last = *latest.entry(*packet.source.ip()).or_insert(stamp);
        let is_later = stamp.wrapping_sub(last) < 1 << 31;
        if is_later {
            latest.insert(*packet.source.ip(), stamp);
        }
        is_later
    });
    let listener = server.listen(80)?;
    let near = other.connect(&listener)?;
    lab.settle();
    let few = [SocketOption::SynCount(3)];
    let barred = one.connect_with(&listener, &few)?;
    lab.wait(Duration::from_secs(60));
    let (is_in, outcome) = (near.is(State::Established), barred.connected());
    lab.claim("the first client gets in", is_in, near.state().name());
    let syns = lab.record().sent(one.number(), Role::Syn).count();
    lab.claim(
        "the one whose timestamps are earlier never does: each SYN is dropped without a word",
        outcome == Some(Err(Errno::TimedOut)),
        format!(
            "{syns} SYNs, then {}",
            outcome.as_ref().map_or("nothing".to_owned(), said)
        ),
    );
    recycles.set(false);
    lab.note("without that rule, as the engine is");
    let near = one.connect_with(&listener, &few)?;
    lab.settle();
    lab.claim(
        "the engine lets both in",
        near.is(State::Established),
        near.state().name(),
    );
    Ok(())
}
