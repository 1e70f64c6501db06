//! `ringmill load` against servers of the kernel.

use crate::net::{Background, Net, PEER, wait_until};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;

const URL: &str = "http://198.18.0.2/";

fn load<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["load", URL, "-i", "veth0", "-q"], more].concat()
}

/// A figure of a JSON report.
fn figure(report: &serde_json::Value, path: &str) -> u64 {
    report
        .pointer(path)
        .and_then(serde_json::Value::as_u64)
        .unwrap_or(0)
}

/// Loads nginx: the exit status and the report.
fn loaded(net: &Net, more: &[&str]) -> (Option<i32>, serde_json::Value) {
    let json = net.file("report.json");
    let output = net.ringmill_to_end(&load(&[more, &["--json", json.to_str().unwrap()]].concat()));
    let report = std::fs::read(&json).unwrap_or_default();
    let text = || String::from_utf8_lossy(&output.stderr).into_owned();
    (
        output.status.code(),
        serde_json::from_slice(&report).unwrap_or_else(|error| panic!("{error}: {}", text())),
    )
}

fn assert_came_home(report: &serde_json::Value) {
    assert_eq!(report["end"]["leaks"], serde_json::json!({}), "{report:#}");
    assert_eq!(
        figure(report, "/tcp/established"),
        figure(report, "/tcp/closed"),
        "{report:#}"
    );
}

#[test]
fn nginx_counts_the_same_2xx_with_keep_alive_and_with_every_way_to_close() {
    let Some(net) = Net::new("nginx") else { return };
    for more in [
        &[][..],
        &["--close=server"],
        &["--close=rst"],
        &["--close=fin"],
    ] {
        let nginx = net.nginx();
        let (status, report) = loaded(
            &net,
            &[&["--addr", "198.18.0.1/24", "-d", "3s"], more].concat(),
        );
        assert_eq!(status, Some(0), "{more:?}: {report:#}");
        assert!(figure(&report, "/load/statuses/2xx") > 100, "{report:#}");
        assert_eq!(
            figure(&report, "/load/statuses/2xx"),
            nginx.count_2xx(),
            "{more:?}: {report:#}"
        );
        assert_came_home(&report);
        // TIME-WAIT stands on the side that closes first.
        let waits = figure(&report, "/end/time_wait");
        assert_eq!(
            waits > 64,
            more.contains(&"--close=fin"),
            "{more:?}: {report:#}"
        );
    }
}

/// With 200 ports and a TIME-WAIT of 60 s there are 200 connections and no more;
/// the refusals are counted and end nothing. Sixteen addresses have 16 times that.
#[test]
fn exhausted_ports_are_counted_and_more_addresses_lift_them() {
    let Some(net) = Net::new("ports") else { return };
    let nginx = net.nginx();
    let range = ["-d", "3s", "--close=fin", "--ports", "20000-20199"];
    let (status, report) = loaded(&net, &[&["--addr", "198.18.0.1/24"], &range[..]].concat());
    assert_eq!(status, Some(0), "{report:#}");
    assert_eq!(figure(&report, "/load/statuses/2xx"), 200, "{report:#}");
    assert!(
        figure(&report, "/load/errors/ports_exhausted") > 10,
        "{report:#}"
    );
    assert_eq!(figure(&report, "/end/time_wait"), 200, "{report:#}");
    assert_came_home(&report);

    let (status, report) = loaded(
        &net,
        &[&["--addr", "198.18.0.16-198.18.0.31/24"], &range[..]].concat(),
    );
    assert_eq!(status, Some(0), "{report:#}");
    assert_eq!(
        figure(&report, "/load/statuses/2xx"),
        16 * 200,
        "{report:#}"
    );
    assert_eq!(nginx.count_2xx(), 17 * 200);
}

