//! `ringmill serve` under clients of the kernel.

use crate::net::{ENGINE, Net, assert_clean, noise};
use std::io::{Read as _, Write as _};

const URL: &str = "http://198.18.0.1/";
const ADDRESS: [&str; 2] = ["--addr", "198.18.0.1/24"];

fn serve<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["serve", "http", "veth0", "-q"], &ADDRESS[..], more].concat()
}

#[test]
fn curl_fetches_64_mib_exactly_also_with_one_percent_loss() {
    let Some(net) = Net::new("curl") else { return };
    let (source, copy) = (net.file("source"), net.file("copy"));
    let bytes = noise(64 << 20);
    std::fs::write(&source, &bytes).unwrap();
    let engine = net.ringmill(&serve(&["--file", source.to_str().unwrap()]));
    for loss in [false, true] {
        if loss {
            net.lose_one_in(100);
        }
        net.peer(
            "curl",
            &[
                "-sS",
                "--fail",
                "--max-time",
                "120",
                "-o",
                copy.to_str().unwrap(),
                URL,
            ],
        );
        assert!(
            std::fs::read(&copy).unwrap() == bytes,
            "the copy differs, with loss: {loss}"
        );
    }
    let (status, report) = engine.interrupt();
    let retransmitted = report
        .split("retransmitted ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .unwrap();
    assert!(
        retransmitted.parse::<u64>().unwrap() > 100,
        "the loss was real: {report}"
    );
    assert_clean((status, report));
}

#[test]
fn on_an_mtu_of_9000_segments_are_as_large_as_a_frame() {
    let Some(net) = Net::new("jumbo") else { return };
    for namespace in [&net.engine, &net.peer] {
        namespace
            .ip(&["link", "set", "veth0", "mtu", "9000"])
            .unwrap();
    }
    let copy = net.file("copy");
    let engine = net.ringmill(&serve(&["--body", "67108864"]));
    net.peer(
        "curl",
        &["-sS", "--fail", "-o", copy.to_str().unwrap(), URL],
    );
    let body = std::fs::read(&copy).unwrap();
    assert_eq!(body.len(), 64 << 20);
    let line = body.split_inclusive(|byte| *byte == b'\n').next().unwrap();
    assert!(
        body.chunks(line.len()).all(|other| line.starts_with(other)),
        "a line again and again"
    );
    let (status, report) = engine.interrupt();
    assert!(report.contains("native XDP"), "{report}");
    let (sent, _) = report.split_once(" segments,").unwrap();
    let (_, sent) = sent.rsplit_once(' ').unwrap();
    // 64 MiB are 17,800 segments of 3,770 bytes, and 46,400 of 1,448.
    let sent: u32 = sent.parse().unwrap();
    assert!((17_000..25_000).contains(&sent), "{report}");
    assert_clean((status, report));
}

#[test]
fn two_hundred_curls_at_once_all_get_their_body() {
    let Some(net) = Net::new("curls") else { return };
    let engine = net.ringmill(&serve(&["--body", "100000"]));
    let one = format!(
        "curl -sS -o /dev/null -w '%{{http_code}} %{{size_download}}\\n' --max-time 60 {URL} &"
    );
    let script = format!("for i in $(seq 200); do {one} done; wait");
    let lines = net.peer("sh", &["-c", &script]);
    assert_eq!(
        lines.lines().filter(|line| *line == "200 100000").count(),
        200,
        "{lines}"
    );
    assert_clean(engine.interrupt());
}

#[test]
fn wrk_finds_no_error_with_keep_alive_and_with_close() {
    let Some(net) = Net::new("wrk") else { return };
    let engine = net.ringmill(&serve(&[]));
    for more in [&[][..], &["-H", "Connection: close"]] {
        let report = net.peer("wrk", &[&["-t1", "-c64", "-d10s", URL], more].concat());
        assert!(report.contains("requests in"), "{report}");
        assert!(
            !report.contains("Socket errors") && !report.contains("Non-2xx"),
            "{more:?}: {report}"
        );
    }
    assert_clean(engine.interrupt());
}

#[test]
fn requests_that_are_none_get_the_status_that_says_so() {
    let Some(net) = Net::new("status") else {
        return;
    };
    let engine = net.ringmill(&serve(&[]));
    let long = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
        "y".repeat(20_000)
    );
    for (request, status) in [
        (
            "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            "200",
        ),
        ("rubbish\r\n\r\n", "400"),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx",
            "405",
        ),
        (&long, "431"),
    ] {
        let answer = net
            .peer
            .within(|| {
                let mut stream = std::net::TcpStream::connect((ENGINE, 80)).unwrap();
                stream.write_all(request.as_bytes()).unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                answer
            })
            .unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{status}: {answer}"
        );
    }
    let head = net.peer("curl", &["-sS", "-I", URL]);
    assert!(head.contains("Content-Length: 64"), "{head}");
    assert_clean(engine.interrupt());
}

