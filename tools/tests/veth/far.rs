//! Everything over IPv4 and over IPv6, side by side and far away: 20 ms each way,
//! and 2 % of what either side sends is lost. And in a VLAN.

use crate::net::{FAMILIES, Family, Net, assert_clean, noise};
use ringmill_core::driver::link::Link;
use serde_json::Value;
use std::time::Duration;

/// Over each kind of wire, in each family; the last argument says that it is far.
fn for_each_wire(test: &str, check: impl Fn(&Net, &Family, bool)) {
    let far = Link {
        loss: 20_000,
        delay: Duration::from_millis(20),
        ..Link::default()
    };
    for link in [None, Some(far)] {
        let distance = if link.is_some() { "far" } else { "near" };
        let Some(net) = Net::over(&format!("{test}-{distance}"), link) else {
            return;
        };
        for family in &FAMILIES {
            println!("{test}, {distance}, {}", family.name);
            check(&net, family, link.is_some());
        }
        assert_eq!(net.lost() > 0, link.is_some(), "the loss was real");
    }
}

#[test]
fn curl_fetches_a_file_exactly() {
    for_each_wire("curl", |net, family, is_far| {
        let (source, copy) = (net.file("source"), net.file("copy"));
        let bytes = noise(if is_far { 2 << 20 } else { 32 << 20 });
        std::fs::write(&source, &bytes).unwrap();
        let engine = net.ringmill(&[
            "serve",
            "http",
            "veth0",
            "-q",
            "--addr",
            family.engine,
            "--file",
            source.to_str().unwrap(),
        ]);
        let url = format!("http://{}/", family.engine_host);
        let copy_to = copy.to_str().unwrap();
        net.peer(
            "curl",
            &["-sS", "--fail", "--max-time", "60", "-o", copy_to, &url],
        );
        assert!(std::fs::read(&copy).unwrap() == bytes, "the copy differs");
        assert_clean(engine.interrupt());
    });
}

#[test]
fn wrk_finds_no_error() {
    for_each_wire("wrk", |net, family, _| {
        let engine = net.ringmill(&["serve", "http", "veth0", "-q", "--addr", family.engine]);
        let url = format!("http://{}/", family.engine_host);
        for more in [&[][..], &["-H", "Connection: close"]] {
            // By itself wrk takes two seconds for an error, which two losses in a
            // row make of a request.
            let load = ["-t1", "-c16", "-d2s", "--timeout", "20s", &url];
            let report = net.peer("wrk", &[&load[..], more].concat());
            assert!(report.contains("requests in"), "{report}");
            assert!(
                !report.contains("Socket errors") && !report.contains("Non-2xx"),
                "{more:?}: {report}"
            );
        }
        assert_clean(engine.interrupt());
    });
}

#[test]
fn nginx_counts_the_same_2xx() {
    for_each_wire("nginx", |net, family, is_far| {
        let nginx = net.nginx();
        let json = net.file("report.json");
        let url = format!("http://{}/", family.peer_host);
        let load = ["load", &url, "-i", "veth0", "-q", "--addr", family.engine];
        let more = ["-d", "2s", "-c", "16", "--json", json.to_str().unwrap()];
        let mut responses = 0;
        for close in [&[][..], &["--close=server"]] {
            let output = net.ringmill_to_end(&[&load[..], &more, close].concat());
            let text = String::from_utf8_lossy(&output.stdout);
            assert_eq!(output.status.code(), Some(0), "{text}");
            let report: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
            assert_eq!(report["end"]["leaks"], serde_json::json!({}), "{report:#}");
            responses += report["load"]["statuses"]["2xx"].as_u64().unwrap();
        }
        assert!(responses > if is_far { 100 } else { 1_000 }, "{responses}");
        assert_eq!(nginx.count_2xx(), responses);
    });
}

/// The engine as iperf3's server: it receives, and in reverse it sends.
#[test]
fn iperf3_completes_both_ways() {
    for_each_wire("iperf3", |net, family, is_far| {
        let engine = net.ringmill(&["serve", "iperf3", "veth0", "-q", "--addr", family.engine]);
        let host = family.engine_host.trim_matches(['[', ']']);
        for way in [&[][..], &["-R"], &["-P", "4"]] {
            let client = ["-c", host, "-t", "2", "-J"];
            let mut iperf3 = net.peer.command("iperf3");
            let output = iperf3.args([&client[..], way].concat()).output().unwrap();
            let report: Value = serde_json::from_slice(&output.stdout).unwrap();
            // With -J it ends well even where it could not complete.
            let completed = output.status.success() && report["error"].is_null();
            assert!(completed, "{way:?}: {report:#}");
            let received = &report["end"]["sum_received"]["bytes"];
            let least = if is_far { 100_000 } else { 10_000_000 };
            assert!(received.as_u64().unwrap() > least, "{way:?}: {report:#}");
        }
        assert_clean(engine.interrupt());
    });
}

/// An engine at either end, for not every kernel has VLANs.
#[test]
fn a_vlan_is_served_and_what_is_outside_is_not() {
    let Some(net) = Net::new("vlan") else { return };
    let addresses = ["--addr", "198.19.0.1/24", "--addr", "fd00::1/64"];
    let serve = ["serve", "http", "veth0", "-q", "--vlan", "5"];
    let engine = net.ringmill(&[&serve[..], &addresses].concat());
    let (v4, v6) = ("http://198.19.0.1/", "http://[fd00::1]/");
    for (url, address, vlan, status) in [
        (v4, "198.19.0.2/24", &["--vlan", "5"][..], Some(0)),
        (v6, "fd00::2/64", &["--vlan", "5"], Some(0)),
        (v4, "198.19.0.2/24", &["--vlan", "6"], Some(4)),
        (v6, "fd00::2/64", &[], Some(4)),
    ] {
        let load = ["load", url, "-i", "veth0", "-q", "--addr", address];
        let short = ["-c", "4", "-d", "1s"];
        let mut ringmill = net.peer.command(env!("CARGO_BIN_EXE_ringmill"));
        let arguments = [&load[..], &short, vlan].concat();
        let output = ringmill.args(&arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), status, "{vlan:?}, {url}: {text}");
    }
    assert_clean(engine.interrupt());
}
