//! Namespaces: what is inside stays inside, and nothing stays behind.

use crate::{NAME, Wire};
use ringmill::netns::{self, Namespace};
use ringmill::{Interface, testing};
use std::process::{Command, Stdio};

fn listed(name: &str) -> bool {
    let list = Command::new("ip").args(["netns", "list"]).output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    list.lines()
        .any(|line| line.split(' ').next() == Some(name))
}

#[test]
fn a_thread_goes_in_and_comes_back_and_a_child_starts_inside() {
    let Some(wire) = Wire::lay("inside", 1, 1_400) else {
        return;
    };
    let inside = wire.near.within(|| Interface::find(NAME)).unwrap().unwrap();
    assert!(inside.is_veth && inside.is_up && inside.has_carrier);
    assert_eq!((inside.mtu, inside.driver.as_str()), (1_400, "veth"));
    Interface::find(NAME).unwrap_err();

    let child = wire
        .near
        .command("ip")
        .args(["link", "show", NAME])
        .output()
        .unwrap();
    assert!(child.status.success());
}

#[test]
fn a_namespace_goes_with_its_owner() {
    if !testing::machine_can_run("dropped") {
        return;
    }
    let namespace = Namespace::create("dropped").unwrap();
    let name = namespace.name().to_owned();
    assert!(listed(&name));
    drop(namespace);
    assert!(!listed(&name));
}

#[test]
fn what_a_killed_process_left_behind_is_swept_with_all_that_runs_inside() {
    if !testing::machine_can_run("swept") {
        return;
    }
    let mut owner = Command::new("true").spawn().unwrap();
    owner.wait().unwrap();
    let name = format!("ringmill-{}-left", owner.id());
    let ip = |arguments: &[&str]| Command::new("ip").args(arguments).status().unwrap();
    assert!(ip(&["netns", "add", &name]).success());
    let mut inside = Command::new("ip")
        .args(["netns", "exec", &name, "sleep", "1000"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // It is inside once the kernel lists it there.
    let pids = || {
        Command::new("ip")
            .args(["netns", "pids", &name])
            .output()
            .unwrap()
            .stdout
    };
    while pids().is_empty() {
        std::thread::yield_now();
    }

    // Another test of this run may have swept it already.
    let _ = netns::sweep();
    assert!(!listed(&name));
    let status = inside.wait().unwrap();
    assert!(!status.success(), "it was killed, it did not end");
}
