//! Several shards on a veth with several queues. A kernel sends a flow's frames on
//! a queue of its own choice, so they come to any shard.

use crate::net::{Net, assert_clean, noise};
use serde_json::Value;
use std::process::Output;

/// Queues of the veth, and shards on them.
const SIZES: [(u32, &str); 3] = [(2, "2"), (4, "4"), (4, "2")];
const ADDRESS: [&str; 2] = ["--addr", "198.18.0.1/24"];

fn figure(report: &Value, path: &str) -> u64 {
    let figure = report.pointer(path).and_then(Value::as_u64);
    figure.unwrap_or_else(|| panic!("{path}: {report:#}"))
}

/// The report that `more` had written, of a run that lost nothing between shards.
fn whole_report(net: &Net, shards: &str) -> Value {
    let report = std::fs::read(net.file("report.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(report["end"]["leaks"], serde_json::json!({}), "{report:#}");
    assert_eq!(
        report["shards"].as_array().unwrap().len().to_string(),
        shards
    );
    assert_eq!(report["drops"].get("stray_queue_full"), None, "{report:#}");
    assert_eq!(
        figure(&report, "/tcp/strays_out"),
        figure(&report, "/tcp/strays_in"),
        "{report:#}"
    );
    report
}

/// Loads nginx from so many shards for two seconds.
fn load(net: &Net, shards: &str, more: &[&str]) -> Output {
    let json = net.file("report.json");
    let load = ["load", "http://198.18.0.2/", "-i", "veth0", "-q"];
    let run = ["-d", "2s", "--shards", shards, "--json"];
    let arguments = [&load, &ADDRESS[..], &run, &[json.to_str().unwrap()], more].concat();
    net.ringmill_to_end(&arguments)
}

#[test]
fn nginx_counts_the_same_2xx_whatever_queue_its_answers_come_on() {
    for (queues, shards) in SIZES {
        let Some(net) = Net::with_queues("shards-load", queues) else {
            return;
        };
        for more in [
            &[][..],
            &["--close=fin"],
            &["--close=server"],
            &["--close=rst"],
        ] {
            let nginx = net.nginx();
            let output = load(&net, shards, more);
            let text = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(0), "{more:?}: {text}");
            let report = whole_report(&net, shards);
            let responses = figure(&report, "/load/statuses/2xx");
            assert!(responses > 100, "{report:#}");
            assert_eq!(responses, nginx.count_2xx(), "{more:?}: {report:#}");
            assert!(figure(&report, "/tcp/strays_out") > 10, "{report:#}");
            let shares = report["shards"].as_array().unwrap();
            for share in shares {
                assert!(figure(share, "/established") > 0, "{report:#}");
            }
        }
    }
}

#[test]
fn wrk_and_curl_find_no_error() {
    for (queues, shards) in SIZES {
        let Some(net) = Net::with_queues("shards-serve", queues) else {
            return;
        };
        let (source, copy) = (net.file("source"), net.file("copy"));
        let bytes = noise(4 << 20);
        std::fs::write(&source, &bytes).unwrap();
        let json = net.file("report.json");
        let [source, copy_to, json] = [&source, &copy, &json].map(|path| path.to_str().unwrap());
        let serve = ["serve", "http", "veth0", "-q", "--shards", shards];
        let json = ["--json", json];

        let engine = net.ringmill(&[&serve, &ADDRESS[..], &json].concat());
        let url = "http://198.18.0.1/";
        for more in [&[][..], &["-H", "Connection: close"]] {
            let wrk = ["-t1", "-c64", "-d2s", "--timeout", "20s", url];
            let report = net.peer("wrk", &[&wrk, more].concat());
            assert!(report.contains("requests in"), "{report}");
            let is_good = !report.contains("Socket errors") && !report.contains("Non-2xx");
            assert!(is_good, "{more:?}: {report}");
        }
        assert_clean(engine.interrupt());
        let report = whole_report(&net, shards);
        for share in report["shards"].as_array().unwrap() {
            assert!(figure(share, "/established") > 0, "{report:#}");
        }

        let engine = net.ringmill(&[&serve, &ADDRESS[..], &["--file", source]].concat());
        for _ in 0..8 {
            net.peer("curl", &["-sS", "--fail", "-o", copy_to, url]);
            assert!(std::fs::read(&copy).unwrap() == bytes, "the copy differs");
        }
        assert_clean(engine.interrupt());
    }
}

/// What is sent on a queue of a veth comes out of the one with the same number.
#[test]
fn between_engines_with_as_many_shards_nothing_is_handed_over() {
    let Some(net) = Net::with_queues("shards-both", 2) else {
        return;
    };
    let serve = ["serve", "http", "veth0", "-q", "--shards", "2"];
    let at = ["--addr", "198.19.0.2/24"];
    let server = net.peer_ringmill(&[&serve[..], &at].concat());
    let json = net.file("report.json");
    let load = ["load", "http://198.19.0.2/", "-i", "veth0", "-q"];
    let run = ["-d", "2s", "--shards", "2", "--close"];
    let to = ["--addr", "198.19.0.1/24", "--json", json.to_str().unwrap()];
    let output = net.ringmill_to_end(&[&load[..], &run, &to].concat());
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert_clean(server.interrupt());
    let report = whole_report(&net, "2");
    assert!(figure(&report, "/load/statuses/2xx") > 100, "{report:#}");
    assert_eq!(figure(&report, "/tcp/strays_out"), 0, "{report:#}");
}

#[test]
fn each_shard_writes_a_capture_of_its_own() {
    let Some(net) = Net::with_queues("shards-pcap", 2) else {
        return;
    };
    let nginx = net.nginx();
    let pcap = net.file("all.pcapng");
    let output = load(&net, "2", &["--pcap", pcap.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0));
    drop(nginx);
    for name in ["all.0.pcapng", "all.1.pcapng"] {
        let len = std::fs::metadata(net.file(name)).unwrap().len();
        assert!(len > 1_000, "{name}: {len}");
    }
    assert!(!pcap.exists());
}
