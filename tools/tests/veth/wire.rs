//! What was on the wire, as tshark sees it.

use crate::net::Net;
use std::path::Path;
use std::process::Command;

/// Frames of a capture that match a display filter.
fn matching(capture: &Path, filter: &str) -> Vec<String> {
    let checks = ["tcp.check_checksum:TRUE", "ip.check_checksum:TRUE"];
    let output = Command::new("tshark")
        .args(["-n", "-o", checks[0], "-o", checks[1], "-Y", filter, "-r"])
        .arg(capture)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "tshark: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

/// No error that is ours. A kernel's own frames carry partial checksums on a veth,
/// so checksums are asked of the frames that the engine sent.
fn assert_sound(capture: &Path, least: usize) {
    let all = matching(capture, "tcp");
    assert!(
        all.len() >= least,
        "only {} segments were captured",
        all.len()
    );
    let ours = "ip.src == 198.18.0.1";
    for (what, filter) in [
        (
            "bad checksum",
            format!("{ours} && (tcp.checksum.status == \"Bad\" || ip.checksum.status == \"Bad\")"),
        ),
        ("malformed packet", "_ws.malformed".to_owned()),
        (
            "retransmission",
            // The kernel's are its own: it sends again early where a timer tells it to.
            format!("{ours} && (tcp.analysis.retransmission || tcp.analysis.fast_retransmission)"),
        ),
        (
            "lost segment",
            "tcp.analysis.lost_segment || tcp.analysis.ack_lost_segment".to_owned(),
        ),
        ("reset", "tcp.flags.reset == 1".to_owned()),
    ] {
        let found = matching(capture, &filter);
        assert!(
            found.is_empty(),
            "{what}: {:#?}",
            &found[..found.len().min(5)]
        );
    }
}

#[test]
fn tshark_finds_nothing_wrong_with_what_the_server_sends() {
    let Some(net) = Net::new("tshark-s") else {
        return;
    };
    let capture = net.file("serve.pcapng");
    let arguments = [
        "serve",
        "http",
        "veth0",
        "-q",
        "--addr",
        "198.18.0.1/24",
        "--body",
        "300000",
        "--pcap",
    ];
    let engine = net.ringmill(&[&arguments[..], &[capture.to_str().unwrap()]].concat());
    for _ in 0..5 {
        net.peer(
            "curl",
            &[
                "-sS",
                "--fail",
                "-o",
                "/dev/null",
                "http://198.18.0.1/",
                "http://198.18.0.1/",
            ],
        );
    }
    let (status, report) = engine.interrupt();
    assert_eq!(status, 0, "{report}");
    assert_sound(&capture, 5 * 2 * 300_000 / 1_448);
}

#[test]
fn tshark_finds_nothing_wrong_with_what_the_generator_sends() {
    for (name, close) in [
        ("keep", None),
        ("server", Some("--close=server")),
        ("fin", Some("--close=fin")),
    ] {
        // A net of its own: in an old one the server may hold TIME-WAIT of our ports,
        // and then a SYN is rightly sent twice.
        let Some(net) = Net::new(&format!("tshark-{name}")) else {
            return;
        };
        let nginx = net.nginx();
        let capture = net.file(name);
        let arguments = [
            "load",
            "http://198.18.0.2/",
            "-i",
            "veth0",
            "-q",
            "--addr",
            "198.18.0.1/24",
            "-d",
            "1s",
            "-c",
            "8",
            "--pcap",
        ];
        let output = net.ringmill_to_end(
            &[
                &arguments[..],
                &[capture.to_str().unwrap()],
                close.as_slice(),
            ]
            .concat(),
        );
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
        assert_sound(&capture, 500);
        assert!(nginx.count_2xx() > 0);
    }
}
