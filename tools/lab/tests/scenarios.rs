//! Every scenario holds on the engine as it is, and fails on an engine that lacks
//! what it shows.

// A test that can't go on ends.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

use ringmill_core::tcp::SynCookies;
use ringmill_core::time::Duration;
use ringmill_lab::{Fault, Outcome, Role, Scenario};

fn play(name: &str, parameters: &[(&str, &str)], fault: Option<Fault>) -> Outcome {
    let scenario = ringmill_lab::find(name).unwrap();
    let given: Vec<(String, String)> = parameters
        .iter()
        .map(|&(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    ringmill_lab::play(scenario, &given, fault).unwrap()
}

#[test]
fn every_scenario_holds_and_tells_why() {
    for scenario in ringmill_lab::scenarios() {
        let Scenario { name, why, rfc, .. } = scenario;
        let outcome = play(name, &[], None);
        assert!(outcome.holds(), "{}", outcome.text(true));
        assert!(!why.is_empty() && rfc.starts_with("RFC"), "{name}");
        let (svg, page) = (outcome.svg(), outcome.html());
        assert!(svg.starts_with("<svg ") && page.contains("<svg "), "{name}");
        let told = page.matches("<li>").count();
        assert_eq!(told, outcome.claims.len(), "{name}");
        assert_eq!(outcome.json()["holds"], true, "{name}");
        let states = ringmill_lab::states(Some(&outcome));
        assert!(states.contains("TIME-WAIT"), "{name}");
    }
}

#[test]
fn a_run_repeats_exactly() {
    let once = || play("last-ack-lost", &[], None).text(true);
    assert_eq!(once(), once());
}

#[test]
fn the_capture_holds_every_segment_once() {
    let outcome = play("handshake", &[], None);
    let mut capture = Vec::new();
    outcome.write_pcap(&mut capture).unwrap();
    assert_eq!(outcome.record.frames.len(), 3);
    assert!(
        capture.starts_with(&0x0a0d_0d0a_u32.to_be_bytes()),
        "pcapng"
    );
    let frames = &outcome.record.frames;
    assert!(
        frames
            .iter()
            .all(|(_, frame)| capture.windows(frame.len()).any(|w| w == frame))
    );
}

#[test]
fn parameters_change_the_run_and_wrong_ones_are_named() {
    let outcome = play(
        "last-ack-lost",
        &[("msl", "120s"), ("loss-of", "none")],
        None,
    );
    assert!(outcome.holds(), "{}", outcome.text(true));
    assert!(
        outcome.text(true).contains("TIME-WAIT for 240"),
        "{}",
        outcome.text(true)
    );
    for (name, value, says) in [
        (
            "ports",
            "1-2",
            "handshake has no parameter --ports: it has --rtt",
        ),
        (
            "rtt",
            "soon",
            "--rtt soon: it must be a time: 500ms, 60s or 4m",
        ),
    ] {
        let scenario = ringmill_lab::find("handshake").unwrap();
        let given = [(name.to_owned(), value.to_owned())];
        let error = ringmill_lab::play(scenario, &given, None).unwrap_err();
        assert_eq!(error.to_string(), says);
    }
}

/// Other values, with which the claims are others too.
const VARIATIONS: &[(&str, &[(&str, &str)])] = &[
    ("handshake", &[("rtt", "300ms")]),
    ("last-ack-lost", &[("loss-of", "syn")]),
    ("last-ack-lost", &[("loss-of", "last-fin"), ("msl", "1s")]),
    ("last-ack-lost", &[("loss-of", "ack-of-fin")]),
    ("2msl", &[("msl", "5s")]),
    ("fin-wait-2", &[("idle", "5s")]),
    ("ephemeral", &[("ports", "39894-39894")]),
    ("tw-reuse", &[("ports", "40000-40003")]),
    ("backlog", &[("backlog", "4"), ("policy", "reset")]),
    ("syn-flood", &[("backlog", "16"), ("count", "200")]),
    ("window", &[("buffer", "262144"), ("rtt", "4ms")]),
    ("bdp", &[("bandwidth", "100m"), ("rtt", "40ms")]),
    ("nagle", &[("count", "200"), ("rtt", "40ms")]),
    ("http-keepalive", &[("idle", "60s"), ("count", "2")]),
    ("keepalive-dead-peer", &[("idle", "10s")]),
];

#[test]
fn claims_follow_the_parameters() {
    for (name, given) in VARIATIONS {
        let outcome = play(name, given, None);
        assert!(outcome.holds(), "{given:?}: {}", outcome.text(true));
    }
}

/// What an engine lacks, and the scenario that notices.
const FAULTS: &[(&str, &str, Fault)] = &[
    (
        "handshake",
        "no third segment",
        Fault::of_segments(|segment| segment.role == Role::HandshakeAck),
    ),
    (
        "old-duplicate-syn",
        "no RST for a SYN, ACK that was not asked for",
        Fault::of_segments(|segment| segment.role == Role::Rst),
    ),
    (
        "isn",
        "a clock in place of a keyed hash",
        Fault::of_iss(|now, _| (now.as_micros() / 4) as u32),
    ),
    (
        "simultaneous-open",
        "no SYN, ACK for a SYN that crosses",
        Fault::of_segments(|segment| segment.role == Role::SynAck),
    ),
    (
        "four-way",
        "no acknowledgment that rides on a FIN",
        Fault::of_setting(|tcp| tcp.packet_economy = false),
    ),
    (
        "half-close",
        "no data after the peer's FIN",
        Fault::of_segments(|segment| segment.from == 1 && segment.role == Role::Data),
    ),
    (
        "simultaneous-close",
        "a FIN that never comes",
        Fault::of_segments(|segment| segment.role == Role::LastFin),
    ),
    (
        "last-ack-lost",
        "no TIME-WAIT",
        Fault::of_setting(|tcp| tcp.msl = Duration::ZERO),
    ),
    (
        "close-wait-leak",
        "no FIN",
        Fault::of_segments(|segment| segment.role == Role::Fin),
    ),
    (
        "fin-wait-2",
        "no timeout of FIN-WAIT-2",
        Fault::of_setting(|tcp| tcp.fin_wait_2 = Duration::from_secs(86_400)),
    ),
    (
        "linger",
        "no RST",
        Fault::of_segments(|segment| segment.role == Role::Rst),
    ),
    (
        "graceful",
        "no RST for what is unread",
        Fault::of_segments(|segment| segment.role == Role::Rst),
    ),
    (
        "delayed-segment",
        "no TIME-WAIT",
        Fault::of_setting(|tcp| tcp.msl = Duration::ZERO),
    ),
    (
        "delayed-segment",
        "no PAWS",
        Fault::of_setting(|tcp| tcp.timestamps = false),
    ),
    (
        "2msl",
        "one MSL in place of two",
        Fault::of_setting(|tcp| tcp.msl /= 2),
    ),
    (
        "reuseaddr",
        "no TIME-WAIT",
        Fault::of_setting(|tcp| tcp.msl = Duration::ZERO),
    ),
    (
        "tw-reuse",
        "no timestamps to tell incarnations apart",
        Fault::of_setting(|tcp| tcp.timestamps = false),
    ),
    (
        "tw-reuse",
        "it is always on",
        Fault::of_setting(|tcp| tcp.time_wait_reuse = true),
    ),
    (
        "tw-recycle-nat",
        "no timestamps",
        Fault::of_setting(|tcp| tcp.timestamps = false),
    ),
    (
        "send-buffer",
        "no acknowledgments",
        Fault::of_segments(|segment| segment.role == Role::Ack),
    ),
    (
        "receive-buffer",
        "a window that never opens again",
        Fault::of_segments(|segment| segment.role == Role::Ack && segment.ack > 40_000),
    ),
    (
        "window",
        "no answer to window probes",
        Fault::of_segments(|segment| segment.from == 1 && segment.window == 0),
    ),
    (
        "sliding-window",
        "a window of one segment",
        Fault::of_setting(|tcp| (tcp.receive_buffer, tcp.receive_buffer_max) = (2_048, 0)),
    ),
    (
        "bdp",
        "no window scaling to speak of",
        Fault::of_setting(|tcp| (tcp.receive_buffer, tcp.receive_buffer_max) = (65_535, 0)),
    ),
    (
        "nagle",
        "acknowledgments that never come",
        Fault::of_segments(|segment| segment.role == Role::Ack),
    ),
    (
        "nodelay",
        "no delayed ACK",
        Fault::of_setting(|tcp| tcp.delayed_ack = Duration::from_millis(1)),
    ),
    (
        "keepalive-dead-peer",
        "no probes",
        Fault::of_segments(|segment| segment.role == Role::Probe),
    ),
    (
        "accept",
        "no third segment",
        Fault::of_segments(|segment| segment.role == Role::HandshakeAck),
    ),
    (
        "backlog",
        "no second SYN",
        Fault::of_segments(|segment| segment.role == Role::Syn && segment.again),
    ),
    (
        "syn-flood",
        "no cookies",
        Fault::of_setting(|tcp| tcp.syn_cookies = SynCookies::Never),
    ),
    (
        "syn-flood",
        "a SYN queue without a bound",
        Fault::of_setting(|tcp| tcp.syn_backlog = 1 << 14),
    ),
    (
        "option-inheritance",
        "one set of options for all",
        Fault::of_setting(|tcp| tcp.max_option_sets = 1),
    ),
    (
        "ephemeral",
        "no TIME-WAIT",
        Fault::of_setting(|tcp| tcp.msl = Duration::ZERO),
    ),
    (
        "who-closes-first",
        "no TIME-WAIT",
        Fault::of_setting(|tcp| tcp.msl = Duration::ZERO),
    ),
    (
        "pool",
        "no TIME-WAIT",
        Fault::of_setting(|tcp| tcp.msl = Duration::ZERO),
    ),
    (
        "http-keepalive",
        "no TIME-WAIT",
        Fault::of_setting(|tcp| tcp.msl = Duration::ZERO),
    ),
    (
        "sockets-table",
        "no TIME-WAIT",
        Fault::of_setting(|tcp| tcp.msl = Duration::ZERO),
    ),
];

#[test]
fn an_engine_that_lacks_what_a_scenario_shows_is_noticed() {
    let unnoticed: Vec<_> = FAULTS
        .iter()
        .filter(|(name, _, fault)| play(name, &[], Some(*fault)).holds())
        .map(|(name, lacks, _)| (name, lacks))
        .collect();
    assert!(unnoticed.is_empty(), "{unnoticed:?}");
}

#[test]
fn every_scenario_notices_something() {
    for scenario in ringmill_lab::scenarios() {
        let is_covered = FAULTS.iter().any(|(name, ..)| *name == scenario.name);
        assert!(is_covered, "{}", scenario.name);
    }
}
