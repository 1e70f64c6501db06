//! The state machine as it is printed and drawn.

// A test that can't go on ends.
#![allow(clippy::unwrap_used)]

use std::process::Command;

fn states(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_ringmill"))
        .arg("states")
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// The table is read by people: a change of it is to be seen in a review.
#[test]
fn the_printed_table_is_the_one_on_file() {
    let printed = states(&[]);
    assert!(
        printed == include_str!("states.txt"),
        "`ringmill states > tools/tests/states.txt` brings it up to date; it is now\n{printed}"
    );
}

#[test]
fn the_drawing_has_every_state_and_an_edge_for_every_change() {
    let drawn = states(&["--dot"]);
    assert!(drawn.starts_with("digraph tcp {\n") && drawn.ends_with("}\n"));
    let edges: Vec<&str> = drawn.lines().filter(|l| l.contains(" -> ")).collect();
    for name in [
        "CLOSED",
        "LISTEN",
        "SYN-SENT",
        "SYN-RECEIVED",
        "ESTABLISHED",
        "FIN-WAIT-1",
        "FIN-WAIT-2",
        "CLOSE-WAIT",
        "CLOSING",
        "LAST-ACK",
        "TIME-WAIT",
    ] {
        let from = format!("    \"{name}\" -> ");
        let to = format!(" -> \"{name}\" ");
        assert!(
            edges.iter().any(|edge| edge.starts_with(&from)),
            "from {name}"
        );
        assert!(edges.iter().any(|edge| edge.contains(&to)), "to {name}");
    }
    // RFC 9293 figure 5, the arrows of its middle.
    for (from, to, label) in [
        (
            "SYN-RECEIVED",
            "ESTABLISHED",
            "ACK of SYN / tell: connected",
        ),
        ("FIN-WAIT-1", "CLOSING", "FIN / send ACK"),
        ("LAST-ACK", "CLOSED", "ACK of FIN / end normally"),
    ] {
        let edge = format!("    \"{from}\" -> \"{to}\" [label=\"");
        let found = edges.iter().find(|found| found.starts_with(&edge)).unwrap();
        assert!(found.contains(label), "{found}");
    }
}
