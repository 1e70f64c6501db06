//! What bad input gets: one line that says what was wrong, and an exit status.

// A test that can't go on ends.
#![allow(clippy::unwrap_used)]

use std::process::Command;

const USAGE: i32 = 2;
const ENVIRONMENT: i32 = 3;
const UNREACHABLE: i32 = 4;

/// Runs `ringmill`: its status and standard error, which must be one line.
fn refused(arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_ringmill"))
        .args(arguments)
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr.lines().count(), 1, "{arguments:?}: {stderr}");
    assert!(stderr.starts_with("ringmill: "), "{stderr}");
    (output.status.code().unwrap(), stderr)
}

#[test]
fn arguments_that_make_no_sense_are_named_with_the_remedy() {
    let load = |url, more: &[&'static str]| [&["load", url, "-i", "lo"], more].concat();
    let address = ["--addr", "198.18.0.2/24"];
    let good = "http://198.18.0.1/";
    for (arguments, says) in [
        (load("198.18.0.1", &address), "must start with http://"),
        (load("http://example/", &address), "must be an IPv4 address"),
        (load("http://198.18.0.1:99999/", &address), "port"),
        (load(good, &[]), "--addr"),
        (load(good, &["--addr", "198.18.0.2"]), "198.18.0.1/24"),
        (
            load(good, &["--addr", "198.18.0.2/24", "-d", "soon"]),
            "duration",
        ),
        (
            load(good, &["--addr", "198.18.0.2/24", "-c", "0"]),
            "at least 1",
        ),
        (
            load(good, &["--addr", "198.18.0.2/24", "--close=maybe"]),
            "fin, server, rst",
        ),
        (
            load(good, &["--addr", "198.18.0.2/24", "--ports", "9-1"]),
            "1024-65535",
        ),
        (
            vec!["serve", "ftp", "lo", "--addr", "198.18.0.1/24"],
            "http, echo",
        ),
        (
            vec![
                "serve",
                "http",
                "lo",
                "--addr",
                "198.18.0.1/24",
                "--body",
                "2g",
            ],
            "less than 1 GiB",
        ),
        (
            vec![
                "serve",
                "http",
                "lo",
                "--addr",
                "198.18.0.1/24",
                "--file",
                "/nowhere",
            ],
            "/nowhere",
        ),
        (vec!["dance"], "dance"),
        (vec!["lab", "dance"], "`ringmill lab` lists them"),
        (vec!["lab", "handshake", "--msl", "30s"], "it has --rtt"),
        (vec!["lab", "handshake", "--mls", "30s"], "--mls"),
        (vec!["lab", "isn", "--count", "many"], "it must be a number"),
        (vec!["lab", "isn", "--veth"], "no part for the kernel"),
        (vec!["lab", "isn", "--path", "isn"], "ringmill lab states"),
        (vec!["lab", "--all", "--svg", "a.svg"], "--svg"),
    ] {
        let (status, message) = refused(&arguments);
        assert_eq!(status, USAGE, "{arguments:?}: {message}");
        assert!(message.contains(says), "{arguments:?}: {message}");
    }
}

#[test]
fn settings_of_the_network_that_can_not_be_are_refused() {
    let load = |url, more: &[&'static str]| {
        let given = ["load", url, "-i", "lo", "--addr", "198.18.0.2/24"];
        [&given[..], more].concat()
    };
    let (v4, v6) = ("http://198.18.0.1/", "http://[2001:db8::1]/");
    let gateways = ["--gateway", "198.18.0.3", "--gateway", "198.18.0.4"];
    for (arguments, says) in [
        (load("http://2001:db8::1/", &[]), "in brackets"),
        (load(v6, &[]), "version of IP"),
        (load(v4, &["--vlan", "4095"]), "1 to 4094"),
        (load(v4, &["--gateway", "198.18.0"]), "--gateway"),
        (load(v4, &["--congestion", "vegas"]), "newreno, cubic"),
        (load(v4, &["--profile", "plan9"]), "linux or freebsd"),
        (load(v4, &gateways), "one --gateway for IPv4"),
        (load(v4, &["--shards", "0"]), "at least 1"),
        (
            load(v4, &["--shards", "3", "--ports", "7-8"]),
            "widen --ports",
        ),
    ] {
        let (status, message) = refused(&arguments);
        assert_eq!(status, USAGE, "{arguments:?}: {message}");
        assert!(message.contains(says), "{arguments:?}: {message}");
    }
}

#[test]
fn an_interface_that_is_not_there_is_said_to_be_so() {
    let (status, message) = refused(&["serve", "http", "nonesuch0", "--addr", "198.18.0.1/24"]);
    assert_eq!(status, ENVIRONMENT);
    assert!(
        message.contains("no interface nonesuch0") && message.contains("ip link"),
        "{message}"
    );
}

#[test]
fn a_process_that_is_none_of_ours_has_no_sockets_to_list() {
    // One past the largest process number that Linux gives out (2^22).
    let (status, message) = refused(&["ss", "--pid", "4194305"]);
    assert_eq!(status, UNREACHABLE);
    assert!(
        message.contains("process 4194305 is no `ringmill serve`"),
        "{message}"
    );
    let (status, message) = refused(&["ss", "--state", "open"]);
    assert_eq!(status, USAGE);
    assert!(message.contains("syn-recv, estab"), "{message}");
}

#[test]
fn more_shards_than_queues_are_refused_with_the_remedy() {
    let serve = ["serve", "http", "lo", "--addr", "198.18.0.1/24"];
    let (status, message) = refused(&[&serve[..], &["--shards", "2"]].concat());
    assert_eq!(status, ENVIRONMENT);
    assert!(
        message.contains("too few receive queues") && message.contains("ethtool -L lo combined 2"),
        "{message}"
    );
}

#[test]
fn the_demo_over_memory_needs_no_privilege_and_says_what_it_is() {
    let demo = ["demo", "--memory", "-d", "1s", "-c", "8"];
    for close in ["", "--close=fin", "--close=server", "--close=rst", "-6"] {
        let arguments = demo
            .iter()
            .copied()
            .chain(Some(close).filter(|c| !c.is_empty()));
        let output = Command::new(env!("CARGO_BIN_EXE_ringmill"))
            .args(arguments)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{close}: {text}");
        for says in [
            "over memory instead of a veth pair",
            "both ends agree",
            "everything else came home",
            "2xx",
        ] {
            assert!(text.contains(says), "{close}, {says}: {text}");
        }
    }
}

#[test]
fn a_simulation_says_what_it_did_and_shows_a_seed_again() {
    let sim = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_ringmill"))
            .arg("sim")
            .args(arguments)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{text}");
        text
    };
    let text = sim(&["--seeds", "20"]);
    assert!(text.contains("20 seeds in"), "{text}");
    assert!(text.contains("every rule held"), "{text}");
    let shown = sim(&["--seed", "3", "--trace"]);
    assert!(
        shown.contains("topology") && shown.contains(" S seq "),
        "{shown}"
    );
    assert_eq!(shown, sim(&["--seed", "3", "--trace"]));
}