/// A minute of a connection a request, where TIME-WAIT and the ports are at their
/// limits all the time: ports come back as their 2 MSL end.
#[test]
fn a_minute_of_close_at_the_limit_of_the_ports_loses_nothing() {
    let Some(net) = Net::new("minute") else {
        return;
    };
    let nginx = net.nginx();
    let (status, report) = loaded(
        &net,
        &[
            "--addr",
            "198.18.0.1/24",
            "-d",
            "60s",
            "--close=fin",
            "--time-wait",
            "10s",
        ],
    );
    assert_eq!(status, Some(0), "{report:#}");
    let ok = figure(&report, "/load/statuses/2xx");
    assert!(
        ok > 2 * 64_512,
        "every port was used several times: {report:#}"
    );
    assert!(
        figure(&report, "/load/errors/ports_exhausted") > 0,
        "{report:#}"
    );
    assert!(
        figure(&report, "/tcp/time_wait_expired") > 64_512,
        "{report:#}"
    );
    assert_eq!(ok, nginx.count_2xx(), "{report:#}");
    assert_came_home(&report);
}

#[test]
fn a_target_that_refuses_and_one_that_is_not_there_are_told_apart() {
    let Some(net) = Net::new("gone") else { return };
    let output = net.ringmill_to_end(&load(&["--addr", "198.18.0.1/24", "-d", "1s"]));
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(4), "{message}");
    assert!(message.contains("ECONNREFUSED"), "{message}");
    let nobody = [
        "load",
        "http://198.18.0.77/",
        "-i",
        "veth0",
        "-q",
        "--addr",
        "198.18.0.1/24",
        "-d",
        "5s",
    ];
    let output = net.ringmill_to_end(&nobody);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(4), "{message}");
    assert!(message.contains("ARP"), "{message}");
}

/// A server that answers each connection with the next of these, in turn.
fn bad_server(net: &Net, answers: &'static [&'static str]) {
    let listener = net
        .peer
        .within(|| TcpListener::bind((PEER, 80)).unwrap())
        .unwrap();
    std::thread::spawn(move || {
        for (stream, answer) in listener.incoming().zip(answers.iter().cycle()) {
            let Ok(mut stream) = stream else { return };
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|len| len > 2) {
                line.clear();
            }
            let _ = stream.write_all(answer.as_bytes());
        }
    });
}

#[test]
fn rubbish_and_early_ends_are_counted_by_kind_and_the_run_goes_on() {
    let Some(net) = Net::new("rubbish") else {
        return;
    };
    bad_server(
        &net,
        &[
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
            "220 mail ready\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nno",
        ],
    );
    let (status, report) = loaded(&net, &["--addr", "198.18.0.1/24", "-d", "2s", "-c", "3"]);
    assert_eq!(status, Some(5), "{report:#}");
    for path in [
        "/load/statuses/2xx",
        "/load/errors/malformed",
        "/load/errors/closed_early",
    ] {
        assert!(figure(&report, path) > 2, "{path}: {report:#}");
    }
    assert_came_home(&report);
}

#[test]
fn an_interrupt_drains_reports_and_says_so() {
    let Some(net) = Net::new("interrupt") else {
        return;
    };
    let _nginx = net.nginx();
    let engine = net.ringmill(&load(&["--addr", "198.18.0.1/24", "-d", "60s"]));
    std::thread::sleep(std::time::Duration::from_secs(1));
    let (status, report) = engine.interrupt();
    assert_eq!(status, 130, "{report}");
    assert!(
        report.contains("2xx") && report.contains("everything else came home"),
        "{report}"
    );
}

/// A demo that is killed leaves namespaces behind; the next start removes them.
#[test]
fn a_killed_demo_is_cleaned_up_by_the_next_start() {
    let Some(_net) = Net::new("killed") else {
        return;
    };
    let demo = |time| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ringmill"));
        command.args(["demo", "-q", "-c", "4", "-d", time]);
        command
    };
    let namespaces = |process: u32| {
        let list = std::process::Command::new("ip")
            .args(["netns", "list"])
            .output()
            .unwrap();
        String::from_utf8(list.stdout)
            .unwrap()
            .matches(&format!("ringmill-{process}-"))
            .count()
    };
    let killed = Background::spawn(demo("60s"));
    let process = killed.0.id();
    wait_until("the demo has its namespaces", || namespaces(process) == 2);
    drop(killed);
    let next = demo("1s").output().unwrap();
    assert_eq!(
        next.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&next.stdout)
    );
    assert!(String::from_utf8_lossy(&next.stdout).contains("both ends agree"));
    assert_eq!(namespaces(process), 0);
}
