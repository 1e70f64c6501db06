//! `ringmill ss` next to the kernel's own `ss` at the other end.

use crate::net::{Background, ENGINE, Engine, Net, assert_clean, wait_until};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output};

const ADDRESS: [&str; 2] = ["--addr", "198.18.0.1/24"];
/// The kernel's port of a handshake that is never complete.
const HALF_OPEN: u16 = 4_444;

/// State, Recv-Q and Send-Q.
type Socket = (String, u64, u64);

fn ringmill_ss(arguments: &[&str]) -> Output {
    let mut ringmill = Command::new(env!("CARGO_BIN_EXE_ringmill"));
    ringmill.arg("ss").args(arguments).output().unwrap()
}

/// What `ringmill ss` says of an engine that has a desk by now.
fn ask(engine: &Engine, arguments: &[&str]) -> String {
    let process = engine.process().to_string();
    let arguments = [&["--pid", &process], arguments].concat();
    let output = ringmill_ss(&arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

fn ask_json(engine: &Engine, arguments: &[&str]) -> Vec<Value> {
    let lines = ask(engine, &[&["--json"], arguments].concat());
    let parse = |line| serde_json::from_str(line).unwrap();
    lines.lines().map(parse).collect()
}

fn desk_of(engine: &Engine) -> PathBuf {
    format!("/run/ringmill/{}.sock", engine.process()).into()
}

fn serve(net: &Net, more: &[&str]) -> Engine {
    let serve = ["serve", "http", "veth0", "-q"];
    let engine = net.ringmill(&[&serve, &ADDRESS[..], more].concat());
    wait_until("it has a desk", || desk_of(&engine).exists());
    engine
}

fn port_of(address: &str) -> u16 {
    address.rsplit(':').next().unwrap().parse().unwrap()
}

/// The engine's connections, by the port of the peer.
fn of_engine(engine: &Engine) -> BTreeMap<u16, Socket> {
    let mut sockets = BTreeMap::new();
    for socket in ask_json(engine, &[]) {
        let Some(peer) = socket["peer"].as_str() else {
            continue;
        };
        let queue = |name: &str| socket[name].as_u64().unwrap();
        let state = socket["state"].as_str().unwrap().to_owned();
        let entry = (state, queue("recv_q"), queue("send_q"));
        let twice = sockets.insert(port_of(peer), entry);
        assert_eq!(twice, None, "{socket}");
    }
    sockets
}

/// The kernel's connections with the engine, by their own port.
fn of_kernel(net: &Net) -> BTreeMap<u16, Socket> {
    let listed = net.peer("ss", &["-tanH", "dst", ENGINE]);
    let sockets = listed.lines().map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let queue = |at: usize| columns[at].parse().unwrap();
        (
            port_of(columns[3]),
            (columns[0].to_owned(), queue(1), queue(2)),
        )
    });
    sockets.collect()
}

fn connect(net: &Net) -> TcpStream {
    let stream = net.peer.within(|| TcpStream::connect((ENGINE, 80)));
    stream.unwrap().unwrap()
}

fn request(stream: &mut TcpStream, more: &str) {
    write!(stream, "GET / HTTP/1.1\r\nHost: x\r\n{more}\r\n").unwrap();
}

/// Connections in several states, and the port of each at the kernel's end.
struct Held {
    idle: TcpStream,
    /// Neither reads its response, and the second has closed its sending side.
    unread: [TcpStream; 2],
    /// Bytes of such a response.
    whole_response: u64,
    /// The engine has closed; one is still open here, the other is not.
    closed_there: TcpStream,
    closed_on_both_sides: u16,
    /// Closed here first.
    closed_here: u16,
    /// Nothing that answers its SYN gets through.
    _half_open: Background,
}

fn port(stream: &TcpStream) -> u16 {
    stream.local_addr().unwrap().port()
}