/// The lab's contract with scripts: 0 only where every claim holds.
#[test]
fn the_lab_runs_lists_and_writes_what_it_is_asked_for() {
    let folder = std::env::temp_dir().join(format!("ringmill-lab-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = |name: &str| folder.join(name).display().to_string();
    let (svg, html, json, pcap) = (
        file("a.svg"),
        file("a.html"),
        file("a.json"),
        file("a.pcap"),
    );
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_ringmill"))
            .args(arguments)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {text}");
        text
    };
    let asked = [
        "--svg", &svg, "--html", &html, "--json", &json, "--pcap", &pcap,
    ];
    let text = run(&[&["lab", "last-ack-lost", "--msl", "15s"], &asked[..]].concat());
    assert!(
        text.contains("TIME-WAIT") && text.contains("holds"),
        "{text}"
    );
    for (path, begins) in [(&svg, "<svg"), (&html, "<!doctype html>"), (&json, "{")] {
        let written = std::fs::read_to_string(path).unwrap();
        assert!(written.starts_with(begins), "{path}");
    }
    assert!(std::fs::metadata(&pcap).unwrap().len() > 500);
    let all = run(&["lab", "--all"]);
    assert!(all.ends_with("0 of them fail\n"), "{all}");
    let list = run(&["lab"]);
    assert!(list.lines().count() > 30, "{list}");
    let states = run(&["lab", "states", "--path", "four-way"]);
    assert!(states.starts_with("<svg") && states.contains("four-way"));
    std::fs::remove_dir_all(&folder).unwrap();
}
