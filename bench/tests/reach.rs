//! The command that measures everything, in its short form: that it runs, and that
//! every row of its table is told.

use ringmill::testing::machine_can_run;
use serde_json::Value;
use std::process::Command;

#[test]
fn the_short_form_tells_every_row() {
    let folder = std::env::temp_dir().join(format!("ringmill-reach-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (json, svg) = (folder.join("reach.json"), folder.join("reach.svg"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmill-bench"));
    command.args(["reach", "--quick", "--json"]).arg(&json);
    command.arg("--svg").arg(&svg);
    let is_whole = machine_can_run("reach over veth");
    if !is_whole {
        command.arg("--memory");
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let report: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let picture = std::fs::read_to_string(&svg).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(picture.contains("smoltcp"));
    let rows = report["rows"].as_array().unwrap();
    let told = rows.iter().filter(|row| row["value"].is_number()).count();
    let expected = if is_whole { rows.len() } else { 13 };
    assert_eq!(told, expected, "{rows:#?}");
}