fn hold(net: &Net) -> Held {
    let idle = connect(net);
    let mut unread = [connect(net), connect(net)];
    for stream in &mut unread {
        request(stream, "");
    }
    unread[1].shutdown(Shutdown::Write).unwrap();
    let more = "Connection: close\r\n";
    let read_to_end = |stream: &mut TcpStream| {
        request(stream, more);
        stream.read_to_end(&mut Vec::new()).unwrap() - more.len()
    };
    let (mut closed_there, mut closed_on_both_sides) = (connect(net), connect(net));
    let whole_response = read_to_end(&mut closed_there) as u64;
    read_to_end(&mut closed_on_both_sides);
    net.lose(&format!("tcp dport {HALF_OPEN}"));
    let mut curl = net.peer.command("curl");
    let half_open = HALF_OPEN.to_string();
    curl.args(["-s", "--local-port", &half_open, "http://198.18.0.1/"]);
    Held {
        idle,
        unread,
        whole_response,
        closed_there,
        closed_on_both_sides: port(&closed_on_both_sides),
        closed_here: port(&connect(net)),
        _half_open: Background::spawn(curl),
    }
}

#[test]
fn both_ends_agree_on_the_state_of_each_connection() {
    let Some(net) = Net::new("ss") else { return };
    let engine = serve(&net, &["--body", "8M"]);
    let held = hold(&net);
    // By the port of the kernel's end: what the engine is in, and what the kernel.
    let expected = [
        (port(&held.idle), Some("ESTABLISHED"), Some("ESTAB")),
        (port(&held.unread[0]), Some("ESTABLISHED"), Some("ESTAB")),
        (port(&held.unread[1]), Some("LAST-ACK"), Some("FIN-WAIT-2")),
        (
            port(&held.closed_there),
            Some("FIN-WAIT-2"),
            Some("CLOSE-WAIT"),
        ),
        (held.closed_on_both_sides, Some("TIME-WAIT"), None),
        (held.closed_here, None, Some("TIME-WAIT")),
        (HALF_OPEN, Some("SYN-RECEIVED"), Some("SYN-SENT")),
    ];
    wait_until("each is in its state", || {
        let (ours, theirs) = (of_engine(&engine), of_kernel(&net));
        let is_so = |sockets: &BTreeMap<u16, Socket>, port, state: Option<&str>| {
            sockets.get(port).map(|socket| socket.0.as_str()) == state
        };
        let mut pairs = expected.iter();
        pairs.all(|(port, our, their)| is_so(&ours, port, *our) && is_so(&theirs, port, *their))
    });
    wait_until("what is not read fills the windows", || {
        let text = ask(&engine, &["-o"]);
        text.matches("timer:(persist,").count() == 2
    });
    // What the kernel has acknowledged lies there unread; the rest is the engine's.
    let (ours, theirs) = (of_engine(&engine), of_kernel(&net));
    for stream in &held.unread {
        let (ours, theirs) = (&ours[&port(stream)], &theirs[&port(stream)]);
        assert!(ours.2 > 0 && theirs.1 > 0, "{ours:?} {theirs:?}");
        assert_eq!(
            ours.2 + theirs.1,
            held.whole_response,
            "{ours:?} {theirs:?}"
        );
    }
    options_choose_what_is_shown(&engine, &held);
}