/// `ringmill serve echo` with these arguments too, under a kernel that sends 4 MiB and
/// the end: the report.
fn echo(net: &Net, more: &[&str]) -> String {
    let engine = net.ringmill(&[&["serve", "echo", "veth0", "-q"], &ADDRESS[..], more].concat());
    let bytes = noise(4 << 20);
    let returned = net
        .peer
        .within(|| {
            let mut stream = std::net::TcpStream::connect((ENGINE, 7)).unwrap();
            let mut reader = stream.try_clone().unwrap();
            let sender = bytes.clone();
            let writing = std::thread::spawn(move || {
                stream.write_all(&sender).unwrap();
                stream.shutdown(std::net::Shutdown::Write).unwrap();
            });
            let mut returned = Vec::new();
            reader.read_to_end(&mut returned).unwrap();
            writing.join().unwrap();
            returned
        })
        .unwrap();
    assert!(
        returned == bytes,
        "{} of {} bytes",
        returned.len(),
        bytes.len()
    );
    let (status, report) = engine.interrupt();
    assert_clean((status, report.clone()));
    report
}

#[test]
fn the_echo_service_returns_every_byte_and_the_end() {
    let Some(net) = Net::new("echo") else { return };
    echo(&net, &[]);
}

#[test]
fn in_skb_mode_it_reads_what_tso_has_not_cut() {
    let Some(net) = Net::new("tso") else { return };
    // On a larger MTU what is joined has other sizes.
    for mtu in ["1500", "9000"] {
        for namespace in [&net.engine, &net.peer] {
            namespace.ip(&["link", "set", "veth0", "mtu", mtu]).unwrap();
        }
        let report = echo(&net, &["--mode", "skb"]);
        assert!(report.contains("skb XDP"), "{report}");
        // Where packets of several buffers are no good, each is counted here.
        assert!(!report.contains("rx_invalid"), "{report}");
    }
}

/// A client's last byte on the control connection may be lost on the way while the
/// next client is there already. Here it is never sent.
#[test]
fn an_iperf3_test_begins_once_the_last_client_has_its_results() {
    let Some(net) = Net::new("iperf3") else {
        return;
    };
    let engine = net.ringmill(&[&["serve", "iperf3", "veth0", "-q"], &ADDRESS[..]].concat());
    let introduce = |cookie: u8| {
        let mut stream = std::net::TcpStream::connect((ENGINE, 5201)).unwrap();
        stream.write_all(&[cookie; 37]).unwrap();
        stream
    };
    let expect = |stream: &mut std::net::TcpStream, states: &[u8]| {
        let mut heard = vec![0; states.len()];
        stream.read_exact(&mut heard).unwrap();
        assert_eq!(heard, states);
    };
    let json = |text: &str| {
        let length = u32::try_from(text.len()).unwrap();
        [&length.to_be_bytes()[..], text.as_bytes()].concat()
    };
    net.peer
        .within(|| {
            let mut control = introduce(b'a');
            expect(&mut control, &[9]); // PARAM_EXCHANGE
            control.write_all(&json(r#"{"tcp":true}"#)).unwrap();
            expect(&mut control, &[10]); // CREATE_STREAMS
            let _stream = introduce(b'a');
            expect(&mut control, &[1, 2]); // TEST_START, TEST_RUNNING
            let mut too_early = introduce(b'b');
            expect(&mut too_early, &[0xff]); // ACCESS_DENIED
            control.write_all(&[4]).unwrap(); // TEST_END
            expect(&mut control, &[13]); // EXCHANGE_RESULTS
            control
                .write_all(&json(r#"{"streams":[{"id":1}]}"#))
                .unwrap();
            let mut length = [0; 4];
            control.read_exact(&mut length).unwrap();
            let mut results = vec![0; u32::from_be_bytes(length) as usize];
            control.read_exact(&mut results).unwrap();
            expect(&mut control, &[14]); // DISPLAY_RESULTS
            expect(&mut introduce(b'c'), &[9]); // The next test's PARAM_EXCHANGE
        })
        .unwrap();
    assert_clean(engine.interrupt());
}

#[test]
fn a_queue_that_is_taken_is_said_to_be_and_a_killed_engine_leaves_nothing() {
    let Some(net) = Net::new("taken") else { return };
    let first = net.ringmill(&serve(&[]));
    assert!(
        first.said().contains("XDP"),
        "the chosen mode is told: {}",
        first.said()
    );
    let second = net.ringmill_to_end(&serve(&[]));
    let message = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(3), "{message}");
    assert!(message.contains("EBUSY"), "{message}");
    first.kill();
    let link = net.engine.ip(&["link", "show", "veth0"]).unwrap();
    assert!(!link.contains("xdp"), "{link}");
    let third = net.ringmill(&serve(&[]));
    net.peer("curl", &["-sS", "--fail", URL]);
    assert_clean(third.interrupt());
}

#[test]
fn an_interface_that_is_down_is_said_to_be() {
    let Some(net) = Net::new("down") else { return };
    net.engine.ip(&["link", "set", "veth0", "down"]).unwrap();
    let output = net.ringmill_to_end(&serve(&[]));
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        (output.status.code(), message.lines().count()),
        (Some(3), 1),
        "{message}"
    );
    assert!(message.contains("ip link set veth0 up"), "{message}");
}
