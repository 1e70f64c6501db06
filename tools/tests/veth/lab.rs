//! The TCP lab's scenarios against the kernel of this machine.

use ringmill::testing;
use std::process::Command;

/// Every scenario with a part for the kernel holds with the kernel in it. Those
/// that wait for something are told to wait less.
#[test]
fn the_kernel_agrees_with_every_scenario_that_it_has_a_part_in() {
    if !testing::machine_can_run("lab") {
        return;
    }
    let list = ringmill(&["lab"]).1;
    let names = list
        .lines()
        .filter_map(|line| line.strip_prefix("  V "))
        .filter_map(|line| line.split_whitespace().next());
    let mut count = 0;
    for name in names {
        let shorter: &[&str] = match name {
            "http-keepalive" => &["--idle", "2s"],
            _ => &[],
        };
        let (status, text) = ringmill(&[&["lab", name, "--veth"], shorter].concat());
        assert_eq!(status, 0, "{text}");
        assert!(text.contains("(kernel)"), "{text}");
        count += 1;
    }
    assert!(count >= 12, "{list}");
    let reset = ["lab", "backlog", "--veth", "--policy", "reset"];
    let (status, text) = ringmill(&reset);
    assert_eq!(status, 0, "{text}");
}

fn ringmill(arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_ringmill"))
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), format!("{text}{told}"))
}