fn options_choose_what_is_shown(engine: &Engine, held: &Held) {
    let rows = |arguments: &[&str]| -> Vec<String> {
        let lines = ask(engine, arguments);
        let squeezed = lines
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        squeezed.map(|columns| columns.join(" ")).collect()
    };
    let counts = [
        "LISTEN 1",
        "SYN-RECV 1",
        "ESTAB 2",
        "FIN-WAIT-2 1",
        "LAST-ACK 1",
    ];
    assert_eq!(
        rows(&["-s"]),
        [&counts[..], &["TIME-WAIT 1", "total 7"]].concat()
    );
    assert_eq!(rows(&["-l"])[1..], ["LISTEN 0 4096 *:80 *:*"]);
    let of_both = rows(&["--state", "TIME-WAIT", "--state", "syn-recv", "-o"]);
    let [header, others @ ..] = &of_both[..] else {
        panic!("no header");
    };
    assert_eq!(
        header,
        "State Recv-Q Send-Q Local Address:Port Peer Address:Port"
    );
    assert_eq!(others.len(), 2, "{others:?}");
    for (state, port, timer) in [
        ("SYN-RECV", HALF_OPEN, "on"),
        ("TIME-WAIT", held.closed_on_both_sides, "timewait"),
    ] {
        let start = format!("{state} 0 0 198.18.0.1:80 198.18.0.2:{port} timer:({timer},");
        assert!(
            others.iter().any(|row| row.starts_with(&start)),
            "{others:?}"
        );
    }
    let with_info = ask_json(engine, &["-i", "--state", "established"]);
    let mss: Vec<_> = with_info
        .iter()
        .map(|socket| &socket["info"]["mss"])
        .collect();
    assert_eq!(mss, [1_448; 2]);
    let as_text = rows(&["-i", "--state", "established"]);
    assert!(as_text[2].contains("mss:1448 "), "{as_text:?}");
}

#[test]
fn under_load_no_socket_of_two_shards_is_missed_or_there_twice() {
    let Some(net) = Net::with_queues("ss-shards", 2) else {
        return;
    };
    let engine = serve(&net, &["--shards", "2"]);
    let held: Vec<TcpStream> = (0..50).map(|_| connect(&net)).collect();
    let mut wrk = net.peer.command("wrk");
    let load = [
        "-t1",
        "-c200",
        "-d60s",
        "-H",
        "Connection: close",
        "http://198.18.0.1/",
    ];
    wrk.args(load);
    let wrk = Background::spawn(wrk);
    wait_until("there is load", || of_engine(&engine).len() > 2_000);
    for _ in 0..20 {
        let sockets = of_engine(&engine);
        for stream in &held {
            let port = stream.local_addr().unwrap().port();
            let state = sockets.get(&port).map(|socket| socket.0.as_str());
            assert_eq!(state, Some("ESTABLISHED"));
        }
    }
    drop(wrk);
    let listeners = ask_json(&engine, &["-l"]);
    let shards: Vec<_> = listeners
        .iter()
        .map(|listener| &listener["shard"])
        .collect();
    assert_eq!(shards, [0, 1]);
    let established = ask_json(&engine, &["--state", "established"]);
    let in_shards: BTreeSet<u64> = established
        .iter()
        .filter_map(|s| s["shard"].as_u64())
        .collect();
    assert_eq!(in_shards, BTreeSet::from([0, 1]), "both have some");
    drop(held);
    assert_clean(engine.interrupt());
}

#[test]
fn a_desk_is_its_owners_alone_and_goes_with_its_process() {
    let Some(net) = Net::new("ss-desk") else {
        return;
    };
    let first = serve(&net, &[]);
    let desk = desk_of(&first);
    assert_eq!(desk.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let other = ["load", "http://198.18.9.9/", "-i", "veth0", "-q"];
    let other =
        net.peer_ringmill(&[&other[..], &["--addr", "198.18.9.1/24", "-d", "60s"]].concat());
    wait_until("it has a desk", || desk_of(&other).exists());
    let several = ringmill_ss(&[]);
    let message = String::from_utf8_lossy(&several.stderr).into_owned();
    assert_eq!(several.status.code(), Some(2), "{message}");
    assert!(message.contains("choose one with --pid"), "{message}");

    let left_by_other = desk_of(&other);
    let process = other.process().to_string();
    other.kill();
    assert!(left_by_other.exists());
    let nobody = ringmill_ss(&["--pid", &process]);
    let message = String::from_utf8_lossy(&nobody.stderr).into_owned();
    assert_eq!(nobody.status.code(), Some(4), "{message}");
    assert_clean(first.interrupt());
    assert!(!desk.exists(), "it goes with its process");
    let next = serve(&net, &[]);
    assert!(
        !left_by_other.exists(),
        "and what a killed one left, with the next"
    );
    assert_clean(next.interrupt());
}
